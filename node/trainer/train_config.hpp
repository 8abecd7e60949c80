#pragma once
// Settings of the inner optimizer and the learning rate as a pure function of tokens. No torch.

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/base/result.hpp"

namespace skerry::node {

enum class Schedule { wsd, cosine, constant };
enum class Precision { fp32, bf16, automatic };

/// Field names are the JSON keys of docs/trainer-protocol.md, section 5.
struct TrainConfig {
    std::uint32_t batch = 1;  ///< sequences per inner step
    std::uint32_t seq = 256;  ///< tokens per sequence
    double lr = 3e-3;
    double min_lr = 0;
    Schedule schedule = Schedule::wsd;
    std::uint64_t warmup_tokens = 0;
    std::uint64_t decay_tokens = 0;
    std::uint64_t total_tokens = 0;
    double beta1 = 0.9;
    double beta2 = 0.99;
    double eps = 1e-8;
    double weight_decay = 0.1;
    double clip = 1.0;  ///< global gradient norm; 0: none
    Precision precision = Precision::automatic;
    std::uint64_t seed = 1;

    friend bool operator==(const TrainConfig&, const TrainConfig&) = default;
};

/// Errors: config_invalid with the key.
Result<TrainConfig> parse_train_config(std::string_view json);
Result<void> check(const TrainConfig& config);
/// One line with every key; `parse_train_config` reads it back to an equal value.
std::string to_json(const TrainConfig& config);

/// Learning rate once `tokens` tokens are trained. Equal on every node: doubles, one fixed order.
double learning_rate(const TrainConfig& config, std::uint64_t tokens);

}  // namespace skerry::node
