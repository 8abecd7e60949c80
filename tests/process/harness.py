"""What the process tests share: real programs on loopback, killed and frozen at will, judged by their state.

A test makes a small run with `start_run`, does harm, and ends with `check_history`, which asks every node
to recompute its states from disk and compares: equal digests, no gap, every position credited once.
SKERRY_KEEP=1 keeps the folders of tests that passed, too; those of tests that fail are always kept.
"""
import array
import json
import os
import pathlib
import pty
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "deploy"))

from local_cluster import Cluster, ClusterError, default_bin, wait_until  # noqa: E402,F401

RUN = "reef"
RUN_TOML = """
schema = "skerry.run/1"
name = "{name}"
seed = 7
[model]
vocab_size = {vocab}
hidden_size = {hidden}
intermediate_size = {inner}
num_hidden_layers = {layers}
num_attention_heads = 2
num_key_value_heads = 2
max_position_embeddings = 64
tie_word_embeddings = true
[data]
manifest = "data/manifest.json"
sequence_length = 32
[train]
tokens = {tokens}
batch = {batch}
precision = "fp32"
optimizer = {{ name = "adamw", lr = {lr}, betas = [0.9, 0.99], eps = 1e-8, weight_decay = 0.1, clip = 1.0 }}
schedule = {{ name = "constant", warmup_fraction = 0.0, decay_fraction = 0.0 }}
[sync]
local_steps = {local_steps}
outer = {{ name = "nesterov", lr = {outer_lr}, momentum = {outer_momentum} }}
compression = "{compression}"
min_nodes = {min_nodes}
round_deadline = "{round_deadline}"
exchange_deadline = "{exchange_deadline}"
silent_after = "{silent_after}"
away_after = "{away_after}"
durable_copies = {durable_copies}
[checkpoint]
every_steps = {snapshot_every}
quota = "{quota}"
[eval]
every_steps = 0
sequences = 4
"""
DEFAULTS = {
    "name": RUN, "vocab": 256, "hidden": 32, "inner": 64, "layers": 1, "tokens": 50_000_000, "local_steps": 4, "compression": "int8",
    "min_nodes": 2, "round_deadline": "6s", "exchange_deadline": "4s", "silent_after": "2s", "away_after": "20s",
    "durable_copies": 2, "snapshot_every": 1000, "outer_lr": 0.7, "outer_momentum": 0.5, "quota": "1GiB", "lr": 1e-3, "batch": 1,
}


def run_toml(**changes):
    unknown = set(changes) - set(DEFAULTS)
    assert not unknown, f"no such setting of the test run: {unknown}"
    return RUN_TOML.format(**{**DEFAULTS, **changes})


def prose(size, seed=1):
    """Text of made-up sentences: enough structure to learn from, no file needed."""
    draw = random.Random(seed)
    words = ["".join(draw.choice("aeioulnrst") for _ in range(draw.randrange(2, 8))) for _ in range(300)]
    parts, length = [], 0
    while length < size:
        sentence = " ".join(draw.choices(words, k=draw.randrange(4, 12))).capitalize() + ".\n"
        parts.append(sentence)
        length += len(sentence)
    return "".join(parts)[:size]


def built_trainer():
    """skerry-trainer where it was built, else, or if SKERRY_TEST_TRAINER names one, that of the tests."""
    real = pathlib.Path(default_bin()) / "skerry-trainer"
    return os.environ.get("SKERRY_TEST_TRAINER") or (str(real) if real.exists() else trainer_program())


def trainer_program():
    """The trainer of the tests: a short Python script that speaks the line protocol, or SKERRY_TEST_TRAINER."""
    return os.environ.get("SKERRY_TEST_TRAINER", str(ROOT / "tests" / "support" / "synthetic_trainer"))


def prepare_run(cluster, text_bytes=400_000, listen=None, env=None, start=True, **changes):
    """Coordinator up, data pushed, run started (or only created). Returns a token for many nodes."""
    folder, coordinator = cluster.folder, cluster.coordinator
    (folder / "train.txt").write_text(prose(text_bytes))
    (folder / "held-out.txt").write_text(prose(20_000, seed=2))
    cluster.run("data", "prepare", folder / "train.txt", "--val", folder / "held-out.txt", "-o", folder / "data")
    (folder / "run.toml").write_text(run_toml(**changes))
    coordinator.init()
    coordinator.start(listen=listen, env=env)
    coordinator.push_data(folder / "data")
    coordinator.create_run(folder / "run.toml", start=start)
    return coordinator.token(changes.get("name", RUN))


