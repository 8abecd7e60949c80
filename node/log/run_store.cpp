// Opening a run folder, decisions, entries of the log. Entries of the open step:
// run_store_entries.cpp; state and replay: run_store_state.cpp; contributions and reduction:
// run_store_step.cpp; snapshots, blocks, retention: run_store_snapshots.cpp.

#include "node/log/run_store.hpp"

#include <algorithm>

#include "protocol/base/log.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kStagedEnding = ".part";

}  // namespace

RunStore::RunStore(DiskPath folder, const Manifest& manifest)
    : folder_(std::move(folder)),
      manifest_(manifest),
      run_digest_(body_digest(to_bytes(manifest))),
      grid_{manifest.elements, manifest.piece_elements},
      layout_id_(layout_id(run_digest_)),
      files_(folder_) {}

RunStore::~RunStore() = default;

// ---- opening -----------------------------------------------------------------------------------

Result<std::unique_ptr<RunStore>> RunStore::open(DiskPath folder,
                                                 const Manifest& manifest,
                                                 const Bytes* data_manifest) {
    std::unique_ptr<RunStore> store(new RunStore(std::move(folder), manifest));
    auto codec = find_codec(manifest.codec);
    if (!codec) return fail(codec.error());
    store->codec_ = *codec;
    auto opened = store->open_files(data_manifest);
    if (!opened) return fail(opened.error());
    return store;
}

Result<void> RunStore::open_files(const Bytes* data_manifest) {
    auto done = make_folder(folder_);
    if (!done) return done;
    auto lock = FolderLock::take(folder_);
    if (!lock) return fail(lock.error());
    lock_ = std::move(*lock);
    done = check_manifest(data_manifest);
    for (const char* name : {"entries", "prepared", "snapshots", "contribution", "progress"}) {
        if (done) done = make_folder(folder_ / name);
        // A process killed between a rename and this leaves names that are seen here, but that a power cut would take back.
        if (done) done = sync_folder(folder_ / name);
    }
    if (!done) return done;
    remove_temporary_files();

    auto state = StateFiles::open(folder_ / "state", grid_);
    if (!state) return fail(state.error());
    state_ = std::move(*state);
    auto record = ApplyRecord::open(folder_ / "state" / "applying", state_.identity(), grid_.piece_elements);
    if (!record) return fail(record.error());
    record_ = std::move(*record);
    auto decisions = DecisionLog::open(folder_ / "decisions", first_, chain_start(run_digest_));
    if (!decisions) return fail(decisions.error());
    decisions_ = std::move(*decisions);
    if (decisions_.cut_bytes() > 0)
        log_warn("log.decisions_cut", {{"bytes", std::to_string(decisions_.cut_bytes())},
                                       {"next", std::to_string(decisions_.next().value)}});
    done = find_entries();
    if (done) done = find_prepared();
    if (done) done = find_snapshots();
    if (done) done = find_contributions();
    if (done) finish_apply();
    return done;
}

/// An entry whose decision was cut off is of the log no longer; its bytes may be needed all the same.
Result<void> RunStore::find_entries() {
    auto names = names_in(folder_ / "entries");
    if (!names) return fail(names.error());
    for (const std::string& name : *names) {
        auto number = parse_number(name);
        if (!number) continue;
        Step step{*number};
        if (step < decisions_.next()) {
            entries_.insert(step);
            continue;
        }
        auto reader = EntryReader::open(entry_path(step), grid_, codec_->id());
        Result<void> moved;
        if (reader) {
            const Plan& plan = (*reader)->plan();
            moved = rename_durably(entry_path(step), prepared_path({step, plan.term, plan.attempt, {}, {}}));
        } else {
            moved = remove_file(entry_path(step));
        }
        if (!moved) return moved;
    }
    return {};
}

Result<void> RunStore::check_manifest(const Bytes* data_manifest) {
    Bytes body = to_bytes(manifest_);
    auto known = files_.read_manifest();
    if (!known && is_disk_error(known.error().code)) return fail(known.error());
    if (known && *known != body)
        return fail(Errc::bad_state, folder_.string() + " belongs to another run",
                    "give the run a folder of its own, or move this one away");
    // The manifest comes last: a folder that has one has both.
    Result<void> written;
    if (data_manifest != nullptr) written = files_.write_data_manifest(*data_manifest);
    if (written && !known) written = files_.write_manifest(body);
    return written;
}

void RunStore::remove_temporary_files() const {
    std::vector<DiskPath> doomed;
    for (const char* name :
         {".", "entries", "prepared", "snapshots", "contribution", "progress", "state"}) {
        auto names = names_in(folder_ / name);
        if (!names) continue;
        for (const std::string& item : *names) {
            if (item.ends_with(".tmp") || item.ends_with(kStagedEnding))
                doomed.push_back(folder_ / name / item);
        }
    }
    for (const DiskPath& path : doomed) {
        auto removed = remove_tree(path);
        if (!removed) log_warn("log.cannot_remove", {{"why", removed.error().detail}});
    }
}

