"""Every gradient tensor of small models equals PyTorch's autograd; AdamW steps equal torch.optim.AdamW. With a loss mask, too: what is
no target contributes a gradient of exactly zero.

usage: gradients.py PATH/skerry-trainer [fast|autograd|cuda]

The trainer's autograd path is held to the same bars on the CPU, and to the fast path's gradients and weights over a few steps; on CUDA to 1e-4,
skipped with the trainer's reason (exit status 77) where it finds no GPU.
"""

import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import eager_llama  # noqa: E402

MODELS = {
    "tied": dict(num_attention_heads=2, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True),
    "grouped, untied": dict(num_attention_heads=6, num_key_value_heads=2, head_dim=8, tie_word_embeddings=False),
    "odd sizes": dict(hidden_size=36, intermediate_size=50, num_attention_heads=3, num_key_value_heads=1, head_dim=10,
                      tie_word_embeddings=True, vocab_size=97),
    "qwen2, linear rope": dict(model_type="qwen2", num_attention_heads=6, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
                               rope_scaling=dict(rope_type="linear", factor=2.0)),
    "llama with biases, llama3 rope": dict(attention_bias=True, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                                           tie_word_embeddings=False, rope_scaling=dict(
                                               rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                               original_max_position_embeddings=16)),
}
TRAIN = dict(batch=3, seq=24, lr=1e-2, schedule="constant", beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, clip=1.0)
STEPS = 3


def model_config(name):
    base = dict(vocab_size=61, hidden_size=32, intermediate_size=56, num_hidden_layers=2, max_position_embeddings=64,
                rms_norm_eps=1e-5, rope_theta=10000.0, initializer_range=0.15)
    return base | MODELS[name]


NO_TARGET = 1 << 31  # in a masked shard


def write_shard(path, tokens, mask=None):
    """`mask`: which tokens are targets; None: a shard without masks."""
    magic, version = (20240520, 1) if mask is None else (20261127, 1)
    with open(path, "wb") as f:
        f.write(struct.pack("<3i", magic, version, len(tokens)).ljust(1024, b"\0"))
        if mask is None:
            f.write(np.asarray(tokens, dtype="<u2").tobytes())
        else:
            f.write(np.where(mask, tokens, np.asarray(tokens) | NO_TARGET).astype("<u4").tobytes())


PATH = "fast"
# CUDA's products and attention add up in another order than the CPU's.
BARS = {"fast": 1, "autograd": 1, "cuda": 10}  # of float


def run_trainer(program, folder, config, precision, theta, tokens, offsets, kernels, mask=None, train=None, path=None):
    theta.numpy().tofile(f"{folder}/theta.f32")
    write_shard(f"{folder}/data.bin", tokens, mask)
    order = dict(model=config, train=(train or TRAIN) | dict(precision=precision), theta=f"{folder}/theta.f32",
                 data=f"{folder}/data.bin", sequences=offsets, steps=STEPS, lr=TRAIN["lr"], out=folder)
    with open(f"{folder}/order.json", "w") as f:
        json.dump(order, f)
    done = subprocess.run([program, "--oracle", f"{folder}/order.json", "--threads", "1", "--path", path or PATH], check=True,
                          stdout=subprocess.PIPE, text=True, env={**os.environ, "SKERRY_KERNELS": kernels})
    said = json.loads(done.stdout)
    assert said["path"] == (path or PATH), said
    return said


def choose_path(program, argv):
    """The path under test; ends with 77 where it is CUDA and there is none."""
    global PATH
    PATH = argv[0] if argv else "fast"
    tried = subprocess.run([program, "--self-test", "--path", PATH], capture_output=True, text=True)
    if tried.returncode and PATH == "cuda":
        print("skipped:", tried.stderr.strip().splitlines()[0])
        sys.exit(77)
    print(tried.stdout.strip() or tried.stderr.strip())


def read(folder, name):
    return torch.from_numpy(np.fromfile(f"{folder}/{name}.f32", dtype="<f4"))


def parts(config, flat):
    at = 0
    for name, shape, _ in eager_llama.tensor_table(config):
        n = math.prod(shape)
        yield name, flat[at:at + n]
        at += n


def ulps(x, y, *others):
    """|x - y| in units in the last place of the largest magnitude involved."""
    top = torch.stack([t.abs() for t in (x, y, *others)]).amax(0).double()
    ulp = torch.exp2(torch.floor(torch.log2(top.clamp_min(2.0 ** -126))) - 23)
    return float(((x.double() - y.double()).abs() / ulp).max())


