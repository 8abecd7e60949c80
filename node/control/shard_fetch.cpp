#include "node/control/shard_fetch.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "protocol/base/failpoint.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/run_on.hpp"
#include "protocol/base/within.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/session/tls.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

Fail disk_error(const fs::path& file) {
    Errc code = errno == ENOSPC || errno == EDQUOT ? Errc::disk_full : Errc::io_error;
    return fail(code, file.string() + ": " + std::strerror(errno));
}

Result<void> append(const fs::path& file, std::uint64_t offset, const Bytes& data) {
    int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return disk_error(file);
    std::size_t done = 0;
    while (done < data.size()) {
        auto n = ::pwrite(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        done += static_cast<std::size_t>(n);
    }
    auto outcome = done == data.size() ? Result<void>{} : Result<void>(disk_error(file));
    ::close(fd);
    return outcome;
}

Result<void> sync(const fs::path& path, int flags) {
    int fd = ::open(path.c_str(), flags | O_CLOEXEC);
    if (fd < 0) return disk_error(path);
    auto outcome = ::fsync(fd) == 0 ? Result<void>{} : Result<void>(disk_error(path));
    ::close(fd);
    return outcome;
}

/// The verified part takes its name for good.
Result<void> seal(const fs::path& part, const fs::path& file) {
    auto synced = sync(part, O_RDONLY);
    if (!synced) return synced;
    if (::rename(part.c_str(), file.c_str()) != 0) return disk_error(file);
    return sync(file.parent_path(), O_RDONLY | O_DIRECTORY);
}

Mono mono_now() { return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now()); }

std::uint64_t size_of(const fs::path& file) {
    std::error_code error;
    auto size = fs::file_size(file, error);
    return error ? 0 : size;
}

bool worth_a_retry(Errc code) {
    return code == Errc::unreachable || code == Errc::timed_out || code == Errc::closed || code == Errc::rate_limited ||
           code == Errc::io_error || code == Errc::bad_state;
}

}  // namespace

ShardFetch::ShardFetch(asio::any_io_executor io, asio::any_io_executor disk, CoordinatorPeer peer, fs::path folder,
                       RunId run, ShardFetchConfig config)
    : io_(io),
      disk_(disk),
      peer_(std::move(peer)),
      tls_(TlsContext::make_client(peer_.key)),
      folder_(std::move(folder)),
      run_(run),
      config_(config) {}

fs::path ShardFetch::shard_path(const fs::path& folder, const Digest& sha256) {
    return folder / (sha256.hex() + ".bin");
}

Result<void> ShardFetch::verify_file(const fs::path& file, const ShardInfo& shard) {
    std::ifstream in(file, std::ios::binary);
    if (!in) return fail(Errc::not_found, file.string() + " is not there");
    Sha256 hash;
    Bytes window(1 << 20);
    std::uint64_t total = 0;
    while (in) {
        in.read(reinterpret_cast<char*>(window.data()), static_cast<std::streamsize>(window.size()));
        auto got = static_cast<std::size_t>(in.gcount());
        hash.update(ByteSpan(window).subspan(0, got));
        total += got;
    }
    if (total != shard.bytes || hash.finish() != shard.sha256)
        return fail(Errc::digest_mismatch, file.string() + " is not the shard " + shard.sha256.short_hex());
    return {};
}

Task<Result<fs::path>> ShardFetch::fetch(ShardInfo shard) {
    // Two callers, one file: the second waits for the first.
    asio::steady_timer again(io_);
    while (busy_.contains(shard.sha256)) {
        again.expires_after(std::chrono::milliseconds(50));
        co_await again.async_wait(no_throw);
    }
    fs::path file = shard_path(folder_, shard.sha256);
    std::error_code ignored;
    if (verified_.contains(shard.sha256) && fs::exists(file, ignored)) co_return file;
    busy_.insert(shard.sha256);
    auto made = co_await obtain(shard, file);
    busy_.erase(shard.sha256);
    if (!made) co_return fail(made.error());
    verified_.insert(shard.sha256);
    held_.insert(shard.sha256);
    co_return file;
}

Task<Result<void>> ShardFetch::obtain(ShardInfo shard, fs::path file) {
    auto look = [file, shard]() -> Result<void> {
        std::error_code ignored;
        fs::create_directories(file.parent_path(), ignored);
        auto checked = verify_file(file, shard);
        if (!checked && checked.error().code == Errc::digest_mismatch) fs::remove(file, ignored);
        return checked;
    };
    auto there = co_await run_on(disk_, std::move(look));
    if (there) co_return there;
    held_.erase(shard.sha256);
    if (there.error().code == Errc::digest_mismatch) {
        ++corrupted_;
        log_warn("data.shard_corrupted", {{"file", file.string()}});
    }
    Fetch fetch;
    fetch.shard = shard;
    fetch.part = folder_ / (shard.sha256.hex() + ".part");
    Result<void> sealed;
    for (int round = 0; round < 2; ++round) {
        // What does not add up the first time comes from the coordinator alone the second time.
        fetch.ask = peers_ != nullptr && round == 0;
        auto came = co_await fetch_rest(fetch);
        if (!came) {
            coming_.erase(shard.sha256);
            co_return came;
        }
        auto finish = [part = fetch.part, file, shard]() -> Result<void> {
            auto checked = verify_file(part, shard);
            if (checked) return seal(part, file);
            std::error_code ignored;
            fs::remove(part, ignored);
            return checked;
        };
        sealed = co_await run_on(disk_, std::move(finish));
        coming_.erase(shard.sha256);
        if (sealed || sealed.error().code != Errc::digest_mismatch) break;
        ++corrupted_;
    }
    co_return sealed;
}

