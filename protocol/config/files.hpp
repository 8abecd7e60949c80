#pragma once
// Small files: read whole, written so that a crash leaves the old one or the new one.

#include <filesystem>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "protocol/base/result.hpp"

namespace skerry {

/// Errors: not_found, too_large, io_error.
Result<std::string> read_small_file(const std::filesystem::path& file, std::size_t limit);

/// Temporary file beside it, fsync, rename, fsync of the folder. Errors: disk_full, io_error.
Result<void> write_small_file(const std::filesystem::path& file, std::string_view bytes, mode_t mode);

/// Makes the folder and its parents; a folder that it makes is 0700. Errors: disk_full, io_error.
Result<void> make_private_folder(const std::filesystem::path& folder);

/// What `errno` says about `file`, as an Error (disk_full or io_error).
Error file_error(const std::string& doing, const std::filesystem::path& file, int error_number);

}  // namespace skerry
