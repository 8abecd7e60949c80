"""Real processes killed at the instants that matter. Nothing committed is lost, nothing counted twice."""
import os
import signal
import time
import unittest

from harness import ProcessTest, report


class KilledNode(ProcessTest):
    """A node dies at a failpoint, comes back, and catches up with equal state."""

    def dies_at(self, failpoint, count=3):
        nodes = self.start_run(victim_env={"SKERRY_FAILPOINT": f"{failpoint}:{count}"})
        victim = nodes[1]
        self.assertEqual(victim.wait(90), -signal.SIGKILL, f"{failpoint} was not passed {count} times")
        coordinator = self.cluster.coordinator
        before = coordinator.wait_head(1)["head"]
        coordinator.wait_head(before + 3, 60)  # the others go on
        victim.start()
        after = coordinator.status()["head"]
        victim.wait_head(after, 90)
        self.wait_current(victim)
        after = coordinator.status()["head"] + 4
        self.wait_all_heads(nodes, after)
        node_id = victim.status()["node_id"]
        answers = self.check_history(least_head=after)
        self.assertTrue(self.credited_steps(answers, node_id, since=before + 3), f"{victim.name} never counted again")

    def test_after_ready(self):
        self.dies_at("node.after_ready")

    def test_while_its_pieces_are_asked_for(self):
        self.dies_at("node.pieces_asked")

    def test_owner_before_its_first_result(self):
        self.dies_at("owner.before_first_result")

    def test_owner_after_its_first_result(self):
        self.dies_at("owner.after_first_result")

    def test_after_prepared(self):
        self.dies_at("node.after_prepared")

    def test_after_commit(self):
        self.dies_at("node.after_commit")


class KilledTrainer(ProcessTest):
    def test_trainer_is_restarted_and_the_node_counts_on(self):
        nodes = self.start_run()
        self.cluster.coordinator.wait_head(3)
        pid = self.wait(nodes[1].trainer_pid, 20, "a trainer")
        os.kill(pid, signal.SIGKILL)
        self.wait(lambda: nodes[1].trainer_pid() not in (None, pid), 30, "a new trainer")
        self.assertTrue(nodes[1].alive(), "the agent must outlive its trainer")
        head = self.cluster.coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 5)
        self.check_history(least_head=head + 5)


class KilledCoordinator(ProcessTest):
    def dies_at(self, failpoint, count=4):
        """The run goes on from where it was, with the same nodes, which never stopped."""
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(2)
        coordinator.stop()
        coordinator.start(env={"SKERRY_FAILPOINT": f"{failpoint}:{count}"})
        self.assertEqual(coordinator.wait(60), -signal.SIGKILL, f"{failpoint} was not passed {count} times")
        heads = [node.head() for node in nodes]
        coordinator.start()
        coordinator.wait_head(max(heads) + 4, 60)
        for node in nodes:
            self.assertTrue(node.alive(), f"{node.name} ended with the coordinator")
        self.wait_all_heads(nodes, max(heads) + 4)
        self.check_history(least_head=max(heads) + 4)

    def test_before_the_decisions_row(self):
        self.dies_at("coordinator.before_decision")

    def test_after_the_decisions_row(self):
        self.dies_at("coordinator.after_decision")


class EverythingKilled(ProcessTest):
    def test_all_at_once_after_a_decision(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(2)
        coordinator.stop()
        coordinator.start(env={"SKERRY_FAILPOINT": "coordinator.after_decision:4"})
        self.assertEqual(coordinator.wait(60), -signal.SIGKILL)
        self.cluster.kill()
        coordinator.start()
        decided = coordinator.status()["head"]
        self.assertGreaterEqual(decided, 3)
        for node in nodes:
            node.start()
        coordinator.wait_head(decided + 3, 60)
        self.wait_all_heads(nodes, decided + 3)
        self.check_history(least_head=decided + 3)


class FrozenNode(ProcessTest):
    def test_holds_the_others_no_longer_than_the_deadline(self):
        nodes = self.start_run(round_deadline="6s", exchange_deadline="4s", silent_after="2s")
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        frozen = nodes[1]
        pid = frozen.trainer_pid()
        frozen.freeze()
        begin, head = time.monotonic(), coordinator.status()["head"]
        coordinator.wait_head(head + 2, 30)
        waited = time.monotonic() - begin
        # Round deadline and its tenth, or a plan of the old roster that has to be superseded.
        report(f"frozen node: two steps of the others in {waited:.1f} s, deadline 6 s")
        self.assertLess(waited, 6 * 1.1 + 4 + 1)
        frozen.thaw()
        self.assertIsNotNone(pid)
        head = coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 3)
        self.check_history(least_head=head + 3)


if __name__ == "__main__":
    unittest.main()
