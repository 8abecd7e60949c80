#include "protocol/identity/hash.hpp"

#include <openssl/evp.h>

#include <array>

#include "protocol/base/assert.hpp"

namespace skerry {
namespace {

// Fetched once: EVP_sha256() looks the provider up again for every message, which costs more than a
// short hash does.
const EVP_MD* sha256_method() {
    static EVP_MD* method = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    SKERRY_ASSERT(method != nullptr);
    return method;
}

EVP_MD_CTX* context(void* p) { return static_cast<EVP_MD_CTX*>(p); }

constexpr std::array<std::uint32_t, 256> make_crc_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t c = i;
        for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? (c >> 1) ^ 0xEDB88320U : c >> 1;
        table[i] = c;
    }
    return table;
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
    SKERRY_ASSERT(context_ != nullptr);
    SKERRY_ASSERT(EVP_DigestInit_ex(context(context_.get()), sha256_method(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Free::operator()(void* p) const { EVP_MD_CTX_free(context(p)); }

Sha256& Sha256::update(ByteSpan bytes) {
    SKERRY_ASSERT(EVP_DigestUpdate(context(context_.get()), bytes.data(), bytes.size()) == 1);
    return *this;
}

Digest Sha256::finish() {
    Digest out;
    unsigned int size = 0;
    SKERRY_ASSERT(EVP_DigestFinal_ex(context(context_.get()), out.bytes.data(), &size) == 1);
    SKERRY_ASSERT(EVP_DigestInit_ex(context(context_.get()), sha256_method(), nullptr) == 1);
    return out;
}

Digest sha256(ByteSpan bytes) { return Sha256().update(bytes).finish(); }

Digest tagged_hash(std::string_view tag, ByteSpan fields) {
    static constexpr std::uint8_t kZero = 0;
    return Sha256().update(tag).update(ByteSpan{&kZero, 1}).update(fields).finish();
}

std::uint32_t crc32(ByteSpan bytes) {
    static constexpr auto kTable = make_crc_table();
    std::uint32_t c = 0xFFFFFFFFU;
    for (std::uint8_t b : bytes) c = kTable[(c ^ b) & 0xFF] ^ (c >> 8);
    return c ^ 0xFFFFFFFFU;
}

}  // namespace skerry
