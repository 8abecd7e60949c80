#pragma once
// Protobuf fields <-> strong types, for the .cpp files of the codecs only.

#include <cmath>
#include <string>

#include "protocol/base/bytes.hpp"

namespace skerry {

// Zeros travel as an empty field.
template <class Fixed>
std::string to_field(const Fixed& v) {
    if (v.is_zero()) return {};
    return {reinterpret_cast<const char*>(v.bytes.data()), v.bytes.size()};
}
inline std::string bytes_field(ByteSpan v) { return std::string(as_text(v)); }

// Reads fields and remembers the first that was wrong, so that parsers read straight down.
class FieldReader {
  public:
    template <class Fixed>
    Fixed fixed(const std::string& field) {
        Fixed out;
        if (field.empty()) return out;
        if (field.size() != Fixed::size()) reject("bytes of the wrong size");
        else std::memcpy(out.bytes.data(), field.data(), field.size());
        return out;
    }
    Bytes bytes(const std::string& field, std::size_t limit) {
        if (field.size() > limit) return reject("bytes beyond their limit"), Bytes{};
        auto span = as_bytes(field);
        return {span.begin(), span.end()};
    }
    /// Text that is shown to people: no control characters but line breaks, so no terminal escapes.
    std::string text(const std::string& field, std::size_t limit) {
        for (char c : field) check(static_cast<unsigned char>(c) >= 0x20 || c == '\n', "control characters in a text");
        return json(field, limit);
    }
    std::string json(const std::string& field, std::size_t limit) {
        if (field.size() > limit) return reject("a text beyond its limit"), std::string{};
        return field;
    }
    template <class Enum>
    Enum choice(std::uint32_t v, Enum lowest, Enum highest) {
        if (v < static_cast<std::uint32_t>(lowest) || v > static_cast<std::uint32_t>(highest)) {
            reject("a value that has no name");
            return lowest;
        }
        return static_cast<Enum>(v);
    }
    /// A measurement; NaN and Inf read as zero, they must not reach sums and pages.
    static double measure(double v) { return std::isfinite(v) ? v : 0; }

    void reject(const char* what) {
        if (why_ == nullptr) why_ = what;
    }
    void check(bool good, const char* what) {
        if (!good) reject(what);
    }
    const char* why() const { return why_; }

  private:
    const char* why_ = nullptr;
};

}  // namespace skerry
