#pragma once
// A small tokenizer.json with every supported part, for tests to change.

#include <nlohmann/json.hpp>
#include <string>

#include "node/tokenizer/byte_level.hpp"
#include "node/tokenizer/utf8.hpp"

namespace skerry::test {

/// Ids 0 to 255 are the bytes, then one for each merge; then <bos> 262, <pad> 263 (lstrip), <r> 264 (rstrip, normalized), "Å" 265
/// (normalized). NFC; words and the rest as splits; <bos> before each text.
inline nlohmann::json sample_tokenizer() {
    using Json = nlohmann::json;
    Json vocab = Json::object(), merges = Json::array();
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::string symbol;
        node::append_character(node::byte_characters()[byte], symbol);
        vocab[symbol] = byte;
    }
    std::uint32_t next = 256;
    for (const auto& [left, right] : {std::pair("t", "h"), {"th", "e"}, {"\u0120", "the"}, {"a", "a"}, {"aa", "a"}, {"h", "e"}}) {
        vocab[std::string(left) + right] = next++;
        merges.push_back({left, right});
    }
    const auto added = [&](const char* content, bool special, bool left, bool right, bool normalized) {
        return Json{{"id", next++}, {"content", content}, {"single_word", false}, {"lstrip", left}, {"rstrip", right},
                    {"normalized", normalized}, {"special", special}};
    };
    Json tokens = Json::array();
    tokens.push_back(added("<bos>", true, false, false, false));
    tokens.push_back(added("<pad>", true, true, false, false));
    tokens.push_back(added("<r>", false, false, true, true));
    tokens.push_back(added("\u212b", false, false, false, true));
    const Json split = {{"type", "Split"}, {"pattern", {{"Regex", R"( ?\p{L}+|\s+(?!\S)|\s+)"}}}, {"behavior", "Isolated"}, {"invert", false}};
    const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
    return {{"version", "1.0"},
            {"added_tokens", tokens},
            {"normalizer", {{"type", "NFC"}}},
            {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}},
            {"post_processor",
             {{"type", "TemplateProcessing"},
              {"single", {{{"SpecialToken", {{"id", "<bos>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
              {"special_tokens", {{"<bos>", {{"id", "<bos>"}, {"ids", {262}}, {"tokens", {"<bos>"}}}}}}}},
            {"decoder", bytes},
            {"model", {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false},
                       {"vocab", vocab}, {"merges", merges}}}};
}

}  // namespace skerry::test
