#include "protocol/base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace skerry {
void assertion_failed(const char* what, const char* file, int line) {
    std::fprintf(stderr, "assertion failed: %s at %s:%d\n", what, file, line);
    std::abort();
}
}  // namespace skerry
