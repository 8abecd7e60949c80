#include "node/app/store_actions.hpp"

#include <boost/asio/post.hpp>

#include "node/log/base_state.hpp"
#include "node/log/store_work.hpp"
#include "protocol/base/run_on.hpp"
#include "protocol/rules/base_file.hpp"

namespace skerry::node {

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

template <class A>
void StoreActions::run_on_store(const A& action) {
    run(action.op, [store = store_, action] { return carry_out(*store, action); });
}

void StoreActions::perform(const PersistSeen& action) {
    run(action.op, [folder = parts_.folder, action] { return carry_out(folder, action); });
}

void StoreActions::perform(const AdoptManifest& action) {
    asio::post(parts_.disk, [this, action] {
        auto made = carry_out(parts_.folder, action);
        asio::post(parts_.io, [this, op = action.op, data = action.data_manifest, made = std::move(made)]() mutable {
            if (!made) return finish(op, fail(made.error()));
            store_ = *made;
            auto taken = parts_.adopted(store_, std::move(data));
            if (!taken) return finish(op, fail(taken.error()));
            finish(op, Answer{});
        });
    });
}

void StoreActions::perform(const SaveLeases& action) {
    asio::post(parts_.disk, [folder = parts_.folder, action] { carry_out(folder, action); });
}

void StoreActions::perform(const DropPrivateState& action) {
    asio::post(parts_.disk,
               [folder = parts_.folder, store = store_, action] { carry_out(folder, store.get(), action); });
}

void StoreActions::perform(const LoadState& action) {
    if (action.initial && !store_->manifest().initial_root.is_zero()) return parts_.spawn(load_first(action));
    run_on_store(action);
}

/// S_0 of a fork comes from the coordinator, once; then its file lies in the run folder. A fetch that ended in between left
/// it, or a part of it, among the data shards.
Task<> StoreActions::load_first(LoadState action) {
    auto store = store_;
    auto look = [store] { return has_first_state(store->manifest(), store->folder()); };
    const bool here = co_await run_on(parts_.disk, std::move(look));
    if (here) {
        run_on_store(action);
        co_return;
    }
    const Manifest& manifest = store->manifest();
    auto file = co_await parts_.fetch(manifest.initial_root, base_file_bytes(manifest.elements));
    if (!file) {
        finish(action.op, fail(file.error()));
        co_return;
    }
    run(action.op, [store, action, from = DiskPath(*file)]() -> Result<Answer> {
        auto moved = rename_durably(from, store->folder() / kBaseState);
        if (!moved) return fail(moved.error());
        return carry_out(*store, action);
    });
}

void StoreActions::perform(const ComputeDigest& action) { run_on_store(action); }
void StoreActions::perform(const WriteSnapshot& action) { run_on_store(action); }
void StoreActions::perform(const VerifyKept& action) { run_on_store(action); }
void StoreActions::perform(const Prune& action) { run_on_store(action); }

}  // namespace skerry::node
