#include "coordinator/shards/shard_desk.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

ShardDesk::ShardDesk(std::vector<std::pair<Digest, std::uint64_t>> files, ShardDeskConfig config) : config_(config) {
    for (const auto& [id, bytes] : files) {
        order_.push_back(id);
        shards_[id].bytes = bytes;
    }
}

void ShardDesk::report(const NodeId& node, ByteSpan bitmap) {
    for (std::size_t i = 0; i < order_.size(); ++i) {
        Shard& shard = shards_[order_[i]];
        const bool holds = i / 8 < bitmap.size() && (bitmap[i / 8] >> (i % 8) & 1) != 0;
        if (!holds) {
            shard.holders.erase(node);
            continue;
        }
        shard.holders.insert(node);
        shard.seats.erase(node);
        shard.fetchers.erase(node);
    }
}

void ShardDesk::gone(const NodeId& node) {
    for (auto& [id, shard] : shards_) {
        shard.holders.erase(node);
        shard.seats.erase(node);
        shard.fetchers.erase(node);
    }
}

void ShardDesk::forget_old(Shard& shard, Mono now) const {
    std::erase_if(shard.seats, [&](const auto& seat) { return seat.second <= now; });
    std::erase_if(shard.fetchers, [&](const auto& fetcher) { return fetcher.second + config_.fetches <= now; });
}

ShardDesk::Answer ShardDesk::ask(const Digest& id, const NodeId& node, const std::vector<NodeId>& failed, Mono now) {
    auto at = shards_.find(id);
    if (at == shards_.end()) return {true, {}};  // not of this run: the store says what it thinks of it
    Shard& shard = at->second;
    forget_old(shard, now);
    auto useful = [&](const NodeId& other) {
        return other != node && std::find(failed.begin(), failed.end(), other) == failed.end();
    };
    const bool held = std::any_of(shard.holders.begin(), shard.holders.end(), useful);
    const bool coming = std::any_of(shard.seats.begin(), shard.seats.end(), [&](const auto& seat) { return useful(seat.first); });
    const bool seated = shard.seats.contains(node);
    if (seated || (!held && !coming)) {
        shard.seats[node] = now + config_.seat;
        shard.fetchers.erase(node);
        return {true, {}};
    }
    shard.fetchers[node] = now;
    ++referred_;
    // Each asker begins elsewhere among those who hold it, so that none of them serves all.
    Answer out;
    std::vector<NodeId> holders;
    std::copy_if(shard.holders.begin(), shard.holders.end(), std::back_inserter(holders), useful);
    if (!holders.empty()) std::rotate(holders.begin(), holders.begin() + node.bytes[0] % static_cast<std::ptrdiff_t>(holders.size()), holders.end());
    out.sources = std::move(holders);
    for (const auto& [other, until] : shard.seats)
        if (useful(other)) out.sources.push_back(other);
    for (const auto& [other, since] : shard.fetchers)
        if (useful(other)) out.sources.push_back(other);
    if (out.sources.size() > kMaxShardSources) out.sources.resize(kMaxShardSources);
    return out;
}

void ShardDesk::sent(const Digest& id, const NodeId& node, std::uint64_t bytes, std::uint64_t end, Mono now) {
    auto at = shards_.find(id);
    if (at == shards_.end()) return;
    Shard& shard = at->second;
    shard.sent += bytes;
    sent_ += bytes;
    if (!node.is_zero() && !shard.holders.contains(node)) shard.seats[node] = now + (end >= shard.bytes ? config_.settles : config_.seat);
}

ShardFacts ShardDesk::facts() const {
    ShardFacts out{shards_.size(), sent_, 0, referred_};
    for (const auto& [id, shard] : shards_)
        if (shard.bytes > 0) out.most_copies = std::max(out.most_copies, static_cast<double>(shard.sent) / static_cast<double>(shard.bytes));
    return out;
}

std::vector<std::pair<Digest, std::uint64_t>> files_of(ByteSpan data_manifest) {
    std::vector<std::pair<Digest, std::uint64_t>> out;
    const auto json = nlohmann::json::parse(data_manifest.begin(), data_manifest.end(), nullptr, false);
    const auto shards = json.is_object() ? json.find("shards") : json.end();
    if (!json.is_object() || shards == json.end() || !shards->is_array()) return out;
    for (const auto& shard : *shards) {
        if (!shard.is_object() || !shard.contains("sha256") || !shard["sha256"].is_string()) return {};
        const auto id = parse_fixed_hex<Digest>(shard["sha256"].get<std::string>());
        const auto bytes = shard.find("bytes");
        if (!id || bytes == shard.end() || !bytes->is_number_unsigned()) return {};
        out.emplace_back(*id, bytes->get<std::uint64_t>());
    }
    return out;
}

}  // namespace skerry::coordinator
