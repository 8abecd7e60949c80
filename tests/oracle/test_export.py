"""The exported folder: the run's weights bit for bit, loaded by transformers, with our logits."""
import json
import subprocess
import unittest

import numpy as np

import reference
from test_diloco import OracleTest, report


def our_logits(program, model, theta, tokens, folder):
    """[seq, vocab] of the C++ trainer, in fp32, from the flat vector."""
    theta.tofile(folder / "theta.f32")
    header = np.zeros(256, np.int32)
    header[:3] = 20240520, 1, len(tokens)
    (folder / "tokens.bin").write_bytes(header.tobytes() + np.asarray(tokens, np.uint16).tobytes())
    order = {"model": model, "train": {"batch": 1, "seq": len(tokens) - 1, "lr": 0.0, "precision": "fp32", "schedule": "constant"},
             "theta": str(folder / "theta.f32"), "data": str(folder / "tokens.bin"), "sequences": [0], "steps": 1, "lr": 0.0, "out": str(folder)}
    (folder / "order.json").write_text(json.dumps(order))
    subprocess.run([program, "--oracle", folder / "order.json", "--threads", "1"], check=True, capture_output=True)
    return np.fromfile(folder / "logits.f32", np.float32).reshape(len(tokens) - 1, model["vocab_size"])


class Export(OracleTest):
    def test_transformers_loads_it_and_agrees(self):
        import torch
        import transformers

        answers = self.tapped_run(["a", "b", "c"], steps=8, compression="none", hidden=64, inner=176, layers=2)
        *_, (step, theta, _, _) = self.replay(answers, self.model(), seed=7, eta=0.7, mu=0.5)
        node = next(node for node in self.cluster.nodes.values() if answers[node.name]["head"] == step)
        out = self.folder / "model"
        node.ask("export", "-o", out)
        loaded = transformers.LlamaForCausalLM.from_pretrained(out, dtype=torch.float32)
        weights = loaded.state_dict()
        at = 0
        for name, shape, _ in reference.tensors_of(self.model()):
            elements = int(np.prod(shape))
            ours = theta[at:at + elements].reshape(shape)
            self.assertTrue(np.array_equal(ours.view(np.uint32), weights[name].numpy().view(np.uint32)), name)
            at += elements
        tokens = list((self.folder / "held-out.txt").read_bytes()[:65])
        with torch.no_grad():
            theirs = loaded(torch.tensor([tokens[:-1]])).logits[0].numpy()
        model = {**self.model(), "head_dim": self.model()["hidden_size"] // self.model()["num_attention_heads"]}
        worst = float(np.abs(our_logits(self.cluster.program("skerry-trainer"), model, theta, tokens, self.folder) - theirs).max())
        report(f"S_{step} bit for bit, logits differ by {worst:.1e}")
        self.assertLessEqual(worst, 1e-4)


if __name__ == "__main__":
    unittest.main()
