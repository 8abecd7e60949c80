#pragma once
// A node as the simulator runs it: the real core and the real log on a disk of its own, with a shell of virtual
// trainer and sockets. What production does on its disk and codec threads happens here at the time of an event.

#include <deque>
#include <functional>
#include <set>
#include <utility>

#include "node/core/node_core.hpp"
#include "node/exchange/piece_files.hpp"
#include "node/log/run_store.hpp"
#include "tests/sim/disk_facts.hpp"
#include "tests/sim/log_disk.hpp"
#include "tests/sim/sim_trainer.hpp"
#include "tests/sim/world.hpp"

namespace skerry::sim {

class Simulation;

struct PeerData {
    Data envelope;
    std::shared_ptr<const Bytes> chunk;
    bool damaged = false;  ///< by its sender
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
    node::NodeView view() const { return core_->view(); }
    const SimTrainer& trainer() const { return trainer_; }
    LogDisk& disk() { return disk_; }
    /// Whether its disk holds a copy of a decided entry, or a state above it.
    const DiskFacts& facts() const { return facts_; }
    /// The same from the files themselves.
    DiskFacts read_disk() const { return read_facts(folder_, sim_manifest()); }
    /// It once had this state by a snapshot of somebody, and not what lies below.
    bool jumped_to(Step step) const { return jumps_.contains(step); }

    /// It reads the log only.
    void follow() { follows_ = true; }
    bool follows() const { return follows_; }
    void start();
    /// kill -9, or the power goes (what is not synced may be lost).
    void kill(bool power_cut);
    /// Whether there was one.
    bool kill_trainer(Errc why = Errc::trainer_failed);
    bool hang_trainer() { return std::exchange(trainer_.hung, true) == false && trainer_.alive; }
    void set_disk_full(bool full);
    /// The n-th of its next syncs fails; of its next writes that take space.
    void fail_sync(std::uint64_t n) { disk_.medium().fail_sync_at(n); }
    void fail_space(std::uint64_t n) { disk_.medium().fill_at(n); }
    /// A bit of a kept file, or of an entry, is not what it was. False: there was none.
    bool flip_bit(bool of_entry);
    /// When it starts next, the power fails at the n-th disk operation.
    void trips_at(std::uint64_t n) { trips_at_ = n; }
    /// This node's disk as it is now, and another one put in its place: the process ends. Identity and token are kept
    /// elsewhere. A disk without a medium is an empty one.
    struct Disk {
        std::shared_ptr<const VirtualDisk> medium;
        bool rotten = false;
    };
    Disk copy_disk() const;
    void replace_disk(const Disk& with);
    /// The same identity on another machine: key and disk of `original`.
    void clone(const SimNode& original);
    /// The machine is gone for good, and its disk with it.
    void retire();
    bool gone() const { return gone_ || left_; }
    /// Pieces of decided entries leave it damaged until then.
    void serves_damaged(Mono until) { damages_until_ = until; }
    /// SIGSTOP: events wait until then.
    void freeze_until(Mono until) { frozen_until_ = std::max(frozen_until_, until); }
    bool frozen() const { return frozen_until_ > world_.now; }
    void feed(node::Event event);
    void deliver(const NodeId& from, PeerPayload payload);
    /// It dies between two actions, so many from now, and starts again after a while.
    void dies_in(std::uint64_t actions, bool power_cut, Millis down) { doom_ = {actions, power_cut, down}; }
    node::Phase phase() const { return core_->phase(); }

    /// Network facts the simulation keeps for it.
    std::map<NodeId, node::SetPeers::Peer> peers;

  private:
    using Outcome = Result<node::Answer>;
    using Work = std::function<Outcome()>;
    struct Job {
        std::optional<node::OpId> op;
        Work work;
    };
    void take(const node::Event& event);
    void thaw_later();
    void act(const node::Action& action);
    static std::string describe(const PeerBody& body);
    void schedule_tick();
    /// Work of a codec thread or of the trainer, done after a while.
    void later(node::OpId op, Millis delay, Work work);
    /// Work of the disk thread: one after the other.
    void on_disk(std::optional<node::OpId> op, Millis takes, Work work);
    void run_disk_job();
    void finish(node::OpId op);
    void report(node::OpId op, Outcome outcome);
    void set_store(std::shared_ptr<node::RunStore> store);
    void trip(std::uint64_t operations);
    void look_at_disk();
    void something_is_deleted();
    void die_in_the_middle();
    void check_what_is_left();
    Millis disk_time();

