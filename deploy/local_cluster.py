"""A coordinator and nodes as processes of this machine: what the demo and the process tests share.

Standard library only. Nothing here sleeps for a fixed time: `wait_until` looks at state. Programs are
started in sessions of their own, so that Ctrl-C reaches only the script, and die with it (parent-death
signal) should it be killed.
"""
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


class ClusterError(Exception):
    """A program did not do what it was asked; `status` is its exit status where there is one."""

    def __init__(self, text, status=None):
        super().__init__(text)
        self.status = status


def default_bin():
    return pathlib.Path(os.environ.get("SKERRY_BIN", ROOT / "build" / os.environ.get("SKERRY_PRESET", "release") / "bin"))


def wait_until(check, patience, what, every=0.1):
    """Calls `check` until it answers something true; returns that. ClusterError after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise ClusterError(f"waited {patience} s in vain: {what() if callable(what) else what}")
        time.sleep(every)


_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    """In the child, before exec: SIGTERM when the script is gone."""
    _libc.prctl(1, signal.SIGTERM, 0, 0, 0)


class Program:
    """One long-running program with its log file."""

    def __init__(self, name, log):
        self.name, self.log, self.process = name, pathlib.Path(log), None

    def spawn(self, command, env=None):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, preexec_fn=_die_with_parent,
                                            env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.alive():
            self.process.send_signal(number)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL, and wait for it."""
        self.signal(signal.SIGKILL)
        return self.wait(10)

    def ask_to_end(self):
        self.signal(signal.SIGTERM)

    def stop(self, patience=30):
        """SIGTERM, then SIGKILL after `patience`: longer than an agent takes that waits for its trainer to start (20 s).
        Returns the exit status."""
        self.signal(signal.SIGCONT)
        self.ask_to_end()
        try:
            return self.wait(patience)
        except ClusterError:
            return self.kill()

    def wait(self, patience):
        if self.process is None:
            return None
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{self.name} did not end in {patience} s") from None

    def tail(self, lines=15):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def check_alive(self):
        if self.process is not None and self.process.poll() is not None:
            raise ClusterError(f"{self.name} ended with {self.process.returncode}; its last lines:\n{self.tail()}", self.process.returncode)


