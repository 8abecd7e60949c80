"""Speaks docs/trainer-protocol.md to a trainer, from Python's standard library.

Used to measure how fast this machine trains before a run is made, and by tests.
"""
import array
import collections
import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import time


class TrainerError(Exception):
    pass


def elements_of(model):
    """Length of the flat weight vector (section 6 of the protocol)."""
    hidden, vocab, inner = model["hidden_size"], model["vocab_size"], model["intermediate_size"]
    head = model.get("head_dim", hidden // model["num_attention_heads"])
    rows_q = model["num_attention_heads"] * head
    rows_kv = model.get("num_key_value_heads", model["num_attention_heads"]) * head
    layer = 2 * hidden + hidden * (rows_q + 2 * rows_kv) + rows_q * hidden + 3 * inner * hidden
    heads = 1 if model.get("tie_word_embeddings", True) else 2
    return heads * vocab * hidden + model["num_hidden_layers"] * layer + hidden


def memory_of(floats):
    """A descriptor of shared memory that holds `floats` (an array or bytes)."""
    descriptor = os.memfd_create("skerry-theta")
    data = memoryview(floats).cast("B")
    while data:
        data = data[os.write(descriptor, data):]
    return descriptor


def random_theta(elements, sigma=0.02, seed=1):
    """Weights good enough to time a step with: not the run's."""
    draw = random.Random(seed)
    block = array.array("f", (draw.gauss(0, sigma) for _ in range(65521)))
    whole = array.array("f")
    while len(whole) < elements:
        whole.extend(block)
    return whole[:elements]


def write_shard(path, tokens):
    """llm.c's layout (section 7)."""
    header = array.array("i", [20240520, 1, len(tokens)] + [0] * 253)
    body = array.array("H", tokens)
    pathlib.Path(path).write_bytes(header.tobytes() + body.tobytes())


class TrainerClient:
    """One trainer process. Not thread-safe; events that pass by are kept in `events`."""

    def __init__(self, program, threads=1, env=None):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [*(program if isinstance(program, (list, tuple)) else [program]), "--fd", str(theirs.fileno()), "--threads", str(threads)]
        self.process = subprocess.Popen([str(word) for word in command], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        theirs.close()
        self.socket, self.rest, self.events = ours, b"", collections.deque(maxlen=1000)
        self.socket.settimeout(60)

    def close(self):
        self.socket.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, verb, body=None, descriptor=None):
        line = f"{verb} {json.dumps(body or {})}\n".encode()
        if descriptor is None:
            self.socket.sendall(line)
        else:
            sent = socket.send_fds(self.socket, [line], [descriptor])
            self.socket.sendall(line[sent:])

    def line(self):
        """The next line as (verb, object)."""
        while b"\n" not in self.rest:
            more = self.socket.recv(65536)
            if not more:
                raise TrainerError(f"the trainer ended with {self.process.wait(10)}")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        verb, _, body = line.partition(b" ")
        return verb.decode(), json.loads(body or b"{}")

    def ask(self, verb, body=None, descriptor=None):
        self.send(verb, body, descriptor)
        while True:
            name, answer = self.line()
            if name == "ok":
                return answer
            if name == "error":
                raise TrainerError(f"{verb}: {answer}")
            self.events.append((name, answer))

    def wait_event(self, wanted):
        while True:
            while self.events:
                name, body = self.events.popleft()
                if name == wanted:
                    return body
            self.events.append(self.line())

    def attach(self, region, descriptor, elements):
        return self.ask("attach", {"region": region, "elements": elements}, descriptor)


def prepare(client, model, train, theta, shard):
    client.wait_event("trainer")
    answer = client.ask("config", {"version": 1, "model": model, "train": train})
    client.attach("theta", theta, answer["elements"])
    client.ask("file", {"file": 0, "path": str(shard)})
    client.ask("load", {"optimizer": "reset"})
    return answer["elements"]


def measure_speed(program, model, train, trainers, seconds=3.0, threads=1):
    """Tokens a second of `trainers` trainers that run at once, as they do in a run of that many nodes."""
    theta = memory_of(random_theta(elements_of(model)))
    sequence = train["seq"]
    with tempfile.TemporaryDirectory(prefix="skerry-speed-") as folder:
        shard = pathlib.Path(folder) / "speed.bin"
        draw = random.Random(1)
        write_shard(shard, [draw.randrange(model["vocab_size"]) for _ in range(sequence * 64 + 1)])
        clients = []
        try:
            clients = [TrainerClient(program, threads) for _ in range(trainers)]
            for client in clients:
                prepare(client, model, train, theta, shard)
                client.ask("feed", {"sequences": [[0, (i % 64) * sequence] for i in range(3000)]})
            # A short round first: the first steps allocate and choose kernels.
            for limit in (0.5, seconds):
                for client in clients:
                    client.ask("train", {"round": 1, "tokens": 0, "participants": 1, "first_step": 0, "max_steps": 0,
                                         "deadline_ms": int(limit * 1000)})
                begin, tokens = time.monotonic(), 0.0
                for client in clients:
                    done = client.wait_event("done")
                    tokens += done.get("tokens", done.get("delta", {}).get("tokens", 0))
                    client.ask("load", {"optimizer": "keep"})
            return tokens / max(time.monotonic() - begin, 0.1)
        finally:
            for client in clients:
                client.close()
            os.close(theta)
