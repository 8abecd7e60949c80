#pragma once
// Whether an address that a node advertises can be reached from here.

#include <chrono>
#include <vector>

#include "protocol/base/task.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::coordinator {

/// Opens (and closes at once) a TCP connection to the addresses in turn; true with the first that answers. Nothing
/// is sent. `patience` is for each, its name included.
Task<bool> can_reach(std::vector<Address> addresses, std::chrono::milliseconds patience);

}  // namespace skerry::coordinator
