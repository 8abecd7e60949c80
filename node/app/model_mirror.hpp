#pragma once
// What a follower is for: the newest state as a model folder that other tools load.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "node/data/data_manifest.hpp"
#include "node/log/run_store.hpp"
#include "node/metrics/node_status.hpp"
#include "protocol/base/task.hpp"
#include "protocol/base/units.hpp"

namespace skerry::node {

/// `DIR/step-K`, and `DIR/newest`, a link to one of them. A folder is written beside, synced and named, then the link is
/// switched in one rename: whoever opens `newest` finds a whole one. The one before it stays, for readers that are not
/// done with it; older ones go. A kill leaves at most a part under another name, which the next start removes.
///
/// Belongs to the io thread. Writing runs on `disk`, between the actions that change the state, and takes at most half of
/// that thread's time.
class ModelMirror {
  public:
    ModelMirror(asio::any_io_executor io, asio::any_io_executor disk, std::filesystem::path folder, Millis every);

    /// The files of `data` go into every folder as they are; they lie in `shards` by hash, once they are fetched.
    void set_store(std::shared_ptr<RunStore> store, DataManifest data, std::filesystem::path shards);
    /// The state is another one now.
    void moved();
    /// Waits for its time and writes, until cancelled.
    Task<> run();

    MirrorFacts facts() const;

    /// The work itself: S_{state_step} of the store, unless it is there already; its step. Runs on the calling thread.
    /// Errors: as export_model_folder; already_exists: DIR is of another run; bad_state: there is no state; not_found: a file
    /// that goes into the folder is not here yet.
    static Result<Step> write(RunStore& store, const DataManifest& data, const std::filesystem::path& shards,
                              const std::filesystem::path& folder);

  private:
    asio::any_io_executor disk_;
    std::filesystem::path folder_;
    Millis every_;
    std::shared_ptr<RunStore> store_;
    DataManifest data_;
    std::filesystem::path shards_;
    asio::steady_timer wake_;
    bool due_ = false;
    Step step_;
    std::uint64_t written_ = 0;
    std::optional<Error> error_;
};

}  // namespace skerry::node
