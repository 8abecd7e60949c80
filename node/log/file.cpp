#include "node/log/file.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>

#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

/// "what path: reason".
Error file_error(std::string_view what, const DiskPath& path, int code) {
    std::string detail =
        std::string(what) + " " + path.string() + ": " + std::generic_category().message(code);
    if (code == ENOSPC || code == EDQUOT)
        return {Errc::disk_full, std::move(detail),
                "free space on that disk, or give the node a larger quota elsewhere"};
    if (code == ENOENT) return {Errc::not_found, std::move(detail), {}};
    return {Errc::io_error, std::move(detail), {}};
}

Result<void> done(int code, std::string_view what, const DiskPath& path) {
    if (code != 0) return fail(file_error(what, path, code));
    return {};
}

}  // namespace

// ---- File --------------------------------------------------------------------------------------

Error File::error(std::string_view what, int code) const { return file_error(what, path_, code); }

Result<File> File::open(const DiskPath& path, Disk::Mode mode) {
    File file;
    int code = path.disk().open(path.path(), mode, file.file_);
    if (code != 0) return fail(file_error("open", path, code));
    file.path_ = path;
    return file;
}

Result<File> File::open_read(const DiskPath& path) { return open(path, Disk::Mode::read); }
Result<File> File::open_write(const DiskPath& path) { return open(path, Disk::Mode::write); }

Result<File> File::create(const DiskPath& path) {
    auto file = open_write(path);
    if (!file) return file;
    auto emptied = file->resize(0);
    if (!emptied) return fail(emptied.error());
    return file;
}

