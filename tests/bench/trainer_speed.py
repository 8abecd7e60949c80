"""skerry-trainer beside PyTorch on the same libtorch, threads and model, in turns.

usage: trainer_speed.py --trainer PATH [--against compiled|eager] [--threads 1,2] [--only NAME] [--rounds 7]
                        [--seconds 1.0] [--clock wall|cpu] [--json]

compiled (bf16): torch.compile with scaled_dot_product_attention, and torch.compile with attention written out as products;
both with the fused AdamW. eager (bf16 and fp32): torch.nn.functional with scaled_dot_product_attention, fused AdamW.

Everybody is a process of its own that works while the others wait. A line for each model and number of threads: tokens a
second (medians), the medians of the ratios of neighbouring turns, the share of the rate of a large product in bf16 (of
the same turns), and the peak resident memory after the first steps. With --json the last line is an object of the figures.
On a machine that does other work too, --clock cpu counts the processor time used instead of the time passed; with more than one
thread that counts waiting, too. Exit status 0 if every bar is reached. Run it with the Python that has the torch that the trainer was built with.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy"), str(ROOT / "tests" / "support")]

BIG = dict(vocab_size=512, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
           num_key_value_heads=6, head_dim=64)
MODELS = {
    "demo": (dict(vocab_size=256, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=2,
                  num_key_value_heads=2, head_dim=64), 1),
    "11M": (BIG, 8),
    "11M, V=32000": (BIG | dict(vocab_size=32000), 8),
}
COMMON = dict(max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0, initializer_range=0.02, tie_word_embeddings=True)
SEQ, SHARD, CLIP = 256, 400, 1.0
# What is compared, and its bar: the trainer is to be so many times as fast.
OPPONENTS = {"compiled": {"compile, SDPA": 1.3, "compile, products": 1.0}, "eager": {"eager": 1.0}}
SHARE_BAR = 0.6
PRODUCT = 2048


def model_and_train(order):
    shape, batch = MODELS[order["model"]]
    train = dict(batch=batch, seq=SEQ, lr=1e-3, schedule="constant", beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1,
                 clip=CLIP, precision=order["precision"])
    return COMMON | shape, train


def data_of(model):
    return np.random.default_rng(1).integers(0, model["vocab_size"], SHARD * SEQ).astype(np.uint16)


def flops_per_token(model):
    """Forward and backward; attention counted as the causal half."""
    d, f, width = model["hidden_size"], model["intermediate_size"], model["num_attention_heads"] * model["head_dim"]
    matrices = model["num_hidden_layers"] * (4 * d * width + 3 * d * f) + d * model["vocab_size"]
    return 6 * matrices + 6 * SEQ * width * model["num_hidden_layers"]


# --- the processes that are timed -----------------------------------------------------------------------


class Trainer:
    """The client costs no time: it waits while the trainer, a process of its own, works."""

    def __init__(self, order):
        import eager_llama
        import trainer_client
        model, train = model_and_train(order)
        self.client = trainer_client.TrainerClient(order["program"], order["threads"])
        self.batch, self.tokens, self.next = train["batch"], train["batch"] * SEQ, 0
        shard = f"{order['folder']}/{model['vocab_size']}.bin"
        trainer_client.write_shard(shard, data_of(model).tolist())
        memory = trainer_client.memory_of(eager_llama.initial(model).numpy().tobytes())
        trainer_client.prepare(self.client, model, train, memory, shard)
        os.close(memory)
        self.pid = self.client.process.pid

    def steps(self, count):
        """Tokens a second over `count` inner steps."""
        refs = [[0, (self.next + i) % (SHARD - 1) * SEQ] for i in range(count * self.batch)]
        self.next += len(refs)
        for i in range(0, len(refs), 2000):
            self.client.ask("feed", {"sequences": refs[i:i + 2000]})
        begin = time.perf_counter()
        self.client.ask("train", {"round": 1, "tokens": 0, "participants": 1, "first_step": 0, "max_steps": count, "deadline_ms": 0})
        self.client.wait_event("done")
        return count * self.tokens / (time.perf_counter() - begin)


class Torch:
    def __init__(self, order):
        import torch

        import eager_llama
        torch.set_num_threads(order["threads"])
        self.torch, self.pid, self.next = torch, os.getpid(), 0
        model, self.train = model_and_train(order)
        self.data = data_of(model)
        self.model = eager_llama.Llama(model, eager_llama.initial(model), SEQ, products="products" in order["who"])
        self.optimizer = self.model.optimizer(self.train, fused=True)
        self.loss = torch.compile(self.model.loss, dynamic=False) if "compile" in order["who"] else self.model.loss

    def steps(self, count):
        torch, batch = self.torch, self.train["batch"]
        begin = time.perf_counter()
        for _ in range(count):
            at = [(self.next + i) % (SHARD - 1) * SEQ for i in range(batch)]
            self.next += batch
            rows = torch.from_numpy(np.stack([self.data[o:o + SEQ + 1] for o in at]).astype(np.int64))
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.train["precision"] == "bf16"):
                loss = self.loss(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            loss.item()
        return count * batch * SEQ / (time.perf_counter() - begin)


class Products:
    """GFLOP/s of a large product in bf16."""

    def __init__(self, order):
        import torch
        torch.set_num_threads(order["threads"])
        self.torch, self.pid = torch, os.getpid()
        self.a, self.b = (torch.randn(PRODUCT, PRODUCT).bfloat16() for _ in range(2))

    def steps(self, count):
        begin = time.perf_counter()
        for _ in range(count):
            self.torch.mm(self.a, self.b.t())
        return count * 2 * PRODUCT**3 / (time.perf_counter() - begin) / 1e9


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work(order):
    """The child's side: a count a line in, a figure a line out; `memory` resets the peak and `peak` tells it."""
    who = {"trainer": Trainer, "products": Products}.get(order["who"], Torch)(order)
    for line in sys.stdin:
        word = line.strip()
        if word == "memory":
            pathlib.Path(f"/proc/{who.pid}/clear_refs").write_text("5")
            answer = 0
        elif word == "peak":
            status = pathlib.Path(f"/proc/{who.pid}/status").read_text()
            answer = int(next(x for x in status.splitlines() if x.startswith("VmHWM")).split()[1]) / 1024
        else:
            used, begin = processor_seconds(who.pid), time.perf_counter()
            answer = who.steps(int(word))
            if order["clock"] == "cpu":
                answer *= (time.perf_counter() - begin) / max(0.01, processor_seconds(who.pid) - used)
        print(answer, flush=True)


