#pragma once
// Byte strings, and the one way canonical (hashed, signed, stored) bytes are written and read:
// integers little-endian and of fixed width, lists after a u32 count.

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/base/ids.hpp"
#include "protocol/base/result.hpp"

namespace skerry {

using Bytes = std::vector<std::uint8_t>;
using ByteSpan = std::span<const std::uint8_t>;

inline ByteSpan as_bytes(std::string_view s) {
    return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}
inline std::string_view as_text(ByteSpan b) {
    return {reinterpret_cast<const char*>(b.data()), b.size()};
}
std::string to_hex(ByteSpan bytes);
Result<Bytes> parse_hex(std::string_view text);

/// Parses exactly 2 N hex digits.
template <class Fixed>
Result<Fixed> parse_fixed_hex(std::string_view text) {
    auto raw = parse_hex(text);
    if (!raw) return fail(raw.error());
    Fixed out;
    if (raw->size() != out.bytes.size())
        return fail(Errc::malformed, "expected " + std::to_string(2 * out.bytes.size()) + " hex digits");
    std::memcpy(out.bytes.data(), raw->data(), raw->size());
    return out;
}

/// Appends canonical fields. Little-endian hosts only (asserted in bytes.cpp).
class ByteWriter {
  public:
    void u8(std::uint8_t v) { out_.push_back(v); }
    void u16(std::uint16_t v) { raw(&v, sizeof v); }
    void u32(std::uint32_t v) { raw(&v, sizeof v); }
    void u64(std::uint64_t v) { raw(&v, sizeof v); }
    void f32(float v) { raw(&v, sizeof v); }
    void f64(double v) { raw(&v, sizeof v); }
    void bytes(ByteSpan v) { out_.insert(out_.end(), v.begin(), v.end()); }
    /// u32 count, then the bytes.
    void blob(ByteSpan v) {
        u32(static_cast<std::uint32_t>(v.size()));
        bytes(v);
    }
    void text(std::string_view v) { blob(as_bytes(v)); }
    template <class Tag, class Rep>
    void id(const Strong<Tag, Rep>& v) { raw(&v.value, sizeof(Rep)); }
    template <class Tag, std::size_t N>
    void id(const FixedBytes<Tag, N>& v) { bytes({v.bytes.data(), N}); }

    const Bytes& view() const { return out_; }
    Bytes take() { return std::move(out_); }

  private:
    void raw(const void* p, std::size_t n) {
        auto* b = static_cast<const std::uint8_t*>(p);
        out_.insert(out_.end(), b, b + n);
    }
    Bytes out_;
};

/// Reads canonical fields; after the first short read everything returns zero and `ok()` is false.
class ByteReader {
  public:
    explicit ByteReader(ByteSpan data) : data_(data) {}

    std::uint8_t u8() { return number<std::uint8_t>(); }
    std::uint16_t u16() { return number<std::uint16_t>(); }
    std::uint32_t u32() { return number<std::uint32_t>(); }
    std::uint64_t u64() { return number<std::uint64_t>(); }
    float f32() { return number<float>(); }
    double f64() { return number<double>(); }
    ByteSpan bytes(std::size_t n);
    /// A blob of at most `limit` bytes.
    ByteSpan blob(std::size_t limit);
    std::string text(std::size_t limit) { return std::string(as_text(blob(limit))); }
    template <class StrongT>
    StrongT strong() { return StrongT{number<decltype(StrongT::value)>()}; }
    template <class Fixed>
    Fixed fixed() {
        Fixed out;
        auto b = bytes(out.bytes.size());
        if (b.size() == out.bytes.size()) std::memcpy(out.bytes.data(), b.data(), b.size());
        return out;
    }
    /// A list's count; more than `limit` is an error (and reads as 0).
    std::uint32_t count(std::uint32_t limit);

    bool ok() const { return ok_; }
    bool at_end() const { return pos_ == data_.size(); }
    std::size_t remaining() const { return data_.size() - pos_; }

  private:
    template <class T>
    T number() {
        T v{};
        auto b = bytes(sizeof v);
        if (b.size() == sizeof v) std::memcpy(&v, b.data(), sizeof v);
        return v;
    }
    ByteSpan data_;
    std::size_t pos_ = 0;
    bool ok_ = true;
};

}  // namespace skerry
