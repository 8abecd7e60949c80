#pragma once
// Several engines with real stores and real sockets on loopback, driven by the least policy that completes an
// exchange: ask every owner for everything, give what is there, reduce when all contributions are in.

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <set>

#include "node/exchange/engine.hpp"
#include "protocol/base/task_group.hpp"
#include "tests/support/store_run.hpp"

namespace skerry::test {

/// One node. Its own policy stands where the core stands in the program.
class ExchangeNode {
  public:
    ExchangeNode(asio::io_context& io, node::RunStore& store, const KeyPair& key);
    ~ExchangeNode();

    RosterEntry entry() const;
    void meet(const std::vector<RosterEntry>& roster);
    void follow(const Plan& plan);
    bool complete() const { return plan_ && results_.size() == pieces_; }
    std::size_t reduced() const { return reduced_; }

    /// Performs an action with an op; `then` hears its Done.
    template <class Action>
    void perform(Action action, std::function<void(const node::Done&)> then) {
        action.op = next_op();
        waiting_[action.op] = std::move(then);
        engine_->perform(action);
    }
    node::Engine& engine() { return *engine_; }
    void stop() { running_.cancel(); }
    bool stopped() const { return running_.size() == 0; }

    std::vector<node::Event> seen;  ///< of peers, for tests that look
    node::ChunkVerdict last_verdict = node::ChunkVerdict::stored;
    std::size_t up = 0;
    bool keep_asking = true;        ///< false: the test sends its own messages

  private:
    node::OpId next_op() { return last_op_ = last_op_.next(); }
    NodeId owner(PieceIndex piece) const { return plan_->members[plan_->piece_owner[piece.value]]; }
    PublicKey key_of(const NodeId& node) const;
    void hear(node::Event event);
    void hear(const node::PeerIn& in);
    void hear(const node::DataIn& in);
    void ask();
    void serve(const NodeId& to, const ObjectRef& object, PieceIndex piece);
    void gathered(PieceIndex piece);
    void have_result(PieceIndex piece);

    asio::io_context& io_;
    asio::thread_pool disk_{1};
    asio::thread_pool codec_{1};
    node::RunStore& store_;
    KeyPair key_;
    node::ZmqContext zmq_;
    Result<std::unique_ptr<node::ZapHandler>> zap_;
    node::CurveKeyPair curve_ = node::make_curve_keys();
    std::unique_ptr<node::Engine> engine_;
    TaskGroup running_;
    std::uint16_t port_ = 0;
    node::OpId last_op_;
    std::map<node::OpId, std::function<void(const node::Done&)>> waiting_;
    std::vector<RosterEntry> roster_;
    std::optional<Plan> plan_;
    Digest plan_digest_;
    std::size_t pieces_ = 0;
    std::size_t reduced_ = 0;
    std::map<PieceIndex, std::size_t> contributions_;
    std::set<PieceIndex> results_;
    std::multimap<PieceIndex, NodeId> asked_;  ///< results that peers wait for
};

class ExchangeRun {
  public:
    ExchangeRun(std::size_t nodes, Manifest manifest);
    ~ExchangeRun();

    StoreRun& stores() { return stores_; }
    ExchangeNode& node(std::size_t i) { return *nodes_[i]; }
    std::size_t size() const { return nodes_.size(); }
    bool until(const std::function<bool()>& done, std::chrono::milliseconds patience);
    bool connect();
    /// Encodes every node's delta, makes the plan of the next step and lets all follow it.
    Plan begin_step();

  private:
    StoreRun stores_;
    asio::io_context io_;
    std::vector<std::unique_ptr<ExchangeNode>> nodes_;
};

}  // namespace skerry::test
