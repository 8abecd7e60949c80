"""Held-out loss of a unigram and a bigram table of bytes: what counting alone achieves.

Counts come from the training text; a row of the bigram leans on the unigram with the weight of 12.8
counts, so that an unseen pair costs no infinity.
"""
import collections
import itertools
import json
import math
import sys


def unigram_table(train):
    counts = collections.Counter(train)
    total = len(train) + 0.5 * 256
    return [(counts[byte] + 0.5) / total for byte in range(256)]


def unigram_loss(table, text):
    """Nats per byte."""
    return -sum(n * math.log(table[b]) for b, n in collections.Counter(text).items()) / len(text)


def bigram_loss(train, text, table, prior=12.8):
    """Nats per byte; rows lean on the unigram `table` with `prior` counts."""
    pairs = collections.Counter(zip(train, itertools.islice(train, 1, None)))
    rows = collections.Counter(train[:-1])
    held = collections.Counter(zip(text, itertools.islice(text, 1, None)))
    loss = -math.log(table[text[0]])
    for (a, b), n in held.items():
        loss -= n * math.log((pairs[(a, b)] + prior * table[b]) / (rows[a] + prior))
    return loss / len(text)


def losses(train, text):
    table = unigram_table(train)
    return unigram_loss(table, text), bigram_loss(train, text, table)


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as a, open(sys.argv[2], "rb") as b:
        one, two = losses(a.read(), b.read())
    print(json.dumps({"unigram": one, "bigram": two}))
