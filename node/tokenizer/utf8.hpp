#pragma once
// UTF-8, as strictly as Unicode has it: no surrogates, no overlong forms, nothing above U+10FFFF.

#include <cstdint>
#include <string>
#include <string_view>

namespace skerry::node {

enum class Utf8State { whole, cut_off, wrong };

struct Utf8Prefix {
    std::size_t bytes = 0;  ///< whole characters from the start on
    Utf8State state = Utf8State::whole;  ///< of what follows: nothing, the begin of a character, or neither
};

Utf8Prefix check_utf8(std::string_view text);

/// The character at `at` of valid UTF-8; `at` moves behind it.
std::uint32_t next_character(std::string_view text, std::size_t& at);

void append_character(std::uint32_t character, std::string& out);

/// Unicode's White_Space property.
bool is_white_space(std::uint32_t character);

/// Where the white space begins that ends `text` (its size: there is none), and where the one ends that opens it.
std::size_t white_space_at_end(std::string_view text);
std::size_t white_space_at_start(std::string_view text);

}  // namespace skerry::node
