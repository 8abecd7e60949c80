#include "node/log/node_files.hpp"

#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kSeenTag = "skerry/file/seen/1";
constexpr std::string_view kLeasesTag = "skerry/file/leases/1";
constexpr std::string_view kProgressTag = "skerry/file/progress/1";
constexpr std::string_view kManifestTag = "skerry/file/manifest/1";
constexpr std::string_view kDataManifestTag = "skerry/file/data-manifest/1";
constexpr std::uint64_t kSmall = 4 * 1024 * 1024;

Error damaged(const fs::path& path) { return {Errc::malformed, path.string() + ": fields do not fit", {}}; }

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

// ---- progress -----------------------------------------------------------------------------------------------------

fs::path NodeFiles::slot_path(int slot, const char* ending) const {
    return folder_ / "progress" / (std::to_string(slot) + ending);
}

Result<NodeFiles::Slot> NodeFiles::read_slot(int slot) const {
    fs::path path = slot_path(slot, "");
    auto payload = read_sealed(path, kProgressTag, kSmall);
    if (!payload) return fail(payload.error());
    ByteReader r(*payload);
    Slot out;
    out.serial = r.u64();
    out.progress.base = r.strong<Step>();
    out.progress.steps = r.u64();
    out.progress.sequences = r.u64();
    out.progress.tokens = r.u64();
    out.progress.segments.resize(r.count(kMaxSegments));
    for (Segment& segment : out.progress.segments) {
        segment.lease = r.strong<LeaseId>();
        segment.from = r.u64();
        segment.to = r.u64();
    }
    if (!r.ok() || !r.at_end()) return fail(damaged(path));
    return out;
}

int NodeFiles::next_slot(std::uint64_t& serial) const {
    auto first = read_slot(0);
    auto second = read_slot(1);
    std::uint64_t a = first ? first->serial : 0;
    std::uint64_t b = second ? second->serial : 0;
    serial = std::max(a, b) + 1;
    return a <= b ? 0 : 1;
}

fs::path NodeFiles::next_progress_file() const {
    std::uint64_t serial = 0;
    return slot_path(next_slot(serial), ".trainer");
}

Result<void> NodeFiles::commit_progress(const Progress& progress) {
    std::uint64_t serial = 0;
    int slot = next_slot(serial);
    ByteWriter w;
    w.u64(serial);
    w.id(progress.base);
    w.u64(progress.steps);
    w.u64(progress.sequences);
    w.u64(progress.tokens);
    w.u32(static_cast<std::uint32_t>(progress.segments.size()));
    for (const Segment& segment : progress.segments) {
        w.id(segment.lease);
        w.u64(segment.from);
        w.u64(segment.to);
    }
    return write_sealed(slot_path(slot, ""), kProgressTag, w.view());
}

Result<SavedProgress> NodeFiles::read_progress() const {
    auto first = read_slot(0);
    auto second = read_slot(1);
    if (!first && !second) return fail(Errc::not_found, "no saved progress in " + folder_.string());
    int slot = !first || (second && second->serial > first->serial) ? 1 : 0;
    const Slot& best = slot == 1 ? *second : *first;
    return SavedProgress{best.progress, slot_path(slot, ".trainer")};
}

Result<void> NodeFiles::drop_progress() {
    for (int slot : {0, 1}) {
        auto record = remove_tree(slot_path(slot, ""));
        if (!record) return record;
        auto trainer = remove_tree(slot_path(slot, ".trainer"));
        if (!trainer) return trainer;
    }
    return sync_folder(folder_ / "progress");
}

}  // namespace skerry::node
