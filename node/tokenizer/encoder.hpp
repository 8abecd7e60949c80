#pragma once
// Text to tokens, in parts of any size: what is not decided yet waits for the next part.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "node/tokenizer/tokenizer.hpp"

namespace skerry::node {

/// Encodes one text after another. Each stage hands on what is decided and keeps the rest: whole characters; added tokens of
/// the text as it is; normalised text; added tokens of that; split patterns; merges. So equal texts give equal tokens
/// however they are cut, and memory does not grow with the text. Not thread-safe.
class Encoder {
  public:
    /// `tokenizer` outlives this.
    explicit Encoder(const Tokenizer& tokenizer);

    /// Takes a part of a text and appends the tokens that are sure by now to `out`; with `last` the text ends and all are. The
    /// template's tokens are not among them.
    ///
    /// Errors: data_invalid (not UTF-8, with the place; a piece over kMaxPieceBytes; too many combining marks;
    /// a pattern beyond its limits). The text is given up then; the next part begins a new one.
    Result<void> feed(std::string_view part, bool last, TokenIds& out);

    /// A whole text. Errors: as feed.
    Result<TokenIds> encode(std::string_view text);

  private:
    /// Text that a stage keeps until it is told more, and whether a segment is under way in it.
    struct Stage {
        std::string held;
        bool open = false;
    };
    Result<void> take_raw(std::string_view part, bool last);
    Result<void> take_to_normalize(std::string_view part, bool last);
    Result<void> take_normalized(std::string_view part, bool last);
    Result<void> take_to_split(std::string_view part, bool last);

    /// Runs `use` over what `stage` held and `part`; `use` says how much of it is done with.
    template <class Use>
    Result<void> run(Stage& stage, std::string_view part, bool last, Use use);
    /// Finds the added tokens of one trie and hands the text between them on.
    using Next = Result<void> (Encoder::*)(std::string_view, bool);
    Result<std::size_t> scan(const AddedTrie& trie, Stage& after, Next next, std::string_view text, bool last);
    Result<std::size_t> split_open(std::string_view text, bool last);
    /// A text that is whole, by the patterns from `level` on.
    Result<void> split(std::string_view text, std::size_t level);
    Result<void> piece(std::string_view text);
    void reset();

    const Tokenizer& tokenizer_;
    BpeEncoder bpe_;
    std::vector<Matcher> matchers_;
    Stage characters_, raw_, to_normalize_, normalized_, to_split_;
    std::uint64_t bytes_ = 0;  ///< of the text so far
    TokenIds* out_ = nullptr;
};

}  // namespace skerry::node
