#include "node/data/prepare.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>

#include "node/data/token_shard.hpp"
#include "protocol/base/descriptor.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

Fail system_error(const std::string& what) {
    const int number = errno;
    const Errc code = number == ENOENT                          ? Errc::not_found
                      : number == ENOSPC || number == EDQUOT    ? Errc::disk_full
                                                                : Errc::io_error;
    return fail(code, what + ": " + std::strerror(number));
}

Result<void> write_all(int descriptor, const void* data, std::size_t bytes, const std::string& name) {
    auto* p = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t n = ::write(descriptor, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_error(name);
        p += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return {};
}

Result<std::size_t> read_some(int descriptor, std::span<std::uint8_t> out, const std::string& name) {
    for (;;) {
        const ssize_t n = ::read(descriptor, out.data(), out.size());
        if (n >= 0) return static_cast<std::size_t>(n);
        if (errno != EINTR) return system_error(name);
    }
}

Result<Digest> hash_file(const fs::path& path) {
    OwnedDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return system_error(path.string());
    Sha256 hash;
    Bytes window(1 << 20);
    for (;;) {
        auto n = read_some(file.get(), window, path.string());
        if (!n) return fail(n.error());
        if (*n == 0) return hash.finish();
        hash.update({window.data(), *n});
    }
}

/// One split's shards, begun and ended as tokens come.
class SplitWriter {
  public:
    SplitWriter(fs::path folder, bool held_out, std::uint64_t shard_tokens)
        : folder_(std::move(folder)), held_out_(held_out), shard_tokens_(shard_tokens) {}
    ~SplitWriter() {
        if (file_) ::unlink((path_.string() + ".tmp").c_str());
    }
    SplitWriter(const SplitWriter&) = delete;
    SplitWriter& operator=(const SplitWriter&) = delete;

    Result<void> add(ByteSpan text) {
        while (!text.empty()) {
            auto open = file_ ? Result<void>{} : begin();
            if (!open) return open;
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(text.size(), shard_tokens_ - tokens_));
            wide_.assign(text.begin(), text.begin() + static_cast<long>(n));
            auto wrote = write_all(file_.get(), wide_.data(), wide_.size() * sizeof(std::uint16_t), path_.string());
            if (!wrote) return wrote;
            tokens_ += n;
            text = text.subspan(n);
            auto ended = tokens_ == shard_tokens_ ? end() : Result<void>{};
            if (!ended) return ended;
        }
        return {};
    }
    Result<std::vector<DataShard>> finish() {
        auto ended = file_ ? end() : Result<void>{};
        if (!ended) return fail(ended.error());
        return std::move(shards_);
    }

  private:
    Result<void> begin() {
        char name[40];
        std::snprintf(name, sizeof name, "%s-%05zu.bin", held_out_ ? "held-out" : "train", shards_.size());
        path_ = folder_ / name;
        file_ = OwnedDescriptor(::open((path_.string() + ".tmp").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (!file_) return system_error(path_.string());
        tokens_ = 0;
        const Bytes header = make_shard_header(0);
        return write_all(file_.get(), header.data(), header.size(), path_.string());
    }
    Result<void> end() {
        const Bytes header = make_shard_header(tokens_);
        if (::pwrite(file_.get(), header.data(), header.size(), 0) != static_cast<ssize_t>(header.size()) ||
            ::fsync(file_.get()) != 0)
            return system_error(path_.string());
        const fs::path temporary = path_.string() + ".tmp";
        auto digest = hash_file(temporary);
        if (!digest) return fail(digest.error());
        if (::rename(temporary.c_str(), path_.c_str()) != 0) return system_error(path_.string());
        file_.reset();
        shards_.push_back({path_.filename().string(), held_out_, tokens_, kShardHeaderBytes + 2 * tokens_, *digest});
        return {};
    }

    fs::path folder_, path_;
    bool held_out_;
    std::uint64_t shard_tokens_, tokens_ = 0;
    OwnedDescriptor file_;
    std::vector<std::uint16_t> wide_;
    std::vector<DataShard> shards_;
};

/// Refuses what is not text, by what it saw of it.
class TextCheck {
  public:
    Result<void> add(ByteSpan bytes, const std::string& name) {
        for (std::uint8_t b : bytes) {
            if (b == 0) return fail(Errc::data_invalid, name + " is binary: it has NUL bytes", "give a plain text file");
            strange_ += b < 32 && b != '\t' && b != '\n' && b != '\r' && b != '\f' && b != '\v' && b != 27;
        }
        total_ += bytes.size();
        return {};
    }
    Result<void> finish(const std::string& name) const {
        if (total_ == 0) return fail(Errc::data_invalid, name + " is empty", "give a text file with something in it");
        if (strange_ * 100 > total_)
            return fail(Errc::data_invalid, name + " is binary: more than 1 % control characters", "give a plain text file");
        return {};
    }

  private:
    std::uint64_t total_ = 0, strange_ = 0;
};

/// Reads a text in windows of at most 64 KiB.
Result<void> read_text(const fs::path& path, const std::function<Result<void>(ByteSpan)>& take) {
    OwnedDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return system_error(path.string());
    struct stat info {};
    if (::fstat(file.get(), &info) != 0) return system_error(path.string());
    if (S_ISDIR(info.st_mode)) return fail(Errc::data_invalid, path.string() + " is a folder", "name text files");
    Bytes window(kHeldOutBlock);
    TextCheck check;
    for (;;) {
        auto n = read_some(file.get(), window, path.string());
        if (!n) return fail(n.error());
        if (*n == 0) return check.finish(path.string());
        const ByteSpan part(window.data(), *n);
        auto good = check.add(part, path.string());
        if (!good) return good;
        auto taken = take(part);
        if (!taken) return taken;
    }
}

Result<std::uint64_t> total_bytes(const std::vector<fs::path>& texts) {
    std::uint64_t sum = 0;
    for (const auto& path : texts) {
        struct stat info {};
        if (::stat(path.c_str(), &info) != 0) return system_error(path.string());
        sum += static_cast<std::uint64_t>(info.st_size);
    }
    return sum;
}

/// Sends each byte of the joined text to its split by its position.
class Splitter {
  public:
    Splitter(std::uint64_t total, SplitWriter& train, SplitWriter& held_out) : train_(train), held_out_(held_out) {
        if ((total + kHeldOutBlock - 1) / kHeldOutBlock < 10) tail_from_ = total - total / 20;
    }
    Result<void> add(ByteSpan part) {
        while (!part.empty()) {
            const bool by_tail = tail_from_ != kNoTail;
            const std::uint64_t block = at_ / kHeldOutBlock;
            const bool held = by_tail ? at_ >= tail_from_ : block % 20 == 9;
            const std::uint64_t border = by_tail ? (held ? kNoTail : tail_from_) : (block + 1) * kHeldOutBlock;
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), border - at_));
            auto added = (held ? held_out_ : train_).add(part.first(n));
            if (!added) return added;
            at_ += n;
            part = part.subspan(n);
        }
        return {};
    }

  private:
    static constexpr std::uint64_t kNoTail = ~std::uint64_t{0};
    SplitWriter& train_;
    SplitWriter& held_out_;
    std::uint64_t at_ = 0, tail_from_ = kNoTail;
};

