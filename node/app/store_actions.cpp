#include "node/app/store_actions.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "node/log/base_state.hpp"
#include "node/log/store_work.hpp"

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
    if (action.initial && !has_first_state(store_->manifest(), parts_.folder)) {
        asio::co_spawn(parts_.io, fetch_base(action), [](std::exception_ptr error) {
            if (error) std::rethrow_exception(error);
        });
        return;
    }
    run_on_store(action);
}

/// S_0 of a fork comes from the coordinator, once; then it lies in the run folder.
Task<> StoreActions::fetch_base(LoadState action) {
    auto store = store_;
    auto bytes = base_state_bytes(store->manifest().elements);
    auto file = co_await parts_.fetch(store->manifest().initial_root, bytes);
    if (!file) {
        finish(action.op, fail(file.error()));
        co_return;
    }
    run(action.op, [store, action, from = DiskPath(*file), to = parts_.folder / kBaseState]() -> Result<Answer> {
        auto moved = rename_durably(from, to);
        if (!moved) return fail(moved.error());
        return carry_out(*store, action);
    });
}
void StoreActions::perform(const ComputeDigest& action) { run_on_store(action); }
void StoreActions::perform(const WriteSnapshot& action) { run_on_store(action); }
void StoreActions::perform(const Prune& action) { run_on_store(action); }

}  // namespace skerry::node
