#pragma once
// The coordinator as the simulator runs it: the real core over the real journal on a virtual disk; also an old process
// beside its successor, and the drill that makes a lost one anew.

#include <deque>
#include <map>
#include <memory>
#include <set>

#include "coordinator/core/coordinator_core.hpp"
#include "coordinator/core/rebuild.hpp"
#include "tests/sim/sim_database.hpp"
#include "tests/sim/world.hpp"

namespace skerry::sim {

class Simulation;

/// What the open step does: the states of the step protocol, section 5.1.
enum class CoordinatorState : std::uint8_t { collect, open, deciding, hold, paused, down };

class SimCoordinator {
  public:
    SimCoordinator(Simulation& sim, coordinator::RunRow run);

    MemoryJournal journal;  ///< what the database holds, and the oracle of it; during the drill, of the lost one

    bool up() const { return current_ != 0; }
    void start();
    /// kill -9, or the power fails. `written`: whether the transaction under way is through; by chance if empty.
    void crash(std::optional<bool> written = {});
    /// A transaction that no process makes.
    void write(const coordinator::Tx& tx);
    /// Transactions wait until there is space.
    void set_disk_full(bool full) { database_->set_full(full); }
    /// One of the next: the process ends and says nothing, another starts.
    void fail_a_sync() { database_->fail_a_sync(); }
    void heal_disk() { database_->heal(); }
    /// SIGSTOP: events wait until then.
    void hang(Mono until);
    /// The process is stopped until then; another takes over at once. The old one does not know when it goes on.
    void succeed(Mono old_wakes);
    /// It dies between two actions, so many from now, and starts again after a while.
    void dies_in(std::uint64_t actions, Millis down) { doom_ = {actions, down}; }
    /// Its machine is lost, and an operator does the rebuild drill on another one. `beside`: it is only out of the
    /// operator's reach, and the process goes on, with the database that it has.
    void lose(bool beside);
    bool being_rebuilt() const { return drill_.has_value(); }
    /// Processes that were succeeded end, should they still run.
    void end_old();

    /// To the process that has the run now.
    void feed(coordinator::Event event) { feed(current_, std::move(event)); }
    void feed(std::uint64_t process, coordinator::Event event);
    /// A process that takes a new connection; 0: none does. An old one may still have the address.
    std::uint64_t answering();
    bool runs(std::uint64_t process) const {
        return processes_.contains(process) || (drill_ && drill_->process == process);
    }
    bool old_runs() const { return processes_.size() > (up() ? 1U : 0U); }
    std::string describe_drill() const;

    CoordinatorState state() const;
    coordinator::RunStatus status() const;

  private:
    struct Process {
        std::uint64_t number = 0;
        std::unique_ptr<coordinator::CoordinatorCore> core;
        std::deque<coordinator::Action> queue;
        bool persisting = false;
        std::uint64_t writes = 0;  ///< begun
        std::uint64_t tick = 0;
        Mono frozen_until;
        std::uint64_t machine = 0;
    };
    /// What a process that goes on beside a rebuilt one has.
    struct OldMachine {
        std::uint64_t number = 0;
        MemoryJournal journal;
        std::unique_ptr<SimDatabase> database;
    };
    struct Drill {
        std::uint64_t process = 0;
        coordinator::RebuildDesk desk;
        std::set<NodeId> named;  ///< the operator's nodes, as he knew them when he began
        std::size_t answered = 0;
    };
    struct Doom {
        std::uint64_t actions = 0;
        Millis down{};
    };
    Process* find(std::uint64_t process);
    void end(std::uint64_t process);
    void schedule_tick(Process& process);
    void drain(std::uint64_t process);
    void begin_write(Process& process);
    void write_after(Process& process, Millis delay);
    /// The transaction in front is durable; or it waits for space; or it is refused, or the disk fails: then the process
    /// ends. Whether it goes on.
    bool finish_write(std::uint64_t process);
    void is_durable(const coordinator::Tx& tx);
    void carry_out(Process& process, coordinator::Action action);
    void notice();
    SimDatabase& database_of(const Process& process) const;
    coordinator::Signing signing() const;

    // ---- sim_rebuild.cpp
    std::set<NodeId> machines() const;
    void begin_drill();
    void tick_drill(std::uint64_t process);
    void take(coordinator::Event event);
    void say(coordinator::Actions actions);
    void look();
    void confirm(const coordinator::RebuildStatus& status);
    bool may_finish(const coordinator::RebuildStatus& status, bool patient) const;
    bool only_new_ones_missing(const coordinator::RebuildStatus& status) const;
    void finish();
    void look_again(Step known);

    Simulation& sim_;
    Corner world_;
    std::unique_ptr<SimDatabase> database_;
    std::uint64_t machine_ = 0;  ///< that has it; a rebuilt coordinator runs on another one
    std::optional<OldMachine> old_;
    std::optional<Drill> drill_;
    std::uint64_t doubted_ = 0;  ///< machine whose rebuild may have left out a node that is needed
    std::map<std::uint64_t, std::unique_ptr<Process>> processes_;
    std::uint64_t current_ = 0;
    std::uint64_t started_ = 0;
    std::optional<Doom> doom_;
    CoordinatorState was_ = CoordinatorState::down;
};

}  // namespace skerry::sim
