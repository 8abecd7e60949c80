#pragma once
// SHA-256, and the tagged form in which everything of ours is hashed. OpenSSL stays in the .cpp.

#include <memory>
#include <string_view>

#include "protocol/base/bytes.hpp"

namespace skerry {

/// Incremental SHA-256. Movable, not copyable, not thread-safe.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(Sha256&&) noexcept;
    Sha256& operator=(Sha256&&) noexcept;

    Sha256& update(ByteSpan bytes);
    Sha256& update(std::string_view text) { return update(as_bytes(text)); }
    /// Ends the message and starts a new one.
    Digest finish();

  private:
    struct Free {
        void operator()(void* context) const;
    };
    std::unique_ptr<void, Free> context_;
};

Digest sha256(ByteSpan bytes);

/// H(tag, fields) of the step protocol: SHA-256 over the ASCII tag, a zero byte and the canonical fields.
Digest tagged_hash(std::string_view tag, ByteSpan fields);
inline Digest tagged_hash(std::string_view tag, const ByteWriter& fields) {
    return tagged_hash(tag, fields.view());
}

/// CRC-32 (IEEE 802.3, reflected). Finds copying mistakes, proves nothing.
std::uint32_t crc32(ByteSpan bytes);

}  // namespace skerry
