"""A run that begins with the state of another one: its own coordinator, keys and id, the other's weights."""
import json
import unittest

from harness import Cluster, ProcessTest, error_of, report, run_toml, weights_of

STEP = 3


class Fork(ProcessTest):
    def setUp(self):
        super().setUp()
        self.second = Cluster(self.folder / "second")
        self.addCleanup(self.second.kill)

    def fork(self, source, *more, check=True, **changes):
        file = self.folder / "second.toml"
        file.write_text(run_toml(name="atoll", **changes))
        return self.second.run("run", "fork", file, "--dir", source.dir, "--coordinator-dir", self.second.coordinator.dir, "--json", *more, check=check)

    def test_begins_with_the_weights_of_another_run(self):
        nodes = self.start_run(nodes=2)
        self.cluster.coordinator.wait_head(STEP + 2)
        self.wait_all_heads(nodes, STEP + 2)
        answers = self.check_history(least_head=STEP + 2)
        source = nodes[0]
        digests = {state["step"]: state["digest"] for state in answers[source.name]["states"]}

        coordinator = self.second.coordinator
        coordinator.init()
        coordinator.start()
        coordinator.push_data(self.folder / "data")
        self.assertEqual(error_of(self.fork(source, "--step", 10_000, check=False)), (15, "NOT_FOUND"))
        other = self.fork(source, hidden=64, check=False)
        self.assertEqual(error_of(other)[1], "CONFIG_INVALID")
        self.assertIn("[model] is not that of run reef", other.stderr)
        made = json.loads(self.fork(source, "--step", STEP, "--start").stdout)
        self.assertEqual(made["parent"]["digest"], digests[STEP])
        self.assertEqual(made["parent"]["h"], answers[source.name]["decisions"][STEP - 1]["h"])

        self.cluster = self.second  # from here on the run that is judged
        token = coordinator.token("atoll")
        forked = [self.join(token, name)[0] for name in ("fork-1", "fork-2")]
        coordinator.wait_head(3, 90)
        status = coordinator.status()
        self.assertNotEqual(status["run_id"], made["parent"]["run_id"])
        self.assertEqual(status["forked_from"], {key: made["parent"][key] for key in ("run_id", "step", "h")})
        forked += self.join(token, "late")
        self.wait_current(forked[-1])
        head = coordinator.status()["head"] + 2
        self.wait_all_heads(forked, head)
        forked[0].kill()
        forked[0].start()
        self.wait_all_heads(forked, head + 2)
        self.check_history(least_head=head + 2)

        # What S_0 of the fork is: the other run's S_3, number for number.
        source.ask("export", "-o", self.folder / "source", "--step", STEP)
        wanted = dict(weights_of(self.folder / "source"))
        for node in forked:
            node.ask("export", "-o", self.folder / f"{node.name}-export", "--step", 0)
            got = dict(weights_of(self.folder / f"{node.name}-export"))
            self.assertEqual(got.keys(), wanted.keys())
            for name, numbers in wanted.items():
                self.assertEqual(got[name].tobytes(), numbers.tobytes(), f"{node.name}: {name}")
        report(f"fork of step {STEP}: S_0 equal in {sum(len(n) for n in wanted.values())} numbers on {len(forked)} nodes, went on to {head + 2}")


if __name__ == "__main__":
    unittest.main()
