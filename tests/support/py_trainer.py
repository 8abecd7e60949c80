"""A trainer in Python: docs/trainer-protocol.md, version 1. The agent cannot tell it from skerry-trainer.

With PyTorch it trains eager_llama.Llama. With --synthetic it needs the standard library only: each token pulls
some weights a little, which is enough to test everything around a trainer. --step-ms slows steps down;
--die-at N, --hang-at N, --nan-at N (it sees that the loss is not finite), --loss-nan-at N (it says such a loss), --eat-at N (memory, until
there is no more) and --poison-at N (--poison-value into weight --poison, unnoticed) misbehave at the N-th inner step of the process;
with --once FILE only in the first process, which makes FILE. --tally FOLDER keeps a file
there, named by the process id, with the number of inner steps it has done.
"""

import argparse
import array
import ctypes
import errno
import json
import math
import mmap
import os
import pickle
import random
import select
import signal
import socket
import struct
import sys
import threading
import time

LIMIT = 65536
# (magic, version) of a token shard: array type of its tokens, the bit that says "no target"
SHARDS = {(20240520, 1): ("H", 0), (20240801, 7): ("I", 0), (20261127, 1): ("I", 1 << 31)}
NO_TARGET = -100

try:  # only faster
    import numpy
except ImportError:
    numpy = None


def combine(act, a, b, out=None):
    """act(a, b) for each pair of float32 values; into `out`, if that is given and it can be."""
    if numpy is not None:
        if out is None:
            out = array.array("f", a)
        sign = {"add": numpy.add, "sub": numpy.subtract}[act]
        into = numpy.frombuffer(out, numpy.float32)
        sign(numpy.frombuffer(a, numpy.float32), numpy.frombuffer(b, numpy.float32), out=into)
        return out
    if act == "add":
        return array.array("f", (x + y for x, y in zip(a, b)))
    return array.array("f", (x - y for x, y in zip(a, b)))


class Refused(Exception):
    def __init__(self, code, detail):
        super().__init__(detail)
        self.code = code


def need(condition, code, detail):
    if not condition:
        raise Refused(code, detail)


def target_count(rows):
    return sum(target != NO_TARGET for _, targets in rows for target in targets)


def learning_rate(t, tokens):
    """The same function as node/trainer/train_config.cpp."""
    lr, low, total = t["lr"], t["min_lr"], t["total_tokens"]
    if tokens < t["warmup_tokens"]:
        return lr * (tokens / t["warmup_tokens"])
    if t["schedule"] == "constant":
        return lr
    if tokens >= total:
        return low
    left = total - tokens
    if t["schedule"] == "wsd":
        return lr if t["decay_tokens"] == 0 else low + (lr - low) * min(1.0, left / t["decay_tokens"])
    return low + (lr - low) * 0.5 * (1 + math.cos((1 - left / (total - t["warmup_tokens"])) * math.pi))


class Synthetic:
    """Weights that are pulled by tokens. `local` is an array of float32."""

    def __init__(self, model, train, threads):
        d, f, layers = model["hidden_size"], model["intermediate_size"], model["num_hidden_layers"]
        q = model["num_attention_heads"] * model["head_dim"]
        kv = model["num_key_value_heads"] * model["head_dim"]
        self.elements = (model["vocab_size"] * d * (1 if model["tie_word_embeddings"] else 2)
                         + layers * (2 * d + (q + 2 * kv) * d + q * d + 3 * f * d) + d)
        self.local = array.array("f", bytes(4 * self.elements))
        self.steps = 0

    def set(self, values):
        self.local = array.array("f", values)

    def get(self):
        return self.local

    def step(self, rows, lr):
        self.steps += 1
        for tokens, targets in rows:
            for i, token in enumerate(tokens[:-1]):
                if targets[i] == NO_TARGET:
                    continue
                at = (token * 2654435761 + i * 40503) % self.elements
                self.local[at] -= lr * 0.01 * (1 + self.local[at])
        return self.loss(rows, self.local)

    def loss(self, rows, values):
        return 5.5 / (1 + 0.01 * self.steps)

    def generate(self, values, prompt, o):
        rng = random.Random(o["seed"])
        while True:
            yield rng.randrange(97, 123)

    def optimizer_state(self):
        return {"steps": self.steps}

    def restore_optimizer(self, state):
        self.steps = state["steps"]

    def reset_optimizer(self):
        self.steps = 0


