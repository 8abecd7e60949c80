#include "node/tokenizer/byte_tokenizer.hpp"

#include <nlohmann/json.hpp>

namespace skerry::node {
namespace {

using Json = nlohmann::ordered_json;

/// The character by which byte-level tokenizers write a byte: itself where it prints, else 256, 257, ... in order.
std::string character_of(unsigned byte) {
    const auto prints = [](unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255); };
    unsigned code = byte;
    if (!prints(byte)) {
        code = 256;
        for (unsigned b = 0; b < byte; ++b) code += !prints(b);
    }
    if (code < 128) return std::string(1, static_cast<char>(code));
    return {static_cast<char>(0xC0U | (code >> 6)), static_cast<char>(0x80U | (code & 63U))};
}

}  // namespace

std::string byte_tokenizer_json() {
    Json vocab;
    for (unsigned b = 0; b < 256; ++b) vocab[character_of(b)] = b;
    const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
    Json json;
    json["version"] = "1.0";
    json["truncation"] = nullptr;
    json["padding"] = nullptr;
    json["added_tokens"] = Json::array();
    json["normalizer"] = nullptr;
    json["pre_tokenizer"] = byte_level;
    json["post_processor"] = nullptr;
    json["decoder"] = byte_level;
    json["model"] = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false}, {"vocab", vocab},
                     {"merges", Json::array()}};
    return json.dump(1) + "\n";
}

std::string byte_tokenizer_config_json(unsigned max_positions) {
    Json json;
    json["tokenizer_class"] = "PreTrainedTokenizerFast";
    json["model_max_length"] = max_positions;
    json["clean_up_tokenization_spaces"] = false;
    return json.dump(1) + "\n";
}

}  // namespace skerry::node
