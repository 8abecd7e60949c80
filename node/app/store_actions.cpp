#include "node/app/store_actions.hpp"

#include <boost/asio/post.hpp>

#include "node/app/progress_files.hpp"
#include "protocol/base/log.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

Result<Answer> answer(Result<void> result) {
    if (!result) return fail(result.error());
    return Answer{};
}

Result<Answer> state_answer(Result<Digest> digest) {
    if (!digest) return fail(digest.error());
    return Answer{StateAnswer{*digest, true}};
}

}  // namespace

StoreActions::StoreActions(Parts parts, std::shared_ptr<RunStore> store)
    : parts_(std::move(parts)), store_(std::move(store)) {}

void StoreActions::finish(OpId op, Result<Answer> result) {
    Done done{op, {}, {}};
    if (result) done.answer = std::move(*result);
    else done.error = result.error();
    parts_.report(std::move(done));
}

template <class Work>
void StoreActions::run(OpId op, Work work) {
    asio::post(parts_.disk, [this, op, work = std::move(work)]() mutable {
        Result<Answer> result = work();
        asio::post(parts_.io, [this, op, result = std::move(result)]() mutable { finish(op, std::move(result)); });
    });
}

void StoreActions::perform(const PersistSeen& action) {
    run(action.op, [folder = parts_.folder, action]() -> Result<Answer> {
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
        return answer(files.write_seen(seen));
    });
}

void StoreActions::perform(const AdoptManifest& action) {
    asio::post(parts_.disk, [this, action]() {
        auto made = [&]() -> Result<std::shared_ptr<RunStore>> {
            auto manifest = parse_manifest(action.manifest);
            if (!manifest) return fail(manifest.error());
            auto store = RunStore::open(parts_.folder, *manifest);
            if (!store) return fail(store.error());
            auto kept = (*store)->files().write_data_manifest(action.data_manifest);
            if (!kept) return fail(kept.error());
            kept = (*store)->files().write_manifest(action.manifest);
            if (!kept) return fail(kept.error());
            return std::shared_ptr<RunStore>(std::move(*store));
        }();
        asio::post(parts_.io, [this, op = action.op, data = action.data_manifest, made = std::move(made)]() mutable {
            if (!made) return finish(op, fail(made.error()));
            store_ = *made;
            auto taken = parts_.adopted(store_, std::move(data));
            finish(op, answer(taken));
        });
    });
}

void StoreActions::perform(const SaveLeases& action) {
    asio::post(parts_.disk, [folder = parts_.folder, leases = action.leases] {
        auto written = NodeFiles(folder).write_leases(leases);
        if (!written) log_warn("leases.write", {{"error", written.error().detail}});
    });
}

void StoreActions::perform(const DropPrivateState&) {
    asio::post(parts_.disk, [store = store_, folder = parts_.folder] {
        (void)ProgressFiles(folder).drop_all();
        if (store) store->drop_own_contribution();
    });
}

void StoreActions::perform(const LoadState& action) {
    run(action.op, [store = store_, action]() -> Result<Answer> {
        auto loaded = store->load_state(action.step);
        if (!loaded) return fail(loaded.error());
        return state_answer(store->digest_state());
    });
}

void StoreActions::perform(const ComputeDigest& action) {
    run(action.op, [store = store_] { return state_answer(store->digest_state()); });
}

void StoreActions::perform(const WriteSnapshot& action) {
    run(action.op, [store = store_]() -> Result<Answer> {
        auto written = store->write_snapshot();
        if (!written) return fail(written.error());
        return Answer{StateAnswer{written->state_digest, true}};
    });
}

void StoreActions::perform(const Prune& action) {
    run(action.op, [store = store_, action]() -> Result<Answer> {
        // The core says from which step on the log must stay; what of the rest goes is the quota's business.
        auto pruned = store->prune(action.entries_below, {});
        if (!pruned) return fail(pruned.error());
        return Answer{PrunedAnswer{std::move(pruned->snapshots), std::move(pruned->entries)}};
    });
}

}  // namespace skerry::node
