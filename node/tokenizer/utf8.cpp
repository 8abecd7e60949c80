#include "node/tokenizer/utf8.hpp"

#include <cstring>

namespace skerry::node {
namespace {

std::uint8_t byte_at(std::string_view text, std::size_t at) { return static_cast<std::uint8_t>(text[at]); }

/// Length that a first byte announces; 0: no first byte.
std::size_t announced(std::uint8_t first) {
    if (first < 0x80) return 1;
    if (first < 0xC2) return 0;
    if (first < 0xE0) return 2;
    if (first < 0xF0) return 3;
    return first < 0xF5 ? 4 : 0;
}

/// Whether `second` may follow `first`: here overlong forms, surrogates and too large numbers are found.
bool may_follow(std::uint8_t first, std::uint8_t second) {
    const std::uint8_t least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const std::uint8_t most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return second >= least && second <= most;
}

}  // namespace

Utf8Prefix check_utf8(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
        std::uint64_t eight;
        if (text.size() - at >= sizeof eight) {
            std::memcpy(&eight, text.data() + at, sizeof eight);
            if ((eight & 0x8080808080808080ULL) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        const std::uint8_t first = byte_at(text, at);
        const std::size_t size = announced(first);
        if (size == 0) return {at, Utf8State::wrong};
        for (std::size_t i = 1; i < size; ++i) {
            if (at + i == text.size()) return {at, Utf8State::cut_off};
            const std::uint8_t next = byte_at(text, at + i);
            const bool good = i == 1 ? may_follow(first, next) : (next & 0xC0) == 0x80;
            if (!good) return {at, Utf8State::wrong};
        }
        at += size;
    }
    return {at, Utf8State::whole};
}

std::uint32_t next_character(std::string_view text, std::size_t& at) {
    const std::uint32_t first = byte_at(text, at++);
    if (first < 0x80) return first;
    const int more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    std::uint32_t out = first & (0x3FU >> more);
    for (int i = 0; i < more; ++i) out = out << 6 | (byte_at(text, at++) & 0x3FU);
    return out;
}

void append_character(std::uint32_t c, std::string& out) {
    const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (c < 0x80) return put(c);
    if (c < 0x800) {
        put(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            put(0xE0 | c >> 12);
        } else {
            put(0xF0 | c >> 18);
            put(0x80 | (c >> 12 & 0x3F));
        }
        put(0x80 | (c >> 6 & 0x3F));
    }
    put(0x80 | (c & 0x3F));
}

bool is_white_space(std::uint32_t c) {
    return c == 0x20 || (c >= 0x09 && c <= 0x0D) || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::size_t white_space_at_end(std::string_view text) {
    std::size_t begin = text.size();
    while (begin > 0) {
        std::size_t at = begin - 1;
        while (at > 0 && (byte_at(text, at) & 0xC0) == 0x80) --at;
        std::size_t after = at;
        if (!is_white_space(next_character(text, after))) break;
        begin = at;
    }
    return begin;
}

std::size_t white_space_at_start(std::string_view text) {
    std::size_t end = 0;
    while (end < text.size()) {
        std::size_t after = end;
        if (!is_white_space(next_character(text, after))) break;
        end = after;
    }
    return end;
}

}  // namespace skerry::node
