"""Trainers that die, hang, run out of memory or compute nonsense: it costs their node inner steps since its last save."""
import math
import os
import resource
import signal
import time
import unittest

from harness import ProcessTest, default_bin, report, rss_kib, weights_of
from ledger import Record

TOML = 'save_every = "1s"\nsilent_after = "3s"'
WINDOW = 1 << 20  # elements that travel from trainer to agent at once
LARGE = {"hidden": 256, "inner": 704, "layers": 2}  # 1.67 M elements: more than one window
PYTHON = ProcessTest.trainer


class FaultTest(ProcessTest):
    """A run of three nodes whose rounds take seconds; the second node's trainer misbehaves."""

    changes = {"local_steps": 60, "round_deadline": "30s"}
    arguments = "--step-ms 50"

    def begin(self, victim="", **changes):
        self.once = self.folder / "misbehaved"
        self.token = self.prepare(**{**self.changes, **changes})
        self.join(self.token, "node-1", "node-3", env={"SKERRY_TEST_TRAINER_ARGS": self.arguments})
        self.join(self.token, "node-2", env={"SKERRY_TEST_TRAINER_ARGS": f"{self.arguments} {victim.format(once=self.once)}"}, toml=TOML)
        self.nodes = [self.cluster.node(f"node-{i}") for i in (1, 2, 3)]
        self.victim = self.cluster.node("node-2")
        for node in self.nodes:
            self.wait_current(node)
        self.victim_id = self.victim.status()["node_id"]

    def until(self, check, what, patience=90):
        """The victim's status once `check` holds; its agent must live on."""
        def looked():
            self.victim.check_alive()
            status = self.victim.status()
            return status if status and check(status) else None
        return self.wait(looked, patience, lambda: f"{what}; {self.victim.status()}")

    def until_saved(self, least=10):
        """Some inner steps are in the trainer and a save of them is on disk, of this round."""
        return self.until(lambda s: s["trainer"] == "training" and s["progress"]["steps"] >= least and s["delta"]["steps"] >= s["progress"]["steps"],
                          "a save of local progress")

    def came_back(self, restarts=0):
        """A new trainer is at work and its node counts again; the books are whole. Returns the status after the restart."""
        status = self.until(lambda s: s["trainer_restarts"] > restarts and s["trainer"] in ("training", "waiting"), "a new trainer at work")
        self.cluster.coordinator.wait_credited(["node-2"], 120)
        self.finish()
        return status

    def finish(self):
        self.wait_all_heads(self.nodes, self.cluster.coordinator.status()["head"])
        self.check_history()
        Record().see_database(next(self.cluster.coordinator.dir.glob("**/run.db")))

    def keeps_what_was_saved(self, harm):
        """`harm` ends the trainer; the next one begins with the newest save."""
        for _ in range(5):
            before = self.until_saved()
            harm(before["trainer_pid"])
            after = self.until(lambda s: s["trainer_restarts"] > before["trainer_restarts"] and s["delta"]["steps"] > 0, "a new trainer")
            if after["head"] == before["head"]:
                break  # otherwise the round had ended before the harm was done
        restored = after["progress"]["restored_steps"]
        report(f"{before['delta']['steps']} inner steps were done when the trainer ended, {restored} were kept, a save every "
               f"{before['progress']['every_ms'] / 1000:.1f} s")
        self.assertGreaterEqual(restored, before["progress"]["steps"])
        self.assertTrue(after["trainer_error"])
        return self.came_back()


class DiesOrHangs:
    """What any trainer must get over."""

    def test_killed(self):
        self.begin()
        self.keeps_what_was_saved(lambda pid: os.kill(pid, signal.SIGKILL))

    def test_hung(self):
        self.begin()
        self.keeps_what_was_saved(lambda pid: os.kill(pid, signal.SIGSTOP))


class Killed(DiesOrHangs, FaultTest):
    """The trainer in Python."""


class OutOfMemory(FaultTest):
    def test_no_more_memory(self):
        self.begin("--eat-at 45 --once {once}")
        status = self.until(lambda s: s["trainer"] == "training", "training")
        limit = (rss_kib(status["trainer_pid"], "VmSize") + (256 << 10)) << 10
        resource.prlimit(status["trainer_pid"], resource.RLIMIT_AS, (limit, limit))
        after = self.until(lambda s: s["trainer_restarts"] > 0 and s["delta"]["steps"] > 0, "a new trainer")
        self.assertIn("NOT_ENOUGH_MEMORY", after["trainer_error"])
        self.assertGreater(after["progress"]["restored_steps"], 0)
        self.came_back()


