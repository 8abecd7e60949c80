#include "node/log/store_work.hpp"

#include <algorithm>
#include <iterator>

#include "node/log/progress_files.hpp"
#include "protocol/base/log.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

Result<Answer> state_answer(Result<Digest> digest) {
    if (!digest) return fail(digest.error());
    return Answer{StateAnswer{*digest, true}};
}

}  // namespace

Result<Answer> carry_out(const DiskPath& folder, const PersistSeen& action) {
    NodeFiles files(folder);
    auto made = make_folder(folder);
    if (!made) return fail(made.error());
    auto old = files.read_seen();
    Seen seen = old ? *old : Seen{};
    seen.term = action.term;
    seen.epoch = action.epoch;
    seen.incarnation = action.incarnation;
    if (action.roster) seen.roster = *action.roster;
    if (!action.ticket.empty()) seen.ticket = action.ticket;
    return to_answer(files.write_seen(seen));
}

Result<std::shared_ptr<RunStore>> carry_out(const DiskPath& folder, const AdoptManifest& action) {
    auto manifest = parse_manifest(action.manifest);
    if (!manifest) return fail(manifest.error());
    const bool used = is_there(folder / "decisions");
    auto store = RunStore::open(folder, *manifest, &action.data_manifest);
    if (!store) return fail(store.error());
    if (used)
        return fail(Errc::bad_state, folder.string() + ": the damaged manifest is written anew; the node starts again",
                    "look after that disk");
    return std::shared_ptr<RunStore>(std::move(*store));
}

void carry_out(const DiskPath& folder, const SaveLeases& action) {
    auto written = NodeFiles(folder).write_leases(action.leases);
    if (!written) log_warn("leases.write", {{"error", written.error().detail}});
}

void carry_out(const DiskPath& folder, RunStore* store, const DropPrivateState&) {
    auto dropped = ProgressFiles(folder).drop_all();
    if (!dropped) log_warn("progress.drop", {{"error", dropped.error().detail}});
    if (store != nullptr) store->drop_own_contribution();
}

Result<Answer> carry_out(RunStore& store, const LoadState& action) {
    auto loaded = store.load_state(action.step);
    if (!loaded) return fail(loaded.error());
    return state_answer(store.digest_state());
}

Result<Answer> carry_out(RunStore& store, const ComputeDigest&) { return state_answer(store.digest_state()); }

Result<Answer> carry_out(RunStore& store, const WriteSnapshot&) {
    auto written = store.write_snapshot();
    if (!written) return fail(written.error());
    return Answer{StateAnswer{written->state_digest, true}};
}

Result<Answer> carry_out(RunStore& store, const VerifyKept& action) {
    const Step step = action.what.step;
    auto found = action.what.snapshot ? store.verify_snapshot(step, action.first, action.pieces)
                                      : store.verify_entry(step, action.first, action.pieces);
    if (!found && is_disk_error(found.error().code))
        log_warn("log.unreadable", {{"step", std::to_string(step.value)}, {"error", found.error().detail}});
    return to_answer(std::move(found));
}

static std::vector<Step> in_both(const std::vector<Step>& a, const std::vector<Step>& b) {
    std::vector<Step> out;
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
    return out;
}

Result<Answer> carry_out(RunStore& store, const Prune& action) {
    // The core says from which step on the log must stay; what of the rest goes is the quota's business.
    RetentionChoice choice = store.prunable(action.floor);
    PrunedAnswer going{std::move(choice.drop_snapshots), std::move(choice.drop_entries)};
    if (!action.chosen) return Answer{std::move(going)};
    // What was chosen, as far as it may still go: a snapshot can have rotted meanwhile.
    going = {in_both(going.snapshots, action.chosen->snapshots), in_both(going.entries, action.chosen->entries)};
    if (auto dropped = store.drop(going.snapshots, going.entries); !dropped) return fail(dropped.error());
    return Answer{std::move(going)};
}

}  // namespace skerry::node
