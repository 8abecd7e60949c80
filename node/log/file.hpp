#pragma once
// The little of POSIX that the log needs, with failures as values: disk_full (ENOSPC, EDQUOT),
// not_found (ENOENT), io_error. A failed fsync is never repeated on the same file; the caller
// writes a new one.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "protocol/base/bytes.hpp"

namespace skerry::node {

namespace fs = std::filesystem;

/// Error for the current errno: "what path: reason".
Error file_error(std::string_view what, const fs::path& path);

/// Owns a descriptor. write_at and read_at may be called from several threads at once.
class File {
  public:
    File() = default;
    ~File() { close(); }
    File(File&& other) noexcept;
    File& operator=(File&& other) noexcept;

    static Result<File> open_read(const fs::path& path);
    /// Made if absent, kept if there; read and write, mode 0600.
    static Result<File> open_write(const fs::path& path);
    /// The same, and emptied.
    static Result<File> create(const fs::path& path);

    Result<void> write_at(std::uint64_t offset, ByteSpan bytes);
    /// Fills `out`; bytes that the file does not have are an io_error.
    Result<void> read_at(std::uint64_t offset, std::span<std::uint8_t> out) const;
    Result<std::uint64_t> size() const;
    Result<void> resize(std::uint64_t bytes);
    Result<void> sync();
    void close();

    bool is_open() const { return descriptor_ >= 0; }
    int descriptor() const { return descriptor_; }
    const fs::path& path() const { return path_; }
    /// After a rename, so that messages name the right file.
    void set_path(fs::path path) { path_ = std::move(path); }

  private:
    int descriptor_ = -1;
    fs::path path_;
};

/// A file mapped shared, read and write. Its pages are page cache, not memory of the process.
class MappedFile {
  public:
    MappedFile() = default;
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;

    /// Opens or makes a file of exactly `bytes` (above zero), with its blocks reserved: a full disk
    /// is an error here, not a SIGBUS later. A file of another size is made anew.
    static Result<MappedFile> open(const fs::path& path, std::uint64_t bytes);
    std::span<std::uint8_t> bytes() const { return {data_, size_}; }

  private:
    std::uint8_t* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Exclusive lock of a folder, held until destroyed. errors  bad_state: another process holds it.
class FolderLock {
  public:
    static Result<FolderLock> take(const fs::path& folder);

  private:
    File file_;
};

Result<void> make_folder(const fs::path& folder);
Result<void> sync_folder(const fs::path& folder);
/// rename, then fsync of the folder(s) concerned. The content must be synced already.
Result<void> rename_durably(const fs::path& from, const fs::path& to);
/// Temporary file, write, fsync, rename, fsync of the folder.
Result<void> write_durably(const fs::path& path, ByteSpan bytes);
Result<Bytes> read_whole(const fs::path& path, std::uint64_t limit);
/// Removes a file or a tree; absent is fine.
Result<void> remove_tree(const fs::path& path);
/// Disk space of a file, and of all files under a folder; 0 for what is not there.
std::uint64_t bytes_of(const fs::path& file);
std::uint64_t bytes_under(const fs::path& folder);

/// A small file that says what it is and whether it is whole: tag, zero byte, u64 length, payload,
/// SHA-256 of all that.
Bytes seal(std::string_view tag, ByteSpan payload);
/// errors  malformed: not this kind of file; digest_mismatch: torn or damaged.
Result<Bytes> unseal(std::string_view tag, ByteSpan sealed);
Result<void> write_sealed(const fs::path& path, std::string_view tag, ByteSpan payload);
Result<Bytes> read_sealed(const fs::path& path, std::string_view tag, std::uint64_t limit);

/// A step, term, ... as a file name; and back (digits only).
std::optional<std::uint64_t> parse_number(std::string_view text);

}  // namespace skerry::node
