#pragma once
// What a trainer holds and does, without the protocol: a path with weights and optimizer, queue, delta, evaluation, generation.

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "node/data/token_shard.hpp"
#include "node/trainer/round.hpp"
#include "node/trainer/torch/path.hpp"
#include "node/trainer/torch/progress_file.hpp"
#include "node/trainer/torch/region.hpp"
#include "node/trainer/train_config.hpp"

namespace skerry::node {

struct StepReport {
    double loss = 0;  ///< mean of this step, nats per target; of the delta if the step has no target
    double gradient_norm = 0;
    double lr = 0;
};

/// Called now and then during long work, so that a sign of life can be sent.
using Tick = std::function<void()>;

/// What the loop may use of the machine.
struct Resources {
    TrainerPath path = TrainerPath::fast;  ///< not automatic
    bool bf16 = false;
    bool bf16_in_float = false;
    std::uint32_t threads = 1;
    std::uint64_t memory = 0;  ///< bytes of the whole process, not of a GPU; 0: what is free
};

/// Nothing smaller is left to try. The text says what is needed and what there is.
class NotEnoughMemory : public std::bad_alloc {
  public:
    explicit NotEnoughMemory(std::string what) : what_(std::move(what)) {}
    const char* what() const noexcept override { return what_.c_str(); }

  private:
    std::string what_;
};

/// One thread. Errors leave the state as it was, except not_finite and data_invalid of `step`, after which
/// the process should end.
class InnerLoop {
  public:
    /// Throws NotEnoughMemory.
    InnerLoop(const ModelConfig& model, const TrainConfig& train, const Resources& resources);
    /// The plan in use: the first that fits, or a smaller one after memory ran out.
    const WorkspacePlan& plan() const { return plans_[plan_]; }
    TrainerMemory memory() const { return trainer_memory(model_config_, train_, plan()); }
    const Resources& resources() const { return resources_; }

    std::uint64_t elements() const { return table_.elements; }
    const TrainConfig& config() const { return train_; }
    const TensorTable& table() const { return table_; }

    Result<void> attach_theta(Region region);
    void attach_window(Region region) { window_ = std::move(region); }
    /// The first tokens of a file. Errors: not_found, data_invalid, io_error.
    Result<std::vector<std::uint32_t>> read_tokens(std::uint32_t file, std::uint64_t count) const;
    Result<std::uint64_t> open_file(std::uint32_t id, const std::string& path);

    /// local := theta. bad_state without theta.
    Result<void> load(bool reset_optimizer);
    Result<void> hold();
    Result<void> carry();
    bool held() const { return held_; }
    bool loaded() const { return loaded_; }

    Result<void> feed(const std::vector<SequenceRef>& sequences);
    void clear() { queue_.clear(); }
    std::size_t queued() const { return queue_.size(); }

    /// One inner step on the next sequences of the queue (which is not empty), at `lr`. Without a target among them nothing but the
    /// counters changes: neither weights nor AdamW's state.
    Result<StepReport> step(double lr);
    /// Copies local[lo, hi) to the window. bad_shape, bad_state, not_finite.
    Result<void> copy_weights(std::uint64_t lo, std::uint64_t hi);
    DeltaCounters delta() const;

    Result<void> save(const std::string& path, const std::string& note, const Tick& tick);
    /// What `save` would write, so that it can be written while training goes on. Its elements are empty if the memory for
    /// them (12 bytes for each weight) is more than a quarter of what is free.
    Result<ProgressCopy> copy_progress(const std::string& note) const;
    Result<Restored> restore(const std::string& path);

    Result<EvalResult> eval(WeightSource source, const std::vector<EvalSpan>& spans, const Tick& tick);
    /// Token by token; `take` is told each. Once prompt and answer fill max_position_embeddings, it goes on with the newer half. `spent`
    /// is left to the caller. Errors: usage (the prompt: empty, too long, beyond the vocabulary), bad_state, not_finite.
    Result<Generated> generate(WeightSource source, const GenerateOrder& order, const std::function<void(std::uint32_t)>& take);

    /// For the oracle: weights from outside, and the gradient of one batch without an update.
    void start_from(std::span<const float> weights);
    Path& path() { return *path_; }
    Result<double> gradient(const std::vector<SequenceRef>& batch, std::span<float> out);

  private:
    Result<void> read_batch(const std::vector<SequenceRef>& batch);
    Result<void> read_sequence(const SequenceRef& ref, std::size_t row);
    TokenBatch tokens(std::size_t batch) const;
    Result<std::unique_ptr<Reader>> reader(WeightSource source);
    std::uint64_t available() const;
    void plan_that_fits();
    template <class Work>
    double in_less_memory(const Work& work);
    template <class Change>
    void change_weights(const Change& change);
    void read_delta(std::uint64_t lo, std::span<float> out) const;
    Result<void> need_theta() const;

    ModelConfig model_config_;
    TrainConfig train_;
    TensorTable table_;
    Resources resources_;
    std::vector<WorkspacePlan> plans_;
    std::size_t plan_ = 0;
    std::unique_ptr<Path> path_;
    Region theta_, window_;
    std::vector<float> chunk_;  ///< of weights on their way
    bool loaded_ = false, held_ = false;

    std::map<std::uint32_t, TokenShard> files_;
    std::deque<SequenceRef> queue_;
    std::uint64_t steps_ = 0, sequences_ = 0, tokens_ = 0, targets_seen_ = 0;
    double loss_sum_ = 0;  ///< over the delta's targets

    std::vector<std::uint32_t> raw_;
    std::vector<std::int32_t> inputs_, targets_;
    std::uint64_t target_count_ = 0;  ///< of the batch in `targets_`
};

}  // namespace skerry::node
