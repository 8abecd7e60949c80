#include "protocol/identity/certificate.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "protocol/base/assert.hpp"

namespace skerry {
namespace {

struct Free {
    void operator()(X509* p) const { X509_free(p); }
    void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
    void operator()(BIO* p) const { BIO_free_all(p); }
    void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

struct Request {
    const char* subject;
    const char* issuer;
    EVP_PKEY* key;
    const KeyPair* signer;
    std::int64_t not_before;
    std::int64_t not_after;  ///< 0: without a useful end
    bool authority;
};

EVP_PKEY* pkey(const KeyPair& key) { return static_cast<EVP_PKEY*>(key.native()); }

void set_name(X509_NAME* name, const char* text) {
    SKERRY_ASSERT(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(text),
                                             -1, -1, 0) == 1);
}

void add_extension(X509* certificate, int nid, const char* value) {
    Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, nullptr, nid, value));
    SKERRY_ASSERT(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

std::string make_certificate(const Request& request) {
    Owned<X509> certificate(X509_new());
    SKERRY_ASSERT(certificate != nullptr);
    SKERRY_ASSERT(X509_set_version(certificate.get(), 2) == 1);
    std::uint64_t serial = 0;
    fill_random({reinterpret_cast<std::uint8_t*>(&serial), sizeof serial});
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial >> 1 | 1);
    set_name(X509_get_subject_name(certificate.get()), request.subject);
    set_name(X509_get_issuer_name(certificate.get()), request.issuer);
    ASN1_TIME_set(X509_getm_notBefore(certificate.get()), request.not_before);
    if (request.not_after == 0)
        ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate.get()), "99991231235959Z");
    else
        ASN1_TIME_set(X509_getm_notAfter(certificate.get()), request.not_after);
    SKERRY_ASSERT(X509_set_pubkey(certificate.get(), request.key) == 1);
    add_extension(certificate.get(), NID_basic_constraints,
                  request.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(certificate.get(), NID_key_usage,
                  request.authority ? "critical,keyCertSign" : "critical,digitalSignature");
    SKERRY_ASSERT(X509_sign(certificate.get(), pkey(*request.signer), nullptr) > 0);
    Owned<BIO> out(BIO_new(BIO_s_mem()));
    SKERRY_ASSERT(PEM_write_bio_X509(out.get(), certificate.get()) == 1);
    char* data = nullptr;
    auto size = BIO_get_mem_data(out.get(), &data);
    return {data, static_cast<std::size_t>(size)};
}

Owned<X509> read_pem(std::string_view pem) {
    if (pem.size() > 65536) return nullptr;
    Owned<BIO> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    Owned<X509> out(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
    ERR_clear_error();
    return out;
}

std::int64_t to_unix(const ASN1_TIME* time) {
    tm fields{};
    if (ASN1_TIME_to_tm(time, &fields) != 1) return 0;
    return timegm(&fields);
}

Result<CertificateInfo> info_of(X509* certificate) {
    EVP_PKEY* key = X509_get0_pubkey(certificate);
    CertificateInfo info;
    std::size_t size = info.key.bytes.size();
    if (key == nullptr || EVP_PKEY_is_a(key, "ED25519") != 1 ||
        EVP_PKEY_get_raw_public_key(key, info.key.bytes.data(), &size) != 1) {
        ERR_clear_error();
        return fail(Errc::malformed, "the certificate's key is not Ed25519");
    }
    info.id = node_id_of(info.key);
    info.not_before = to_unix(X509_get0_notBefore(certificate));
    info.not_after = to_unix(X509_get0_notAfter(certificate));
    return info;
}

}  // namespace

std::string make_root_certificate(const KeyPair& root) {
    return make_certificate({"skerry root", "skerry root", pkey(root), &root, 0, 0, true});
}

std::string make_service_certificate(const KeyPair& root, const PublicKey& service, std::int64_t now,
                                     std::int64_t days) {
    constexpr std::int64_t kDay = 86400;
    Owned<EVP_PKEY> key(
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, service.bytes.data(), service.bytes.size()));
    SKERRY_ASSERT(key != nullptr);
    return make_certificate(
        {"skerry service", "skerry root", key.get(), &root, now - kDay, now + days * kDay, false});
}

std::string make_node_certificate(const KeyPair& node) {
    return make_certificate({"skerry node", "skerry node", pkey(node), &node, 0, 0, false});
}

Result<CertificateInfo> parse_certificate(std::string_view pem) {
    auto certificate = read_pem(pem);
    if (!certificate) return fail(Errc::malformed, "no certificate in PEM");
    return info_of(certificate.get());
}

RootPin to_pin(const NodeId& root_id) {
    RootPin pin;
    std::memcpy(pin.bytes.data(), root_id.bytes.data(), pin.bytes.size());
    return pin;
}

Result<CertificateInfo> verify_service_chain(std::string_view service_pem, std::string_view root_pem,
                                             const RootPin& pin, std::int64_t now) {
    auto service = read_pem(service_pem);
    auto root = read_pem(root_pem);
    if (!service || !root) return fail(Errc::malformed, "no certificate in PEM");
    return verify_native_chain(service.get(), root.get(), pin, now);
}

Result<CertificateInfo> native_certificate_info(void* x509) { return info_of(static_cast<X509*>(x509)); }

Result<CertificateInfo> verify_native_chain(void* service_x509, void* root_x509, const RootPin& pin,
                                            std::int64_t now) {
    auto* service = static_cast<X509*>(service_x509);
    auto* root = static_cast<X509*>(root_x509);
    auto root_info = info_of(root);
    auto service_info = info_of(service);
    if (!root_info) return root_info;
    if (!service_info) return service_info;
    if (to_pin(root_info->id) != pin)
        return fail(Errc::wrong_coordinator,
                    "its root key is " + to_fingerprint_text(root_info->id.bytes) + ", expected " +
                        to_fingerprint_text(pin.bytes),
                    "check the fingerprint with the operator by another channel; nothing was sent");
    bool is_signed = X509_verify(service, X509_get0_pubkey(root)) == 1;
    bool is_authority = X509_check_ca(service) != 0;
    ERR_clear_error();
    if (!is_signed || is_authority)
        return fail(Errc::wrong_coordinator, "its service key is not signed by the pinned root key");
    if (now < service_info->not_before || now >= service_info->not_after)
        return fail(Errc::wrong_coordinator, "its service certificate is not valid now (its time is over, or the clock here is wrong)",
                    "on the coordinator's machine: skerry-coordinator renew");
    return service_info;
}

}  // namespace skerry
