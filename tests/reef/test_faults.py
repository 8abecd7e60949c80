"""Links that lie: cut in one direction or between two nodes only, silent without a word, slow, far away. Needs root.

Judged by the state of coordinator and nodes. SKERRY_REEF_SILENCE: seconds of silence (default 12; the show takes 60).
"""
import os
import time
import unittest

from net import Reef
from test_namespaces import ReefTest  # finds the folder of the next two

from harness import report
from ledger import Record

SILENCE = float(os.environ.get("SKERRY_REEF_SILENCE", "12"))


class FaultTest(ReefTest):
    names = ("a", "b", "c")

    def begin(self, delays=None, step_ms=50, **changes):
        """Rounds take four times `step_ms`."""
        self.reef = Reef(["coordinator", *self.names], delays=delays)
        self.reef.__enter__()
        self.addCleanup(self.reef.__exit__)
        self.addCleanup(self.cluster.kill)  # before the namespaces go
        self.nodes = self.reef_run(self.reef, self.names, env={"SKERRY_TEST_TRAINER_ARGS": f"--step-ms {step_ms}"}, **changes)
        for node in self.nodes:
            self.wait_current(node)
        self.ids = {node.name: node.status()["node_id"] for node in self.nodes}
        self.coordinator = self.cluster.coordinator
        self.coordinator.wait_head(4, 120)

    def goes_on(self, steps=4, nodes=None, patience=120):
        """`steps` more than now are decided and reach the nodes. Returns (head before, seconds for the decisions)."""
        head, begin = self.coordinator.status()["head"], time.monotonic()
        self.coordinator.wait_head(head + steps, patience)
        seconds = time.monotonic() - begin
        self.wait_all_heads(self.nodes if nodes is None else nodes, head + steps, patience)
        return head, seconds

    def ends_well(self, since, names=None):
        """Histories equal, books whole, and each of `names` counted in some step from `since` on."""
        answers = self.check_history(least_head=since)
        for name in names or self.names:
            self.assertTrue(self.credited_steps(answers, self.ids[name], since=since), f"{name} counts from step {since} on")
        Record().see_database(next(self.coordinator.dir.glob("**/run.db")))

    def returns(self, names=None):
        """After the mending all count again."""
        for node in self.nodes:
            self.wait_current(node, 120)
        since = self.coordinator.status()["head"]
        self.coordinator.wait_credited(names or self.names, 120)
        self.wait_all_heads(self.nodes, since + 1, 120)
        self.ends_well(since, names)


class Edges(FaultTest):
    def test_one_edge_is_cut(self):
        """a and b cannot talk to each other, but to everybody else: both go on to count."""
        self.begin()
        self.reef.lose_both("a", "b")
        self.goes_on(2)
        since, seconds = self.goes_on(8)
        report(f"edge a-b cut: 8 steps in {seconds:.1f} s")
        self.coordinator.wait_credited(self.names, 60)
        self.reef.mend()
        self.goes_on(2)
        self.ends_well(since)

    def test_one_direction_of_an_edge_is_cut(self):
        self.begin()
        self.reef.lose("a", "b")
        self.goes_on(2)
        since, seconds = self.goes_on(8)
        report(f"a to b cut, b to a not: 8 steps in {seconds:.1f} s")
        self.coordinator.wait_credited(self.names, 60)
        self.reef.mend()
        self.goes_on(2)
        self.ends_well(since)


class HalfOpen(FaultTest):
    def half_open(self, source, target, others):
        self.begin()
        self.reef.lose(source, target)
        _, seconds = self.goes_on(4, [node for node in self.nodes if node.name in others])
        report(f"{source} to {target} cut: 4 steps of the others in {seconds:.1f} s")
        self.reef.mend()
        self.returns()

    def test_the_coordinator_no_longer_hears_a_node(self):
        self.half_open("b", "coordinator", ("a", "c"))

    def test_a_node_no_longer_hears_the_coordinator(self):
        self.half_open("coordinator", "b", ("a", "c"))


class Silence(FaultTest):
    """Packets vanish and no connection is told."""

    def test_a_node_is_silent(self):
        self.begin()
        for other in ("coordinator", "a", "c"):
            self.reef.lose_both("b", other)
        end = time.monotonic() + SILENCE
        _, seconds = self.goes_on(4, [self.nodes[0], self.nodes[2]])
        self.wait(lambda: time.monotonic() > end, SILENCE + 1, "the end of the silence")
        self.reef.mend()
        report(f"node silent for {SILENCE:.0f} s: 4 steps of the others in {seconds:.1f} s")
        self.returns()

    def test_the_coordinator_is_silent(self):
        self.begin()
        head = self.coordinator.status()["head"]
        for name in self.names:
            self.reef.lose_both("coordinator", name)
        end = time.monotonic() + SILENCE
        self.wait(lambda: time.monotonic() > end, SILENCE + 1, "the end of the silence")
        self.assertTrue(all(node.alive() for node in self.nodes))
        held = self.coordinator.status()["head"]
        self.assertLessEqual(held, head + 2, "nothing is decided without votes")
        self.reef.mend()
        begin = time.monotonic()
        self.coordinator.wait_head(held + 1, 60)
        report(f"coordinator silent for {SILENCE:.0f} s: the next step {time.monotonic() - begin:.1f} s after")
        self.returns()

    def test_the_run_is_cut_in_two(self):
        """The coordinator is with one node, the other two are together: nobody can go on, nothing is lost."""
        self.begin(away_after="4s")
        for one in ("coordinator", "a"):
            for other in ("b", "c"):
                self.reef.lose_both(one, other)
        status = self.wait(lambda: (s := self.coordinator.status()) and s["hold_reason"] and s, 60, lambda: f"a hold; {self.coordinator.status()}")
        self.assertTrue(status["waiting_for"], "status says who is missing")
        self.reef.mend()
        self.coordinator.wait_head(status["head"] + 2, 90)
        self.returns()


class SlowLinks(FaultTest):
    def test_two_megabits(self):
        """b has 2 Mbit/s; a step's data take it seconds, and it counts all the same."""
        self.begin(hidden=64, inner=160, layers=2, exchange_deadline="40s", round_deadline="20s")
        self.reef.limit("b", "2mbit")
        since, seconds = self.goes_on(5, patience=240)
        report(f"2 Mbit/s for one node: {seconds / 5:.1f} s a step")
        self.coordinator.wait_credited(self.names, 240)
        self.ends_well(since)

    def test_a_tenth_of_a_second_away(self):
        self.begin(delays={"b": 0.1}, step_ms=250)
        since, seconds = self.goes_on(8, patience=180)
        report(f"one node 100 ms away: {seconds / 8:.1f} s a step")
        self.coordinator.wait_credited(self.names, 120)
        self.ends_well(since)


if __name__ == "__main__":
    unittest.main()
