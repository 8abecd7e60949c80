"""`skerry generate` and `skerry eval` on a model folder beside transformers on the same folder: the same tokens, the same loss."""
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import tokenizers
    import torch
    import transformers
except ImportError as missing:
    print(f"skipped: {missing.name} is not installed (deploy/setup.sh --tests)")
    sys.exit(77)

import tokenizer_files
from test_examples import conversation, rendered, sentence

sys.path.insert(0, str(tokenizer_files.ROOT / "tests" / "support"))
sys.path.insert(0, str(tokenizer_files.ROOT / "deploy"))
import eager_llama  # noqa: E402
import trainer_client  # noqa: E402

BIN = os.environ.get("SKERRY_BIN", str(tokenizer_files.ROOT / "build" / "release" / "bin"))
MODEL = dict(vocab_size=1540, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
             max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0, initializer_range=0.2, tie_word_embeddings=False)


class AskedModel(unittest.TestCase):
    model_keys = {}

    @classmethod
    def setUpClass(cls):
        kept = tempfile.TemporaryDirectory(prefix="skerry-asked-")
        cls.addClassCleanup(kept.cleanup)
        cls.folder = pathlib.Path(kept.name)
        cls.tokenizer = tokenizers.Tokenizer.from_str(tokenizer_files.make("qwen"))
        config = MODEL | cls.model_keys | {"vocab_size": cls.tokenizer.get_vocab_size()}
        (cls.folder / "config.json").write_text(json.dumps(config))
        eager_llama.initial(config).numpy().tofile(cls.folder / "theta.f32")
        cls.model = cls.folder / "model"
        subprocess.run([f"{BIN}/model_folder_tool", "export", cls.folder / "config.json", cls.folder / "theta.f32", cls.model], check=True)
        (cls.model / "tokenizer.json").write_text(cls.tokenizer.to_str())
        cls.theirs = transformers.AutoModelForCausalLM.from_pretrained(cls.model, dtype=torch.float32).eval()

    def skerry(self, verb, *more, check=True):
        done = subprocess.run([f"{BIN}/skerry", "--json", verb, "--model", self.model, "--trainer", f"{BIN}/skerry-trainer", "--threads", "1", *map(str, more)],
                              capture_output=True, text=True, timeout=120)
        if not check:
            return done
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def generate(self, prompt, tokens, *more):
        return self.skerry("generate", "--prompt", prompt, "--tokens", tokens, "--precision", "fp32", *more)

    def greedy(self, ids, count):
        with torch.no_grad():
            out = self.theirs.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=count,
                                       min_new_tokens=count, do_sample=False, pad_token_id=0, eos_token_id=None)
        return out[0, len(ids):].tolist()

    def test_greedy_tokens_with_and_without_the_cache(self):
        draw = random.Random(4)
        lengths = []
        for words in (1, 20, 60, 120):
            prompt = " ".join(sentence(draw, 1) for _ in range(words))
            ids = self.tokenizer.encode(prompt, add_special_tokens=False).ids
            lengths.append(len(ids))
            wanted = self.greedy(ids, 40)
            for more in ([], ["--no-cache"]):
                self.assertEqual(self.generate(prompt, 40, "--temperature", 0, "--no-stop", *more)["tokens"], wanted, f"{len(ids)} tokens, {more}")
        self.assertGreater(lengths[-1], 256, "no prompt crosses the chunks of reading")
        print(f"value: greedy tokens equal transformers' with and without the cache, prompts of {lengths} tokens")

    def test_biases_and_a_stretched_rotary_embedding(self):
        config = MODEL | dict(vocab_size=500, model_type="qwen2", tie_word_embeddings=True, rope_scaling=dict(
            rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64))
        theta = eager_llama.initial(config)
        reference = eager_llama.Llama(config, theta, 512)
        draw = random.Random(9)
        prompt = [draw.randrange(500) for _ in range(200)]
        wanted = list(prompt)
        with torch.no_grad():
            for _ in range(30):
                wanted.append(int(reference(torch.tensor([wanted]))[0, -1].argmax()))
        memory = trainer_client.memory_of(theta.numpy())
        self.addCleanup(os.close, memory)
        for path, cache in (("fast", True), ("autograd", True), ("autograd", False)):
            with self.subTest(path=path, cache=cache), trainer_client.TrainerClient([f"{BIN}/skerry-trainer", "--path", path]) as client:
                client.wait_event("trainer")
                answer = client.ask("config", {"version": 1, "model": config, "train": dict(batch=1, seq=32, lr=1e-3, schedule="constant", precision="fp32")})
                client.attach("theta", memory, answer["elements"])
                order = dict(weights="theta", prompt=prompt, count=30, temperature=0, seed=1, top_k=0, top_p=1, stop=[], cache=cache, stream=True)
                made = client.ask("generate", order)
                self.assertEqual(made["tokens"], wanted[200:])
                self.assertEqual([token for name, event in client.events if name == "generated" for token in event["tokens"]], made["tokens"])

    def test_sampling(self):
        first = self.generate("The keeper", 30, "--seed", 3)
        self.assertEqual(self.generate("The keeper", 30, "--seed", 3)["tokens"], first["tokens"])
        self.assertNotEqual(self.generate("The keeper", 30, "--seed", 4)["tokens"], first["tokens"])
        greedy = self.generate("The keeper", 30, "--temperature", 0)["tokens"]
        self.assertEqual(self.generate("The keeper", 30, "--top-k", 1)["tokens"], greedy)
        self.assertEqual(self.generate("The keeper", 30, "--top-p", 0.0001)["tokens"], greedy)
        ids = self.tokenizer.encode("The keeper", add_special_tokens=False).ids
        with torch.no_grad():
            order = self.theirs(torch.tensor([ids])).logits[0, -1].argsort(descending=True)[:5].tolist()
        seen = {self.generate("The keeper", 1, "--top-k", 5, "--temperature", 50, "--seed", seed)["tokens"][0] for seed in range(12)}
        self.assertLessEqual(seen, set(order))
        self.assertGreater(len(seen), 2)

    def test_beyond_the_context(self):
        made = self.generate("a b c", 600, "--no-stop")
        self.assertEqual(len(made["tokens"]), 600)
        refused = self.skerry("generate", "--prompt", "x y " * 600, check=False)
        self.assertEqual((refused.returncode, json.loads(refused.stderr)["code"]), (2, "USAGE"))

    def loss(self, examples):
        """Sum of nats over the targets, and how many; each example by itself."""
        nats = count = 0
        for ids, targets in examples:
            with torch.no_grad():
                logits = self.theirs(torch.tensor([ids])).logits[0, :-1]
            each = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
            wanted = torch.tensor(targets[1:])
            nats, count = nats + float(each[wanted].double().sum()), count + int(wanted.sum())
        return nats, count

    def test_loss_of_examples(self):
        draw = random.Random(8)
        talks, examples = [conversation(draw) for _ in range(25)], []
        for talk in talks:
            text, learnt = rendered(talk, "chatml")
            said = self.tokenizer.encode(text, add_special_tokens=False)
            examples.append((said.ids, [any(a <= at < b for a, b in learnt) for at, _ in said.offsets]))
        data = self.folder / "talks.jsonl"
        data.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
        nats, count = self.loss(examples)
        ours = self.skerry("eval", "--data", data)
        self.assertEqual((ours["targets"], ours["examples"], ours["cut"]), (count, 25, 0))
        error = abs(ours["loss"] - nats / count)
        self.assertLessEqual(error, 1e-4)
        self.assertAlmostEqual(ours["perplexity"], math.exp(ours["loss"]), delta=1e-6 * ours["perplexity"])
        said = sum(len(message["content"].encode()) for talk in talks for message in talk if message["role"] == "assistant")
        self.assertAlmostEqual(ours["bits_per_byte"], ours["loss"] * count / math.log(2) / said, delta=1e-9)
        pairs = [{"prompt": sentence(draw) + " ", "completion": sentence(draw)} for _ in range(20)]
        data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        end = self.tokenizer.token_to_id("<|im_end|>")
        examples = []
        for pair in pairs:
            prompt, completion = (self.tokenizer.encode(pair[key], add_special_tokens=False).ids for key in ("prompt", "completion"))
            examples.append((prompt + completion + [end], [False] * len(prompt) + [True] * (len(completion) + 1)))
        nats, count = self.loss(examples)
        ours = self.skerry("eval", "--data", data, "--match")
        self.assertEqual((ours["targets"], ours["matched"]), (count, 0))
        error = max(error, abs(ours["loss"] - nats / count))
        self.assertLessEqual(error, 1e-4)
        print(f"value: losses of examples differ from transformers' by at most {error:.1e}")


