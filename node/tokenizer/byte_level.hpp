#pragma once
// GPT-2's byte-level alphabet: each byte has a printable character that stands for it in tokenizer.json.

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace skerry::node {

/// The character of each byte: itself where Latin-1 prints it, else the next one free from U+0100 on.
const std::array<std::uint32_t, 256>& byte_characters();

/// The bytes that `symbols` (valid UTF-8) stand for; nothing if one of its characters stands for no byte.
std::optional<std::string> to_bytes_of_symbols(std::string_view symbols);

}  // namespace skerry::node