    // ---- sim_node_peers.cpp
    void on(const node::Send& a);
    void on(const node::Redial& a);
    void on(const node::SetPeers& a);
    void on(const node::SendPeer& a);
    void on(const node::Serve& a);
    void on(const node::VerifyChunk& a);
    void on(const node::DropChunk& a);
    void damage(PeerData& data);
    Outcome roll_back(const node::Apply& a);
    bool needs_entry(Step step) const;
    void check_report(const Report& report) const;
    void check_log_below(const PreparedState& vote) const;
    void check_drop(const node::DropStaging& a) const;
    Outcome verify(const node::VerifyChunk& a, const PeerData& data);

    // ---- sim_node_store.cpp
    void on(const node::PersistSeen& a);
    void on(const node::AdoptManifest& a);
    void on(const node::SaveLeases& a);
    void on(const node::DropPrivateState& a);
    void on(const node::FollowPlan& a);
    void on(const node::OpenStaging& a);
    void on(const node::DropStaging& a);
    void on(const node::DropContributions& a);
    void on(const node::ReducePiece& a);
    void on(const node::WritePrepared& a);
    void on(const node::AppendEntry& a);
    void on(const node::Apply& a);
    void on(const node::LoadState& a);
    void on(const node::AdoptSnapshot& a);
    void on(const node::DropSnapshot& a);
    void on(const node::ComputeDigest& a);
    void on(const node::WriteSnapshot& a);
    void on(const node::VerifyKept& a);
    void on(const node::Prune& a);
    Result<void> fetch_base();
    void read_residual();
    void advance_residual(Step step);
    void open_staging(const Digest& plan, Bytes body);
    void run_staged(const Digest& plan, node::OpId op, Millis delay, Work work);
    void staging_opened(const Digest& plan);
    void reached(Step step);
    void check_no_work_lost(const Decision* decision, Step now_at) const;

    // ---- sim_trainer.cpp
    void on(const node::Encode& a);
    void on(const node::StartTrainer& a);
    void on(const node::KillTrainer& a);
    void on(const node::TrainerLoad& a);
    void on(const node::TrainerFeed& a);
    void on(const node::TrainerTrain& a);
    void on(const node::TrainerFreeze& a);
    void on(const node::SaveProgress& a);
    void on(const node::RestoreProgress& a);
    void on(const node::Evaluate& a);
    Outcome encode(const node::Encode& a);
    void end_trainer();
    void still_alive(std::uint64_t life);
    void next_inner_step(std::uint64_t life);
    void end_round(node::RoundAnswer::Why why);
    std::vector<std::uint32_t> theta_bits() const;

    void on(const node::Note& a);
    void on(const node::Exit& a);

    const Manifest& sim_manifest() const;

    Simulation& sim_;
    Corner world_;
    std::uint32_t index_;
    NodeId id_;
    PublicKey key_;
    CurveKey curve_;
    BootId boot_;
    LogDisk disk_;
    node::DiskPath folder_;
    DiskFacts facts_;       ///< of the disk, as the store says; of the files while it is down
    bool rotten_ = false;   ///< bits were flipped: the store may believe more than is there
    bool left_ = false;
    bool follows_ = false;
    bool disk_full_ = false;
    int failed_starts_ = 0;
    std::uint64_t trips_at_ = 0;
    bool gone_ = false;
    struct Doom {
        std::uint64_t actions = 0;
        bool power_cut = false;
        Millis down{};
    };
    std::optional<Doom> doom_;
    node::Phase was_ = node::Phase::joining;
    Mono frozen_until_;
    Mono damages_until_;
    std::deque<node::Event> held_;  ///< while it is frozen, in their order

    // The process.
    std::unique_ptr<node::NodeCore> core_;
    std::shared_ptr<node::RunStore> store_;
    std::unique_ptr<node::PieceFiles> pieces_;
    node::Seen seen_;  ///< what is durable of it
    std::uint64_t life_ = 0;
    std::uint64_t tick_ = 0;
    std::map<node::OpId, Work> pending_;
    std::deque<Job> disk_jobs_;
    Mono disk_busy_until_;
    std::map<node::ChunkHandle, PeerData> chunks_;
    std::uint64_t next_chunk_ = 0;
    std::set<Step> jumps_;
    bool jumped_ = false;  ///< by a snapshot, since the trainer was told last
    std::map<Digest, std::vector<std::function<void()>>> opening_;  ///< plans whose staging is not open yet
    struct Refused {
        Digest plan;
        Bytes body;
        Mono at;
    };
    std::optional<Refused> refused_;  ///< a staging that the disk refused
    SimTrainer trainer_;
    std::set<node::OpId> trainer_ops_;
    std::optional<Step> residual_;  ///< its tag
    std::optional<std::pair<Step, Digest>> encoded_;  ///< by this process
    std::optional<std::tuple<Step, Term, Attempt>> followed_;
    Term followed_in_;
};

}  // namespace skerry::sim
