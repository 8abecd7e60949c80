"""Agent and trainer killed in the middle of a long round: no more is lost than since the last save, and what follows is
what would have followed. skerry-trainer, deterministic in fp32 on one thread."""
import array
import json
import os
import pathlib
import shutil
import signal
import sys
import time
import unittest

from harness import ROOT, ProcessTest, default_bin, report

sys.path.insert(0, str(ROOT / "deploy"))
import trainer_client  # noqa: E402

EVERY = 2.0
SLACK = 2.0  # a status is up to 0.75 s old, and a save that is being written when the kill comes does not count
ROUND = 30.0  # seconds, about; half of it on a machine that was busy when it was measured
SOON = 20     # inner steps
SHAPE = {"hidden": 64, "inner": 160, "layers": 2, "batch": 4}


def steps_of_a_round():
    """Inner steps that this machine does in ROUND seconds."""
    model = dict(vocab_size=256, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=2,
                 num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True)
    train = dict(batch=4, seq=32, lr=1e-3, schedule="constant", precision="fp32")
    tokens_per_second = max(trainer_client.measure_speed(default_bin() / "skerry-trainer", model, train, 1) for _ in range(3))
    return max(100, int(ROUND * tokens_per_second / (4 * 32)))


class LocalProgress(ProcessTest):
    trainer = staticmethod(lambda: str(ROOT / "tests" / "support" / "trainer_tap.py"))

    def setUp(self):
        super().setUp()
        self.taps = self.folder / "taps"
        self.env = {"SKERRY_TAP_TRAINER": str(default_bin() / "skerry-trainer"), "SKERRY_TAP_DIR": str(self.taps)}

    def test_kill_of_agent_and_trainer_costs_no_more_than_the_interval(self):
        self.steps = steps_of_a_round()
        token = self.prepare(local_steps=self.steps, round_deadline="600s", exchange_deadline="60s", away_after="60s", min_nodes=1,
                             durable_copies=1, text_bytes=3_000_000, **SHAPE)
        node = self.join(token, "node-1", env=self.env, toml=f'save_every = "{EVERY:.0f}s"\nthreads = 1')[0]
        samples = self.watch(node)
        killed_at = time.monotonic()
        self.kill_both(node)
        slots = self.keep_disk(node)
        node.start(env=self.env)
        restored = self.wait(lambda: self.restored(node), 60, "the saved progress to be restored")
        reached = next(at for at, steps in samples if steps >= restored) if samples[-1][1] >= restored else killed_at
        lost = killed_at - reached
        done = samples[-1][1]
        self.assertLessEqual(lost, EVERY + SLACK, f"{done - restored} inner steps")
        self.assertGreater(reached - samples[0][0], 2 * EVERY, "the kill came after more than two saves")

        node.wait_head(1, 240)
        self.cluster.stop()
        handed_over = self.first_weights()
        again = self.replay(slots)
        self.assertEqual(len(handed_over), len(again))
        self.assertEqual(handed_over.tobytes(), again.tobytes(), "the restored trainer went another way than the file's continuation")
        # theta + (local - theta) is not local to the last bit, and training amplifies that: looked at soon after.
        went_on, straight, fresh = self.went_on(slots), self.straight(restored), self.straight(restored, forget=True)
        gap, without = difference(went_on, straight), difference(went_on, fresh)
        self.assertLess(gap * 100, without, "an optimizer that began anew would differ a hundred times more")
        report(f"kill -9 of agent and trainer: {max(0, done - restored)} of {done} inner steps lost, {lost:.1f} s of work with a save every "
               f"{EVERY:.0f} s; the round's weights bit for bit those of the save's continuation; {SOON} steps after the restart {gap:.0e} from a "
               f"run without a kill, {without:.0e} had the optimizer begun anew")

    # --- the run ----------------------------------------------------------------------------------------

    def watch(self, node):
        """[(time, inner steps done)] until the node has trained for some intervals."""
        samples, saves = [], set()
        def enough():
            node.check_alive()
            status = node.status()
            if status and status["trainer"] == "training":
                saves.add(status["progress"]["steps"])
                samples.append((time.monotonic(), status["delta"]["steps"]))
                self.assertLessEqual(status["progress"]["every_ms"], EVERY * 1000)
            long_enough = len(samples) > 1 and samples[-1][0] - samples[0][0] > 4 * EVERY
            return long_enough and len(saves) > 3
        self.wait(enough, 120, lambda: f"some saves; {node.status()}")
        self.assertLess(samples[-1][1], self.steps * 0.9, "the round must not be over")
        return samples

    def kill_both(self, node):
        tap = node.status()["trainer_pid"]
        child = int(pathlib.Path(f"/proc/{tap}/task/{tap}/children").read_text().split()[0])
        for pid in (node.pid, tap, child):
            os.kill(pid, signal.SIGKILL)
        node.wait(10)
        self.first_tap, = self.taps.iterdir()

    def keep_disk(self, node):
        """theta and the slots as the kill left them. What is restored is named by the new process's request."""
        self.theta = (node.dir / "run" / "state" / "theta").read_bytes()
        kept = self.folder / "kept"
        shutil.copytree(node.dir / "run" / "progress", kept)
        return kept

    def restored(self, node):
        status = node.status()
        return status and status["progress"]["restored_steps"]

    def second_tap(self):
        return next(path for path in self.taps.iterdir() if path != self.first_tap)

    def first_weights(self):
        """Handed over by the second process at the end of the round."""
        return array.array("f", (min(self.second_tap().glob("*.f32"))).read_bytes())

    # --- the oracles ------------------------------------------------------------------------------------

    def requests(self, tap):
        for line in (tap / "requests").read_bytes().splitlines():
            verb, _, body = line.partition(b" ")
            yield verb.decode(), json.loads(body)

    def trained(self, requests, slots=None):
        """Weights after the first round of `requests`, asked of a trainer of our own."""
        with trainer_client.TrainerClient(self.env["SKERRY_TAP_TRAINER"]) as client:
            client.wait_event("trainer")
            elements = len(self.theta) // 4
            for verb, body in requests:
                if verb == "attach":
                    memory = trainer_client.memory_of(self.theta) if body["region"] == "theta" else os.memfd_create("window")
                    os.ftruncate(memory, 4 * max(elements, body["elements"]))
                    client.attach(body["region"], memory, body["elements"])
                    if body["region"] == "weights":
                        window = memory
                elif verb == "restore":
                    client.ask(verb, {"path": str(slots / pathlib.Path(body["path"]).name)})
                elif verb == "train":
                    client.ask(verb, body)
                    self.assertEqual(client.wait_event("done")["why"], "steps", "only a round that ends by its steps can be repeated")
                elif verb == "weights":
                    client.ask(verb, body)
                    self.assertEqual((body["lo"], body["hi"]), (0, elements), "one window")
                    return array.array("f", os.pread(window, 4 * elements, 0))
                elif verb == "forget":  # AdamW's state; local stays: it is shown as theta and loaded
                    client.ask("weights", {"lo": 0, "hi": elements})
                    client.attach("theta", window, elements)
                    client.ask("load", {"optimizer": "reset"})
                elif verb != "save":
                    client.ask(verb, body)
        raise AssertionError("no round was ended")

    def replay(self, slots):
        """What the second process was asked, from the same file, to the end of the round."""
        return self.trained(self.requests(self.second_tap()), slots)

    def went_on(self, slots):
        """The same, but only SOON steps."""
        return self.trained(self.cut_short(self.requests(self.second_tap()), [SOON]), slots)

    def straight(self, restored, forget=False):
        """The first process's round without a kill, to the same step; `forget`: AdamW's state is lost after `restored` steps."""
        return self.trained(self.cut_short(self.requests(self.first_tap), [restored, SOON], forget))

    def cut_short(self, requests, steps, forget=False):
        """Up to the first `train`, which is given in parts of so many steps."""
        for verb, body in requests:
            if verb != "train":
                yield verb, body
                continue
            first = body["first_step"]
            for i, part in enumerate(steps):
                if forget and i > 0:
                    yield "forget", {}
                yield verb, {**body, "first_step": first, "max_steps": part}
                first += part
            yield "weights", {"lo": 0, "hi": len(self.theta) // 4}


def difference(a, b):
    """Largest distance of two weight vectors."""
    return max(abs(x - y) for x, y in zip(a, b))


if __name__ == "__main__":
    unittest.main()
