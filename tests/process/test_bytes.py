"""Bytes of an exchange at 16 M elements, against the lower bound 2(N-1) times the encoded size."""
import math
import os
import sys
import unittest

import ledger
from harness import RUN, ProcessTest, report

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy"))
import trainer_client  # noqa: E402

STEPS = 6
MODEL = {"hidden": 512, "inner": 1408, "layers": 5}  # 16.2 M elements


def encoded_bytes(elements):
    """A8: a header of 64 bytes for each piece, fp16 scales for 256 values each, one byte for a value."""
    piece = min(1 << 20, max(4096, -(-(-(-elements // 256)) // 4096) * 4096))
    sizes = [min(piece, elements - at) for at in range(0, elements, piece)]
    return sum(64 + 2 * math.ceil(size / 256) + size for size in sizes)


class SixteenMillion(ProcessTest):
    def test_bytes_are_close_to_the_lower_bound(self):
        token = self.prepare(start=False, local_steps=1, round_deadline="60s", exchange_deadline="60s", silent_after="10s", **MODEL)
        nodes = self.join(token, "a", "b", "c")
        for node in nodes:
            self.wait_current(node, 120)
        for _ in range(3):
            sent, first, head = self.exchanged(nodes, STEPS)
            if self.undisturbed(first, head, len(nodes)):
                break
        else:
            self.fail(f"never {STEPS} steps in which the machine kept up: {self.cluster.coordinator.status()}")
        elements = trainer_client.elements_of({"vocab_size": 256, "hidden_size": MODEL["hidden"], "intermediate_size": MODEL["inner"],
                                               "num_hidden_layers": MODEL["layers"], "num_attention_heads": 2, "num_key_value_heads": 2})
        bound = 2 * (len(nodes) - 1) * encoded_bytes(elements) * (head - first)
        total, share = sum(sent.values()) / bound, max(sent.values()) / (bound / len(nodes))
        report(f"{total:.4f} of the lower bound over {head - first} steps of {elements / 1e6:.1f} M elements, largest node {share:.4f} of its share")
        self.assertLessEqual(abs(total - 1), 0.02)
        self.assertLessEqual(share, 1.05)

    def exchanged(self, nodes, steps):
        """Bytes that each node sent in the next steps, from silence to silence; the first of these steps and the one after the last."""
        coordinator = self.cluster.coordinator
        before = self.wait(self.quiet, 60, "silence")
        coordinator.run_verb("start", RUN)
        coordinator.wait_head(before["head"] + steps, 240)
        coordinator.run_verb("pause", RUN)
        after = self.wait(self.quiet, 60, "the open step to end")
        was = {node["name"]: node["sent_bytes"] for node in before["nodes"]}
        return {node["name"]: node["sent_bytes"] - was[node["name"]] for node in after["nodes"]}, before["head"], after["head"]

    def undisturbed(self, first, head, nodes):
        """Each step needed one attempt and had everybody: the bound is that of such steps. On a machine that is busy with something
        else a node may be late, and what an attempt without it sent is sent again."""
        with ledger.copied(next(self.cluster.coordinator.dir.glob("**/run.db"))) as db:
            bodies = db.execute("SELECT body FROM decision WHERE step >= ? AND step < ?", (first, head))
            decisions = [ledger.parse_decision(body) for (body,) in bodies]
        return len(decisions) == head - first and all(one["attempt"] == 1 and len(one["credits"]) == nodes for one in decisions)

    def quiet(self):
        """The status once nobody's counters move and no step is open."""
        status = self.cluster.coordinator.status()
        key = status and (status["head"], [node["sent_bytes"] for node in status["nodes"]], [node["head"] for node in status["nodes"]])
        same, self.last = key == getattr(self, "last", None), key
        self.calm = getattr(self, "calm", 0) + 1 if same else 0
        done = status and status["state"] in ("created", "paused") and all(node["head"] == status["head"] for node in status["nodes"])
        return status if done and self.calm >= 25 else None


if __name__ == "__main__":
    unittest.main()
