// Headers of weight files, and model configs.

#include "node/model_folder/model_config.hpp"
#include "node/model_folder/safetensors.hpp"
#include "protocol/base/assert.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace skerry::test {

std::vector<Bytes> fuzz_samples() {
    std::vector<node::StoredTensor> tensors(2);
    tensors[0] = {"model.embed_tokens.weight", node::TensorType::f32, {4, 3}, 0, 12};
    tensors[1] = {"model.norm.weight", node::TensorType::f32, {3}, 0, 3};
    const std::string config = node::to_json(node::ModelConfig{});
    return {node::make_safetensors_header(tensors), Bytes(config.begin(), config.end())};
}

void fuzz_one(ByteSpan input) {
    auto config = node::parse_model_config(as_text(input));
    if (config) {
        auto again = node::parse_model_config(node::to_json(*config));
        SKERRY_ASSERT(again && *again == *config);
    }
    if (input.size() < 8) return;
    const std::uint64_t file = input.size() + 60;
    auto length = node::safetensors_header_bytes(input.first(8), file);
    if (length) SKERRY_ASSERT(*length <= file - 8);
    auto tensors = node::parse_safetensors_header(input.subspan(8), file);
    if (!tensors) return;
    std::uint64_t at = input.size();
    for (const auto& t : *tensors) {
        SKERRY_ASSERT(t.begin == at);
        at += t.elements * bytes_of(t.type);
    }
    SKERRY_ASSERT(at == file);
}

}  // namespace skerry::test
