"""skerry-trainer's loss curve in bf16 beside the one in fp32 on real text: the demo's model and text, batches of 8, AdamW at 1e-3.

usage: bf16_loss.py --trainer PATH --text train.txt [--tokens 1000000] [--threads 1]

Both see the same bytes in the same order and start from the same model: the drawn weights, rounded to what bf16 holds exactly. Prints
the mean loss of every tenth of the tokens for both, and the largest difference; exit status 0 if that is at most 0.01 nats. Beside it
fp32 from the drawn weights as they are: so far a curve moves in fp32 already if its start is rounded once. The text is what
deploy/get_text.py makes.
"""

import argparse
import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy"), str(ROOT / "tests" / "support")]
import eager_llama  # noqa: E402
import trainer_client  # noqa: E402

MODEL = dict(vocab_size=256, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=2,
             head_dim=64, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0, initializer_range=0.02,
             tie_word_embeddings=True)
SEQ, BATCH, PARTS, BAR = 256, 8, 10, 0.01


def curve(options, shard, sequences, start, **settings):
    """Mean loss of each part of the run, nats per byte."""
    total = options.tokens
    train = dict(batch=BATCH, seq=SEQ, lr=1e-3, schedule="wsd", warmup_tokens=total * 3 // 100, decay_tokens=total * 4 // 10, total_tokens=total,
                 beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, clip=1.0, **settings)
    losses = []
    with trainer_client.TrainerClient(options.trainer, options.threads) as client:
        theta = trainer_client.memory_of(start.numpy().tobytes())
        trainer_client.prepare(client, MODEL, train, theta, shard)
        os.close(theta)
        steps = total // (SEQ * BATCH * PARTS)
        seen = {"tokens": 0, "loss": 0.0}
        for part in range(PARTS):
            refs = [[0, (part * steps * BATCH + i) * 7919 % sequences * SEQ] for i in range(steps * BATCH)]
            for i in range(0, len(refs), 2000):
                client.ask("feed", {"sequences": refs[i:i + 2000]})
            client.ask("train", {"round": 1, "tokens": 0, "participants": 1, "first_step": part * steps, "max_steps": steps, "deadline_ms": 0})
            done = client.wait_event("done")
            losses.append((done["loss"] * done["tokens"] - seen["loss"] * seen["tokens"]) / (done["tokens"] - seen["tokens"]))
            seen = done
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    data = pathlib.Path(options.text).read_bytes()
    sequences = (len(data) - 1) // SEQ
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder:
        shard = f"{folder}/text.bin"
        trainer_client.write_shard(shard, list(data))
        drawn = eager_llama.initial(MODEL)
        rounded = drawn.bfloat16().float()
        fp32, bf16 = (curve(options, shard, sequences, rounded, precision=precision) for precision in ("fp32", "bf16"))
        other = curve(options, shard, sequences, drawn, precision="fp32")
    for name, losses in (("fp32", fp32), ("bf16", bf16), ("fp32, start not rounded", other)):
        print(f"{name}: " + " ".join(f"{loss:.4f}" for loss in losses))
    worst = max(abs(a - b) for a, b in zip(fp32, bf16))
    print(f"value: {worst:.4f} nats at most between bf16 and fp32 over {options.tokens:,} bytes, which end at {bf16[-1]:.3f} and {fp32[-1]:.3f} (bar {BAR}); "
          f"rounding the start once moves fp32 by {max(abs(a - b) for a, b in zip(fp32, other)):.4f}")
    sys.exit(0 if worst <= BAR else 1)


if __name__ == "__main__":
    main()
