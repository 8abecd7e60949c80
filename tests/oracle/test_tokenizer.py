"""Our tokenizer beside the `tokenizers` package: equal ids on everything, however the text is cut, and back again."""
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import tokenizers
except ImportError:
    print("skipped: the tokenizers package is not installed (deploy/setup.sh --tests)")
    sys.exit(77)

import tokenizer_files

BIN = os.environ.get("SKERRY_BIN", str(tokenizer_files.ROOT / "build" / "release" / "bin"))
ROUNDS = int(os.environ.get("SKERRY_TOKENIZER_ROUNDS", "1500"))


class Ours:
    """tokenizer_tool on one file."""

    def __init__(self, json):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="skerry-tokenizer-"))
        (self.folder / "tokenizer.json").write_text(json)
        self.tool = subprocess.Popen([f"{BIN}/tokenizer_tool", self.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self):
        self.tool.stdin.close()
        self.tool.stdout.close()
        self.tool.wait(30)
        shutil.rmtree(self.folder)

    def ask(self, line):
        self.tool.stdin.write(line + "\n")
        self.tool.stdin.flush()
        return self.tool.stdout.readline().rstrip("\n")

    def encode(self, text, cut=""):
        answer = self.ask(f"encode {text.encode().hex() or '-'} {cut}")
        if not answer.startswith("ok"):
            raise ValueError(answer)
        return [int(word) for word in answer.split()[1:]]

    def decode(self, ids):
        return bytes.fromhex(self.ask("decode " + " ".join(map(str, ids)))[3:])


class Kind:
    kind = None
    merges_as_text = False

    @classmethod
    def setUpClass(cls):
        json = tokenizer_files.make(cls.kind, merges_as_text=cls.merges_as_text)
        cls.theirs = tokenizers.Tokenizer.from_str(json)
        cls.ours = Ours(json)
        cls.specials = [token.content for token in cls.theirs.get_added_tokens_decoder().values()]

    @classmethod
    def tearDownClass(cls):
        cls.ours.close()

    def check(self, text, why="", cut=""):
        theirs = self.theirs.encode(text, add_special_tokens=False).ids
        ours = self.ours.encode(text, cut)
        if ours != theirs:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
            before = self.theirs.decode(theirs[:at], skip_special_tokens=False)[-30:]
            self.fail(f"{why}{text!r}\n  equal up to token {at}, after {before!r}\n  ours   {[self.theirs.id_to_token(i) for i in ours[at:at + 8]]}\n"
                      f"  theirs {[self.theirs.id_to_token(i) for i in theirs[at:at + 8]]}")
        self.assertEqual(self.ours.decode(ours).decode(errors="replace"), self.theirs.decode(theirs, skip_special_tokens=False), why + repr(text))
        return ours

    def test_languages_and_code(self):
        self.check(tokenizer_files.LANGUAGES)
        for path in sorted((tokenizer_files.ROOT / "docs").glob("*.md")) + sorted((tokenizer_files.ROOT / "node" / "cli").glob("*.cpp")):
            text = path.read_text()
            ids = self.check(text, f"{path}: ")
            for special in self.specials:
                if special in text:
                    break
            else:
                self.assertEqual(self.ours.decode(ids).decode(), text)

    def test_random_unicode(self):
        first = int(os.environ.get("SKERRY_TOKENIZER_SEED", "1"))
        rounds = 1 if "SKERRY_TOKENIZER_SEED" in os.environ else ROUNDS
        for seed in range(first, first + rounds):
            draw = random.Random(f"{self.kind} {seed}")
            text = tokenizer_files.random_text(draw, self.specials)
            replay = (f"replay: cd tests/oracle && SKERRY_BIN={BIN} SKERRY_TOKENIZER_SEED={seed} {sys.executable} -m unittest "
                      f"test_tokenizer.{type(self).__name__}.test_random_unicode\n")
            self.check(text, replay)
            if len(text) < 2000:
                self.check(text, f"{replay}in parts: ", cut=draw.randrange(1, 40))

    def test_every_character(self):
        """Each character of the planes in use, assigned or not, between letters, digits, spaces and marks: all classes of the patterns."""
        known = [chr(c) for c in (*range(0xD800), *range(0xE000, 0x20000), *range(0x2A000, 0x32400), 0xE0001, 0xE0100, 0xF0000, 0x10FFFD)]
        for at in range(0, len(known), 2000):
            self.check("".join(f"a{c}1{c}{c} {c}\u0301\n" for c in known[at:at + 2000]), f"from {ord(known[at]):x}: ")

    def test_long_pieces(self):
        draw = random.Random(7)
        self.check("".join(draw.choice("abcdefgh") for _ in range(30_000)))
        self.check("ab" * 20_000 + " " * 5000 + "\n" * 3000 + "x")


class Gpt2(Kind, unittest.TestCase):
    kind = "gpt2"
    merges_as_text = True


class Llama3(Kind, unittest.TestCase):
    kind = "llama3"


class Qwen(Kind, unittest.TestCase):
    kind = "qwen"


if __name__ == "__main__":
    unittest.main()
