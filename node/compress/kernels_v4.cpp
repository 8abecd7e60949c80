#include <cstdint>
#include <cstring>

#include "node/compress/kernels.hpp"

#define SKERRY_KERNEL_SET kernels_v4
#define SKERRY_KERNEL_NAME "v4"
#include "node/compress/kernels.inc"
