#include "coordinator/app/service_keys.hpp"

#include "protocol/base/log.hpp"
#include "protocol/config/files.hpp"

namespace skerry::coordinator {
namespace {

constexpr std::size_t kMaxPem = 64 * 1024;
constexpr std::int64_t kDay = 86'400;

}  // namespace

Result<NodeId> make_service_keys(const Places& places, std::int64_t now_unix_s) {
    for (const auto& file : {places.root_key(), places.root_certificate(), places.service_key()}) {
        if (std::filesystem::exists(file))
            return fail(Errc::already_exists, file.string() + " is there already", "choose another --dir");
    }
    auto root = KeyPair::generate();
    auto service = KeyPair::generate();
    auto saved = root.save(places.root_key());
    if (!saved) return fail(saved.error());
    saved = service.save(places.service_key());
    if (!saved) return fail(saved.error());
    saved = write_small_file(places.root_certificate(), make_root_certificate(root), 0644);
    if (!saved) return fail(saved.error());
    saved = write_small_file(places.service_certificate(),
                             make_service_certificate(root, service.public_key(), now_unix_s), 0644);
    if (!saved) return fail(saved.error());
    return root.id();
}

Result<void> renew_service_certificate(const Places& places, const std::filesystem::path& root_key,
                                       std::int64_t now_unix_s) {
    auto root = KeyPair::load(root_key);
    if (!root) return fail(root.error());
    auto service = KeyPair::load(places.service_key());
    if (!service) return fail(service.error());
    auto root_pem = read_small_file(places.root_certificate(), kMaxPem);
    if (!root_pem) return fail(root_pem.error());
    auto info = parse_certificate(*root_pem);
    if (!info) return fail(info.error());
    if (info->id != root->id())
        return fail(Errc::wrong_coordinator, root_key.string() + " is not the root key of this coordinator");
    return write_small_file(places.service_certificate(),
                            make_service_certificate(*root, service->public_key(), now_unix_s), 0644);
}

Result<ServiceKeys> load_service_keys(const Places& places, std::int64_t now_unix_s) {
    auto service = KeyPair::load(places.service_key());
    if (!service) return fail(service.error());
    auto root_pem = read_small_file(places.root_certificate(), kMaxPem);
    if (!root_pem) return fail(root_pem.error());
    auto root = parse_certificate(*root_pem);
    if (!root) return fail(root.error());
    auto read = [&]() -> Result<CertificateInfo> {
        auto pem = read_small_file(places.service_certificate(), kMaxPem);
        if (!pem) return fail(pem.error());
        return parse_certificate(*pem);
    };
    auto info = read();
    if (!info) return fail(info.error());
    bool root_key_here = std::filesystem::exists(places.root_key());
    if (info->not_after - now_unix_s < kServiceDays * kDay / 3 && root_key_here) {
        auto renewed = renew_service_certificate(places, places.root_key(), now_unix_s);
        if (!renewed) return fail(renewed.error());
        log_info("service_certificate_renewed");
        info = read();
        if (!info) return fail(info.error());
    }
    std::string fix = "skerry-coordinator renew --dir " + places.dir.string() + " --root-key FILE";
    if (info->not_after <= now_unix_s)
        return fail(Errc::config_invalid, "the service certificate has expired, so no node would connect", fix);
    if (info->not_after - now_unix_s < 14 * kDay) log_warn("service_certificate_ends_soon", {{"fix", fix}});
    auto service_pem = read_small_file(places.service_certificate(), kMaxPem);
    if (!service_pem) return fail(service_pem.error());
    auto chain = verify_service_chain(*service_pem, *root_pem, to_pin(root->id), now_unix_s);
    if (!chain) return fail(chain.error());
    if (chain->key != service->public_key())
        return fail(Errc::bad_signature, "service.pem is not the certificate of service-key.pem", fix);
    return ServiceKeys{*service, *service_pem, *root_pem, root->id, info->not_after};
}

}  // namespace skerry::coordinator
