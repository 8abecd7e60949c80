#pragma once
// Our own bugs stop the process, in release too. Peer input never reaches an assertion.

namespace skerry {
[[noreturn]] void assertion_failed(const char* what, const char* file, int line);
}

#define SKERRY_ASSERT(cond) \
    (static_cast<bool>(cond) ? void(0) : ::skerry::assertion_failed(#cond, __FILE__, __LINE__))
