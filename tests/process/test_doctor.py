"""skerry doctor names each provoked fault together with its cure, and its bundle holds no secret."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import unittest

from harness import ProcessTest, error_of, flip_byte, report
from local_cluster import Cluster


class DoctorTest(ProcessTest):
    def doctor(self, node, *words, open_files=None):
        """(exit status, findings by check, the error's code)."""
        command = [str(self.cluster.program("skerry")), "doctor", "--json", "--dir", str(node.dir), *words]
        if open_files:
            command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command]
        done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
        findings = json.loads(done.stdout)["findings"]
        for one in findings:
            self.assertEqual(bool(one["fix"]), one["health"] != "ok", f"a cure for what is not well, and only for that: {one}")
        return done.returncode, {one["check"]: one for one in findings}, error_of(done)[1] if done.returncode else None

    def found(self, node, check, fix, *words, health="fail", **options):
        """The fault is named with its cure."""
        status, findings, code = self.doctor(node, *words, **options)
        one = findings.get(check)
        self.assertTrue(one, f"{check} is not looked at: {findings.keys()}")
        self.assertEqual(one["health"], health, one)
        self.assertRegex(one["fix"], fix)
        if health == "fail":
            self.assertNotEqual(status, 0)
            self.assertTrue(code)
        self.named = getattr(self, "named", 0) + 1
        return one


class Faults(DoctorTest):
    def test_each_fault_is_named_with_its_cure(self):
        token = self.prepare(local_steps=4, min_nodes=1, durable_copies=1)
        node = self.join(token, "node-1")[0]
        node.wait_head(3)
        status, findings, _ = self.doctor(node)
        self.assertEqual(status, 0, [one for one in findings.values() if one["health"] == "fail"])
        self.assertEqual({"folder", "node.toml", "token", "cpu", "memory", "disk", "open files", "clock", "agent", "identity", "trainer", "dns", "tcp", "key",
                          "version", "log", "leftovers"}, set(findings))

        # the agent
        node.freeze()
        self.found(node, "agent", rf"kill -CONT {node.pid} ")
        node.thaw()
        copy = self.cluster.folder / "copy"
        shutil.copytree(node.dir, copy, ignore=shutil.ignore_patterns("agent.sock"))
        second = self.cluster.node("copy")
        self.cluster.coordinator.freeze()  # it would put one of the two out
        second.start()
        self.wait(lambda: second.pid and pathlib.Path(f"/proc/{second.pid}/cmdline").read_text().find("copy") > 0, 10, "a second process")
        self.found(second, "identity", rf"kill {node.pid}; .*rm -r ")
        second.kill()
        self.cluster.coordinator.thaw()
        node.stop()
        self.found(node, "agent", "skerry-node run --dir ", health="warn")

        # the folder
        key = node.dir / "identity" / "key"
        key.chmod(0o644)
        self.found(node, "folder", rf"chmod 600 '{key}'")
        key.chmod(0o600)
        config, good = node.dir / "node.toml", (node.dir / "node.toml").read_text()
        config.write_text(good.replace("listen =", "lisen ="))
        one = self.found(node, "node.toml", str(config))
        self.assertRegex(one["message"], r"node.toml:\d+: unknown key 'lisen'.*'listen'")
        config.write_text(good + '\n[schedule]\nhours = ["late"]\n')
        self.assertIn("is no time of the week", self.found(node, "node.toml", str(config))["message"])
        config.write_text(good.replace("[limits]", '[limits]\nmemory = "900TiB"'))
        self.found(node, "memory", "skerry limits set --memory ")
        config.write_text(good.replace("[limits]", '[limits]\ndisk = "900TiB"'))
        self.found(node, "disk", "skerry limits set --disk ", health="warn")
        left = node.dir / "node.toml.q1W2e3"
        left.write_text("")
        os.utime(left, (1, 1))
        config.write_text(good)
        self.found(node, "leftovers", rf"rm '{left}'", health="warn")
        left.unlink()

        # the token
        paper = node.dir / "token"
        paper.write_text(token[:-5] + "\n")
        one = self.found(node, "token", "ask the operator for a new one, then: skerry join TOKEN")
        self.assertEqual(one["code"], "TOKEN_INCOMPLETE")
        old = self.cluster.coordinator.token("reef", ttl="1s")
        time.sleep(2)
        fresh = self.cluster.folder / "fresh"
        shutil.copytree(node.dir, fresh, ignore=shutil.ignore_patterns("run", "shards"))
        (fresh / "token").write_text(old + "\n")
        stranger = self.cluster.node("fresh")
        self.assertEqual(self.found(stranger, "token", "ask the operator for a new one")["code"], "TOKEN_EXPIRED")
        paper.write_text(token + "\n")

        # programs, ports, limits of the system
        config.write_text(re.sub(r"program = .*", 'program = "/no/such/trainer"', good))
        self.found(node, "trainer", "install it beside skerry-node")
        broken = self.cluster.folder / "broken-trainer"
        broken.write_text("#!/bin/sh\necho cannot open shared object file: libtorch.so >&2\nexit 127\n")
        broken.chmod(0o755)
        config.write_text(re.sub(r"program = .*", f'program = "{broken}"', good))
        self.found(node, "trainer", "deploy/setup.sh")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            config.write_text(re.sub(r"listen = .*", f'listen = "127.0.0.1:{port}"', good, count=1))
            self.found(node, "ports", f"ss -ltnp 'sport = :{port}'")
        config.write_text(good)
        self.found(node, "open files", "ulimit -n 4096", open_files=128)

        # the way to the coordinator
        self.found(node, "dns", "getent hosts no-such-host.invalid", "--coordinator", "no-such-host.invalid:7600")
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        self.found(node, "tcp", "ask the operator whether the coordinator runs", "--coordinator", f"127.0.0.1:{port}")
        with socket.create_server(("127.0.0.1", 0)) as other:
            threading.Thread(target=self.answer_http, args=(other,), daemon=True).start()
            self.found(node, "tls", "is the port right", "--coordinator", f"127.0.0.1:{other.getsockname()[1]}")
        self.other_coordinator(node)

        # the log
        entry = max((path for path in (node.dir / "run").rglob("*") if path.is_file() and "entr" in str(path.parent)), key=lambda path: path.stat().st_size)
        flip_byte(entry)
        self.found(node, "log", "skerry-node run --dir ")
        report(f"{self.named} provoked faults named, each with its cure")
        self.assertGreaterEqual(self.named, 10)

    def answer_http(self, listener):
        try:
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(1000)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        except OSError:
            pass

    def other_coordinator(self, node):
        with Cluster(self.folder / "other") as other:
            other.coordinator.init()
            other.coordinator.start()
            port = re.search(r"listening port=(\d+)", other.coordinator.log.read_text()).group(1)
            one = self.found(node, "key", "compare fingerprints", "--coordinator", f"127.0.0.1:{port}")
            self.assertEqual(one["code"], "WRONG_COORDINATOR")


