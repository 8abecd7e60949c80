#pragma once
// get(data shard, block) between nodes, on the data plane: what others ask for is read and sent, what we asked for is
// handed to who waits for it.

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

#include "node/data/shard_peers.hpp"
#include "node/exchange/engine.hpp"

namespace skerry::node {

struct ShardExchangeCounters {
    std::uint64_t served_bytes = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t dropped = 0;  ///< questions of an asker that has too many open, answers that nobody waits for
};

/// Belongs to the io thread. Memory: kServedAtOnce blocks on their way out; what comes in is what was asked for, a block
/// for each question.
class ShardExchange final : public ShardPeers, public ShardTraffic {
  public:
    using Look = std::function<std::optional<ShardPlace>(const Digest& shard)>;

    /// `files`: threads that may wait for a disk.
    ShardExchange(asio::any_io_executor io, asio::any_io_executor files, Engine& engine);

    /// Which shards may be given, from where. Before it, none.
    void set_look(Look look) { look_ = std::move(look); }
    const ShardExchangeCounters& counters() const { return counters_; }

    // ShardPeers
    bool is_up(const NodeId& peer) const override;
    Task<Result<Bytes>> get(NodeId peer, Digest shard, std::uint32_t block, std::chrono::milliseconds patience) override;
    // ShardTraffic
    void on_shard(const NodeId& from, PeerBody body, Bytes chunk) override;
    void on_shard_link(const NodeId& peer) override;

  private:
    using Key = std::tuple<NodeId, Digest, PieceIndex>;
    struct Question {
        explicit Question(asio::any_io_executor io) : answered(io) {}
        asio::steady_timer answered;
        std::optional<Result<Bytes>> answer;
    };
    void answer(const Key& key, Result<Bytes> with);
    void answer_all(const NodeId& from, const ObjectRef& object, const std::vector<PieceIndex>& pieces, Errc code);
    void give(const NodeId& to, const ObjectRef& object, PieceIndex piece);
    void taken(const NodeId& by, std::size_t bytes);

    asio::any_io_executor io_;
    asio::any_io_executor files_;
    Engine& engine_;
    Look look_;
    std::map<Key, std::shared_ptr<Question>> questions_;
    std::map<NodeId, std::size_t> serving_;  ///< blocks on their way, of each asker
    std::size_t served_now_ = 0;
    ShardExchangeCounters counters_;
};

}  // namespace skerry::node
