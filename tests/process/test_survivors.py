"""A node dies or freezes in the middle of an exchange, while it owns pieces. The others go on in time, lose no inner
step, and it is back in a committed step within two rounds."""
import os
import pathlib
import time
import unittest

from harness import PACE, ROOT, ProcessTest, report

STEP_MS, LOCAL_STEPS = 200, 15  # a round takes three seconds
SILENT_AFTER = 2.0
GO_ON = 1.0 * PACE   # beyond detection: another plan is in force, or the step is decided
COMMIT = 2.0 * PACE  # beyond detection


def process_state(pid):
    """The letter of /proc/PID/stat; None for a process that is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


class SurvivorsTest(ProcessTest):
    """What tests of processes and of namespaces share: the run, the watch over it, the verdicts."""

    trainer = staticmethod(lambda: str(ROOT / "tests" / "support" / "synthetic_trainer"))  # it counts its steps
    local_steps, step_ms, silent_after = LOCAL_STEPS, STEP_MS, SILENT_AFTER

    def settings(self):
        return {"local_steps": self.local_steps, "round_deadline": "8s", "exchange_deadline": "10s",
                "silent_after": f"{self.silent_after:.0f}s", "away_after": "60s"}

    def trainer_env(self, name):
        """Slow steps, and a count of them."""
        folder = self.folder / "tally" / name
        folder.mkdir(parents=True, exist_ok=True)
        return {"SKERRY_TEST_TRAINER_ARGS": f"--step-ms {self.step_ms} --tally {folder}"}

    def tallies(self, name):
        return [int(path.read_text() or 0) for path in (self.folder / "tally" / name).iterdir()]

    def watch_until_commit(self, step, patience=40):
        """Looks at the open step until it is decided: [(time, status)] of each look."""
        seen = []
        end = time.monotonic() + patience
        while time.monotonic() < end:
            status = self.cluster.coordinator.status()
            if status:
                seen.append((time.monotonic(), status))
                if status["head"] > step:
                    return seen
        self.fail(f"step {step} was not decided in {patience} s: {seen[-1] if seen else None}")

    @staticmethod
    def first_attempt_ended(seen, step):
        """When the plan with the lost node was over: superseded, or its step decided."""
        return next(at for at, status in seen if status["head"] > step or status["attempt"] > 1)

    def back_after(self, answers, node_id, head):
        """Rounds until the node counted again: 0 is the step that was open when it came back."""
        steps = self.credited_steps(answers, node_id, since=head)
        self.assertTrue(steps, "the node never counted again")
        return steps[0] - head

    def check_no_step_lost(self, survivors, answers):
        """Each inner step of a survivor is in a decision, apart from the round that was under way at the end."""
        longest = max(answers.values(), key=lambda answer: answer["head"])
        for name, node_id in survivors.items():
            tallies = self.tallies(name)
            self.assertEqual(len(tallies), 1, f"the trainer of {name} was restarted: {tallies}")
            credited = sum(segment["to"] - segment["from"] for decision in longest["decisions"]
                           for credit in decision["credits"] if credit["node"] == node_id for segment in credit["segments"])
            self.assertGreaterEqual(tallies[0], credited, name)
            self.assertLessEqual(tallies[0] - credited, self.local_steps, f"{name} did {tallies[0]} inner steps, {credited} count")

    def verdict(self, what, harmed, detected, seen, step):
        go_on = self.first_attempt_ended(seen, step) - detected
        commit = seen[-1][0] - detected
        report(f"{what}: another plan {go_on:.2f} s and a commit {commit:.2f} s after detection, which took {detected - harmed:.1f} s")
        self.assertLessEqual(go_on, GO_ON)
        self.assertLessEqual(commit, COMMIT)


class Survivors(SurvivorsTest):
    def begin(self, failpoint):
        """Three nodes; the second one comes to harm at the failpoint. Returns them and the step that was open."""
        token = self.prepare(**self.settings())
        for name in ("a", "b", "c"):
            env = self.trainer_env(name)
            if name == "b":
                env["SKERRY_FAILPOINT"] = failpoint
            self.join(token, name, env=env)
        return [self.cluster.node(name) for name in ("a", "b", "c")]

    def harm_at(self, pid, states):
        """Waits for the process to be in one of the states; the moment it was seen, and the step that was open."""
        end = time.monotonic() + 120
        while process_state(pid) not in states:
            self.assertLess(time.monotonic(), end, "the failpoint was not passed")
            time.sleep(0.005)
        return time.monotonic()

    def goes_on(self, what, failpoint, states, detection, recover):
        nodes = self.begin(failpoint)
        victim, coordinator = nodes[1], self.cluster.coordinator
        self.wait_current(victim)
        ids = {node.name: node.status()["node_id"] for node in nodes}
        harmed = self.harm_at(victim.pid, states)
        status = coordinator.status()
        self.assertEqual(status["phase"], "open", f"in mid-exchange: {status}")
        step = status["head"]
        seen = [(time.monotonic(), status), *self.watch_until_commit(step)]
        self.verdict(what, harmed, harmed + detection, seen, step)
        coordinator.wait_head(step + 2)
        recover(victim)
        head = coordinator.status()["head"]
        coordinator.wait_head(head + 4, 90)
        self.wait_all_heads(nodes, head + 4)
        answers = self.check_history(least_head=head + 4)
        self.check_no_step_lost({name: ids[name] for name in ("a", "c")}, answers)
        rounds = self.back_after(answers, ids["b"], head)
        report(f"{what}: back in a committed step after {rounds} rounds; survivors lost no inner step")
        self.assertLessEqual(rounds, 2)

    def test_a_peer_is_killed_while_it_owns_pieces(self):
        self.goes_on("killed", "owner.after_first_result:5", (None, "Z"), 0.0, lambda victim: victim.start(env=self.trainer_env("b")))

    def test_a_peer_is_killed_before_it_gave_anything(self):
        self.goes_on("killed early", "node.pieces_asked:5", (None, "Z"), 0.0, lambda victim: victim.start(env=self.trainer_env("b")))

    def test_a_peer_freezes_while_it_owns_pieces(self):
        self.goes_on("frozen", "owner.before_first_result:5:stop", ("T",), self.silent_after, lambda victim: victim.thaw())

    def test_several_are_lost_at_once_and_the_rest_hold(self):
        """Of four nodes three go at once: one cannot go on alone, keeps everything, and says so."""
        token = self.prepare(**self.settings())
        for name in ("a", "b", "c", "d"):
            self.join(token, name, env=self.trainer_env(name))
        nodes = [self.cluster.node(name) for name in ("a", "b", "c", "d")]
        for node in nodes:
            self.wait_current(node)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(2)
        ids = {node.name: node.status()["node_id"] for node in nodes}
        for node in nodes[1:]:
            node.signal(9)
        for node in nodes[1:]:
            node.wait(10)

        def holds():
            status = coordinator.status()
            return status if status and status["phase"] == "hold" else None
        status = self.wait(holds, 20, lambda: f"hold; {coordinator.status()}")
        self.assertTrue(status["hold_reason"])
        self.assertTrue({"b", "c", "d"} <= {one["node"] for one in status["waiting_for"]}, status["waiting_for"])
        self.assertTrue(nodes[0].alive())
        told = self.wait(lambda: (nodes[0].status() or {}).get("hold_reason"), 10, "the node to know")
        self.assertTrue(told)
        for node in nodes[1:]:
            node.start(env=self.trainer_env(node.name))
        head = coordinator.status()["head"]
        coordinator.wait_head(head + 3, 90)
        self.wait_all_heads(nodes, head + 3)
        answers = self.check_history(least_head=head + 3)
        self.check_no_step_lost({"a": ids["a"]}, answers)


if __name__ == "__main__":
    unittest.main()
