"""Fine-tuning a folder of transformers by two nodes: what comes out loads there again, and is as good as the same steps in Python."""
import hashlib
import json
import re
import unittest

import numpy as np

import reference
import tokenizer_files
from test_diloco import RUN, OracleTest, report  # first: it knows where harness is
from test_export import our_logits

from harness import error_of, prose, run_toml

SEQ, BATCH, STEPS, ETA, MU, LR = 32, 4, 5, 0.7, 0.5, 2e-3
BAR = 1e-4


def flat_theta(model, weights):
    """Float32 in canonical order."""
    return np.concatenate([weights[name].float().numpy().reshape(-1) for name, _, _ in reference.tensors_of(model)])


def load_theta(network, model, theta):
    import torch
    weights, at = network.state_dict(), 0
    with torch.no_grad():
        for name, shape, _ in reference.tensors_of(model):
            size = int(np.prod(shape))
            weights[name].copy_(torch.from_numpy(theta[at:at + size].reshape(shape)))
            at += size


class Worker:
    """One node's inner loop in Python."""

    def __init__(self, network, model):
        import torch
        self.network, self.model = network, model
        decayed = [p for p in network.parameters() if p.ndim > 1]
        plain = [p for p in network.parameters() if p.ndim == 1]
        self.optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
                                           lr=LR, betas=(0.9, 0.99), eps=1e-8)

    def train(self, theta, tokens, sequences):
        import torch
        load_theta(self.network, self.model, theta)
        for at in range(0, len(sequences), BATCH):
            rows = np.stack([tokens[s * SEQ:s * SEQ + SEQ + 1] for s in sequences[at:at + BATCH]]).astype(np.int64)
            loss = loss_of(self.network, torch.from_numpy(rows))
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
        return flat_theta(self.model, {name: value.detach() for name, value in self.network.state_dict().items()})


def loss_of(network, rows):
    import torch
    logits = network(rows[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), rows[:, 1:].reshape(-1))


