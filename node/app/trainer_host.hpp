#pragma once
// Carries out the core's trainer actions: one child process at a time, requests in order.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <memory>

#include "node/app/data_files.hpp"
#include "node/core/actions.hpp"
#include "node/log/run_store.hpp"
#include "node/trainer/child_process.hpp"
#include "protocol/base/task_group.hpp"

namespace skerry::node {

/// Actions that go to the trainer in the order in which the core gave them.
using TrainerAction = std::variant<TrainerLoad, TrainerFeed, TrainerTrain, TrainerFreeze, SaveProgress, RestoreProgress,
                                   Evaluate, Encode, Apply>;

/// Belongs to the io thread. Everything that waits for the disk or computes runs on `disk` and `codec`.
class TrainerHost {
  public:
    struct Parts {
        asio::any_io_executor io;
        asio::any_io_executor disk;
        asio::any_io_executor codec;
        std::function<void(Event)> report;
        std::function<ChildOptions()> options;  ///< of the next process
        std::function<void(Error)> hopeless;    ///< starting it again would end the same way
        std::function<void(const TrainerSetup&)> ready;  ///< what the process works with, each time one is
    };

    explicit TrainerHost(Parts parts);
    TrainerHost(const TrainerHost&) = delete;
    TrainerHost& operator=(const TrainerHost&) = delete;
    ~TrainerHost();
    /// Kills the process and ends the coroutines; before destruction.
    Task<> stop();

    /// The run is known: from now on actions may come. train: the run's settings as this machine's owner has them.
    void set_run(std::shared_ptr<RunStore> store, DataFiles* data, TrainConfig train);

    void perform(const StartTrainer& action);
    void perform(const KillTrainer& action);
    void perform(TrainerAction action);

    bool running() const { return trainer_ != nullptr; }
    int pid() const;
    /// Of the process that runs, once it is configured; else null.
    const TrainerSetup* setup() const { return trainer_ && configured_ ? &trainer_->status().setup : nullptr; }
    std::uint64_t restarts() const { return starts_ == 0 ? 0 : starts_ - 1; }

  private:
    Task<> serve(std::uint64_t generation, OpId started);
    Task<Result<void>> bring_up();
    Task<> watch(std::uint64_t generation, std::shared_ptr<ChildProcess> trainer);
    Task<> tell_alive(std::uint64_t generation, std::shared_ptr<ChildProcess> trainer);
    Task<> keep_running(std::shared_ptr<ChildProcess> child);
    Task<> apply(Apply action);
    Task<> drain(std::uint64_t generation);
    Task<> carry_out(TrainerAction action);

    Task<Result<Answer>> act(TrainerLoad action);
    Task<Result<Answer>> act(TrainerFeed action);
    Task<Result<Answer>> act(RestoreProgress action);
    Task<Result<Answer>> act(Evaluate action);
    Task<Result<Answer>> act(Encode action);
    Task<Result<Answer>> act(Apply action);
    Task<> begin_round(TrainerTrain action);
    Task<> begin_save(SaveProgress action);
    Task<> end_save(std::shared_ptr<ChildProcess> trainer, SaveProgress action, SaveBegun begun);
    Task<Result<void>> register_shard(std::uint32_t file);

    void finish(OpId op, Result<Answer> result);
    void forget_process();
    void ended(std::uint64_t generation, TrainerGone gone);
    std::filesystem::path slot_path(std::uint32_t slot) const;

    Parts parts_;
    std::shared_ptr<RunStore> store_;
    DataFiles* data_ = nullptr;
    TrainConfig train_;
    std::shared_ptr<ChildProcess> trainer_;
    std::uint64_t memory_limit_ = 0;  ///< of that process; 0: none
    std::uint64_t generation_ = 0;
    std::uint64_t starts_ = 0;
    std::deque<TrainerAction> queue_;
    asio::steady_timer wake_;
    bool configured_ = false; ///< it has said what it works with
    bool ready_ = false;      ///< brought up: the queue is being served
    OpId training_;           ///< of the round under way; zero: none
    std::vector<bool> registered_;
    TaskGroup children_;
};

}  // namespace skerry::node
