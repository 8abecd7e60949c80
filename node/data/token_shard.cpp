#include "node/data/token_shard.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace skerry::node {
namespace {

struct Layout {
    std::uint32_t magic, version, token_bytes;
    bool masked;
};
constexpr Layout kLayouts[] = {{20240520, 1, 2, false}, {20240801, 7, 4, false}, {20261127, 1, 4, true}};

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

Bytes make_shard_header(std::uint64_t tokens, std::uint32_t token_bytes, bool masked) {
    const Layout& layout = masked ? kLayouts[2] : token_bytes == 2 ? kLayouts[0] : kLayouts[1];
    ByteWriter w;
    w.u32(layout.magic);
    w.u32(layout.version);
    w.u32(static_cast<std::uint32_t>(tokens));
    Bytes out = w.take();
    out.resize(kShardHeaderBytes);
    return out;
}

Result<ShardHeader> parse_shard_header(ByteSpan header) {
    if (header.size() < kShardHeaderBytes) return fail(Errc::data_invalid, "token shard: header is cut off");
    ByteReader r(header);
    const std::uint32_t magic = r.u32(), version = r.u32();
    const auto* layout = std::ranges::find(kLayouts, magic, &Layout::magic);
    if (layout == std::end(kLayouts)) return fail(Errc::data_invalid, "not a token shard (magic)");
    if (version != layout->version)
        return fail(Errc::data_invalid, "token shard of version " + std::to_string(version) + ", not " + std::to_string(layout->version));
    const std::uint32_t tokens = r.u32();
    if (tokens > kMaxShardTokens) return fail(Errc::data_invalid, "token shard: negative token count");
    return ShardHeader{tokens, layout->token_bytes, layout->masked};
}

Result<TokenShard> TokenShard::open(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        const Errc code = errno == ENOENT ? Errc::not_found : Errc::io_error;
        return fail(code, path + ": " + std::strerror(errno));
    }
    TokenShard shard(descriptor);  // closes on every way out
    struct stat info {};
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode))
        return fail(Errc::data_invalid, path + ": not a regular file");
    std::array<std::uint8_t, kShardHeaderBytes> header{};
    auto read = read_exactly(descriptor, header.data(), header.size(), 0);
    if (!read) return fail(read.error().code, path + ": " + read.error().detail);
    auto says = parse_shard_header(header);
    if (!says) return fail(says.error().code, path + ": " + says.error().detail);
    if (static_cast<std::uint64_t>(info.st_size) != says->file_bytes())
        return fail(Errc::data_invalid, path + ": " + std::to_string(info.st_size) + " bytes, but its header says " +
                                            std::to_string(says->tokens) + " tokens of " + std::to_string(says->token_bytes) + " bytes");
    shard.header_ = *says;
    return shard;
}

TokenShard::TokenShard(TokenShard&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), header_(other.header_) {}

TokenShard& TokenShard::operator=(TokenShard&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(header_, other.header_);
    return *this;
}

TokenShard::~TokenShard() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Result<void> TokenShard::read(std::uint64_t offset, std::span<std::uint32_t> out) const {
    if (offset > header_.tokens || out.size() > header_.tokens - offset)
        return fail(Errc::data_invalid, "token " + std::to_string(offset) + " + " + std::to_string(out.size()) +
                                            " is beyond the shard's " + std::to_string(header_.tokens));
    const std::size_t bytes = out.size() * header_.token_bytes;
    // Into the end of `out`: narrow tokens are widened from there without a second buffer.
    auto* raw = reinterpret_cast<char*>(out.data()) + out.size_bytes() - bytes;
    auto done = read_exactly(descriptor_, raw, bytes, kShardHeaderBytes + header_.token_bytes * offset);
    if (!done || header_.token_bytes == sizeof(std::uint32_t)) return done;
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::uint16_t narrow;
        std::memcpy(&narrow, raw + sizeof narrow * i, sizeof narrow);
        out[i] = narrow;
    }
    return {};
}

}  // namespace skerry::node
