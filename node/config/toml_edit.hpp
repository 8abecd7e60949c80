#pragma once
// One value of a config file changed in its text, so that comments and order stay as their author wrote them.

#include <string>
#include <string_view>

namespace skerry::node {

/// `value` is TOML, `key` a plain one of [section] that is written on a line of its own; an array may go over several lines.
/// A key or section that is not there is added; an empty `value` removes the key. The caller parses the result.
std::string with_toml_value(std::string_view text, std::string_view section, std::string_view key, std::string_view value);

/// A TOML basic string.
std::string toml_text(std::string_view text);

}  // namespace skerry::node
