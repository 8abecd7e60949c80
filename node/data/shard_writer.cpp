#include "node/data/shard_writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "node/data/token_shard.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

Result<void> write_all(int descriptor, const void* data, std::size_t bytes, const fs::path& name) {
    auto* p = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t n = ::write(descriptor, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("write", name, errno));
        p += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return {};
}

Result<Digest> hash_file(int descriptor, const fs::path& name) {
    Sha256 hash;
    Bytes window(1 << 20);
    for (off_t at = 0;;) {
        const ssize_t n = ::pread(descriptor, window.data(), window.size(), at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("read", name, errno));
        if (n == 0) return hash.finish();
        hash.update({window.data(), static_cast<std::size_t>(n)});
        at += n;
    }
}

}  // namespace

ShardWriter::ShardWriter(fs::path folder, bool held_out, std::uint64_t shard_tokens, std::uint32_t token_bytes, bool masked)
    : folder_(std::move(folder)), held_out_(held_out), shard_tokens_(shard_tokens), token_bytes_(token_bytes), masked_(masked) {}

ShardWriter::~ShardWriter() {
    if (file_) ::unlink((path_.string() + ".tmp").c_str());
}

Result<void> ShardWriter::add(std::span<const std::uint32_t> tokens) {
    while (!tokens.empty()) {
        auto open = file_ ? Result<void>{} : begin();
        if (!open) return open;
        const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(tokens.size(), shard_tokens_ - tokens_));
        auto wrote = write(tokens.first(n));
        if (!wrote) return wrote;
        tokens_ += n;
        tokens = tokens.subspan(n);
        auto ended = tokens_ == shard_tokens_ ? end() : Result<void>{};
        if (!ended) return ended;
    }
    return {};
}

Result<void> ShardWriter::write(std::span<const std::uint32_t> tokens) {
    if (token_bytes_ == sizeof(std::uint32_t)) return write_all(file_.get(), tokens.data(), tokens.size_bytes(), path_);
    narrow_.resize(tokens.size());
    std::ranges::transform(tokens, narrow_.begin(), [](std::uint32_t token) { return static_cast<std::uint16_t>(token); });
    return write_all(file_.get(), narrow_.data(), narrow_.size() * sizeof(std::uint16_t), path_);
}

Result<std::vector<DataShard>> ShardWriter::finish() {
    auto ended = file_ ? end() : Result<void>{};
    if (!ended) return fail(ended.error());
    return std::move(shards_);
}

Result<void> ShardWriter::begin() {
    char name[40];
    std::snprintf(name, sizeof name, "%s-%05zu.bin", held_out_ ? "held-out" : "train", shards_.size());
    path_ = folder_ / name;
    file_ = OwnedDescriptor(::open((path_.string() + ".tmp").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file_) return fail(file_error("open", path_, errno));
    tokens_ = 0;
    const Bytes header = make_shard_header(0, token_bytes_, masked_);
    return write_all(file_.get(), header.data(), header.size(), path_);
}

Result<void> ShardWriter::end() {
    const Bytes header = make_shard_header(tokens_, token_bytes_, masked_);
    if (::pwrite(file_.get(), header.data(), header.size(), 0) != static_cast<ssize_t>(header.size()) || ::fsync(file_.get()) != 0)
        return fail(file_error("write", path_, errno));
    auto digest = hash_file(file_.get(), path_);
    if (!digest) return fail(digest.error());
    if (::rename((path_.string() + ".tmp").c_str(), path_.c_str()) != 0) return fail(file_error("rename", path_, errno));
    file_.reset();
    shards_.push_back({path_.filename().string(), held_out_, tokens_, kShardHeaderBytes + token_bytes_ * tokens_, *digest});
    return {};
}

Result<void> HeldOutSplit::add(std::span<const std::uint32_t> tokens) {
    if (long_) return by_blocks(tokens);
    first_.insert(first_.end(), tokens.begin(), tokens.end());
    if (first_.size() <= kShort) return {};
    long_ = true;
    const std::vector<std::uint32_t> first = std::move(first_);
    return by_blocks(first);
}

Result<void> HeldOutSplit::finish() {
    if (long_) return {};
    const std::span<const std::uint32_t> all = first_;
    const std::size_t tail = all.size() / 20;
    auto trained = train_.add(all.first(all.size() - tail));
    return trained ? held_out_.add(all.last(tail)) : trained;
}

Result<void> HeldOutSplit::by_blocks(std::span<const std::uint32_t> tokens) {
    while (!tokens.empty()) {
        const std::uint64_t block = at_ / kHeldOutBlock;
        const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(tokens.size(), (block + 1) * kHeldOutBlock - at_));
        auto added = (block % 20 == 9 ? held_out_ : train_).add(tokens.first(n));
        if (!added) return added;
        at_ += n;
        tokens = tokens.subspan(n);
    }
    return {};
}

}  // namespace skerry::node
