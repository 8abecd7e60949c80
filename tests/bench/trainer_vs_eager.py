"""skerry-trainer beside the same model in eager PyTorch: same libtorch, same threads, in turns.

usage: trainer_vs_eager.py --trainer PATH [--threads 1] [--rounds 7] [--seconds 1.0] [--json]

Prints a line for each model and precision: tokens a second of both (medians) and the median of the ratios of
neighbouring turns; with --json the last line is {"name": ratio}. Eager means torch.nn.functional with SDPA, autocast
for bf16 and the fused AdamW; run it with the Python that has the torch that the trainer was built with.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy"), str(ROOT / "tests" / "support")]
import eager_llama  # noqa: E402
import trainer_client  # noqa: E402

MODELS = {
    "demo 0.8 M": (dict(vocab_size=256, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=2,
                        num_key_value_heads=2, head_dim=64), 1),
    "11 M": (dict(vocab_size=512, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
                  num_key_value_heads=6, head_dim=64), 4),
}
COMMON = dict(max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0, initializer_range=0.02, tie_word_embeddings=True)
SEQ, SHARD = 256, 400


class Ours:
    def __init__(self, program, threads, model, train, theta, shard):
        self.client = trainer_client.TrainerClient(program, threads)
        self.tokens = train["batch"] * SEQ
        self.batch, self.next = train["batch"], 0
        memory = trainer_client.memory_of(theta.numpy().tobytes())
        trainer_client.prepare(self.client, model, train, memory, shard)
        os.close(memory)

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


class Eager:
    def __init__(self, model, train, theta, tokens):
        self.train, self.data = train, tokens
        self.model = eager_llama.Llama(model, theta, SEQ)
        self.optimizer = self.model.optimizer(train, fused=True)
        self.bf16 = train["precision"] == "bf16"
        self.next = 0

    def steps(self, count):
        batch = self.train["batch"]
        begin = time.perf_counter()
        for _ in range(count):
            at = [(self.next + i) % (SHARD - 1) * SEQ for i in range(batch)]
            self.next += batch
            rows = torch.from_numpy(np.stack([self.data[o:o + SEQ + 1] for o in at]).astype(np.int64))
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = self.model.loss(rows[:, :-1], rows[:, 1:])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.train["clip"])
            self.optimizer.step()
            loss.item()
        return count * batch * SEQ / (time.perf_counter() - begin)


def compare(options, name, precision, folder):
    shape, batch = MODELS[name]
    model = COMMON | shape
    train = dict(batch=batch, seq=SEQ, lr=1e-3, schedule="constant", beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1,
                 clip=1.0, precision=precision)
    theta = eager_llama.initial(model)
    tokens = np.random.default_rng(1).integers(0, model["vocab_size"], SHARD * SEQ).astype(np.uint16)
    shard = f"{folder}/{shape['vocab_size']}.bin"
    trainer_client.write_shard(shard, tokens.tolist())
    ours, eager = Ours(options.trainer, options.threads, model, train, theta, shard), Eager(model, train, theta, tokens)
    with ours.client:
        count = max(2, int(options.seconds * eager.steps(3) / (batch * SEQ)))  # the first steps warm up
        ours.steps(count), eager.steps(count)
        turns = []
        for _ in range(options.rounds):
            turns.append((ours.steps(count), eager.steps(count)))
    ratio = statistics.median(a / b for a, b in turns)
    mine, theirs = (statistics.median(column) for column in zip(*turns))
    print(f"{name}, {precision}: trainer {mine:,.0f} tok/s, eager PyTorch {theirs:,.0f} tok/s, {options.threads} thread(s): "
          f"ratio {ratio:.2f}", flush=True)
    return ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ratios = {}
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder:
        for name in MODELS:
            for precision in ("fp32", "bf16"):
                ratios[f"{name}, {precision}"] = round(compare(options, name, precision, folder), 3)
    if options.json:
        print(json.dumps(ratios))
    sys.exit(0 if min(ratios.values()) >= 1.0 else 1)


if __name__ == "__main__":
    main()
