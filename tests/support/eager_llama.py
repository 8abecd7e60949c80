"""A Llama decoder in plain eager PyTorch, over the canonical flat vector (docs/trainer-protocol.md, section 6).

The reference for the oracles and the other side of the benchmark: what a competent person writes in Python.
"""

import math

import torch
import torch.nn.functional as F


def qkv_bias(c):
    return c.get("attention_bias", False) or c.get("model_type", "llama") == "qwen2"


def frequencies(c):
    """Radians per position of each pair, with Hugging Face's rope_scaling; by wavelengths, as its authors wrote it down."""
    hd = c["head_dim"]
    inverse = 1.0 / (c["rope_theta"] ** (torch.arange(0, hd, 2).float() / hd))
    scaling = c.get("rope_scaling") or {"rope_type": "default"}
    if scaling["rope_type"] == "default":
        return inverse
    if scaling["rope_type"] == "linear":
        return inverse / scaling["factor"]
    low, high, original = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["original_max_position_embeddings"]
    out = []
    for f in inverse.tolist():
        wavelength = 2 * math.pi / f
        if wavelength < original / high:
            out.append(f)
        elif wavelength > original / low:
            out.append(f / scaling["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            out.append((1 - smooth) * f / scaling["factor"] + smooth * f)
    return torch.tensor(out)


def tensor_table(c):
    """[(name, shape, without_decay)] in canonical order: norms and biases have no weight decay."""
    d, f = c["hidden_size"], c["intermediate_size"]
    q = c["num_attention_heads"] * c["head_dim"]
    kv = c["num_key_value_heads"] * c["head_dim"]
    table = [("model.embed_tokens.weight", (c["vocab_size"], d), False)]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        table += [
            (p + "input_layernorm.weight", (d,), True),
            (p + "self_attn.q_proj.weight", (q, d), False),
            (p + "self_attn.k_proj.weight", (kv, d), False),
            (p + "self_attn.v_proj.weight", (kv, d), False),
        ]
        if qkv_bias(c):
            table += [(p + "self_attn.q_proj.bias", (q,), True), (p + "self_attn.k_proj.bias", (kv,), True),
                      (p + "self_attn.v_proj.bias", (kv,), True)]
        table.append((p + "self_attn.o_proj.weight", (d, q), False))
        if c.get("attention_bias", False):
            table.append((p + "self_attn.o_proj.bias", (d,), True))
        table += [
            (p + "post_attention_layernorm.weight", (d,), True),
            (p + "mlp.gate_proj.weight", (f, d), False),
            (p + "mlp.up_proj.weight", (f, d), False),
            (p + "mlp.down_proj.weight", (d, f), False),
        ]
    table.append(("model.norm.weight", (d,), True))
    if not c["tie_word_embeddings"]:
        table.append(("lm_head.weight", (c["vocab_size"], d), False))
    return table


def elements(c):
    return sum(math.prod(shape) for _, shape, _ in tensor_table(c))


def initial(c, seed=1):
    """A flat vector of initial weights (not S_0's bits: those are computed by integers)."""
    g = torch.Generator().manual_seed(seed)
    parts = []
    for name, shape, norm in tensor_table(c):
        out = name.endswith(("o_proj.weight", "down_proj.weight"))
        sigma = c["initializer_range"] / (math.sqrt(2 * c["num_hidden_layers"]) if out else 1)
        # Biases as a training would leave them: from zeros their gradients would be tested alone.
        parts.append(torch.ones(shape) if norm and not name.endswith(".bias") else torch.randn(shape, generator=g) * sigma)
    return torch.cat([p.reshape(-1) for p in parts])


class Llama(torch.nn.Module):
    def __init__(self, config, flat, max_seq, products=False):
        """products: attention written out instead of scaled_dot_product_attention."""
        super().__init__()
        self.c, self.products = config, products
        at = 0
        self.names = {}
        for name, shape, norm in tensor_table(config):
            n = math.prod(shape)
            parameter = torch.nn.Parameter(flat[at:at + n].clone().reshape(shape))
            parameter.is_norm = norm
            self.register_parameter(name.replace(".", "_"), parameter)
            self.names[name] = parameter
            at += n
        angle = torch.outer(torch.arange(max_seq).float(), frequencies(config))
        angle = torch.cat([angle, angle], -1)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def norm(self, x, w):
        x = x.float()
        return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["rms_norm_eps"])) * w

    def rotate(self, x):
        t, half = x.shape[-2], x.shape[-1] // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], -1)
        return x * self.cos[:t].to(x.dtype) + turned * self.sin[:t].to(x.dtype)

    def attention(self, q, k, v):
        if not self.products:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
        t, group = q.shape[-2], q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(group, 1) if group > 1 else x for x in (k, v))
        future = torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1)
        scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5)
        return torch.softmax(scores.masked_fill(future, float("-inf")), -1).to(v.dtype) @ v

    def forward(self, ids):
        c, w = self.c, self.names
        b, t = ids.shape
        h, kv, hd = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        x = F.embedding(ids, w["model.embed_tokens.weight"])
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            y = self.norm(x, w[p + "input_layernorm.weight"])
            q = F.linear(y, w[p + "self_attn.q_proj.weight"], w.get(p + "self_attn.q_proj.bias")).view(b, t, h, hd).transpose(1, 2)
            k = F.linear(y, w[p + "self_attn.k_proj.weight"], w.get(p + "self_attn.k_proj.bias")).view(b, t, kv, hd).transpose(1, 2)
            v = F.linear(y, w[p + "self_attn.v_proj.weight"], w.get(p + "self_attn.v_proj.bias")).view(b, t, kv, hd).transpose(1, 2)
            q, k = self.rotate(q), self.rotate(k)
            y = self.attention(q, k, v)
            x = x + F.linear(y.transpose(1, 2).reshape(b, t, h * hd), w[p + "self_attn.o_proj.weight"], w.get(p + "self_attn.o_proj.bias"))
            y = self.norm(x, w[p + "post_attention_layernorm.weight"])
            gate = F.silu(F.linear(y, w[p + "mlp.gate_proj.weight"]))
            y = gate * F.linear(y, w[p + "mlp.up_proj.weight"])
            x = x + F.linear(y, w[p + "mlp.down_proj.weight"])
        x = self.norm(x, w["model.norm.weight"])
        return F.linear(x, w["model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"])

    def loss(self, ids, targets):
        return F.cross_entropy(self(ids).float().view(-1, self.c["vocab_size"]), targets.reshape(-1))

    def flat(self):
        return torch.cat([p.detach().reshape(-1) for p in self.names.values()])

    def flat_gradient(self):
        return torch.cat([p.grad.reshape(-1) for p in self.names.values()])

    def optimizer(self, train, fused=False):
        groups = [
            {"params": [p for p in self.names.values() if not p.is_norm], "weight_decay": train["weight_decay"]},
            {"params": [p for p in self.names.values() if p.is_norm], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=train["lr"], betas=(train["beta1"], train["beta2"]), eps=train["eps"],
                                 fused=fused)