class MaskedTrainers(unittest.TestCase):
    """All trainers on a shard with a loss mask: the same losses and counters, also of a step without any target."""

    def told(self, program, config, theta, shard):
        memory = trainer_client.memory_of(theta.numpy())
        self.addCleanup(os.close, memory)
        train = dict(batch=2, seq=16, lr=1e-2, min_lr=0.0, schedule="constant", warmup_tokens=0, decay_tokens=0, total_tokens=0, beta1=0.9, beta2=0.99,
                     eps=1e-8, weight_decay=0.1, clip=1.0, precision="fp32", seed=1)
        with trainer_client.TrainerClient(program) as client:
            trainer_client.prepare(client, config, train, memory, shard)
            held = client.ask("eval", {"weights": "theta", "spans": [[0, 0, 16, 8]]})
            done = []
            for first in range(0, 8, 2):
                client.ask("feed", {"sequences": [[0, 16 * first], [0, 16 * (first + 1)]]})
                client.ask("train", {"round": first, "tokens": 0, "participants": 1, "first_step": 0, "max_steps": 0, "deadline_ms": 0})
                done.append(client.wait_event("done"))
            after = client.ask("eval", {"weights": "local", "spans": [[0, 0, 16, 8]]})
            with self.assertRaisesRegex(trainer_client.TrainerError, "NO_DATA"):
                client.ask("eval", {"weights": "theta", "spans": [[0, 32, 16, 2]]})
        return held, done, after

    def test_they_agree(self):
        config = MODEL | dict(vocab_size=97)
        theta, draw = eager_llama.initial(config), random.Random(2)
        with tempfile.TemporaryDirectory(prefix="skerry-masked-") as folder:
            shard = pathlib.Path(folder) / "masked.bin"
            # The second step's sequences, tokens 32 to 64, have no target.
            tokens = [draw.randrange(97) | (1 << 31 if 32 < i <= 64 or draw.random() < 0.6 else 0) for i in range(129)]
            shard.write_bytes(struct.pack("<3i", 20261127, 1, len(tokens)).ljust(1024, b"\0") + struct.pack(f"<{len(tokens)}I", *tokens))
            ours = self.told([f"{BIN}/skerry-trainer", "--path", "fast"], config, theta, shard)
            autograd = self.told([f"{BIN}/skerry-trainer", "--path", "autograd"], config, theta, shard)
            theirs = self.told([sys.executable, tokenizer_files.ROOT / "tests" / "support" / "py_trainer.py"], config, theta, shard)
        targets = sum(token < 1 << 31 for token in tokens[1:])
        self.assertEqual((ours[0]["tokens"], theirs[0]["tokens"]), (targets, targets))
        self.assertEqual([done["tokens"] for done in ours[1]], [32, 64, 96, 128])
        self.assertEqual(ours[1][0]["loss"], ours[1][1]["loss"], "a step without a target has no loss")
        losses = [[said[0]["loss"], *(done["loss"] for done in said[1]), said[2]["loss"]] for said in (ours, theirs, autograd)]
        self.assertLess(max(abs(a - b) for a, b in zip(losses[0], losses[1])), 1e-3)
        self.assertLess(max(abs(a - b) for a, b in zip(losses[0], losses[2])), 1e-4)
        self.assertLess(losses[0][-1], losses[0][0])


if __name__ == "__main__":
    unittest.main()
