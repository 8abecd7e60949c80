"""A host is cut off in the middle of an exchange: nothing says so, packets are just gone. Needs root."""
import os
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))

from harness import report  # noqa: E402
from net import Reef  # noqa: E402
from test_survivors import SurvivorsTest  # noqa: E402

RATE = "16mbit"
MODEL = {"hidden": 128, "inner": 352, "layers": 4}  # 0.83 M elements: an exchange takes about a second at that rate


class Cut(SurvivorsTest):
    def test_a_peer_is_cut_off_while_it_owns_pieces(self):
        if os.geteuid() != 0:
            self.skipTest("network namespaces need root")
        with Reef(["coordinator", "a", "b", "c"]) as reef:
            self.cut_off(reef)

    def cut_off(self, reef):
        coordinator = self.cluster.coordinator
        coordinator.wrapper = reef.enter("coordinator")
        address = reef.hosts["coordinator"]
        coordinator.init(public=address)
        token = self.prepare(listen=f"{address}:7600", **MODEL, **self.settings())
        for name in ("a", "b", "c"):
            node = self.cluster.node(name)
            node.wrapper, node.trainer = reef.enter(name), self.trainer()
            node.join(token, listen=f"{reef.hosts[name]}:7610", env=self.trainer_env(name))
            reef.limit(name, RATE)
        nodes = [self.cluster.node(name) for name in ("a", "b", "c")]
        for node in nodes:
            self.wait_current(node)
        ids = {node.name: node.status()["node_id"] for node in nodes}
        coordinator.wait_head(3, 120)

        def in_exchange():
            status = coordinator.status()
            return status if status and status["phase"] == "open" and status["members"] == 3 else None
        status = self.wait(in_exchange, 60, "an open plan of three")
        reef.cut("b")
        cut, step = time.monotonic(), status["head"]
        self.assertGreater(status["attempt"], 0)
        seen = [(time.monotonic(), coordinator.status()), *self.watch_until_commit(step)]
        self.assertEqual(seen[0][1]["head"], step, "the exchange was over before the cut")
        # Its last word may have come up to a second before the cut.
        self.verdict("cut off", cut, cut + self.silent_after, seen, step)
        coordinator.wait_head(step + 2)
        reef.mend("b")
        head = coordinator.status()["head"]
        coordinator.wait_head(head + 4, 120)
        self.wait_all_heads(nodes, head + 4, 120)
        answers = self.check_history(least_head=head + 4)
        self.check_no_step_lost({name: ids[name] for name in ("a", "c")}, answers)
        rounds = self.back_after(answers, ids["b"], head)
        report(f"cut off: back in a committed step {rounds} rounds after the cable was; survivors lost no inner step")
        self.assertLessEqual(rounds, 2)


if __name__ == "__main__":
    unittest.main()
