#pragma once
// The plainest tar archive there is (POSIX ustar): regular files with names of at most 100 bytes. Written by one
// pass and read by one pass, a window in memory; `tar` and Python's tarfile read it too. No thread of its own.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "protocol/base/bytes.hpp"
#include "protocol/base/result.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::coordinator {

inline constexpr std::uint64_t kUstarMaxFile = (std::uint64_t{1} << 33) - 1;  ///< bytes: eleven octal digits
inline constexpr std::size_t kUstarMaxName = 100;                            ///< bytes

using TakeBytes = std::function<Result<void>(ByteSpan)>;

/// Feeds what is left of an open file to `take`, window by window; answers its size. `name` is for errors (io_error).
Result<std::uint64_t> read_through(int fd, const std::filesystem::path& name, const TakeBytes& take);

/// Writes all of `bytes`. Errors: disk_full, io_error.
Result<void> write_through(int fd, const std::filesystem::path& name, ByteSpan bytes);

/// Writes an archive: per file a header, exactly as many bytes as it says, and the padding; at last `end`.
/// Equal content gives an equal archive: no times, no owners. Errors: disk_full, io_error.
class UstarWriter {
  public:
    UstarWriter(std::filesystem::path archive, int fd) : archive_(std::move(archive)), fd_(fd) {}
    Result<void> header(const std::string& path, std::uint64_t size, std::uint32_t mode);
    Result<void> put(ByteSpan bytes);
    Result<void> pad();
    /// A small file, whole.
    Result<void> text(const std::string& path, const std::string& content);
    Result<void> end();

  private:
    std::filesystem::path archive_;
    int fd_;
    std::uint64_t written_ = 0;
};

/// Reads an archive whose files come in an order that the reader knows. Errors: malformed (another file than
/// expected, cut short, too large), io_error.
class UstarReader {
  public:
    UstarReader(std::filesystem::path archive, int fd) : archive_(std::move(archive)), fd_(fd) {}
    /// The size of the next file, which must be `path`.
    Result<std::uint64_t> header(const std::string& path);
    /// The `bytes` of the file whose header was read, and its padding.
    Result<void> content(std::uint64_t bytes, const TakeBytes& use);
    /// The next file, which must be `path` and no larger than `limit` bytes.
    Result<std::string> text(const std::string& path, std::uint64_t limit);
    Result<void> end();
    /// Bytes read so far.
    std::uint64_t bytes() const { return read_; }
    /// SHA-256 of these; once.
    Digest finish_hash() { return whole_.finish(); }

  private:
    Result<void> take(std::uint64_t bytes, const TakeBytes& use);
    Fail damaged(const std::string& what) const;

    std::filesystem::path archive_;
    int fd_;
    Sha256 whole_;
    std::uint64_t read_ = 0;
};

}  // namespace skerry::coordinator
