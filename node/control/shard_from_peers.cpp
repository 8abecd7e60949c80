// The half of ShardFetch that asks other nodes, and what it tells of what is here.

#include <algorithm>

#include "node/control/shard_fetch.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/run_on.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {

namespace fs = std::filesystem;

// -------------------------------------------------------------------------------------------- what is here

void ShardFetch::set_files(std::vector<ShardInfo> files, fs::path base) {
    files_ = std::move(files);
    base_ = std::move(base);
    auto has = [](const fs::path& file, std::uint64_t bytes) {
        std::error_code none;
        return fs::file_size(file, none) == bytes && !none;
    };
    for (const ShardInfo& file : files_)
        if (has(shard_path(folder_, file.sha256), file.bytes)) held_.insert(file.sha256);
    if (!base_.empty() && has(base_, files_.back().bytes)) held_.insert(files_.back().sha256);
}

Bytes ShardFetch::bitmap() const {
    Bytes out((files_.size() + 7) / 8);
    for (std::size_t i = 0; i < files_.size(); ++i) {
        const auto place = look(files_[i].sha256);
        if (place && place->here == place->bytes) out[i / 8] |= static_cast<std::uint8_t>(1U << (i % 8));
    }
    if (out.size() > kMaxShardBitmap) out.resize(kMaxShardBitmap);
    return out;
}

std::optional<ShardPlace> ShardFetch::look(const Digest& sha256) const {
    auto at = std::find_if(files_.begin(), files_.end(), [&](const ShardInfo& file) { return file.sha256 == sha256; });
    if (at == files_.end()) return std::nullopt;
    if (held_.contains(sha256)) {
        std::error_code none;
        const bool moved = !base_.empty() && at + 1 == files_.end() && fs::exists(base_, none);
        return ShardPlace{moved ? base_ : shard_path(folder_, sha256), at->bytes, at->bytes};
    }
    auto part = coming_.find(sha256);
    return ShardPlace{folder_ / (sha256.hex() + ".part"), part == coming_.end() ? 0 : part->second, at->bytes};
}

// -------------------------------------------------------------------------------------------- whom to ask

std::vector<NodeId> ShardFetch::still_failed(Fetch& fetch) {
    std::erase_if(fetch.failed, [now = Clock::now()](const auto& one) { return one.second <= now; });
    std::vector<NodeId> out;
    for (const auto& [node, until] : fetch.failed)
        if (out.size() < kMaxShardSources) out.push_back(node);
    return out;
}

/// Who of those named can be asked now. One that is not connected is given some time: both may just have joined.
std::vector<NodeId> ShardFetch::usable(Fetch& fetch, const std::vector<NodeId>& named) const {
    const auto now = Clock::now();
    std::vector<NodeId> out;
    for (const NodeId& node : named) {
        if (fetch.failed.contains(node)) continue;
        if (peers_->is_up(node)) {
            fetch.named.erase(node);
            out.push_back(node);
        } else if (now - fetch.named.try_emplace(node, now).first->second >= config_.link_patience) {
            fetch.failed[node] = now + config_.forgives_after;
            fetch.named.erase(node);
        }
    }
    return out;
}

/// The next block, of this one. Errors: bad_state: it comes later; others: it is asked no more.
Task<Result<void>> ShardFetch::block_of(Fetch& fetch, const ShardSources& sources, NodeId peer) {
    const auto block = static_cast<std::uint32_t>(fetch.offset / kMaxShardBlockBytes);
    const auto bytes = std::min<std::uint64_t>(kMaxShardBlockBytes, fetch.shard.bytes - fetch.offset);
    auto got = co_await peers_->get(peer, fetch.shard.sha256, block, config_.peer_patience);
    if (!got) {
        if (got.error().code != Errc::bad_state) fetch.failed[peer] = Clock::now() + config_.forgives_after;
        co_return fail(got.error());
    }
    charge(got->size());
    const std::size_t at = std::size_t{block} * Digest::size();
    Bytes data = std::move(*got);
    bool good = data.size() == bytes;
    if (good && at + Digest::size() <= sources.blocks.size()) {
        auto work = [data = std::move(data)]() mutable { return std::pair(sha256(data), std::move(data)); };
        auto hashed = co_await run_on(disk_, std::move(work));
        const Digest hash = hashed.first;
        data = std::move(hashed.second);
        good = std::equal(hash.bytes.begin(), hash.bytes.end(), sources.blocks.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (!good) {
        ++corrupted_;
        fetch.failed[peer] = Clock::now() + config_.forgives_after;
        log_warn("data.shard_bad_block", {{"peer", peer.short_hex()}, {"shard", fetch.shard.sha256.short_hex()}, {"block", std::to_string(block)}});
        co_return fail(Errc::digest_mismatch, "a block that is not the shard's");
    }
    auto taken = co_await take(fetch, std::move(data));
    if (taken) from_peers_bytes_ += bytes;
    co_return taken;
}

/// Until the coordinator is asked again: nobody is left, nothing comes, or it ought to hear that this goes on.
Task<Result<void>> ShardFetch::from_peers(Fetch& fetch, ShardSources sources) {
    const auto begun = Clock::now();
    auto moved = begun;
    asio::steady_timer pause(io_);
    std::size_t later = 0;
    const std::chrono::milliseconds again(std::max<std::uint32_t>(sources.again_ms, 1));
    for (;;) {
        const auto now = Clock::now();
        if (fetch.offset >= fetch.shard.bytes || now - moved >= again || now - begun >= config_.report_every) co_return Result<void>{};
        const auto peers = usable(fetch, sources.nodes);
        const bool none_left = std::all_of(sources.nodes.begin(), sources.nodes.end(), [&](const NodeId& node) { return fetch.failed.contains(node); });
        if (none_left) co_return Result<void>{};
        if (peers.empty() || later >= peers.size()) {
            later = 0;
            pause.expires_after(config_.later_pause);
            auto [ec] = co_await pause.async_wait(no_throw);
            if (ec) co_return fail(Errc::cancelled, {});
            continue;
        }
        const auto before = Clock::now();
        co_await room();
        moved += Clock::now() - before;  // the owner's limit is no fault of theirs
        auto came = co_await block_of(fetch, sources, peers[fetch.turn++ % peers.size()]);
        if (came) {
            moved = Clock::now();
            later = 0;
            continue;
        }
        const Errc code = came.error().code;
        if (code == Errc::bad_state) ++later;
        else if (code == Errc::disk_full || code == Errc::io_error || code == Errc::cancelled) co_return came;
    }
}

}  // namespace skerry::node
