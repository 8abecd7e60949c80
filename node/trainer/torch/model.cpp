#include "node/trainer/torch/model.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "node/trainer/torch/buffers.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {
namespace {

template <class E>
constexpr at::ScalarType kScalar = std::is_same_v<E, float> ? at::kFloat : at::kBFloat16;

template <class E>
at::Tensor view(const E* p, std::initializer_list<long> sizes) {
    const std::vector<int64_t> shape(sizes);
    return at::from_blob(const_cast<E*>(p), shape, at::TensorOptions().dtype(kScalar<E>));
}

/// A matrix and its transpose, made once.
struct Matrix {
    at::Tensor w, wt;
    Matrix() = default;
    explicit Matrix(at::Tensor m) : w(std::move(m)), wt(w.t()) {}
};

struct LayerMatrices {
    Matrix qkv, o, gate_up, down;
};

/// Views of the four matrices of each layer and of the head, at one base address.
struct MatrixViews {
    std::vector<LayerMatrices> layers;
    Matrix head;
};

struct LayerOffsets {
    std::uint64_t norm1, qkv, o, norm2, gate_up, down;
};

/// A contiguous stack [groups, rows, columns] cut into blocks of groups, each with its transpose.
struct Stack {
    std::vector<at::Tensor> block, transposed;
};

/// Views for one layer's kept activations (batch sequences).
struct LayerShapes {
    at::Tensor h1, heads_out, h2, gate_up;
    at::Tensor heads_out_t;
    Stack q, k, v, p;
};

struct Shapes {
    std::vector<LayerShapes> layers;
    at::Tensor qkv, qkv_t, y, y_t, s, s_t, last, logits, logits_t, d_h, d_cast, d_cast_t, gate_up_t, d_heads;
    Stack out, d_out, d_p, d_q, d_k, d_v;
};

template <class E>
class FlatModel final : public Model {
  public:
    FlatModel(const ModelConfig& config, const ModelOptions& options);

    double loss_and_gradient(const Weights& weights, const TokenBatch& tokens) override;
    double loss(const Weights& weights, const TokenBatch& tokens) override;
    void logits(const Weights& weights, const TokenBatch& tokens, std::uint32_t at,
                std::span<float> out) override;
    double gradient_sum_squares() const override {
        return kernel_.sum_squares(gradient_.data(), static_cast<long>(table_.elements));
    }
    void adamw(float* p, float* m, float* v, Bf16* shadow, std::uint64_t lo, std::uint64_t hi,
               const AdamW& how) const override {
        kernel_.adamw(p + lo, m + lo, v + lo, gradient_.data() + lo, shadow ? shadow + lo : nullptr,
                      static_cast<long>(hi - lo), how);
    }
    void copy_gradient(std::span<float> out) const override;

  private:
    void allocate();
    void make_offsets();
    void make_rope();
    MatrixViews make_matrices(const E* base) const;
    const MatrixViews& matrices(const Weights& weights);
    Stack stack(E* base, long groups, long rows, long columns, bool shared_block) const;
    const Shapes& shapes(std::uint32_t batch);
    Shapes make_shapes(long batch);
    LayerShapes make_layer_shapes(long l, long batch);

    void forward(const Weights& weights, const TokenBatch& tokens, const Shapes& sh);
    void attention_forward(const LayerShapes& l, const Shapes& sh, long batch);
    void backward(const Weights& weights, const TokenBatch& tokens, const Shapes& sh);
    void mlp_backward(std::size_t i, const Weights& weights, const Shapes& sh, long batch);
    void attention_backward(std::size_t i, const Weights& weights, const Shapes& sh, long batch);
    void head_views_backward(const LayerShapes& l, const Shapes& sh, long batch);
    void embedding_backward(const TokenBatch& tokens);

    HeadDims dims(long batch) const { return {batch, t_, heads_, kv_, hd_}; }
    /// Slot of layer l in a buffer of per-layer activations; one slot for all when nothing is kept.
    template <class T>
    T* slot(const Buffer<T>& b, long l, long per_token) const {
        return b.data() + (options_.training ? l : 0) * max_rows_ * per_token;
    }

