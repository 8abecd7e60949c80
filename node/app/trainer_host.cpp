#include "node/app/trainer_host.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "node/log/progress_files.hpp"
#include "protocol/base/failpoint.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/run_on.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

constexpr std::size_t kFeedBatch = 2000;  // sequences of one line: well below the 64 KiB of a line

TrainedSoFar to_core(const DeltaCounters& d) { return {d.steps, d.sequences, d.tokens, d.loss}; }

RoundAnswer::Why to_why(const std::string& why) {
    if (why == "steps") return RoundAnswer::Why::steps;
    if (why == "deadline") return RoundAnswer::Why::deadline;
    if (why == "data") return RoundAnswer::Why::data;
    return RoundAnswer::Why::freeze;
}

// A program that is not there, or cannot load its libraries, is not there the next time either.
bool is_hopeless(Errc code) {
    return code == Errc::no_libtorch || code == Errc::not_found || code == Errc::version_mismatch || code == Errc::config_invalid;
}

/// What is the process's alone: neither the shared weights nor the libraries.
std::uint64_t private_bytes(int pid) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/statm");
    std::uint64_t size = 0, resident = 0, shared = 0;
    in >> size >> resident >> shared;
    return (resident - std::min(resident, shared)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

TrainerHost::TrainerHost(Parts parts) : parts_(std::move(parts)), wake_(parts_.io), children_(parts_.io) {
    wake_.expires_at(asio::steady_timer::time_point::max());
}
TrainerHost::~TrainerHost() = default;

Task<> TrainerHost::stop() {
    perform(KillTrainer{"the node ends"});
    children_.cancel();
    co_await children_.join();
}

void TrainerHost::set_run(std::shared_ptr<RunStore> store, DataFiles* data, TrainConfig train) {
    store_ = std::move(store);
    data_ = data;
    train_ = train;
}

void TrainerHost::finish(OpId op, Result<Answer> result) {
    Done done{op, {}, {}};
    if (result) done.answer = std::move(*result);
    else done.error = result.error();
    parts_.report(std::move(done));
}

// ---- life of the process ------------------------------------------------------------------------------

// What waits will not be done; each operation has its one answer.
void TrainerHost::forget_process() {
    ++generation_;
    ready_ = configured_ = false;
    training_ = {};
    trainer_.reset();
    wake_.cancel();
    for (TrainerAction& action : std::exchange(queue_, {})) {
        OpId op = std::visit([](auto& one) { if constexpr (requires { one.op; }) return one.op; else return OpId{}; }, action);
        if (op != OpId{}) finish(op, fail(Errc::trainer_failed, "the trainer is gone"));
    }
}

void TrainerHost::perform(const StartTrainer& action) {
    forget_process();
    ++starts_;
    children_.spawn(serve(generation_, action.op));
}

void TrainerHost::perform(const KillTrainer& action) {
    if (trainer_) {
        log_info("trainer.kill", {{"reason", action.reason}});
        trainer_->kill();
    }
    forget_process();
}

Task<> TrainerHost::serve(std::uint64_t generation, OpId started) {
    if (generation != generation_) co_return;  // ended before it began: a coroutine starts later than it is spawned
    ChildOptions options = parts_.options();
    memory_limit_ = options.memory_bytes;
    trainer_ = std::make_shared<ChildProcess>(parts_.io, std::move(options));
    auto launched = trainer_->spawn();
    if (!launched) {
        trainer_.reset();
        if (is_hopeless(launched.error().code)) parts_.hopeless(launched.error());
        finish(started, fail(launched.error()));
        co_return;
    }
    children_.spawn(keep_running(trainer_));
    children_.spawn(watch(generation, trainer_));
    auto up = co_await bring_up();
    if (!up && is_hopeless(up.error().code)) parts_.hopeless(up.error());
    if (generation != generation_) co_return;
    if (!up) {
        finish(started, fail(up.error()));
        co_return;
    }
    ready_ = true;
    finish(started, Answer{});
    children_.spawn(tell_alive(generation, trainer_));
    co_await drain(generation);
}

// A coroutine of its own holds the process until it is reaped, also after a kill.
Task<> TrainerHost::keep_running(std::shared_ptr<ChildProcess> child) { co_await child->run(); }

Task<Result<void>> TrainerHost::bring_up() {
    auto trainer = trainer_;
    registered_.clear();
    auto spoke = co_await trainer->ready();
    if (!spoke) co_return fail(spoke.error());
    auto elements = co_await trainer->configure(data_->model(), train_);
    if (!elements && elements.error().code == Errc::config_invalid)
        co_return fail(Errc::config_invalid, "the trainer refuses: " + elements.error().detail, "[trainer] in node.toml; skerry doctor says what it takes");
    if (!elements) co_return fail(elements.error());
    if (trainer != trainer_) co_return fail(Errc::trainer_failed, "the trainer is gone");
    configured_ = true;
    parts_.ready(trainer->status().setup);
    if (*elements != store_->manifest().elements)
        co_return fail(Errc::bad_shape, "trainer counts " + std::to_string(*elements) + " weights, the run " +
                                            std::to_string(store_->manifest().elements));
    co_return co_await trainer->show_theta(store_->theta_descriptor(), *elements);
}

Task<> TrainerHost::watch(std::uint64_t generation, std::shared_ptr<ChildProcess> trainer) {
    for (;;) {
        auto event = co_await trainer->next_event();
        if (generation != generation_) co_return;
        if (!event) {
            ended(generation, TrainerGone{event.error().code, event.error().detail});
            co_return;
        }
        if (auto* done = std::get_if<RoundDone>(&*event)) {
            OpId op = std::exchange(training_, OpId{});
            if (op != OpId{}) finish(op, Answer{RoundAnswer{to_why(done->why), to_core(done->delta)}});
        } else if (auto* notice = std::get_if<TrainerNotice>(&*event)) {
            log_warn("trainer.notice", {{"code", std::string(to_name(notice->code))}, {"detail", notice->detail}});
        } else if (auto* gone = std::get_if<TrainerExit>(&*event)) {
            std::string status = "exit status " + std::to_string(gone->exit_status);
            ended(generation, TrainerGone{gone->code, gone->detail.empty() ? status : gone->detail + ", " + status});
            co_return;
        }
    }
}

void TrainerHost::ended(std::uint64_t generation, TrainerGone gone) {
    if (generation != generation_) return;
    log_warn("trainer.gone", {{"code", std::string(to_name(gone.code))}, {"detail", gone.detail}});
    forget_process();
    parts_.report(std::move(gone));
}

// The core judges silence; it is told whenever a line has come since it was last told.
Task<> TrainerHost::tell_alive(std::uint64_t generation, std::shared_ptr<ChildProcess> trainer) {
    asio::steady_timer timer(parts_.io);
    auto last = std::chrono::steady_clock::time_point{};
    for (;;) {
        timer.expires_after(std::chrono::milliseconds(500));
        auto [ec] = co_await timer.async_wait(no_throw);
        if (ec || generation != generation_) co_return;
        const std::uint64_t limit = memory_limit_, used = limit > 0 ? private_bytes(trainer->pid()) : 0;
        if (used > limit) {
            trainer->kill();
            ended(generation, TrainerGone{Errc::out_of_memory, "the trainer used " + to_size_text(used) + ", [limits] memory in node.toml allows " +
                                                                   to_size_text(limit) + ": skerry limits set --memory, or a smaller batch"});
            co_return;
        }
        const TrainerStatus& status = trainer->status();
        if (status.last_line == last) continue;
        last = status.last_line;
        parts_.report(TrainerAlive{to_core(status.delta), status.step, status.median_step, status.tokens_per_s,
                                   status.last_loss});
    }
}

int TrainerHost::pid() const { return trainer_ ? trainer_->pid() : 0; }

// ---- requests in order --------------------------------------------------------------------------------

void TrainerHost::perform(TrainerAction action) {
    // The state must change whether or not there is a trainer: Apply does not queue. The core lets nothing that
    // reads theta overlap it.
    if (auto* apply_action = std::get_if<Apply>(&action)) {
        children_.spawn(apply(std::move(*apply_action)));
        return;
    }
    queue_.push_back(std::move(action));
    wake_.cancel();
}

Task<> TrainerHost::apply(Apply action) {
    OpId op = action.op;
    auto result = co_await act(std::move(action));
    finish(op, std::move(result));
}

Task<> TrainerHost::drain(std::uint64_t generation) {
    while (generation == generation_) {
        if (queue_.empty()) {
            wake_.expires_at(asio::steady_timer::time_point::max());
            co_await wake_.async_wait(no_throw);
            continue;
        }
        TrainerAction action = std::move(queue_.front());
        queue_.pop_front();
        co_await carry_out(std::move(action));
    }
}

Task<> TrainerHost::carry_out(TrainerAction action) {
    OpId op{};
    Result<Answer> result = Answer{};
    if (auto* load = std::get_if<TrainerLoad>(&action)) {
        op = load->op;
        result = co_await act(*load);
    } else if (auto* feed = std::get_if<TrainerFeed>(&action)) {
        result = co_await act(std::move(*feed));
    } else if (auto* train = std::get_if<TrainerTrain>(&action)) {
        co_await begin_round(*train);
        co_return;
    } else if (std::holds_alternative<TrainerFreeze>(action)) {
        auto trainer = trainer_;
        auto frozen = co_await trainer->freeze();
        if (!frozen) log_warn("trainer.freeze", {{"error", frozen.error().detail}});
        co_return;
    } else if (auto* save = std::get_if<SaveProgress>(&action)) {
        co_await begin_save(std::move(*save));
        co_return;
    } else if (auto* restore = std::get_if<RestoreProgress>(&action)) {
        op = restore->op;
        result = co_await act(*restore);
    } else if (auto* evaluate = std::get_if<Evaluate>(&action)) {
        op = evaluate->op;
        result = co_await act(*evaluate);
    } else if (auto* encode = std::get_if<Encode>(&action)) {
        op = encode->op;
        result = co_await act(*encode);
    }
    // Also when the process is gone: what read theta must say that it no longer does.
    if (op != OpId{}) finish(op, std::move(result));
    else if (!result) log_warn("trainer.request", {{"error", result.error().detail}});
}

Task<Result<Answer>> TrainerHost::act(TrainerLoad action) {
    auto trainer = trainer_;
    auto cleared = co_await trainer->clear();
    if (!cleared) co_return fail(cleared.error());
    auto loaded = co_await trainer->load(action.reset_optimizer);
    if (!loaded) co_return fail(loaded.error());
    co_return Answer{};
}

Task<Result<void>> TrainerHost::register_shard(std::uint32_t file) {
    if (file < registered_.size() && registered_[file]) co_return Result<void>{};
    auto path = co_await data_->local_path(file);
    if (!path) co_return fail(path.error());
    auto trainer = trainer_;
    if (!trainer) co_return fail(Errc::trainer_failed, "the trainer is gone");
    auto tokens = co_await trainer->file(file, path->string());
    if (!tokens) co_return fail(tokens.error());
    if (registered_.size() <= file) registered_.resize(file + 1, false);
    registered_[file] = true;
    co_return Result<void>{};
}

Task<Result<Answer>> TrainerHost::act(TrainerFeed action) {
    auto trainer = trainer_;
    std::vector<SequenceRef> batch;
    for (const Segment& segment : action.segments) {
        for (std::uint64_t position = segment.from; position < segment.to; ++position) {
            SequenceRef sequence = data_->sequence_at(position);
            auto known = co_await register_shard(sequence.file);
            if (!known) co_return fail(known.error());
            batch.push_back(sequence);
            if (batch.size() < kFeedBatch) continue;
            auto fed = co_await trainer->feed(std::exchange(batch, {}));
            if (!fed) co_return fail(fed.error());
        }
    }
    if (!batch.empty()) {
        auto fed = co_await trainer->feed(std::move(batch));
        if (!fed) co_return fail(fed.error());
    }
    co_return Answer{};
}

Task<> TrainerHost::begin_round(TrainerTrain action) {
    auto trainer = trainer_;
    std::uint64_t generation = generation_;
    RoundOrder order{action.round, action.committed_tokens, action.participants, action.first_step, action.max_steps,
                     action.deadline};
    training_ = action.op;  // before the request: a short round may end before its answer is read
    auto begun = co_await trainer->train(order);
    if (generation != generation_ || begun) co_return;
    training_ = {};
    finish(action.op, fail(begun.error()));
}

// Only the copying holds up what is queued behind it.
Task<> TrainerHost::begin_save(SaveProgress action) {
    auto trainer = trainer_;
    ProgressFiles files(store_->folder());
    auto void_slot = [files, slot = action.slot]() mutable { return files.void_slot(slot); };
    Result<SaveBegun> begun = fail(Errc::trainer_failed, "");
    auto voided = co_await run_on(parts_.disk, std::move(void_slot));
    if (voided) begun = co_await trainer->save(files.trainer_file(action.slot).string(), "");
    if (!voided || !begun) {
        finish(action.op, fail(voided ? begun.error() : voided.error()));
        co_return;
    }
    parts_.report(SaveFixed{action.op});
    if (begun->written) co_await end_save(std::move(trainer), std::move(action), *begun);
    else children_.spawn(end_save(std::move(trainer), std::move(action), *begun));
}

Task<> TrainerHost::end_save(std::shared_ptr<ChildProcess> trainer, SaveProgress action, SaveBegun begun) {
    Result<void> kept;
    if (!begun.written) kept = co_await trainer->written();
    TrainedSoFar delta = to_core(begun.delta);
    if (kept) {
        ProgressFiles files(store_->folder());
        auto commit = [files, action, delta]() mutable { return files.commit(action.slot, action.note, delta); };
        kept = co_await run_on(parts_.disk, std::move(commit));
    }
    if (kept) finish(action.op, Answer{ProgressAnswer{action.note, delta, begun.stall}});
    else finish(action.op, fail(kept.error()));
}

Task<Result<Answer>> TrainerHost::act(RestoreProgress action) {
    auto trainer = trainer_;
    ProgressFiles files(store_->folder());
    auto read = [files, slot = action.slot] { return files.read_slot(slot); };
    auto image = co_await run_on(parts_.disk, std::move(read));
    if (!image) co_return fail(image.error());
    auto restored = co_await trainer->restore(files.trainer_file(action.slot).string());
    if (!restored) co_return fail(restored.error());
    co_return Answer{ProgressAnswer{image->note, to_core(restored->delta), std::nullopt}};
}

Task<Result<Answer>> TrainerHost::act(Evaluate) {
    auto trainer = trainer_;
    std::vector<EvalSpan> spans = data_->heldout_spans(store_->manifest().evaluate_sequences);
    for (const EvalSpan& span : spans) {
        auto known = co_await register_shard(span.file);
        if (!known) co_return fail(known.error());
    }
    if (spans.empty()) co_return fail(Errc::no_data, "the run has no held-out data");
    auto loss = co_await trainer->eval(WeightSource::theta, std::move(spans));
    if (!loss) co_return fail(loss.error());
    co_return Answer{EvaluatedAnswer{loss->loss}};
}

// Window by window: the trainer copies a range out, a codec thread turns it into chunks. One window in memory.
Task<Result<Answer>> TrainerHost::act(Encode action) {
    auto trainer = trainer_;
    auto store = store_;
    auto begin = [store, step = action.step] { return store->begin_contribution(step); };
    auto begun = co_await run_on(parts_.disk, std::move(begin));
    if (!begun) co_return fail(begun.error());
    std::shared_ptr<ContributionWriter> writer = std::move(*begun);
    const std::uint64_t elements = store->manifest().elements;
    for (std::uint64_t lo = 0; lo < elements;) {
        std::uint64_t hi = std::min(elements, lo + trainer->window_elements());
        auto window = co_await trainer->weights(lo, hi);
        if (!window) co_return fail(Errc::trainer_failed, window.error().detail);
        std::span<const float> local = *window;
        auto push = [writer, local] { return writer->push(local); };
        auto pushed = co_await run_on(parts_.codec, std::move(push));
        if (!pushed && pushed.error().code == Errc::not_finite) {
            EncodedAnswer refused;
            refused.finite = false;
            co_return Answer{refused};
        }
        if (!pushed) co_return fail(pushed.error());
        lo = hi;
    }
    ReadyState ready;
    ready.step = action.step;
    auto finish_file = [store, writer, ready] { return store->finish_contribution(*writer, ready); };
    auto made = co_await run_on(parts_.disk, std::move(finish_file));
    if (!made) co_return fail(made.error());
    co_return Answer{EncodedAnswer{made->contribution, made->norm, true}};
}

Task<Result<Answer>> TrainerHost::act(Apply action) {
    auto trainer = trainer_;
    auto store = store_;
    std::uint64_t generation = generation_;
    bool kept = ready_ || action.local == LocalDelta::none;
    if (action.local == LocalDelta::carry && kept) {
        auto held = co_await trainer->hold();
        kept = held.has_value();
    }
    auto apply_entry = [store, step = action.step] { return store->apply(step); };
    auto applied = co_await run_on(parts_.disk, std::move(apply_entry));
    if (!applied) co_return fail(applied.error());
    failpoint("node.after_commit");
    if (action.local != LocalDelta::none && kept && generation == generation_) {
        if (action.local == LocalDelta::reload) {
            TrainerLoad reload;
            auto loaded = co_await act(reload);
            kept = loaded.has_value();
        } else {
            auto carried = co_await trainer->carry();
            kept = carried.has_value();
        }
    }
    if (generation != generation_ && action.local != LocalDelta::none) kept = false;
    co_return Answer{StateAnswer{std::nullopt, kept}};
}

}  // namespace skerry::node
