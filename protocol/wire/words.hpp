#pragma once
// The words that people and JSON documents see (docs/status-json.md). Never renamed.

#include <string_view>

#include "protocol/wire/messages.hpp"

namespace skerry {

std::string_view to_word(RunState state);
std::string_view to_word(NodeState state);
std::string_view to_word(TrainerPhase phase);

}  // namespace skerry
