#include "protocol/base/bytes.hpp"

#include <bit>

namespace skerry {

static_assert(std::endian::native == std::endian::little, "canonical bytes assume a little-endian host");

std::string to_hex(ByteSpan bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(2 * bytes.size());
    for (std::uint8_t b : bytes) {
        out.push_back(kDigits[b >> 4]);
        out.push_back(kDigits[b & 15]);
    }
    return out;
}

Result<Bytes> parse_hex(std::string_view text) {
    auto nibble = [](char c) -> int {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        if (c >= 'A' && c <= 'F') return c - 'A' + 10;
        return -1;
    };
    if (text.size() % 2 != 0) return fail(Errc::malformed, "odd number of hex digits");
    Bytes out;
    out.reserve(text.size() / 2);
    for (std::size_t i = 0; i < text.size(); i += 2) {
        int hi = nibble(text[i]);
        int lo = nibble(text[i + 1]);
        if (hi < 0 || lo < 0) return fail(Errc::malformed, "not a hex digit");
        out.push_back(static_cast<std::uint8_t>(hi * 16 + lo));
    }
    return out;
}

ByteSpan ByteReader::bytes(std::size_t n) {
    if (!ok_ || n > remaining()) {
        ok_ = false;
        return {};
    }
    auto out = data_.subspan(pos_, n);
    pos_ += n;
    return out;
}

ByteSpan ByteReader::blob(std::size_t limit) {
    std::uint32_t n = u32();
    if (n > limit) {
        ok_ = false;
        return {};
    }
    return bytes(n);
}

std::uint32_t ByteReader::count(std::uint32_t limit) {
    std::uint32_t n = u32();
    if (n > limit) {
        ok_ = false;
        return 0;
    }
    return n;
}

}  // namespace skerry
