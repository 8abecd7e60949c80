#include "node/trainer/trainer_choice.hpp"

namespace skerry::node {

TrainerChoice to_trainer_choice(const NodeToml& config) {
    return {parse_path(config.path).value(), parse_precision(config.precision).value(), static_cast<std::uint32_t>(config.micro_batch),
            parse_recompute(config.recompute).value()};
}

}  // namespace skerry::node
