#include "node/model_folder/tensor_table.hpp"

#include <cmath>
#include <utility>

namespace skerry::node {
namespace {

class Builder {
  public:
    void normal(std::string name, std::uint64_t out, std::uint64_t in, double sigma) {
        auto scale = static_cast<float>(sigma * std::sqrt(3.0) / 16777216.0);
        add({std::move(name), {out, in}, 0, out * in, TensorKind::normal, sigma, scale});
    }
    void ones(std::string name, std::uint64_t n) {
        add({std::move(name), {n}, 0, n, TensorKind::ones, 0, 0.F});
    }
    void bias(std::string name, std::uint64_t n) {
        add({std::move(name), {n}, 0, n, TensorKind::zeros, 0, 0.F});
    }
    TensorTable take() { return std::move(table_); }

  private:
    void add(TensorInfo info) {
        info.offset = table_.elements;
        table_.elements += info.elements;
        table_.tensors.push_back(std::move(info));
    }
    TensorTable table_;
};

}  // namespace

TensorTable make_tensor_table(const ModelConfig& c) {
    const std::uint64_t d = c.hidden_size;
    const std::uint64_t f = c.intermediate_size;
    const std::uint64_t q = std::uint64_t{c.num_attention_heads} * c.head_dim;
    const std::uint64_t kv = std::uint64_t{c.num_key_value_heads} * c.head_dim;
    const double sigma = c.initializer_range;
    const double sigma_out = sigma / std::sqrt(2.0 * c.num_hidden_layers);

    Builder b;
    b.normal("model.embed_tokens.weight", c.vocab_size, d, sigma);
    for (std::uint32_t i = 0; i < c.num_hidden_layers; ++i) {
        const std::string layer = "model.layers." + std::to_string(i) + ".";
        b.ones(layer + "input_layernorm.weight", d);
        b.normal(layer + "self_attn.q_proj.weight", q, d, sigma);
        b.normal(layer + "self_attn.k_proj.weight", kv, d, sigma);
        b.normal(layer + "self_attn.v_proj.weight", kv, d, sigma);
        // Biases behind the three matrices, which are one product.
        if (c.qkv_bias()) {
            b.bias(layer + "self_attn.q_proj.bias", q);
            b.bias(layer + "self_attn.k_proj.bias", kv);
            b.bias(layer + "self_attn.v_proj.bias", kv);
        }
        b.normal(layer + "self_attn.o_proj.weight", d, q, sigma_out);
        if (c.o_bias()) b.bias(layer + "self_attn.o_proj.bias", d);
        b.ones(layer + "post_attention_layernorm.weight", d);
        b.normal(layer + "mlp.gate_proj.weight", f, d, sigma);
        b.normal(layer + "mlp.up_proj.weight", f, d, sigma);
        b.normal(layer + "mlp.down_proj.weight", d, f, sigma_out);
    }
    b.ones("model.norm.weight", d);
    if (!c.tie_word_embeddings) b.normal("lm_head.weight", c.vocab_size, d, sigma);
    return b.take();
}

}  // namespace skerry::node
