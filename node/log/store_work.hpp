#pragma once
// The core's actions on durable facts and on the state, as work on a run folder: what runs on the disk thread. The
// shell decides when, and reports what comes out.

#include <memory>
#include <utility>

#include "node/core/actions.hpp"
#include "node/log/run_store.hpp"

namespace skerry::node {

/// What came out of the work for an action, as its Done has it.
template <class T>
Result<Answer> to_answer(Result<T> result) {
    if (!result) return fail(result.error());
    return Answer{std::move(*result)};
}
inline Result<Answer> to_answer(Result<void> result) {
    if (!result) return fail(result.error());
    return Answer{};
}

/// Fields that the action leaves empty stay as they are. Makes the folder if need be.
Result<Answer> carry_out(const DiskPath& folder, const PersistSeen& action);
/// Makes the run folder. errors  bad_state: it was there, but its manifest was damaged. It is mended; the process
/// must start again to learn what else is in it.
Result<std::shared_ptr<RunStore>> carry_out(const DiskPath& folder, const AdoptManifest& action);
/// A cache: what fails is logged.
void carry_out(const DiskPath& folder, const SaveLeases& action);
/// `store` may be null: then there is no contribution to drop.
void carry_out(const DiskPath& folder, RunStore* store, const DropPrivateState& action);
Result<Answer> carry_out(RunStore& store, const LoadState& action);
Result<Answer> carry_out(RunStore& store, const ComputeDigest& action);
Result<Answer> carry_out(RunStore& store, const WriteSnapshot& action);
Result<Answer> carry_out(RunStore& store, const VerifyKept& action);
Result<Answer> carry_out(RunStore& store, const Prune& action);

}  // namespace skerry::node
