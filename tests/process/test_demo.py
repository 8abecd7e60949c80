"""The demo as a newcomer runs it, shorter: it must learn, agree at every step, and clean up after itself."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import ROOT, wait_until


def demo_command(folder, *more):
    return [str(ROOT / "deploy" / "demo.sh"), "--no-setup", "--plain", "--dir", str(folder), *[str(word) for word in more]]


def processes_of(folder):
    """Processes whose command line names the folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


class Demo(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="skerry-demo-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def test_one_and_a_half_million_tokens(self):
        summary = self.folder / "summary.json"
        done = subprocess.run(demo_command(self.folder / "run", "--tokens", 1_500_000, "--summary", summary),
                              capture_output=True, text=True, timeout=500, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-3000:])
        result = json.loads(summary.read_text())
        self.assertLessEqual(result["loss_last"], 1.65)
        self.assertGreater(result["loss_first"], 5.0)
        self.assertEqual(result["states_differing"], [])
        self.assertEqual(result["states_compared"], result["steps"] + 1)
        self.assertTrue((pathlib.Path(result["model"]) / "model.safetensors").exists())
        self.assertEqual(processes_of(self.folder), [])

    def test_interrupt_leaves_nothing_behind(self):
        memory_before = set(os.listdir("/dev/shm"))
        run = self.folder / "run"
        with open(self.folder / "out", "wb") as out:
            demo = subprocess.Popen(demo_command(run, "--tokens", 3_000_000), stdout=out, stderr=out, start_new_session=True)
        try:
            wait_until(lambda: (run / "node-3" / "agent.sock").exists() or demo.poll() is not None, 120, "three nodes")
            os.killpg(demo.pid, signal.SIGINT)
            self.assertEqual(demo.wait(60), 130, (self.folder / "out").read_text()[-2000:])
        finally:
            if demo.poll() is None:
                os.killpg(demo.pid, signal.SIGKILL)
        wait_until(lambda: not processes_of(run), 10, lambda: f"processes left: {processes_of(run)}")
        self.assertEqual([str(path) for path in run.rglob("*") if path.is_socket()], [])
        self.assertEqual(set(os.listdir("/dev/shm")) - memory_before, set())


if __name__ == "__main__":
    unittest.main()
