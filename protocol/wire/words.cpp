#include "protocol/wire/words.hpp"

namespace skerry {

std::string_view to_word(RunState state) {
    switch (state) {
        case RunState::created: return "created";
        case RunState::running: return "running";
        case RunState::paused: return "paused";
        case RunState::stopped: return "stopped";
    }
    return "unknown";
}

std::string_view to_word(NodeState state) {
    switch (state) {
        case NodeState::joining: return "joining";
        case NodeState::current: return "current";
        case NodeState::away: return "away";
        case NodeState::leaving: return "leaving";
        case NodeState::left: return "left";
        case NodeState::revoked: return "revoked";
        case NodeState::following: return "following";
    }
    return "unknown";
}

std::string_view to_word(TrainerPhase phase) {
    switch (phase) {
        case TrainerPhase::none: return "none";
        case TrainerPhase::starting: return "starting";
        case TrainerPhase::training: return "training";
        case TrainerPhase::waiting: return "waiting";
        case TrainerPhase::stopped: return "stopped";
        case TrainerPhase::failed: return "failed";
    }
    return "unknown";
}

}  // namespace skerry
