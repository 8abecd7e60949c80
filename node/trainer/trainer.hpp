#pragma once
// What the agent can ask of a trainer (docs/trainer-protocol.md), without torch.

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "node/model_folder/model_config.hpp"
#include "node/trainer/round.hpp"
#include "node/trainer/train_config.hpp"
#include "node/trainer/trainer_setup.hpp"
#include "protocol/base/result.hpp"
#include "protocol/base/task.hpp"
#include "protocol/base/units.hpp"

namespace skerry::node {

struct RoundDone {
    std::uint64_t round = 0;
    std::string why;  ///< steps, deadline, data, freeze
    DeltaCounters delta;
};

/// A save under way: what its delta contains is fixed.
struct SaveBegun {
    DeltaCounters delta;
    bool written = true;          ///< false: `written` tells when it is on disk
    std::optional<Millis> stall;  ///< so long training stood still for it, if the trainer says so
};

/// The process is gone. `exit_status` is its exit code, or 128 + signal.
struct TrainerExit {
    int exit_status = 0;
    Errc code = Errc::trainer_failed;  ///< of the trainer's `failed` line, e.g. not_finite
    std::string detail;
};

/// Something its owner should know: memory ran out and it goes on in less.
struct TrainerNotice {
    Errc code = Errc::internal;
    std::string detail;
};

using TrainerEvent = std::variant<RoundDone, TrainerExit, TrainerNotice>;

/// How the trainer stands; data for whoever judges whether it hangs.
struct TrainerStatus {
    std::string phase = "starting";  ///< starting, idle, train, gone
    std::chrono::steady_clock::time_point last_line;
    Millis median_step{0};  ///< of recent inner steps; 0: unknown
    std::uint64_t round = 0;
    std::uint64_t step = 0;  ///< inner step of the round
    DeltaCounters delta;
    double last_loss = 0;
    double lr = 0;
    double tokens_per_s = 0;
    TrainerSetup setup;  ///< from its answer to `configure`, and notices since
};

/// A trainer as the agent sees it. All calls on the agent's io thread; requests are answered in order.
///
/// Errors of every request: `trainer_failed` if the process is gone, `malformed` if it answered nonsense, and
/// the code the trainer refused with. `theta` must not change while `load`, `carry`, `restore`, `eval`,
/// `generate` or training is under way.
class Trainer {
  public:
    virtual ~Trainer() = default;

    /// Sends the configuration. Returns P.
    virtual Task<Result<std::uint64_t>> configure(ModelConfig model, TrainConfig train) = 0;
    /// Shows it theta: a file or memfd of `elements` float32. The descriptor stays the caller's.
    virtual Task<Result<void>> show_theta(int descriptor, std::uint64_t elements) = 0;
    /// Registers a token shard. Returns its tokens.
    virtual Task<Result<std::uint64_t>> file(std::uint32_t id, std::string path) = 0;

    /// local := theta, empty delta. `reset_optimizer` forgets AdamW's state too.
    virtual Task<Result<void>> load(bool reset_optimizer) = 0;
    virtual Task<Result<void>> feed(std::vector<SequenceRef> sequences) = 0;
    virtual Task<Result<void>> clear() = 0;
    /// Starts a round; its end is a `RoundDone` event.
    virtual Task<Result<void>> train(RoundOrder order) = 0;
    /// Stops after the inner step under way. Returns what the delta contains.
    virtual Task<Result<DeltaCounters>> freeze() = 0;
    /// local[lo, hi), hi - lo <= window_elements(). The span is good until the next call.
    virtual Task<Result<std::span<const float>>> weights(std::uint64_t lo, std::uint64_t hi) = 0;
    virtual std::uint64_t window_elements() const = 0;

    /// Carry: hold, change theta, carry. local := theta_new + (local - theta_old), counters kept.
    virtual Task<Result<void>> hold() = 0;
    virtual Task<Result<void>> carry() = 0;

    /// Writes the delta, the optimizer's state and `note` to `path`, atomically and fsynced; maybe while it goes on.
    virtual Task<Result<SaveBegun>> save(std::string path, std::string note) = 0;
    /// Waits for the end of a save that was not written when it was answered. One at a time.
    virtual Task<Result<void>> written() = 0;
    /// local := theta + the file's delta.
    virtual Task<Result<Restored>> restore(std::string path) = 0;

    virtual Task<Result<EvalResult>> eval(WeightSource weights, std::vector<EvalSpan> spans) = 0;
    virtual Task<Result<Generated>> generate(WeightSource weights, GenerateOrder order) = 0;

    /// The next event, in order. After `TrainerExit` there is none: `closed`.
    virtual Task<Result<TrainerEvent>> next_event() = 0;
    virtual const TrainerStatus& status() const = 0;
    /// SIGKILL. Its TrainerExit event still comes.
    virtual void kill() = 0;
    virtual int pid() const = 0;
};

}  // namespace skerry::node
