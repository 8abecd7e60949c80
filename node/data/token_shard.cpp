#include "node/data/token_shard.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace skerry::node {
namespace {

/// Reads exactly `size` bytes at `at`, or says why not.
Result<void> read_exactly(int descriptor, void* out, std::size_t size, std::uint64_t at) {
    auto* p = static_cast<char*>(out);
    while (size > 0) {
        const ssize_t n = ::pread(descriptor, p, size, static_cast<off_t>(at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(Errc::io_error, std::string("token shard: ") + std::strerror(errno));
        if (n == 0) return fail(Errc::data_invalid, "token shard ends early");
        p += n;
        at += static_cast<std::uint64_t>(n);
        size -= static_cast<std::size_t>(n);
    }
    return {};
}

}  // namespace

Bytes make_shard_header(std::uint64_t tokens) {
    ByteWriter w;
    w.u32(kShardMagic);
    w.u32(1);
    w.u32(static_cast<std::uint32_t>(tokens));
    Bytes out = w.take();
    out.resize(kShardHeaderBytes);
    return out;
}

Result<std::uint64_t> parse_shard_header(ByteSpan header) {
    if (header.size() < kShardHeaderBytes) return fail(Errc::data_invalid, "token shard: header is cut off");
    ByteReader r(header);
    if (r.u32() != kShardMagic) return fail(Errc::data_invalid, "not a token shard (magic)");
    const std::uint32_t version = r.u32();
    if (version != 1)
        return fail(Errc::data_invalid, "token shard of version " + std::to_string(version) + ", not 1 (uint16)");
    const std::uint32_t tokens = r.u32();
    if (tokens > kMaxShardTokens) return fail(Errc::data_invalid, "token shard: negative token count");
    return std::uint64_t{tokens};
}

Result<TokenShard> TokenShard::open(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        const Errc code = errno == ENOENT ? Errc::not_found : Errc::io_error;
        return fail(code, path + ": " + std::strerror(errno));
    }
    TokenShard shard(descriptor, 0);  // closes on every way out
    struct stat info {};
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode))
        return fail(Errc::data_invalid, path + ": not a regular file");
    std::array<std::uint8_t, kShardHeaderBytes> header{};
    auto read = read_exactly(descriptor, header.data(), header.size(), 0);
    if (!read) return fail(read.error().code, path + ": " + read.error().detail);
    auto tokens = parse_shard_header(header);
    if (!tokens) return fail(tokens.error().code, path + ": " + tokens.error().detail);
    if (static_cast<std::uint64_t>(info.st_size) != kShardHeaderBytes + 2 * *tokens)
        return fail(Errc::data_invalid, path + ": " + std::to_string(info.st_size) + " bytes, but its header says " +
                                            std::to_string(*tokens) + " tokens");
    shard.tokens_ = *tokens;
    return shard;
}

TokenShard::TokenShard(TokenShard&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), tokens_(other.tokens_) {}

TokenShard& TokenShard::operator=(TokenShard&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(tokens_, other.tokens_);
    return *this;
}

TokenShard::~TokenShard() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Result<void> TokenShard::read(std::uint64_t offset, std::span<std::uint16_t> out) const {
    if (offset > tokens_ || out.size() > tokens_ - offset)
        return fail(Errc::data_invalid, "token " + std::to_string(offset) + " + " + std::to_string(out.size()) +
                                            " is beyond the shard's " + std::to_string(tokens_));
    return read_exactly(descriptor_, out.data(), out.size() * sizeof(std::uint16_t),
                        kShardHeaderBytes + 2 * offset);
}

}  // namespace skerry::node
