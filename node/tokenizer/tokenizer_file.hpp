#pragma once
// tokenizer.json of the byte-level BPE kind (GPT-2, Llama-3, Qwen): bytes to values, and what is not supported refused by name.

#include <cstdint>
#include <string>
#include <vector>

#include "node/tokenizer/added_tokens.hpp"
#include "protocol/base/bytes.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

/// Two neighbours that become one. The earlier in the list, the sooner.
struct Merge {
    std::uint32_t left = 0, right = 0, made = 0;
};

struct TokenizerFile {
    struct Token {
        std::string bytes;         ///< what it decodes to
        bool known = false;        ///< the id exists
        bool of_bytes = false;     ///< of the model's vocabulary, and written in the byte-level alphabet
    };
    std::vector<Token> tokens;     ///< by id; its size is the vocabulary's
    std::vector<Merge> merges;
    std::vector<AddedToken> added;
    std::vector<std::string> patterns;         ///< split patterns, the outermost first, as the file has them
    std::vector<std::uint32_t> before, after;  ///< what the template puts around a text
    bool nfc = false;
    bool prefix_space = false;  ///< a space before a text that begins with none
    bool ignore_merges = false; ///< a piece that is a token as a whole is not merged
};

/// Pure and safe on foreign bytes.
///
/// Supported: model BPE over a vocabulary with all 256 byte symbols, merges as "a b" or ["a", "b"], ignore_merges; normalizer
/// NFC or none; pre_tokenizer ByteLevel, or a Sequence of Split (Isolated) with ByteLevel last; post_processor ByteLevel,
/// TemplateProcessing or a Sequence of them; decoder ByteLevel; added tokens with lstrip, rstrip, normalized, special.
/// `truncation` and `padding` are for batches and do not count.
///
/// Errors: data_invalid, naming the part that is not supported or the place that is wrong; too_large.
Result<TokenizerFile> parse_tokenizer_file(ByteSpan json);

}  // namespace skerry::node
