"""`skerry data prepare` on instruction data beside the `tokenizers` package: the same tokens, the right ones targets, none cut, none lost."""
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

import numpy as np

try:
    import tokenizers
except ImportError:
    print("skipped: the tokenizers package is not installed (deploy/setup.sh --tests)")
    sys.exit(77)

import tokenizer_files

BIN = os.environ.get("SKERRY_BIN", str(tokenizer_files.ROOT / "build" / "release" / "bin"))
NO_TARGET = 1 << 31
WORDS = "lighthouse keeper storm the of and Größe été ночью 灯台 3.14 it's they'll def f(x): 👍🏽 rocks\n\ngulls {a: 1} waves".split(" ")


def sentence(draw, most=30):
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, most)))


def conversation(draw):
    out = [{"role": "system", "content": sentence(draw, 8)}] if draw.random() < 0.3 else []
    for _ in range(draw.randint(1, 3)):
        out += [{"role": "user", "content": sentence(draw)}, {"role": "assistant", "content": sentence(draw)}]
    return out


def rendered(messages, kind):
    """The whole text that transformers' templates of these families make, and the places in it that are learnt."""
    text, learnt = {"chatml": "", "llama3": "<|begin_of_text|>"}[kind], []
    for message in messages:
        if kind == "chatml":
            text += f"<|im_start|>{message['role']}\n"
            said, end, after = message["content"], "<|im_end|>", "\n"
        else:
            text += f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n"
            said, end, after = message["content"].strip(), "<|eot_id|>", ""
        if message["role"] == "assistant":
            learnt.append((len(text), len(text) + len(said) + len(end)))
        text += said + end + after
    return text, learnt


