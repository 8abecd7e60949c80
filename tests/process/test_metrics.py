"""/metrics of both programs, read by a parser that knows nothing of ours, compared with the status documents."""
import json
import os
import pathlib
import re
import unittest
import urllib.error

import metrics_page
from harness import ROOT, ProcessTest


class Metrics(ProcessTest):
    def page(self, program, path="/metrics"):
        status = program.status()
        port = (status.get("coordinator") or status)["metrics_port"] if "coordinator" in status and isinstance(status["coordinator"], dict) else status["metrics_port"]
        headers, text = metrics_page.fetch(port, path)
        return headers, text

    def families(self, program):
        headers, text = self.page(program)
        self.assertIn("version=0.0.4", headers["Content-Type"])
        return metrics_page.parse(text)

    def paused_run(self):
        """A run that stands still: page and status must agree to the last digit."""
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        coordinator.run_verb("pause", "reef")
        still = []

        def stands():
            status = coordinator.status()
            still.append((status["head"], status["phase"]))
            heads = [node.head() for node in nodes]
            return len(still) > 5 and len(set(still[-4:])) == 1 and still[-1][1] == "paused" and set(heads) == {status["head"]}
        self.wait(stands, 60, "the run to stand still")
        return nodes

    def test_the_coordinators_page_agrees_with_its_status(self):
        self.paused_run()
        coordinator = self.cluster.coordinator
        page, status = self.families(coordinator), coordinator.status()
        for name, key in {"skerry_run_step": "head", "skerry_run_tokens_total": "tokens", "skerry_run_tokens_target": "tokens_total",
                          "skerry_run_term": "term", "skerry_run_epoch": "epoch", "skerry_messages_dropped_total": "dropped_messages"}.items():
            self.assertEqual(metrics_page.value(page, name, run="reef"), status[key], name)
        self.assertEqual(metrics_page.value(page, "skerry_rounds_total", outcome="decided"), status["head"], "this process decided them all")
        self.assertEqual(metrics_page.value(page, "skerry_rounds_total", outcome="superseded"), status["superseded"])
        self.assertEqual(metrics_page.value(page, "skerry_run_state", state="paused"), 1)
        self.assertEqual(metrics_page.value(page, "skerry_run_state", state="running"), 0)
        self.assertEqual(metrics_page.value(page, "skerry_nodes", state="current"), 3)
        self.assertEqual(metrics_page.value(page, "skerry_data_sequences", state="free"), status["leases"]["free"])
        self.assertAlmostEqual(metrics_page.value(page, "skerry_run_train_loss", run="reef"), status["loss"], places=6)
        self.assertGreater(metrics_page.value(page, "skerry_store_transactions_total", result="durable"), status["head"])
        self.assertGreater(metrics_page.value(page, "skerry_store_size_bytes", run="reef"), 4096)
        self.assertEqual(page["skerry_round_duration_seconds"]["samples"][("_count", (("run", "reef"),))], status["head"] - 1)
        for node in status["nodes"]:
            for name, key in {"skerry_node_step": "head", "skerry_node_credited_tokens_total": "credited_tokens"}.items():
                if key in node:
                    self.assertEqual(metrics_page.value(page, name, node=node["name"]), node[key], (name, node["name"]))
        again = self.families(coordinator)
        self.assertEqual(metrics_page.value(again, "skerry_http_requests_total", route="/metrics"), 1, "the first page was counted")
        self.assertEqual(self.page(coordinator, "/healthz")[1], "ok\n")

    def at_rest(self, node):
        """Page and status, once nothing moves between the two: nodes give each other data shards in a paused run, too."""
        page, status = self.families(node), node.status()
        return metrics_page.value(page, "skerry_net_bytes_total", direction="sent") == status["sent_bytes"] and (page, status)

    def test_a_nodes_page_agrees_with_its_status(self):
        nodes = self.paused_run()

        def connected(node):
            return metrics_page.value(self.families(node), "skerry_net_connections", state="connected")
        for node in nodes:
            self.wait(lambda: connected(node) == 2, what=f"{node.name} connected to both others")
            page, status = self.wait(lambda: self.at_rest(node), what=f"{node.name} with no data shard on its way")
            for name, key in {"skerry_node_step": "head", "skerry_run_step": "run_head", "skerry_run_tokens_total": "tokens",
                              "skerry_trainer_restarts_total": "trainer_restarts", "skerry_log_size_bytes": "disk_bytes"}.items():
                self.assertEqual(metrics_page.value(page, name, run="reef"), status[key], name)
            self.assertEqual(metrics_page.value(page, "skerry_node_connected"), 1)
            self.assertEqual(metrics_page.value(page, "skerry_net_bytes_total", direction="sent"), status["sent_bytes"])
            self.assertEqual(metrics_page.value(page, "skerry_net_bytes_total", direction="received"), status["received_bytes"])
            self.assertEqual(metrics_page.value(page, "skerry_node_phase", phase=status["phase"]), 1)
            phases = [number for number in page["skerry_node_phase"]["samples"].values()]
            self.assertEqual(sum(phases), 1, "one phase at a time")

    def test_counters_never_fall_and_every_metric_is_documented(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(2)
        documented = set(re.findall(r"^\| `([a-z0-9_]+)", (ROOT / "docs" / "metrics.md").read_text(), re.M))
        for program in (coordinator, nodes[0]):
            first = self.families(program)
            coordinator.wait_head(coordinator.head() + 2)
            second = self.families(program)
            self.assertEqual(set(first) - documented, set(), f"{program.name}: not in docs/metrics.md")
            for name, family in first.items():
                if family["type"] == "counter":
                    for key, number in family["samples"].items():
                        self.assertGreaterEqual(second[name]["samples"][key], number, (name, key))

    def test_off_and_a_port_of_ones_own(self):
        self.prepare()
        coordinator = self.cluster.coordinator
        coordinator.stop()
        config = coordinator.dir / "coordinator.toml"
        original = config.read_text()
        config.write_text(original + '\n[metrics]\nlisten = "none"\n')
        coordinator.start()
        self.assertEqual(coordinator.status()["coordinator"]["metrics_port"], 0)
        coordinator.stop()
        config.write_text(original + f'\n[metrics]\nlisten = "127.0.0.1:0"\n')
        coordinator.start()
        ready = json.loads((coordinator.dir / "ready.json").read_text())
        self.assertNotEqual(ready["metrics_port"], 0)
        self.assertEqual(self.page(coordinator, "/healthz")[1], "ok\n")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            metrics_page.fetch(ready["metrics_port"], "/status")
        self.assertEqual(refused.exception.code, 404)


class LogLines(ProcessTest):
    """Every line of a run says which run, step and attempt; as JSON, each line is one object."""

    def test_run_step_attempt_and_peer(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(2)
        nodes[2].kill()
        coordinator.wait_head(coordinator.head() + 2, 60)
        lines = coordinator.log.read_text().splitlines()
        of = lambda event: [line for line in lines if f" {event} " in line]
        for line in of("decided") + of("plan") + of("node_state") + of("session"):
            self.assertRegex(line, r" run=reef( |$)", line)
            self.assertRegex(line, r" step=\d+", line)
        for line in of("plan"):
            self.assertRegex(line, r" attempt=\d+", line)
        for line in of("node_state") + of("session"):
            self.assertRegex(line, r" peer=[0-9a-f]{8}", line)
        for line in nodes[0].log.read_text().splitlines():
            if " node " in line and " welcome " in line:
                self.assertIn(" run=reef", line)

    def test_as_json(self):
        token = self.prepare()
        coordinator = self.cluster.coordinator
        node = self.cluster.node("node-1")
        node.trainer = self.trainer()
        node.join(token, "--log-format", "json")
        self.join(token, "node-2")
        coordinator.wait_head(2)
        node.wait_head(2)
        lines = [json.loads(line) for line in node.log.read_text().splitlines() if line.startswith("{")]
        self.assertTrue(lines, node.tail())
        for line in lines:
            self.assertLessEqual({"time", "level", "program", "event"}, set(line))
        self.assertTrue(any(line.get("run") == "reef" and "step" in line for line in lines), lines[:5])


class OwnPrograms(ProcessTest):
    def test_join_finds_the_trainer_beside_itself_before_path(self):
        """Programs in a folder of their own, a trap in PATH: the node trains with the one beside it."""
        bin_dir = self.folder / "bin"
        bin_dir.mkdir()
        for name in ("skerry", "skerry-node", "skerry-coordinator"):
            (bin_dir / name).write_bytes((self.cluster.bin / name).read_bytes())
            (bin_dir / name).chmod(0o755)
        (bin_dir / "skerry-trainer").write_text(f'#!/bin/sh\nexec "{pathlib.Path(self.trainer()).resolve()}" "$@"\n')
        (bin_dir / "skerry-trainer").chmod(0o755)
        trap = self.folder / "trap"
        trap.mkdir()
        (trap / "skerry-trainer").write_text("#!/bin/sh\ntouch \"$(dirname \"$0\")/was-started\"\nexit 1\n")
        (trap / "skerry-trainer").chmod(0o755)
        self.cluster.bin = bin_dir
        token = self.prepare()
        for name in ("node-1", "node-2"):
            node = self.cluster.node(name)
            node.join(token, env={"PATH": f"{trap}:{os.environ['PATH']}"})
        self.cluster.coordinator.wait_head(2)
        self.assertFalse((trap / "was-started").exists(), "the trainer in PATH was taken")


if __name__ == "__main__":
    unittest.main()
