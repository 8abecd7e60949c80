#pragma once
// What the disk says at a start, verified, in the form the core takes.

#include "node/core/node_core.hpp"
#include "node/log/run_store.hpp"

namespace skerry::node {

/// Runs before the io loop; may read all of the prepared entry and the contribution. Errors: disk_full, io_error,
/// bad_state (another process has the folder). A damaged part is left out, so that it is fetched again.
/// `store` is null before the first Welcome.
Result<NodeImage> load_image(const NodeFiles& files, RunStore* store);

/// A run folder as a process finds it.
struct OpenedRun {
    std::shared_ptr<RunStore> store;  ///< null before the first Welcome
    Bytes data_manifest;
    Bytes ticket;  ///< empty: none
    NodeImage image;
};
/// Opens what is there, damaged or not. Errors: those of load_image and RunStore::open.
Result<OpenedRun> open_run(const DiskPath& folder);

}  // namespace skerry::node
