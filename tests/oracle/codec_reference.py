#!/usr/bin/env python3
"""The codecs once more, written from docs/wire-format.md with numpy, one scalar scale at a time.

    codec_reference.py --check tests/golden/codecs.txt     the frozen digests equal this file's
    codec_reference.py --write tests/golden/codecs.txt     freeze them

The unit test codec_golden_test compares the C++ codecs with the same file.
"""

import argparse
import hashlib
import math
import struct
import sys
from fractions import Fraction

try:
    import numpy as np
except ImportError:
    print("skipped: this Python has no numpy (SKERRY_PYTHON names another one)")
    sys.exit(77)

from synthetic import synthetic

F32, A8 = 1, 2
BLOCK = 256
LAYOUT, STEP, PIECE = 0x04030201, 7, 3


def header(codec, n, exponent):
    scales = 0 if codec == F32 else 2 * ((n + BLOCK - 1) // BLOCK)
    payload = 4 * n if codec == F32 else n
    out = struct.pack("<4sHBBIIQIIQIIIQI", b"SKR1", 1, codec, 0, LAYOUT, 0, STEP, 0, PIECE, PIECE * n, n, payload,
                      scales, 0, exponent + 128)
    assert len(out) == 64
    return out


def half_up(value):
    """Bits of the smallest binary16 >= value, a rational number."""
    low, high = 0, 0x7BFF
    while low < high:  # the bits of positive halves are in the order of their values
        middle = (low + high) // 2
        if Fraction(float(np.uint16(middle).view(np.float16))) >= value:
            high = middle
        else:
            low = middle + 1
    return low


def exponent_of(largest):
    """e with largest * 2^-e / 127 in [2^14, 2^15), at least -100."""
    if largest == 0:
        return 0
    e = math.frexp(largest)[1] - 1 - 20
    while Fraction(largest) / Fraction(2) ** e >= 127 * 2**15:
        e += 1
    while Fraction(largest) / Fraction(2) ** e < 127 * 2**14:
        e -= 1
    return max(e, -100)


def stored_scale(largest, e):
    relative = np.float32(np.ldexp(np.float32(largest), -e))  # rounded to float32 where it is tiny
    return half_up(Fraction(float(relative / np.float32(127))))


def encode_a8(x):
    maxima = [float(np.max(np.abs(x[i:i + BLOCK]))) for i in range(0, len(x), BLOCK)]
    e = exponent_of(max(maxima))
    if stored_scale(max(maxima), e) == half_up(Fraction(2**15)):
        e += 1
    stored = np.array([stored_scale(m, e) for m in maxima], dtype=np.uint16)
    scales = np.ldexp(stored.view(np.float16).astype(np.float32), e).astype(np.float32)
    per_value = np.repeat(scales, BLOCK)[:len(x)]
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(per_value == 0, np.float32(0), np.rint(x / per_value))
    assert np.max(np.abs(q)) <= 127
    q = q.astype(np.int8)
    return header(A8, len(x), e) + stored.tobytes() + q.tobytes(), q.astype(np.float32) * per_value


def encode_f32(x):
    return header(F32, len(x), 0) + x.tobytes(), x


CASES = [(codec, n, seed, exponent, mixed)
         for codec in ("f32", "a8")
         for seed, (n, exponent, mixed) in enumerate([
             (1, 0, 0), (255, 0, 0), (256, -23, 0), (257, -23, 1), (4096, -8, 1), (70000, -8, 1), (5000, 60, 1),
             (5000, -79, 1), (5000, -110, 1), (300, -140, 0), (1000, -1000, 0)])]


def line(codec, n, seed, exponent, mixed):
    x = synthetic(seed, n, exponent, bool(mixed))
    chunk, decoded = (encode_f32 if codec == "f32" else encode_a8)(x)
    sha = lambda data: hashlib.sha256(data).hexdigest()
    return f"{codec} {n} {seed} {exponent} {mixed} {len(chunk)} {sha(chunk)} {sha(decoded.tobytes())}\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check")
    parser.add_argument("--write")
    args = parser.parse_args()
    text = "# codec elements seed exponent mixed bytes sha256(chunk) sha256(decoded)\n" + "".join(line(*c) for c in CASES)
    if args.write:
        open(args.write, "w").write(text)
        return 0
    frozen = open(args.check).read()
    for ours, theirs in zip(text.splitlines(), frozen.splitlines()):
        if ours != theirs:
            print("differs:\n ", ours, "\n ", theirs)
    print("equal" if text == frozen else "NOT equal")
    return 0 if text == frozen else 1


if __name__ == "__main__":
    sys.exit(main())
