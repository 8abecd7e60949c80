#include "node/tokenizer/nfc.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <new>

#include "node/tokenizer/limits.hpp"
#include "node/tokenizer/utf8.hpp"

namespace skerry::node {
namespace {

constexpr std::uint32_t kFirstMark = 0x300;  ///< nothing below combines or decomposes

/// CJK ideographs, kana's neighbours excluded, and Hangul syllables: they begin anew, as all below U+0300 do.
bool begins_anew(std::uint32_t c) {
    return c < kFirstMark || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3);
}

Result<void> check_marks(std::string_view text) {
    std::size_t in_a_row = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::uint32_t c = next_character(text, at);
        const bool mark = c >= kFirstMark && utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class != 0;
        in_a_row = mark ? in_a_row + 1 : 0;
        if (in_a_row > kMaxMarksInARow)
            return fail(Errc::data_invalid, "the text has more than " + std::to_string(kMaxMarksInARow) + " combining marks in a row",
                        "remove them: no script needs as many");
    }
    return {};
}

/// `tokenizers` normalises by Unicode 9: what later versions gave a combining class, or one composition, is to it like a letter
/// that never combines. A model that learnt from its tokens expects that.
struct Range {
    std::uint32_t first, last;
};
constexpr Range kLater[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},     {0xD3B, 0xD3C},
    {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}};

bool is_later(std::uint32_t c) {
    const auto* above = std::upper_bound(std::begin(kLater), std::end(kLater), c,
                                         [](std::uint32_t value, const Range& range) { return value < range.first; });
    return above != std::begin(kLater) && c <= (above - 1)->last;
}

struct Free {
    void operator()(utf8proc_uint8_t* p) const { std::free(p); }
};

Result<void> append_nfc(std::string_view text, std::string& out) {
    auto few = check_marks(text);
    if (!few) return few;
    utf8proc_uint8_t* made = nullptr;
    const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &made,
                                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    const std::unique_ptr<utf8proc_uint8_t, Free> owned(made);
    if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
    if (size < 0) return fail(Errc::data_invalid, std::string("the text cannot be normalised: ") + utf8proc_errmsg(size));
    out.append(reinterpret_cast<const char*>(made), static_cast<std::size_t>(size));
    return {};
}

}  // namespace

bool is_surely_nfc(std::string_view text) {
    // UTF-8 orders as its characters do: U+0300 begins with 0xCC.
    for (char c : text)
        if (static_cast<unsigned char>(c) >= 0xCC) return false;
    return true;
}

Result<std::string> to_nfc(std::string_view text) {
    if (is_surely_nfc(text)) return std::string(text);
    std::string out;
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t here = at;
        if (!is_later(next_character(text, at))) continue;
        auto done = append_nfc(text.substr(begin, here - begin), out);
        if (!done) return fail(done.error());
        out += text.substr(here, at - here);
        begin = at;
    }
    auto done = append_nfc(text.substr(begin), out);
    if (!done) return fail(done.error());
    return out;
}

std::size_t last_nfc_seam(std::string_view text) {
    for (std::size_t at = text.size(); at-- > 0;) {
        if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
        std::size_t after = at;
        if (begins_anew(next_character(text, after))) return at;
    }
    return 0;
}

}  // namespace skerry::node
