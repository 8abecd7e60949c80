#define PCRE2_CODE_UNIT_WIDTH 8
#include "node/tokenizer/split_pattern.hpp"

#include <pcre2.h>

#include <array>
#include <string>

#include "node/tokenizer/limits.hpp"
#include "node/tokenizer/pattern_rules.hpp"

namespace skerry::node {
namespace {

std::string words_of(int error) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(error, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

struct FreeCompile {
    void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};

}  // namespace

struct SplitPattern::Code {
    pcre2_code* code = nullptr;
    bool jit = false;
    std::string pattern;
    Code() = default;
    Code(const Code&) = delete;
    Code& operator=(const Code&) = delete;
    ~Code() { pcre2_code_free(code); }
};

Result<SplitPattern> SplitPattern::compile(std::string_view pattern) {
    auto translated = to_pcre2(pattern);
    if (!translated) return fail(translated.error());
    std::unique_ptr<pcre2_compile_context, FreeCompile> context(pcre2_compile_context_create(nullptr));
    if (!context) throw std::bad_alloc();
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    auto out = std::make_shared<Code>();
    out->pattern = pattern;
    int error = 0;
    PCRE2_SIZE where = 0;
    out->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &error, &where, context.get());
    if (!out->code)
        return fail(Errc::data_invalid, "a split pattern does not compile (" + words_of(error) + "): " + out->pattern,
                    "take the file anew from the model's folder");
    std::uint32_t empty = 0;
    pcre2_pattern_info(out->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty != 0)
        return fail(Errc::data_invalid, "a split pattern that can match the empty text is not supported: " + out->pattern,
                    "a byte-level BPE tokenizer of the GPT-2, Llama-3 or Qwen kind");
    // Without JIT (a kernel that forbids it, an architecture without it) the interpreter gives the same matches.
    out->jit = pcre2_jit_compile(out->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
    return SplitPattern(std::move(out));
}

struct Matcher::Scratch {
    pcre2_match_data* data;
    pcre2_match_context* context;
    pcre2_jit_stack* stack;
    explicit Scratch(const SplitPattern::Code& code)
        : data(pcre2_match_data_create(1, nullptr)),
          context(pcre2_match_context_create(nullptr)),
          stack(code.jit ? pcre2_jit_stack_create(32 * 1024, kMaxMatchStackBytes, nullptr) : nullptr) {
        if (!data || !context || (code.jit && !stack)) throw std::bad_alloc();
        pcre2_set_match_limit(context, kMaxMatchSteps);
        pcre2_set_heap_limit(context, kMaxMatchStackBytes / 1024);
        if (stack) pcre2_jit_stack_assign(context, nullptr, stack);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() {
        pcre2_jit_stack_free(stack);
        pcre2_match_context_free(context);
        pcre2_match_data_free(data);
    }
};

Matcher::Matcher(const SplitPattern& pattern) : code_(pattern.code_), scratch_(std::make_unique<Scratch>(*code_)) {}
Matcher::Matcher(Matcher&&) noexcept = default;
Matcher::~Matcher() = default;

Result<Match> Matcher::find(std::string_view text, std::size_t from, bool last) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const std::uint32_t partial = last ? 0 : PCRE2_PARTIAL_HARD;
    const int rc = code_->jit ? pcre2_jit_match(code_->code, subject, text.size(), from, partial, scratch_->data, scratch_->context)
                              : pcre2_match(code_->code, subject, text.size(), from, partial | PCRE2_NO_UTF_CHECK, scratch_->data,
                                            scratch_->context);
    if (rc == PCRE2_ERROR_NOMATCH) return Match{};
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch_->data);
    if (rc == PCRE2_ERROR_PARTIAL) return Match{Match::open, range[0], range[1]};
    if (rc < 0)
        return fail(Errc::data_invalid, "a split pattern takes too long on this text (" + words_of(rc) + "): " + code_->pattern,
                    "a tokenizer with another pattern, or a text without such runs of characters");
    return Match{Match::found, range[0], range[1]};
}

}  // namespace skerry::node
