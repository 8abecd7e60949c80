"""Inputs that C++ and Python make alike, from integers (tests/support/synthetic.hpp)."""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def finalise(z):
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def draws(seed, n):
    with np.errstate(over="ignore"):
        return finalise(np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * GOLDEN)


def synthetic(seed, n, exponent=0, mixed=False):
    """[n] float32 in (-2^exponent, 2^exponent); with `mixed` block b of 256 is smaller by 2^(up to 23)."""
    u = (draws(seed, n) >> np.uint64(40)).astype(np.int64)
    x = np.ldexp((u - (1 << 23)).astype(np.float64), exponent - 23)
    if mixed:
        shift = (draws(seed ^ 0xB10C, (n + 255) // 256) % np.uint64(24)).astype(np.int64)
        x = np.ldexp(x, -np.repeat(shift, 256)[:n])
    return x.astype(np.float32)
