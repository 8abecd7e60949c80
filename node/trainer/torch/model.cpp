#include "node/trainer/torch/model.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/sum.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "node/trainer/torch/products.hpp"
#include "node/trainer/torch/views.hpp"
#include "node/trainer/torch/workspace.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {
namespace {

template <class E>
E* data(const at::Tensor& t) {
    return static_cast<E*>(t.data_ptr());
}

/// The gradient of a bias: the sum of the rows.
void bias_gradient(at::Tensor bias, const at::Tensor& rows) {
    if (bias.defined()) at::sum_out(bias, rows, 0);
}

template <class E>
class FlatModel final : public Model {
  public:
    FlatModel(const ModelConfig& config, const WorkspacePlan& plan);

    double loss_and_gradient(const Weights& weights, const TokenBatch& tokens) override;
    double loss(const Weights& weights, const TokenBatch& tokens) override;
    void logits(const Weights& weights, const TokenBatch& tokens, std::uint32_t at,
                std::span<float> out) override;
    double gradient_sum_squares() const override;
    void adamw(float* p, float* m, float* v, Bf16* shadow, std::uint64_t lo, std::uint64_t hi,
               const AdamW& how) const override;
    void muon_momentum(float* m, std::uint64_t lo, std::span<float> out, float one_minus_beta, float scale) const override;
    void copy_gradient(std::span<float> out) const override;

  private:
    /// The weights as factors of products: the master where those are float ones, which need not round it.
    const MatrixViews& matrices(const Weights& weights);
    const Shapes& shapes(std::uint32_t batch);

    void forward(const Weights& weights, const TokenBatch& tokens, const Shapes& sh);
    void layer_forward(std::size_t i, const float* x, const E* add, const Weights& weights, const Shapes& sh, long batch);
    void attention_forward(const LayerShapes& l, const Shapes& sh, long batch);
    void backward(const Weights& weights, const TokenBatch& tokens, const Shapes& sh);
    void mlp_backward(std::size_t i, const Weights& weights, const Shapes& sh, long batch);
    void attention_backward(std::size_t i, const Weights& weights, const Shapes& sh, long batch);
    void heads_backward(const LayerShapes& l, const Shapes& sh, long batch);
    void norm_backward(const float* x, const float* inv, const Weights& weights, std::uint64_t offset, long rows,
                       bool first);
    void embedding_backward(const TokenBatch& tokens);

    /// Calls `pass` on micro_batch sequences at a time.
    template <class Pass>
    void in_passes(const TokenBatch& tokens, const Pass& pass) const {
        const auto t = static_cast<std::size_t>(n_.t);
        for (std::uint32_t at = 0; at < tokens.batch; at += plan_.micro_batch) {
            const std::uint32_t count = std::min(plan_.micro_batch, tokens.batch - at);
            pass(TokenBatch{tokens.inputs.subspan(at * t, count * t), tokens.targets.subspan(at * t, count * t), count});
        }
    }
    /// The residual stream as it enters layer l; layers_ for what leaves the last. Kept whatever is computed again.
    float* x_in(long l) const { return space_.floats(at_.x_in) + (plan_.training ? l : 0) * n_.max_rows * n_.d; }

    ModelConfig config_;
    WorkspacePlan plan_;
    TensorTable table_;
    ModelOffsets offsets_;
    Workspace<E> space_;
    const Dimensions& n_ = space_.size;
    const WorkspaceLayout& at_ = space_.layout;
    const KernelSet<E>& kernel_ = kernel_set<E>();
    const Products products_;
    const float scale_, eps_;
    E* const gradient_;         ///< [P]
    float* const accumulator_;  ///< [P]
    bool accumulated_ = false;  ///< the last gradient is in the accumulator
    std::vector<std::int32_t> order_, runs_;

