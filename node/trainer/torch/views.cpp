#include "node/trainer/torch/views.hpp"

#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <type_traits>

namespace skerry::node {
namespace {

template <class E>
constexpr at::ScalarType kScalar = std::is_same_v<E, float> ? at::kFloat : at::kBFloat16;

template <class E>
Stack make_stack(const Workspace<E>& space, E* base, long groups, long rows, long columns, bool shared_block) {
    const auto size = static_cast<long>(space.layout.block);
    Stack out;
    for (long g = 0; g < groups; g += size) {
        const long n = std::min(size, groups - g);
        auto block = view(base + (shared_block ? 0 : g * rows * columns), {n, rows, columns});
        out.transposed.push_back(block.transpose(1, 2));
        out.block.push_back(std::move(block));
    }
    return out;
}

template <class E>
LayerShapes make_layer_shapes(const Workspace<E>& space, long l, long batch) {
    const Dimensions& n = space.size;
    const WorkspaceLayout& at = space.layout;
    const long rows = batch * n.t;
    const long groups = batch * n.kv;
    LayerShapes s;
    s.h1 = view(space.slot(at.h1, l, n.d), {rows, n.d});
    s.h2 = view(space.slot(at.h2, l, n.d), {rows, n.d});
    s.heads_out = view(space.slot(at.heads_out, l, n.heads * n.hd), {rows, n.heads * n.hd});
    s.gate_up = view(space.slot(at.gate_up, l, 2 * n.f), {rows, 2 * n.f});
    s.q = make_stack(space, space.slot(at.q, l, n.heads * n.hd), groups, n.group * n.t, n.hd, false);
    s.k = make_stack(space, space.slot(at.k, l, n.kv * n.hd), groups, n.t, n.hd, false);
    s.v = make_stack(space, space.slot(at.v, l, n.kv * n.hd), groups, n.t, n.hd, false);
    const bool own = at.keep_attention && at.keep_layers;
    E* p = space.elements(at.p) + (own ? l * static_cast<long>(at.block) * n.group * n.t * n.t : 0);
    s.p = make_stack(space, p, groups, n.group * n.t, n.t, !at.keep_attention);
    return s;
}

}  // namespace

template <class E>
at::Tensor view(const E* p, std::initializer_list<long> sizes) {
    const std::vector<int64_t> shape(sizes);
    return at::from_blob(const_cast<E*>(p), shape, at::TensorOptions().dtype(kScalar<E>));
}

ModelOffsets make_offsets(const ModelConfig& config, const TensorTable& table) {
    std::map<std::string, std::uint64_t> at;
    for (const auto& tensor : table.tensors) at[tensor.name] = tensor.offset;
    ModelOffsets out;
    for (std::uint32_t i = 0; i < config.num_hidden_layers; ++i) {
        const std::string layer = "model.layers." + std::to_string(i) + ".";
        const auto of = [&](const char* name) {
            const auto found = at.find(layer + name);
            return found == at.end() ? std::uint64_t{0} : found->second;
        };
        out.layers.push_back({of("input_layernorm.weight"), of("self_attn.q_proj.weight"), of("self_attn.q_proj.bias"),
                              of("self_attn.o_proj.weight"), of("self_attn.o_proj.bias"), of("post_attention_layernorm.weight"),
                              of("mlp.gate_proj.weight"), of("mlp.down_proj.weight")});
    }
    out.norm = at.at("model.norm.weight");
    out.head = config.tie_word_embeddings ? 0 : at.at("lm_head.weight");
    return out;
}

void product(at::Tensor out, const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
    if (bias.defined())
        at::addmm_out(out, bias, x, w);
    else
        at::mm_out(out, x, w);
}

void fill_rope(const ModelConfig& config, long positions, float* out) {
    const long size = config.head_dim, half = size / 2;
    const auto frequencies = rope_frequencies(config.rope_scaling, config.rope_theta, config.head_dim);
    for (long t = 0; t < positions; ++t) {
        for (long i = 0; i < half; ++i) {
            const float angle = static_cast<float>(t) * frequencies[static_cast<std::size_t>(i)];
            out[t * size + i] = std::cos(angle);
            out[t * size + half + i] = std::sin(angle);
        }
    }
}

template <class E>
MatrixViews make_matrix_views(const Dimensions& size, const ModelOffsets& offsets, const E* base) {
    MatrixViews out;
    for (const auto& o : offsets.layers) {
        LayerMatrices l;
        l.qkv = Matrix(view(base + o.qkv, {size.qkv_width(), size.d}));
        l.o = Matrix(view(base + o.o, {size.d, size.heads * size.hd}));
        l.gate_up = Matrix(view(base + o.gate_up, {2 * size.f, size.d}));
        l.down = Matrix(view(base + o.down, {size.d, size.f}));
        if (o.qkv_bias != 0) l.qkv_bias = view(base + o.qkv_bias, {size.qkv_width()});
        if (o.o_bias != 0) l.o_bias = view(base + o.o_bias, {size.d});
        out.layers.push_back(std::move(l));
    }
    out.head = Matrix(view(base + offsets.head, {size.vocab, size.d}));
    return out;
}

template <class E>
Shapes make_shapes(const Workspace<E>& space, bool training, long batch) {
    const Dimensions& n = space.size;
    const WorkspaceLayout& at = space.layout;
    const long rows = batch * n.t;
    const long groups = batch * n.kv;
    Shapes s;
    for (long l = 0; l < n.layers; ++l) s.layers.push_back(make_layer_shapes(space, l, batch));
    s.qkv = view(space.elements(at.qkv), {rows, n.qkv_width()});
    s.y = view(space.elements(at.y), {rows, n.d});
    s.s = view(space.elements(at.s), {rows, n.f});
    s.last = view(space.elements(at.last), {rows, n.d});
    s.logits = view(space.elements(at.logits), {rows, n.vocab});
    s.out = make_stack(space, space.elements(at.out), groups, n.group * n.t, n.hd, false);
    if (!training) return s;

    s.qkv_t = s.qkv.t();
    s.logits_t = s.logits.t();
    s.d_h = view(space.elements(at.d_h), {rows, n.d});
    s.d_heads = view(space.elements(at.d_h), {rows, n.heads * n.hd});
    if constexpr (std::is_same_v<E, float>)
        s.d_cast = view(space.floats(at.dx), {rows, n.d});
    else
        s.d_cast = view(space.elements(at.d_cast), {rows, n.d});
    s.d_cast_t = s.d_cast.t();
    s.d_out = make_stack(space, space.elements(at.d_out), groups, n.group * n.t, n.hd, false);
    s.d_p = make_stack(space, space.elements(at.d_p), groups, n.group * n.t, n.t, true);
    s.d_q = make_stack(space, space.elements(at.d_q), groups, n.group * n.t, n.hd, false);
    s.d_k = make_stack(space, space.elements(at.d_k), groups, n.t, n.hd, false);
    s.d_v = make_stack(space, space.elements(at.d_v), groups, n.t, n.hd, false);
    return s;
}

template at::Tensor view(const float*, std::initializer_list<long>);
template at::Tensor view(const Bf16*, std::initializer_list<long>);
template MatrixViews make_matrix_views(const Dimensions&, const ModelOffsets&, const float*);
template MatrixViews make_matrix_views(const Dimensions&, const ModelOffsets&, const Bf16*);
template Shapes make_shapes(const Workspace<float>&, bool, long);
template Shapes make_shapes(const Workspace<Bf16>&, bool, long);

}  // namespace skerry::node
