#include "node/log/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <utility>

#include "protocol/identity/hash.hpp"

namespace skerry::node {

Error file_error(std::string_view what, const fs::path& path) {
    int code = errno;
    std::string detail =
        std::string(what) + " " + path.string() + ": " + std::generic_category().message(code);
    if (code == ENOSPC || code == EDQUOT)
        return {Errc::disk_full, std::move(detail),
                "free space on that disk, or give the node a larger quota elsewhere"};
    if (code == ENOENT) return {Errc::not_found, std::move(detail), {}};
    return {Errc::io_error, std::move(detail), {}};
}

// ---- File --------------------------------------------------------------------------------------

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
    if (this != &other) {
        close();
        descriptor_ = std::exchange(other.descriptor_, -1);
        path_ = std::move(other.path_);
    }
    return *this;
}

void File::close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

namespace {
Result<int> open_descriptor(const fs::path& path, int flags) {
    int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (descriptor < 0) return fail(file_error("open", path));
    return descriptor;
}
}  // namespace

Result<File> File::open_read(const fs::path& path) {
    auto descriptor = open_descriptor(path, O_RDONLY);
    if (!descriptor) return fail(descriptor.error());
    File file;
    file.descriptor_ = *descriptor;
    file.path_ = path;
    return file;
}

Result<File> File::open_write(const fs::path& path) {
    auto descriptor = open_descriptor(path, O_RDWR | O_CREAT);
    if (!descriptor) return fail(descriptor.error());
    File file;
    file.descriptor_ = *descriptor;
    file.path_ = path;
    return file;
}

Result<File> File::create(const fs::path& path) {
    auto file = open_write(path);
    if (!file) return file;
    auto emptied = file->resize(0);
    if (!emptied) return fail(emptied.error());
    return file;
}

Result<void> File::write_at(std::uint64_t offset, ByteSpan bytes) {
    while (!bytes.empty()) {
        ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("write", path_));
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<void> File::read_at(std::uint64_t offset, std::span<std::uint8_t> out) const {
    while (!out.empty()) {
        ssize_t n = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("read", path_));
        if (n == 0) return fail(Errc::io_error, "read " + path_.string() + ": it is too short");
        out = out.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<std::uint64_t> File::size() const {
    struct stat info {};
    if (::fstat(descriptor_, &info) != 0) return fail(file_error("stat", path_));
    return static_cast<std::uint64_t>(info.st_size);
}

Result<void> File::resize(std::uint64_t bytes) {
    if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0)
        return fail(file_error("resize", path_));
    return {};
}

Result<void> File::sync() {
    if (::fdatasync(descriptor_) != 0) return fail(file_error("fsync", path_));
    return {};
}

// ---- MappedFile --------------------------------------------------------------------------------

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(data_, size_);
}

Result<MappedFile> MappedFile::open(const fs::path& path, std::uint64_t bytes) {
    auto file = File::open_write(path);
    if (!file) return fail(file.error());
    auto size = file->size();
    if (!size) return fail(size.error());
    if (*size != bytes) {
        auto emptied = file->resize(0);
        if (!emptied) return fail(emptied.error());
    }
    int code = ::posix_fallocate(file->descriptor(), 0, static_cast<off_t>(bytes));
    if (code != 0) {
        errno = code;
        return fail(file_error("reserve space for", path));
    }
    void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->descriptor(), 0);
    if (data == MAP_FAILED) return fail(file_error("map", path));
    MappedFile mapped;
    mapped.data_ = static_cast<std::uint8_t*>(data);
    mapped.size_ = bytes;
    return mapped;
}

// ---- folders and whole files -------------------------------------------------------------------

