"""What `skerry join` says before it joins, and what the books say of a node afterwards."""
import csv
import io
import json
import os
import re
import shutil
import unittest

from harness import RUN, ProcessTest, error_of

HUGE = {"hidden": 2048, "inner": 65536, "layers": 200}  # 84 thousand million parameters


class Join(ProcessTest):
    def uses_left(self):
        tokens = json.loads(self.cluster.coordinator.ask("token", "ls", "--json").stdout)["tokens"]
        return {token["label"]: token["uses_left"] for token in tokens}["once"]

    def one_use(self, run=RUN):
        out = self.cluster.coordinator.ask("token", "create", "--run", run, "--uses", "1", "--label", "once").stdout
        return next(word for word in out.split() if word.startswith("skerry://"))

    def test_no_uses_nothing_up_and_yes_joins(self):
        for node in self.start_run(2):
            self.wait_current(node)
        self.cluster.coordinator.wait_head(3)
        token = self.one_use()
        text, process = self.at_a_terminal("n", token)
        self.assertEqual(process.wait(30), 0, text)
        self.assertEqual(self.uses_left(), 1, "looking is free")
        self.assertFalse((self.folder / "asked").exists(), "nothing was written")
        status = self.cluster.coordinator.status()
        for word in (RUN, status["coordinator"]["fingerprint"], "2 nodes", "running", "no code is downloaded", "up and", "an hour", "memory", "disk"):
            self.assertIn(word, text)
        self.assertEqual(len(status["nodes"]), 2)

        self.at_a_terminal("y", token, "--name", "third", "--trainer", str(self.trainer()))
        self.wait(lambda: (s := self.cluster.coordinator.status()) and any(n["name"] == "third" and n["state"] == "current" for n in s["nodes"]), 60, "the third")
        self.assertEqual(self.uses_left(), 0)

    def test_the_owners_limits_are_set_against_what_the_run_takes(self):
        for node in self.start_run(2):
            self.wait_current(node)
        self.cluster.coordinator.wait_head(3)
        token = self.one_use()
        free, _ = self.at_a_terminal("n", token)
        self.assertNotIn("Limit ", free)
        held, _ = self.at_a_terminal("n", token, "--up", "80kbit", "--per-day", "20MiB", "--memory", "8GiB", "--disk", "20MiB")
        limits = dict(re.findall(r"Limit +(\w+)( binds)?:", held))
        self.assertEqual(limits, {"up": " binds", "daily_transfer": " binds", "memory": "", "disk": " binds"}, held)
        self.assertIn("([limits] daily_transfer): then it pauses until midnight", held)
        self.assertRegex(held, r"its exchange takes [\d.]+ s, .* up at 9.77 KiB/s \(\[limits\] up\)")
        # No more than 80 kbit/s is announced, and no less is needed: these steps take a fraction of a second.
        self.assertAlmostEqual(self.up_an_hour(held) / (10_000 * 3600), 1, delta=0.02, msg=held)
        self.assertGreater(self.up_an_hour(free), 2 * self.up_an_hour(held))
        self.assertFalse((self.folder / "asked").exists())

    def up_an_hour(self, text):
        number, unit = re.search(r"about ([\d.]+) (\w+) up and", text).groups()
        return float(number) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(unit)

    def test_a_trainer_that_may_not_have_what_it_needs_is_refused(self):
        self.prepare(start=False)
        done = self.cluster.run("join", self.one_use(), "--dir", self.folder / "small", "--memory", "20MiB", "--no-input", "--json", check=False)
        self.assertEqual(error_of(done), (13, "NOT_ENOUGH_MEMORY"), done.stderr)
        self.assertIn("[limits] memory is 20.0 MiB", done.stderr)
        self.assertEqual(self.uses_left(), 1)

    def test_a_look_is_for_bearers_of_tokens(self):
        self.prepare()
        token = self.one_use()
        listed = json.loads(self.cluster.coordinator.ask("token", "ls", "--json").stdout)["tokens"]
        self.cluster.coordinator.ask("token", "revoke", next(one["id"] for one in listed if one["label"] == "once"))
        text, process = self.at_a_terminal("y", token)
        self.assertEqual(process.wait(30), 11, text)
        self.assertNotIn("Join?", text)
        self.assertIn("TOKEN_UNKNOWN", text)
        self.assertFalse((self.folder / "asked").exists())

    def test_a_machine_that_is_too_small_is_told_before_anything_is_fetched(self):
        self.prepare(start=False, **HUGE)
        token = self.one_use()
        done = self.cluster.run("join", token, "--dir", self.folder / "small", "--no-input", "--json", check=False)
        self.assertEqual(error_of(done), (13, "NOT_ENOUGH_MEMORY"), done.stderr)
        said = json.loads(done.stderr.splitlines()[-1])
        self.assertRegex(said["message"], r"needs [\d.]+ TiB .*the machine has [\d.]+ GiB")
        self.assertTrue(said["fix"])
        self.assertEqual(self.uses_left(), 1)
        self.assertFalse((self.folder / "small").exists())


