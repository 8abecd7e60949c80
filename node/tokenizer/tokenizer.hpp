#pragma once
// A model folder's tokenizer: text to token ids and back, as the `tokenizers` package does it.

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "node/tokenizer/bpe.hpp"
#include "node/tokenizer/split_pattern.hpp"

namespace skerry::node {

/// Immutable once made; may be shared by threads. Texts are encoded by an Encoder (encoder.hpp).
class Tokenizer {
  public:
    /// Of the bytes of a tokenizer.json. Errors: data_invalid, too_large; see tokenizer_file.hpp.
    static Result<Tokenizer> parse(ByteSpan json);

    /// One more than the largest id, added tokens included.
    std::uint32_t vocab_size() const { return static_cast<std::uint32_t>(file_.tokens.size()); }
    /// What the template puts before and behind each text (Llama-3: <|begin_of_text|>).
    const TokenIds& before() const { return file_.before; }
    const TokenIds& after() const { return file_.after; }

    /// The id of an added token, by its text.
    std::optional<std::uint32_t> added_token(std::string_view content) const;

    /// The bytes of `ids`, added tokens in plain; without special ones where `skip_special`. Not always UTF-8: a character can be
    /// spread over tokens. Errors: data_invalid: an id that is no token's.
    Result<std::string> decode(std::span<const std::uint32_t> ids, bool skip_special) const;

  private:
    friend class Encoder;
    Tokenizer(TokenizerFile file, std::vector<SplitPattern> patterns);

    TokenizerFile file_;
    std::vector<SplitPattern> patterns_;
    AddedTrie raw_, normalized_;  ///< looked for before and after normalising
    std::vector<bool> special_;   ///< by id
    std::unique_ptr<const BpeTable> bpe_;
};

/// tokenizer.json of a folder, or a file of that kind itself: its bytes. Errors: not_found, too_large, io_error.
Result<std::string> read_tokenizer_json(const std::filesystem::path& folder_or_file);

}  // namespace skerry::node
