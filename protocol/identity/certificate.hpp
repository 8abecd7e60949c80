#pragma once
// X.509 only as far as TLS needs it: the root is self-signed, it signs the service certificate, a node's
// certificate is self-signed and merely carries its key. Names in certificates mean nothing.

#include <cstdint>
#include <span>
#include <string>

#include "protocol/identity/keys.hpp"

namespace skerry {

inline constexpr std::int64_t kServiceDays = 90;
/// Half of the SHA-256 of the root's SubjectPublicKeyInfo: what tokens carry and nodes pin.
using RootPin = FixedBytes<struct RootPinTag, 16>;

struct CertificateInfo {
    PublicKey key;
    NodeId id;  ///< SHA-256 of the SubjectPublicKeyInfo
    std::int64_t not_before = 0;  ///< Unix seconds
    std::int64_t not_after = 0;
};

/// Root: self-signed, without a useful end (9999-12-31).
std::string make_root_certificate(const KeyPair& root);
/// Service certificate for `service`, signed by `root`, valid from `now` (Unix seconds; a day earlier, for slow
/// clocks) for `days`.
std::string make_service_certificate(const KeyPair& root, const PublicKey& service, std::int64_t now,
                                     std::int64_t days = kServiceDays);
/// Self-signed, without a useful end: what a node (or the command line) shows in the handshake.
std::string make_node_certificate(const KeyPair& node);

/// Errors: malformed if it is no certificate or its key is not Ed25519.
Result<CertificateInfo> parse_certificate(std::string_view pem);

RootPin to_pin(const NodeId& root_id);

/// Checks that `root` is the pinned one and signed `service`, and that `now` is in the validity of `service`.
/// Errors: wrong_coordinator, with both fingerprints; malformed.
Result<CertificateInfo> verify_service_chain(std::string_view service_pem, std::string_view root_pem,
                                             const RootPin& pin, std::int64_t now);

/// The same over OpenSSL's X509 pointers, for session/ only.
Result<CertificateInfo> native_certificate_info(void* x509);
Result<CertificateInfo> verify_native_chain(void* service_x509, void* root_x509, const RootPin& pin,
                                            std::int64_t now);

}  // namespace skerry