class Contribution(ProcessTest):
    def test_status_says_what_the_ledger_and_the_chain_say(self):
        nodes = self.start_run(2, local_steps=2)
        coordinator = self.cluster.coordinator
        for node in nodes:
            self.wait_current(node)
        coordinator.wait_credited([node.name for node in nodes])
        coordinator.wait_head(6)
        coordinator.run_verb("pause", RUN)
        self.wait(lambda: (s := coordinator.status()) and s["state"] == "paused" and s["phase"] == "paused", 60, "the pause")
        given = {node.name: self.wait(lambda node=node: self.as_in_the_ledger(node), 30, lambda node=node: f"{node.status()} as in {self.ledger()}") for node in nodes}
        for node in nodes:
            one, line = given[node.name], next(line for line in node.ask("status").stdout.splitlines() if line.startswith("you: "))
            self.assertIn(f"{one['steps']} of {one['steps_here']} steps", line)
            self.assertIn(f"{100 * one['share']:.1f} % of all nodes'", line)
            self.assertIn(f"rank {one['rank']} of 2", line)
        # The oracle: the signed decisions on the nodes' disks.
        ids = {node["name"]: node["node_id"] for node in coordinator.status()["nodes"]}
        answers = self.check_history(nodes, least_head=6)
        decisions = max(answers.values(), key=lambda answer: answer["head"])["decisions"]
        tokens = {name: sum(credit["tokens"] for decision in decisions for credit in decision["credits"] if credit["node"] == node) for name, node in ids.items()}
        for name, one in given.items():
            self.assertEqual(one["tokens"], tokens[name], name)
            self.assertEqual(one["steps"], len(self.credited_steps(answers, ids[name])), name)
            self.assertAlmostEqual(one["share"], tokens[name] / sum(tokens.values()), places=9)

    def as_in_the_ledger(self, node):
        """The node's own view once it equals its line of the ledger: it comes with the orders of the next second."""
        one = (node.status() or {}).get("contribution")
        row = next(row for row in self.ledger() if row["node"] == node.name)
        columns = {"tokens": "tokens", "steps": "steps_accepted", "steps_here": "steps_here", "rank": "rank", "sent_bytes": "sent_bytes",
                   "received_bytes": "received_bytes"}
        same = one and all(one[key] == int(row[column]) for key, column in columns.items()) and f"{one['share']:.6f}" == row["share"]
        return one if same and one["steps"] > 0 and one["sent_bytes"] > 0 else None

    def test_what_a_node_gave_outlives_its_folder(self):
        nodes = self.start_run(3)
        coordinator = self.cluster.coordinator
        for node in nodes:
            self.wait_current(node)
        coordinator.wait_credited([node.name for node in nodes])
        coordinator.wait_head(8)
        # Bytes come with the Reports of each second, after the steps that they belong to.
        given = lambda: (s := nodes[0].status()) and (one := s["contribution"]) and one["steps"] >= 4 and one["ranked"] == 3 and one["sent_bytes"] > 0 and one
        first = self.wait(given, 60, "a contribution")
        self.assertLessEqual(first["steps"], first["steps_here"])
        machine = self.wait(lambda: (s := coordinator.status()) and all(n["machine"] for n in s["nodes"]) and s["nodes"][0]["machine"], 20, "the machines")
        self.assertEqual(machine["cores"], len(os.sched_getaffinity(0)))
        self.assertGreater(machine["memory_bytes"], machine["memory_free_bytes"])
        self.assertGreater(machine["disk_free_bytes"], 0)

        # The same key in a new folder: what was given stays, its bytes and those of the new process are one sum.
        nodes[0].stop()
        key = (nodes[0].dir / "identity" / "key").read_bytes()
        shutil.rmtree(nodes[0].dir)
        (nodes[0].dir / "identity").mkdir(parents=True, mode=0o700)
        path = nodes[0].dir / "identity" / "key"
        path.write_bytes(key)
        path.chmod(0o600)
        nodes[0].join(self.token)
        self.wait_current(nodes[0])
        keys = ("tokens", "steps", "steps_here", "sent_bytes", "received_bytes")
        more = lambda: (s := nodes[0].status()) and (now := s["contribution"]) and all(now[key] > first[key] for key in keys) and now
        again = self.wait(more, 60, lambda: f"more than {first}: {nodes[0].status()}")
        self.assertEqual(again["since_unix_s"], first["since_unix_s"])
        self.assertGreaterEqual(again["active_ms"], first["active_ms"])

        # And a restart of the coordinator.
        coordinator.run_verb("pause", RUN)
        self.wait(lambda: (s := coordinator.status()) and s["state"] == "paused" and s["phase"] == "paused", 60, "the pause")
        before = self.wait(self.still_ledger, 60, "a ledger that stands still")
        coordinator.stop()
        coordinator.start()
        after = {row["node"]: row for row in self.ledger()}
        for name, row in before.items():
            for key in ("tokens", "steps_accepted", "steps_here", "since", "rank"):
                self.assertEqual(after[name][key], row[key], (name, key))
        # The books have bytes as of the last decision, and as of now once the nodes have reported.
        sent = lambda rows: {name: int(row["sent_bytes"]) for name, row in rows.items()}
        for name, bytes_then in sent(after).items():
            self.assertLessEqual(bytes_then, sent(before)[name], name)
        again = lambda: sent({row["node"]: row for row in self.ledger()})
        self.wait(lambda: again() == sent(before), 30, lambda: f"{sent(before)} again: {again()}")
        self.assertEqual(sum(int(row["tokens"]) for row in before.values()), coordinator.status()["tokens"])
        self.assertAlmostEqual(sum(float(row["share"]) for row in before.values()), 1, places=4)
        self.assertIn("you: ", self.cluster.nodes["node-1"].ask("status").stdout)

    def still_ledger(self):
        """{node: row} once nothing in it moves: bytes come with the Reports of the next second."""
        rows = {row["node"]: row for row in self.ledger()}
        self.calm = getattr(self, "calm", 0) + 1 if rows == getattr(self, "last", None) else 0
        self.last = rows
        return rows if self.calm >= 15 else None

    def ledger(self):
        return list(csv.DictReader(io.StringIO(self.cluster.coordinator.ask("nodes", "--csv").stdout)))


if __name__ == "__main__":
    unittest.main()
