#pragma once
// What goes wrong in a run, as a list that is drawn before it begins, printed, shortened and replayed.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/world.hpp"

namespace skerry::sim {

enum class FaultKind : std::uint8_t {
    // coordinator
    kill_coordinator,     ///< restarts after the span
    doom_coordinator,     ///< dies between two of its actions: strength
    hang_coordinator,     ///< stopped for the span
    succeed_coordinator,  ///< stopped for the span, and another takes over
    clock_jump,           ///< of its wall clock: by strength minutes, back if odd
    run_pause,
    run_rollback,         ///< by strength % 7 steps; the data is fed again if odd
    run_config,           ///< another outer learning rate
    coordinator_full,     ///< its disk, for the span
    coordinator_sync,     ///< one of its next syncs fails: it ends and restarts
    lose_coordinator,     ///< its disk; a new one is made of what the nodes hold. If odd, the old process goes on beside it
    // nodes
    kill_node,
    doom_node,            ///< dies between two of its actions: strength; power cut if odd
    power_node,
    power_some,           ///< several at once: strength is the set
    power_all,            ///< with the coordinator
    freeze_node,          ///< SIGSTOP
    suspend_node,         ///< the machine sleeps: its connections are dead when it wakes
    kill_trainer,
    hang_trainer,
    nan_trainer,          ///< its weights are not finite any more
    disk_full,
    fail_sync,            ///< one of its next syncs: strength
    fail_space,           ///< one of its next writes finds no space: strength
    flip_bit,             ///< of a file that it keeps; of an entry if strength is divisible by 4
    lose_disk,            ///< an empty one comes after the span
    power_twice,          ///< and again while it looks at its disk: strength
    user_pause,
    leave_node,           ///< now if strength is odd
    clone_node,           ///< the same identity started on another machine, from a copy of the disk
    restore_node,         ///< its disk is lost; a backup of now comes back after the span
    serve_damaged,        ///< pieces of decided entries leave it damaged, for the span
    // links
    cut_control,          ///< strength: 0 both ways, 1 up, 2 down
    cut_all_control,
    silence_control,      ///< half-open: drops without reset; ways as above
    slow_control,
    clog_control,         ///< bytes pile up, then burst
    reset_control,        ///< sessions break, what is under way is lost
    cut_edge,             ///< one edge between two nodes; both ways if strength is odd
    silence_edge,
    slow_edge,            ///< late and overtaken messages
    clog_edge,
    reset_data,
    partition,            ///< strength: the set cut off from the rest; control too if the span is odd
    one_way_partition,    ///< it is heard and hears nothing
    isolate_node,
    count
};
inline constexpr std::size_t kFaultKinds = static_cast<std::size_t>(FaultKind::count);

/// What a fault waits for, once its time has come.
enum class Moment : std::uint8_t {
    none,
    // of the coordinator
    collect, plan_before, plan_after, open, deciding, decided, hold, paused,
    // of the target
    behind, work, ready, exchange, prepared,
    count
};

struct Fault {
    FaultKind kind = FaultKind::kill_node;
    Moment moment = Moment::none;
    std::uint32_t target = 0;  ///< node
    std::uint32_t other = 0;   ///< node
    Millis at{0};              ///< since the start of the run
    Millis span{0};
    std::uint32_t strength = 0;
    friend bool operator==(const Fault&, const Fault&) = default;
};
using FaultPlan = std::vector<Fault>;

std::string_view name_of(FaultKind kind);
std::string_view name_of(Moment moment);

/// What goes wrong within [begin, end). Odd seeds: some kinds at some rate (swarm testing). Even seeds: every kind in
/// turn, all waiting for one moment, so that states that pass quickly meet them too; or a node that is ahead of all others
/// when the coordinator is lost.
FaultPlan draw_faults(std::uint64_t seed, std::uint32_t nodes, Millis begin, Millis end);

/// `kind@ms[/moment]:target:other:span:strength`, joined by commas.
std::string to_text(const FaultPlan& plan);
std::optional<FaultPlan> parse_faults(std::string_view text);

}  // namespace skerry::sim
