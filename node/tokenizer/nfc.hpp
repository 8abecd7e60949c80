#pragma once
// Unicode's normal form C. The only user of utf8proc.

#include <string>
#include <string_view>

#include "protocol/base/result.hpp"

namespace skerry::node {

/// NFC of valid UTF-8, as the `tokenizers` package has it (Unicode 9). Errors: data_invalid: more than kMaxMarksInARow combining marks in a row.
Result<std::string> to_nfc(std::string_view text);

/// Whether `text` is surely its own NFC: a quick look that says no too often.
bool is_surely_nfc(std::string_view text);

/// The last place in `text` (valid UTF-8) at which it may be cut so that both sides can be normalised on their own;
/// 0 if there is none. Looks for a character that never joins with what is before it.
std::size_t last_nfc_seam(std::string_view text);

}  // namespace skerry::node