class Bundle(DoctorTest):
    def test_a_bundle_has_what_a_report_needs_and_no_secret(self):
        token = self.prepare(local_steps=4, min_nodes=1, durable_copies=1)
        node = self.join(token, "node-1")[0]
        node.wait_head(2)
        # Where somebody may have pasted it.
        (node.dir / "node.log").write_text(f"a line\nskerry join '{token}'\n")
        config = node.dir / "node.toml"
        config.write_text(config.read_text() + f"# {token}\n")
        file = self.folder / "report.tar.gz"
        done = node.ask("doctor", "--bundle", file, check=False)
        self.assertTrue(file.exists(), done.stderr)
        with tarfile.open(file) as bundle:
            texts = {member.name: bundle.extractfile(member).read() for member in bundle.getmembers() if member.isfile()}
        names = {pathlib.Path(name).name for name in texts}
        self.assertLessEqual({"versions.txt", "doctor.json", "status.json", "node.toml", "node.log", "files.txt"}, names)
        everything = b"\n".join(texts.values())
        self.assertIn(b'"schema":"skerry.node-status/1"', everything.replace(b": ", b":"))
        key = (node.dir / "identity" / "key").read_bytes()
        secrets = [token.split("#", 1)[1].encode()[5:], key.strip(), *[row for row in key.split(b"\n") if len(row) > 20 and b"-----" not in row]]
        for secret in secrets:
            for form in (secret, secret.hex().encode()):
                self.assertNotIn(form, everything)
        self.assertIn(b"skr1_(removed)", everything, "the rest of the line is kept")
        report(f"bundle of {len(texts)} files, {file.stat().st_size} bytes")


if __name__ == "__main__":
    unittest.main()
