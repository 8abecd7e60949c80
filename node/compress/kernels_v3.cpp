#include <cstdint>
#include <cstring>

#include "node/compress/kernels.hpp"

#define SKERRY_KERNEL_SET kernels_v3
#define SKERRY_KERNEL_NAME "v3"
#include "node/compress/kernels.inc"
