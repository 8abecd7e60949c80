"""The owner of a machine stays in charge: pauses that free memory, limits changed while running, Ctrl-C in three stages."""
import json
import pathlib
import pickle
import signal
import time
import unittest

from harness import PACE, ProcessTest, error_of, report
from test_resources import MIB, log_bytes


def trainer_is_gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


class OwnerTest(ProcessTest):
    """Inner steps of 50 ms, so that a round has a length."""

    def begin(self, nodes=2, step_ms=50, **changes):
        token = self.prepare(**changes)
        names = [f"node-{i + 1}" for i in range(nodes)]
        self.env = {"SKERRY_TEST_TRAINER_ARGS": f"--step-ms {step_ms}"}
        self.join(token, *names, env=self.env)
        self.cluster.coordinator.wait_head(1)
        return [self.cluster.node(name) for name in names]

    def in_mid_round(self, node, most=60):
        """A round that has begun and will not end at once."""
        return self.wait(lambda: (s := node.status()) and s["trainer"] == "training" and 2 < s["delta"]["steps"] < most and s, 60, "a round")


class Pause(OwnerTest):
    def test_a_pause_frees_the_trainer_and_the_run_goes_on(self):
        # Rounds of 5 s and more: the pause does not wait for their end.
        nodes = self.begin(nodes=3, local_steps=100, round_deadline="30s")
        coordinator, node = self.cluster.coordinator, nodes[0]
        status = self.in_mid_round(node)
        pid, node_id, head = status["trainer_pid"], status["node_id"], status["head"]
        begun = time.monotonic()
        answer = json.loads(node.ask("pause", "--for", "2h", "--json").stdout)
        self.assertEqual(answer["pause"]["reason"], "user")
        self.wait(lambda: trainer_is_gone(pid), 10, "the trainer's end", )
        took = time.monotonic() - begun
        self.assertLess(took, 5 * PACE, "the memory is free within 5 s")
        report(f"the trainer was gone {took:.1f} s after the pause")
        status = node.status()
        self.assertTrue(status["connected"])
        self.assertRegex(status["pause"]["text"], r"^paused\(user\) until ")
        self.wait(lambda: node.head() >= head + 2, 60, "the others' steps, replayed here")
        status = node.status()
        self.assertEqual((status["trainer_pid"], status["leases"]), (0, []), "no process, and no data kept from the others")
        # A restart of the agent forgets nothing.
        node.stop()
        node.start(self.env)
        self.wait(lambda: (s := node.status()) and s["pause"] and s["phase"] == "paused", 30, "paused after a restart")
        node.ask("resume")
        self.assertIsNone(node.status()["pause"])
        resumed = coordinator.status()["head"]
        self.wait(lambda: node.status()["trainer"] == "training", 30, "training")
        coordinator.wait_head(resumed + 2)
        answers = self.check_history(least_head=resumed + 2)
        credited = self.credited_steps(answers, node_id)
        self.assertIn(head, credited, "what was trained before the pause counts in its step")
        self.assertFalse([step for step in credited if head < step < head + 2], "paused")
        self.assertTrue([step for step in credited if step >= resumed], "it counts again")

    def test_the_inner_optimizer_outlives_its_process(self):
        """What was saved at the pause is credited, so its weights are of no use; the optimizer's state is."""
        node = self.begin(nodes=3, local_steps=40)[0]
        self.in_mid_round(node, most=30)
        before = self.pause_saved(node)
        head = node.head()
        self.wait(lambda: node.head() >= head + 2, 60, "the step that its work counts in, and one more")
        node.stop()
        node.start(self.env)
        self.wait(lambda: node.status(), 30, "the agent")
        node.ask("resume")
        self.in_mid_round(node, most=30)
        self.assertEqual(node.status()["progress"]["restored_steps"], 0, "the weights are the agreed ones")
        self.assertGreater(self.pause_saved(node), before, "steps of the optimizer, counted on over two processes")
        self.check_history()

    def pause_saved(self, node):
        """Pauses; the inner steps that the optimizer's saved state has seen."""
        node.ask("pause")
        self.wait(lambda: node.status()["trainer_pid"] == 0, 20, "the trainer's end")
        newest = max((node.dir / "run" / "progress").glob("*.trainer"), key=lambda path: path.stat().st_mtime_ns)
        with open(newest, "rb") as saved:
            return pickle.load(saved)["optimizer"]["steps"]

    def test_a_pause_ends_by_itself(self):
        node = self.begin()[0]
        node.ask("pause", "--for", "2s")
        self.assertIsNotNone(node.status()["pause"])
        self.wait(lambda: node.status()["pause"] is None and node.status()["trainer_pid"], 20, "training again")
        done = node.ask("pause", "--for", "soon", check=False)
        self.assertIn("is no duration", done.stderr)
        self.check_history()