class Examples(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skerry-examples-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def tokenizer(self, kind, more=()):
        theirs = tokenizers.Tokenizer.from_str(tokenizer_files.make(kind))
        theirs.add_special_tokens([tokenizers.AddedToken(name, special=True, normalized=False) for name in more])
        (self.folder / "tokenizer.json").write_text(theirs.to_str())
        return theirs

    def prepare(self, lines, *more, check=True):
        (self.folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = subprocess.run([f"{BIN}/skerry", "--json", "data", "prepare", self.folder / "data.jsonl", "-o", self.folder / "out", *map(str, more)],
                              capture_output=True, text=True)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout)
        return done

    def rows(self, length):
        """All sequences of both splits as (tokens, which are targets), as a trainer reads them: the next token is the target."""
        out = []
        for shard in json.loads((self.folder / "out" / "manifest.json").read_text())["shards"]:
            raw = (self.folder / "out" / shard["file"]).read_bytes()
            header, data = np.frombuffer(raw[:1024], "<i4"), np.frombuffer(raw[1024:], "<u4")
            self.assertEqual(list(header[:3]), [20261127, 1, len(data)])
            self.assertEqual(len(data) % length, 1)
            self.assertTrue((data[::length] & NO_TARGET).all(), "a row's first token is the target of the row before")
            out += [(data[i:i + length] & ~np.uint32(NO_TARGET), (data[i:i + length] & NO_TARGET) == 0) for i in range(0, len(data) - 1, length)]
        return out

    def check_rows(self, expected, length, pad):
        """Rows are these examples, each whole and once, and padding."""
        left = collections.Counter((tuple(ids), tuple(targets)) for ids, targets in expected)
        longest_first = sorted(left, key=lambda e: -len(e[0]))
        for tokens, targets in self.rows(length):
            at = 0
            while at < length:
                found = next((e for e in longest_first if left[e] and tuple(tokens[at:at + len(e[0])]) == e[0]
                              and tuple(targets[at:at + len(e[1])]) == e[1]), None)
                if found is None:
                    self.assertTrue((tokens[at:] == pad).all() and not targets[at:].any(), f"row {tokens.tolist()} from {at}")
                    break
                left[found] -= 1
                at += len(found[0])
        self.assertEqual(sum(left.values()), 0, "examples are missing")

    def check_conversations(self, theirs, kind, end):
        draw = random.Random(5)
        talks = [conversation(draw) for _ in range(150)]
        expected = []
        for talk in talks:
            text, learnt = rendered(talk, kind)
            said = theirs.encode(text, add_special_tokens=False)
            expected.append((said.ids, [any(a <= at < b for a, b in learnt) for at, _ in said.offsets]))
        length = max(len(ids) for ids, _ in expected) + 40
        report = self.prepare([{"messages": talk} for talk in talks], "--tokenizer", self.folder, "--pack", length)
        self.check_rows(expected, length, theirs.token_to_id(end))
        seen = report["examples"]
        self.assertEqual((seen["template"], seen["length"], report["documents"]), (kind, length, 150))
        self.assertEqual(seen["targets"], sum(sum(targets) for _, targets in expected))
        self.assertEqual(seen["padding"], seen["sequences"] * length - sum(len(ids) for ids, _ in expected))
        self.assertLess(seen["padding"], 0.12 * seen["sequences"] * length)
        self.assertGreater(report["held_out_tokens"], 0)
        return seen["padding"] / (seen["sequences"] * length)

    def test_chatml(self):
        share = self.check_conversations(self.tokenizer("qwen"), "chatml", "<|im_end|>")
        print(f"value: conversations equal the tokenizers package's, masks too; {100 * share:.1f} % padding")

    def test_llama3(self):
        theirs = self.tokenizer("llama3", ["<|start_header_id|>", "<|end_header_id|>"])
        self.check_conversations(theirs, "llama3", "<|eot_id|>")

    def test_prompt_and_completion(self):
        theirs, draw = self.tokenizer("gpt2"), random.Random(6)
        end = theirs.token_to_id("<|endoftext|>")
        lines = [{"prompt": sentence(draw) + " ", "completion": sentence(draw)} for _ in range(60)]
        expected = []
        for line in lines:
            prompt = theirs.encode(line["prompt"], add_special_tokens=False).ids
            completion = theirs.encode(line["completion"], add_special_tokens=False).ids
            expected.append((prompt + completion + [end], [False] * len(prompt) + [True] * (len(completion) + 1)))
        self.prepare(lines, "--tokenizer", self.folder, "--pack", 512)
        self.check_rows(expected, 512, end)
        renamed = [{"q": line["prompt"], "a": line["completion"]} for line in lines]
        self.prepare(renamed, "--tokenizer", self.folder, "--pack", 512, "--prompt-field", "q", "--completion-field", "a")
        self.check_rows(expected, 512, end)
        self.prepare(lines, "--tokenizer", self.folder, "--pack", 512, "--train-on", "all")
        self.check_rows([(ids, [False] + [True] * (len(ids) - 1)) for ids, _ in expected], 512, end)

    def test_bytes_too_long_and_without_a_target(self):
        lines = [{"prompt": "ab", "completion": "cd"}, {"prompt": "x" * 20, "completion": "y"}, {"prompt": "p", "completion": "q" * 40}]
        report = self.prepare(lines, "--pack", 16)
        self.check_rows([([97, 98, 99, 100, 0], [False] * 2 + [True] * 3), ([112] + [113] * 15, [False] + [True] * 15)], 16, 0)
        self.assertEqual([report["examples"][key] for key in ("cut", "skipped", "without_target")], [2, 0, 1])
        report = self.prepare(lines, "--pack", 16, "--too-long", "skip")
        self.assertEqual([report["examples"][key] for key in ("cut", "skipped", "without_target")], [0, 2, 0])
        refused = self.prepare(lines, "--pack", 16, "--too-long", "refuse", check=False)
        self.assertIn("data.jsonl:2 has 22 tokens, a sequence has 16", refused.stderr)

    def test_bad_lines_are_named(self):
        good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
        for bad, what in ((["list"], ":2 is not a JSON object"), ({"messages": []}, ':2: "messages" is not a list'),
                          ({"messages": [{"role": "us<er", "content": "a"}]}, ":2: message 1 has no role"),
                          ({"messages": [{"role": "user", "content": 3}]}, ':2: message 1: there is no text "content"')):
            refused = self.prepare([good, bad], "--pack", 64, check=False)
            self.assertEqual(refused.returncode, 14, refused.stderr)
            said = json.loads(refused.stderr)
            self.assertIn(what, json.dumps(said, ensure_ascii=False).replace('\\"', '"'))
            self.assertTrue(said["fix"])
        refused = self.prepare([{"prompt": "a", "completion": "b"}, {"prompt": "a"}], "--pack", 64, check=False)
        self.assertIn("--completion-field", refused.stderr)
        refused = self.prepare([good], check=False)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("--pack", refused.stderr)


if __name__ == "__main__":
    unittest.main()
