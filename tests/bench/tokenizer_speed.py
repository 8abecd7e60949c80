"""Our tokenizer beside the `tokenizers` package: tokens a second on one core, on the same documents, in turns.

usage: tokenizer_speed.py --bin DIR [--text FILE...] [--rounds 5] [--floor 1.0]

A file of each kind (GPT-2, Llama-3, Qwen) is trained with the package. The documents are parts of about 8 KiB of the texts; without
--text: this repository, the Python library's source and words of many languages. Both run on one core: the package without
parallelism, by encode_batch_fast, its fastest way. The last line is "value: X" with the smallest of the ratios of the best times;
exits 1 below the floor.
"""
import argparse
import os
import pathlib
import random
import subprocess
import sys
import sysconfig
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import tokenizer_files  # noqa: E402

DOCUMENT = 8192


def default_texts():
    for folder, pattern in ((ROOT / "docs", "*.md"), (ROOT / "node", "**/*.cpp"), (pathlib.Path(sysconfig.get_path("stdlib")), "*.py")):
        for path in sorted(folder.glob(pattern)):
            yield path.read_text(errors="ignore")
    draw = random.Random(1)
    words = tokenizer_files.LANGUAGES.split()
    yield " ".join(draw.choice(words) for _ in range(150_000))


def documents(texts):
    return [text[at:at + DOCUMENT].replace("\0", "") for text in texts for at in range(0, len(text), DOCUMENT)]


def measure(kind, docs, arguments):
    with tempfile.TemporaryDirectory(prefix="skerry-tokenizer-") as folder:
        json = tokenizer_files.make(kind, vocab_size=16000, texts=docs[::4])
        (pathlib.Path(folder) / "tokenizer.json").write_text(json)
        pathlib.Path(folder, "text").write_bytes("\0".join(docs).encode())
        theirs = tokenizers.Tokenizer.from_str(json)
        ours_best = theirs_best = float("inf")
        for _ in range(arguments.rounds):
            done = subprocess.run([f"{arguments.bin}/tokenizer_tool", folder, "--speed", f"{folder}/text", "1"], check=True, capture_output=True, text=True)
            ours, seconds = int(done.stdout.split()[0]), float(done.stdout.split()[1])
            ours_best = min(ours_best, seconds)
            begin = time.perf_counter()
            encoded = theirs.encode_batch_fast(docs, add_special_tokens=False)
            theirs_best = min(theirs_best, time.perf_counter() - begin)
            total = sum(len(one.ids) for one in encoded)
            if ours != total:
                sys.exit(f"{kind}: {ours} tokens, but {total} by the tokenizers package")
    size = sum(len(doc.encode()) for doc in docs)
    print(f"{kind:7} {ours / ours_best / 1e6:6.2f} M tokens/s ({size / ours_best / 1e6:5.1f} MB/s)   tokenizers {tokenizers.__version__}: "
          f"{ours / theirs_best / 1e6:6.2f} M tokens/s   ratio {theirs_best / ours_best:.2f}", flush=True)
    return theirs_best / ours_best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--floor", type=float, default=1.0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    docs = documents([pathlib.Path(name).read_text() for name in arguments.text] or default_texts())
    print(f"{len(docs)} documents, {sum(len(doc.encode()) for doc in docs) / 1e6:.1f} MB, one core, best of {arguments.rounds}")
    worst = min(measure(kind, docs, arguments) for kind in ("gpt2", "llama3", "qwen"))
    print(f"value: {worst:.2f}")
    return 0 if worst >= arguments.floor else 1


if __name__ == "__main__":
    sys.exit(main())
