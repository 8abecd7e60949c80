#include <cstdint>
#include <cstring>

#include "node/compress/kernels.hpp"

#define SKERRY_KERNEL_SET kernels_baseline
#define SKERRY_KERNEL_NAME "baseline"
#include "node/compress/kernels.inc"
