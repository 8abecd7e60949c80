#pragma once
// What the disk says at a start, verified, in the form the core takes.

#include "node/core/node_core.hpp"
#include "node/log/run_store.hpp"

namespace skerry::node {

/// Runs before the io loop; may read all of the prepared entry and the contribution. Errors: disk_full, io_error,
/// bad_state (another process has the folder). A damaged part is left out, so that it is fetched again.
/// `store` is null before the first Welcome.
Result<NodeImage> load_image(const NodeFiles& files, RunStore* store);

}  // namespace skerry::node
