#!/usr/bin/env python3
"""Goodput with one node failure in every outer step, against the same run without: credited tokens per second.

Four nodes train 16 M elements with a trainer that speaks the real protocol and computes nothing, so that what is
measured is what the system does around it. Rounds end after ten seconds. Segments of clean steps and of steps with a
failure take turns in one run, so that what else the machine does meets both alike. A failure is a kill -9 of one agent, whose trainer dies with it, at a uniformly drawn
moment of the step; it is started again after `--restart-after` seconds, as a service manager would. The step in which
failures begin and the first one without are counted nowhere, so every counted step with a failure has the aftermath of
the one before.

    tests/bench/goodput.py            # about seven minutes; one line of result
    tests/bench/goodput.py --json
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "process"))
sys.path.insert(0, str(ROOT / "deploy"))

from harness import RUN, prose, run_toml  # noqa: E402
from local_cluster import Cluster, wait_until  # noqa: E402

MODELS = {"16M": {"hidden": 512, "inner": 1408, "layers": 5}, "1M": {"hidden": 128, "inner": 352, "layers": 5}}


class Trace:
    """What every node was at and since when, one JSON line for each change; nothing without a file."""

    def __init__(self, path):
        self.out, self.begun, self.last = open(path, "w") if path else None, time.monotonic(), None

    def event(self, **what):
        if self.out:
            print(json.dumps({"s": round(time.monotonic() - self.begun, 2), **what}), file=self.out, flush=True)

    def status(self, status):
        if not self.out or not status:
            return
        nodes = {node["name"]: [node["state"], node["connected"], node["phase"], node["trainer"], node["head"]] for node in status["nodes"]}
        now = {"head": status["head"], "phase": status["phase"], "attempt": status["attempt"], "nodes": nodes,
               "waits": [[one["node"], one["phase"]] for one in status["waiting_for"]]}
        if now != self.last:
            self.last = now
            self.event(**now, next=status["next"], inner={node["name"]: node["inner_step"] for node in status["nodes"]})


class Failures:
    """Kills one node at a drawn moment of each step, and starts it again. Polled from the main thread: a program ends
    with the thread that started it."""

    def __init__(self, nodes, env, rng, restart_after, trace):
        self.nodes, self.env, self.rng, self.restart_after, self.trace = nodes, env, rng, restart_after, trace
        self.due, self.down, self.count = None, [], 0

    def step_began(self, usual):
        if self.due is not None:  # the step was shorter than usual: its failure is still to come
            self.strike()
        self.due = time.monotonic() + self.rng.uniform(0, 0.95 * usual)

    def poll(self):
        now = time.monotonic()
        for back, victim in [one for one in self.down if one[0] <= now]:
            victim.start(env=self.env)
            self.trace.event(started=victim.name)
            self.down.remove((back, victim))
        if self.due is None or now < self.due:
            return
        self.strike()

    def strike(self):
        self.due = None
        victim = self.rng.choice([node for node in self.nodes if node.alive()])
        victim.kill()
        self.trace.event(killed=victim.name)
        self.count += 1
        self.down.append((time.monotonic() + self.restart_after, victim))

    def finish(self):
        while self.down:
            self.poll()
            time.sleep(0.02)


class Bench:
    def __init__(self, options, folder):
        self.options, self.rng = options, random.Random(options.seed)
        self.cluster = Cluster(folder)
        self.folder = folder
        self.env = {"SKERRY_TEST_TRAINER_ARGS": f"--step-ms {options.step_ms}"}
        self.usual = options.round_s + 3.0
        self.trace = Trace(options.trace)

    def begin(self):
        cluster, options = self.cluster, self.options
        text, held_out = self.folder / "train.txt", self.folder / "held-out.txt"
        text.write_text(prose(2_000_000))
        held_out.write_text(prose(20_000, seed=2))
        cluster.run("data", "prepare", text, "--val", held_out, "-o", self.folder / "data")
        toml = self.folder / "run.toml"
        most = int(1.5 * options.round_s * 1000 / options.step_ms)
        toml.write_text(run_toml(local_steps=most, tokens=1 << 40, round_deadline=f"{options.round_s}s", exchange_deadline="30s",
                                 silent_after="5s", away_after="120s", snapshot_every=50, quota="8GiB", **MODELS[options.model]))
        coordinator = cluster.coordinator
        coordinator.init()
        coordinator.start()
        coordinator.push_data(self.folder / "data")
        coordinator.create_run(toml, start=False)
        token = coordinator.token(RUN)
        for i in range(options.nodes):
            node = cluster.node(f"n{i + 1}")
            node.trainer = ROOT / "tests" / "support" / "synthetic_trainer"
            node.join(token, env=self.env)
        wait_until(self.all_current, 120, lambda: f"all nodes current: {coordinator.status()}")
        coordinator.run_verb("start", RUN)

    def all_current(self):
        status = self.cluster.coordinator.status()
        return status and sum(node["state"] == "current" for node in status["nodes"]) == self.options.nodes

    def next_commit(self, head, failures=None, patience=180):
        """(time, status) when a later step than `head` is decided."""
        end = time.monotonic() + patience
        while True:
            status = self.cluster.coordinator.status()
            self.trace.status(status)
            if status and status["head"] > head:
                return time.monotonic(), status
            if failures:
                failures.poll()
            if time.monotonic() > end:
                raise SystemExit(f"no step in {patience} s: {json.dumps(status)}")
            time.sleep(0.05)

    def segment(self, failures):
        """Counted steps after one that is not: {tokens, seconds, steps, failures, superseded}."""
        at, status = self.next_commit(self.head)
        if failures:
            failures.step_began(self.usual)
        at, status = self.next_commit(status["head"], failures)
        first, first_at, before = status, at, failures.count if failures else 0
        last = first["head"]
        while last < first["head"] + self.options.steps:
            if failures:
                failures.step_began(self.usual)
            begun = at
            at, status = self.next_commit(last, failures)
            if not failures:
                self.usual = (at - begun) / (status["head"] - last)
            last = status["head"]
        self.head = last
        return {"tokens": status["tokens"] - first["tokens"], "seconds": at - first_at, "steps": last - first["head"],
                "failures": (failures.count if failures else 0) - before, "superseded": status["superseded"] - first["superseded"]}

    def run(self):
        self.begin()
        coordinator = self.cluster.coordinator
        self.head = coordinator.wait_head(2, 180)["head"]
        sums = {True: {}, False: {}}
        self.ratios = []
        for cycle in range(self.options.cycles):
            rates = {}
            for failing in (False, True):
                failures = Failures(list(self.cluster.nodes.values()), self.env, self.rng, self.options.restart_after, self.trace) if failing else None
                part = self.segment(failures)
                if failures:
                    failures.finish()
                rates[failing] = part["tokens"] / part["seconds"]
                for key, value in part.items():
                    sums[failing][key] = sums[failing].get(key, 0) + value
                if self.options.verbose:
                    print(f"cycle {cycle + 1}, {'failures' if failing else 'clean'}: {part}", file=sys.stderr, flush=True)
            self.ratios.append(round(rates[True] / rates[False], 3))
        return sums

    def check(self):
        """Ends the run; every node's history must be sound and the same."""
        self.cluster.stop()
        heads = []
        for node in self.cluster.nodes.values():
            answer = node.verify()
            if not answer["ok"]:
                raise SystemExit(f"{node.name}: {answer['problems']}")
            heads.append({state["step"]: state["digest"] for state in answer["states"]})
        for step in set.intersection(*(set(one) for one in heads)):
            if len({one[step] for one in heads}) != 1:
                raise SystemExit(f"S_{step} differs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--model", choices=MODELS, default="16M")
    parser.add_argument("--round-s", type=int, default=10)
    parser.add_argument("--step-ms", type=int, default=100)
    parser.add_argument("--steps", type=int, default=4, help="counted steps of a segment")
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--restart-after", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--trace", help="file for what every node was at and since when")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="skerry-goodput-"))
    bench = Bench(options, folder)
    try:
        sums = bench.run()
        bench.check()
    finally:
        bench.cluster.kill()
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    rate = {failing: part["tokens"] / part["seconds"] for failing, part in sums.items()}
    result = {"goodput": rate[True] / rate[False], "cycles": bench.ratios, "tokens_per_s_clean": rate[False], "tokens_per_s_failing": rate[True],
              "step_s_clean": sums[False]["seconds"] / sums[False]["steps"], "step_s_failing": sums[True]["seconds"] / sums[True]["steps"],
              "steps": sums[True]["steps"], "failures": sums[True]["failures"], "superseded": sums[True]["superseded"],
              "nodes": options.nodes, "model": options.model, "round_s": options.round_s, "seed": options.seed, "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps(result))
        return
    print(f"goodput {result['goodput']:.1%} of clean ({rate[True]:.0f} of {rate[False]:.0f} tokens/s): {options.nodes} nodes, {options.model} elements, "
          f"rounds of {options.round_s} s, {result['failures']} kills in {result['steps']} steps; a step took {result['step_s_failing']:.1f} s, clean "
          f"{result['step_s_clean']:.1f} s; {result['superseded']} plans replaced; by cycle {', '.join(f'{one:.0%}' for one in bench.ratios)}; load {result['load']:.1f}")


if __name__ == "__main__":
    main()
