"""Real processes against an independent numpy DiLoCo that is fed the same local weights, bit for bit.

The tap between agent and trainer keeps what each trainer handed over; everything else the oracle computes
itself: S_0, mean, outer step, digests.
"""
import pathlib
import sys
import tomllib
import unittest

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "process"))

import reference  # noqa: E402
from harness import ROOT, RUN, ProcessTest, report, trainer_program  # noqa: E402,F401


class OracleTest(ProcessTest):
    trainer = staticmethod(lambda: str(ROOT / "tests" / "support" / "trainer_tap.py"))

    def tap_env(self, name, behind=None):
        return {"SKERRY_TAP_DIR": str(self.folder / "tap" / name), "SKERRY_TAP_TRAINER": behind or trainer_program()}

    def tapped_run(self, names, steps, behind=None, **changes):
        """Starts the run only when all nodes are there, so that every step has all of them."""
        token = self.prepare(start=False, **changes)
        for name in names:
            self.join(token, name, env=self.tap_env(name, behind))
        nodes = [self.cluster.node(name) for name in names]
        for node in nodes:
            self.wait_current(node)
        self.cluster.coordinator.run_verb("start", RUN)
        self.wait_all_heads(nodes, steps, 180)
        self.ids = {node.status()["node_id"]: node.name for node in nodes}
        return self.check_history(least_head=steps)

    def handed_over(self, name):
        """Local weights of one node by step (the round's number is the step)."""
        files = sorted((self.folder / "tap" / name).glob("*/*.f32"))
        return {int(path.stem.split("-")[1]): np.fromfile(path, np.float32) for path in files}

    def replay(self, answers, model, seed, eta, mu, initial=None):
        """Yields (step, theta, momentum) of every state, checking each digest; stops at what was handed over.
        `initial`: theta of S_0 where it is not the seed's."""
        answer = max(answers.values(), key=lambda one: one["head"])
        digests = {state["step"]: state["digest"] for state in answer["states"]}
        local = {node_id: self.handed_over(name) for node_id, name in self.ids.items()}
        theta = reference.initial_state(model, seed) if initial is None else initial
        momentum, tokens = np.zeros_like(theta), 0
        self.assertEqual(digests[0], reference.state_digest(0, theta, momentum), "S_0")
        yield 0, theta, momentum, {}
        for decision in answer["decisions"]:
            step = decision["step"]
            credits = sorted(decision["credits"], key=lambda credit: credit["node"])
            fed = {credit["node"]: local[credit["node"]][step] for credit in credits}
            deltas = [theta - fed[credit["node"]] for credit in credits]
            average = reference.mean(deltas, [credit["tokens"] for credit in credits])
            theta, momentum = reference.outer_step(theta, momentum, average, eta, mu)
            tokens += sum(credit["tokens"] for credit in credits)
            self.assertEqual(tokens, decision["tokens_after"])
            self.assertEqual(digests[step + 1], reference.state_digest(tokens, theta, momentum), f"S_{step + 1}")
            yield step + 1, theta, momentum, fed

    def model(self):
        return tomllib.loads((self.folder / "run.toml").read_text())["model"]


class ThreeProcesses(OracleTest):
    def test_f32_equals_numpy_diloco_bit_for_bit(self):
        answers = self.tapped_run(["a", "b", "c"], steps=12, compression="none")
        steps = [step for step, *_ in self.replay(answers, self.model(), seed=7, eta=0.7, mu=0.5)]
        self.assertGreaterEqual(steps[-1], 12)
        decisions = max(answers.values(), key=lambda one: one["head"])["decisions"]
        report(f"numpy DiLoCo bit for bit over {steps[-1]} steps of three processes")
        self.assertTrue(all(len(decision["credits"]) == 3 for decision in decisions[:12]), "three in every mean")


class OneProcess(OracleTest):
    def test_one_inner_step_with_eta_1_and_mu_0_is_adamw(self):
        """N = 1, H = 1: theta - (theta - local) differs from local by rounding only."""
        answers = self.tapped_run(["solo"], steps=20, behind=str(self.cluster.program("skerry-trainer")), compression="none", local_steps=1, min_nodes=1, durable_copies=1,
                                  outer_lr=1.0, outer_momentum=0.0)
        worst, before = 0.0, None
        for _, theta, _, fed in self.replay(answers, self.model(), seed=7, eta=1.0, mu=0.0):
            for local in fed.values():
                larger = np.maximum(np.abs(before), np.abs(local))
                worst = max(worst, float(reference.ulp_distance(theta, local, larger).max()))
            before = theta
        report(f"AdamW to {worst:.2f} ulp of the larger weight")
        self.assertLessEqual(worst, 2.0)


if __name__ == "__main__":
    unittest.main()
