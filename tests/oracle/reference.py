"""DiLoCo written down a second time, in numpy, from docs/ and not from the C++: the oracle of the outer step.

Every fp32 operation is rounded on its own (numpy does that), sums run in the plan's order.
"""
import hashlib
import struct

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def tagged(tag, fields):
    return hashlib.sha256(tag.encode() + b"\0" + fields).digest()


# --- the flat vector -----------------------------------------------------------------------------------


def tensors_of(model):
    """(name, shape, sigma) in canonical order; sigma 0 means all ones, or zeros for a bias."""
    hidden, layers, inner = model["hidden_size"], model["num_hidden_layers"], model["intermediate_size"]
    head = model.get("head_dim", hidden // model["num_attention_heads"])
    rows_q, rows_kv = model["num_attention_heads"] * head, model["num_key_value_heads"] * head
    sigma = model.get("initializer_range", 0.02)
    deep = sigma / np.sqrt(2.0 * layers)
    yield "model.embed_tokens.weight", (model["vocab_size"], hidden), sigma
    for i in range(layers):
        at = f"model.layers.{i}."
        yield at + "input_layernorm.weight", (hidden,), 0
        yield at + "self_attn.q_proj.weight", (rows_q, hidden), sigma
        yield at + "self_attn.k_proj.weight", (rows_kv, hidden), sigma
        yield at + "self_attn.v_proj.weight", (rows_kv, hidden), sigma
        if model.get("attention_bias", False) or model.get("model_type") == "qwen2":
            yield at + "self_attn.q_proj.bias", (rows_q,), 0
            yield at + "self_attn.k_proj.bias", (rows_kv,), 0
            yield at + "self_attn.v_proj.bias", (rows_kv,), 0
        yield at + "self_attn.o_proj.weight", (hidden, rows_q), deep
        if model.get("attention_bias", False):
            yield at + "self_attn.o_proj.bias", (hidden,), 0
        yield at + "post_attention_layernorm.weight", (hidden,), 0
        yield at + "mlp.gate_proj.weight", (inner, hidden), sigma
        yield at + "mlp.up_proj.weight", (inner, hidden), sigma
        yield at + "mlp.down_proj.weight", (hidden, inner), deep
    yield "model.norm.weight", (hidden,), 0
    if not model.get("tie_word_embeddings", True):
        yield "lm_head.weight", (model["vocab_size"], hidden), sigma


def splitmix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def initial_tensor(seed, name, elements, sigma):
    if sigma == 0:
        return np.full(elements, 0 if name.endswith(".bias") else 1, np.float32)
    encoded = name.encode()
    stream = np.uint64(int.from_bytes(tagged("skerry/init/1", struct.pack("<QI", seed, len(encoded)) + encoded)[:8], "little"))
    with np.errstate(over="ignore"):
        counter = np.arange(elements, dtype=np.uint64) * np.uint64(4)
        total = np.full(elements, -(1 << 25), np.int64)
        for j in range(1, 5):
            total += (splitmix(stream + (counter + np.uint64(j)) * GAMMA) >> np.uint64(40)).astype(np.int64)
    scale = np.float32(np.float64(sigma) * np.sqrt(np.float64(3.0)) / 16777216.0)
    return total.astype(np.float32) * scale


def initial_state(model, seed):
    """theta of S_0."""
    return np.concatenate([initial_tensor(seed, name, int(np.prod(shape)), sigma) for name, shape, sigma in tensors_of(model)])


# --- the order of the data -----------------------------------------------------------------------------


def sequence_at(seed, sequences, position):
    """The training sequence at a position of the run's data order: a keyed permutation of each pass."""
    mask64 = (1 << 64) - 1

    def finalise(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask64
        return z ^ (z >> 31)

    keys = [int.from_bytes(tagged("skerry/order/1", struct.pack("<QQI", seed, position // sequences, i))[:8], "little") for i in range(4)]
    bits = max(1, ((sequences - 1).bit_length() + 1) // 2)
    mask = (1 << bits) - 1
    x = position % sequences
    while True:
        left, right = x >> bits, x & mask
        for key in keys:
            left, right = right, left ^ (finalise(right ^ key) & mask)
        x = left << bits | right
        if x < sequences:
            return x


# --- digests -------------------------------------------------------------------------------------------


def piece_elements(elements):
    wanted = -(-elements // 256)
    return min(1 << 20, max(4096, -(-wanted // 4096) * 4096))


def merkle_root(leaves):
    level = list(leaves)
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def float_root(vector):
    size = piece_elements(len(vector))
    return merkle_root(hashlib.sha256(b"\0" + vector[i:i + size].tobytes()).digest() for i in range(0, len(vector), size))


def state_digest(tokens, theta, momentum):
    return tagged("skerry/state/1", struct.pack("<Q", tokens) + float_root(theta) + float_root(momentum)).hex()


# --- the outer step ------------------------------------------------------------------------------------


def mean(deltas, weights):
    total = np.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights):
        total = total + np.float32(weight) * delta
    return total / np.float32(sum(weights))


def outer_step(theta, momentum, average, eta, mu):
    eta, mu = np.float32(eta), np.float32(mu)
    momentum = mu * momentum + average
    return theta - eta * (average + mu * momentum), momentum


def ulp_distance(a, b, scale):
    """|a - b| in units of the last place of `scale` (elementwise)."""
    return np.abs(a.astype(np.float64) - b.astype(np.float64)) / np.spacing(np.abs(scale).astype(np.float32)).astype(np.float64)
