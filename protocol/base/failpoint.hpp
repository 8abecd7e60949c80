#pragma once
// Places where a test can kill this process. Environment: SKERRY_FAILPOINT=name[:count] kills it (SIGKILL: no
// destructor, no flush) when the place is passed for the count-th time (default 1). Several: comma-separated.
//
// Always compiled in: the cost is one comparison where the variable is not set. Any thread.

#include <string_view>

namespace skerry {

/// Names in use: docs/failpoints.md.
void failpoint(std::string_view name);

}  // namespace skerry
