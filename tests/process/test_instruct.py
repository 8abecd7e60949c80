"""A run on examples: packed, learnt by two nodes, then looked at with eval and generate."""
import json
import random
import unittest

from harness import RUN, ProcessTest, built_trainer, error_of, run_toml

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]


class Instruct(ProcessTest):
    trainer = staticmethod(built_trainer)

    def test_examples_are_learnt_and_looked_at(self):
        lines = [json.dumps({"prompt": f"{i}=", "completion": word}) for i, word in enumerate(NUMBERS)]
        (self.folder / "task.jsonl").write_text("\n".join(lines) + "\n")
        many = lines * 40
        random.Random(1).shuffle(many)  # in one order always, the next one would be known by the last
        (self.folder / "train.jsonl").write_text("\n".join(many) + "\n")
        said = json.loads(self.cluster.run("--json", "data", "prepare", self.folder / "train.jsonl", "--val", self.folder / "task.jsonl", "--pack", 32,
                                           "-o", self.folder / "data").stdout)
        self.assertEqual((said["documents"], said["examples"]["cut"]), (492, 0))
        coordinator = self.cluster.coordinator
        coordinator.init()
        coordinator.start()
        coordinator.push_data(self.folder / "data")
        toml = self.folder / "run.toml"
        text = run_toml(hidden=64, inner=128, layers=2, batch=8, local_steps=25, lr=4e-3, tokens=240_000, outer_lr=1.0, outer_momentum=0.0)
        text = text.replace("every_steps = 0\nsequences", "every_steps = 4\nsequences")
        toml.write_text(text.replace("sequence_length = 32", "sequence_length = 16"))
        refused = coordinator.ask("run", "create", toml, check=False)
        self.assertEqual(error_of(refused), (2, "CONFIG_INVALID"))
        self.assertIn("--pack 16", refused.stderr)
        toml.write_text(text)
        coordinator.create_run(toml)
        self.join(coordinator.token(RUN), "a", "b")
        nodes = [self.cluster.node("a"), self.cluster.node("b")]
        node = nodes[0]
        last = 240_000 // (2 * 8 * 32 * 25)
        self.wait_all_heads(nodes, last, 90)

        held_out = json.loads(node.ask("--json", "eval", "--data", self.folder / "data").stdout)
        self.assertEqual((held_out["data"], held_out["step"] >= last), ("held_out", True))
        task = ["--json", "eval", "--data", self.folder / "task.jsonl", "--match"]
        newest, first = (json.loads(node.ask(*task, *step).stdout) for step in ((), ("--step", 1)))
        self.assertEqual((newest["examples"], newest["targets"], first["step"]), (12, sum(len(word) + 1 for word in NUMBERS), 1))
        self.assertEqual(held_out["targets"], newest["targets"])
        self.assertLess(newest["loss"], first["loss"])
        self.assertLess(newest["loss"], 0.2)
        self.assertGreaterEqual(newest["matched"], 11)
        answer = json.loads(node.ask("--json", "generate", "--prompt", "7=", "--temperature", 0, "--tokens", 30).stdout)
        self.assertEqual((answer["text"], answer["stopped"]), ("seven", True))
        plain = node.ask("generate", "--prompt", "7=", "--temperature", 0, "--tokens", 30).stdout
        self.assertEqual(plain, "7=seven\n")
        print(f"value: the task's loss fell from {first['loss']:.2f} to {newest['loss']:.3f}, {newest['matched']} of 12 answers word for word")
        self.check_history(least_head=last)


if __name__ == "__main__":
    unittest.main()
