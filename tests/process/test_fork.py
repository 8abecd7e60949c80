"""A run that begins with the state of another one: its own coordinator, keys and id, the other's weights and momentum."""
import hashlib
import json
import os
import struct
import time
import unittest

from harness import Cluster, ProcessTest, error_of, report, run_toml, weights_of

STEP = 3


def state_digest(state, tokens):
    """What docs/wire-format.md says the digest of a state is, from its roots."""
    return hashlib.sha256(b"skerry/state/1\0" + struct.pack("<Q", tokens) + bytes.fromhex(state["theta_root"]) + bytes.fromhex(state["m_root"])).hexdigest()


class Fork(ProcessTest):
    def setUp(self):
        super().setUp()
        self.first, self.second = self.cluster, Cluster(self.folder / "second")
        self.addCleanup(self.second.kill)

    def begin_second(self):
        self.second.coordinator.init()
        self.second.coordinator.start()

    def fork(self, source, *more, cluster=None, check=True, **changes):
        cluster = cluster or self.second
        file = self.folder / "second.toml"
        file.write_text(run_toml(**{"name": "atoll", **changes}))
        return cluster.run("run", "fork", file, "--dir", source.dir, "--coordinator-dir", cluster.coordinator.dir, "--json", *more, check=check)

    def kept(self, base=None):
        """What the second coordinator keeps by its hash, or one file of it."""
        shards = self.second.coordinator.dir / "shards"
        return shards / f"{base}.bin" if base else sorted(path.name for path in shards.glob("*"))

    def waits(self, node, text, patience=60):
        self.wait(lambda: text in (node.status() or {}).get("waiting", ""), patience,
                  lambda: f"{node.name} waiting for {text}; {node.status()}")

    def refused(self, done, status, code, *texts):
        self.assertEqual(error_of(done), (status, code), done.stderr)
        for text in texts:
            self.assertIn(text, done.stderr)

    def test_begins_with_the_state_of_another_run(self):
        sources = self.start_run(nodes=2)
        self.first.coordinator.wait_head(STEP + 1)
        self.wait_all_heads(sources, STEP + 1)
        source = sources[0]
        self.begin_second()
        coordinator = self.second.coordinator

        # Refused by name, before anything is copied.
        self.refused(self.fork(source, check=False), 14, "NO_DATA", "data push")
        coordinator.push_data(self.folder / "data")
        before = self.kept()
        self.refused(self.fork(source, "--step", 10_000, check=False), 15, "NOT_FOUND", "S_10000 cannot be rebuilt")
        self.refused(self.fork(source, check=False, hidden=64), 2, "CONFIG_INVALID", "hidden_size is 64, there it is 32")
        self.refused(self.fork(self.second.node("nobody"), check=False), 15, "NOT_FOUND", "no run in")
        self.refused(self.fork(source, cluster=self.first, check=False, name="reef"), 2, "ALREADY_EXISTS", "another name")
        self.assertEqual(self.kept(), before)

        at = self.first.coordinator.head()
        made = json.loads(self.fork(source, "--step", STEP).stdout)
        parent, base = made["parent"], made["base"]
        self.assertEqual(self.kept(), sorted([*before, f"{base}.bin"]))

        # A node dies before the first commit of the fork.
        self.cluster = self.second
        token = coordinator.token("atoll")
        forked = self.join(token, "fork-1", "fork-2")
        for node in forked:
            self.waits(node, "the run to be started")
        forked[0].kill()
        forked[0].start()
        self.waits(forked[0], "the run to be started")
        coordinator.run_verb("start", "atoll")
        status = coordinator.wait_head(3, 90)
        self.assertNotEqual(status["run_id"], parent["run_id"])
        self.assertEqual(status["forked_from"], {key: parent[key] for key in ("run_id", "step", "h")})
        forked += self.join(token, "late")
        self.wait_current(forked[-1])
        head = coordinator.head() + 2
        self.wait_all_heads(forked, head)
        forked[1].kill()
        forked[1].start()
        self.wait_all_heads(forked, head + 2)

        # A fork of its first state is the same file, byte for byte.
        again = json.loads(self.fork(forked[2], "--step", 0, name="again").stdout)
        self.assertEqual(again["base"], base)
        self.assertEqual(again["parent"]["run_id"], status["run_id"])
        # The old run went on, and knows nothing of it.
        self.first.coordinator.wait_head(at + 2)
        self.assertIsNone(self.first.coordinator.status()["forked_from"])

        fork_answers = self.check_history(forked, least_head=head + 2)
        self.cluster = self.first
        answers = self.check_history(sources, least_head=at + 2)
        self.judge_first_states(answers, fork_answers, parent)
        for node in forked:
            self.assertEqual(hashlib.sha256((node.dir / "run" / "base").read_bytes()).hexdigest(), base, node.name)
        self.judge_exports(source, forked, parent, status["run_id"])
        report(f"fork of step {STEP}: S_0 is that state on {len(forked)} nodes, its run went on to {head + 2}, the old one from {at} to "
               f"{max(answer['head'] for answer in answers.values())}")

    def judge_first_states(self, answers, fork_answers, parent):
        """S_0 of the fork on every node has the weights and the momentum of the old run's S_3 on every node; it counts from 0."""
        for name, answer in answers.items():
            old = next(state for state in answer["states"] if state["step"] == STEP)
            self.assertEqual(parent["digest"], old["digest"], name)
            self.assertEqual(parent["h"], answer["decisions"][STEP - 1]["h"], name)
            self.assertGreater(old["tokens"], 0)
            self.assertNotEqual(answer["states"][0]["m_root"], old["m_root"], "momentum that is still zero proves nothing")
            for node, fork in fork_answers.items():
                begin = fork["states"][0]
                self.assertEqual((begin["step"], begin["tokens"]), (0, 0), node)
                self.assertEqual(state_digest(begin, 0), begin["digest"], node)
                self.assertEqual(state_digest(begin, old["tokens"]), old["digest"], f"{node}: S_0 is not S_{STEP} of {name}")
                self.assertEqual(fork["forked_from"], {key: parent[key] for key in ("run_id", "step", "h")})

    def judge_exports(self, source, forked, parent, run_id):
        source.ask("export", "-o", self.folder / "source", "--step", STEP)
        wanted = {name: numbers.tobytes() for name, numbers in weights_of(self.folder / "source")}
        for node in forked:
            out = self.folder / f"{node.name}-export"
            node.ask("export", "-o", out, "--step", 0)
            self.assertEqual({name: numbers.tobytes() for name, numbers in weights_of(out)}, wanted, node.name)
            origin = (out / "README.md").read_text()
            for text in (run_id, f"a fork of run {parent['run_id']}, step {STEP}, chain {parent['h']}"):
                self.assertIn(text, origin)
        self.assertNotIn("fork", (self.folder / "source" / "README.md").read_text())

    def test_a_base_that_the_coordinator_lost(self):
        sources = self.start_run(nodes=2)
        self.wait_all_heads(sources, STEP)
        self.begin_second()
        coordinator = self.second.coordinator
        coordinator.push_data(self.folder / "data")
        base = json.loads(self.fork(sources[0], snapshot_every=2).stdout)["base"]
        self.first.stop()
        self.cluster = self.second
        token = coordinator.token("atoll")
        nodes = self.join(token, "fork-1")
        self.waits(nodes[0], "the run to be started")

        # Without it a new node has nothing to begin with, and says so; it ends at once when asked.
        self.kept(base).unlink()
        nodes += self.join(token, "fork-2")
        self.waits(nodes[1], f"the state that this fork begins with, from disk or the coordinator: no shard {base[:8]}")
        since = time.monotonic()
        nodes[1].stop()
        self.assertLess(time.monotonic() - since, 10)
        missing = nodes[1].verify()
        self.assertTrue(missing["ok"] is False and base in missing["problems"][0], missing["problems"])
        nodes[1].start()
        # One that has it gives it back.
        self.assertEqual(json.loads(coordinator.ask("data", "push", nodes[0].dir, "--json").stdout)["pushed"], 1)
        self.assertEqual(hashlib.sha256(self.kept(base).read_bytes()).hexdigest(), base)
        self.waits(nodes[1], "the run to be started")
        coordinator.run_verb("start", "atoll")
        coordinator.wait_head(5, 90)

        # Lost again, but the others have newer states by now.
        self.kept(base).unlink()
        nodes += self.join(token, "late")
        self.wait_current(nodes[2])
        head = coordinator.head() + 2
        self.wait_all_heads(nodes, head)
        self.assertFalse(os.path.exists(nodes[2].dir / "run" / "base"))
        answers = self.check_history(nodes, least_head=head)
        report(f"a fork's base lost by the coordinator: pushed back by a node; later a node came in by snapshot {answers['late']['snapshot']}")


if __name__ == "__main__":
    unittest.main()
