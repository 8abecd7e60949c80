#include "node/log/node_files.hpp"

#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kSeenTag = "skerry/file/seen/1";
constexpr std::string_view kLeasesTag = "skerry/file/leases/1";
constexpr std::string_view kManifestTag = "skerry/file/manifest/1";
constexpr std::string_view kDataManifestTag = "skerry/file/data-manifest/1";
constexpr std::uint64_t kSmall = 4 * 1024 * 1024;

Error damaged(const DiskPath& path) {
    return {Errc::malformed, path.string() + ": fields do not fit", {}};
}

}  // namespace

Result<void> NodeFiles::write_seen(const Seen& seen) {
    ByteWriter w;
    w.id(seen.term);
    w.id(seen.epoch);
    w.id(seen.incarnation);
    w.blob(seen.ticket);
    w.blob(seen.roster.body);
    w.id(seen.roster.signature);
    return write_sealed(folder_ / "seen", kSeenTag, w.view());
}

Result<Seen> NodeFiles::read_seen() const {
    auto payload = read_sealed(folder_ / "seen", kSeenTag, kSmall);
    if (!payload) return fail(payload.error());
    ByteReader r(*payload);
    Seen seen;
    seen.term = r.strong<Term>();
    seen.epoch = r.strong<Epoch>();
    seen.incarnation = r.strong<Incarnation>();
    ByteSpan ticket = r.blob(kMaxTicket);
    seen.ticket.assign(ticket.begin(), ticket.end());
    ByteSpan roster = r.blob(kSmall);
    seen.roster.body.assign(roster.begin(), roster.end());
    seen.roster.signature = r.fixed<Signature>();
    if (!r.ok() || !r.at_end()) return fail(damaged(folder_ / "seen"));
    return seen;
}

Result<void> NodeFiles::write_manifest(ByteSpan body) {
    return write_sealed(folder_ / "manifest", kManifestTag, body);
}
Result<Bytes> NodeFiles::read_manifest() const {
    return read_sealed(folder_ / "manifest", kManifestTag, kMaxManifestBytes);
}
Result<void> NodeFiles::write_data_manifest(ByteSpan json) {
    return write_sealed(folder_ / "data-manifest", kDataManifestTag, json);
}
Result<Bytes> NodeFiles::read_data_manifest() const {
    return read_sealed(folder_ / "data-manifest", kDataManifestTag, kMaxDataManifest);
}

Result<void> NodeFiles::write_leases(const std::vector<LeaseInfo>& leases) {
    ByteWriter w;
    w.u32(static_cast<std::uint32_t>(leases.size()));
    for (const LeaseInfo& lease : leases) {
        w.id(lease.id);
        w.u64(lease.lo);
        w.u64(lease.hi);
        w.u64(lease.done);
        w.u8(lease.pinned ? 1 : 0);
    }
    return write_sealed(folder_ / "leases", kLeasesTag, w.view());
}

Result<std::vector<LeaseInfo>> NodeFiles::read_leases() const {
    auto payload = read_sealed(folder_ / "leases", kLeasesTag, kSmall);
    if (!payload) return fail(payload.error());
    ByteReader r(*payload);
    std::vector<LeaseInfo> leases(r.count(kMaxLeases));
    for (LeaseInfo& lease : leases) {
        lease.id = r.strong<LeaseId>();
        lease.lo = r.u64();
        lease.hi = r.u64();
        lease.done = r.u64();
        lease.pinned = r.u8() != 0;
    }
    if (!r.ok() || !r.at_end()) return fail(damaged(folder_ / "leases"));
    return leases;
}

}  // namespace skerry::node
