// Snapshots, blocks by hash, retention.

#include <algorithm>

#include "node/log/run_store.hpp"
#include "protocol/base/log.hpp"
#include "protocol/identity/merkle.hpp"

namespace skerry::node {

void RunStore::add_snapshot(Snapshot snapshot) {
    Lock lock(mutex_);
    Step step = snapshot.info().step;
    snapshots_[step] = std::make_shared<const Snapshot>(std::move(snapshot));
    index_snapshots();
}

std::shared_ptr<const Snapshot> RunStore::find_snapshot(Step step) const {
    Lock lock(mutex_);
    auto found = snapshots_.find(step);
    return found != snapshots_.end() ? found->second : nullptr;
}

void RunStore::set_snapshot_aside(Step k) {
    log_error("log.snapshot_damaged",
              {{"step", std::to_string(k.value)}, {"folder", snapshot_path(k).string()}});
    auto removed = remove_tree(snapshot_path(k));
    if (!removed) log_warn("log.cannot_remove", {{"why", removed.error().detail}});
    Lock lock(mutex_);
    snapshots_.erase(k);
    index_snapshots();
}

std::optional<RunStore::BlockPlace> RunStore::find_block(const Snapshot& snapshot, const Digest& id) {
    const SnapshotInfo& info = snapshot.info();
    for (auto [part, leaves] : {std::pair{BlockPart::theta, &snapshot.leaves().theta},
                                std::pair{BlockPart::m, &snapshot.leaves().m}}) {
        auto at = std::find(leaves->begin(), leaves->end(), id);
        if (at != leaves->end())
            return BlockPlace{info.step, part, PieceIndex{static_cast<std::uint32_t>(at - leaves->begin())}};
    }
    if (id == info.state_digest) return BlockPlace{info.step, BlockPart::roots, {}};
    if (id == info.roots.theta_root) return BlockPlace{info.step, BlockPart::theta, {}};
    if (id == info.roots.m_root) return BlockPlace{info.step, BlockPart::m, {}};
    return std::nullopt;
}

/// Later snapshots win: they stay longest. A leaf wins over a root, so that of one piece the hash
/// gives the piece.
void RunStore::index_snapshots() {
    blocks_.clear();
    for (const auto& [step, snapshot] : snapshots_) {
        const SnapshotInfo& info = snapshot->info();
        blocks_[info.state_digest] = {step, BlockPart::roots, {}};
        blocks_[info.roots.theta_root] = {step, BlockPart::theta, {}};
        blocks_[info.roots.m_root] = {step, BlockPart::m, {}};
        for (std::uint32_t p = 0; p < grid_.count(); ++p) {
            blocks_[snapshot->leaves().theta[p]] = {step, BlockPart::theta, PieceIndex{p}};
            blocks_[snapshot->leaves().m[p]] = {step, BlockPart::m, PieceIndex{p}};
        }
    }
}

Result<SnapshotInfo> RunStore::write_snapshot() {
    std::optional<Step> step = state_step();
    if (!step) return fail(Errc::bad_state, "there is no state to snapshot");
    auto existing = find_snapshot(*step);
    if (existing) return existing->info();
    Digest h;
    std::optional<Digest> known_digest;
    {
        Lock lock(mutex_);
        if (*step > decisions_.next())
            return fail(Errc::bad_state, "decisions of that state are missing");
        h = decisions_.chain(*step);
        if (last_digest_ && last_digest_->first == *step) known_digest = last_digest_->second;
    }
    DiskPath temporary = snapshot_path(*step).with(".tmp");
    auto info = write_snapshot_folder(temporary, run_digest_, grid_, state_, *step, h, tokens());
    Result<void> placed;
    if (info && known_digest && info->state_digest != *known_digest)
        placed = fail(Errc::bad_state, "the state changed while its snapshot was written");
    if (info && placed) placed = rename_durably(temporary, snapshot_path(*step));
    if (!info || !placed) {
        auto removed = remove_tree(temporary);
        static_cast<void>(removed);
        return info ? Result<SnapshotInfo>(fail(placed.error())) : info;
    }
    auto snapshot = Snapshot::open(snapshot_path(*step), run_digest_, grid_);
    if (!snapshot) return fail(snapshot.error());
    add_snapshot(std::move(*snapshot));
    return info;
}

std::vector<SnapshotInfo> RunStore::snapshots() const {
    Lock lock(mutex_);
    std::vector<SnapshotInfo> out;
    for (const auto& item : snapshots_) out.push_back(item.second->info());
    return out;
}

Result<void> RunStore::verify_snapshot(Step step, PieceIndex first, std::uint32_t pieces) {
    auto known = find_snapshot(step);
    if (!known) return fail(Errc::not_found, "no snapshot " + std::to_string(step.value));
    auto now = Snapshot::open(snapshot_path(step), run_digest_, grid_);
    Result<void> found;
    if (!now) found = fail(now.error());
    else if (now->info().state_digest != known->info().state_digest)
        found = fail(Errc::digest_mismatch, snapshot_path(step).string() + " is of another state");
    for (std::uint32_t p = first.value; found && p < grid_.count() && p < first.value + pieces; ++p) {
        auto theta = now->read_theta(PieceIndex{p});
        auto momentum = now->read_momentum(PieceIndex{p});
        if (!theta || !momentum) found = fail(theta ? momentum.error() : theta.error());
    }
    const bool lost = !found && (is_damage(found.error().code) || found.error().code == Errc::not_found);
    if (lost) set_snapshot_aside(step);
    return found;
}

// ---- blocks ------------------------------------------------------------------------------------

Result<Bytes> RunStore::read_snapshot_block(const BlockPlace& place) const {
    auto snapshot = find_snapshot(place.snapshot);
    if (!snapshot) return fail(Errc::not_found, "that snapshot is gone");
    if (place.part == BlockPart::roots) return to_bytes(snapshot->info().roots);
    bool theta = place.part == BlockPart::theta;
    if (!place.piece) return to_leaf_list(theta ? snapshot->leaves().theta : snapshot->leaves().m);
    return theta ? snapshot->read_theta(*place.piece) : snapshot->read_momentum(*place.piece);
}

Result<Bytes> RunStore::read_block(const ObjectRef& object) {
    std::optional<BlockPlace> place;
    {
        Lock lock(mutex_);
        auto found = blocks_.find(object.id);
        auto named = snapshots_.find(object.step);
        if (object.id.is_zero() && named != snapshots_.end())
            place = BlockPlace{object.step, BlockPart::roots, {}};
        else if (found != blocks_.end())
            place = found->second;
        // Of the snapshot that was named, if that has it: whoever is told of damage then knows whose.
        if (place && place->snapshot != object.step && named != snapshots_.end())
            place = find_block(*named->second, object.id).value_or(*place);
    }
    if (place) {
        auto block = read_snapshot_block(*place);
        if (!block && block.error().code == Errc::digest_mismatch)
            set_snapshot_aside(place->snapshot);
        return block;
    }
    auto decided = row(object.step);
    bool is_root = decided && decided->root == object.id;
    bool is_plan = decided && decided->plan_digest == object.id;
    if (!is_root && !is_plan) return fail(Errc::not_found, "no block " + object.id.short_hex());
    auto entry = open_entry(object.step);
    if (!entry) return fail(sound_entry(object.step, fail(entry.error())).error());
    return is_plan ? (*entry)->plan_body() : to_leaf_list((*entry)->leaves());
}

// ---- fetched snapshots -------------------------------------------------------------------------

Result<std::unique_ptr<SnapshotFetch>> RunStore::fetch_snapshot(Step step,
                                                                const Digest& state_digest,
                                                                ByteSpan state_roots) {
    return SnapshotFetch::open(snapshot_path(step).with(".fetch"), step, state_digest, state_roots, grid_);
}

Result<SnapshotInfo> RunStore::adopt_snapshot(SnapshotFetch& fetch) {
    if (!fetch.complete()) return fail(Errc::bad_state, "blocks are missing");
    Step step = fetch.step();
    Digest h;
    {
        Lock lock(mutex_);
        if (step < first_ || step > decisions_.next())
            return fail(Errc::bad_state, "decisions below that snapshot are missing");
        h = decisions_.chain(step);
        if (step > first_ &&
            decisions_.row(Step{step.value - 1})->tokens_after != fetch.roots().tokens)
            return fail(Errc::digest_mismatch,
                        "a snapshot whose tokens are not those of the decision");
    }
    auto done = fetch.sync();
    if (done)
        done = write_snapshot_manifest(fetch.folder(), run_digest_, step, h, fetch.roots().tokens,
                                       fetch.leaves());
    for (const char* name : {"theta.leaves", "m.leaves"}) {
        if (done) done = remove_tree(fetch.folder() / name);
    }
    if (done) done = remove_tree(snapshot_path(step));
    if (done) done = rename_durably(fetch.folder(), snapshot_path(step));
    if (!done) return fail(done.error());
    auto snapshot = Snapshot::open(snapshot_path(step), run_digest_, grid_);
    if (!snapshot) return fail(snapshot.error());
    SnapshotInfo info = snapshot->info();
    add_snapshot(std::move(*snapshot));
    return info;
}

// ---- retention ---------------------------------------------------------------------------------

std::uint64_t RunStore::disk_bytes() const { return bytes_under(folder_); }

// What is written until the next snapshot (when this is asked again) must fit as well.
static std::uint64_t quota_with_room(const Manifest& manifest, std::uint64_t own, const RetentionInput& input) {
    auto largest = [](const std::vector<StoredItem>& items) {
        std::uint64_t bytes = 0;
        for (const StoredItem& item : items) bytes = std::max(bytes, item.bytes);
        return bytes;
    };
    const std::uint64_t room = (manifest.snapshot_every + 2) * largest(input.entries) + largest(input.snapshots);
    std::uint64_t quota = manifest.disk_quota_bytes;
    if (own > 0) quota = quota > 0 ? std::min(quota, own) : own;
    return quota > 2 * room ? quota - room : quota;
}

RetentionChoice RunStore::prunable(Step floor) const {
    RetentionInput input;
    std::uint64_t counted = 0;
    {
        Lock lock(mutex_);
        for (const auto& item : snapshots_) input.snapshots.push_back({item.first, 0});
        for (Step step : entries_) input.entries.push_back({step, 0});
    }
    for (StoredItem& item : input.snapshots)
        counted += item.bytes = bytes_under(snapshot_path(item.step));
    for (StoredItem& item : input.entries) counted += item.bytes = bytes_of(entry_path(item.step));
    const std::uint64_t all = disk_bytes();
    input.other_bytes = all - std::min(all, counted);
    input.quota_bytes = quota_with_room(manifest_, own_quota_, input);
    input.floor = floor;
    input.first = first_;
    input.first_is_free = can_make_first();
    return choose_retention(input);
}

Result<void> RunStore::drop(std::span<const Step> snapshots, std::span<const Step> entries) {
    for (Step step : entries) {
        (void)remove_file(entry_path(step));
        forget_reader(entry_path(step));
        Lock lock(mutex_);
        entries_.erase(step);
    }
    for (Step step : snapshots) {
        {
            Lock lock(mutex_);
            snapshots_.erase(step);
            index_snapshots();
        }
        if (auto removed = remove_tree(snapshot_path(step)); !removed) return fail(removed.error());
    }
    return {};
}

}  // namespace skerry::node
