// Headers and indices of weight files, and model configs: ours and Hugging Face's.

#include "node/model_folder/hf_config.hpp"
#include "node/model_folder/weight_files.hpp"
#include "protocol/base/assert.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace skerry::test {

std::vector<Bytes> fuzz_samples() {
    std::vector<node::StoredTensor> tensors(2);
    tensors[0] = {"model.embed_tokens.weight", node::TensorType::f32, {4, 3}, 0, 12};
    tensors[1] = {"model.norm.weight", node::TensorType::f32, {3}, 0, 3};
    node::ModelConfig scaled;
    scaled.rope_scaling = {node::RopeType::llama3, 8.0, 1.0, 4.0, 64};
    std::vector<Bytes> out = {node::make_safetensors_header(tensors)};
    for (const std::string& text : {node::to_json(node::ModelConfig{}), node::to_json(scaled), node::hf_config_json(scaled, "", "float32"),
                                    std::string(R"({"metadata":{"total_size":8},"weight_map":{"a":"x.safetensors","b":"y.safetensors"}})")})
        out.emplace_back(text.begin(), text.end());
    return out;
}

void fuzz_one(ByteSpan input) {
    auto config = node::parse_model_config(as_text(input));
    if (config) {
        auto again = node::parse_model_config(node::to_json(*config));
        SKERRY_ASSERT(again && *again == *config);
    }
    auto foreign = node::parse_hf_config(as_text(input));
    if (foreign) {
        auto again = node::parse_hf_config(node::hf_config_json(*foreign, "", "float32"));
        SKERRY_ASSERT(again && *again == *foreign);
    }
    auto index = node::parse_weight_index(input);
    if (index)
        for (const auto& [tensor, file] : *index) SKERRY_ASSERT(!file.empty() && file[0] != '.' && file.find('/') == std::string::npos);
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
