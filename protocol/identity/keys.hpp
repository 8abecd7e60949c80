#pragma once
// Ed25519 keys: make, keep in a file, sign, verify. A node's id is the fingerprint of its key.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "protocol/base/bytes.hpp"

namespace skerry {

/// A private key and its public half. Copies share the key. Signing is safe from any thread.
class KeyPair {
  public:
    static KeyPair generate();
    /// The key of a 32-byte seed: for simulators and tests, where keys must not be random.
    static KeyPair from_seed(const Digest& seed);
    /// Reads PKCS#8 PEM. Errors: not_found; bad_state if others may read the file or it belongs to another
    /// user; malformed if it holds no Ed25519 key.
    static Result<KeyPair> load(const std::filesystem::path& file);
    static Result<KeyPair> parse_pem(std::string_view pem);

    /// Writes PKCS#8 PEM, mode 0600, atomically (temporary file, fsync, link). Never replaces a file:
    /// already_exists.
    Result<void> save(const std::filesystem::path& file) const;

    const PublicKey& public_key() const { return public_key_; }
    /// SHA-256 of the SubjectPublicKeyInfo.
    const NodeId& id() const { return id_; }

    /// Signs bytes that open with a tag of their own (canonical bodies).
    Signature sign(ByteSpan message) const;
    /// Signs tag, zero byte, fields: the form that tagged_hash hashes.
    Signature sign(std::string_view tag, ByteSpan fields) const;

    /// The EVP_PKEY, for session/ and certificate.cpp only.
    void* native() const { return key_.get(); }

  private:
    explicit KeyPair(std::shared_ptr<void> key);
    std::shared_ptr<void> key_;
    PublicKey public_key_;
    NodeId id_;
};

bool verify(const PublicKey& key, ByteSpan message, const Signature& signature);
bool verify(const PublicKey& key, std::string_view tag, ByteSpan fields, const Signature& signature);

/// SHA-256 of the key's SubjectPublicKeyInfo.
NodeId node_id_of(const PublicKey& key);

/// For people: the first 16 bytes as `9f31-0c4e-...`, eight groups of four hex digits.
std::string to_fingerprint_text(ByteSpan id);

/// Cryptographically strong random bytes.
void fill_random(std::span<std::uint8_t> out);
template <class Fixed>
Fixed random_fixed() {
    Fixed out;
    fill_random(out.bytes);
    return out;
}

}  // namespace skerry