    ModelConfig config_;
    ModelOptions options_;
    TensorTable table_;
    const KernelSet<E>& kernel_ = kernel_set<E>();
    long t_, d_, f_, vocab_, heads_, kv_, hd_, layers_, group_, max_rows_;
    float scale_, eps_;
    bool keep_attention_ = true;
    long block_ = 0;  ///< (sequence, key head) groups handled at a time

    std::vector<LayerOffsets> offsets_;
    std::uint64_t norm_offset_ = 0, head_offset_ = 0;

    Buffer<E> gradient_, h1_, q_, k_, v_, p_, heads_out_, h2_, gate_up_;
    Buffer<float> x_in_, x_mid_, inv1_, inv2_, inv_last_, dx_, scratch_, rope_, row_loss_;
    Buffer<E> qkv_, y_, s_, out_, last_, logits_, d_h_, d_cast_, d_out_, d_p_, d_q_, d_k_, d_v_;
    std::vector<std::int32_t> order_, runs_;

    std::vector<std::pair<const E*, MatrixViews>> views_;
    MatrixViews gradient_views_;
    std::map<std::uint32_t, Shapes> shapes_;
};

template <class E>
FlatModel<E>::FlatModel(const ModelConfig& config, const ModelOptions& options)
    : config_(config), options_(options), table_(make_tensor_table(config)) {
    t_ = options.seq;
    d_ = config.hidden_size;
    f_ = config.intermediate_size;
    vocab_ = config.vocab_size;
    heads_ = config.num_attention_heads;
    kv_ = config.num_key_value_heads;
    hd_ = config.head_dim;
    layers_ = config.num_hidden_layers;
    group_ = heads_ / kv_;
    max_rows_ = static_cast<long>(options.batch) * t_;
    scale_ = 1.F / std::sqrt(static_cast<float>(hd_));
    eps_ = static_cast<float>(config.rms_norm_eps);
    c10::InferenceMode guard;
    make_offsets();
    allocate();
    make_rope();
    if (options_.training) gradient_views_ = make_matrices(gradient_.data());
}

template <class E>
void FlatModel<E>::make_offsets() {
    const auto& t = table_.tensors;
    for (std::size_t i = 0; i < static_cast<std::size_t>(layers_); ++i) {
        const std::size_t b = 1 + 9 * i;
        offsets_.push_back({t[b].offset, t[b + 1].offset, t[b + 4].offset, t[b + 5].offset,
                            t[b + 6].offset, t[b + 8].offset});
    }
    norm_offset_ = t[1 + 9 * static_cast<std::size_t>(layers_)].offset;
    head_offset_ = config_.tie_word_embeddings ? 0 : t.back().offset;
}

template <class E>
void FlatModel<E>::allocate() {
    const auto n = static_cast<std::size_t>(max_rows_);
    const auto slots = static_cast<std::size_t>(options_.training ? layers_ : 1);
    const auto size = [](long v) { return static_cast<std::size_t>(v); };
    const long groups = options_.batch * kv_;
    const long per_group = group_ * t_ * t_;
    const auto all = size(groups) * size(per_group) * slots * sizeof(E);
    keep_attention_ = options_.training && all <= options_.keep_attention_bytes;
    const long fit = static_cast<long>(options_.attention_block_bytes / (size(per_group) * sizeof(E)));
    block_ = keep_attention_ ? groups : std::clamp(fit, 1L, groups);

    x_in_ = Buffer<float>(n * size(d_) * (options_.training ? slots + 1 : 1));
    x_mid_ = options_.training ? Buffer<float>(n * size(d_) * slots) : Buffer<float>();
    inv1_ = Buffer<float>(n * slots);
    inv2_ = Buffer<float>(n * slots);
    inv_last_ = Buffer<float>(n);
    row_loss_ = Buffer<float>(n);
    h1_ = Buffer<E>(n * size(d_) * slots);
    h2_ = Buffer<E>(n * size(d_) * slots);
    q_ = Buffer<E>(n * size(heads_ * hd_) * slots);
    k_ = Buffer<E>(n * size(kv_ * hd_) * slots);
    v_ = Buffer<E>(n * size(kv_ * hd_) * slots);
    heads_out_ = Buffer<E>(n * size(heads_ * hd_) * slots);
    gate_up_ = Buffer<E>(n * size(2 * f_) * slots);
    p_ = Buffer<E>(size(block_ * per_group) * (keep_attention_ ? slots : 1));
    qkv_ = Buffer<E>(n * size((heads_ + 2 * kv_) * hd_));
    y_ = Buffer<E>(n * size(d_));
    s_ = Buffer<E>(n * size(f_));
    out_ = Buffer<E>(n * size(heads_ * hd_));
    last_ = Buffer<E>(n * size(d_));
    logits_ = Buffer<E>(n * size(vocab_));
    if (!options_.training) return;

    gradient_ = Buffer<E>(table_.elements);
    dx_ = Buffer<float>(n * size(d_));
    scratch_ = Buffer<float>(size(d_) * options_.threads);
    d_h_ = Buffer<E>(n * size(std::max(d_, heads_ * hd_)));
    if (!std::is_same_v<E, float>) d_cast_ = Buffer<E>(n * size(d_));
    d_out_ = Buffer<E>(n * size(heads_ * hd_));
    d_p_ = Buffer<E>(size(block_ * per_group));
    d_q_ = Buffer<E>(n * size(heads_ * hd_));
    d_k_ = Buffer<E>(n * size(kv_ * hd_));
    d_v_ = Buffer<E>(n * size(kv_ * hd_));
}

template <class E>
void FlatModel<E>::make_rope() {
    rope_ = Buffer<float>(static_cast<std::size_t>(t_ * hd_));
    const long half = hd_ / 2;
    for (long t = 0; t < t_; ++t) {
        for (long i = 0; i < half; ++i) {
            const double exponent = static_cast<double>(2 * i) / static_cast<double>(hd_);
            const auto inverse = static_cast<float>(1.0 / std::pow(config_.rope_theta, exponent));
            const float angle = static_cast<float>(t) * inverse;
            rope_.data()[t * hd_ + i] = std::cos(angle);
            rope_.data()[t * hd_ + half + i] = std::sin(angle);
        }
    }
}

template <class E>
MatrixViews FlatModel<E>::make_matrices(const E* base) const {
    MatrixViews out;
    for (const auto& o : offsets_) {
        LayerMatrices l;
        l.qkv = Matrix(view(base + o.qkv, {(heads_ + 2 * kv_) * hd_, d_}));
        l.o = Matrix(view(base + o.o, {d_, heads_ * hd_}));
        l.gate_up = Matrix(view(base + o.gate_up, {2 * f_, d_}));
        l.down = Matrix(view(base + o.down, {d_, f_}));
        out.layers.push_back(std::move(l));
    }
    out.head = Matrix(view(base + head_offset_, {vocab_, d_}));
    return out;
}

template <class E>
const MatrixViews& FlatModel<E>::matrices(const Weights& weights) {
    const E* base;
    if constexpr (std::is_same_v<E, float>)
        base = weights.master;
    else
        base = weights.shadow;
    SKERRY_ASSERT(base != nullptr);
    for (const auto& [known, views] : views_)
        if (known == base) return views;
    if (views_.size() > 4) views_.clear();  // regions come and go; their views cost nothing to make again
    views_.emplace_back(base, make_matrices(base));
    return views_.back().second;
}

template <class E>
Stack FlatModel<E>::stack(E* base, long groups, long rows, long columns, bool shared_block) const {
    Stack out;
    for (long g = 0; g < groups; g += block_) {
        const long n = std::min(block_, groups - g);
        auto block = view(base + (shared_block ? 0 : g * rows * columns), {n, rows, columns});
        out.transposed.push_back(block.transpose(1, 2));
        out.block.push_back(std::move(block));
    }
    return out;
}

template <class E>
LayerShapes FlatModel<E>::make_layer_shapes(long l, long batch) {
    const long n = batch * t_;
    const long groups = batch * kv_;
    LayerShapes s;
    s.h1 = view(slot(h1_, l, d_), {n, d_});
    s.h2 = view(slot(h2_, l, d_), {n, d_});
    s.heads_out = view(slot(heads_out_, l, heads_ * hd_), {n, heads_ * hd_});
    s.gate_up = view(slot(gate_up_, l, 2 * f_), {n, 2 * f_});
    s.q = stack(slot(q_, l, heads_ * hd_), groups, group_ * t_, hd_, false);
    s.k = stack(slot(k_, l, kv_ * hd_), groups, t_, hd_, false);
    s.v = stack(slot(v_, l, kv_ * hd_), groups, t_, hd_, false);
    E* p = p_.data() + (keep_attention_ ? l * block_ * group_ * t_ * t_ : 0);
    s.p = stack(p, groups, group_ * t_, t_, !keep_attention_);
    return s;
}

template <class E>
Shapes FlatModel<E>::make_shapes(long batch) {
    const long n = batch * t_;
    const long groups = batch * kv_;
    Shapes s;
    for (long l = 0; l < layers_; ++l) s.layers.push_back(make_layer_shapes(l, batch));
    s.qkv = view(qkv_.data(), {n, (heads_ + 2 * kv_) * hd_});
    s.y = view(y_.data(), {n, d_});
    s.s = view(s_.data(), {n, f_});
    s.last = view(last_.data(), {n, d_});
    s.logits = view(logits_.data(), {n, vocab_});
    s.out = stack(out_.data(), groups, group_ * t_, hd_, false);
    if (!options_.training) return s;

    s.qkv_t = s.qkv.t();
    s.logits_t = s.logits.t();
    s.d_h = view(d_h_.data(), {n, d_});
    s.d_heads = view(d_h_.data(), {n, heads_ * hd_});
    if constexpr (std::is_same_v<E, float>)
        s.d_cast = view(dx_.data(), {n, d_});
    else
        s.d_cast = view(d_cast_.data(), {n, d_});
    s.d_cast_t = s.d_cast.t();
    s.d_out = stack(d_out_.data(), groups, group_ * t_, hd_, false);
    s.d_p = stack(d_p_.data(), groups, group_ * t_, t_, true);
    s.d_q = stack(d_q_.data(), groups, group_ * t_, hd_, false);
    s.d_k = stack(d_k_.data(), groups, t_, hd_, false);
    s.d_v = stack(d_v_.data(), groups, t_, hd_, false);
    return s;
}

template <class E>
const Shapes& FlatModel<E>::shapes(std::uint32_t batch) {
    SKERRY_ASSERT(batch >= 1 && batch <= options_.batch);
    auto found = shapes_.find(batch);
    if (found == shapes_.end()) found = shapes_.emplace(batch, make_shapes(batch)).first;
    return found->second;
}

template <class E>
void FlatModel<E>::attention_forward(const LayerShapes& l, const Shapes& sh, long batch) {
    kernel_.rope_unpack(static_cast<E*>(sh.qkv.data_ptr()), rope_.data(),
                        static_cast<E*>(l.q.block[0].data_ptr()), static_cast<E*>(l.k.block[0].data_ptr()),
                        static_cast<E*>(l.v.block[0].data_ptr()), dims(batch));
    for (std::size_t b = 0; b < l.q.block.size(); ++b) {
        auto p = l.p.block[b];
        auto out = sh.out.block[b];
        at::bmm_out(p, l.q.block[b], l.k.transposed[b]);
        kernel_.softmax_causal(static_cast<E*>(p.data_ptr()), scale_, p.size(0) * p.size(1), t_);
        at::bmm_out(out, p, l.v.block[b]);
    }
    kernel_.heads_pack(out_.data(), static_cast<E*>(l.heads_out.data_ptr()), dims(batch));
}

template <class E>
void FlatModel<E>::forward(const Weights& weights, const TokenBatch& tokens, const Shapes& sh) {
    const MatrixViews& w = matrices(weights);
    const long n = static_cast<long>(tokens.batch) * t_;
    const float* master = weights.master;
    kernel_.embed(master, tokens.inputs.data(), x_in_.data(), n, d_);
    const E* add = nullptr;  // what the residual stream still has to receive
    const float* x = x_in_.data();
    for (long i = 0; i < layers_; ++i) {
        const auto& o = offsets_[static_cast<std::size_t>(i)];
        const auto& l = sh.layers[static_cast<std::size_t>(i)];
        const auto& m = w.layers[static_cast<std::size_t>(i)];
        float* in = slot(x_in_, i, d_);
        kernel_.rms_forward(x, add, in, master + o.norm1, static_cast<E*>(l.h1.data_ptr()),
                            slot(inv1_, i, 1), n, d_, eps_);
        auto qkv = sh.qkv;
        at::mm_out(qkv, l.h1, m.qkv.wt);
        attention_forward(l, sh, static_cast<long>(tokens.batch));
        auto y = sh.y;
        at::mm_out(y, l.heads_out, m.o.wt);
        float* mid = options_.training ? slot(x_mid_, i, d_) : in;
        kernel_.rms_forward(in, y_.data(), mid, master + o.norm2, static_cast<E*>(l.h2.data_ptr()),
                            slot(inv2_, i, 1), n, d_, eps_);
        auto gate_up = l.gate_up;
        at::mm_out(gate_up, l.h2, m.gate_up.wt);
        kernel_.swiglu(static_cast<E*>(gate_up.data_ptr()), s_.data(), n, f_);
        auto s = sh.s;
        at::mm_out(y, s, m.down.wt);
        add = y_.data();
        x = mid;
    }
    kernel_.rms_forward(x, add, slot(x_in_, layers_, d_), master + norm_offset_, last_.data(),
                        inv_last_.data(), n, d_, eps_);
    auto logits = sh.logits;
    at::mm_out(logits, sh.last, w.head.wt);
}

template <class E>
void FlatModel<E>::mlp_backward(std::size_t i, const Weights& weights, const Shapes& sh, long batch) {
    const auto& l = sh.layers[i];
    const auto& w = matrices(weights).layers[i];
    const auto& g = gradient_views_.layers[i];
    const long n = batch * t_;
    const auto li = static_cast<long>(i);
    auto s = sh.s;
    at::mm_out(s, sh.d_cast, w.down.w);
    kernel_.swiglu_backward(static_cast<E*>(l.gate_up.data_ptr()), s_.data(), n, f_);
    auto out = g.down.w;
    at::mm_out(out, sh.d_cast_t, s);
    out = g.gate_up.w;
    at::mm_out(out, l.gate_up.t(), l.h2);
    auto d_h = sh.d_h;
    at::mm_out(d_h, l.gate_up, w.gate_up.w);
    kernel_.rms_backward(d_h_.data(), slot(x_mid_, li, d_), slot(inv2_, li, 1),
                         weights.master + offsets_[i].norm2, dx_.data(), d_cast_.data(),
                         gradient_.data() + offsets_[i].norm2, scratch_.data(), n, d_, false);
}

template <class E>
void FlatModel<E>::head_views_backward(const LayerShapes& l, const Shapes& sh, long batch) {
    kernel_.heads_unpack(d_h_.data(), d_out_.data(), dims(batch));
    for (std::size_t b = 0; b < l.q.block.size(); ++b) {
        auto p = l.p.block[b];
        auto dp = sh.d_p.block[b];
        const long rows = p.size(0) * p.size(1);
        if (!keep_attention_) {
            at::bmm_out(p, l.q.block[b], l.k.transposed[b]);
            kernel_.softmax_causal(static_cast<E*>(p.data_ptr()), scale_, rows, t_);
        }
        auto dv = sh.d_v.block[b];
        auto dq = sh.d_q.block[b];
        auto dk = sh.d_k.block[b];
        at::bmm_out(dv, l.p.transposed[b], sh.d_out.block[b]);
        at::bmm_out(dp, sh.d_out.block[b], l.v.transposed[b]);
        kernel_.softmax_backward(static_cast<E*>(p.data_ptr()), static_cast<E*>(dp.data_ptr()), scale_, rows,
                                 t_);
        at::bmm_out(dq, dp, l.k.block[b]);
        at::bmm_out(dk, sh.d_p.transposed[b], l.q.block[b]);
    }
    kernel_.rope_pack(d_q_.data(), d_k_.data(), d_v_.data(), rope_.data(), qkv_.data(), dims(batch));
}

template <class E>
void FlatModel<E>::attention_backward(std::size_t i, const Weights& weights, const Shapes& sh, long batch) {
    const auto& l = sh.layers[i];
    const auto& w = matrices(weights).layers[i];
    const auto& g = gradient_views_.layers[i];
    const auto li = static_cast<long>(i);
    auto out = g.o.w;
    at::mm_out(out, sh.d_cast_t, l.heads_out);
    auto d_heads = sh.d_heads;
    at::mm_out(d_heads, sh.d_cast, w.o.w);
    head_views_backward(l, sh, batch);
    out = g.qkv.w;
    at::mm_out(out, sh.qkv_t, l.h1);
    auto d_h = sh.d_h;
    at::mm_out(d_h, sh.qkv, w.qkv.w);
    kernel_.rms_backward(d_h_.data(), slot(x_in_, li, d_), slot(inv1_, li, 1),
                         weights.master + offsets_[i].norm1, dx_.data(), d_cast_.data(),
                         gradient_.data() + offsets_[i].norm1, scratch_.data(), batch * t_, d_, false);
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
    if (!config_.tie_word_embeddings) std::fill_n(gradient_.data(), vocab_ * d_, E{0});
    kernel_.embed_backward(dx_.data(), ids, order_.data(), runs_.data(), static_cast<long>(runs_.size()) - 1,
                           gradient_.data(), d_);
}

template <class E>
void FlatModel<E>::backward(const Weights& weights, const TokenBatch& tokens, const Shapes& sh) {
    const auto batch = static_cast<long>(tokens.batch);
    auto out = gradient_views_.head.w;
    at::mm_out(out, sh.logits_t, sh.last);
    auto d_h = sh.d_h;
    at::mm_out(d_h, sh.logits, matrices(weights).head.w);
    kernel_.rms_backward(d_h_.data(), slot(x_in_, layers_, d_), inv_last_.data(), weights.master + norm_offset_,
                         dx_.data(), d_cast_.data(), gradient_.data() + norm_offset_, scratch_.data(),
                         batch * t_, d_, true);
    for (std::size_t i = offsets_.size(); i-- > 0;) {
        mlp_backward(i, weights, sh, batch);
        attention_backward(i, weights, sh, batch);
    }
    embedding_backward(tokens);
}

template <class E>
double FlatModel<E>::loss_and_gradient(const Weights& weights, const TokenBatch& tokens) {
    SKERRY_ASSERT(options_.training);
    c10::InferenceMode guard;
    const Shapes& sh = shapes(tokens.batch);
    const long n = static_cast<long>(tokens.batch) * t_;
    forward(weights, tokens, sh);
    const double sum = kernel_.cross_entropy(logits_.data(), tokens.targets.data(), row_loss_.data(), n, vocab_,
                                             1.F / static_cast<float>(n), true);
    backward(weights, tokens, sh);
    return sum;
}

template <class E>
double FlatModel<E>::loss(const Weights& weights, const TokenBatch& tokens) {
    c10::InferenceMode guard;
    const long n = static_cast<long>(tokens.batch) * t_;
    forward(weights, tokens, shapes(tokens.batch));
    return kernel_.cross_entropy(logits_.data(), tokens.targets.data(), row_loss_.data(), n, vocab_, 1.F, false);
}

inline float as_float(float v) { return v; }
inline float as_float(Bf16 v) {
    const auto u = static_cast<std::uint32_t>(v) << 16;
    float f;
    std::memcpy(&f, &u, sizeof f);
    return f;
}

template <class E>
void FlatModel<E>::logits(const Weights& weights, const TokenBatch& tokens, std::uint32_t at,
                          std::span<float> out) {
    c10::InferenceMode guard;
    forward(weights, tokens, shapes(tokens.batch));
    const E* row = logits_.data() + static_cast<long>(at) * vocab_;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = as_float(row[i]);
}

template <class E>
void FlatModel<E>::copy_gradient(std::span<float> out) const {
    SKERRY_ASSERT(out.size() == gradient_.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = as_float(gradient_.data()[i]);
}

}  // namespace

std::unique_ptr<Model> make_model(const ModelConfig& config, const ModelOptions& options) {
    if (options.bf16) return std::make_unique<FlatModel<Bf16>>(config, options);
    return std::make_unique<FlatModel<float>>(config, options);
}

}  // namespace skerry::node