class NotFinite(FaultTest):
    """Whatever a trainer makes of its weights, no NaN and no Inf is in what the run agrees on."""

    def begins_anew(self, arguments, **changes):
        self.begin(arguments + " --once {once}", **changes)
        self.until(lambda s: s["trainer_restarts"] > 0, "the trainer to be ended")
        after = self.until(lambda s: s["delta"]["steps"] > 0, "a new trainer")
        self.assertEqual(after["progress"]["restored_steps"], 0, "it begins from theta")
        self.assertIn("NOT_FINITE", after["trainer_error"])
        self.cluster.coordinator.wait_credited([node.name for node in self.nodes], 120)
        self.wait_all_heads(self.nodes, self.cluster.coordinator.status()["head"])
        self.all_finite()
        self.finish()

    def all_finite(self):
        for node in self.nodes:
            folder = self.folder / f"model-{node.name}"
            node.ask("export", "-o", folder)
            for name, values in weights_of(folder):
                self.assertTrue(all(map(math.isfinite, values)), f"{node.name}: {name} is not finite")

    def test_loss_that_the_trainer_notices(self):
        self.begins_anew("--nan-at 30")

    def test_loss_that_it_only_says(self):
        self.begins_anew("--loss-nan-at 30")

    def test_nan_in_the_last_weight(self):
        self.begins_anew("--poison-at 55 --poison -1")

    def test_inf_in_the_first_weight(self):
        self.begins_anew("--poison-at 55 --poison 0 --poison-value inf")

    def test_minus_inf_in_the_middle_of_the_first_window(self):
        self.begins_anew(f"--poison-at 5 --poison {WINDOW // 2 + 17} --poison-value=-inf", **LARGE, local_steps=8)

    def test_nan_at_the_end_of_the_first_window(self):
        self.begins_anew(f"--poison-at 5 --poison {WINDOW - 1}", **LARGE, local_steps=8)

    def test_nan_at_the_beginning_of_the_second_window(self):
        self.begins_anew(f"--poison-at 5 --poison {WINDOW}", **LARGE, local_steps=8)


class AgainAndAgain(FaultTest):
    """A trainer that cannot do it: started ever more rarely, its node is not waited for, its data goes to others."""

    def test_dies_at_every_start(self):
        self.begin("--die-at 1", local_steps=4)
        status = self.until(lambda s: s["trainer_failures"] >= 4 and s["trainer_retry_ms"] > 2000, "a long wait for the next start")
        self.assertEqual(status["trainer"], "failed")
        self.assertTrue(status["trainer_error"])
        coordinator = self.cluster.coordinator
        head, begin = coordinator.status()["head"], time.monotonic()
        coordinator.wait_head(head + 3, 60)
        seconds = time.monotonic() - begin
        self.assertLess(seconds, 30, "three steps in less than one round's deadline: nobody waits for it")
        self.assertTrue(self.victim.alive())
        answers = self.check_history(least_head=head + 3)
        self.assertFalse(self.credited_steps(answers, self.victim_id))
        Record().see_database(next(coordinator.dir.glob("**/run.db")))

    def test_poisons_every_round(self):
        self.begin("--poison-at 2", local_steps=4)
        status = self.until(lambda s: s["trainer_failures"] >= 3 and s["trainer_retry_ms"] > 0, "failures in a row")
        self.assertIn("NOT_FINITE", status["trainer_error"])
        head = self.cluster.coordinator.status()["head"]
        self.cluster.coordinator.wait_head(head + 3, 60)
        answers = self.check_history(least_head=head + 3)
        self.assertFalse(self.credited_steps(answers, self.victim_id))


class TorchTrainer(DiesOrHangs, FaultTest):
    """skerry-trainer itself."""

    changes = {"local_steps": 1500, "round_deadline": "60s", "hidden": 64, "inner": 160, "layers": 2, "batch": 4, "text_bytes": 2_000_000}
    arguments = ""
    trainer = staticmethod(lambda: str(default_bin() / "skerry-trainer"))

    def test_weights_that_run_away(self):
        """A learning rate that no model survives (the decay alone makes each weight nine times as large): nothing is ever committed, nobody dies, everybody says why."""
        token = self.prepare(**{**self.changes, "local_steps": 50}, lr=100.0)
        nodes = self.join(token, "node-1", "node-2", toml=TOML)
        def told():
            return all((s := node.status()) and s["trainer_failures"] >= 3 and "NOT_FINITE" in s["trainer_error"] for node in nodes)
        self.wait(told, 90, lambda: f"failures in a row; {nodes[0].status()}")
        self.assertTrue(all(node.alive() for node in nodes))
        status = self.cluster.coordinator.status()
        self.assertEqual(status["tokens"], 0)
        self.assertEqual(status["head"], 0, "an outer step without data is none")


if __name__ == "__main__":
    unittest.main()
