"""What people run into: each says what happened, how to mend it, with its exit status, and loses nothing."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest

from harness import ROOT, ProcessTest, error_of, run_toml

SKERRY_FIX = "fix:"


class Texts(ProcessTest):
    def refused(self, path):
        done = self.cluster.run("data", "prepare", path, "-o", self.folder / "out", check=False)
        self.assertEqual(error_of(done), (14, "DATA_INVALID"), done.stderr)
        self.assertIn(SKERRY_FIX, done.stderr)
        self.assertFalse((self.folder / "out" / "manifest.json").exists(), "nothing half-made is left")

    def test_empty(self):
        (self.folder / "empty.txt").write_bytes(b"")
        self.refused(self.folder / "empty.txt")

    def test_missing(self):
        self.refused(self.folder / "missing.txt")

    def test_binary(self):
        self.refused(pathlib.Path(shutil.which("ls")).resolve())

    def test_the_demo_says_the_same(self):
        for text in ("", "missing", shutil.which("ls")):
            path = self.folder / "empty.txt"
            path.write_bytes(b"")
            done = subprocess.run([ROOT / "deploy" / "demo.sh", "--no-setup", "--text", text and str(text) or str(path)], capture_output=True, text=True,
                                  env={**os.environ, "SKERRY_CACHE": str(self.folder / "cache")}, check=False)
            self.assertEqual(error_of(done), (14, "DATA_INVALID"), done.stderr)
            self.assertIn(SKERRY_FIX, done.stderr)


class Configs(ProcessTest):
    def test_unknown_key_of_a_run_is_named_with_its_line(self):
        self.prepare()
        toml = self.folder / "typo.toml"
        toml.write_text(run_toml(name="typo").replace("min_nodes =", "min_node ="))
        done = self.cluster.coordinator.ask("run", "create", toml, check=False)
        self.assertEqual(error_of(done), (2, "CONFIG_INVALID"), done.stderr)
        self.assertIn("min_node", done.stderr)
        self.assertIn("min_nodes", done.stderr, "it says what may have been meant")
        self.assertIn("typo.toml:", done.stderr)

    def test_unknown_key_of_the_coordinator(self):
        self.cluster.coordinator.init()
        path = self.cluster.coordinator.dir / "coordinator.toml"
        path.write_text('conections = 3\n' + path.read_text())
        done = self.cluster.run("run", "--dir", self.cluster.coordinator.dir, "--listen", "127.0.0.1:0", program="skerry-coordinator", check=False)
        self.assertEqual(error_of(done), (2, "CONFIG_INVALID"), done.stderr)
        self.assertIn("conections", done.stderr)

    def test_unknown_key_of_a_node(self):
        nodes = self.start_run(nodes=2)
        self.cluster.coordinator.wait_head(1)
        nodes[1].stop()
        path = nodes[1].dir / "node.toml"
        path.write_text('nmae = "x"\n' + path.read_text())
        done = self.cluster.run("run", "--dir", nodes[1].dir, program="skerry-node", check=False)
        self.assertEqual(error_of(done), (2, "CONFIG_INVALID"), done.stderr)


class Ports(ProcessTest):
    def test_port_in_use(self):
        self.cluster.coordinator.init()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = self.cluster.run("run", "--dir", self.cluster.coordinator.dir, "--listen", f"127.0.0.1:{port}",
                                    program="skerry-coordinator", check=False)
            self.assertEqual(error_of(done), (2, "PORT_IN_USE"), done.stderr)
            self.assertIn(SKERRY_FIX, done.stderr)
        self.cluster.coordinator.start(listen=f"127.0.0.1:{port}")

    def test_data_port_of_a_node_in_use(self):
        token = self.prepare()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            node = self.cluster.node("clash")
            done = self.cluster.run("join", token, "--dir", node.dir, "--no-input", "--trainer", self.trainer(),
                                    "--listen", f"127.0.0.1:{taken.getsockname()[1]}", check=False, patience=60)
            self.assertEqual(error_of(done), (2, "PORT_IN_USE"), done.stderr)


class NoLibtorch(ProcessTest):
    def test_trainer_without_its_libtorch(self):
        """A copy of the trainer whose search path leads nowhere: the loader ends it before main."""
        real = self.cluster.bin / "skerry-trainer"
        if not real.exists():
            self.fail("skerry-trainer is not built; build with SKERRY_WITH_TORCH=ON")
        broken = self.folder / "skerry-trainer"
        broken.write_bytes(without_search_path(real))
        broken.chmod(0o755)
        token = self.prepare()
        node = self.cluster.node("bare")
        done = self.cluster.run("join", token, "--dir", node.dir, "--no-input", "--listen", "127.0.0.1:0", "--trainer", broken,
                                check=False, patience=90)
        self.assertEqual(error_of(done), (12, "NO_LIBTORCH"), done.stderr)
        self.assertIn(SKERRY_FIX, done.stderr)

    def test_setup_names_the_folder(self):
        done = subprocess.run([ROOT / "deploy" / "setup.sh", "--torch", self.folder], capture_output=True, text=True,
                              env={**os.environ, "SKERRY_CACHE": str(self.folder / "cache")}, check=False)
        self.assertEqual(error_of(done), (12, "NO_LIBTORCH"), done.stderr)

    def test_setup_and_build_on_a_disk_that_is_too_small(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to mount a small tmpfs")
        small = self.folder / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(small)], check=True)
        shutil.copytree(ROOT / "deploy", small / "deploy")
        cache = self.folder / "cache"
        cache.mkdir()
        (cache / "torch-dir").write_text("/nowhere")
        env = {name: value for name, value in os.environ.items() if name not in ("SKERRY_PYTHON", "SKERRY_TORCH")}
        for script in ("setup.sh", "build.sh"):
            done = subprocess.run([small / "deploy" / script], capture_output=True, text=True, env={**env, "SKERRY_CACHE": str(cache)}, check=False)
            self.assertEqual(error_of(done), (13, "DISK_FULL"), done.stderr)
            self.assertRegex(done.stderr, r"takes about \d+ MB below .*; \d+ MB are free there")


def without_search_path(program):
    """The program's bytes with every libtorch folder in them renamed to one that does not exist."""
    listing = subprocess.run(["readelf", "-d", str(program)], capture_output=True, text=True, check=True).stdout
    paths = [line.split("[", 1)[1].rstrip("]\n ") for line in listing.splitlines() if "RPATH" in line or "RUNPATH" in line]
    data = program.read_bytes()
    for path in ":".join(paths).split(":"):
        if path:
            data = data.replace(path.encode(), b"/nowhere".ljust(len(path), b"/")[:len(path)])
    return data


