"""Trainer programs under an agent that misbehaves or dies: nonsense is refused, nothing is left running."""
import array
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from harness import ROOT, default_bin, wait_until

sys.path.insert(0, str(ROOT / "deploy"))
import trainer_client  # noqa: E402

MODEL = dict(vocab_size=256, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
             num_key_value_heads=1, head_dim=8, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0,
             initializer_range=0.02, tie_word_embeddings=True)
TRAIN = dict(batch=1, seq=16, lr=1e-3, min_lr=0.0, schedule="constant", warmup_tokens=0, decay_tokens=0, total_tokens=0,
             beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, clip=1.0, precision="fp32", seed=1)
PYTHON = [sys.executable, str(ROOT / "tests" / "support" / "py_trainer.py"), "--synthetic"]
TRAINER = str(default_bin() / "skerry-trainer")
TORCH = [TRAINER, "--path", "fast"]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Cases:
    program = None

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="skerry-trainer-")
        self.addCleanup(self.folder.cleanup)

    def start(self):
        client = trainer_client.TrainerClient(self.program)
        self.addCleanup(client.close)
        return client

    def prepared(self, theta=None):
        client = self.start()
        theta = trainer_client.memory_of(theta or trainer_client.random_theta(trainer_client.elements_of(MODEL)))
        shard = pathlib.Path(self.folder.name) / "shard.bin"
        trainer_client.write_shard(shard, [i * i % 256 for i in range(1000)])
        trainer_client.prepare(client, MODEL, TRAIN, theta, shard)
        os.close(theta)
        return client

    def refused(self, client, verb, body, code):
        with self.assertRaises(trainer_client.TrainerError) as said:
            client.ask(verb, body)
        self.assertIn(code, str(said.exception))

    def ends(self, client, status):
        with self.assertRaises((trainer_client.TrainerError, ConnectionResetError)):  # reset: it left our bytes unread
            while True:
                client.line()
        self.assertEqual(client.process.wait(30), status)

    def test_unknown_verbs_and_keys_change_nothing(self):
        client = self.prepared()
        self.refused(client, "dance", {}, "USAGE")
        self.refused(client, "load", {"optimizer": "keep", "more": 1}, "CONFIG_INVALID")
        self.refused(client, "load", {}, "CONFIG_INVALID")
        self.refused(client, "feed", {"sequences": [[9, 0]]}, "NOT_FOUND")
        self.refused(client, "feed", {"sequences": [[0, 990]]}, "DATA_INVALID")
        self.refused(client, "weights", {"lo": 0, "hi": 10}, "BAD_SHAPE")
        self.refused(client, "attach", {"region": "weights", "elements": 5}, "USAGE")
        client.ask("feed", {"sequences": [[0, 0], [0, 16]]})
        client.ask("train", {"round": 1, "tokens": 0, "participants": 1, "first_step": 0, "max_steps": 0, "deadline_ms": 0})
        self.assertEqual(client.wait_event("done")["sequences"], 2)

    def test_a_request_before_config_is_refused(self):
        client = self.start()
        client.wait_event("trainer")
        self.refused(client, "load", {"optimizer": "keep"}, "BAD_STATE")
        self.refused(client, "config", {"version": 2, "model": MODEL, "train": TRAIN}, "VERSION_MISMATCH")

    def test_a_line_that_is_none_ends_it(self):
        for nonsense in (b"\n", b"load\n", b"load [1]\n", b"load {\n", b"\xff\xfe {}x\n", b"x" * 70000):
            client = self.start()
            client.wait_event("trainer")
            try:
                client.socket.sendall(nonsense)
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.ends(client, 4)

    def test_end_of_file_ends_it(self):
        client = self.prepared()
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(client.process.wait(30), 0)

    def test_it_dies_with_its_parent(self):
        code = ("import os, sys; sys.path.insert(0, %r); import trainer_client\n"
                "c = trainer_client.TrainerClient(%r)\n"
                "c.wait_event('trainer')\n"
                "os.set_inheritable(c.socket.fileno(), True)\n"
                "print(c.process.pid, flush=True); os.read(0, 1)" % (str(ROOT / "deploy"), self.program))
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            pid = int(parent.stdout.readline())
            self.assertTrue(alive(pid))
            parent.send_signal(signal.SIGKILL)
            wait_until(lambda: not alive(pid), 30, "the trainer to die with its parent")


