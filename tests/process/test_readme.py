"""Every command of the README's "Three machines" is run, in order, with this machine in all three roles."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from harness import ROOT, default_bin, prose, wait_until


def readme_commands():
    """(machine, command) of every console block of the section."""
    section = (ROOT / "README.md").read_text().split("## Three machines", 1)[1].split("\n## ", 1)[0]
    found = []
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        for line in block.splitlines():
            match = re.match(r"(vps|gpu)\$ (.*?)(?:\s+#.*)?$", line)
            if match:
                found.append(match.groups())
    return found


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Readme(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="skerry-readme-"))
        self.running = []
        self.env = {**os.environ, "PATH": f"{default_bin()}:{os.environ['PATH']}"}
        (self.folder / "log").touch()
        (self.folder / "notes").mkdir()
        (self.folder / "notes" / "one.txt").write_text(prose(300_000))
        (self.folder / "notes" / "two.txt").write_text(prose(100_000, seed=3))
        (self.folder / "held-out.txt").write_text(prose(60_000, seed=2))
        text = (ROOT / "deploy" / "config" / "run.toml").read_text()
        (self.folder / "run.toml").write_text(text)
        self.port = free_port()
        self.token = None
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(self.end_all)

    def end_all(self):
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    def here(self, command):
        """The README's words for this machine: its address, a free port, the token that was made."""
        command = command.replace("--public vps.example.org", f"--public 127.0.0.1 --port {self.port}")
        return re.sub(r"'skerry://[^']*'", f"'{self.token}'", command)

    def background(self, command):
        log = open(self.folder / "log", "ab")
        self.running.append(subprocess.Popen(["bash", "-c", command], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=log, start_new_session=True))

    def command(self, command):
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=self.env, capture_output=True, text=True, errors="replace", timeout=180, check=False)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}\n{(self.folder / 'log').read_text()[-2000:]}")
        return done.stdout

    def ok(self, command):
        return subprocess.run(["bash", "-c", command], cwd=self.folder, env=self.env, capture_output=True, check=False).returncode == 0

    def test_three_machines(self):
        commands = readme_commands()
        self.assertGreaterEqual(len(commands), 10)
        for machine, command in commands:
            command = self.here(command)
            if command.endswith("&"):
                self.background(command.rstrip("& "))
                wait_until(lambda: (self.folder / "coordinator" / "admin.sock").exists(), 30, "the coordinator")
            elif command.startswith("skerry join"):
                for name in ("node", "node2"):  # the run asks for two
                    self.background(command.replace("--dir node", f"--dir {name} --no-input --threads 1 --listen 127.0.0.1:0"))
                wait_until(lambda: self.ok("skerry status --dir node --json | grep -Eq '\"head\": ?[1-9]'"), 120, lambda: (self.folder / "log").read_text()[-3000:])
            elif command.startswith("skerry verify"):
                self.end_all()
                self.command(command)
            else:
                out = self.command(command)
                if "token create" in command:
                    self.token = next(word for word in out.split() if word.startswith("skerry://"))
        self.assertTrue((self.folder / "model" / "model.safetensors").exists())


if __name__ == "__main__":
    unittest.main()
