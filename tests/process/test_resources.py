"""Bounds: disk within the quota, agent and coordinator memory, what the programs link."""
import os
import subprocess
import unittest

from harness import RUN, ProcessTest, folder_bytes, report, rss_kib
from test_strangers import self_signed, tls_connection

MIB = 1 << 20


class Quota(ProcessTest):
    def test_200_steps_stay_within_the_quota(self):
        quota = 4 * MIB
        nodes = self.start_run(local_steps=1, snapshot_every=10, quota="4MiB")
        peak = 0
        def done():
            nonlocal peak
            peak = max([peak, *(log_bytes(node) for node in nodes)])
            return self.cluster.coordinator.head() >= 200
        self.wait(done, 240, lambda: f"200 steps; {self.cluster.coordinator.status()}")
        report(f"disk {peak / MIB:.1f} of {quota / MIB:.0f} MiB")
        self.assertLessEqual(peak, quota)
        answers = self.check_history(least_head=200)
        self.assertTrue(all(answer["snapshot"] > 0 for answer in answers.values()), "old entries were pruned")


def log_bytes(node):
    """Entries and snapshots of a node."""
    return sum(folder_bytes(node.dir / "run" / name) for name in ("entries", "snapshots", "prepared"))


class CoordinatorMemory(ProcessTest):
    def test_under_30_MB_with_100_idle_connections(self):
        nodes = self.start_run(nodes=2)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        key, certificate = self_signed(self.folder)
        idle = [tls_connection(coordinator.port, key, certificate) for _ in range(100)]
        try:
            used = rss_kib(coordinator.pid) * 1024
            report(f"coordinator {used / 1e6:.1f} MB with 100 idle connections")
            self.assertLess(used, 30e6)
            head = coordinator.status()["head"]
            coordinator.wait_head(head + 2)
        finally:
            for connection in idle:
                connection.close()
        self.assertTrue(all(node.alive() for node in nodes))


class LargeModel(ProcessTest):
    """256 M elements: 1 GB of weights, 1 GB of momentum. The agent holds neither in memory of its own."""

    def setUp(self):
        super().setUp()
        if not os.environ.get("SKERRY_LARGE"):
            self.skipTest("takes 20 GB of disk and minutes; deploy/show.sh --only 10 runs it")

    def trainer(self):
        return str(self.cluster.program("skerry-trainer"))

    def test_agent_memory(self):
        token = self.prepare(start=False, hidden=1024, inner=2816, layers=20, local_steps=1, snapshot_every=2, quota="16GiB",
                             round_deadline="300s", exchange_deadline="300s", silent_after="30s", away_after="600s")
        nodes = self.join(token, "a", "b")
        peak = 0
        def measured(check):
            def look():
                nonlocal peak
                for node in nodes:
                    node.check_alive()
                    peak = max(peak, rss_kib(node.pid, "RssAnon") * 1024)
                return check()
            return look
        status = self.cluster.coordinator.status
        def two_current():
            now = status()
            return now and [node["state"] for node in now["nodes"]] == ["current", "current"]
        self.wait(measured(two_current), 300, "two nodes")
        self.cluster.coordinator.run_verb("start", RUN)
        self.wait(measured(lambda: self.cluster.coordinator.head() >= 3), 600, lambda: f"three steps; {status()}")
        report(f"agent {peak / 1e6:.0f} MB anonymous at 257 M elements")
        self.assertLess(peak, 512e6)


class Links(ProcessTest):
    def test_neither_agent_nor_coordinator_links_libtorch(self):
        for name in ("skerry-coordinator", "skerry-node", "skerry"):
            listing = subprocess.run(["ldd", self.cluster.program(name)], capture_output=True, text=True, check=True).stdout
            self.assertNotIn("torch", listing, name)
            self.assertNotIn("libc10", listing, name)
        listing = subprocess.run(["ldd", self.cluster.program("skerry-coordinator")], capture_output=True, text=True, check=True).stdout
        self.assertNotIn("zmq", listing)


if __name__ == "__main__":
    unittest.main()