class ProcessTest(unittest.TestCase):
    """Base of the tests: a scratch folder and a cluster that is gone at the end, whatever happens."""

    maxDiff = 2000
    trainer = staticmethod(trainer_program)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"skerry-{self._testMethodName[:24]}-"))
        self.cluster = Cluster(self.folder)
        self._collect_sanitizer_reports()
        self.addCleanup(self._clean_up)

    def _collect_sanitizer_reports(self):
        """Programs built with a sanitizer write what they find into the test's folder; for others this changes nothing."""
        where = f"log_path={self.folder}/sanitizer"
        options = {name: ":".join(filter(None, [os.environ.get(name), where])) for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")}
        patch = unittest.mock.patch.dict(os.environ, options)
        patch.start()
        self.addCleanup(patch.stop)

    def _clean_up(self):
        self.cluster.kill()
        reports = [path.read_text(errors="replace") for path in sorted(self.folder.glob("sanitizer.*"))]
        result = self._outcome.result
        failed = bool(reports) or any(test is self for test, _ in [*result.failures, *result.errors])
        if failed:
            self._explain()
        if failed or os.environ.get("SKERRY_KEEP"):
            print(f"\nkept: {self.folder}\nreplay: cd {os.path.relpath(os.getcwd(), ROOT)} && python3 -m unittest -v {self.id()}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.assertFalse(reports, "\n".join(reports)[:6000])

    def _explain(self):
        for program in [self.cluster.coordinator, *self.cluster.nodes.values()]:
            print(f"\n--- {program.name}: last lines of {program.log}\n{program.tail(12)}", file=sys.stderr)

    # --- building blocks ------------------------------------------------------------------------------

    def prepare(self, text_bytes=400_000, listen=None, env=None, start=True, **changes):
        """As prepare_run, in this test's folder."""
        return prepare_run(self.cluster, text_bytes, listen, env, start, **changes)

    def join(self, token, *names, env=None, toml=None):
        """`toml`: lines for the [trainer] section of node.toml."""
        for name in names:
            node = self.cluster.node(name)
            node.trainer = self.trainer()
            if toml:
                node.dir.mkdir(parents=True)
                (node.dir / "node.toml").write_text(f'schema = "skerry.node/1"\nname = "{name}"\n[trainer]\n{toml}\n')
            node.join(token, env=env)
        return [self.cluster.node(name) for name in names]

    def at_a_terminal(self, answer, token, *words):
        """(what was printed, process): `skerry join` with a terminal, which is told `answer` when it asks."""
        mine, its = pty.openpty()
        command = [str(self.cluster.program("skerry")), "join", token, "--dir", str(self.folder / "asked"), "--listen", "127.0.0.1:0", *words]
        process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True)
        os.close(its)
        said, asked = bytearray(), threading.Event()

        def read():
            # To the end: a terminal that nobody reads fills up, and then the node's log holds the node.
            while True:
                try:
                    more = os.read(mine, 4096)
                except OSError:
                    more = b""
                said.extend(more)
                if not more or b"Join? [Y/n]" in said:
                    asked.set()
                if not more:
                    return

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self.addCleanup(lambda: (process.kill(), process.wait(), reader.join(10), os.close(mine)))
        self.assertTrue(asked.wait(60), f"neither a question nor an end: {said.decode(errors='replace')}")
        text = said.decode(errors="replace")
        if "Join? [Y/n]" in text:
            os.write(mine, answer.encode() + b"\n")
        return text, process

    def start_run(self, nodes=3, victim_env=None, victim=1, **changes):
        """A run with `nodes` nodes; node number `victim` gets `victim_env`. Returns the nodes."""
        token = self.prepare(**changes)
        names = [f"node-{i + 1}" for i in range(nodes)]
        for i, name in enumerate(names):
            self.join(token, name, env=victim_env if i == victim else None)
        self.token = token
        return [self.cluster.node(name) for name in names]

    def wait(self, check, patience=60, what="the state wanted"):
        return wait_until(check, patience, what)

    def wait_current(self, node, patience=60):
        """Until the coordinator counts on the node."""
        def current():
            node.check_alive()
            status = self.cluster.coordinator.status()
            return status and any(one["name"] == node.name and one["state"] == "current" for one in status["nodes"])
        return self.wait(current, patience, lambda: f"{node.name} current; {self.cluster.coordinator.status()}")

    def wait_all_heads(self, nodes, step, patience=90):
        for node in nodes:
            node.wait_head(step, patience)

    # --- verdicts -------------------------------------------------------------------------------------

    def check_history(self, nodes=None, least_head=1):
        """Stops everything and compares what is on the disks. Returns the verify answers by name."""
        nodes = list(nodes or self.cluster.nodes.values())
        self.cluster.stop()
        answers = {node.name: node.verify() for node in nodes}
        for name, answer in answers.items():
            self.assertTrue(answer["ok"], f"{name}: {answer['problems']}")
            self.assertGreaterEqual(answer["head"], least_head, name)
            steps = [state["step"] for state in answer["states"]]
            undone = {step for decision in answer["decisions"] if decision["to"] is not None
                      for step in range(decision["to"] + 1, decision["step"] + 1)}
            missing = set(range(answer["snapshot"], answer["head"] + 1)) - set(steps) - undone
            self.assertEqual((sorted(steps), missing), (steps, set()), f"{name}: a gap")
        self._equal_digests(answers)
        self._credited_once(max(answers.values(), key=lambda answer: answer["head"]))
        return answers

    def _equal_digests(self, answers):
        seen = {}
        for name, answer in answers.items():
            for state in answer["states"]:
                other = seen.setdefault(state["step"], (name, state["digest"]))
                self.assertEqual(other[1], state["digest"], f"S_{state['step']} differs between {other[0]} and {name}")
        chains = {}
        for name, answer in answers.items():
            for decision in answer["decisions"]:
                other = chains.setdefault(decision["step"], (name, decision["h"]))
                self.assertEqual(other[1], decision["h"], f"decision {decision['step']} differs between {other[0]} and {name}")

    def _credited_once(self, answer):
        """Positions credited by the decisions are disjoint, and tokens_after is their sum. What a rollback undid does
        not count; its data may count again if the rollback says so."""
        ranges, tokens, after = [], None, {}
        fed_again = set()
        for decision in answer["decisions"]:
            if decision["kind"] == "rollback_refeed":
                fed_again |= set(range(decision["to"], decision["step"]))
        for decision in answer["decisions"]:
            for credit in decision["credits"]:
                if decision["step"] not in fed_again:
                    ranges += [(segment["from"], segment["to"], decision["step"]) for segment in credit["segments"]]
            gained = sum(credit["tokens"] for credit in decision["credits"])
            if decision["to"] is not None:
                tokens = after.get(decision["to"] - 1, 0 if decision["to"] == 0 else tokens)
            after[decision["step"]] = decision["tokens_after"]
            if tokens is not None:
                self.assertEqual(decision["tokens_after"], tokens + gained, f"tokens of step {decision['step']}")
            tokens = decision["tokens_after"]
        ranges.sort()
        for (lo, hi, step), (next_lo, _, next_step) in zip(ranges, ranges[1:]):
            self.assertLess(lo, hi, f"empty segment at step {step}")
            self.assertLessEqual(hi, next_lo, f"positions credited twice: steps {step} and {next_step}")

    def credited_steps(self, answers, node_id, since=0):
        """Steps from `since` on in which the node's data counted, by the longest history."""
        longest = max(answers.values(), key=lambda answer: answer["head"])
        return [decision["step"] for decision in longest["decisions"]
                if decision["step"] >= since and any(credit["node"] == node_id for credit in decision["credits"])]


def report(text):
    """A measured value, for deploy/show.sh."""
    print(f"\nvalue: {text}", file=sys.stderr, flush=True)


def weights_of(folder):
    """All numbers of an exported model folder (safetensors, F32), as arrays."""
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        for name, tensor in json.loads(data[8:8 + size]).items():
            if name == "__metadata__":
                continue
            assert tensor["dtype"] == "F32", tensor
            begin, end = tensor["data_offsets"]
            yield name, array.array("f", data[8 + size + begin:8 + size + end])


def flip_byte(path, at=None):
    """Changes one byte in the middle of a file, on disk."""
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(size // 2 if at is None else at)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x40]))
        file.flush()
        os.fsync(file.fileno())


def sanitized():
    """Are the programs built with a sanitizer? It keeps freed memory and fences every block: what a process holds says little then."""
    cache = default_bin().parent / "CMakeCache.txt"
    return cache.exists() and re.search(r"^SKERRY_SANITIZE:\w+=.", cache.read_text(), re.MULTILINE) is not None


PACE = 5 if sanitized() else 1  # such programs are slower: the bars in seconds are that much higher


def rss_kib(pid, key="VmRSS"):
    """A field of /proc/PID/status in KiB (VmRSS, RssAnon, VmHWM)."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise ClusterError(f"no {key} of process {pid}")


def folder_bytes(path):
    """Bytes that the files below `path` occupy."""
    total = 0
    for base, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def error_of(done):
    """(exit status, code) of a command that failed with --json or with text."""
    text = done.stderr.strip()
    try:
        return done.returncode, json.loads(text.splitlines()[-1])["code"]
    except (ValueError, KeyError, IndexError):
        start = text.find("error[")
        return done.returncode, text[start + 6:text.find("]", start)] if start >= 0 else text