def check_gradients(program, name, precision, bar, kernels="", masked=False):
    bar *= BARS[PATH] if precision == "fp32" else 1
    config = model_config(name)
    theta = eager_llama.initial(config)
    rng = np.random.default_rng(7)
    tokens = rng.integers(0, config["vocab_size"], 400)
    offsets = [0, 101, 57]
    mask = rng.random(400) < 0.3 if masked else None
    with tempfile.TemporaryDirectory() as folder:
        said = run_trainer(program, folder, config, precision, theta, tokens, offsets, kernels, mask)
        weights = theta
        states = {}
        worst, worst_name, worst_ulp = 0.0, "", 0.0
        t = TRAIN["seq"]
        ids = torch.tensor(np.stack([tokens[o:o + t] for o in offsets]))
        targets = torch.tensor(np.stack([tokens[o + 1:o + t + 1] for o in offsets]))
        if masked:
            counted = torch.tensor(np.stack([mask[o + 1:o + t + 1] for o in offsets]))
            targets = torch.where(counted, targets, -100)  # what cross_entropy leaves out
        model = eager_llama.Llama(config, theta, t)
        logits = model(ids[:1])[0].detach()
        logit_error = float((read(folder, "logits").view_as(logits) - logits).abs().max())
        stepped = eager_llama.Llama(config, theta, t).double()
        optimizer = stepped.optimizer(TRAIN)
        for i in range(1, STEPS + 1):
            model = eager_llama.Llama(config, weights, t)
            loss = model.loss(ids, targets)
            loss.backward()
            ours = read(folder, f"gradient.{i}")
            for (tensor, a), (_, b) in zip(parts(config, ours), parts(config, model.flat_gradient())):
                error = float((a - b).norm() / b.norm())
                if error > worst:
                    worst, worst_name = error, tensor
            assert abs(float(loss.detach()) - said["losses"][i - 1]) < bar, "loss differs"
            # AdamW in double on our gradients: each of its steps starts from our weights, so errors do not add up.
            at = 0
            for p in stepped.names.values():
                n = p.numel()
                p.data.copy_(weights[at:at + n].view_as(p))
                p.grad = ours[at:at + n].view_as(p).double()
                at += n
            torch.nn.utils.clip_grad_norm_(list(stepped.names.values()), TRAIN["clip"])
            optimizer.step()
            after = read(folder, f"weights.{i}")
            # An update is at most about lr; where both weights are far smaller, lr sets the scale of rounding.
            scale = torch.full_like(after, TRAIN["lr"])
            worst_ulp = max(worst_ulp, ulps(after, stepped.flat(), weights, scale))
            weights = after
    ulp_bar = 4 if PATH != "cuda" else 16  # its power and root are other ones
    ok = worst <= bar and logit_error <= 30 * bar and worst_ulp <= ulp_bar
    print(f"{'ok' if ok else 'FAIL'}  {name}, {precision}{', masked' if masked else ''}, {said['kernels'] if PATH == 'fast' else PATH}: worst gradient tensor {worst_name} {worst:.1e} (bar {bar:.0e}), "
          f"logits {logit_error:.1e}, AdamW {worst_ulp:.2f} ulp of max(weight, lr) (bar {ulp_bar})")
    return ok, worst, worst_ulp


def check_no_targets(program, precision):
    """What is no target contributes nothing: other tokens there, the same gradient bit for bit; a step without any is none."""
    config, t = model_config("tied"), TRAIN["seq"]
    theta = eager_llama.initial(config)
    rng = np.random.default_rng(3)
    tokens, offsets = rng.integers(0, config["vocab_size"], 3 * t + 1), [0, t, 2 * t]
    mask = np.arange(3 * t + 1) % 3 == 1
    mask[t + 1:2 * t + 1] = False  # the second sequence has no target
    mask[3 * t] = False            # and the last token is none
    other = tokens.copy()
    other[t + 1:2 * t] = (tokens[t + 1:2 * t] + 1 + rng.integers(0, 50, t - 1)) % config["vocab_size"]
    other[3 * t] = (tokens[3 * t] + 1) % config["vocab_size"]
    seen = []
    for data, targets in ((tokens, mask), (other, mask), (tokens, mask | True), (tokens, mask & False)):
        with tempfile.TemporaryDirectory() as folder:
            said = run_trainer(program, folder, config, precision, theta, data, offsets, "", targets)
            seen.append((read(folder, "gradient.1"), read(folder, f"weights.{STEPS}"), said["losses"]))
    equal = all(torch.equal(a, b) for a, b in zip(seen[0][:2], seen[1][:2])) and seen[0][2] == seen[1][2]
    differs = not torch.equal(seen[0][0], seen[2][0])
    nothing = not seen[3][0].any() and torch.equal(seen[3][1], theta) and seen[3][2] == [0.0] * STEPS
    ok = equal and differs and nothing
    print(f"{'ok' if ok else 'FAIL'}  no target, {precision}: {int((tokens != other).sum())} other tokens give the same gradient and weights bit for bit"
          f" ({equal}), more targets another one ({differs}), no target leaves all as it was ({nothing})")
    return ok


TRAININGS = {
    "AdamW": {},
    "Muon": dict(optimizer="muon", muon_lr=0.05, muon_momentum=0.9),
    "AdamW, one sequence at a time": dict(micro_batch=1),
    "AdamW, two at a time, layers computed again": dict(micro_batch=2, recompute="layers"),
    "Muon, layers computed again": dict(optimizer="muon", recompute="layers"),
}


