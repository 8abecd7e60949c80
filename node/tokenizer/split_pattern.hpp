#pragma once
// A split pattern, compiled. The only user of PCRE2.

#include <memory>
#include <string_view>

#include "protocol/base/result.hpp"

namespace skerry::node {

/// Immutable; may be used by several threads, each with its own Matcher.
class SplitPattern {
  public:
    /// `pattern` as tokenizer.json has it (see pattern_rules.hpp). Errors: data_invalid (not supported, which includes a pattern
    /// that can match nothing at all; or no pattern), too_large.
    static Result<SplitPattern> compile(std::string_view pattern);

    struct Code;

  private:
    friend class Matcher;
    explicit SplitPattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
    std::shared_ptr<const Code> code_;
};

struct Match {
    enum Kind { found, none, open } kind = none;  ///< open: what comes after the text decides
    std::size_t begin = 0, end = 0;
};

/// Searches with one pattern, within a limit of steps and of stack. Not thread-safe.
class Matcher {
  public:
    explicit Matcher(const SplitPattern& pattern);
    Matcher(Matcher&&) noexcept;
    ~Matcher();

    /// The first match in `text` (valid UTF-8) at or after `from`. `last`: the text ends here; otherwise a match that reaches
    /// for its end is `open`. Never an empty match. Errors: data_invalid: beyond the limits.
    Result<Match> find(std::string_view text, std::size_t from, bool last);

  private:
    struct Scratch;
    std::shared_ptr<const SplitPattern::Code> code_;
    std::unique_ptr<Scratch> scratch_;
};

}  // namespace skerry::node
