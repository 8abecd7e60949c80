"""Bounds: disk within the quota, agent and coordinator memory, what the programs link."""
import subprocess
import unittest

from harness import ProcessTest, folder_bytes, rss_kib
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
            return self.cluster.coordinator.status()["head"] >= 200
        self.wait(done, 240, lambda: f"200 steps; {self.cluster.coordinator.status()}")
        self.assertLessEqual(peak, quota)
        answers = self.check_history(least_head=200)
        self.assertTrue(all(answer["snapshot"] > 0 for answer in answers.values()), "old entries were pruned")


def log_bytes(node):
    """Entries and snapshots of a node."""
    return sum(folder_bytes(path) for name in ("entries", "snapshots", "prepared") for path in node.dir.glob(f"**/{name}"))


class CoordinatorMemory(ProcessTest):
    def test_under_30_MB_with_100_idle_connections(self):
        nodes = self.start_run(nodes=2)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        key, certificate = self_signed(self.folder)
        idle = [tls_connection(coordinator.port, key, certificate) for _ in range(100)]
        try:
            self.assertLess(rss_kib(coordinator.pid) * 1024, 30e6)
            head = coordinator.status()["head"]
            coordinator.wait_head(head + 2)
        finally:
            for connection in idle:
                connection.close()
        self.assertTrue(all(node.alive() for node in nodes))


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