Result<void> RunStore::find_snapshots() {
    auto names = names_in(folder_ / "snapshots");
    if (!names) return fail(names.error());
    for (const std::string& name : *names) {
        auto number = parse_number(name);
        if (!number) continue;
        Step step{*number};
        auto snapshot = Snapshot::open(snapshot_path(step), run_digest_, grid_);
        if (snapshot && snapshot->info().step == step) {
            add_snapshot(std::move(*snapshot));
        } else {
            set_snapshot_aside(step);
        }
    }
    return {};
}

// ---- names -------------------------------------------------------------------------------------

DiskPath RunStore::entry_path(Step k) const {
    return folder_ / "entries" / std::to_string(k.value);
}
DiskPath RunStore::snapshot_path(Step k) const {
    return folder_ / "snapshots" / std::to_string(k.value);
}
// ---- decisions and entries ---------------------------------------------------------------------

std::optional<DecisionRow> RunStore::row(Step k) const {
    Lock lock(mutex_);
    const DecisionRow* found = decisions_.row(k);
    return found != nullptr ? std::optional(*found) : std::nullopt;
}

Result<void> RunStore::append_decision(const SignedDecision& decision) {
    Lock lock(mutex_);
    return decisions_.append(decision);
}

Step RunStore::log_end(Step from) const {
    Lock lock(mutex_);
    Step k = std::max(from, first_);
    for (const DecisionRow* found = decisions_.row(k); found != nullptr;
         found = decisions_.row(k)) {
        if (found->kind == EntryKind::commit && !entries_.contains(k)) break;
        k = k.next();
    }
    return k;
}

bool RunStore::has_entry(Step k) const {
    Lock lock(mutex_);
    return entries_.contains(k);
}

std::optional<Step> RunStore::oldest_entry() const {
    Lock lock(mutex_);
    return entries_.empty() ? std::nullopt : std::optional(*entries_.begin());
}

std::vector<Step> RunStore::entries() const {
    Lock lock(mutex_);
    return {entries_.begin(), entries_.end()};
}

/// The entry of step k, checked against its decision.
Result<std::shared_ptr<const EntryReader>> RunStore::open_entry(Step k) const {
    auto decided = row(k);
    if (!decided || !has_entry(k))
        return fail(Errc::not_found, "no entry " + std::to_string(k.value) + " here");
    auto reader = cached_reader(entry_path(k));
    if (!reader) return reader;
    if ((*reader)->root() != decided->root || (*reader)->plan_digest() != decided->plan_digest)
        return fail(Errc::digest_mismatch,
                    "entry " + std::to_string(k.value) + " is not the one that was decided");
    return reader;
}

Result<std::shared_ptr<const EntryReader>> RunStore::cached_reader(const DiskPath& path) const {
    constexpr std::size_t kOpenReaders = 16;
    {
        Lock lock(mutex_);
        auto found = readers_.find(path.path());
        if (found != readers_.end()) return found->second;
    }
    auto reader = EntryReader::open(path, grid_, codec_->id());
    if (!reader) return reader;
    Lock lock(mutex_);
    if (readers_.size() >= kOpenReaders) readers_.erase(readers_.begin());
    readers_[path.path()] = *reader;
    return reader;
}

void RunStore::forget_reader(const DiskPath& path) const {
    Lock lock(mutex_);
    readers_.erase(path.path());
}

void RunStore::set_entry_aside(Step k) {
    log_error("log.entry_damaged",
              {{"step", std::to_string(k.value)}, {"file", entry_path(k).string()}});
    (void)remove_file(entry_path(k));
    forget_reader(entry_path(k));
    Lock lock(mutex_);
    entries_.erase(k);
}

Result<void> RunStore::verify_entry(Step k, PieceIndex first, std::uint32_t pieces) {
    forget_reader(entry_path(k));  // what the disk has now, not what was read once
    auto reader = open_entry(k);
    Result<void> found = reader ? (*reader)->check_length() : fail(reader.error());
    for (std::uint32_t p = first.value; found && p < grid_.count() && p < first.value + pieces; ++p) {
        auto piece = (*reader)->read(PieceIndex{p});
        if (!piece) found = fail(piece.error());
    }
    return sound_entry(k, std::move(found));
}

Result<void> RunStore::sound_entry(Step k, Result<void> found) {
    if (found || !has_entry(k)) return found;
    // Not found with its file there: it came to the log after it was looked for.
    const bool gone = found.error().code == Errc::not_found && !is_there(entry_path(k));
    if (gone || is_damage(found.error().code)) set_entry_aside(k);
    return found;
}

}  // namespace skerry::node
