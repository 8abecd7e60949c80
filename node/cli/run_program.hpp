#pragma once
// Other programs, run to their end without a shell.

#include <string>
#include <vector>

#include "protocol/base/result.hpp"

namespace skerry::node {

struct ProgramOutput {
    int status = 0;    ///< exit status; 128 + signal
    std::string text;  ///< standard output and error, the first MiB
};
/// Errors: not_found if there is no such program; io_error.
Result<ProgramOutput> run_program(const std::vector<std::string>& command);

}  // namespace skerry::node
