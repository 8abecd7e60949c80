#include "node/tokenizer/byte_level.hpp"

#include "node/tokenizer/utf8.hpp"

namespace skerry::node {
namespace {

constexpr std::uint32_t kNone = 256;
constexpr std::uint32_t kEnd = 256 + 68;  ///< 68 bytes are not printable

bool prints(std::uint32_t byte) { return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE; }

std::array<std::uint32_t, kEnd> make_bytes() {
    std::array<std::uint32_t, kEnd> out;
    out.fill(kNone);
    for (std::uint32_t byte = 0; byte < 256; ++byte) out[byte_characters()[byte]] = byte;
    return out;
}

}  // namespace

const std::array<std::uint32_t, 256>& byte_characters() {
    static const std::array<std::uint32_t, 256> table = [] {
        std::array<std::uint32_t, 256> out{};
        std::uint32_t next = 256;
        for (std::uint32_t byte = 0; byte < 256; ++byte) out[byte] = prints(byte) ? byte : next++;
        return out;
    }();
    return table;
}

std::optional<std::string> to_bytes_of_symbols(std::string_view symbols) {
    static const std::array<std::uint32_t, kEnd> table = make_bytes();
    std::string out;
    for (std::size_t at = 0; at < symbols.size();) {
        const std::uint32_t c = next_character(symbols, at);
        if (c >= kEnd || table[c] == kNone) return std::nullopt;
        out.push_back(static_cast<char>(table[c]));
    }
    return out;
}

}  // namespace skerry::node
