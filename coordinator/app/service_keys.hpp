#pragma once
// Root and service key of a coordinator: made once, loaded at every start.

#include "coordinator/app/config.hpp"
#include "protocol/identity/certificate.hpp"

namespace skerry::coordinator {

struct ServiceKeys {
    KeyPair service;
    std::string service_pem;  ///< certificate, signed by the root
    std::string root_pem;     ///< certificate of the root
    NodeId root_id;           ///< fingerprint of the root: what tokens pin
    std::int64_t not_after = 0;  ///< of the service certificate, Unix seconds
};

/// Makes root key, service key and certificates in the folder. Errors: already_exists if one of them is there.
Result<NodeId> make_service_keys(const Places& places, std::int64_t now_unix_s);

/// Loads and checks them. A service certificate with less than a third of its days left is renewed if the root
/// key is in the folder. Errors: not_found, bad_signature, config_invalid (expired, with the fix).
Result<ServiceKeys> load_service_keys(const Places& places, std::int64_t now_unix_s);

/// Signs a new certificate for the service key with a root key that may lie elsewhere.
Result<void> renew_service_certificate(const Places& places, const std::filesystem::path& root_key,
                                       std::int64_t now_unix_s);

}  // namespace skerry::coordinator
