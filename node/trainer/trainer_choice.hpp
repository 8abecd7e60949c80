#pragma once
// What the owner of a machine chose of its trainer: [trainer] of node.toml.

#include "node/config/node_toml.hpp"
#include "node/trainer/train_config.hpp"

namespace skerry::node {

/// Of a file that was checked.
TrainerChoice to_trainer_choice(const NodeToml& config);

}  // namespace skerry::node