    std::vector<std::pair<const void*, MatrixViews>> views_;
    MatrixViews gradient_views_;
    std::map<std::uint32_t, Shapes> shapes_;
};

template <class E>
FlatModel<E>::FlatModel(const ModelConfig& config, const WorkspacePlan& plan)
    : config_(config),
      plan_(plan),
      table_(make_tensor_table(config)),
      offsets_(make_offsets(config, table_)),
      space_(config, plan),
      products_(plan.bf16 ? space_.floats(at_.tiles) : nullptr, plan.in_float, plan.threads),
      scale_(1.F / std::sqrt(static_cast<float>(config.head_dim))),
      eps_(static_cast<float>(config.rms_norm_eps)),
      gradient_(space_.elements(at_.gradient)),
      accumulator_(space_.floats(at_.accumulator)) {
    c10::InferenceMode guard;
    fill_rope(config, n_.t, space_.floats(at_.rope));
    if (plan.training) gradient_views_ = make_matrix_views(n_, offsets_, static_cast<const E*>(gradient_));
}

template <class E>
const MatrixViews& FlatModel<E>::matrices(const Weights& weights) {
    const bool master = std::is_same_v<E, float> || plan_.in_float;
    const void* base = master ? static_cast<const void*>(weights.master) : weights.shadow;
    SKERRY_ASSERT(base != nullptr);
    for (const auto& [known, views] : views_)
        if (known == base) return views;
    if (views_.size() > 4) views_.clear();  // regions come and go; their views cost nothing to make again
    views_.emplace_back(base, master ? make_matrix_views(n_, offsets_, weights.master) : make_matrix_views(n_, offsets_, weights.shadow));
    return views_.back().second;
}

template <class E>
const Shapes& FlatModel<E>::shapes(std::uint32_t batch) {
    SKERRY_ASSERT(batch >= 1 && batch <= plan_.micro_batch);
    auto found = shapes_.find(batch);
    if (found == shapes_.end())
        found = shapes_.emplace(batch, make_shapes(space_, plan_.training, static_cast<long>(batch))).first;
    return found->second;
}

template <class E>
void FlatModel<E>::attention_forward(const LayerShapes& l, const Shapes& sh, long batch) {
    kernel_.rope_unpack(data<E>(sh.qkv), space_.floats(at_.rope), data<E>(l.q.block[0]), data<E>(l.k.block[0]),
                        data<E>(l.v.block[0]), n_.head_dims(batch));
    for (std::size_t b = 0; b < l.q.block.size(); ++b) {
        auto p = l.p.block[b];
        auto out = sh.out.block[b];
        products_.probabilities(p, l.q.block[b], l.k.transposed[b], scale_, n_.t);
        products_.bmm(out, p, l.v.block[b]);
    }
    kernel_.heads_pack(space_.elements(at_.out), data<E>(l.heads_out), n_.head_dims(batch));
}

/// Everything of layer i up to the input of its last product. x [rows, d] plus `add` (may be null) enters and is kept.
template <class E>
void FlatModel<E>::layer_forward(std::size_t i, const float* x, const E* add, const Weights& weights, const Shapes& sh,
                                 long batch) {
    const auto li = static_cast<long>(i);
    const auto& o = offsets_.layers[i];
    const auto& l = sh.layers[i];
    const auto& m = matrices(weights).layers[i];
    const long rows = batch * n_.t;
    float* in = x_in(li);
    kernel_.rms_forward(x, add, in, weights.master + o.norm1, data<E>(l.h1), space_.float_slot(at_.inv1, li, 1), rows,
                        n_.d, eps_);
    products_.mm(sh.qkv, l.h1, m.qkv.wt, m.qkv_bias);
    attention_forward(l, sh, batch);
    const auto& y = sh.y;
    products_.mm(y, l.heads_out, m.o.wt, m.o_bias);
    float* mid = plan_.training ? space_.float_slot(at_.x_mid, li, n_.d) : in;
    kernel_.rms_forward(in, data<E>(y), mid, weights.master + o.norm2, data<E>(l.h2),
                        space_.float_slot(at_.inv2, li, 1), rows, n_.d, eps_);
    auto gate_up = l.gate_up;
    products_.mm(gate_up, l.h2, m.gate_up.wt);
}

template <class E>
void FlatModel<E>::forward(const Weights& weights, const TokenBatch& tokens, const Shapes& sh) {
    const MatrixViews& w = matrices(weights);
    const auto batch = static_cast<long>(tokens.batch);
    const long rows = batch * n_.t;
    kernel_.embed(weights.master, tokens.inputs.data(), x_in(0), rows, n_.d);
    const E* add = nullptr;  // what the residual stream still has to receive
    const float* x = x_in(0);
    for (std::size_t i = 0; i < w.layers.size(); ++i) {
        const auto li = static_cast<long>(i);
        layer_forward(i, x, add, weights, sh, batch);
        kernel_.swiglu(data<E>(sh.layers[i].gate_up), data<E>(sh.s), rows, n_.f);
        auto y = sh.y;
        products_.mm(y, sh.s, w.layers[i].down.wt);
        add = data<E>(y);
        x = plan_.training ? space_.float_slot(at_.x_mid, li, n_.d) : x_in(li);
    }
    kernel_.rms_forward(x, add, x_in(n_.layers), weights.master + offsets_.norm, data<E>(sh.last),
                        space_.floats(at_.inv_last), rows, n_.d, eps_);
    auto logits = sh.logits;
    products_.mm(logits, sh.last, w.head.wt);
}

/// d_h is the gradient of a norm's output; dx receives that of its input, and the gradient vector that of its weight.
template <class E>
void FlatModel<E>::norm_backward(const float* x, const float* inv, const Weights& weights, std::uint64_t offset,
                                 long rows, bool first) {
    E* cast = std::is_same_v<E, float> ? nullptr : space_.elements(at_.d_cast);
    kernel_.rms_backward(space_.elements(at_.d_h), x, inv, weights.master + offset, space_.floats(at_.dx), cast,
                         gradient_ + offset, space_.floats(at_.scratch), rows, n_.d, first);
}

template <class E>
void FlatModel<E>::mlp_backward(std::size_t i, const Weights& weights, const Shapes& sh, long batch) {
    const auto& l = sh.layers[i];
    const auto& w = matrices(weights).layers[i];
    const auto& g = gradient_views_.layers[i];
    const long rows = batch * n_.t;
    const auto li = static_cast<long>(i);
    auto s = sh.s;
    products_.mm(s, sh.d_cast, w.down.w);
    kernel_.swiglu_backward(data<E>(l.gate_up), data<E>(s), rows, n_.f);
    auto out = g.down.w;
    products_.mm(out, sh.d_cast_t, s);
    out = g.gate_up.w;
    products_.mm(out, l.gate_up.t(), l.h2);
    auto d_h = sh.d_h;
    products_.mm(d_h, l.gate_up, w.gate_up.w);
    norm_backward(space_.float_slot(at_.x_mid, li, n_.d), space_.float_slot(at_.inv2, li, 1), weights,
                  offsets_.layers[i].norm2, rows, false);
}

template <class E>
void FlatModel<E>::heads_backward(const LayerShapes& l, const Shapes& sh, long batch) {
    kernel_.heads_unpack(data<E>(sh.d_h), space_.elements(at_.d_out), n_.head_dims(batch));
    for (std::size_t b = 0; b < l.q.block.size(); ++b) {
        auto p = l.p.block[b];
        auto dp = sh.d_p.block[b];
        if (!at_.keep_attention) products_.probabilities(p, l.q.block[b], l.k.transposed[b], scale_, n_.t);
        auto dv = sh.d_v.block[b];
        auto dq = sh.d_q.block[b];
        auto dk = sh.d_k.block[b];
        products_.bmm(dv, l.p.transposed[b], sh.d_out.block[b]);
        products_.d_scores(dp, p, sh.d_out.block[b], l.v.transposed[b], scale_);
        products_.bmm(dq, dp, l.k.block[b]);
        products_.bmm(dk, sh.d_p.transposed[b], l.q.block[b]);
    }
    kernel_.rope_pack(space_.elements(at_.d_q), space_.elements(at_.d_k), space_.elements(at_.d_v),
                      space_.floats(at_.rope), data<E>(sh.qkv), n_.head_dims(batch));
}

template <class E>
void FlatModel<E>::attention_backward(std::size_t i, const Weights& weights, const Shapes& sh, long batch) {
    const auto& l = sh.layers[i];
    const auto& w = matrices(weights).layers[i];
    const auto& g = gradient_views_.layers[i];
    const auto li = static_cast<long>(i);
    auto out = g.o.w;
    products_.mm(out, sh.d_cast_t, l.heads_out);
    bias_gradient(g.o_bias, sh.d_cast);
    auto d_heads = sh.d_heads;
    products_.mm(d_heads, sh.d_cast, w.o.w);
    heads_backward(l, sh, batch);
    out = g.qkv.w;
    products_.mm(out, sh.qkv_t, l.h1);
    bias_gradient(g.qkv_bias, sh.qkv);
    auto d_h = sh.d_h;
    products_.mm(d_h, sh.qkv, w.qkv.w);
    norm_backward(x_in(li), space_.float_slot(at_.inv1, li, 1), weights, offsets_.layers[i].norm1, batch * n_.t,
                  false);
}

template <class E>
void FlatModel<E>::embedding_backward(const TokenBatch& tokens) {
    const auto n = tokens.inputs.size();
    order_.resize(n);
    std::iota(order_.begin(), order_.end(), 0);
    const auto* ids = tokens.inputs.data();
    std::stable_sort(order_.begin(), order_.end(), [ids](auto a, auto b) { return ids[a] < ids[b]; });
    runs_.clear();
    for (std::size_t i = 0; i < n; ++i)
        if (i == 0 || ids[order_[i]] != ids[order_[i - 1]]) runs_.push_back(static_cast<std::int32_t>(i));
    runs_.push_back(static_cast<std::int32_t>(n));
    if (!config_.tie_word_embeddings) std::fill_n(gradient_, n_.vocab * n_.d, E{0});
    kernel_.embed_backward(space_.floats(at_.dx), ids, order_.data(), runs_.data(),
                           static_cast<long>(runs_.size()) - 1, gradient_, n_.d);
}

template <class E>
void FlatModel<E>::backward(const Weights& weights, const TokenBatch& tokens, const Shapes& sh) {
    const auto batch = static_cast<long>(tokens.batch);
    auto out = gradient_views_.head.w;
    products_.mm(out, sh.logits_t, sh.last);
    auto d_h = sh.d_h;
    products_.mm(d_h, sh.logits, matrices(weights).head.w);
    norm_backward(x_in(n_.layers), space_.floats(at_.inv_last), weights, offsets_.norm, batch * n_.t, true);
    const std::size_t layers = offsets_.layers.size();
    for (std::size_t i = layers; i-- > 0;) {
        // The last layer's activations are still there.
        if (!at_.keep_layers && i + 1 < layers)
            layer_forward(i, x_in(static_cast<long>(i)), nullptr, weights, sh, batch);
        mlp_backward(i, weights, sh, batch);
        attention_backward(i, weights, sh, batch);
    }
    embedding_backward(tokens);
}

template <class E>
double FlatModel<E>::loss_and_gradient(const Weights& weights, const TokenBatch& tokens) {
    SKERRY_ASSERT(plan_.training);
    c10::InferenceMode guard;
    accumulated_ = tokens.batch > plan_.micro_batch;
    SKERRY_ASSERT(!accumulated_ || plan_.accumulate);
    const float mean = 1.F / static_cast<float>(std::max<std::uint64_t>(1, tokens.target_count));
    double sum = 0;
    bool first = true;
    in_passes(tokens, [&](const TokenBatch& part) {
        const Shapes& sh = shapes(part.batch);
        forward(weights, part, sh);
        sum += kernel_.cross_entropy(data<E>(sh.logits), part.targets.data(), space_.floats(at_.row_loss),
                                     static_cast<long>(part.batch) * n_.t, n_.vocab, mean, true);
        backward(weights, part, sh);
        if (accumulated_)
            kernel_.accumulate(gradient_, accumulator_, static_cast<long>(table_.elements), first);
        first = false;
    });
    return sum;
}

template <class E>
double FlatModel<E>::loss(const Weights& weights, const TokenBatch& tokens) {
    c10::InferenceMode guard;
    double sum = 0;
    in_passes(tokens, [&](const TokenBatch& part) {
        const Shapes& sh = shapes(part.batch);
        forward(weights, part, sh);
        sum += kernel_.cross_entropy(data<E>(sh.logits), part.targets.data(), space_.floats(at_.row_loss),
                                     static_cast<long>(part.batch) * n_.t, n_.vocab, 1.F, false);
    });
    return sum;
}

template <class E>
void FlatModel<E>::logits(const Weights& weights, const TokenBatch& tokens, std::uint32_t at,
                          std::span<float> out) {
    c10::InferenceMode guard;
    forward(weights, tokens, shapes(tokens.batch));
    const E* row = space_.elements(at_.logits) + static_cast<long>(at) * n_.vocab;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = as_float(row[i]);
}

template <class E>
double FlatModel<E>::gradient_sum_squares() const {
    const auto n = static_cast<long>(table_.elements);
    return accumulated_ ? kernel_set<float>().sum_squares(accumulator_, n) : kernel_.sum_squares(gradient_, n);
}

template <class E>
void FlatModel<E>::adamw(float* p, float* m, float* v, Bf16* shadow, std::uint64_t lo, std::uint64_t hi,
                         const AdamW& how) const {
    const auto n = static_cast<long>(hi - lo);
    Bf16* copy = shadow ? shadow + lo : nullptr;
    if (accumulated_)
        kernel_set<float>().adamw(p + lo, m + lo, v + lo, accumulator_ + lo, copy, n, how);
    else
        kernel_.adamw(p + lo, m + lo, v + lo, gradient_ + lo, copy, n, how);
}

template <class E>
void FlatModel<E>::muon_momentum(float* m, std::uint64_t lo, std::span<float> out, float one_minus_beta,
                                 float scale) const {
    const auto n = static_cast<long>(out.size());
    if (accumulated_)
        kernel_set<float>().muon_momentum(m, accumulator_ + lo, out.data(), n, one_minus_beta, scale);
    else
        kernel_.muon_momentum(m, gradient_ + lo, out.data(), n, one_minus_beta, scale);
}

template <class E>
void FlatModel<E>::copy_gradient(std::span<float> out) const {
    SKERRY_ASSERT(out.size() == table_.elements);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = accumulated_ ? accumulator_[i] : as_float(gradient_[i]);
}

}  // namespace

std::unique_ptr<Model> make_model(const ModelConfig& config, const WorkspacePlan& plan) {
    if (plan.bf16) return std::make_unique<FlatModel<Bf16>>(config, plan);
    return std::make_unique<FlatModel<float>>(config, plan);
}

}  // namespace skerry::node
