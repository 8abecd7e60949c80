#include "coordinator/shards/shard_store.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {
namespace {

constexpr std::uint64_t kMaxShardBytes = std::uint64_t{1} << 40;

class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_;
};

/// Reads until `out` is full or the file ends; the bytes read, or -1.
ssize_t read_fully(int fd, std::span<std::uint8_t> out, std::uint64_t offset) {
    std::size_t have = 0;
    while (have < out.size()) {
        ssize_t n = ::pread(fd, out.data() + have, out.size() - have, static_cast<off_t>(offset + have));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        have += static_cast<std::size_t>(n);
    }
    return static_cast<ssize_t>(have);
}

}  // namespace

Result<ShardPresence> ShardStore::presence(const Digest& shard) const {
    struct stat st {};
    if (::stat(path_of(shard).c_str(), &st) == 0) return ShardPresence{true, static_cast<std::uint64_t>(st.st_size)};
    if (::stat(part_of(shard).c_str(), &st) == 0) return ShardPresence{false, static_cast<std::uint64_t>(st.st_size)};
    if (errno != ENOENT) return fail(file_error("cannot look at", part_of(shard), errno));
    return ShardPresence{};
}

Result<ShardPresence> ShardStore::append(const Digest& shard, std::uint64_t offset, ByteSpan block,
                                         std::uint64_t total_bytes) {
    auto here = presence(shard);
    if (!here || here->complete) return here;
    if (offset != here->bytes)
        return fail(Errc::stale, "the next block begins at " + std::to_string(here->bytes) + ", not " + std::to_string(offset));
    if (block.empty() || block.size() > kMaxAdminBlockBytes || total_bytes > kMaxShardBytes ||
        offset + block.size() > total_bytes)
        return fail(Errc::too_large, "the block does not fit the shard");
    auto made = make_private_folder(folder_);
    if (!made) return fail(made.error());
    Descriptor fd(::open(part_of(shard).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (!fd) return fail(file_error("cannot write", part_of(shard), errno));
    std::size_t done = 0;
    while (done < block.size()) {
        ssize_t n = ::pwrite(fd.get(), block.data() + done, block.size() - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            Error why = file_error("cannot write", part_of(shard), errno);
            // What is there of this block would shift the next offset: undo it.
            if (::ftruncate(fd.get(), static_cast<off_t>(offset)) != 0) ::unlink(part_of(shard).c_str());
            return fail(std::move(why));
        }
        done += static_cast<std::size_t>(n);
    }
    if (offset + block.size() < total_bytes) return ShardPresence{false, offset + block.size()};
    if (::fsync(fd.get()) != 0) {
        Error why = file_error("cannot write", part_of(shard), errno);
        ::unlink(part_of(shard).c_str());
        return fail(std::move(why));
    }
    auto finished = finish(shard);
    if (!finished) return fail(finished.error());
    return ShardPresence{true, total_bytes};
}

Result<void> ShardStore::finish(const Digest& shard) const {
    Descriptor fd(::open(part_of(shard).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail(file_error("cannot read", part_of(shard), errno));
    Sha256 hash;
    Bytes block(256 * 1024);
    for (std::uint64_t at = 0;;) {
        ssize_t n = read_fully(fd.get(), block, at);
        if (n < 0) return fail(file_error("cannot read", part_of(shard), errno));
        if (n == 0) break;
        hash.update(ByteSpan(block.data(), static_cast<std::size_t>(n)));
        at += static_cast<std::uint64_t>(n);
    }
    if (hash.finish() != shard) {
        ::unlink(part_of(shard).c_str());
        return fail(Errc::digest_mismatch, "what was pushed does not hash to " + shard.short_hex() + "...",
                    "a data shard: run  skerry data prepare  again, then  skerry data push; a fork's base: push that of another node");
    }
    if (::rename(part_of(shard).c_str(), path_of(shard).c_str()) != 0)
        return fail(file_error("cannot rename", part_of(shard), errno));
    Descriptor folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || ::fsync(folder.get()) != 0) return fail(file_error("cannot write", folder_, errno));
    return {};
}

Result<Bytes> ShardStore::read(const Digest& shard, std::uint64_t offset, std::uint32_t bytes) const {
    if (bytes == 0 || bytes > kMaxShardBlockBytes || offset > kMaxShardBytes)
        return fail(Errc::too_large, "a block has 1 to " + std::to_string(kMaxShardBlockBytes) + " bytes");
    Descriptor fd(::open(path_of(shard).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        if (errno == ENOENT)
            return fail(Errc::not_found, "no shard " + shard.short_hex() + "... here", "skerry data push DIR");
        return fail(file_error("cannot read", path_of(shard), errno));
    }
    Bytes out(bytes);
    ssize_t n = read_fully(fd.get(), out, offset);
    if (n < 0) return fail(file_error("cannot read", path_of(shard), errno));
    out.resize(static_cast<std::size_t>(n));
    return out;
}


Result<Bytes> ShardStore::block_hashes(const Digest& shard) const {
    struct stat st {};
    if (::stat(path_of(shard).c_str(), &st) != 0) return fail(Errc::not_found, "no shard " + shard.short_hex() + "... here");
    const auto size = static_cast<std::uint64_t>(st.st_size);
    const std::uint64_t bytes = (size + kMaxShardBlockBytes - 1) / kMaxShardBlockBytes * Digest::size();
    if (bytes > kMaxShardBlockHashes) return Bytes{};
    auto kept = read_small_file(blocks_of(shard), kMaxShardBlockHashes);
    if (kept && kept->size() == bytes) return Bytes(kept->begin(), kept->end());
    Descriptor fd(::open(path_of(shard).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail(file_error("cannot read", path_of(shard), errno));
    Sha256 whole;
    Bytes out;
    Bytes block(kMaxShardBlockBytes);
    for (std::uint64_t at = 0; at < size; at += block.size()) {
        ssize_t n = read_fully(fd.get(), block, at);
        if (n <= 0) return fail(file_error("cannot read", path_of(shard), errno));
        const ByteSpan read(block.data(), static_cast<std::size_t>(n));
        whole.update(read);
        const Digest hash = sha256(read);
        out.insert(out.end(), hash.bytes.begin(), hash.bytes.end());
    }
    if (whole.finish() != shard) return fail(Errc::digest_mismatch, path_of(shard).string() + " is not what was pushed", "skerry data push DIR");
    (void)write_small_file(blocks_of(shard), std::string(out.begin(), out.end()), 0600);  // else it is read again next time
    return out;
}

}  // namespace skerry::coordinator