class Finetune(OracleTest):
    def make_base(self):
        import torch
        import transformers
        torch.manual_seed(5)
        base = self.folder / "base"
        text = prose(60_000, seed=3)
        base.mkdir()
        (base / "raw.json").write_text(tokenizer_files.make("qwen", vocab_size=400, texts=[text]))
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(base / "raw.json"))
        (base / "raw.json").unlink()
        tokenizer.save_pretrained(base)
        config = transformers.Qwen2Config(vocab_size=512, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                          num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1,
                                          eos_token_id=2, pad_token_id=None, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0})
        network = transformers.Qwen2ForCausalLM(config)
        with torch.no_grad():
            for name, value in network.named_parameters():
                if name.endswith("bias"):
                    value.normal_(0, 0.1)
        network.to(torch.bfloat16).save_pretrained(base, max_shard_size="60KB")
        self.assertTrue((base / "model.safetensors.index.json").exists())
        return base

    def start(self, base):
        from_base = re.sub(r"\[model\].*?\[data\]", '[model]\nfrom = "base/"\n[data]', run_toml(
            batch=BATCH, lr=LR, local_steps=8, tokens=STEPS * 2 * 8 * BATCH * SEQ, compression="none", outer_lr=ETA, outer_momentum=MU), flags=re.S)
        (self.folder / "train.txt").write_text(prose(60_000, seed=3))
        (self.folder / "held-out.txt").write_text(prose(60_000, seed=3)[:20_000])
        self.cluster.run("data", "prepare", self.folder / "train.txt", "--val", self.folder / "held-out.txt", "--tokenizer", base, "-o", self.folder / "data")
        coordinator, toml = self.cluster.coordinator, self.folder / "run.toml"
        coordinator.init()
        coordinator.start()
        coordinator.push_data(self.folder / "data")
        self.refusals(coordinator, toml, from_base, base)
        toml.write_text(from_base)
        coordinator.create_run(toml, start=False)
        token = coordinator.token(RUN)
        for name in ("a", "b"):
            self.join(token, name, env=self.tap_env(name, str(self.cluster.program("skerry-trainer"))))
        nodes = [self.cluster.node(name) for name in ("a", "b")]
        for node in nodes:
            self.wait_current(node)
        coordinator.run_verb("start", RUN)
        self.wait_all_heads(nodes, STEPS, 60)
        self.ids = {node.status()["node_id"]: node.name for node in nodes}

    def refusals(self, coordinator, toml, text, base):
        def refused(why, code):
            answer = coordinator.ask("run", "create", toml, check=False)
            self.assertEqual(error_of(answer), code)
            self.assertIn(why, answer.stderr)

        toml.write_text(text.replace('from = "base/"', 'from = "base/"\nhidden_size = 32'))
        refused("hidden_size", (2, "CONFIG_INVALID"))
        toml.write_text(text)
        for file, old, new, why, code in [("config.json", '"qwen2"', '"qwen3"', "qwen3", (2, "CONFIG_INVALID")),
                                          ("config.json", '"linear"', '"yarn"', "yarn", (2, "CONFIG_INVALID")),
                                          ("tokenizer.json", "{", "{ ", "tokenizer.json", (14, "DATA_INVALID")),
                                          ("model.safetensors.index.json", "model.norm.weight", "model.morn.weight", "model.norm.weight", (14, "DATA_INVALID"))]:
            whole = (base / file).read_text()
            (base / file).write_text(whole.replace(old, new, 1))
            refused(why, code)
            (base / file).write_text(whole)

    def in_python(self, answer, model, theta, tokens):
        """The same rounds: each worker the sequences that its node was credited with, in their order."""
        import transformers
        config = transformers.AutoConfig.from_pretrained(self.folder / "base")
        make = lambda: transformers.Qwen2ForCausalLM(config).float()  # noqa: E731
        workers, momentum = {}, np.zeros_like(theta)
        count = (len(tokens) - 1) // SEQ
        for decision in answer["decisions"][:STEPS]:
            credits = sorted(decision["credits"], key=lambda credit: credit["node"])
            deltas = []
            for credit in credits:
                worker = workers.setdefault(credit["node"], Worker(make(), model))
                fed = [reference.sequence_at(7, count, at) for s in credit["segments"] for at in range(s["from"], s["to"])]
                self.assertEqual(len(fed) * SEQ, credit["tokens"])
                deltas.append(theta - worker.train(theta, tokens, fed))
            average = reference.mean(deltas, [credit["tokens"] for credit in credits])
            theta, momentum = reference.outer_step(theta, momentum, average, ETA, MU)
        return theta

    def test_two_nodes_are_as_good_as_python(self):
        import torch
        import transformers
        transformers.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(2)
        base = self.make_base()
        self.start(base)
        nodes = list(self.cluster.nodes.values())
        out = self.folder / "model"
        self.wait(lambda: nodes[0].ask("export", "-o", out, "--step", STEPS, "--file-size", "60000", check=False).returncode == 0, 20, "the export")
        answers = self.check_history(least_head=STEPS)

        self.assertEqual((out / "tokenizer.json").read_bytes(), (base / "tokenizer.json").read_bytes())
        self.assertEqual((out / "generation_config.json").read_bytes(), (base / "generation_config.json").read_bytes())
        loaded = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
        self.assertIsInstance(loaded, transformers.Qwen2ForCausalLM)
        self.assertEqual(loaded.generation_config.eos_token_id, 2)
        words = transformers.AutoTokenizer.from_pretrained(out)
        self.assertEqual(words.decode(words("so it goes")["input_ids"]), "so it goes")

        model = json.loads((base / "config.json").read_text())
        model["head_dim"] = model["hidden_size"] // model["num_attention_heads"]
        started = transformers.Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32)
        first = flat_theta(model, started.state_dict())
        states = {step: theta for step, theta, _, _ in self.replay(answers, model, 7, ETA, MU, first)}
        exported = flat_theta(model, loaded.state_dict())
        self.assertEqual(hashlib.sha256(exported.tobytes()).digest(), hashlib.sha256(states[STEPS].tobytes()).digest(), "S bit for bit")

        tokens = np.fromfile(self.folder / "data" / "train-00000.bin", np.uint16)[512:]
        ours = {key: model[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                                            "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
                                            "rope_parameters", "model_type")}
        with torch.no_grad():
            theirs = loaded(torch.from_numpy(tokens[:64].astype(np.int64))[None]).logits[0].numpy()
        logits = our_logits(self.cluster.program("skerry-trainer"), ours, exported, tokens[:65], self.folder)
        worst = float(np.abs(logits - theirs).max())

        python = self.in_python(max(answers.values(), key=lambda one: one["head"]), model, first, tokens)
        held = np.fromfile(self.folder / "data" / "held-out-00000.bin", np.uint16)[512:]
        rows = torch.from_numpy(np.stack([held[i * SEQ:i * SEQ + SEQ + 1] for i in range((len(held) - 1) // SEQ)]).astype(np.int64))
        losses = []
        for theta in (first, exported, python):
            load_theta(started, model, theta)
            with torch.no_grad():
                losses.append(float(loss_of(started, rows)))
        apart = float(np.linalg.norm(exported - python) / np.linalg.norm(python - first))
        report(f"loss of the task {losses[0]:.3f} before, {losses[1]:.4f} by two nodes, {losses[2]:.4f} in Python (weights {apart:.1e} of the way apart); "
               f"logits differ by {worst:.1e}")
        self.assertLessEqual(worst, BAR)
        self.assertLess(losses[1], 0.8 * losses[0])
        self.assertLessEqual(losses[1], 1.01 * losses[2])


if __name__ == "__main__":
    unittest.main()
