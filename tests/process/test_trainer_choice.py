"""What the owner of a machine sets for its trainer is what it works with; status shows it; nodes that compute in different ways train one run."""
import re
import subprocess
import unittest

from harness import ProcessTest, default_bin, error_of, report

TRAINER = str(default_bin() / "skerry-trainer")


class Choice(ProcessTest):
    trainer = staticmethod(lambda: TRAINER)

    def set_up(self):
        token = self.prepare(batch=4)
        self.join(token, "node-1", toml='threads = 1\npath = "autograd"\nmicro_batch = 1\nrecompute = "layers"')
        self.join(token, "node-2", toml="threads = 1")
        return [self.cluster.node(name) for name in ("node-1", "node-2")]

    def change(self, node, key, value):
        config = node.dir / "node.toml"
        text = re.sub(rf"^{key} = .*\n", "", config.read_text(), flags=re.MULTILINE)
        config.write_text(text.replace("[trainer]\n", f"[trainer]\n{key} = {value}\n"))

    def refused(self, node, key, value):
        """Starts it in the foreground with one line changed; puts the line back."""
        good = (node.dir / "node.toml").read_text()
        self.change(node, key, value)
        done = self.cluster.run("run", "--dir", node.dir, program="skerry-node", check=False, patience=60)
        (node.dir / "node.toml").write_text(good)
        self.assertEqual(error_of(done), (2, "CONFIG_INVALID"), done.stderr)
        return done.stderr

    def test_what_is_set_is_what_it_works_with(self):
        nodes = self.set_up()
        self.cluster.coordinator.wait_head(3)
        one, two = (self.wait(lambda n=node: (n.status() or {}).get("trainer_setup"), 30, "a trainer's setup") for node in nodes)
        self.assertEqual([one[key] for key in ("path", "device", "precision", "threads", "micro_batch", "recompute")], ["autograd", "cpu", "fp32", 1, 1, "layers"])
        self.assertEqual((two["precision"], two["threads"], two["micro_batch"], two["recompute"]), ("fp32", 1, 4, "none"))
        self.assertIn(two["path"], ("fast", "cuda"))
        for setup in (one, two):
            self.assertGreater(setup["gflops"], 0)
            self.assertGreater(setup["memory_bytes"], 1 << 20)
            self.assertTrue(setup["kernels"] and setup["products"], setup)
        line = next(line for line in nodes[0].ask("status").stdout.splitlines() if "trains with" in line)
        self.assertRegex(line, r"trains with autograd path on cpu, fp32, .* products at \d+ GFLOP/s, libtorch kernels, 1 thread, micro-batch 1, layers computed again")

        self.assertIn("\ntrains with: autograd path on cpu, fp32, ", nodes[0].log.read_text(), "it is printed at the start")

        node = nodes[0]
        node.stop()
        self.assertIn("the run computes in fp32", self.refused(node, "precision", '"bf16"'))
        self.assertIn('"auto", "fast", "autograd"', self.refused(node, "path", '"gpu"').replace("'", '"'))
        self.refused(node, "micro_batch", "-1")
        self.refused(node, "recompute", "7")
        if subprocess.run([TRAINER, "--self-test", "--path", "cuda"], capture_output=True).returncode != 0:
            said = self.refused(node, "path", '"cuda"')
            self.assertIn("no CUDA GPU", said)
            self.assertIn("[trainer]", said)
        self.change(node, "path", '"fast"')
        self.change(node, "micro_batch", "2")
        node.start()
        setup = self.wait(lambda: (node.status() or {}).get("trainer_setup"), 30, "the trainer")
        self.assertEqual((setup["path"], setup["micro_batch"], setup["recompute"]), ("fast", 2, "layers"))
        self.cluster.coordinator.wait_head(self.cluster.coordinator.head() + 2)
        self.check_history(least_head=5)
        report(f"nodes on the {one['path']} and the {two['path']} path train one run")

    def test_an_owner_s_memory_limit_makes_the_micro_batch_smaller(self):
        node = self.set_up()[1]
        setup = self.wait(lambda: (node.status() or {}).get("trainer_setup"), 60, "the trainer")
        self.assertEqual(setup["micro_batch"], 4)
        limit = setup["memory_bytes"] - 1
        node.ask("limits", "set", "--memory", f"{limit}B")
        node_id = node.status()["node_id"]
        smaller = self.wait(lambda: (s := (node.status() or {}).get("trainer_setup")) and s["micro_batch"] < 4 and s, 60, "a trainer that fits")
        self.assertLessEqual(smaller["memory_bytes"], limit)
        head = self.cluster.coordinator.head()
        self.cluster.coordinator.wait_head(head + 2)
        answers = self.check_history(least_head=head + 2)
        counted = [step for step in self.credited_steps(answers, node_id) if step >= head]
        self.assertTrue(counted, "it counts with it, too")


if __name__ == "__main__":
    unittest.main()
