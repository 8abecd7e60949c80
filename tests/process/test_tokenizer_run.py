"""A run on the tokens of a tokenizer.json whose vocabulary needs four bytes a token: prepared, trained on, continued."""
import json
import unittest

from harness import RUN, ProcessTest, built_trainer, error_of, prose, run_toml

VOCAB = 70_000


def byte_symbols():
    """GPT-2's character of each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


def tokenizer_json(text):
    """The words of `text` as tokens (a piece that is a token as a whole is that), the rest of the vocabulary never used."""
    symbols = byte_symbols()
    vocab = {symbol: byte for byte, symbol in enumerate(symbols)}
    for word in sorted(set(text.split())):
        vocab.setdefault(symbols[32] + word.rstrip("."), VOCAB - 1000 + len(vocab))
    for filler in range(VOCAB - 1 - len(vocab)):
        vocab[f"filler-{filler}"] = None
    used = {number for number in vocab.values() if number is not None}
    free = iter(number for number in range(VOCAB - 1) if number not in used)
    vocab = {token: next(free) if number is None else number for token, number in vocab.items()}
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [{"id": VOCAB - 1, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                          "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "ignore_merges": True, "vocab": vocab, "merges": []}})


class TokenizerRun(ProcessTest):
    trainer = staticmethod(built_trainer)

    def test_prepared_trained_and_continued(self):
        text = prose(200_000)
        (self.folder / "text.txt").write_text(text)
        model = self.folder / "model"
        model.mkdir()
        (model / "tokenizer.json").write_text(tokenizer_json(text))
        made = self.cluster.run("--json", "data", "prepare", self.folder / "text.txt", "--tokenizer", model, "--separator", "<|endoftext|>",
                                "-o", self.folder / "data")
        said = json.loads(made.stdout)
        self.assertEqual((said["tokenizer"], said["vocab_size"], said["documents"]), ("bpe", VOCAB, 1))
        self.assertLess(said["tokens_per_byte"], 0.5)
        shard = (self.folder / "data" / "train-00000.bin").read_bytes()
        self.assertEqual(len(shard), 1024 + 4 * said["tokens"])

        coordinator = self.cluster.coordinator
        coordinator.init()
        coordinator.start()
        coordinator.push_data(self.folder / "data")
        toml = self.folder / "run.toml"
        toml.write_text(run_toml(vocab=65_536, hidden=8, inner=16, min_nodes=1, durable_copies=1))
        self.assertEqual(error_of(coordinator.ask("run", "create", toml, check=False)), (2, "CONFIG_INVALID"))
        toml.write_text(run_toml(vocab=VOCAB, hidden=8, inner=16, min_nodes=1, durable_copies=1))
        coordinator.create_run(toml)
        self.join(coordinator.token(RUN), "a")
        node = self.cluster.node("a")
        self.wait_all_heads([node], 3, 120)

        ask = ["generate", "--prompt", text[:40], "--tokens", 5, "--temperature", 0, "--step", 3]
        out = self.folder / "exported"
        self.wait(lambda: node.ask("export", "-o", out, "--dtype", "bf16", check=False).returncode == 0, 30, "the tokenizer's way to the node")
        self.assertEqual((out / "tokenizer.json").read_bytes(), (model / "tokenizer.json").read_bytes())
        self.assertFalse((out / "tokenizer_config.json").exists(), "there was none beside it")
        self.assertEqual(json.loads((out / "config.json").read_text())["dtype"], "bfloat16")
        other = self.folder / "other.json"
        other.write_text((model / "tokenizer.json").read_text() + "\n")
        self.assertEqual(error_of(node.ask(*ask, "--tokenizer", other, check=False)), (14, "DATA_INVALID"))
        answer = json.loads(node.ask("--json", *ask, "--tokenizer", self.folder / "data").stdout)
        self.assertEqual(len(answer["tokens"]), 5)
        own = json.loads(node.ask("--json", *ask).stdout)
        self.assertEqual(own["tokens"], answer["tokens"], "the node has the tokenizer of its run")
        self.assertTrue(all(token < VOCAB for token in answer["tokens"]))
        self.check_history(least_head=3)


if __name__ == "__main__":
    unittest.main()
