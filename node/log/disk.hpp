#pragma once
// What the log needs of a file system, and nothing more. Programs run on the one of this machine (posix_disk);
// whoever wants to know what a crash leaves puts the log on another.
//
// Failures are errno values: 0 is success. file.hpp makes errors of them.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/base/bytes.hpp"

namespace skerry::node {

namespace fs = std::filesystem;

/// An open file; closed with the object. read and write may be called from several threads at once.
class DiskFile {
  public:
    virtual ~DiskFile() = default;
    /// Bytes written, which may be fewer than asked; or minus errno.
    virtual std::int64_t write(std::uint64_t offset, ByteSpan bytes) = 0;
    /// Bytes read, 0 at the end; or minus errno.
    virtual std::int64_t read(std::uint64_t offset, std::span<std::uint8_t> out) const = 0;
    virtual int size(std::uint64_t& bytes) const = 0;
    virtual int resize(std::uint64_t bytes) = 0;
    /// Blocks for the first `bytes`, and at least that size. EOPNOTSUPP: this file system cannot.
    virtual int reserve(std::uint64_t bytes) = 0;
    /// Content and what is needed to find it.
    virtual int sync() = 0;
    /// The first `bytes` mapped shared, read and write, until the object dies. Once.
    virtual int map(std::uint64_t bytes, std::span<std::uint8_t>& out) = 0;
    /// Exclusive, until the object dies. EWOULDBLOCK: somebody else has it.
    virtual int lock() = 0;
    /// The file itself, in this run of the machine: another one after a power cut, and for a copy. Empty: not known.
    virtual std::string identity() const { return {}; }
    /// For those who pass it to another process; negative where there is none.
    virtual int descriptor() const { return -1; }
};

/// A file system. Any thread, several at once.
class Disk {
  public:
    enum class Mode : std::uint8_t {
        read,   ///< ENOENT if it is not there
        write,  ///< read and write; made if absent, kept if there; mode 0600
    };
    struct About {
        bool folder = false;
        std::uint64_t allocated = 0;  ///< bytes of disk space; 0 for a folder
    };

    virtual ~Disk() = default;
    virtual int open(const fs::path& path, Mode mode, std::unique_ptr<DiskFile>& out) = 0;
    /// EEXIST if there is one. Mode 0700.
    virtual int make_folder(const fs::path& path) = 0;
    /// What names are in it, durably.
    virtual int sync_folder(const fs::path& path) = 0;
    /// Replaces a file, or an empty folder, of the new name.
    virtual int rename(const fs::path& from, const fs::path& to) = 0;
    /// A file or an empty folder.
    virtual int remove(const fs::path& path) = 0;
    /// Names in a folder, in any order.
    virtual int list(const fs::path& path, std::vector<std::string>& names) = 0;
    virtual std::optional<About> about(const fs::path& path) = 0;
};

/// This machine's file system.
Disk& posix_disk();

/// A path and the disk that it is on: this machine's, unless another one is named.
class DiskPath {
  public:
    DiskPath() = default;
    DiskPath(fs::path path) : path_(std::move(path)) {}  // implicit: most paths are this machine's
    DiskPath(Disk& disk, fs::path path) : disk_(&disk), path_(std::move(path)) {}

    Disk& disk() const { return *disk_; }
    const fs::path& path() const { return path_; }
    std::string string() const { return path_.string(); }
    std::string name() const { return path_.filename().string(); }
    bool empty() const { return path_.empty(); }
    DiskPath parent() const { return {*disk_, path_.parent_path()}; }
    DiskPath operator/(const fs::path& below) const { return {*disk_, path_ / below}; }
    /// The path with `ending` behind its last name.
    DiskPath with(std::string_view ending) const {
        fs::path longer = path_;
        longer += ending;
        return {*disk_, std::move(longer)};
    }

  private:
    Disk* disk_ = &posix_disk();
    fs::path path_;
};

}  // namespace skerry::node