class TorchTrainer(Cases, unittest.TestCase):
    program = TORCH
    short_by = 60 << 20

    def trained(self, prefix=(), arguments=(), **settings):
        """A client after two steps of a batch of 8, and the answer to config."""
        client = trainer_client.TrainerClient([*prefix, *self.program, *arguments])
        self.addCleanup(client.close)
        client.wait_event("trainer")
        model = MODEL | {"hidden_size": 256, "intermediate_size": 704, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 64,
                         "num_hidden_layers": 4, "max_position_embeddings": 256}
        answer = client.ask("config", {"version": 1, "model": model, "train": TRAIN | {"batch": 8, "seq": 256} | settings})
        theta = trainer_client.memory_of(trainer_client.random_theta(trainer_client.elements_of(model)))
        client.attach("theta", theta, answer["elements"])
        os.close(theta)
        with tempfile.TemporaryDirectory() as folder:
            trainer_client.write_shard(f"{folder}/data.bin", [i * i % 251 for i in range(5000)])
            client.ask("file", {"file": 0, "path": f"{folder}/data.bin"})
        client.ask("load", {"optimizer": "reset"})
        client.ask("feed", {"sequences": [[0, 256 * i] for i in range(16)]})
        client.ask("train", {"round": 1, "tokens": 0, "participants": 1, "first_step": 0, "max_steps": 0, "deadline_ms": 0})
        client.notices = 0
        while True:
            name, event = client.line()
            client.notices += name == "notice"
            if name == "done":
                return client, answer, event

    def bytes_of(self, client, field):
        status = pathlib.Path(f"/proc/{client.process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith(field)).split()[1])

    def test_it_says_what_it_needs_and_needs_no_more(self):
        for precision in ("fp32", "bf16"):
            client, answer, _ = self.trained(precision=precision)
            self.assertEqual((answer["micro_batch"], answer["recompute"]), (8, "none"))
            peak = self.bytes_of(client, "VmHWM")
            self.assertLess(peak, 1.1 * answer["memory_bytes"], precision)
            self.assertGreater(peak, 0.5 * answer["memory_bytes"], precision)

    def test_without_memory_the_batch_is_cut_and_the_step_the_same(self):
        _, whole, expected = self.trained(precision="fp32")
        client, cut, done = self.trained(precision="fp32", arguments=["--memory", str(whole["memory_bytes"] - (40 << 20))])
        self.assertLess(cut["micro_batch"], 8)
        self.assertLess(cut["memory_bytes"], whole["memory_bytes"])
        self.assertAlmostEqual(done["loss"], expected["loss"], places=4)
        _, least, done = self.trained(precision="fp32", micro_batch=1, recompute="layers")
        self.assertEqual((least["micro_batch"], least["recompute"]), (1, "layers"))
        self.assertAlmostEqual(done["loss"], expected["loss"], places=4)

    def test_memory_that_runs_out_does_not_end_it(self):
        whole, _, expected = self.trained(precision="fp32")
        # The estimate knows nothing of this limit: the allocation itself fails.
        limit = self.bytes_of(whole, "VmData") - self.short_by
        client, cut, done = self.trained(prefix=["prlimit", f"--data={limit}"], precision="fp32")
        self.assertTrue(cut["micro_batch"] < 8 or client.notices)
        self.assertAlmostEqual(done["loss"], expected["loss"], places=4)

    def test_where_nothing_fits_it_says_what_is_needed(self):
        client = trainer_client.TrainerClient([*self.program, "--memory", str(128 << 20)])
        self.addCleanup(client.close)
        client.wait_event("trainer")
        client.send("config", {"version": 1, "model": MODEL, "train": TRAIN})
        failed = client.wait_event("failed")
        self.assertEqual(failed["code"], "NOT_ENOUGH_MEMORY")
        self.assertRegex(failed["detail"], r"needs \d+ MiB at least .* has 128 MiB")
        self.assertEqual(client.process.wait(30), 5)

    def test_weights_that_are_not_finite_end_it(self):
        theta = array.array("f", trainer_client.random_theta(trainer_client.elements_of(MODEL)))
        theta[300] = float("nan")
        client = self.prepared(theta)
        window = os.memfd_create("window")
        os.ftruncate(window, 4096)
        client.attach("weights", window, 1024)
        client.send("weights", {"lo": 0, "hi": 1000})
        self.ends(client, 3)
        self.assertEqual(os.pread(window, 4096, 0), bytes(4096))
        client = self.prepared(theta)
        client.ask("feed", {"sequences": [[0, 0], [0, 100], [0, 200]]})
        client.send("train", {"round": 1, "tokens": 0, "participants": 1, "first_step": 0, "max_steps": 0, "deadline_ms": 0})
        self.ends(client, 3)
        os.close(window)

    def test_a_damaged_progress_file_is_refused_and_changes_nothing(self):
        client = self.prepared()
        path = pathlib.Path(self.folder.name) / "progress"
        client.ask("feed", {"sequences": [[0, 0], [0, 100], [0, 200]]})
        client.ask("train", {"round": 1, "tokens": 0, "participants": 1, "first_step": 0, "max_steps": 2, "deadline_ms": 0})
        client.wait_event("done")
        saved = client.ask("save", {"path": str(path), "note": "here"})
        if saved.get("pending"):
            client.wait_event("saved")
        good = path.read_bytes()
        for at in (3, 40, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
            self.refused(client, "restore", {"path": str(path)}, "DIGEST_MISMATCH")
        path.write_bytes(good[:-5])
        self.refused(client, "restore", {"path": str(path)}, "DIGEST_MISMATCH")
        path.write_bytes(good)
        restored = client.ask("restore", {"path": str(path)})
        self.assertEqual(restored["note"], "here")
        self.assertEqual(restored["tokens"], saved["tokens"])


class AutogradTrainer(TorchTrainer):
    """The same with libtorch's autograd, as it would run on a GPU."""
    program = [TRAINER, "--path", "autograd"]
    short_by = 180 << 20  # its heap has holes

    def test_it_says_which_path_it_takes(self):
        for program, path, kernels in ((self.program, "autograd", "libtorch"), (TORCH, "fast", "isa_")):
            client = trainer_client.TrainerClient(program)
            self.addCleanup(client.close)
            client.wait_event("trainer")
            said = client.ask("config", {"version": 1, "model": MODEL, "train": TRAIN})
            self.assertEqual((said["path"], said["device"], said["precision"], said["threads"]), (path, "cpu", "fp32", 1))
            self.assertIn(kernels, said["kernels"])
            self.assertGreater(said["gflops"], 0)

    def test_the_cuda_path_is_taken_or_refused_with_its_reason(self):
        tried = subprocess.run([TRAINER, "--self-test", "--path", "cuda"], capture_output=True, text=True)
        client = trainer_client.TrainerClient([TRAINER, "--path", "cuda"])
        self.addCleanup(client.close)
        client.wait_event("trainer")
        order = {"version": 1, "model": MODEL, "train": TRAIN}
        if tried.returncode == 0:
            self.assertEqual(client.ask("config", order)["device"], "cuda:0")
            return
        self.refused(client, "config", order, "CONFIG_INVALID")
        self.assertIn("no CUDA GPU", tried.stderr)

    def test_what_one_path_saved_the_other_goes_on_with(self):
        path = pathlib.Path(self.folder.name) / "progress"
        order = {"tokens": 0, "participants": 1, "first_step": 0, "max_steps": 3, "deadline_ms": 0}
        ends = []
        for first, second in ((TORCH, TORCH), (TORCH, self.program), (self.program, TORCH), (self.program, self.program)):
            self.program, kept = first, self.program
            client = self.prepared()
            client.ask("feed", {"sequences": [[0, 16 * i] for i in range(6)]})
            client.ask("train", {"round": 1, **order})
            client.wait_event("done")
            if client.ask("save", {"path": str(path), "note": "half"}).get("pending"):
                client.wait_event("saved")
            self.program = second
            client = self.prepared()
            self.program = kept
            self.assertEqual(client.ask("restore", {"path": str(path)})["steps"], 3)
            client.ask("feed", {"sequences": [[0, 16 * i] for i in range(3, 6)]})
            client.ask("train", {"round": 1, **order})
            done = client.wait_event("done")
            self.assertEqual(done["sequences"], 6)
            ends.append((done["loss"], client.ask("eval", {"weights": "local", "spans": [[0, 0, 16, 8]]})["loss"]))
        for end in ends[1:]:
            self.assertAlmostEqual(end[0], ends[0][0], delta=1e-5)
            self.assertAlmostEqual(end[1], ends[0][1], delta=1e-5)


class PythonTrainer(Cases, unittest.TestCase):
    program = PYTHON


if __name__ == "__main__":
    unittest.main()