Result<FolderLock> FolderLock::take(const fs::path& folder) {
    auto file = File::open_write(folder / "lock");
    if (!file) return fail(file.error());
    if (::flock(file->descriptor(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return fail(file_error("lock", folder));
        return fail(Errc::bad_state, "another process uses " + folder.string(),
                    "stop the other skerry-node, or give this one a folder of its own");
    }
    FolderLock lock;
    lock.file_ = std::move(*file);
    return lock;
}

Result<void> make_folder(const fs::path& folder) {
    if (::mkdir(folder.c_str(), 0700) == 0) return sync_folder(folder.parent_path());
    if (errno == EEXIST) return {};
    return fail(file_error("make folder", folder));
}

Result<void> sync_folder(const fs::path& folder) {
    fs::path place = folder.empty() ? fs::path(".") : folder;
    int descriptor = ::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return fail(file_error("open folder", place));
    int code = ::fsync(descriptor);
    Error error;
    if (code != 0) error = file_error("fsync folder", place);
    ::close(descriptor);
    if (code != 0) return fail(std::move(error));
    return {};
}

Result<void> rename_durably(const fs::path& from, const fs::path& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) return fail(file_error("rename", from));
    auto synced = sync_folder(to.parent_path());
    if (!synced || from.parent_path() == to.parent_path()) return synced;
    return sync_folder(from.parent_path());
}

Result<void> write_durably(const fs::path& path, ByteSpan bytes) {
    fs::path temporary = path;
    temporary += ".tmp";
    auto file = File::create(temporary);
    if (!file) return fail(file.error());
    auto written = file->write_at(0, bytes);
    if (written) written = file->sync();
    if (written) written = rename_durably(temporary, path);
    if (!written) ::unlink(temporary.c_str());
    return written;
}

Result<Bytes> read_whole(const fs::path& path, std::uint64_t limit) {
    auto file = File::open_read(path);
    if (!file) return fail(file.error());
    auto size = file->size();
    if (!size) return fail(size.error());
    if (*size > limit)
        return fail(Errc::too_large, path.string() + " has " + std::to_string(*size) +
                                         " bytes, more than " + std::to_string(limit));
    Bytes out(*size);
    auto read = file->read_at(0, out);
    if (!read) return fail(read.error());
    return out;
}

Result<void> remove_tree(const fs::path& path) {
    std::error_code code;
    fs::remove_all(path, code);
    if (code) return fail(Errc::io_error, "remove " + path.string() + ": " + code.message());
    return {};
}

std::uint64_t bytes_of(const fs::path& file) {
    struct stat info {};
    if (::lstat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return 0;
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

std::uint64_t bytes_under(const fs::path& folder) {
    std::uint64_t total = 0;
    std::error_code code;
    for (fs::recursive_directory_iterator it(folder, code), end; !code && it != end;
         it.increment(code))
        total += bytes_of(it->path());
    return total;
}

// ---- sealed files ------------------------------------------------------------------------------

Bytes seal(std::string_view tag, ByteSpan payload) {
    ByteWriter w;
    w.bytes(as_bytes(tag));
    w.u8(0);
    w.u64(payload.size());
    w.bytes(payload);
    Digest digest = sha256(w.view());
    w.id(digest);
    return w.take();
}

Result<Bytes> unseal(std::string_view tag, ByteSpan sealed) {
    ByteReader r(sealed);
    ByteSpan name = r.bytes(tag.size());
    if (!r.ok() || as_text(name) != tag || r.u8() != 0)
        return fail(Errc::malformed, "not a " + std::string(tag) + " file");
    std::uint64_t size = r.u64();
    if (!r.ok() || size != r.remaining() - std::min<std::uint64_t>(r.remaining(), Digest::size()))
        return fail(Errc::digest_mismatch, std::string(tag) + " file is torn");
    ByteSpan payload = r.bytes(size);
    ByteSpan covered = sealed.first(sealed.size() - Digest::size());
    auto digest = r.fixed<Digest>();
    if (!r.ok() || digest != sha256(covered))
        return fail(Errc::digest_mismatch, std::string(tag) + " file is damaged");
    return Bytes(payload.begin(), payload.end());
}

Result<void> write_sealed(const fs::path& path, std::string_view tag, ByteSpan payload) {
    return write_durably(path, seal(tag, payload));
}

Result<Bytes> read_sealed(const fs::path& path, std::string_view tag, std::uint64_t limit) {
    auto sealed = read_whole(path, limit + 1024);
    if (!sealed) return sealed;
    auto payload = unseal(tag, *sealed);
    if (!payload) return fail(payload.error().code, path.string() + ": " + payload.error().detail);
    return payload;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t value = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || code != std::errc{} || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

}  // namespace skerry::node
