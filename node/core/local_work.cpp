// The step machine's local half: leases, the delta in the trainer, rounds, freeze and progress.

#include <algorithm>

#include "node/core/disk_errors.hpp"
#include "node/core/step_machine.hpp"

namespace skerry::node {

namespace {
ControlMessage control(ControlBody body) {
    ControlMessage message;
    message.body = std::move(body);
    return message;
}

std::vector<Segment> prefix(Context& context, const ProgressImage& image) {
    LeaseBook book(context);
    book.restore(image.note.fed);
    return book.consumed(image.delta.sequences);
}
}  // namespace

// ------------------------------------------------------------------------------------------------ leases

std::vector<Segment> StepMachine::delta() const {
    if (!trainer_.has_delta() || reload_wanted_) return {};
    return leases_.consumed(trainer_.delta().sequences);
}

/// The ledger's word, once it speaks about the state that is applied here.
void StepMachine::settle_leases() {
    if (leases_settled_ || !at_head()) return;
    leases_settled_ = true;
    leases_.told(context_.orders.leases);
    // What is not leased is not trained on: a delta and its leases live and die together.
    if (frozen_ && !leases_.covers(frozen_->segments)) {
        drop_local("a lease of the frozen contribution is gone");
        return;
    }
    const auto fed = leases_.consumed(leases_.fed_sequences());
    if (!reload_wanted_ && !leases_.covers(fed)) drop_local("a lease of the local delta is gone");
}

void StepMachine::drop_local(const char* why) {
    if (frozen_ || trainer_.has_delta()) context_.note(std::string("local work dropped: ") + why, true);
    frozen_.reset();
    encode_dropped_ = encode_op_.has_value();
    round_over_ = false;
    round_steps_ = 0;  // they went with it
    leases_.rewind();
    if (trainer_.loaded()) reload_wanted_ = true;
}

bool StepMachine::may_request_leases() const {
    const RosterEntry* me = roster_.find(context_.self());
    return context_.heard_orders && context_.orders.run_state == RunState::running && context_.config.train && !paused_ &&
           !leaving_ && !stopping_ && !halted_ && !context_.orders.data_ended && me != nullptr &&
           me->state == NodeState::current && !behind() && !trainer_.failing();
}

std::uint64_t StepMachine::round_sequences() const {
    const Manifest& manifest = *context_.manifest;
    const std::uint64_t batch = std::max<std::uint64_t>(1, manifest.batch_sequences);
    if (manifest.local_steps > 0) return manifest.local_steps * batch;
    return std::max(batch * 16, last_round_sequences_ + last_round_sequences_ / 4);
}

// ------------------------------------------------------------------------------------------------- ready

std::optional<ReadyState> StepMachine::ready() const {
    if (!at_head() || context_.config.follow) return std::nullopt;
    if (frozen_) {
        ReadyState out;
        out.step = frozen_->step;
        out.contribution = frozen_->id;
        out.weight_tokens = frozen_->tokens;
        out.segments = frozen_->segments;
        out.norm = frozen_->norm;
        out.loss = frozen_->loss;
        return out;
    }
    // While the plan that binds a lost contribution stands, its node can still own and vote.
    if (lost_at_ != log_.applied()) {
        if (context_.orders.run_state != RunState::running || encode_op_ || trainer_.has_delta()) return std::nullopt;
        const bool idle = !trainer_.reported_training();
        const bool nothing = leases_.stock() == 0 && (leases_.nothing_to_be_had() || context_.orders.data_ended);
        const bool spectator =
            !context_.config.train || paused_ || (leaving_ && leases_.stock() == 0) || trainer_.failing();
        if (!(idle && (nothing || spectator))) return std::nullopt;
    }
    ReadyState out;
    out.step = log_.applied();
    return out;
}

void StepMachine::contribution_lost(const ObjectRef& object) {
    if (object.kind != ObjectKind::contribution || !exchange_.has_own(object.id)) return;
    exchange_.lose_own(object.id);
    if (!frozen_ || frozen_->id != object.id) return;
    context_.note("the frozen contribution is damaged; its delta waits for another plan", true);
    lost_at_ = frozen_->step;
    frozen_.reset();
    round_over_ = true;
}

/// Once no plan in force binds what was lost, the coordinator knows of it, and what is frozen anew counts.
void StepMachine::forget_loss() {
    const auto& plan = context_.orders.plan;
    const bool known = !plan || exchange_.follows(plan->digest);
    const bool bound = plan && known && std::any_of(exchange_.plan().participants.begin(), exchange_.plan().participants.end(),
                                                    [&](const Participant& p) { return p.node == context_.self(); });
    if (known && !bound) lost_at_.reset();
}

void StepMachine::freeze_if_due() {
    forget_loss();
    if (!round_over_ || frozen_ || encode_op_ || lost_at_ || reload_wanted_ || stopping_ || !at_head()) return;
    if (!trainer_.idle() || !trainer_.has_delta() || context_.now < disk_again_) return;
    // The plan in force binds what the process before froze: freezing again would replace that file.
    const auto& plan = context_.orders.plan;
    if (plan && exchange_.follows(plan->digest) && exchange_.binds_own(context_.self())) return;
    encode_op_ = context_.new_op();
    encode_dropped_ = false;
    log_.reader_begins(*encode_op_);
    const bool residual = residual_tag_ && residual_tag_ == chain_.last_credited();
    context_.emit(Encode{*encode_op_, log_.applied(), residual});
}

void StepMachine::on_encoded(const Done& done) {
    log_.reader_ends(*encode_op_);
    encode_op_.reset();
    if (encode_dropped_) return;
    const auto* answer = std::get_if<EncodedAnswer>(&done.answer);
    if (done.error || answer == nullptr) {
        if (done.error && is_disk_error(done.error->code)) return disk_refused();
        trainer_.fail("its weights could not be read");
        on_trainer_gone();
        return;
    }
    if (!answer->finite) {
        trainer_.fail("its weights are not finite: dropped, leases returned", Errc::not_finite);
        on_trainer_gone();
        return;
    }
    trainer_.worked(true);
    Frozen frozen;
    frozen.step = log_.applied();
    frozen.id = answer->contribution;
    frozen.segments = delta();
    frozen.tokens = trainer_.delta().tokens;
    frozen.norm = answer->norm;
    frozen.loss = trainer_.delta().loss;
    frozen.life = trainer_.life();
    frozen_ = std::move(frozen);
    exchange_.replace_own(frozen_->step, frozen_->id);
}

// ------------------------------------------------------------------------------------------------- rounds

bool StepMachine::may_train() const {
    return at_head() && context_.orders.run_state == RunState::running && context_.config.train && !paused_ &&
           leaving_ != LeaveWhen::now && !stopping_;  // who leaves after the step still finishes it
}

bool StepMachine::wants_trainer() const {
    if (!context_.config.train || stopping_ || left_ || leaving_ == LeaveWhen::now) return false;
    // With work that was saved it is up by the time the coordinator has been heard.
    const bool resumes = !paused_ && !context_.heard_orders && !progress_.empty();
    if (trainer_.state() == TrainerSupervision::State::off) return resumes || (may_train() && leases_.stock() > 0);
    if (context_.orders.run_state == RunState::stopped)
        return frozen_ || trainer_.has_delta() || evaluation_due() ||
               trainer_.state() == TrainerSupervision::State::evaluating;
    return !paused_ || (holds_work() && !pause_overdue());
}

// ------------------------------------------------------------------------------------------------- pause

void StepMachine::pause(bool paused) {
    if (paused && !paused_) paused_at_ = context_.now;
    paused_ = paused;
}

/// A pause frees the memory in bounded time: what is not saved by then is lost, as by a kill.
bool StepMachine::pause_overdue() const { return paused_ && context_.now >= paused_at_ + context_.config.pause_patience; }

/// As it stands it is on disk, or the disk has refused it.
bool StepMachine::delta_is_safe() const {
    const bool saved = !progress_.empty() && progress_.back().delta == trainer_.delta();
    return saved || (saving_ && !trainer_.saving() && saving_->delta == trainer_.delta());
}

/// Paused: the process goes once nothing is in it that is not on disk, frozen or saved. What is frozen for a plan that
/// leaves it out goes on from the save.
bool StepMachine::holds_work() const {
    if (encode_op_ || trainer_.saving() || trainer_.reported_training()) return true;
    return trainer_.has_delta() && !reload_wanted_ && !delta_is_safe();
}

/// Saves the delta if that is worth it; whether it does.
bool StepMachine::save_now() {
    const bool worth = trainer_.has_delta() && trainer_.idle() && !reload_wanted_;
    if (!worth || delta_is_safe()) return false;
    begin_save();
    return true;
}

/// Over the older one of two.
void StepMachine::begin_save() {
    const std::uint32_t slot = progress_.empty() ? 0 : 1 - std::min(1U, progress_.back().slot);
    if (moments_ && moments_->slot == slot) moments_.reset();
    saving_ = ProgressImage{slot, progress_note(), trainer_.delta()};
    trainer_.save(slot, saving_->note);
}

void StepMachine::forget_progress() {
    progress_.clear();
    moments_.reset();
}

/// Paused: the others get the data that nothing done here stands on.
void StepMachine::return_unworked() {
    if (!paused_ || !leases_settled_ || !at_head() || trainer_.state() != TrainerSupervision::State::off) return;
    drop_invalid_progress();
    std::set<LeaseId> kept;
    if (frozen_)
        for (const Segment& segment : frozen_->segments) kept.insert(segment.lease);
    for (const ProgressImage& image : progress_)
        for (const Segment& segment : prefix(context_, image)) kept.insert(segment.lease);
    leases_.give_back_others(kept);
}

void StepMachine::drive_trainer() {
    if (encode_op_ && !pause_overdue()) return;
    encode_dropped_ = encode_op_.has_value();
    using State = TrainerSupervision::State;
    const auto before = trainer_.state();
    if (!stopping_) trainer_.want(wants_trainer());
    trainer_.tick();
    // Ended by us: what it had in its queue is stock again.
    const bool ended = trainer_.state() == State::off || trainer_.state() == State::backoff;
    if (ended && before != State::off && before != State::backoff) on_trainer_gone();
    if (trainer_.state() == TrainerSupervision::State::unloaded) load_trainer();
    const bool must_end = paused_ || stopping_ || leaving_ == LeaveWhen::now || reload_wanted_;
    if (must_end) trainer_.freeze();
    if (reload_wanted_ && trainer_.idle() && !log_.busy()) {
        reload_wanted_ = round_over_ = false;
        round_steps_ = 0;  // the round that was ended for this counted its steps once more
        leases_.rewind();
        base_ = log_.applied();
        trainer_.load(std::exchange(reset_optimizer_, false));
        return;
    }
    if (evaluation_due()) {
        evaluated_ = log_.applied();
        trainer_.evaluate(log_.applied());
        return;
    }
    start_round();
    if (paused_ && !stopping_ && !log_.busy() && !trainer_.saving()) save_now();
    save_progress();
}

/// Held-out loss is computed by one node: the first current one of the roster.
bool StepMachine::evaluation_due() const {
    const auto every = context_.manifest->evaluate_every;
    if (every == 0 || !context_.config.evaluate || evaluated_ == log_.applied()) return false;
    if (!trainer_.idle() || !at_head() || reload_wanted_ || roster_.first_current() != context_.self()) return false;
    return log_.applied().value % every == 0 || context_.orders.data_ended ||
           context_.orders.run_state == RunState::stopped;
}

bool StepMachine::progress_valid(const ProgressImage& image) const {
    const Step head = log_.applied();
    if (image.note.base > head || head.value - image.note.base.value > context_.manifest->max_carry) return false;
    if (chain_.last_credited() && *chain_.last_credited() >= image.note.base) return false;
    return !undone(image) && image.delta.sequences > 0 && leases_.covers(prefix(context_, image));
}

/// It stands on a state that a rollback has undone.
bool StepMachine::undone(const ProgressImage& image) const {
    const auto last = chain_.last_rollback();
    return last && last->second >= image.note.base;
}

/// A save whose data count no more (credited, or somebody else's) is still worth its inner optimizer's state.
void StepMachine::drop_invalid_progress() {
    if (!progress_.empty() && !progress_valid(progress_.back())) moments_ = progress_.back();
    std::erase_if(progress_, [&](const ProgressImage& image) { return !progress_valid(image); });
}

void StepMachine::load_trainer() {
    // A frozen contribution holds the delta until the decision; a second copy of it would be of no use before.
    if (frozen_ || !at_head() || !leases_settled_) return;
    leases_.rewind();
    reload_wanted_ = false;
    round_steps_ = 0;
    base_ = log_.applied();
    drop_invalid_progress();
    restored_steps_ = 0;
    if (progress_.empty() && moments_ && !reset_optimizer_ && !undone(*moments_)) {
        restoring_moments_ = true;
        trainer_.restore(std::exchange(moments_, std::nullopt)->slot);  // once: a trainer may die of it
        return;
    }
    if (progress_.empty()) {
        trainer_.load(std::exchange(reset_optimizer_, false));
        return;
    }
    restored_slot_ = progress_.back().slot;
    trainer_.restore(*restored_slot_);
}

void StepMachine::start_round() {
    if (round_over_ && !frozen_ && !trainer_.has_delta() && leases_.stock() > 0) round_over_ = false;
    if (!may_train() || !leases_settled_ || !trainer_.idle() || frozen_ || round_over_ || lost_at_ || reload_wanted_) return;
    const Manifest& manifest = *context_.manifest;
    const std::uint64_t batch = std::max<std::uint64_t>(1, manifest.batch_sequences);
    const bool timed_out = context_.now >= round_ends_;
    if (manifest.local_steps > 0 && round_steps_ >= manifest.local_steps) round_over_ = true;
    if (timed_out && trainer_.has_delta()) round_over_ = true;
    if (round_over_) return;

    const std::uint64_t steps_left = manifest.local_steps > 0 ? manifest.local_steps - round_steps_ : 0;
    const std::uint64_t queued = leases_.fed_sequences() - trainer_.delta().sequences;
    const std::uint64_t need = manifest.local_steps > 0 ? steps_left * batch : leases_.stock() + queued;
    auto segments = need > queued ? leases_.feed(need - queued) : std::vector<Segment>{};
    if (queued == 0 && segments.empty()) {
        const bool nothing = leases_.nothing_to_be_had() || context_.orders.data_ended;
        if (nothing && trainer_.has_delta()) round_over_ = true;
        return;
    }
    if (trainer_.delta().sequences == 0) {
        base_ = log_.applied();
        saved_at_ = context_.now;
    }
    if (!segments.empty()) trainer_.feed(std::move(segments));

    TrainerTrain order;
    order.round = log_.applied().value;
    order.committed_tokens = chain_.tokens(log_.applied());
    order.participants = std::max<std::uint32_t>(1, context_.orders.planned_participants);
    order.first_step = round_steps_;
    order.max_steps = steps_left;
    if (manifest.round_ms > 0) order.deadline = training_time();
    steps_before_ = trainer_.delta().steps;
    trainer_.train(std::move(order));
}

/// The rest of the round. Who has nothing yet and comes late, or applies for most of the round, trains for a quarter of
/// one: what misses this plan is carried into the next.
Millis StepMachine::training_time() const {
    const Millis rest = std::max(Millis(0), round_ends_ - context_.now);
    return trainer_.delta().sequences > 0 ? rest : std::max(rest, Millis(context_.manifest->round_ms) / 4);
}

void StepMachine::on_trainer(TrainerSupervision::Outcome outcome) {
    using Outcome = TrainerSupervision::Outcome;
    switch (outcome) {
        case Outcome::restored: {
            reload_wanted_ = std::exchange(restoring_moments_, false);  // the weights are the agreed ones
            if (reload_wanted_) break;
            const ProgressNote& note = *trainer_.restored_note();
            leases_.restore(note.fed);
            leases_.restore(leases_.consumed(trainer_.delta().sequences));
            base_ = note.base;
            round_steps_ = note.head == log_.applied() ? note.round_steps : 0;
            saved_at_ = context_.now;
            restored_steps_ = trainer_.delta().steps;
            break;
        }
        case Outcome::restore_failed:
            restoring_moments_ = false;
            // Dead, then it is not known whether the file is to blame; what it said of the file is.
            if (trainer_.state() == TrainerSupervision::State::backoff) break;
            std::erase_if(progress_, [&](const ProgressImage& image) { return image.slot == restored_slot_; });
            restored_slot_.reset();
            break;
        case Outcome::round_ended: {
            using Why = RoundAnswer::Why;
            round_steps_ += trainer_.delta().steps - std::min(trainer_.delta().steps, steps_before_);
            last_round_sequences_ = trainer_.delta().sequences;
            restored_slot_.reset();
            restored_deaths_ = 0;
            const Why why = trainer_.round_end();
            if (why == Why::steps || why == Why::deadline) round_over_ = true;
            // Stopped by us: for an apply (a new round follows it) or because no further one will come.
            if (why == Why::freeze && (paused_ || stopping_ || !may_train()) && at_head()) round_over_ = true;
            break;
        }
        case Outcome::saved:
            if (!saving_) break;
            trainer_.worked(false);
            restored_slot_.reset();
            restored_deaths_ = 0;
            save_took_ = context_.now - saved_at_;
            // If it does not say: it waits for the inner step under way, which is no cost.
            save_stall_ = trainer_.save_stall().value_or(std::max(Millis(0), save_took_ - trainer_.alive().median_step));
            saving_->delta = trainer_.saved_delta();
            std::erase_if(progress_, [&](const ProgressImage& image) { return image.slot == saving_->slot; });
            progress_.push_back(*saving_);
            moments_.reset();
            saving_.reset();
            break;
        case Outcome::evaluated: heldout_ = {*evaluated_, trainer_.heldout()}; break;
        default: break;
    }
}

void StepMachine::on_trainer_gone() {
    // The frozen contribution stays valid, with its leases; what was only in the process is lost since `progress`.
    saving_.reset();
    reload_wanted_ = restoring_moments_ = false;
    judge_restored();
    if (trainer_.gone_not_finite() && !frozen_) {
        leases_.give_back(leases_.fed());
        forget_progress();
        reset_optimizer_ = true;
    }
    // Somebody else may get on with that data.
    if (trainer_.failing() && progress_.empty() && !frozen_) leases_.give_back_all();
    leases_.rewind();
    if (!frozen_) round_over_ = false;
    if (!frozen_) round_steps_ = 0;
}

/// Progress with which trainers end again and again before they get anything done is not kept for the next one.
void StepMachine::judge_restored() {
    constexpr std::uint32_t kDeaths = 2;
    if (!restored_slot_) return;
    const std::uint32_t slot = *std::exchange(restored_slot_, std::nullopt);
    if (++restored_deaths_ < kDeaths) return;
    restored_deaths_ = 0;
    context_.note("saved progress dropped: two trainers in a row ended with it", true);
    std::erase_if(progress_, [&](const ProgressImage& image) { return image.slot == slot; });
}

ProgressNote StepMachine::progress_note() const {
    ProgressNote note;
    note.base = base_;
    note.head = log_.applied();
    note.fed = leases_.fed();
    note.round_steps = static_cast<std::uint32_t>(round_steps_);
    return note;
}

/// A kill may cost so much: what is configured, or a tenth of a round where that is shorter, saving so often takes no
/// more than a fiftieth of the time for training, and the disk rests as long as it writes. Half a round where a save holds
/// up no more than a twentieth of it: a single slow one must not be the last.
Millis StepMachine::save_interval() const {
    const Manifest& manifest = *context_.manifest;
    Millis round(manifest.round_ms);
    const Millis steps = trainer_.alive().median_step * static_cast<std::int64_t>(manifest.local_steps);
    if (steps > Millis(0)) round = round > Millis(0) ? std::min(round, steps) : steps;
    Millis every = context_.config.progress_every;
    if (round > Millis(0)) every = std::min(every, std::max(context_.config.progress_least, round / 10));
    every = std::max({every, 50 * save_stall_, 2 * save_took_});
    const bool affordable = round > Millis(0) && 20 * save_stall_ <= round;
    if (affordable) every = std::min(every, std::max({context_.config.progress_least, round / 2, save_took_}));
    return std::min(every, context_.config.progress_every);
}

std::optional<Mono> StepMachine::save_due() const {
    const bool training = trainer_.state() == TrainerSupervision::State::training;
    if (!training || trainer_.saving() || reload_wanted_ || trainer_.delta().sequences == 0) return std::nullopt;
    if (!progress_.empty() && progress_.back().delta == trainer_.delta()) return std::nullopt;
    return saved_at_ + save_interval();
}

void StepMachine::save_progress() {
    const auto due = save_due();
    if (!due || context_.now < *due) return;
    saved_at_ = context_.now;
    begin_save();
}

LocalView StepMachine::local() const {
    LocalView out;
    if (!context_.manifest) return out;
    out.delta = trainer_.delta();
    if (!progress_.empty()) out.saved = progress_.back().delta;
    if (saved_at_ != Mono::min() && trainer_.delta().sequences > 0) out.saved_age = context_.now - saved_at_;
    out.save_every = save_interval();
    out.restored_steps = restored_steps_;
    out.failures = trainer_.failures();
    if (auto at = trainer_.retry_at()) out.retry_in = std::max(Millis(0), *at - context_.now);
    out.error = trainer_.last_error();
    return out;
}

// ------------------------------------------------------------------------------------------- the way out

void StepMachine::leave(LeaveWhen when) {
    leaving_ = when;
    context_.emit(Send{control(Leaving{when})});
}

void StepMachine::finish_stop() {
    if (exited_) return;
    if (left_) {
        trainer_.want(false);
        context_.emit(Exit{Errc::cancelled, "left the run"});
        exited_ = true;
        return;
    }
    if (!stopping_ || !trainer_.quiet() || trainer_.saving() || encode_op_) return;
    if (save_now()) return;
    trainer_.want(false);
    context_.emit(Exit{Errc::cancelled, "asked to end"});
    exited_ = true;
}

}  // namespace skerry::node
