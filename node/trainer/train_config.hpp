#pragma once
// Settings of the inner optimizer and the learning rate as a pure function of tokens. No torch.

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/base/result.hpp"

namespace skerry::node {

enum class Schedule { wsd, cosine, constant };
enum class Precision { fp32, bf16, automatic };
enum class InnerOptimizer { adamw, muon };
/// What of the forward pass the backward pass computes again instead of finding it in memory.
enum class Recompute {
    automatic,
    none,
    attention,  ///< the attention probabilities
    layers,     ///< all of a layer but its input
};

/// What a step is computed with. The machine's owner's choice, not the run's.
enum class TrainerPath {
    automatic,  ///< cuda where there is a GPU, else fast
    fast,       ///< hand-written passes on the CPU
    autograd,   ///< libtorch's autograd on the CPU
    cuda,       ///< the same on a GPU
};

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
    InnerOptimizer optimizer = InnerOptimizer::adamw;
    double muon_lr = 0.02;  ///< Muon's peak, for the matrices of the layers; it follows the same schedule
    double muon_momentum = 0.95;
    std::uint32_t micro_batch = 0;  ///< sequences at a time at most; 0: as many as fit
    Recompute recompute = Recompute::automatic;
    Precision precision = Precision::automatic;
    std::uint64_t seed = 1;

    friend bool operator==(const TrainConfig&, const TrainConfig&) = default;
};

/// What the owner of a machine decides for its trainer, instead of the trainer's self-test.
struct TrainerChoice {
    TrainerPath path = TrainerPath::automatic;
    Precision precision = Precision::automatic;
    std::uint32_t micro_batch = 0;                ///< sequences at a time at most; 0: as many as fit
    Recompute recompute = Recompute::automatic;

    friend bool operator==(const TrainerChoice&, const TrainerChoice&) = default;
};

/// The run's settings as this machine's trainer gets them. How a step is cut is each machine's own affair: of two micro-batches the smaller
/// counts, and the owner's `recompute`. The precision is the run's where it names one. Errors: config_invalid if the owner names another.
Result<TrainConfig> with_choice(TrainConfig run, const TrainerChoice& own);

const char* to_name(Recompute value);
const char* to_name(Precision value);
const char* to_name(TrainerPath value);
/// Errors: usage, with the names there are.
Result<Recompute> parse_recompute(std::string_view name);
Result<Precision> parse_precision(std::string_view name);
Result<TrainerPath> parse_path(std::string_view name);

/// Errors: config_invalid with the key.
Result<TrainConfig> parse_train_config(std::string_view json);
Result<void> check(const TrainConfig& config);
/// One line with every key, but those of Muon, `micro_batch` and `recompute` only if they say something; `parse_train_config` reads it back to an equal value.
std::string to_json(const TrainConfig& config);

/// Learning rate once `tokens` tokens are trained. Equal on every node: doubles, one fixed order.
double learning_rate(const TrainConfig& config, std::uint64_t tokens);

}  // namespace skerry::node
