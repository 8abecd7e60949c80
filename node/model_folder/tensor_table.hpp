#pragma once
// The canonical order of a model's weights in the flat vector (docs/trainer-protocol.md, section 6). Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "node/model_folder/model_config.hpp"

namespace skerry::node {

enum class TensorKind {
    normal,  ///< starts as a normal of deviation `sigma`; weight decay applies
    ones,    ///< a norm weight: starts as 1; no weight decay
    zeros,   ///< a bias: starts as 0; no weight decay
};

struct TensorInfo {
    std::string name;                  ///< Hugging Face's
    std::vector<std::uint64_t> shape;  ///< [out, in] or [n], row-major
    std::uint64_t offset = 0;          ///< first element in the flat vector
    std::uint64_t elements = 0;
    TensorKind kind = TensorKind::normal;
    double sigma = 0;        ///< of the initial weights; 0 for `ones` and `zeros`
    float init_scale = 0.F;  ///< `c_t` of S_0: sigma * sqrt(3) / 2^24, rounded to float once; else 0
};

struct TensorTable {
    std::vector<TensorInfo> tensors;  ///< ascending offset, no gaps
    std::uint64_t elements = 0;       ///< P, length of the flat vector
};

/// `config` has passed `check`.
TensorTable make_tensor_table(const ModelConfig& config);

}  // namespace skerry::node
