"""The coordinator is killed and started again: it answers at once, and the run is as fast as before."""
import socket
import statistics
import time
import unittest

from harness import PACE, ROOT, ProcessTest, report

STEP_MS, LOCAL_STEPS = 200, 15
ANSWERS = 2.0 * PACE


class CoordinatorRestart(ProcessTest):
    trainer = staticmethod(lambda: str(ROOT / "tests" / "support" / "synthetic_trainer"))

    def commit_times(self, since, count, patience=60):
        """The times at which the next `count` decisions were seen."""
        times, head, end = [], since, time.monotonic() + patience
        while len(times) < count:
            self.assertLess(time.monotonic(), end, f"{len(times)} of {count} decisions in {patience} s")
            status = self.cluster.coordinator.status()
            now = time.monotonic()
            if status and status["head"] > head:
                times += [now] * (status["head"] - head)
                head = status["head"]
        return times

    def wait_listening(self, port, patience=20):
        end = time.monotonic() + patience
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return time.monotonic()
            except OSError:
                self.assertLess(time.monotonic(), end, "the port stays closed")
                time.sleep(0.01)

    def all_here(self):
        status = self.cluster.coordinator.status()
        return status and all(one["connected"] and one["seen_ms"] < 2000 for one in status["nodes"])

    def kill_now(self):
        self.cluster.coordinator.kill()

    def kill_before_a_decision(self):
        coordinator = self.cluster.coordinator
        coordinator.stop()
        coordinator.start(env={"SKERRY_FAILPOINT": "coordinator.before_decision:2"})
        self.assertEqual(coordinator.wait(60), -9)

    def test_it_answers_in_two_seconds_and_one_step_later_nothing_is_felt(self):
        env = {"SKERRY_TEST_TRAINER_ARGS": f"--step-ms {STEP_MS}"}
        token = self.prepare(local_steps=LOCAL_STEPS, round_deadline="10s", exchange_deadline="10s", silent_after="3s")
        nodes = self.join(token, "a", "b", "c", env=env)
        coordinator = self.cluster.coordinator
        for node in nodes:
            self.wait_current(node)
        head = coordinator.wait_head(3)["head"]
        clean = self.commit_times(head, 5)
        usual = [b - a for a, b in zip(clean, clean[1:])]
        for moment, kill in (("at any time", self.kill_now), ("before a decision", self.kill_before_a_decision)):
            before = coordinator.status()["head"]
            kill()
            begun = time.monotonic()
            coordinator.start()
            listening = self.wait_listening(coordinator.port) - begun
            status = coordinator.status()
            answered = time.monotonic() - begun
            self.assertIsNotNone(status)
            self.assertGreaterEqual(status["head"], before)
            self.wait(self.all_here, 20, lambda: f"all nodes back; {coordinator.status()}")
            back = time.monotonic() - begun
            times = self.commit_times(status["head"], 3)
            report(f"coordinator killed {moment}: listens after {listening:.2f} s, answers after {answered:.2f} s, all nodes back after {back:.2f} s; "
                   f"commits {', '.join(f'{at - begun:.1f}' for at in times)} s after its start, usually every {statistics.median(usual):.1f} s")
            self.assertLessEqual(answered, ANSWERS)
            for earlier, later in zip(times, times[1:]):
                self.assertLessEqual(later - earlier, 1.3 * max(usual) + 0.5, "a step later it must be as fast as before")
        for node in nodes:
            self.assertTrue(node.alive(), f"{node.name} ended with the coordinator")
        self.check_history(least_head=head + 8)


if __name__ == "__main__":
    unittest.main()
