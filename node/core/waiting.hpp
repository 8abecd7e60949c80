#pragma once
// What a node waits for, in words for a person.

#include <cstdint>
#include <string>

namespace skerry::node {

/// Never a reason to act.
enum class Waiting : std::uint8_t {
    welcome,          ///< the first answer of the coordinator
    coordinator,      ///< a session: there was one before
    operator_,        ///< the coordinator's log is another one
    state,            ///< theta and m from disk
    snapshot,
    entries,
    roster,           ///< to be counted as current
    decision,
    pieces,
    plan,
    encoding,
    trainer_start,
    trainer_again,    ///< it ended; started again after a pause
    training,
    evaluation,
    user,             ///< paused on this machine
    leaving,
    run_created,
    run_paused,
    run_ended,
    data,
    others,           ///< READY without data
    next_step,        ///< a follower that has them all
};

}  // namespace skerry::node
