#include "node/data/example_tokens.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "node/data/token_shard.hpp"
#include "protocol/base/bytes.hpp"

namespace skerry::node {
namespace {

constexpr std::array kNames{"plain", "chatml", "llama3"};
/// The first that a tokenizer has ends a completion, unless one is named.
constexpr std::array kEnds{"<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "</s>", "<eos>"};
constexpr std::array kChatmlTokens{"<|im_end|>", "<|im_start|>"};
constexpr std::array kLlama3Tokens{"<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"};

/// What a template needs; the first ends a message.
std::span<const char* const> tokens_of(TemplateKind kind) {
    if (kind == TemplateKind::chatml) return kChatmlTokens;
    if (kind == TemplateKind::llama3) return kLlama3Tokens;
    return {};
}

bool has_all(const Tokenizer& tokenizer, TemplateKind kind) {
    return std::ranges::all_of(tokens_of(kind), [&](const char* token) { return tokenizer.added_token(token).has_value(); });
}

TemplateKind found_in(const Tokenizer& tokenizer) {
    for (TemplateKind kind : {TemplateKind::chatml, TemplateKind::llama3})
        if (has_all(tokenizer, kind)) return kind;
    return TemplateKind::plain;
}

Result<std::uint32_t> find_end(const Tokenizer& tokenizer, TemplateKind kind, const std::string& separator) {
    if (!separator.empty()) {
        auto token = tokenizer.added_token(separator);
        if (!token) return fail(Errc::usage, "the separator '" + separator + "' is no added token of the tokenizer", "one of its special tokens");
        return *token;
    }
    if (kind != TemplateKind::plain) return *tokenizer.added_token(tokens_of(kind)[0]);
    if (!tokenizer.after().empty()) return tokenizer.after().front();
    const auto ends = end_tokens(tokenizer);
    if (ends.empty())
        return fail(Errc::usage, "the tokenizer has no added token that could end a completion", "--separator with one of its special tokens");
    return ends.front();
}

std::string_view trimmed(std::string_view text) {
    constexpr const char* kSpace = " \t\r\n\f\v";
    const auto begin = text.find_first_not_of(kSpace);
    return begin == std::string_view::npos ? std::string_view() : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace

const char* to_name(TemplateKind kind) { return kNames[static_cast<std::size_t>(kind)]; }

std::optional<TemplateKind> template_of(std::string_view name) {
    for (std::size_t i = 0; i < kNames.size(); ++i)
        if (name == kNames[i]) return static_cast<TemplateKind>(i);
    return std::nullopt;
}

std::vector<std::uint32_t> end_tokens(const Tokenizer& tokenizer) {
    std::vector<std::uint32_t> out;
    for (const char* name : kEnds)
        if (auto token = tokenizer.added_token(name)) out.push_back(*token);
    return out;
}

Result<ExampleTokens> ExampleTokens::make(const Tokenizer* tokenizer, const TemplateChoice& choice) {
    const auto named = template_of(choice.name);
    if (!choice.name.empty() && !named) return fail(Errc::usage, "there is no template '" + choice.name + "'", "plain, chatml or llama3");
    TemplateKind kind = named.value_or(TemplateKind::plain);
    if (!tokenizer) {
        if (kind != TemplateKind::plain) return fail(Errc::usage, "the template " + choice.name + " needs a tokenizer that has its tokens", "--tokenizer FOLDER");
        if (!choice.separator.empty()) return fail(Errc::usage, "a separator needs a tokenizer that has it", "--tokenizer FOLDER");
        return ExampleTokens(nullptr, kind, named.has_value(), kByteEnd, choice.train_on_all);
    }
    if (!named) kind = found_in(*tokenizer);
    if (!has_all(*tokenizer, kind))
        return fail(Errc::usage, "the tokenizer has not the added tokens of the template " + choice.name, "--template plain, or the tokenizer of a chat model");
    // A conversation's messages end as its template says; a bare prompt's completion ends as a document does.
    auto end = find_end(*tokenizer, kind, choice.separator);
    if (!end) return fail(end.error());
    return ExampleTokens(tokenizer, kind, named.has_value(), *end, choice.train_on_all);
}

Result<void> ExampleTokens::text(std::string_view part, bool target, TokenIds& out) {
    const std::size_t from = out.size();
    if (encoder_) {
        auto fed = encoder_->feed(part, true, out);
        if (!fed) return fed;
    } else {
        const ByteSpan bytes = as_bytes(part);
        out.insert(out.end(), bytes.begin(), bytes.end());
    }
    if (!target)
        for (std::size_t i = from; i < out.size(); ++i) out[i] |= kNoTarget;
    return {};
}

void ExampleTokens::begin(bool conversation, TokenIds& out) const {
    if (!tokenizer_) return;
    for (std::uint32_t token : tokenizer_->before()) out.push_back(token | kNoTarget);
    if (!out.empty() || !conversation || kind_ != TemplateKind::llama3) return;
    if (auto token = tokenizer_->added_token("<|begin_of_text|>")) out.push_back(*token | kNoTarget);
}

Result<void> ExampleTokens::header(const std::string& role, TokenIds& out) {
    if (kind_ == TemplateKind::chatml) return text("<|im_start|>" + role + "\n", false, out);
    if (kind_ == TemplateKind::llama3) return text("<|start_header_id|>" + role + "<|end_header_id|>\n\n", false, out);
    std::string name = role;
    name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
    return text(name + ":\n", false, out);
}

Result<void> ExampleTokens::message(const Message& message, TokenIds& out) {
    const bool target = message.role == "assistant";
    auto done = header(message.role, out);
    // Llama-3's own template trims what is said, ChatML's does not.
    if (done) done = text(kind_ == TemplateKind::llama3 ? trimmed(message.content) : std::string_view(message.content), target, out);
    if (!done) return done;
    if (kind_ != TemplateKind::plain || target) out.push_back(target ? end_ : end_ | kNoTarget);
    return kind_ == TemplateKind::llama3 ? Result<void>{} : text("\n", false, out);
}

Result<TokenIds> ExampleTokens::encode(const ExampleText& example) {
    TokenIds out;
    const bool conversation = !example.messages.empty() || named_;
    begin(conversation, out);
    Result<void> done;
    if (!conversation) {
        done = text(example.prompt, false, out);
        if (done) done = text(example.completion, true, out);
        out.push_back(end_);
    } else if (example.messages.empty()) {
        done = message({"user", example.prompt}, out);
        if (done) done = message({"assistant", example.completion}, out);
    }
    for (const Message& one : example.messages)
        if (done) done = message(one, out);
    if (!done) return fail(done.error());
    if (all_)
        for (std::uint32_t& token : out) token &= ~kNoTarget;
    out.front() |= kNoTarget;
    return out;
}

Result<TokenIds> ExampleTokens::prompt(const std::string& said, bool chat) {
    TokenIds out;
    begin(chat, out);
    auto done = chat ? message({"user", said}, out) : text(said, false, out);
    if (done && chat) done = header("assistant", out);
    if (!done) return fail(done.error());
    for (std::uint32_t& token : out) token &= ~kNoTarget;
    return out;
}

}  // namespace skerry::node