Result<void> split_texts(const PrepareOptions& options, SplitWriter& train, SplitWriter& held_out) {
    auto total = total_bytes(options.texts);
    if (!total) return fail(total.error());
    Splitter splitter(*total, train, held_out);
    for (const auto& text : options.texts) {
        auto read = read_text(text, [&](ByteSpan part) {
            return options.held_out ? train.add(part) : splitter.add(part);
        });
        if (!read) return read;
    }
    if (!options.held_out) return {};
    return read_text(*options.held_out, [&](ByteSpan part) { return held_out.add(part); });
}

}  // namespace

Result<DataManifest> prepare_data(const PrepareOptions& options) {
    if (options.texts.empty()) return fail(Errc::usage, "no text was named");
    std::error_code made;
    fs::create_directories(options.out, made);
    if (made) return fail(Errc::io_error, options.out.string() + ": " + made.message());
    // An old manifest must not describe a mixture of old and new shards if this is interrupted.
    ::unlink((options.out / "manifest.json").c_str());

    SplitWriter train(options.out, false, options.shard_tokens);
    SplitWriter held_out(options.out, true, options.shard_tokens);
    auto split = split_texts(options, train, held_out);
    if (!split) return fail(split.error());
    DataManifest manifest;
    for (SplitWriter* writer : {&train, &held_out}) {
        auto shards = writer->finish();
        if (!shards) return fail(shards.error());
        manifest.shards.insert(manifest.shards.end(), shards->begin(), shards->end());
    }
    auto written = write_small_file(options.out / "manifest.json", to_json(manifest), 0644);
    if (!written) return fail(written.error());
    return manifest;
}

Result<DataManifest> read_data_manifest(const std::filesystem::path& folder) {
    auto text = read_small_file(folder / "manifest.json", kMaxDataManifestBytes);
    if (!text) return fail(text.error());
    return parse_data_manifest(as_bytes(*text));
}

}  // namespace skerry::node
