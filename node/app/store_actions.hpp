#pragma once
// The core's actions on durable facts and on the state: all on the disk thread, in the order given.

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <functional>
#include <memory>

#include "node/core/actions.hpp"
#include "node/log/run_store.hpp"
#include "protocol/base/task.hpp"

namespace skerry::node {

/// Belongs to the io thread; the work itself runs on `disk`, where nothing overlaps.
class StoreActions {
  public:
    struct Parts {
        asio::any_io_executor io;
        asio::any_io_executor disk;  ///< one thread
        DiskPath folder;
        std::function<void(Event)> report;
        std::function<Result<void>(std::shared_ptr<RunStore>, Bytes data_manifest)> adopted;  ///< io thread
        /// The verified file of this hash and size, from the coordinator. Called on the io thread.
        std::function<Task<Result<std::filesystem::path>>(Digest, std::uint64_t bytes)> fetch;
        std::function<void(Task<>)> spawn;  ///< as a child of the agent, on the io thread
    };
    StoreActions(Parts parts, std::shared_ptr<RunStore> store);

    void perform(const PersistSeen& action);
    void perform(const AdoptManifest& action);
    void perform(const SaveLeases& action);
    void perform(const DropPrivateState& action);
    void perform(const LoadState& action);
    void perform(const ComputeDigest& action);
    void perform(const WriteSnapshot& action);
    void perform(const VerifyKept& action);
    void perform(const Prune& action);

    std::shared_ptr<RunStore> store() const { return store_; }

  private:
    template <class Work>
    void run(OpId op, Work work);
    template <class A>
    void run_on_store(const A& action);
    void finish(OpId op, Result<Answer> result);
    Task<> load_first(LoadState action);

    Parts parts_;
    std::shared_ptr<RunStore> store_;
};

}  // namespace skerry::node
