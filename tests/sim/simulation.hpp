#pragma once
// One seed: a coordinator, some nodes, faults for a while, then healing; invariants after every event.

#include <memory>

#include "tests/sim/checker.hpp"
#include "tests/sim/faults.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/sim_coordinator.hpp"

namespace skerry::sim {

struct Settings {
    std::uint32_t nodes = 3;
    std::uint32_t pieces = 4;
    std::uint32_t late_nodes = 0;  ///< of them, who join later
    bool stops = true;             ///< the target may be reached
    bool exact_trainer = true;     ///< restarted, it computes the same to the bit
    Millis fault_time{30'000};
    std::uint32_t followers = 0;    ///< behind the nodes
    Manifest manifest;
    coordinator::CoreConfig coordinator;
    std::vector<float> base_theta;  ///< of a fork: S_0
    std::vector<float> base_m;
};

/// What a replay says instead of the seed.
struct Overrides {
    std::optional<FaultPlan> plan;
    std::optional<std::uint32_t> nodes;
    std::optional<Millis> fault_time;
    std::optional<std::uint32_t> followers;  ///< without it: as drawn, and none beside a plan
    bool fork = false;  ///< S_0 is a state of another run, whose file the coordinator has
};

class Simulation {
  public:
    Simulation(std::uint64_t seed, const Overrides& overrides, bool trace, Probes& probes);

    /// Throws Violation.
    void run();

    World world;
    Settings settings;
    std::unique_ptr<Checker> checker;
    std::unique_ptr<SimCoordinator> coordinator;
    std::unique_ptr<Network> network;
    std::vector<std::unique_ptr<SimNode>> nodes;
    std::unique_ptr<Faults> faults;

    TokenId token_id;
    Bytes token_secret;

    const FaultPlan& plan() const { return plan_; }
    std::uint32_t pieces() const { return settings.pieces; }
    const Manifest& manifest() const { return settings.manifest; }
    /// A node with that identity, rather one that runs.
    std::uint32_t index_of(const NodeId& id) const;
    std::string name_of(const NodeId& id) const { return nodes[index_of(id)]->name(); }
    bool faults_on() const { return faults->on(); }
    std::int64_t wall_unix_s() const;

    /// I4, I5: copies of every decided entry.
    void check_copies() const;
    void after_tx(const coordinator::Tx& tx);
    void add_clone(std::uint32_t original);
    /// The node is switched off for good.
    void lose_disk(std::uint32_t node);
    /// A run survives what r - 1 disks lose; here it is one disk at most, however often.
    bool may_damage(std::uint32_t node);
    bool damaged() const { return !lost_disks_.empty(); }
    /// Entries that were decided while that disk's copies counted have one fewer.
    enum class Damage : std::uint8_t { lost, rot };
    void note_damage(const NodeId& id, Damage what);
    std::string describe() const;

  private:
    struct LostDisk {
        Damage what;
        Incarnation incarnation;
        std::optional<Step> until;  ///< from here on a new process votes with what its disk has
    };
    void draw_settings(const Overrides& overrides);
    void make_fork();
    void build();
    void check_followers(const coordinator::Op& op) const;
    void add_followers(const Overrides& overrides);
    void harm(std::uint32_t follower, Rng& rng);
    std::uint32_t copies_due(Step step) const;
    void run_until(Mono until);
    bool done(Step far) const;
    void final_checks() const;
    void wait_for_progress();
    void wait_for_repair();
    std::string damage_left() const;
    std::string gap_of(std::uint32_t node, const std::vector<DiskFacts>& disks) const;

    FaultPlan plan_;
    std::optional<NodeId> damaged_;
    std::vector<LostDisk> lost_disks_;
};

}  // namespace skerry::sim