class Eager:
    """eager_llama with torch.optim.AdamW."""

    def __init__(self, model, train, threads):
        import torch
        import eager_llama
        torch.set_num_threads(threads)
        self.torch, self.train = torch, train
        self.elements = eager_llama.elements(model)
        self.model = eager_llama.Llama(model, torch.zeros(self.elements), train["seq"])
        self.bf16 = train["precision"] == "bf16"
        self.reset_optimizer()

    def set(self, values):
        flat = self.torch.frombuffer(bytearray(bytes(values)), dtype=self.torch.float32)
        at = 0
        with self.torch.no_grad():
            for p in self.model.names.values():
                p.copy_(flat[at:at + p.numel()].view_as(p))
                at += p.numel()

    def get(self):
        return array.array("f", self.model.flat().numpy().tobytes())

    def batch_loss(self, rows):
        inputs = self.torch.tensor([list(tokens[:-1]) for tokens, _ in rows])
        targets = self.torch.tensor([list(targets) for _, targets in rows])
        with self.torch.autocast("cpu", self.torch.bfloat16, enabled=self.bf16):
            return self.model.loss(inputs, targets)

    def step(self, rows, lr):
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        loss = self.batch_loss(rows)
        loss.backward()
        if self.train["clip"] > 0:
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.train["clip"])
        self.optimizer.step()
        return loss.item()

    def with_weights(self, values, act):
        mine = self.get()
        self.set(values)
        with self.torch.no_grad():
            out = act()
        self.set(mine)
        return out

    def loss(self, rows, values):
        return self.with_weights(values, lambda: self.batch_loss(rows).item())

    def generate(self, values, prompt, o):
        g = self.torch.Generator().manual_seed(o["seed"])
        out = list(prompt)
        while True:
            out.append(self.with_weights(values, lambda: self.choose(self.model(self.torch.tensor([out[-self.train["seq"]:]]))[0, -1].float(), o, g)))
            yield out[-1]

    def choose(self, logits, o, g):
        if o["temperature"] <= 0:
            return int(logits.argmax())
        p, order = self.torch.softmax(logits / o["temperature"], -1).sort(descending=True, stable=True)
        if o["top_k"]:
            p[o["top_k"]:] = 0
        p[p.cumsum(0) - p >= o["top_p"] * p.sum()] = 0
        return int(order[self.torch.multinomial(p, 1, generator=g)])

    def optimizer_state(self):
        return self.optimizer.state_dict()

    def restore_optimizer(self, state):
        self.optimizer.load_state_dict(state)

    def reset_optimizer(self):
        self.optimizer = self.model.optimizer(self.train)


