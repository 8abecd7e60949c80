"""Joining while the others train, leaving, pausing, holding under min_nodes, status that says why."""
import unittest

from harness import RUN, ProcessTest


class JoinsLate(ProcessTest):
    def test_node_that_joins_at_step_20_counts_in_a_later_step(self):
        nodes = self.start_run(nodes=2, local_steps=2)
        self.cluster.coordinator.wait_head(20, 120)
        late = self.join(self.token, "late")[0]
        self.wait_current(late)
        head = self.cluster.coordinator.status()["head"]
        self.wait_all_heads([*nodes, late], head + 6)
        node_id = late.status()["node_id"]
        answers = self.check_history(least_head=head + 6)
        steps = self.credited_steps(answers, node_id)
        self.assertTrue(steps and steps[0] >= 20, f"credited in {steps[:3]}")

    def test_joins_from_a_snapshot_when_the_first_entries_are_pruned(self):
        nodes = self.start_run(nodes=2, local_steps=2, snapshot_every=5, quota="2MiB")
        self.cluster.coordinator.wait_head(60, 120)
        late = self.join(self.token, "late")[0]
        self.wait_current(late)
        head = self.cluster.coordinator.status()["head"]
        self.wait_all_heads([*nodes, late], head + 3)
        answers = self.check_history(least_head=head + 3)
        self.assertGreater(answers["late"]["snapshot"], 0)


class Leaves(ProcessTest):
    def test_leaves_after_the_step_and_the_others_go_on(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(4)
        nodes[2].ask("leave")
        self.assertEqual(nodes[2].wait(30), 0)
        status = coordinator.status()
        self.assertEqual(next(n["state"] for n in status["nodes"] if n["name"] == "node-3"), "left")
        coordinator.wait_head(status["head"] + 4)
        self.wait_all_heads(nodes[:2], status["head"] + 4)
        self.check_history(nodes[:2], least_head=status["head"] + 4)


class Pauses(ProcessTest):
    def test_paused_node_is_not_waited_for_and_resumes(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        nodes[0].ask("pause")
        self.wait(lambda: nodes[0].status()["paused"], 20, "paused")
        head = coordinator.status()["head"]
        coordinator.wait_head(head + 4)
        nodes[0].ask("resume")
        self.wait(lambda: not nodes[0].status()["paused"], 20, "resumed")
        head = coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 6)
        node_id = nodes[0].status()["node_id"]
        answers = self.check_history(least_head=head + 6)
        self.assertTrue(self.credited_steps(answers, node_id, since=head), "a resumed node counts again")

    def test_run_pauses_and_starts_again(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        coordinator.run_verb("pause", RUN)
        status = self.wait(lambda: (s := coordinator.status()) and s["state"] == "paused" and s["phase"] != "exchange" and s, 30, "a paused run")
        coordinator.run_verb("start", RUN)
        self.wait_all_heads(nodes, status["head"] + 4)
        self.check_history(least_head=status["head"] + 4)


class Holds(ProcessTest):
    def test_under_min_nodes_the_run_holds_and_says_so(self):
        nodes = self.start_run(nodes=2, away_after="4s")
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        nodes[1].kill()
        status = self.wait(lambda: (s := coordinator.status()) and s["hold_reason"] and s, 40, "HOLD")
        self.assertTrue(status["next"], "status must say what comes next")
        self.assertTrue(status["waiting_for"], "status must say what is waited for")
        head = status["head"]
        nodes[1].start()
        self.wait_all_heads(nodes, head + 4)
        self.check_history(least_head=head + 4)


class FinishesTheData(ProcessTest):
    def test_all_tokens_are_committed_and_the_run_ends(self):
        nodes = self.start_run(tokens=40_000, local_steps=10)
        status = self.wait(lambda: (s := self.cluster.coordinator.status()) and s["state"] == "finished" and s, 120,
                           lambda: f"the end; {self.cluster.coordinator.status()}")
        self.assertGreaterEqual(status["tokens"], 40_000)
        self.wait_all_heads(nodes, status["head"])
        self.check_history(least_head=status["head"])


if __name__ == "__main__":
    unittest.main()
