"""What was said before a run began, against what then happened: steps, bytes, disk; and who would be too small."""
import json
import unittest

from harness import RUN, ProcessTest, error_of, folder_bytes, prose, report, run_toml

NODES = 3


class Plan(ProcessTest):
    def setUp(self):
        super().setUp()
        (self.folder / "train.txt").write_text(prose(200_000))
        (self.folder / "held-out.txt").write_text(prose(20_000, seed=2))
        self.cluster.run("data", "prepare", self.folder / "train.txt", "--val", self.folder / "held-out.txt", "-o", self.folder / "data")
        self.coordinator = self.cluster.coordinator
        self.coordinator.init()

    def toml(self, **changes):
        (self.folder / "run.toml").write_text(run_toml(**changes))
        return self.folder / "run.toml"

    def plan(self, *words, ask=False, **changes):
        where = ["--coordinator-dir", self.coordinator.dir] if ask else []
        return json.loads(self.cluster.run("run", "create", self.toml(**changes), "--dry-run", "--json", *words, *where).stdout)

    def finish(self, **changes):
        """Runs it to its end with all nodes from the first step on. Returns the last status."""
        self.coordinator.create_run(self.toml(**changes), start=False)
        nodes = self.join(self.coordinator.token(RUN), *[f"node-{i + 1}" for i in range(NODES)])
        for node in nodes:
            self.wait_current(node)
        self.coordinator.run_verb("start", RUN)
        self.wait(lambda: (s := self.coordinator.status()) and s["state"] == "finished", 120, "the end of the run")
        self.wait_all_heads(nodes, self.coordinator.head())
        return self.wait(self.quiet, 30, "counters to stand still")

    def quiet(self):
        """The status once nobody's counters move: they come with the reports of the next second."""
        status = self.coordinator.status()
        key = status and [(node["sent_bytes"], node["received_bytes"], node["phase"]) for node in status["nodes"]]
        self.calm = getattr(self, "calm", 0) + 1 if key == getattr(self, "last", None) else 0
        self.last = key
        return status if self.calm >= 15 else None

    def test_a_run_takes_the_steps_bytes_and_disk_that_were_said(self):
        changes = {"hidden": 96, "inner": 256, "layers": 2, "tokens": 3 * 4 * 2 * 32 * 15 + 100, "batch": 2, "snapshot_every": 8}
        self.coordinator.start()
        self.coordinator.push_data(self.folder / "data")
        plan = self.plan("--nodes", str(NODES), ask=True, **changes)
        self.assertEqual(plan["steps"], 16)
        self.assertTrue(plan["coordinator_asked"])
        self.assertEqual(json.loads(self.coordinator.ask("run", "ls", "--json").stdout)["runs"], [], "a dry run makes nothing")

        status = self.finish(**changes)
        self.assertEqual(status["head"], plan["steps"])
        # What nodes give each other of the data is in the same counters, but no part of a step.
        data = {name: node.status()["shards"] for name, node in self.cluster.nodes.items()}
        sent = [node["sent_bytes"] - data[node["name"]]["given_bytes"] for node in status["nodes"]]
        got = [node["received_bytes"] - data[node["name"]]["from_peers_bytes"] for node in status["nodes"]]
        # The last step has less data, but as many parameters.
        ratio = {"all": sum(sent) / plan["bytes"]["all"], "up": max(sent) / (plan["bytes"]["up_per_step"] * status["head"]),
                 "down": max(got) / (plan["bytes"]["down_per_step"] * status["head"])}
        self.cluster.stop()
        disk = [folder_bytes(node.dir) for node in self.cluster.nodes.values()]  # what only a run needs that goes on is removed
        ratio["disk"] = max(disk) / (plan["needs"]["disk_bytes"] - plan["needs"]["disk_work_bytes"])
        report("measured over predicted: " + ", ".join(f"{key} {value:.3f}" for key, value in ratio.items()))
        for key, value in ratio.items():
            self.assertLessEqual(abs(value - 1), 0.05, f"{key}: {ratio}; {plan}; {status['nodes']}")

    def test_what_nodes_measured_and_their_owners_allow_reaches_the_plan_of_a_later_run(self):
        self.coordinator.start()
        self.coordinator.push_data(self.folder / "data")
        self.coordinator.create_run(self.toml())
        token = self.coordinator.token(RUN)
        self.join(token, "node-1")
        self.join(token, "node-2", toml='[limits]\nup = "800kbit"\ndaily_transfer = "50MiB"\n')
        self.wait(lambda: all(self.speeds().values()) and len(self.speeds()) == 2, 60, lambda: f"measured speeds; {self.coordinator.status()}")
        self.coordinator.run_verb("pause", RUN)
        later = {"name": "later", "hidden": 96, "inner": 256, "layers": 2, "batch": 2, "tokens": 12_800}
        speeds, plan = self.wait(lambda: self.plan_between_equal_speeds(later), 60, "speeds that stand still")
        elements = self.coordinator.status()["elements"]
        plan["nodes"].sort(key=lambda node: node["name"])
        self.assertEqual([node["name"] for node in plan["nodes"]], ["node-1", "node-2"])
        for node in plan["nodes"]:
            # The larger model takes as much longer as it has more parameters.
            expected = node["sequences"] * 32 / (speeds[node["name"]] * elements / plan["elements"])
            self.assertAlmostEqual(node["train_s"] / expected, 1, places=6)
        self.assertAlmostEqual(plan["train_s"], max(node["train_s"] for node in plan["nodes"]))
        self.assertIsNotNone(plan["duration_ms"])
        free, held = plan["nodes"]
        self.assertEqual(free["limits"], [])
        self.assertAlmostEqual(held["exchange_s"], held["up_bytes"] / 100_000)
        self.assertEqual({limit["key"]: limit["binds"] for limit in held["limits"]}, {"up": True, "daily_transfer": True}, plan)

        # Who has gone counts as it was, if the run wants more than are there.
        self.cluster.nodes["node-2"].stop()
        self.wait(lambda: (s := self.coordinator.status()) and sum(node["connected"] for node in s["nodes"]) == 1, 30, "one to go")
        alone = self.plan("--nodes", "1", ask=True, **later)
        self.assertEqual([node["name"] for node in alone["nodes"]], ["node-1"])
        both = self.plan("--nodes", "3", ask=True, **later)
        self.assertEqual([node["name"] for node in both["nodes"]], ["node-1", "node-2", "node-3"])
        self.assertAlmostEqual(both["nodes"][1]["train_s"], held["train_s"])
        self.assertIsNone(both["nodes"][2]["train_s"])
        self.assertIsNone(both["duration_ms"], "node-3 is not known")
        self.assertTrue(any("not connected" in one and "node-2" in one for one in both["assumed"]), both["assumed"])

    def speeds(self):
        status = self.coordinator.status()
        return {node["name"]: node["machine"] and node["machine"]["tokens_per_s"] for node in status["nodes"]} if status else {}

    def plan_between_equal_speeds(self, changes):
        before, plan = self.speeds(), self.plan(ask=True, **changes)
        return (before, plan) if before and before == self.speeds() else None

    def test_a_plan_needs_no_coordinator_and_says_what_it_assumes(self):
        plan = self.plan("--nodes", "2", "--node-speed", "1k", "--up", "800kbit", tokens=12_800)
        self.assertFalse(plan["coordinator_asked"])
        self.assertEqual((plan["steps"], plan["tokens_per_step"]), (50, 256))
        self.assertAlmostEqual(plan["train_s"], 0.128)
        self.assertAlmostEqual(plan["nodes"][0]["exchange_s"], plan["nodes"][0]["up_bytes"] / 100_000)
        self.assertAlmostEqual(plan["duration_ms"], 50_000 * plan["step_s"], delta=50)
        self.assertEqual(len(plan["assumed"]), 3, plan["assumed"])
        slow = self.plan("--nodes", "2", "--node-speed", "1k", "--up", "8kbit", tokens=12_800)
        self.assertEqual([node["too_small"] for node in slow["nodes"]], [True, True], slow["concerns"])
        short = self.plan("--nodes", "2", "--node-speed", "10", tokens=12_800)
        self.assertEqual([node["sequences"] for node in short["nodes"]], [1, 1], "the round's deadline of 6 s ends it")

    def test_what_is_wrong_is_said_before_anything_is_made(self):
        done = self.cluster.run("run", "create", self.toml(), "--dry-run", "--up", "fast", "--json", check=False)
        self.assertEqual(error_of(done), (2, "USAGE"), done.stderr)
        self.coordinator.start()
        ask = ["--dry-run", "--coordinator-dir", self.coordinator.dir, "--json"]
        self.assertEqual(error_of(self.cluster.run("run", "create", self.toml(), *ask, check=False)), (14, "NO_DATA"))
        self.coordinator.push_data(self.folder / "data")
        self.cluster.run("run", "create", self.toml(), *ask)
        self.coordinator.create_run(self.folder / "run.toml", start=False)
        self.assertEqual(error_of(self.cluster.run("run", "create", self.toml(), *ask, check=False))[1], "ALREADY_EXISTS")


if __name__ == "__main__":
    unittest.main()
