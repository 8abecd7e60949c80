#!/usr/bin/env python3
"""Kills a run again and again: `chaos.py --kills 300 --seed 1 [--minutes 30]`.

A real coordinator and real nodes on loopback, under load. Each event kills one or several of them with SIGKILL, half of
all kills hit the coordinator; some are frozen meanwhile, some are killed again while they start, now and then everything
dies at once. After every event the disks of the dead are recomputed and compared with all that was ever seen: digests
of states, the hash chain, heads that never fall, positions credited once, books without a hole (ledger.py). Then
the run has to move on. The seed fixes what is done to whom and after which delays. Exit status: 0 nothing was lost; 1 a promise
was broken; the folder stays and the command that repeats it is printed.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from harness import ROOT, Cluster, ClusterError, prepare_run, report, trainer_program, wait_until  # noqa: E402
from ledger import Broken, Record, need  # noqa: E402

COORDINATOR = 0  # nodes are 1, 2, ...
RUN_CHANGES = {"round_deadline": "4s", "exchange_deadline": "3s", "silent_after": "1500ms", "away_after": "20s",
               "snapshot_every": 25, "quota": "8MiB"}


@dataclasses.dataclass
class Event:
    """What is done at once. Delays are seconds; indices are COORDINATOR or a node's number."""
    kills: list            # in this order
    again: bool            # the coordinator is killed a second time while it starts
    frozen: list           # stopped before the kills, resumed after the restarts
    trainer: int           # 0, or the node whose trainer dies, too
    before: float          # from the last progress to the kills
    start_order: list
    pauses: list           # before each start
    freeze: float          # at least so long

    @property
    def count(self):
        return len(self.kills) + self.again


def make_plan(kills, seed, nodes):
    """Events with `kills` kills in all, kills // 2 of them of the coordinator."""
    draw = random.Random(seed)
    plan, of_coordinator, of_nodes = [], kills // 2, kills - kills // 2
    everybody = list(range(1, nodes + 1))
    while of_coordinator + of_nodes > 0:
        again = False
        want_coordinator = draw.random() * (of_coordinator + of_nodes) < of_coordinator
        if want_coordinator:
            victims = [COORDINATOR]
            again = of_coordinator >= 2 and draw.random() < 0.15
            if draw.random() < 0.2:
                victims += draw.sample(everybody, min(of_nodes, draw.choice([1, 1, 2])))
            elif of_nodes >= nodes and draw.random() < 0.06:
                victims += everybody
        else:
            victims = draw.sample(everybody, min(of_nodes, draw.choice([1, 1, 1, 2, 3])))
        draw.shuffle(victims)
        of_coordinator -= victims.count(COORDINATOR) + again
        of_nodes -= len(victims) - victims.count(COORDINATOR)
        alive = [i for i in range(nodes + 1) if i not in victims]
        frozen = draw.sample(alive, min(len(alive), draw.choice([1, 1, 2]))) if draw.random() < 0.25 else []
        order = draw.sample(victims, len(victims))
        plan.append(Event(victims, again, frozen, draw.choice(everybody) if draw.random() < 0.1 else 0, draw.uniform(0, 1.2),
                          order, [draw.choice([0, 0, draw.uniform(0, 0.6)]) for _ in order], draw.uniform(0.1, 2.5)))
    return plan