# --- the comparison -------------------------------------------------------------------------------------


class Process:
    def __init__(self, who, order):
        self.who = who
        self.child = subprocess.Popen([sys.executable, __file__, "--work", json.dumps(order | {"who": who})], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": str(order["threads"])})

    def ask(self, word):
        self.child.stdin.write(f"{word}\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"{self.who}: ended with {self.child.wait()}")
        return float(line)

    def close(self):
        self.child.stdin.close()
        self.child.wait(timeout=60)


def turns(order, opponents, options):
    """{who: [figure of each turn]}, {who: MiB}."""
    names = ["trainer", *opponents, "products"]
    processes = {}
    try:
        for name in names:  # one after the other: compiling takes both cores
            processes[name] = Process(name, order)
            processes[name].ask(3)
        counts = {}
        for name, process in processes.items():
            begin = time.perf_counter()
            process.ask(3)
            counts[name] = max(2, int(options.seconds * 3 / (time.perf_counter() - begin)))
            process.ask("memory")
        figures = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in names:
                figures[name].append(processes[name].ask(counts[name]))
        return figures, {name: processes[name].ask("peak") for name in names}
    finally:
        for process in processes.values():
            process.close()


def compare(order, opponents, options):
    """Prints the line. Returns its figures and whether the bars are reached."""
    figures, peaks = turns(order, opponents, options)
    model, _ = model_and_train(order)
    mine = figures["trainer"]
    share = statistics.median(a * flops_per_token(model) / 1e9 / b for a, b in zip(mine, figures["products"]))
    out = {"tokens_per_s": round(statistics.median(mine)), "share": round(share, 3), "mib": round(peaks["trainer"])}
    text, good = [], True
    for name, bar in opponents.items():
        ratio = statistics.median(a / b for a, b in zip(mine, figures[name]))
        out[name] = {"ratio": round(ratio, 3), "tokens_per_s": round(statistics.median(figures[name])), "mib": round(peaks[name])}
        text.append(f"{ratio:.2f} times {name} (bar {bar}; {out[name]['tokens_per_s']:,} tok/s, {out[name]['mib']} MiB)")
        good = good and ratio >= bar
        if options.against == "compiled":
            good = good and peaks["trainer"] < peaks[name]
    if order["precision"] == "bf16":
        bar = f" (bar {SHARE_BAR:.0%})" if options.against == "compiled" else ""
        text.append(f"{share:.0%}{bar} of {statistics.median(figures['products']):.0f} GFLOP/s")
        good = good and (options.against != "compiled" or share >= SHARE_BAR)
    print(f"{'ok' if good else 'FAIL'}  {order['model']}, {order['precision']}, {order['threads']} thread(s): trainer "
          f"{out['tokens_per_s']:,} tok/s, {out['mib']} MiB: " + ", ".join(text), flush=True)
    return out, good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer")
    parser.add_argument("--against", choices=OPPONENTS, default="compiled")
    parser.add_argument("--threads", default="")
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(json.loads(options.work))
    if not options.trainer:
        parser.error("--trainer is needed")
    compiled = options.against == "compiled"
    names = [options.only] if options.only else ["11M", "11M, V=32000"] if compiled else ["demo", "11M"]
    threads = [int(t) for t in (options.threads or ("1,2" if compiled else "1")).split(",")]
    results, good = {}, True
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder:
        for name in names:
            for precision in ["bf16"] if compiled else ["fp32", "bf16"]:
                for t in threads:
                    order = {"model": name, "precision": precision, "threads": t, "program": options.trainer, "folder": folder,
                             "clock": options.clock}
                    out, reached = compare(order, OPPONENTS[options.against], options)
                    results[f"{name}, {precision}, {t} thread(s)"] = out
                    good = good and reached
    if options.json:
        print(json.dumps({"reached": good, "results": results}))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
