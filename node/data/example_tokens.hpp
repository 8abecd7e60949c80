#pragma once
// An example of instruction data to tokens that say which of them are targets (docs/data.md).

#include <memory>
#include <optional>
#include <string>

#include "node/data/examples.hpp"
#include "node/tokenizer/encoder.hpp"

namespace skerry::node {

enum class TemplateKind { plain, chatml, llama3 };
const char* to_name(TemplateKind kind);
std::optional<TemplateKind> template_of(std::string_view name);

struct TemplateChoice {
    std::string name;       ///< plain, chatml or llama3; empty: by the tokenizer's added tokens
    std::string separator;  ///< an added token that ends a completion; empty: found among the added tokens
    bool train_on_all = false;  ///< every token of an example but its first is a target
};

/// The end of a completion where tokens are bytes: no text holds it.
inline constexpr std::uint32_t kByteEnd = 0;

/// Ends that models of these families know, as far as `tokenizer` has them: where generated text stops.
std::vector<std::uint32_t> end_tokens(const Tokenizer& tokenizer);

/// Not thread-safe.
class ExampleTokens {
  public:
    /// `tokenizer` (null: tokens are bytes) outlives this. Errors: usage: the template's tokens are not there, or nothing that could
    /// end a completion.
    static Result<ExampleTokens> make(const Tokenizer* tokenizer, const TemplateChoice& choice);

    /// The tokens of one example, those that are no target with kNoTarget (token_shard.hpp); the first never is one.
    /// Errors: data_invalid (not UTF-8, a piece that is too long).
    Result<TokenIds> encode(const ExampleText& example);

    /// The tokens after which the model speaks: of a prompt, or with `chat` of one user message and the assistant's header.
    Result<TokenIds> prompt(const std::string& text, bool chat);

    /// For `prompt` alone, which needs no end.
    static ExampleTokens for_prompts(const Tokenizer* tokenizer) { return {tokenizer, TemplateKind::plain, false, 0, false}; }
    void end_with(std::uint32_t token) { end_ = token; }

    /// Behind each completion.
    std::uint32_t end() const { return end_; }
    /// Of conversations; prompts and completions have one only if it was named.
    TemplateKind kind() const { return kind_; }

  private:
    ExampleTokens(const Tokenizer* tokenizer, TemplateKind kind, bool named, std::uint32_t end, bool all)
        : tokenizer_(tokenizer), encoder_(tokenizer ? std::make_unique<Encoder>(*tokenizer) : nullptr), kind_(kind), named_(named), end_(end), all_(all) {}

    Result<void> text(std::string_view part, bool target, TokenIds& out);
    void begin(bool conversation, TokenIds& out) const;
    Result<void> header(const std::string& role, TokenIds& out);
    Result<void> message(const Message& message, TokenIds& out);

    const Tokenizer* tokenizer_;
    std::unique_ptr<Encoder> encoder_;
    TemplateKind kind_;
    bool named_;
    std::uint32_t end_;
    bool all_;
};

}  // namespace skerry::node
