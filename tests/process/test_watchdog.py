"""A step that hangs: the programs write down what they know, say where, and give no secret away."""
import base64
import json
import pathlib
import unittest

from harness import ProcessTest, folder_bytes


class Watchdog(ProcessTest):
    def secrets(self):
        """What must not be in a bundle: keys, tokens, tickets."""
        out = {}
        for path in self.folder.rglob("*"):
            if path.is_file() and (path.suffix == ".pem" and "key" in path.name or path.name == "key"):
                body = "".join(line for line in path.read_text().splitlines() if "-----" not in line)
                out[str(path)] = body
                out[str(path) + " raw"] = base64.b64decode(body)[-32:].hex()
            if path.is_file() and path.name == "token":
                out[str(path)] = path.read_text().strip().split("#")[1]
        return out

    def check_bundle(self, folder, program):
        folder = pathlib.Path(folder)
        files = {path.name: path for path in folder.iterdir()}
        self.assertEqual(set(files), {"why.json", "status.json", "messages.json", "config.toml", "log.txt", "stacks.txt", "process.txt"})
        why = json.loads(files["why.json"].read_text())
        self.assertEqual((why["schema"], why["program"]), ("skerry.bundle/1", program))
        self.assertTrue(why["reason"])
        json.loads(files["status.json"].read_text())
        stacks = files["stacks.txt"].read_text()
        self.assertGreaterEqual(stacks.count("thread "), 3, stacks[:500])
        self.assertIn("App::run()", stacks, "the io thread, by the names of its functions")
        self.assertIn("run=reef", files["log.txt"].read_text())
        self.assertLess(folder_bytes(folder), 4.2 * 1024 * 1024)
        everything = b"".join(path.read_bytes() for path in files.values())
        secrets = self.secrets()
        self.assertGreaterEqual(len(secrets), 6, "keys of the root, the service and the nodes, and the token: text and raw")
        for where, secret in secrets.items():
            self.assertNotIn(secret.encode(), everything, f"{where} is in the bundle")
        self.assertNotIn(b"PRIVATE KEY", everything)
        return why, json.loads(files["messages.json"].read_text())

    def test_a_frozen_owner_and_too_few_others(self):
        nodes = self.start_run(nodes=2, min_nodes=2, round_deadline="3s", exchange_deadline="3s", silent_after="2s", away_after="120s")
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        nodes[1].freeze()
        head = coordinator.status()["head"]

        def told():
            status = coordinator.status()
            return status if status and status["watchdog"]["bundles"] else None
        status = self.wait(told, 90, lambda: f"a bundle of the coordinator; {coordinator.status()}")
        why, messages = self.check_bundle(status["watchdog"]["last"], "skerry-coordinator")
        self.assertIn(pathlib.Path(status["watchdog"]["last"]).parent, [coordinator.dir / "runs" / "reef" / "bundles"])
        self.assertGreaterEqual(why["open_ms"], 2 * why["patience_ms"])
        self.assertGreaterEqual(why["step"], head)
        self.assertEqual(len(messages), 2, "the last words of both nodes")
        self.assertTrue(all(one["orders"] and one["report"] for one in messages.values()), messages)
        self.assertTrue(status["hold_reason"] or status["waiting_for"], "and status says what it waits for")
        self.assertIn("watchdog.bundle", coordinator.log.read_text())

        def node_told():
            status = nodes[0].status()
            return status if status and status["watchdog"]["bundles"] else None
        status = self.wait(node_told, 90, lambda: f"a bundle of the node; {nodes[0].status()}")
        why, messages = self.check_bundle(status["watchdog"]["last"], "skerry-node")
        self.assertTrue(messages["orders"] and messages["report"])

        # Said once for a step; when the other is back the run goes on.
        before = coordinator.status()["watchdog"]["bundles"]
        nodes[1].thaw()
        coordinator.wait_head(head + 4, 90)
        self.assertEqual(coordinator.status()["watchdog"]["bundles"], before)
        self.check_history(least_head=head + 4)


if __name__ == "__main__":
    unittest.main()
