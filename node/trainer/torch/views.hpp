#pragma once
// Tensors that are views into flat vectors and the workspace, made once. Internal to the model.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

#include "node/model_folder/tensor_table.hpp"
#include "node/trainer/torch/workspace.hpp"

namespace skerry::node {

/// One stored number. (The kernels have their own, compiled for each instruction set.)
inline float as_float(float v) { return v; }
inline float as_float(Bf16 v) {
    const auto u = static_cast<std::uint32_t>(v) << 16;
    float f;
    std::memcpy(&f, &u, sizeof f);
    return f;
}

template <class E>
at::Tensor view(const E* p, std::initializer_list<long> sizes);

/// A matrix and its transpose.
struct Matrix {
    at::Tensor w, wt;
    Matrix() = default;
    explicit Matrix(at::Tensor m) : w(std::move(m)), wt(w.t()) {}
};

struct LayerMatrices {
    Matrix qkv, o, gate_up, down;
    at::Tensor qkv_bias, o_bias;  ///< undefined where the model has none
};

/// Views of the four matrices of each layer and of the head, at one base address.
struct MatrixViews {
    std::vector<LayerMatrices> layers;
    Matrix head;
};

/// First elements in the flat vector of what one layer has; 0 for a bias that it does not have.
struct LayerOffsets {
    std::uint64_t norm1, qkv, qkv_bias, o, o_bias, norm2, gate_up, down;
};

struct ModelOffsets {
    std::vector<LayerOffsets> layers;
    std::uint64_t norm = 0, head = 0;
};

ModelOffsets make_offsets(const ModelConfig& config, const TensorTable& table);

template <class E>
MatrixViews make_matrix_views(const Dimensions& size, const ModelOffsets& offsets, const E* base);

/// out = x w (+ bias on each row, where there is one)
void product(at::Tensor out, const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);

/// [positions, head_dim]: cosines, then sines, of the rotary embedding's angles.
void fill_rope(const ModelConfig& config, long positions, float* out);

/// A contiguous stack [groups, rows, columns] cut into blocks of groups, each with its transpose.
struct Stack {
    std::vector<at::Tensor> block, transposed;
};

/// Views for one layer's kept activations (batch sequences).
struct LayerShapes {
    at::Tensor h1, heads_out, h2, gate_up;
    Stack q, k, v, p;
};

struct Shapes {
    std::vector<LayerShapes> layers;
    at::Tensor qkv, qkv_t, y, s, last, logits, logits_t, d_h, d_cast, d_cast_t, d_heads;
    Stack out, d_out, d_p, d_q, d_k, d_v;
};

/// The workspace as `batch` sequences see it.
template <class E>
Shapes make_shapes(const Workspace<E>& space, bool training, long batch);

}  // namespace skerry::node