def check_against_fast(program, name, how, bar):
    """The path beside the fast one: three steps in a row, each with its own weights, over a masked batch."""
    config, rng = model_config(name), np.random.default_rng(11)
    theta, tokens = eager_llama.initial(config), rng.integers(0, config["vocab_size"], 400)
    mask, seen = rng.random(400) < 0.5, []
    for path in ("fast", PATH):
        with tempfile.TemporaryDirectory() as folder:
            said = run_trainer(program, folder, config, "fp32", theta, tokens, [3, 101, 57], "", mask, TRAIN | TRAININGS[how], path)
            seen.append((said["losses"], [read(folder, f"gradient.{i}") for i in range(1, STEPS + 1)],
                         [read(folder, f"weights.{i}") for i in range(1, STEPS + 1)]))
    (losses, gradients, weights), (other_losses, other_gradients, other_weights) = seen
    error = max(float((a - b).norm() / b.norm()) for a, b in zip(other_gradients[:1], gradients[:1]))
    # Each step from other weights: differences grow with the steps, and where a gradient is nearly 0 AdamW's first step is its sign.
    moved = max(float((a - b).norm() / (b - theta).norm()) for a, b in zip(other_weights, weights))
    loss = max(abs(a - b) / b for a, b in zip(losses, other_losses))
    ok = error <= bar and loss <= 10 * bar and moved <= 100 * bar
    print(f"{'ok' if ok else 'FAIL'}  {PATH} beside fast, {name}, {how}: gradients {error:.1e} (bar {bar:.0e}), losses of {STEPS} steps {loss:.1e}, "
          f"what the weights moved {moved:.1e}")
    return ok, error


def check_bits(program, precision):
    """Layers computed again give the same bits, whatever the cut."""
    config, rng = model_config("grouped, untied"), np.random.default_rng(5)
    theta, tokens = eager_llama.initial(config), rng.integers(0, config["vocab_size"], 400)
    ok = True
    for micro_batch in (0, 1):
        seen = []
        for again in ("none", "layers"):
            with tempfile.TemporaryDirectory() as folder:
                run_trainer(program, folder, config, precision, theta, tokens, [3, 101, 57], "", train=TRAIN | dict(micro_batch=micro_batch, recompute=again))
                seen.append(read(folder, f"weights.{STEPS}"))
        ok &= torch.equal(*seen)
    print(f"{'ok' if ok else 'FAIL'}  {PATH}, {precision}: layers computed again give the same weights bit for bit")
    return ok


def main():
    program = sys.argv[1]
    torch.set_num_threads(1)
    choose_path(program, sys.argv[2:])
    # What k's bias adds to all scores of a row changes nothing: its gradient is a small rest of large terms.
    exact = [check_gradients(program, name, "fp32", 1e-5 if PATH != "fast" or eager_llama.qkv_bias(MODELS[name]) else 3e-6) for name in MODELS]
    # The code for older processors too.
    if PATH == "fast":
        exact += [check_gradients(program, "odd sizes", "fp32", 3e-6, kernels) for kernels in ("v3", "base")]
    # Those of biases on keys are again rests, and autograd rounds the scores' terms once more than the fast path does.
    rounded = [check_gradients(program, name, "bf16", 8e-2 if PATH != "fast" and eager_llama.qkv_bias(MODELS[name]) else 4e-2) for name in MODELS]
    if PATH == "fast":
        rounded.append(check_gradients(program, "odd sizes", "bf16", 4e-2, "base"))
    # With few targets the gradient of a bias on keys is nearly all cancelled, and its rounding is not.
    masked = [check_gradients(program, name, "fp32", 1e-5, masked=True) for name in MODELS]
    masked.append(check_gradients(program, "tied", "bf16", 4e-2, masked=True))
    more = []
    if PATH != "cuda":  # whose attention adds up in no fixed order
        more += [check_no_targets(program, precision) for precision in ("fp32", "bf16")]
        more += [check_bits(program, precision) for precision in ("fp32", "bf16")]
    beside = [] if PATH == "fast" else [check_against_fast(program, name, how, 1e-5 if PATH == "autograd" else 1e-4)
                                        for name, how in zip(list(MODELS) * 2, TRAININGS)]
    said = "fast path" if PATH == "fast" else f"{PATH} path"
    print(f"value: {said}: with loss masks the gradient tensors differ by at most {max(e for _, e, _ in masked[:-1]):.1e} (fp32)"
          + ("" if PATH == "cuda" else "; masked tokens contribute exactly 0"))
    print(f"value: {said}: gradient tensors of {len(MODELS)} models differ by at most {max(e for _, e, _ in exact):.1e} (fp32) and "
          f"{max(e for _, e, _ in rounded):.1e} (bf16), AdamW by {max(u for _, _, u in exact):.1f} ulp")
    if beside:
        print(f"value: {said} beside the fast one: gradients differ by at most {max(e for _, e in beside):.1e} over {len(beside)} trainings")
    sys.exit(0 if all(ok for ok, _, _ in exact + rounded + masked) and all(more) and all(ok for ok, _ in beside) else 1)


if __name__ == "__main__":
    main()
