#pragma once
// The data plane under the core: carries out its actions on pieces, and turns what peers send into events.
//
//   peer -> PeerLinks -> envelope parsed -> PeerIn | DataIn, the chunk held under a handle
//   VerifyChunk -> codec thread: proof or signature, form, finiteness; then into its file -> Done(verdict)
//   Serve -> codec thread: read, checked against its leaf -> envelope and chunk to the transport -> Done

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "node/core/actions.hpp"
#include "node/exchange/piece_files.hpp"
#include "node/transport/peer_links.hpp"
#include "protocol/base/token_bucket.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::node {

class RunStore;

struct EngineCounters {
    std::uint64_t dropped_other_run = 0;
    std::uint64_t dropped_malformed = 0;  ///< envelopes that do not parse, chunks of another size than announced
    std::uint64_t dropped_memory = 0;     ///< chunks beyond the bound on unjudged bytes
    std::uint64_t chunks_stored = 0;
    std::uint64_t chunks_bad = 0;
    std::uint64_t chunks_served = 0;
    std::uint64_t pieces_reduced = 0;
};

/// Takes what peers say about data shards: those are nothing to the core.
class ShardTraffic {
  public:
    virtual ~ShardTraffic() = default;
    /// `chunk` is empty unless the body is Data.
    virtual void on_shard(const NodeId& from, PeerBody body, Bytes chunk) = 0;
    /// A link came or went: what was under way on the one before is lost.
    virtual void on_shard_link(const NodeId& peer) = 0;
};

/// Belongs to the io thread; touches no file there. Every action with an `op` is answered by one Done, also when
/// the link or the run folder is gone.
///
/// Memory: bytes that wait for a verdict are bounded (`unjudged_bytes`); a peer can send only what was asked for,
/// and what nobody asked for is dropped by the core at once.
class Engine final : public PeerLinksEvents {
  public:
    struct Parts {
        asio::any_io_executor io;
        asio::any_io_executor disk;   ///< one thread: what changes the log
        asio::any_io_executor codec;  ///< any number of threads
        ZmqContext* zmq = nullptr;
        ZapHandler* zap = nullptr;
        CurveKeyPair curve;
        PeerLinksConfig links;
        KeyPair key;                        ///< signs results and votes
        std::function<void(Event)> report;  ///< io thread; may call perform() from inside
        std::size_t unjudged_bytes = 96U << 20;
    };

    explicit Engine(Parts parts);
    ~Engine() override;

    /// Opens the listening socket; answers its port (0: none wanted). Errors: port_in_use.
    Result<std::uint16_t> bind();
    /// Moves bytes until cancelled; reports Traffic once a second. On return the sockets are closed.
    Task<> run();

    /// The run folder, once there is one. Before it, actions that need it are answered with bad_state.
    void set_store(std::shared_ptr<RunStore> store);

    void set_shards(ShardTraffic* shards) { shards_ = shards; }
    /// False: no link, or its outbox is full.
    bool send(const NodeId& to, PeerBody body);
    /// Behind the pieces that wait for this peer already. `taken` is called once, from the io thread: true if it was sent.
    void send_block(const NodeId& to, Data envelope, std::shared_ptr<const Bytes> chunk, std::function<void(bool)> taken);

    void perform(const SetPeers& action);
    void perform(const SendPeer& action);
    void perform(const Serve& action);
    void perform(const VerifyChunk& action);
    void perform(const DropChunk& action);
    void perform(const FollowPlan& action);
    void perform(const OpenStaging& action);
    void perform(const DropStaging& action);
    void perform(const DropContributions& action);
    void perform(const ReducePiece& action);
    void perform(const WritePrepared& action);
    void perform(const AppendEntry& action);
    void perform(const AdoptSnapshot& action);
    void perform(const DropSnapshot& action);

    /// The owner's limit on what goes out, of all peers together; 0: none. Closed: no chunks at all.
    void limit_upload(std::uint64_t bytes_per_s, bool closed);
    /// Whether a chunk would go out at once, as far as that limit goes.
    bool may_upload();

    const EngineCounters& counters() const { return counters_; }
    const PeerLinks& links() const { return *links_; }
    const LinkRates& rates() const { return rates_.rates(); }

    // PeerLinksEvents
    void on_message(const NodeId& from, Bytes envelope, Bytes chunk) override;
    void on_link(const NodeId& peer, bool up) override;
    void on_room(const NodeId& peer) override;

  private:
    struct Held {
        Data envelope;
        std::shared_ptr<const Bytes> bytes;
    };
    /// A piece that was read and waits for room in the transport. A block of a data shard has no op, but `taken`.
    struct Loaded {
        OpId op;
        ObjectRef object;
        Bytes envelope;
        std::shared_ptr<const Bytes> chunk;
        std::function<void(bool)> taken{};
    };
    struct PeerState {
        std::deque<Loaded> loaded;
        std::optional<Loaded> sending;  ///< with the transport, not yet taken; without its bytes
        std::uint64_t wire = 0;       ///< bytes seen by TCP at the last tick
        std::uint64_t delivered = 0;  ///< of whole messages, likewise
        std::uint64_t down_ticks = 0;
    };

    using Work = std::function<Result<Answer>(PieceFiles& files)>;

    void finish(OpId op, Result<Answer> result);
    /// Runs `work` elsewhere and finishes `op` with what it answers.
    void run_on(asio::any_io_executor where, OpId op, Work work);
    /// The same for work that needs the staging of a plan: waits while that is being opened.
    void run_staged(const Digest& plan_digest, OpId op, Work work);
    void open_staging(const Digest& plan_digest, Bytes plan_body);
    void retry_staging(const Digest& plan_digest);
    void staging_opened(const Digest& plan_digest);
    void on_data(const NodeId& from, Data envelope, Bytes chunk);
    void serve_loaded(const NodeId& peer, Loaded loaded);
    void push_loaded(const NodeId& peer);
    void fail_serves(const NodeId& peer);
    void end_serve(Loaded served, Result<Answer> result);
    void wait_for_upload();
    void push_waiting();
    void tell_waiting();
    void note_progress();

    Parts parts_;
    std::unique_ptr<PeerLinks> links_;
    RateMeter rates_;
    std::shared_ptr<PieceFiles> files_;  ///< null until set_store
    RunId run_;
    ShardTraffic* shards_ = nullptr;
    asio::steady_timer tick_;
    TokenBucket upload_;
    bool upload_closed_ = false;
    bool upload_waits_ = false;  ///< for `upload_timer_`
    asio::steady_timer upload_timer_;
    NodeId pushed_last_;         ///< the next peer's turn comes after it
    std::map<ChunkHandle, Held> held_;
    /// The newest plan whose staging the disk refused: tried again when something of it comes.
    struct Refused {
        Digest plan;
        Bytes body;
        std::chrono::steady_clock::time_point at;
    };
    std::optional<Refused> refused_;
    std::map<Digest, std::vector<std::function<void()>>> opening_;  ///< plans whose staging is being opened
    std::size_t held_bytes_ = 0;
    ChunkHandle next_handle_;
    std::map<NodeId, PeerState> peers_;
    EngineCounters counters_;
};

}  // namespace skerry::node