Result<void> File::write_at(std::uint64_t offset, ByteSpan bytes) {
    while (!bytes.empty()) {
        std::int64_t n = file_->write(offset, bytes);
        if (n == -EINTR) continue;
        if (n < 0) return fail(error("write", static_cast<int>(-n)));
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<void> File::read_at(std::uint64_t offset, std::span<std::uint8_t> out) const {
    while (!out.empty()) {
        std::int64_t n = file_->read(offset, out);
        if (n == -EINTR) continue;
        if (n < 0) return fail(error("read", static_cast<int>(-n)));
        if (n == 0) return fail(Errc::io_error, "read " + path_.string() + ": it is too short");
        out = out.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<std::uint64_t> File::size() const {
    std::uint64_t bytes = 0;
    int code = file_->size(bytes);
    if (code != 0) return fail(error("stat", code));
    return bytes;
}

Result<void> File::resize(std::uint64_t bytes) {
    return done(file_->resize(bytes), "resize", path_);
}

Result<bool> File::reserve(std::uint64_t bytes) {
    int code = file_->reserve(bytes);
    if (code == EOPNOTSUPP) return false;
    if (code != 0) return fail(error("reserve space for", code));
    return true;
}

Result<void> File::sync() { return done(file_->sync(), "fsync", path_); }

// ---- MappedFile, FolderLock --------------------------------------------------------------------

namespace {
Result<void> write_zeros(File& file, std::uint64_t bytes) {
    const Bytes zeros(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, 1 << 20)));
    for (std::uint64_t at = 0; at < bytes; at += zeros.size()) {
        auto count = static_cast<std::size_t>(std::min<std::uint64_t>(zeros.size(), bytes - at));
        auto written = file.write_at(at, ByteSpan(zeros).first(count));
        if (!written) return written;
    }
    return {};
}
}  // namespace

Result<MappedFile> MappedFile::open(const DiskPath& path, std::uint64_t bytes) {
    auto file = File::open_write(path);
    if (!file) return fail(file.error());
    auto size = file->size();
    if (!size) return fail(size.error());
    if (*size != bytes) {
        auto emptied = file->resize(0);
        if (!emptied) return fail(emptied.error());
    }
    auto reserved = file->reserve(bytes);
    if (!reserved) return fail(reserved.error());
    if (!*reserved && *size != bytes) {
        auto filled = write_zeros(*file, bytes);
        if (!filled) return fail(filled.error());
    }
    MappedFile mapped;
    int code = file->file_->map(bytes, mapped.bytes_);
    if (code != 0) return fail(file_error("map", path, code));
    mapped.file_ = std::move(*file);
    return mapped;
}

Result<FolderLock> FolderLock::take(const DiskPath& folder) {
    auto file = File::open_write(folder / "lock");
    if (!file) return fail(file.error());
    int code = file->file_->lock();
    if (code == EWOULDBLOCK)
        return fail(Errc::bad_state, "another process uses " + folder.string(),
                    "stop the other skerry-node, or give this one a folder of its own");
    if (code != 0) return fail(file_error("lock", folder, code));
    FolderLock lock;
    lock.file_ = std::move(*file);
    return lock;
}

// ---- folders and whole files -------------------------------------------------------------------

Result<void> make_folder(const DiskPath& folder) {
    int code = folder.disk().make_folder(folder.path());
    if (code != 0 && code != EEXIST) return fail(file_error("make folder", folder, code));
    // Also of one that is there: whoever made it may have died before this.
    return sync_folder(folder.parent());
}

Result<void> sync_folder(const DiskPath& folder) {
    return done(folder.disk().sync_folder(folder.path()), "fsync folder", folder);
}

Result<void> rename_file(const DiskPath& from, const DiskPath& to) {
    return done(from.disk().rename(from.path(), to.path()), "rename", from);
}

Result<void> rename_durably(const DiskPath& from, const DiskPath& to) {
    auto renamed = rename_file(from, to);
    if (!renamed) return renamed;
    auto synced = sync_folder(to.parent());
    if (!synced || from.path().parent_path() == to.path().parent_path()) return synced;
    return sync_folder(from.parent());
}

Result<void> write_durably(const DiskPath& path, ByteSpan bytes) {
    DiskPath temporary = path.with(".tmp");
    auto file = File::create(temporary);
    if (!file) return fail(file.error());
    auto written = file->write_at(0, bytes);
    if (written) written = file->sync();
    if (written) written = rename_durably(temporary, path);
    if (!written) {
        auto removed = remove_file(temporary);
        static_cast<void>(removed);
    }
    return written;
}

Result<Bytes> read_whole(const DiskPath& path, std::uint64_t limit) {
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

bool is_there(const DiskPath& path) { return path.disk().about(path.path()).has_value(); }

Result<std::vector<std::string>> names_in(const DiskPath& folder) {
    std::vector<std::string> names;
    int code = folder.disk().list(folder.path(), names);
    if (code != 0) return fail(file_error("list", folder, code));
    std::sort(names.begin(), names.end());
    return names;
}

Result<void> remove_file(const DiskPath& path) {
    int code = path.disk().remove(path.path());
    return done(code == ENOENT ? 0 : code, "remove", path);
}

Result<void> remove_tree(const DiskPath& path) {
    auto about = path.disk().about(path.path());
    if (!about) return {};
    if (about->folder) {
        auto names = names_in(path);
        if (!names) return fail(names.error());
        for (const std::string& name : *names) {
            auto removed = remove_tree(path / name);
            if (!removed) return removed;
        }
    }
    return remove_file(path);
}

std::uint64_t bytes_of(const DiskPath& file) {
    auto about = file.disk().about(file.path());
    return about ? about->allocated : 0;
}

std::uint64_t bytes_under(const DiskPath& folder) {
    auto names = names_in(folder);
    if (!names) return 0;
    std::uint64_t total = 0;
    for (const std::string& name : *names) {
        DiskPath below = folder / name;
        auto about = below.disk().about(below.path());
        if (about) total += about->folder ? bytes_under(below) : about->allocated;
    }
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

Result<void> write_sealed(const DiskPath& path, std::string_view tag, ByteSpan payload) {
    return write_durably(path, seal(tag, payload));
}

Result<Bytes> read_sealed(const DiskPath& path, std::string_view tag, std::uint64_t limit) {
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
