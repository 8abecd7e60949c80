"""Tokens a second of `generate` with kept keys and values and without, by the same trainer; the greedy tokens must be the same in fp32.

usage: generate_speed.py --bin BUILD/bin [--prompt 256] [--tokens 64] [--threads 2]

Ends with `value:`: the smaller of both precisions' ratios.
"""
import argparse
import os
import pathlib
import random
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))
import trainer_client  # noqa: E402

MODEL = dict(vocab_size=4096, hidden_size=320, intermediate_size=864, num_hidden_layers=8, num_attention_heads=5, num_key_value_heads=5, head_dim=64,
             max_position_embeddings=1024, rms_norm_eps=1e-5, rope_theta=10000.0, initializer_range=0.02, tie_word_embeddings=True)
TRAIN = dict(batch=1, seq=256, lr=1e-3, schedule="constant")


def speeds(options, precision, theta):
    """(with, without, same tokens) for one precision."""
    with trainer_client.TrainerClient(options.bin / "skerry-trainer", threads=options.threads) as client:
        client.wait_event("trainer")
        elements = client.ask("config", {"version": 1, "model": MODEL, "train": TRAIN | {"precision": precision}})["elements"]
        client.attach("theta", theta, elements)
        draw = random.Random(2)
        order = {"weights": "theta", "prompt": [draw.randrange(MODEL["vocab_size"]) for _ in range(options.prompt)], "temperature": 0, "seed": 1,
                 "top_k": 0, "top_p": 1, "stop": [], "stream": False}
        out, tokens = [], []
        for cache in (True, False):
            client.ask("generate", order | {"count": 2, "cache": cache})  # warm
            begin = time.monotonic()
            answer = client.ask("generate", order | {"count": options.tokens, "cache": cache})
            out.append(options.tokens / (time.monotonic() - begin))
            tokens.append(answer["tokens"])
    return out[0], out[1], tokens[0] == tokens[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    theta = trainer_client.memory_of(trainer_client.random_theta(trainer_client.elements_of(MODEL)))
    ratios = []
    for precision in ("fp32", "bf16"):
        kept, again, same = speeds(options, precision, theta)
        ratios.append(kept / again)
        print(f"{precision}: {kept:.0f} tokens/s with kept keys and values, {again:.1f} without, prompt of {options.prompt} tokens included; "
              f"{'the same' if same else 'other'} tokens")
        if precision == "fp32" and not same:
            sys.exit("the tokens differ")
    os.close(theta)
    print(f"value: {min(ratios):.1f}")


if __name__ == "__main__":
    main()
