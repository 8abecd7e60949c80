#pragma once
// Split patterns are written for Oniguruma (Ruby's syntax); PCRE2 reads some of it otherwise.

#include <string>
#include <string_view>

#include "protocol/base/result.hpp"

namespace skerry::node {

/// The same pattern for PCRE2 (UTF, UCP). Only what is known to mean the same in both is let through: literals, classes,
/// \r \n \t \f \s \S \d \D, \p{..} and \P{..} of general categories, (..), (?:..), (?i:..), (?>..), (?=..), (?!..), |, ., and
/// quantifiers. Looking back and anchors are refused, so a match depends on nothing before it, which is what lets a
/// text be split in parts.
///
/// \s is written out as Unicode's White_Space (PCRE2 10.42 adds U+180E), \p{L} and \p{N} with the characters of Unicode 15 and
/// 16 (PCRE2 10.42 knows 14).
///
/// `pattern` is valid UTF-8. Errors: data_invalid, naming what is refused and where; too_large.
Result<std::string> to_pcre2(std::string_view pattern);

/// A pattern that matches `text` itself.
std::string quote_pattern(std::string_view text);

}  // namespace skerry::node
