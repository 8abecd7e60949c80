"""Nodes in network namespaces: one closed to incoming connections, links cut and mended. Needs root."""
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))

from harness import ProcessTest  # noqa: E402
from net import Reef  # noqa: E402


class ReefTest(ProcessTest):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("network namespaces need root")

    def reef_run(self, reef, names, env=None, **changes):
        """One node in each namespace of `names`; the coordinator in its own."""
        coordinator = self.cluster.coordinator
        coordinator.wrapper = reef.enter("coordinator")
        address = reef.hosts["coordinator"]
        coordinator.init(public=address)
        token = self.prepare(listen=f"{address}:7600", **changes)
        for name in names:
            node = self.cluster.node(name)
            node.wrapper, node.trainer = reef.enter(name), self.trainer()
            node.join(token, listen=f"{reef.hosts[name]}:7610", env=env)
        return [self.cluster.node(name) for name in names]


class ThreeNamespaces(ReefTest):
    def test_one_is_closed_to_incoming_connections(self):
        with Reef(["coordinator", "a", "b", "c"]) as reef:
            reef.close_incoming("c")
            nodes = self.reef_run(reef, ["a", "b", "c"])
            for node in nodes:
                self.wait_current(node)
            self.cluster.coordinator.wait_head(8, 90)
            head = self.cluster.coordinator.status()["head"]
            self.wait_all_heads(nodes, head + 4)
            ids = {node.name: node.status()["node_id"] for node in nodes}
            answers = self.check_history(least_head=head + 4)
            for name, node_id in ids.items():
                self.assertTrue(self.credited_steps(answers, node_id, since=head - 4), f"{name} counts")

    def test_two_closed_nodes_are_told_that_they_cannot_meet(self):
        with Reef(["coordinator", "a", "b", "c"]) as reef:
            reef.close_incoming("b")
            reef.close_incoming("c")
            nodes = self.reef_run(reef, ["a", "b", "c"])
            def said():
                status = self.cluster.coordinator.status()
                return status and any(node.get("unreachable") for node in status["nodes"] if node["name"] in ("b", "c"))
            self.wait(said, 60, "the status to name the pair that cannot connect")
            self.assertTrue(nodes[0].alive())

    def test_a_link_is_cut_and_mended(self):
        with Reef(["coordinator", "a", "b", "c"]) as reef:
            nodes = self.reef_run(reef, ["a", "b", "c"])
            for node in nodes:
                self.wait_current(node)
            self.cluster.coordinator.wait_head(4, 60)
            reef.unplug("b")
            head = self.cluster.coordinator.status()["head"]
            self.cluster.coordinator.wait_head(head + 4, 60)
            reef.plug_in("b")
            head = self.cluster.coordinator.status()["head"]
            self.wait_all_heads(nodes, head + 4, 120)
            self.check_history(least_head=head + 4)


if __name__ == "__main__":
    unittest.main()
