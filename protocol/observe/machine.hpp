#pragma once
// What this machine has to give.

#include <filesystem>

#include "protocol/wire/messages.hpp"

namespace skerry {

/// Cores of this process's affinity, memory of /proc/meminfo or of the control groups above this process if that is
/// less, free space for a file in `folder` (or what exists above it). What cannot be read stays zero. Blocking, short.
MachineState read_machine(const std::filesystem::path& folder);

}  // namespace skerry