class Cluster:
    """A folder with one coordinator and any number of nodes."""

    def __init__(self, folder, bin_dir=None):
        self.folder = pathlib.Path(folder)
        self.bin = pathlib.Path(bin_dir or default_bin())
        self.folder.mkdir(parents=True, exist_ok=True)
        self.coordinator = Coordinator(self)
        self.nodes = {}

    def program(self, name):
        path = self.bin / name
        if not path.exists():
            raise ClusterError(f"{path} is not built: deploy/build.sh")
        return path

    def run(self, *words, patience=120, check=True, env=None, program="skerry", stdin=None):
        """Runs one command to its end. ClusterError with its stderr unless `check` is false."""
        command = [str(self.program(program)), *[str(word) for word in words]]
        try:
            done = subprocess.run(command, text=True, errors="replace", capture_output=True, timeout=patience, input=stdin if stdin is not None else "",
                                  env={**os.environ, **(env or {})}, check=False)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{' '.join(command)} did not end in {patience} s") from None
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.strip()}", done.returncode)
        return done

    def node(self, name):
        if name not in self.nodes:
            self.nodes[name] = Node(self, name)
        return self.nodes[name]

    def live_nodes(self):
        return [node for node in self.nodes.values() if node.alive()]

    def stop(self):
        """Ends everything, nodes first, all at once."""
        for program in [*self.nodes.values(), self.coordinator]:
            program.signal(signal.SIGCONT)
            if program is not self.coordinator:
                program.ask_to_end()
        for node in self.nodes.values():
            node.stop()
        self.coordinator.stop()

    def kill(self):
        for program in [*self.nodes.values(), self.coordinator]:
            program.signal(signal.SIGKILL)
        for program in [*self.nodes.values(), self.coordinator]:
            program.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Coordinator(Program):
    def __init__(self, cluster):
        super().__init__("coordinator", cluster.folder / "coordinator.log")
        self.cluster, self.dir, self.port = cluster, cluster.folder / "coordinator", None
        self.wrapper = []  # e.g. ["ip", "netns", "exec", NAME]

    def init(self, name="local", public="127.0.0.1"):
        """`init`, once per folder."""
        if not (self.dir / "coordinator.toml").exists():
            self.cluster.run("init", "--dir", self.dir, "--name", name, "--public", public, program="skerry-coordinator")

    def launch(self, listen=None, env=None):
        """Starts it and waits for nothing. After a restart it keeps its port."""
        self._ready_file().unlink(missing_ok=True)
        listen = listen or f"127.0.0.1:{self.port or 0}"
        self.spawn([*self.wrapper, self.cluster.program("skerry-coordinator"), "run", "--dir", self.dir, "--listen", listen,
                    "--ready-file", self._ready_file()], env)

    def start(self, listen=None, env=None, patience=20):
        """Starts it and waits until it serves."""
        self.launch(listen, env)
        self.port = wait_until(lambda: self._ready(self._ready_file()), patience, "the coordinator's ready file")["port"]
        return self

    def _ready_file(self):
        return self.dir / "ready.json"

    def _ready(self, path):
        self.check_alive()
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError):
            return None

    def ask(self, *words, **options):
        return self.cluster.run(*words, "--coordinator-dir", self.dir, **options)

    def push_data(self, folder):
        self.ask("data", "push", folder)

    def create_run(self, run_toml, start=True):
        self.ask("run", "create", run_toml, *(["--start"] if start else []))

    def run_verb(self, verb, name):
        self.ask("run", verb, name)

    def token(self, run, uses=16, ttl="1h"):
        out = self.ask("token", "create", "--run", run, "--uses", uses, "--ttl", ttl).stdout
        return next(word for word in out.split() if word.startswith("skerry://"))

    def status(self):
        """The run as the coordinator sees it (docs/status-json.md), or None while it cannot be asked."""
        done = self.ask("status", "--json", check=False, patience=20)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else None

    def head(self):
        status = self.status()
        return status["head"] if status else -1

    def credited(self):
        """Tokens that each node has contributed to decided steps, by name; None while it cannot be asked."""
        status = self.status()
        return status and {node["name"]: node["credited_tokens"] for node in status["nodes"]}

    def wait_credited(self, names, patience=60):
        """Waits until each of `names` has contributed to a step that was decided after the call."""
        before = wait_until(self.credited, patience, "the coordinator's status")
        def all_did():
            now = self.credited()
            return now and all(now[name] > before[name] for name in names)
        wait_until(all_did, patience, lambda: f"{', '.join(names)} to count; before {before}, now {self.status()}")

    def wait_head(self, step, patience=60):
        """Waits until `step` decisions are made; returns the status."""
        def reached():
            self.check_alive()
            status = self.status()
            return status if status and status["head"] >= step else None
        return wait_until(reached, patience, lambda: f"head {step}; {self.status()}")


class Node(Program):
    def __init__(self, cluster, name):
        super().__init__(name, cluster.folder / f"{name}.log")
        self.cluster, self.dir = cluster, cluster.folder / name
        self.wrapper, self.threads, self.trainer, self.asked = [], 1, None, None

    def ask_to_end(self):
        """Twice: the node does not wait for the step under way. Not a third time, that would kill it."""
        if self.asked is not self.process:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGINT)
        self.asked = self.process

    def join(self, token, *more, env=None, listen="127.0.0.1:0"):
        """`skerry join`: becomes the agent. Returns at once; look at `status`."""
        trainer = ["--trainer", self.trainer] if self.trainer else []
        self.spawn([*self.wrapper, self.cluster.program("skerry"), "join", token, "--dir", self.dir, "--name", self.name,
                    "--threads", self.threads, "--listen", listen, "--no-input", *trainer, *more], env)
        return self

    def start(self, env=None):
        """Starts an agent that has joined before: no token."""
        self.spawn([*self.wrapper, self.cluster.program("skerry-node"), "run", "--dir", self.dir], env)
        return self

    def ask(self, *words, **options):
        return self.cluster.run(*words, "--dir", self.dir, **options)

    def status(self):
        done = self.ask("status", "--json", check=False, patience=20)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else None

    def head(self):
        status = self.status()
        return status["head"] if status else -1

    def wait_head(self, step, patience=60):
        def reached():
            self.check_alive()
            return self.head() >= step
        return wait_until(reached, patience, lambda: f"{self.name} at step {step}; {self.status()}")

    def verify(self, patience=300):
        """`skerry verify`: recomputes the state from what is on disk, without the agent. Its answer also if it found damage."""
        done = self.cluster.run("verify", self.dir, "--json", patience=patience, check=False)
        if not done.stdout.strip():
            raise ClusterError(f"verify {self.dir} ended with {done.returncode}: {done.stderr.strip()}", done.returncode)
        return json.loads(done.stdout)

    def trainer_pid(self):
        """The child that trains, found in /proc; None if there is none."""
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == self.pid and fields[0] != "Z":
                return int(entry.name)
        return None