/// Asks for what the part lacks, over as many connections as it takes.
Task<Result<void>> ShardFetch::fetch_rest(Fetch& fetch) {
    for (int failures = 0;;) {
        std::uint64_t before = fetched_bytes_;
        auto came = co_await fetch_once(fetch);
        if (came) co_return came;
        if (!worth_a_retry(came.error().code)) co_return came;
        failures = fetched_bytes_ > before ? 0 : failures + 1;
        if (config_.tries > 0 && failures >= config_.tries) co_return came;
        log_warn("data.shard_interrupted", {{"shard", fetch.shard.sha256.short_hex()}, {"why", came.error().detail}});
        asio::steady_timer pause(io_, config_.retry_after);
        auto [ec] = co_await pause.async_wait(no_throw);
        if (ec) co_return fail(Errc::cancelled, {});
    }
}

void ShardFetch::limit(std::uint64_t bytes_per_s, bool closed) {
    bucket_.set_rate(bytes_per_s, mono_now());
    closed_ = closed;
}

void ShardFetch::charge(std::uint64_t bytes) { bucket_.take(bytes, mono_now()); }

/// Waits for the limit, which may change meanwhile.
Task<> ShardFetch::room() {
    asio::steady_timer timer(io_);
    while (closed_ || !bucket_.ready(mono_now())) {
        timer.expires_after(std::clamp(bucket_.wait(mono_now()), Millis(10), Millis(500)));
        co_await timer.async_wait(no_throw);
    }
}

/// Blocks of others are whole ones, so a part that ends within one goes back to its beginning.
Task<Result<void>> ShardFetch::measure(Fetch& fetch) {
    auto work = [part = fetch.part, total = fetch.shard.bytes, whole = fetch.ask]() -> std::uint64_t {
        std::uint64_t size = size_of(part);
        std::error_code ignored;
        if (size > total) {
            fs::remove(part, ignored);
            return 0;
        }
        if (!whole || size == total || size % kMaxShardBlockBytes == 0) return size;
        size -= size % kMaxShardBlockBytes;
        fs::resize_file(part, size, ignored);
        return ignored ? 0 : size;
    };
    fetch.offset = co_await run_on(disk_, std::move(work));
    coming_[fetch.shard.sha256] = fetch.offset;
    co_return Result<void>{};
}

Task<Result<void>> ShardFetch::take(Fetch& fetch, Bytes data) {
    const std::uint64_t size = data.size();
    auto work = [part = fetch.part, offset = fetch.offset, data = std::move(data)] { return append(part, offset, data); };
    auto written = co_await run_on(disk_, std::move(work));
    if (!written) co_return written;
    fetch.offset += size;
    fetched_bytes_ += size;
    coming_[fetch.shard.sha256] = fetch.offset;
    failpoint("node.shard_block");
    co_return written;
}

Task<Result<void>> ShardFetch::fetch_once(Fetch& fetch) {
    auto measured = co_await measure(fetch);
    const ShardInfo& shard = fetch.shard;
    if (!measured || (fetch.offset == shard.bytes && shard.bytes > 0)) co_return measured;
    auto dialled = co_await dial_tls(peer_.host, peer_.port, tls_, peer_.root, config_.dial_patience);
    if (!dialled) co_return fail(dialled.error());
    (*dialled)->set_receive_limit(kMaxFrame);
    ControlStream stream(std::move(*dialled));

    while (fetch.offset < shard.bytes) {
        co_await room();
        ControlMessage question;
        question.run = run_;
        question.seq = ++seq_;
        auto bytes = std::min<std::uint64_t>(kMaxShardBlockBytes, shard.bytes - fetch.offset);
        question.body = ShardGet{shard.sha256, fetch.offset, static_cast<std::uint32_t>(bytes), fetch.ask, still_failed(fetch)};
        auto sent = co_await within(config_.block_patience, stream.send(std::move(question)));
        if (!sent) co_return sent;
        auto answer = co_await within(config_.block_patience, stream.receive());
        if (!answer) co_return fail(answer.error());
        if (auto* refusal = std::get_if<Refusal>(&answer->body))
            co_return fail(refusal->code, refusal->reason, refusal->fix);
        if (auto* sources = std::get_if<ShardSources>(&answer->body); sources != nullptr && fetch.ask && sources->shard == shard.sha256) {
            ShardSources named = std::move(*sources);
            auto came = co_await from_peers(fetch, std::move(named));
            if (!came) co_return came;
            continue;
        }
        auto* block = std::get_if<ShardBlock>(&answer->body);
        if (block == nullptr || block->shard != shard.sha256 || block->offset != fetch.offset || block->data.empty() ||
            block->data.size() > bytes)
            co_return fail(Errc::malformed, "the coordinator answered with another block");
        Bytes data = std::move(block->data);
        charge(data.size());
        auto taken = co_await take(fetch, std::move(data));
        if (!taken) co_return taken;
    }
    stream.frames().close();
    co_return Result<void>{};
}

}  // namespace skerry::node