class Limits(OwnerTest):
    def limits(self, node, *words, **options):
        return node.ask("limits", *words, "--json", **options)

    def test_limits_change_while_the_node_runs(self):
        nodes = self.begin(local_steps=20)
        node, config = nodes[0], nodes[0].dir / "node.toml"
        config.write_text(config.read_text() + "# a line of mine\n")
        pid = node.pid
        answer = json.loads(self.limits(node, "set", "--up", "2Mbit", "--disk", "1GiB", "--threads", "2").stdout)
        self.assertEqual((answer["up"], answer["threads"]), ("2Mbit", 2))
        self.assertEqual(node.status()["limits"]["up"], "2Mbit")
        self.assertIn("# a line of mine\n", config.read_text())
        self.wait(lambda: self.trainer_threads(node) == "2", 60, "a trainer with two threads, between rounds")
        self.assertTrue(node.alive() and node.pid == pid, "no restart")

        good = config.read_text()
        config.write_text(good.replace('up = "2Mbit"', 'up = "2Mbut"'))
        done = self.limits(node, "reload", check=False)
        self.assertEqual(error_of(done), (2, "CONFIG_INVALID"))
        line = good.splitlines().index(next(row for row in good.splitlines() if row.startswith("up ="))) + 1
        self.assertIn(f"node.toml:{line}:", done.stderr)
        self.assertEqual(json.loads(self.limits(node, "show").stdout)["up"], "2Mbit", "the old limits hold")
        done = self.limits(node, "set", "--up", "fast", check=False)
        self.assertEqual(error_of(done)[1], "CONFIG_INVALID", "a broken file is not written over")
        config.write_text(good.replace('up = "2Mbit"', 'up = "3Mbit"'))
        node.signal(signal.SIGHUP)
        self.wait(lambda: node.status()["limits"]["up"] == "3Mbit", 10, "the file, read at SIGHUP")
        self.assertEqual(error_of(self.limits(node, "set", "--up", "fast", check=False))[1], "USAGE")
        self.check_history()

    def trainer_threads(self, node):
        pid = node.trainer_pid()
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0") if pid else []
        return words[words.index("--threads") + 1] if "--threads" in words else None

    def test_a_smaller_disk_is_kept_to_while_running(self):
        nodes = self.begin(step_ms=0, local_steps=1, snapshot_every=10)
        node = nodes[0]
        self.wait(lambda: log_bytes(node) > 5 * MIB, 120, "a log of 5 MiB")
        self.limits(node, "set", "--disk", "4MiB")
        self.wait(lambda: log_bytes(node) <= 4 * MIB, 30, lambda: f"{log_bytes(node)} bytes to be 4 MiB")
        head = node.head()
        self.wait_all_heads([node], head + 50)
        self.assertLessEqual(log_bytes(node), 4 * MIB)
        self.assertGreater(log_bytes(nodes[1]), 5 * MIB, "the other's owner has set no limit")
        self.check_history(least_head=head + 50)

    def test_hours_and_the_day_s_bytes_pause_the_node(self):
        node = self.begin(local_steps=20)[0]
        other_day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][(time.localtime().tm_wday + 3) % 7]
        self.limits(node, "set", "--hours", other_day)
        self.assertRegex(node.status()["pause"]["text"], r"^paused\(schedule\) until ")
        self.wait(lambda: node.status()["trainer_pid"] == 0, 20, "no trainer outside the hours")
        done = node.ask("resume")
        self.assertIn("resumed, but paused(schedule)", done.stdout)
        self.limits(node, "set", "--hours", "none", "--per-day", "1")
        self.assertRegex(node.status()["pause"]["text"], r"^paused\(transfer\) until ")
        used = node.status()["limits"]["transferred_today"]
        self.assertGreater(used, 0)
        node.stop()
        node.start(self.env)
        status = self.wait(lambda: (s := node.status()) and s["pause"] and s, 30, "paused after a restart")
        self.assertEqual(status["pause"]["reason"], "transfer")
        self.assertGreaterEqual(status["limits"]["transferred_today"], used, "today's bytes are not forgotten")
        self.limits(node, "set", "--per-day", "none")
        head = self.wait(lambda: (s := node.status()) and s["trainer"] == "training" and s["head"], 40, "training again")
        self.wait_all_heads([node], head + 2)
        self.check_history()


class CtrlC(OwnerTest):
    def test_the_first_finishes_the_step(self):
        node = self.begin(local_steps=100)[0]
        status = self.in_mid_round(node)
        node.signal(signal.SIGINT)
        self.assertEqual(node.wait(45), 0)
        self.assertIn("finishing the step under way, for 30 s at most", node.tail(40))
        answers = self.check_history(least_head=status["head"] + 1)
        self.assertIn(status["head"], self.credited_steps(answers, status["node_id"]), "the step under way counts")
        self.assertEqual(answers["node-1"]["head"], status["head"] + 1, "and is the last one here")

    def test_the_second_leaves_at_once_and_loses_nothing(self):
        nodes = self.begin(local_steps=400, round_deadline="60s")
        node = nodes[0]
        nodes[1].freeze()  # the step cannot end
        status = self.in_mid_round(node)
        node.signal(signal.SIGTERM)
        time.sleep(1.5)
        self.assertTrue(node.alive(), "it waits for the step")
        begun = time.monotonic()
        node.signal(signal.SIGINT)
        self.assertEqual(node.wait(20), 0)
        self.assertLess(time.monotonic() - begun, 8 * PACE)
        nodes[1].thaw()
        node.start(self.env)
        restored = self.wait(lambda: (s := node.status()) and s["progress"]["restored_steps"], 40, "the saved steps")
        self.assertGreaterEqual(restored, status["delta"]["steps"])
        self.check_history()

    def test_the_third_kills(self):
        node = self.begin(step_ms=3000, local_steps=1, round_deadline="20s")[0]
        self.wait(lambda: node.status()["trainer"] == "training", 30, "an inner step, which cannot be interrupted")
        pid = node.trainer_pid()
        node.signal(signal.SIGTERM)
        time.sleep(0.3)
        node.signal(signal.SIGINT)
        time.sleep(0.3)
        node.signal(signal.SIGTERM)
        self.assertEqual(node.wait(10), 128 + signal.SIGTERM)
        self.wait(lambda: trainer_is_gone(pid), 5, "no trainer is left behind")
        node.start(self.env)
        self.wait_all_heads([node], 3)
        self.check_history(least_head=3)


if __name__ == "__main__":
    unittest.main()
