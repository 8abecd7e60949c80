#pragma once
// What a database needs of its disk besides what SQLite does itself. A seam: the simulator puts a machine's own disk here.

#include <filesystem>

#include "protocol/base/result.hpp"

namespace skerry::coordinator {

/// Errors of all: disk_full, io_error. Nothing here follows links or replaces more than it says.
class StoreFiles {
  public:
    virtual ~StoreFiles() = default;

    /// The SQLite VFS that goes with it; nullptr: SQLite's own.
    virtual const char* vfs() const = 0;

    virtual bool exists(const std::filesystem::path& file) = 0;
    /// New, empty, mode 0600. Errors: already_exists.
    virtual Result<void> create_private(const std::filesystem::path& file) = 0;
    /// `to` is made anew (mode 0600) with the content of `from`, and synced. Its name is not.
    virtual Result<void> copy_durably(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
    /// A second name. Errors: already_exists.
    virtual Result<void> link(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
    /// Replaces.
    virtual Result<void> rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
    /// Absent is fine.
    virtual Result<void> remove(const std::filesystem::path& file) = 0;
    virtual Result<void> sync(const std::filesystem::path& file) = 0;
    virtual Result<void> sync_folder(const std::filesystem::path& folder) = 0;
};

/// The operating system's.
StoreFiles& os_files();

}  // namespace skerry::coordinator
