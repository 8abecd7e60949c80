#pragma once
// What a rebuild keeps of a database that came from a backup: the chain and the ledger are the nodes', what only a
// coordinator knows is the backup's.

#include "coordinator/core/rebuild.hpp"

namespace skerry::coordinator {

/// Tokens, tickets, revocations, the run's state, and nodes that nobody's roster names any more are taken over; numbers
/// rise above both. Errors: bad_state: the backup knows decisions that no node holds, or another chain.
Result<void> keep_base(Rebuilt& rebuilt, const Image& base);

}  // namespace skerry::coordinator
