"""Muon's steps equal the published algorithm, written down here a second time, and torch.optim.Muon's where torch has it.

usage: muon.py PATH/skerry-trainer [fast|autograd|cuda]

Momentum as a moving average, Nesterov, five Newton-Schulz rounds with the quintic's coefficients, scaled by
sqrt(max(1, rows / columns)), decoupled decay; embedding, head and norms by AdamW.
"""

import os
import sys
import tempfile

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import eager_llama  # noqa: E402
import gradients  # noqa: E402

MUON = dict(optimizer="muon", muon_lr=0.05, muon_momentum=0.9)
TRAIN = gradients.TRAIN | MUON


def newton_schulz(g):
    x = g / g.norm()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x if wide else x.T


def is_matrix(name, shape):
    return len(shape) == 2 and name.startswith("model.layers.")


def library_step(weight, gradient, state):
    """torch.optim.Muon's next weights; its Newton-Schulz runs in bf16."""
    if not hasattr(torch.optim, "Muon"):
        return None
    p = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.Muon([p], lr=TRAIN["muon_lr"], weight_decay=TRAIN["weight_decay"], momentum=TRAIN["muon_momentum"],
                                 nesterov=True, adjust_lr_fn="original")
    p.grad = gradient.clone()
    if state is not None:
        optimizer.state[p]["momentum_buffer"] = state.clone()
    optimizer.step()
    return p.detach()


def check(program, name, precision, bar):
    config = gradients.model_config(name)
    theta = eager_llama.initial(config)
    tokens = np.random.default_rng(7).integers(0, config["vocab_size"], 400)
    worst, worst_library, momentum = 0.0, 0.0, {}
    keep = 1 - TRAIN["muon_lr"] * TRAIN["weight_decay"]
    with tempfile.TemporaryDirectory() as folder:
        gradients.run_trainer(program, folder, config, precision, theta, tokens, [0, 101, 57], "", train=TRAIN)
        before = theta
        for i in range(1, gradients.STEPS + 1):
            g, after = gradients.read(folder, f"gradient.{i}"), gradients.read(folder, f"weights.{i}")
            g = g * min(1.0, TRAIN["clip"] / (float(g.norm()) + 1e-6))
            for (tensor, gi), (_, w), (_, a), (_, shape, _) in zip(gradients.parts(config, g), gradients.parts(config, before),
                                                                   gradients.parts(config, after), eager_llama.tensor_table(config)):
                if not is_matrix(tensor, shape):
                    assert not torch.equal(w, a), f"{tensor} stayed"
                    continue
                gi, w, a = (x.view(shape).double() for x in (gi, w, a))
                m = momentum.get(tensor, torch.zeros_like(gi))
                library = library_step(w.float(), gi.float(), m.float() if i > 1 else None)
                m = TRAIN["muon_momentum"] * m + (1 - TRAIN["muon_momentum"]) * gi
                momentum[tensor] = m
                update = newton_schulz((1 - TRAIN["muon_momentum"]) * gi + TRAIN["muon_momentum"] * m)
                update *= TRAIN["muon_lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                worst = max(worst, float((a - (w * keep - update)).norm() / update.norm()))
                if library is not None:
                    worst_library = max(worst_library, float((a - library.double()).norm() / update.norm()))
            before = after
    ok = worst <= bar and worst_library <= 0.05
    print(f"{'ok' if ok else 'FAIL'}  Muon, {name}, {precision}: updates of the matrices differ by {worst:.1e} (bar {bar:.0e}), "
          f"from torch.optim.Muon (bf16 inside) by {worst_library:.1e} (bar 5e-02)")
    return ok, worst


def main():
    torch.set_num_threads(1)
    gradients.choose_path(sys.argv[1], sys.argv[2:])
    done = [check(sys.argv[1], name, precision, 1e-3) for name in gradients.MODELS for precision in ("fp32", "bf16")]
    print(f"value: {gradients.PATH} path: Muon's updates differ from the algorithm in double by at most {max(e for _, e in done):.1e}")
    sys.exit(0 if all(ok for ok, _ in done) else 1)


if __name__ == "__main__":
    main()
