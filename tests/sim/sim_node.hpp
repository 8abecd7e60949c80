#pragma once
// A node as the simulator runs it: the real core, with a shell of virtual disk, trainer and sockets.

#include <deque>
#include <functional>
#include <set>

#include "tests/sim/sim_trainer.hpp"
#include "tests/sim/world.hpp"

namespace skerry::sim {

class Simulation;

struct PeerData {
    Data envelope;
    Bytes chunk;
};
using PeerPayload = std::variant<PeerBody, PeerData>;

class SimNode {
  public:
    SimNode(Simulation& sim, std::uint32_t index);
    ~SimNode();

    const NodeId& id() const { return id_; }
    const PublicKey& key() const { return key_; }
    const CurveKey& curve() const { return curve_; }
    std::string name() const { return "node" + std::to_string(index_); }
    bool up() const { return core_ != nullptr; }
    bool left() const { return left_; }
    node::NodeView view() const { return core_->view(); }
    const SimDisk& disk() const { return disk_; }
    const SimTrainer& trainer() const { return trainer_; }

    void start();
    /// kill -9, or the power goes (what is not synced may be lost).
    void kill(bool power_cut);
    void kill_trainer();
    void hang_trainer() { trainer_.hung = true; }
    void set_disk_full(bool full);
    /// SIGSTOP: events wait until then.
    void freeze_until(Mono until) { frozen_until_ = std::max(frozen_until_, until); }
    bool frozen() const { return frozen_until_ > world_.now; }
    void feed(node::Event event);
    void deliver(const NodeId& from, PeerPayload payload);
    /// Chance that it dies in the middle of an event's actions.
    void set_fragile(double chance) { fragile_ = chance; }

    /// Network facts the simulation keeps for it.
    std::map<NodeId, node::SetPeers::Peer> peers;

  private:
    using Outcome = std::variant<node::Answer, Error>;
    struct Pending {
        std::function<Outcome()> effect;
        bool durable = false;
    };
    void take(const node::Event& event);
    void thaw_later();
    void act(const node::Action& action);
    static std::string describe(const PeerBody& body);
    void schedule_tick();
    /// Finishes an operation after a while; `durable` ones may also take effect when the node dies meanwhile.
    void later(node::OpId op, Millis delay, bool durable, std::function<Outcome()> effect);
    void finish(node::OpId op);
    Millis disk_time();

    void on(const node::Send& a);
    void on(const node::Redial& a);
    void on(const node::SetPeers& a);
    void on(const node::SendPeer& a);
    void on(const node::Serve& a);
    void on(const node::VerifyChunk& a);
    void on(const node::DropChunk& a);
    void on(const node::PersistSeen& a);
    void on(const node::AdoptManifest& a);
    void on(const node::SaveLeases& a);
    void on(const node::DropPrivateState& a);
    void on(const node::FollowPlan& a);
    void on(const node::OpenStaging& a);
    void on(const node::DropStaging& a);
    void on(const node::DropContributions& a);
    void on(const node::Encode& a);
    void on(const node::ReducePiece& a);
    void on(const node::WritePrepared& a);
    void on(const node::AppendEntry& a);
    void on(const node::Apply& a);
    void on(const node::LoadState& a);
    void on(const node::AdoptSnapshot& a);
    void on(const node::DropSnapshot& a);
    void on(const node::ComputeDigest& a);
    void on(const node::WriteSnapshot& a);
    void on(const node::Prune& a);
    void on(const node::StartTrainer& a);
    void on(const node::KillTrainer& a);
    void on(const node::TrainerLoad& a);
    void on(const node::TrainerFeed& a);
    void on(const node::TrainerTrain& a);
    void on(const node::TrainerFreeze& a);
    void on(const node::SaveProgress& a);
    void on(const node::RestoreProgress& a);
    void on(const node::Evaluate& a);
    void on(const node::Note& a);
    void on(const node::Exit& a);

    std::optional<PeerData> read_piece(const ObjectRef& object, PieceIndex piece) const;
    std::optional<Bytes> read_block(const ObjectRef& object) const;
    node::ChunkAnswer verify(const node::VerifyChunk& a, const PeerData& data);
    void check_report(const Report& report) const;
    Outcome roll_back(const node::Apply& a);
    void check_no_work_lost(const Decision* decision, Step now_at) const;
    void set_state(ModelState state, Step step);
    void end_trainer();
    void still_alive(std::uint64_t life);
    void next_inner_step(std::uint64_t life);
    void end_round(node::RoundAnswer::Why why);

    Simulation& sim_;
    World& world_;
    std::uint32_t index_;
    NodeId id_;
    PublicKey key_;
    CurveKey curve_;
    BootId boot_;
    SimDisk disk_;
    bool left_ = false;
    bool disk_full_ = false;
    double fragile_ = 0;
    Mono frozen_until_;
    std::deque<node::Event> held_;  ///< while it is frozen, in their order
    Mono seen_written_;

    // The process.
    std::unique_ptr<node::NodeCore> core_;
    std::uint64_t life_ = 0;
    std::uint64_t tick_ = 0;
    std::map<node::OpId, Pending> pending_;
    std::map<node::ChunkHandle, PeerData> chunks_;
    std::uint64_t next_chunk_ = 0;
    ModelState state_;
    std::optional<Step> state_step_;
    bool jumped_ = false;  ///< by a snapshot, since the trainer was told last
    std::map<Digest, EntryFile> staging_;
    struct Fetched {
        std::map<PieceIndex, std::int64_t> theta;
        std::map<PieceIndex, std::int64_t> m;
    };
    std::map<Step, Fetched> fetched_;
    SimTrainer trainer_;
    std::set<node::OpId> trainer_ops_;
    std::optional<std::tuple<Step, Term, Attempt>> followed_;
};

}  // namespace skerry::sim