class FullDisk(ProcessTest):
    """A node on a full disk votes without a copy; the run goes on with the others, and nothing is lost.

    Needs root for a small tmpfs. deploy/show.sh runs it as root and does not skip it.
    """

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("needs root to mount a small tmpfs")

    def test_node_with_a_full_disk(self):
        self.small = pathlib.Path(tempfile.mkdtemp(prefix="skerry-full-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(self.small)], check=True)
        self.addCleanup(lambda: (self.cluster.kill(), subprocess.run(["umount", "-l", str(self.small)], check=False), self.small.rmdir()))
        token = self.prepare()
        victim = self.cluster.node("full")
        victim.dir = self.small / "full"
        victim.trainer = self.trainer()
        victim.join(token, "--force")  # join says that this disk is too small for the whole run
        nodes = [*self.join(token, "node-1", "node-2"), victim]
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        with open(self.small / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"\0" * 65536)
                    ballast.flush()
            except OSError:
                pass
        head = coordinator.status()["head"]
        coordinator.wait_head(head + 6, 90)
        self.wait(lambda: self.says_disk_full(coordinator, victim), 60, "the status to say disk full")
        (self.small / "ballast").unlink()
        if not victim.alive():
            self.assertEqual(victim.process.returncode, 13, victim.tail())
            victim.start()
        head = coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 3)
        self.check_history(least_head=head + 3)

    def says_disk_full(self, coordinator, victim):
        if not victim.alive():
            return "DISK_FULL" in victim.tail(40)
        return any(node["name"] == "full" and node["disk_full"] for node in coordinator.status()["nodes"])

    def test_coordinator_with_a_full_disk_holds_and_goes_on(self):
        self.small = pathlib.Path(tempfile.mkdtemp(prefix="skerry-full-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(self.small)], check=True)
        self.addCleanup(lambda: (self.cluster.kill(), subprocess.run(["umount", "-l", str(self.small)], check=False), self.small.rmdir()))
        self.cluster.coordinator.dir = self.small / "coordinator"
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        with open(self.small / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"\0" * 4096)
                    ballast.flush()
            except OSError:
                pass
        self.wait(lambda: self.stuck(coordinator), 90, "the coordinator to hold")
        (self.small / "ballast").unlink()
        if not coordinator.alive():
            self.assertIn(coordinator.process.returncode, (13, 75), coordinator.tail())
            coordinator.start()
        head = coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 3)
        self.check_history(least_head=head + 3)

    def stuck(self, coordinator):
        if not coordinator.alive():
            return True
        status = coordinator.status()
        return status is not None and "disk" in status["hold_reason"].lower()


if __name__ == "__main__":
    unittest.main()