class Chaos:
    def __init__(self, folder, kills, seed, nodes=4, trainer=None, patience=60, say=lambda text: None):
        self.cluster, self.record = Cluster(folder), Record()
        self.plan, self.names = make_plan(kills, seed, nodes), [f"node-{i + 1}" for i in range(nodes)]
        self.trainer, self.patience, self.say = trainer or trainer_program(), patience, say
        self.env = {"SKERRY_TEST_TRAINER_ARGS": "--step-ms 15"}  # of the Python trainer: rounds of about a tenth of a second
        self.kills = self.coordinator_kills = self.freezes = 0
        self.slowest = 0.0

    # --- the run ----------------------------------------------------------------------------------------

    def begin(self):
        token = prepare_run(self.cluster, **RUN_CHANGES)
        for name in self.names:
            node = self.cluster.node(name)
            node.trainer = self.trainer
            node.join(token, env=self.env)
        for program in self.programs()[1:]:
            program.wait_head(2, self.patience)

    def programs(self):
        return [self.cluster.coordinator, *(self.cluster.nodes[name] for name in self.names)]

    def run(self, minutes=None):
        """All events; Broken or ClusterError if a promise does not hold. Returns the value line."""
        begin = time.monotonic()
        self.begin()
        for number, event in enumerate(self.plan):
            if minutes and time.monotonic() - begin > minutes * 60:
                raise Broken(f"{self.kills} kills in {minutes} minutes: too slow, {len(self.plan) - number} events are left")
            seconds = self.happen(event)
            self.say(f"{time.monotonic() - begin:6.0f} s  event {number + 1} of {len(self.plan)}: {self.describe(event)}; "
                     f"moved on after {seconds:.1f} s, head {self.record.head}")
        self.end()
        r = self.record
        return (f"{self.kills} kill -9 ({self.coordinator_kills} of the coordinator), {self.freezes} freezes in {time.monotonic() - begin:.0f} s: "
                f"{r.head} steps committed, {len(r.told)} digests of {len(r.states)} states compared, 0 differ; 0 steps lost, 0 positions "
                f"credited twice; moved on after at most {self.slowest:.1f} s")

    def describe(self, event):
        names = [self.programs()[i].name for i in event.kills]
        parts = ["killed " + ", ".join(names) + (", the coordinator again while it started" if event.again else "")]
        if event.frozen:
            parts.append("frozen " + ", ".join(self.programs()[i].name for i in event.frozen))
        return "; ".join(parts)

    # --- one event --------------------------------------------------------------------------------------

    def happen(self, event):
        programs = self.programs()
        time.sleep(event.before)
        for i in event.frozen:
            programs[i].freeze()
        frozen_since = time.monotonic()
        self.freezes += len(event.frozen)
        self.kill_trainer(event.trainer)
        for i in event.kills:
            programs[i].signal(signal.SIGKILL)
        for i in event.kills:
            status = programs[i].wait(10)
            need(status == -signal.SIGKILL, f"{programs[i].name} had ended with {status} before it was killed")
        self.kills += event.count
        self.coordinator_kills += event.kills.count(COORDINATOR) + event.again
        self.inspect(event.kills)
        if event.again:
            self.kill_while_it_starts()
        begin = time.monotonic()
        for i, pause in zip(event.start_order, event.pauses):
            time.sleep(pause)
            programs[i].launch() if i == COORDINATOR else programs[i].start(env=self.env)
        if event.frozen:
            time.sleep(max(0.0, frozen_since + event.freeze - time.monotonic()))
        for i in event.frozen:
            programs[i].thaw()
        self.wait_moved()
        seconds = time.monotonic() - begin
        self.slowest = max(self.slowest, seconds)
        return seconds

    def kill_trainer(self, number):
        pid = self.programs()[number].trainer_pid() if number else None
        if pid:
            os.kill(pid, signal.SIGKILL)

    def kill_while_it_starts(self):
        """After a time in which it may or may not have come up."""
        coordinator = self.cluster.coordinator
        coordinator.launch()
        time.sleep(self.kills % 7 * 0.02)
        coordinator.kill()
        self.inspect([COORDINATOR])

    def inspect(self, dead):
        """The disks of those who were killed, before they run again."""
        for i in dead:
            program = self.programs()[i]
            if i == COORDINATOR:
                self.record.see_database(self.database())
            else:
                self.record.see_disk(program.name, program.verify())

    def database(self):
        return next(self.cluster.coordinator.dir.glob("**/run.db"))

    def wait_moved(self):
        """Until a step is decided that nobody had heard of, and all programs live and have been asked."""
        target, told = self.record.head + 1, time.monotonic() + 5
        def moved():
            nonlocal told
            if self.ask_coordinator() >= target:
                return True
            if time.monotonic() > told:
                told = float("inf")
                self.say(f"         still waiting: {json.dumps(self.cluster.coordinator.status())}")
            return False
        wait_until(moved, self.patience, lambda: f"step {target}; {self.cluster.coordinator.status()}", every=0.2)
        for program in self.programs()[1:]:
            wait_until(lambda program=program: self.ask_node(program), self.patience, lambda program=program: f"{program.name} to answer", every=0.2)

    def ask_coordinator(self):
        for program in self.programs():
            program.check_alive()
        status = self.cluster.coordinator.status()
        if not status:
            return -1
        need(status["term"] >= self.record.term, f"the term fell from {self.record.term} to {status['term']}")
        self.record.term = status["term"]
        self.record.see_head("the coordinator", status["head"])
        if status["head"] > 0:
            self.record.see_chain("the coordinator", [(status["head"] - 1, status["h_head"])])
        return status["head"]

    def ask_node(self, node):
        node.check_alive()
        status = node.status()
        if not status or status["phase"] in ("starting", "connecting"):
            return False
        self.record.see_states(node.name, [(one["step"], one["value"]) for one in status["digests"]])
        if status["phase"] not in ("joining", "behind"):  # a state that is being replayed has fewer steps than the log on disk
            self.record.see_head(node.name, status["head"])
        if status["head"] > 0:
            self.record.see_chain(node.name, [(status["head"] - 1, status["h_head"])])
        return True

    # --- the end ----------------------------------------------------------------------------------------

    def end(self):
        """All nodes catch up and count once more, everything ends in order, all disks are compared."""
        for program in self.programs():
            program.wait_head(self.record.head, self.patience)
        self.cluster.coordinator.wait_credited(self.names, self.patience)
        self.cluster.stop()
        answers = {program.name: program.verify() for program in self.programs()[1:]}
        for name, answer in answers.items():
            self.record.see_disk(name, answer)
        self.record.see_database(self.database())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=30, help="more is a failure")
    parser.add_argument("--trainer", help="default: the Python trainer of the tests")
    parser.add_argument("--dir", type=pathlib.Path, help="default: a new folder, removed when nothing was broken")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    folder = args.dir or pathlib.Path(tempfile.mkdtemp(prefix="skerry-chaos-"))
    chaos = Chaos(folder, args.kills, seed, args.nodes, args.trainer, say=lambda text: print(text, flush=True))
    try:
        report(chaos.run(args.minutes))
    except (Broken, ClusterError) as problem:
        chaos.cluster.kill()
        print(f"BROKEN after {chaos.kills} kills: {problem}\nkept: {folder}\nreplay: {os.path.relpath(__file__, ROOT)} --kills {args.kills} "
              f"--seed {seed} --nodes {args.nodes}", file=sys.stderr)
        return 1
    finally:
        chaos.cluster.kill()
    if not args.dir:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
