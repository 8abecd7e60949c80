#pragma once
// A trainer program as a child of the agent: starts it, speaks docs/trainer-protocol.md with it, reaps it.

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/trainer/trainer.hpp"

namespace skerry::node {

struct ChildOptions {
    /// Program and its first arguments; `--fd N --threads T` is added. Found through PATH if it has no slash.
    std::vector<std::string> command;
    std::uint32_t threads = 1;
    std::uint64_t window_elements = std::uint64_t{1} << 20;  ///< of the weights window, float32
    std::uint64_t memory_bytes = 0;  ///< as `--memory`; 0: no limit, not said
    TrainerPath path = TrainerPath::automatic;  ///< as `--path`; automatic: not said
};

/// One process, from `spawn` to `TrainerExit`. A restart is a new object.
///
/// io thread only. Decides nothing: no time-outs (wrap calls in `within`), no restarts; `status` is data for who
/// does. A request that is cancelled was sent nevertheless; its answer is dropped when it comes.
class ChildProcess final : public Trainer {
  public:
    ChildProcess(asio::any_io_executor executor, ChildOptions options);
    /// Kills the process if it still runs, and reaps it.
    ~ChildProcess() override;

    /// Starts the process. Errors: not_found (no such program), io_error.
    Result<void> spawn();
    /// Moves lines both ways until the process is gone and reaped. To be joined by the parent, once, after `spawn`.
    Task<> run();
    /// Waits for the first line. Errors: version_mismatch, trainer_failed.
    Task<Result<void>> ready();
    /// Asks it to end. `TrainerExit` follows.
    Task<Result<void>> quit();

    Task<Result<std::uint64_t>> configure(ModelConfig model, TrainConfig train) override;
    Task<Result<void>> show_theta(int descriptor, std::uint64_t elements) override;
    Task<Result<std::uint64_t>> file(std::uint32_t id, std::string path) override;
    Task<Result<void>> load(bool reset_optimizer) override;
    Task<Result<void>> feed(std::vector<SequenceRef> sequences) override;
    Task<Result<void>> clear() override;
    Task<Result<void>> train(RoundOrder order) override;
    Task<Result<DeltaCounters>> freeze() override;
    Task<Result<std::span<const float>>> weights(std::uint64_t lo, std::uint64_t hi) override;
    std::uint64_t window_elements() const override;
    Task<Result<void>> hold() override;
    Task<Result<void>> carry() override;
    Task<Result<SaveBegun>> save(std::string path, std::string note) override;
    Task<Result<void>> written() override;
    Task<Result<Restored>> restore(std::string path) override;
    Task<Result<EvalResult>> eval(WeightSource weights, std::vector<EvalSpan> spans) override;
    Task<Result<Generated>> generate(WeightSource weights, GenerateOrder order) override;
    /// Called with tokens while they are generated, in order; all of them before `generate` answers.
    void on_generated(std::function<void(const std::vector<std::uint32_t>&)> take);
    Task<Result<TrainerEvent>> next_event() override;
    const TrainerStatus& status() const override;
    void kill() override;
    int pid() const override;

  private:
    class Link;
    std::unique_ptr<Link> link_;
};

}  // namespace skerry::node
