#pragma once
// One seed: a coordinator, some nodes, faults for a while, then healing; invariants after every event.

#include <memory>

#include "coordinator/core/coordinator_core.hpp"
#include "coordinator/core/rebuild.hpp"
#include "tests/sim/checker.hpp"
#include "tests/sim/network.hpp"

namespace skerry::sim {

struct Settings {
    std::uint32_t nodes = 3;
    std::uint32_t pieces = 4;
    std::uint32_t late_nodes = 0;  ///< of them, who join later
    bool stops = true;             ///< the target may be reached
    Millis fault_time{30'000};
    Manifest manifest;
    coordinator::CoreConfig coordinator;
};

class SimCoordinator {
  public:
    SimCoordinator(Simulation& sim, coordinator::RunRow run);
    bool up() const { return core_ != nullptr || desk_.has_value(); }
    void start();
    void crash();
    void feed(coordinator::Event event);
    void set_fragile(double chance) { fragile_ = chance; }
    /// Everything it knew is gone; the operator does the rebuild drill.
    void lose_disk();
    MemoryJournal journal;
    bool being_rebuilt() const { return desk_.has_value(); }
    coordinator::RunStatus status() const;

  private:
    void drain();
    void schedule_tick();
    void drill(const coordinator::Event& event);
    void finish_drill();
    coordinator::Signing signing() const;
    Simulation& sim_;
    World& world_;
    std::unique_ptr<coordinator::CoordinatorCore> core_;
    std::optional<coordinator::RebuildDesk> desk_;
    std::size_t answered_ = 0;
    std::uint64_t life_ = 0;
    std::uint64_t tick_ = 0;
    std::deque<coordinator::Action> queue_;
    bool persisting_ = false;
    double fragile_ = 0;
};

class Simulation {
  public:
    Simulation(std::uint64_t seed, bool trace);

    /// Throws Violation.
    void run();

    World world;
    Settings settings;
    std::unique_ptr<Checker> checker;
    std::unique_ptr<SimCoordinator> coordinator;
    std::unique_ptr<Network> network;
    std::vector<std::unique_ptr<SimNode>> nodes;

    TokenId token_id;
    Bytes token_secret;

    std::uint32_t pieces() const { return settings.pieces; }
    const Manifest& manifest() const { return settings.manifest; }
    SimNode* find(const NodeId& id);
    bool faults_on() const { return faults_on_; }
    /// I4, I5: copies of every decided entry.
    void check_copies() const;
    void at_crash(const std::string& who);
    std::string describe() const;

  private:
    void draw_settings();
    void build();
    void next_fault();
    void one_fault();
    void one_rollback();
    void heal();
    void run_until(Mono until);
    bool done(Step far) const;
    void final_checks() const;
    void wait_for_progress();

    Rng faults_;
    bool faults_on_ = false;
    std::vector<int> kinds_;
    Millis fault_every_{1500};
};

}  // namespace skerry::sim
