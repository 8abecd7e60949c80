#!/usr/bin/env python3
"""DiLoCo's outer step once more, in numpy float32: mean in plan order, then Nesterov.

    outer_reference.py --check tests/golden/outer.txt      the frozen digests equal this file's
    outer_reference.py --write tests/golden/outer.txt      freeze them
    outer_reference.py --torch                             equal to torch.optim.SGD(nesterov=True) to rounding
"""

import argparse
import hashlib
import sys

try:
    import numpy as np
except ImportError:
    print("skipped: this Python has no numpy (SKERRY_PYTHON names another one)")
    sys.exit(77)

from synthetic import synthetic

F = np.float32


def mean(deltas, weights):
    """Plan order; acc = 0; acc = acc + float(w) * x; acc / float(sum w)."""
    acc = np.zeros_like(deltas[0])
    for x, w in zip(deltas, weights):
        acc = acc + F(w) * x
    return acc / F(sum(weights))


def outer(theta, m, g, eta, mu):
    m = F(mu) * m + g
    return theta - F(eta) * (g + F(mu) * m), m


CASES = [  # elements, participants, eta, mu
    (1000, 1, 1.0, 0.0), (4097, 3, 0.7, 0.9), (4096, 5, 0.5, 0.8), (777, 8, 0.7, 0.0)]


def run(n, participants, eta, mu, steps=4):
    """The same inputs as outer_test.cpp: seeds 1000 * step + i, weights 1 + 9973 * i * i + step."""
    theta, m = synthetic(1, n), np.zeros(n, F)
    for k in range(steps):
        deltas = [synthetic(1000 * (k + 1) + i, n, -6) for i in range(participants)]
        weights = [1 + 9973 * i * i + k for i in range(participants)]
        theta, m = outer(theta, m, mean(deltas, weights), eta, mu)
    return theta, m


def against_torch():
    try:
        import torch
    except ImportError:
        print("skipped: this Python has no torch (SKERRY_PYTHON names another one)")
        return 77
    worst = 0.0
    for eta, mu in ((0.7, 0.9), (1.0, 0.0), (0.4, 0.6)):
        theta, m = synthetic(1, 100_000), np.zeros(100_000, F)
        weight = torch.nn.Parameter(torch.from_numpy(theta.copy()))
        sgd = torch.optim.SGD([weight], lr=eta, momentum=mu, nesterov=mu > 0)
        for k in range(20):
            g = synthetic(50 + k, len(theta), -6)
            theta, m = outer(theta, m, g, eta, mu)
            weight.grad = torch.from_numpy(g.copy())
            sgd.step()
            difference = np.abs(theta - weight.detach().numpy())
            worst = max(worst, float(np.max(difference / np.spacing(np.maximum(np.abs(theta), F(1))))))
    print(f"largest difference to torch.optim.SGD: {worst:.1f} ulp (of the weights' scale, 1) after 20 steps")
    return 0 if worst <= 4 else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check")
    parser.add_argument("--write")
    parser.add_argument("--torch", action="store_true")
    args = parser.parse_args()
    if args.torch:
        return against_torch()
    text = "# elements participants eta mu sha256(theta) sha256(m), after 4 steps\n"
    for case in CASES:
        theta, m = run(*case)
        sha = [hashlib.sha256(v.tobytes()).hexdigest() for v in (theta, m)]
        text += " ".join(map(str, [*case, *sha])) + "\n"
    if args.write:
        open(args.write, "w").write(text)
        return 0
    same = open(args.check).read() == text
    print("equal" if same else "NOT equal")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
