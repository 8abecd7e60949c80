#pragma once
// Files of a disk, with failures as values: disk_full (ENOSPC, EDQUOT), not_found (ENOENT),
// io_error. A failed fsync is never repeated on the same file; the caller writes a new one.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "node/core/disk_errors.hpp"
#include "node/log/disk.hpp"
#include "protocol/base/bytes.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

/// An open file and its name. write_at and read_at may be called from several threads at once.
class File {
  public:
    static Result<File> open_read(const DiskPath& path);
    /// Made if absent, kept if there; read and write, mode 0600.
    static Result<File> open_write(const DiskPath& path);
    /// The same, and emptied.
    static Result<File> create(const DiskPath& path);

    Result<void> write_at(std::uint64_t offset, ByteSpan bytes);
    /// Fills `out`; bytes that the file does not have are an io_error.
    Result<void> read_at(std::uint64_t offset, std::span<std::uint8_t> out) const;
    Result<std::uint64_t> size() const;
    Result<void> resize(std::uint64_t bytes);
    /// Blocks for the first `bytes` now: a full disk shows before they are written. False where the
    /// file system cannot.
    Result<bool> reserve(std::uint64_t bytes);
    Result<void> sync();
    /// Negative where there is none.
    int descriptor() const { return file_->descriptor(); }
    std::string identity() const { return file_->identity(); }
    const DiskPath& path() const { return path_; }
    /// After a rename, so that messages name the right file.
    void set_path(DiskPath path) { path_ = std::move(path); }

  private:
    friend class MappedFile;
    friend class FolderLock;
    Error error(std::string_view what, int code) const;
    static Result<File> open(const DiskPath& path, Disk::Mode mode);

    std::unique_ptr<DiskFile> file_;
    DiskPath path_;
};

/// A file mapped shared, read and write. Its pages are page cache, not memory of the process.
class MappedFile {
  public:
    /// Opens or makes a file of exactly `bytes` (above zero), with its blocks reserved: a full disk
    /// is an error here, not a SIGBUS later. A file of another size is made anew.
    static Result<MappedFile> open(const DiskPath& path, std::uint64_t bytes);
    std::span<std::uint8_t> bytes() const { return bytes_; }
    std::string identity() const { return file_.identity(); }

  private:
    File file_;
    std::span<std::uint8_t> bytes_;
};

/// Exclusive lock of a folder, held until destroyed. errors  bad_state: another process holds it.
class FolderLock {
  public:
    static Result<FolderLock> take(const DiskPath& folder);

  private:
    File file_;
};

/// Durable, also where it was there.
Result<void> make_folder(const DiskPath& folder);
Result<void> sync_folder(const DiskPath& folder);
/// Not durable.
Result<void> rename_file(const DiskPath& from, const DiskPath& to);
/// rename, then fsync of the folder(s) concerned. The content must be synced already.
Result<void> rename_durably(const DiskPath& from, const DiskPath& to);
/// Temporary file, write, fsync, rename, fsync of the folder.
Result<void> write_durably(const DiskPath& path, ByteSpan bytes);
Result<Bytes> read_whole(const DiskPath& path, std::uint64_t limit);
bool is_there(const DiskPath& path);
/// Names in a folder, ascending. errors  not_found.
Result<std::vector<std::string>> names_in(const DiskPath& folder);
/// Removes a file; absent is fine.
Result<void> remove_file(const DiskPath& path);
/// Removes a file or a tree; absent is fine.
Result<void> remove_tree(const DiskPath& path);
/// Disk space of a file, and of all files under a folder; 0 for what is not there.
std::uint64_t bytes_of(const DiskPath& file);
std::uint64_t bytes_under(const DiskPath& folder);

/// A small file that says what it is and whether it is whole: tag, zero byte, u64 length, payload,
/// SHA-256 of all that.
Bytes seal(std::string_view tag, ByteSpan payload);
/// errors  malformed: not this kind of file; digest_mismatch: torn or damaged.
Result<Bytes> unseal(std::string_view tag, ByteSpan sealed);
Result<void> write_sealed(const DiskPath& path, std::string_view tag, ByteSpan payload);
Result<Bytes> read_sealed(const DiskPath& path, std::string_view tag, std::uint64_t limit);

/// A step, term, ... as a file name; and back (digits only).
std::optional<std::uint64_t> parse_number(std::string_view text);

}  // namespace skerry::node