class Trainer:
    def __init__(self, options):
        self.options = options
        self.socket = socket.socket(fileno=options.fd)
        self.buffer, self.descriptors, self.recent = b"", [], []
        self.engine = self.theta = self.window = self.order = None
        self.files, self.queue = {}, []
        self.loaded, self.held = False, None
        self.delta = {"steps": 0, "sequences": 0, "tokens": 0, "loss": 0.0}
        self.targets = 0  # of the delta
        self.all_steps, self.last_progress = 0, 0.0
        self.saving, self.spare, self.sending = None, None, threading.Lock()
        self.tally = None
        if options.tally:
            self.tally = os.open(os.path.join(options.tally, str(os.getpid())), os.O_RDWR | os.O_CREAT, 0o600)

    def send(self, kind, /, **fields):
        with self.sending:
            self.socket.sendall((kind + " " + json.dumps(fields) + "\n").encode())

    def end(self, code, name, detail):
        self.send("failed", code=name, detail=detail)
        os._exit(code)

    def receive(self, patience):
        """A line, or None after `patience` seconds."""
        while b"\n" not in self.buffer:
            if len(self.buffer) >= LIMIT:
                self.end(4, "TOO_LARGE", "line too long")
            if not select.select([self.socket], [], [], patience)[0]:
                return None
            data, descriptors, _, _ = socket.recv_fds(self.socket, 16384, 4)
            self.descriptors += descriptors
            if not data:
                os._exit(0)
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode(errors="replace")

    def run(self):
        self.send("trainer", version=1, name="py_trainer", threads=self.options.threads)
        while True:
            line = self.receive(0 if self.order else 1.0)
            if line is not None:
                self.handle(line)
            elif self.order:
                self.train_some()
            else:
                self.send("alive", phase="held" if self.held else "idle")

    def handle(self, line):
        verb, _, rest = line.partition(" ")
        try:
            fields = json.loads(rest)
        except ValueError:
            fields = None
        if not verb or not isinstance(fields, dict):
            self.end(4, "MALFORMED", "expected: verb {json}")
        handler = getattr(self, "do_" + verb, None)
        try:
            need(handler, "USAGE", "unknown verb")
            need(self.engine or verb in ("config", "quit"), "BAD_STATE", "config comes first")
            need(not self.order or verb in ("file", "feed", "freeze", "save", "quit"), "BAD_STATE", "not while training")
            answer = handler(**fields) or {}
        except Refused as e:
            return self.send("error", verb=verb, code=e.code, detail=str(e))
        except TypeError as e:
            return self.send("error", verb=verb, code="CONFIG_INVALID", detail=str(e))
        self.send("ok", verb=verb, **answer)
        if verb == "quit":
            os._exit(0)

    def theta_view(self):
        need(self.theta, "BAD_STATE", "theta is not attached")
        return memoryview(self.theta)[:4 * self.engine.elements].cast("f")

    def theta_values(self):
        return array.array("f", self.theta_view().tobytes())

    def values(self, weights):
        return self.theta_values() if weights == "theta" else self.engine.get()

    def do_config(self, version, model, train):
        need(version == 1, "VERSION_MISMATCH", "this trainer speaks version 1")
        self.train = train
        self.engine = (Synthetic if self.options.synthetic else Eager)(model, train, self.options.threads)
        return {"elements": self.engine.elements, "precision": "bf16" if train["precision"] == "bf16" else "fp32"}

    def do_attach(self, region, elements):
        need(self.descriptors, "USAGE", "attach came without a descriptor")
        descriptor = self.descriptors.pop(0)
        need(os.fstat(descriptor).st_size >= 4 * elements, "BAD_SHAPE", "region is too small")
        if region == "theta":
            self.theta = mmap.mmap(descriptor, 4 * elements, mmap.MAP_SHARED, mmap.PROT_READ)
        else:
            self.window = mmap.mmap(descriptor, 4 * elements)
        os.close(descriptor)

    def do_file(self, file, path):
        try:
            with open(path, "rb") as f:
                magic, version, count = struct.unpack("<3i", f.read(12))
        except OSError as e:
            raise Refused("NOT_FOUND", str(e))
        need((magic, version) in SHARDS, "DATA_INVALID", "not a token shard")
        self.files[file] = path, SHARDS[magic, version]
        return {"tokens": count}

    def rows(self, refs):
        out = []
        for file, offset in refs:
            need(file in self.files, "NOT_FOUND", "unknown file")
            path, (kind, mark) = self.files[file]
            with open(path, "rb") as f:
                row = array.array(kind)
                f.seek(1024 + row.itemsize * offset)
                row.frombytes(f.read(row.itemsize * (self.train["seq"] + 1)))
            need(len(row) == self.train["seq"] + 1, "DATA_INVALID", "beyond the end of the file")
            if mark:
                out.append(([token & ~mark for token in row], [NO_TARGET if token & mark else token for token in row[1:]]))
            else:
                out.append((row, row[1:]))
        return out

    def do_load(self, optimizer):
        self.engine.set(self.theta_values())
        if optimizer == "reset":
            self.engine.reset_optimizer()
        self.delta = {"steps": 0, "sequences": 0, "tokens": 0, "loss": 0.0}
        self.targets = 0
        self.loaded, self.held = True, None
        if self.spare is None:
            self.spare = self.engine.get()[:]

    def do_feed(self, sequences):
        self.rows(sequences)
        self.queue += sequences
        return {"queued": len(self.queue)}

    def do_clear(self):
        self.queue = []
        return {"queued": 0}

    def do_train(self, round, tokens, participants, first_step, max_steps, deadline_ms):
        need(self.loaded and self.held is None, "BAD_STATE", "load or restore comes first")
        self.order = {"round": round, "tokens": tokens, "pace": participants * self.train["batch"] * self.train["seq"],
                      "first": first_step, "max": max_steps, "step": 0, "begin": time.monotonic(),
                      "end": time.monotonic() + deadline_ms / 1000 if deadline_ms else math.inf}
        self.last_round = round

    def finish(self, why):
        order, self.order = self.order, None
        self.send("done", round=order["round"], why=why, **self.delta)

    def median(self):
        return sorted(self.recent)[len(self.recent) // 2] if self.recent else 0.0

    def train_some(self):
        o, begin = self.order, time.monotonic()
        if o["max"] and o["step"] == o["max"]:
            return self.finish("steps")
        if not self.queue:
            return self.finish("data")
        if o["step"] and begin + self.median() > o["end"]:
            return self.finish("deadline")
        self.all_steps += 1
        if self.due(self.options.die_at):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.due(self.options.hang_at):
            signal.pause()
        if self.due(self.options.eat_at):
            self.eat()
        rows = self.rows(self.queue[:self.train["batch"]])
        lr = learning_rate(self.train, o["tokens"] + (o["first"] + o["step"] + 1) * o["pace"])
        targets = target_count(rows)
        loss = self.engine.step(rows, lr) if targets else self.delta["loss"]
        if self.due(self.options.nan_at) or not math.isfinite(loss):
            self.end(3, "NOT_FINITE", "loss is not finite")
        if self.due(self.options.poison_at):
            self.engine.local[self.options.poison] = self.options.poison_value
        if self.due(self.options.loss_nan_at):
            self.send("progress", round=o["round"], step=o["step"], last_loss=math.nan, **self.delta)
        time.sleep(self.options.step_ms / 1000)
        del self.queue[:len(rows)]
        d, n = self.delta, len(rows) * self.train["seq"]
        d["loss"] = (d["loss"] * self.targets + loss * targets) / max(1, self.targets + targets)
        self.targets += targets
        d["steps"], d["sequences"], d["tokens"] = d["steps"] + 1, d["sequences"] + len(rows), d["tokens"] + n
        o["step"] += 1
        if self.tally is not None:
            os.pwrite(self.tally, b"%d" % self.all_steps, 0)
        now = time.monotonic()
        self.recent = (self.recent + [now - begin])[-31:]
        if now - self.last_progress >= 0.25:  # also of rounds that are shorter than that, now and then
            self.last_progress = now
            self.send("progress", round=o["round"], step=o["step"], last_loss=loss, lr=lr, step_ms=1e3 * self.median(),
                      tokens_per_s=o["step"] * n / max(1e-9, now - o["begin"]), **d)

    def due(self, at):
        """Whether to misbehave now."""
        if self.all_steps != at or (self.options.once and os.path.exists(self.options.once)):
            return False
        if self.options.once:
            open(self.options.once, "w").close()
        return True

    def eat(self):
        kept = []
        try:
            while True:
                kept.append(bytearray(1 << 24))
        except MemoryError:
            kept.clear()
            self.end(5, "NOT_ENOUGH_MEMORY", "no memory for an inner step")

    def do_freeze(self):
        if self.order:
            self.finish("freeze")
        return dict(self.delta, round=getattr(self, "last_round", 0))

    def do_weights(self, lo, hi):
        need(self.loaded and self.held is None, "BAD_STATE", "no weights to give")
        need(lo < hi <= self.engine.elements and self.window and 4 * (hi - lo) <= len(self.window), "BAD_SHAPE", "range")
        self.window[:4 * (hi - lo)] = memoryview(self.engine.get())[lo:hi].cast("B")
        return {"lo": lo, "hi": hi}

    def do_hold(self):
        need(self.loaded and self.held is None, "BAD_STATE", "hold needs loaded weights")
        self.held = combine("sub", self.engine.get(), self.theta_view())

    def do_carry(self):
        need(self.held is not None, "BAD_STATE", "carry without hold")
        self.engine.set(combine("add", self.held, self.theta_view()))
        self.held = None

    def do_save(self, path, note):
        """Copies what is to be saved; a thread writes it while training goes on."""
        self.join_saving()
        begun = time.monotonic()
        delta = array.array("f", self.held) if self.held else combine("sub", self.engine.get(), self.theta_view(), self.spare)
        self.spare = delta  # the next copy finds its pages
        head = {"elements": len(delta), "optimizer": self.engine.optimizer_state(), "counters": dict(self.delta), "targets": self.targets, "note": note}
        self.saving = threading.Thread(target=self.write_saved, args=(path, head, delta), daemon=True)
        self.saving.start()
        return dict(self.delta, pending=True, stall_ms=1e3 * (time.monotonic() - begun))

    def write_saved(self, path, head, delta):
        try:
            with open(path + ".tmp", "wb") as f:
                pickle.dump(head, f)
                f.write(memoryview(delta))
                f.flush()
                os.fsync(f.fileno())
            os.rename(path + ".tmp", path)
            folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except OSError as e:
            return self.send("saved", code="DISK_FULL" if e.errno == errno.ENOSPC else "IO_ERROR", detail=str(e))
        self.send("saved")

    def join_saving(self):
        if self.saving:
            self.saving.join()
            self.saving = None

    def do_restore(self, path):
        self.join_saving()
        try:
            with open(path, "rb") as f:
                saved = pickle.load(f)
                saved["delta"] = array.array("f")
                saved["delta"].fromfile(f, saved["elements"])
        except FileNotFoundError as e:
            raise Refused("NOT_FOUND", str(e))
        except Exception as e:
            raise Refused("DIGEST_MISMATCH", repr(e))
        need(len(saved["delta"]) == self.engine.elements, "BAD_SHAPE", "of another model")
        self.engine.set(combine("add", saved["delta"], self.theta_view()))
        self.engine.restore_optimizer(saved["optimizer"])
        self.delta, self.targets, self.loaded, self.held = saved["counters"], saved["targets"], True, None
        return dict(self.delta, note=saved["note"])

    def do_eval(self, weights, spans):
        refs = [(file, first + i * stride) for file, first, stride, count in spans for i in range(count)]
        need(refs, "NO_DATA", "nothing to evaluate")
        values, total, targets = self.values(weights), 0.0, 0
        for i in range(0, len(refs), self.train["batch"]):
            rows = self.rows(refs[i:i + self.train["batch"]])
            here = target_count(rows)
            total, targets = total + (self.engine.loss(rows, values) * here if here else 0), targets + here
        need(targets, "NO_DATA", "nothing to evaluate: no target among the sequences")
        return {"loss": total / targets, "tokens": targets}

    def do_generate(self, weights, prompt, count, temperature, seed, top_k, top_p, stop, cache, stream):
        need(prompt and count <= 4096, "USAGE", "prompt is empty, or count too large")
        if isinstance(prompt, dict):
            path, (kind, mark) = self.files[prompt["file"]]
            with open(path, "rb") as f:
                f.seek(1024)
                prompt = array.array(kind, f.read(array.array(kind).itemsize * prompt["tokens"])).tolist()
        begin, tokens, stopped = time.monotonic(), [], False
        for token in self.engine.generate(self.values(weights), prompt, dict(seed=seed, temperature=temperature, top_k=top_k, top_p=top_p)):
            stopped = token in stop and len(tokens) < count
            if stopped or len(tokens) == count:
                break
            tokens.append(token)
            if stream:
                self.send("generated", tokens=[token])
        return {"tokens": tokens, "stopped": stopped, "ms": int(1e3 * (time.monotonic() - begin))}

    def do_quit(self):
        self.join_saving()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", type=int, help="bytes; this one needs what it needs")
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("--step-ms", type=float, default=0)
    parser.add_argument("--tally")
    for name in ("--die-at", "--hang-at", "--nan-at", "--loss-nan-at", "--eat-at", "--poison-at", "--poison"):
        parser.add_argument(name, type=int, default=0)
    parser.add_argument("--poison-value", type=float, default=math.nan)
    parser.add_argument("--once", metavar="FILE")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    try:
        Trainer(options).run()
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


if __name__ == "__main__":
    main()
