#include "node/core/trainer_supervision.hpp"

namespace skerry::node {

namespace {
constexpr std::uint32_t kFailing = 3;

/// The trainer is well and says that the file is not: docs/trainer-protocol.md, `restore`.
bool says_bad_file(Errc code) {
    return code == Errc::not_found || code == Errc::digest_mismatch || code == Errc::bad_shape || code == Errc::malformed;
}
}  // namespace

void TrainerSupervision::begin(State state) {
    state_ = state;
    op_ = context_.new_op();
    heard_ = context_.now;
}

void TrainerSupervision::want(bool wanted) {
    if (!wanted) {
        if (state_ == State::off) return;
        if (state_ != State::backoff) context_.emit(KillTrainer{"not needed"});
        state_ = State::off;
        op_.reset();
        end_save();
        delta_ = {};
        return;
    }
    const bool due = state_ == State::off || (state_ == State::backoff && context_.now >= retry_at_);
    if (!due) return;
    ++life_;
    delta_ = {};
    not_finite_ = false;
    freezing_ = false;
    begin(State::starting);
    context_.emit(StartTrainer{*op_});
}

void TrainerSupervision::load(bool reset_optimizer) {
    begin(State::loading);
    restored_.reset();
    context_.emit(TrainerLoad{*op_, reset_optimizer});
}

void TrainerSupervision::restore(std::uint32_t slot) {
    begin(State::loading);
    restored_.reset();
    context_.emit(RestoreProgress{*op_, slot});
}

void TrainerSupervision::train(TrainerTrain order) {
    begin(State::training);
    freezing_ = false;
    order.op = *op_;
    context_.emit(std::move(order));
}

void TrainerSupervision::freeze() {
    if (state_ != State::training || freezing_) return;
    freezing_ = true;
    context_.emit(TrainerFreeze{});
}

void TrainerSupervision::evaluate(Step step) {
    begin(State::evaluating);
    context_.emit(Evaluate{*op_, step});
}

void TrainerSupervision::save(std::uint32_t slot, ProgressNote note) {
    saving_ = context_.new_op();
    copying_ = true;
    context_.emit(SaveProgress{*saving_, slot, std::move(note)});
}

void TrainerSupervision::end_save() {
    saving_.reset();
    copying_ = false;
}

void TrainerSupervision::fail(const std::string& why, Errc code) {
    context_.emit(KillTrainer{why});
    context_.note("trainer: " + why, true);
    back_off(why, code);
}

void TrainerSupervision::worked(bool proven) {
    failures_ = 0;
    if (proven) not_finite_in_row_ = 0;
}

bool TrainerSupervision::failing() const {
    return failures() >= kFailing && (state_ == State::backoff || state_ == State::starting);
}

std::optional<Mono> TrainerSupervision::retry_at() const {
    return state_ == State::backoff ? std::optional(retry_at_) : std::nullopt;
}

void TrainerSupervision::back_off(const std::string& why, Errc code) {
    last_error_ = std::string(to_name(code)) + ": " + why;
    not_finite_ = code == Errc::not_finite;
    state_ = State::backoff;
    op_.reset();
    end_save();
    delta_ = {};
    retry_at_ = context_.now + context_.config.trainer_backoff * (1U << std::min(failures(), 6U));
    ++failures_;
    if (not_finite_) ++not_finite_in_row_;
}

void TrainerSupervision::on_gone(const TrainerGone& event) {
    if (state_ == State::off || state_ == State::backoff) return;
    context_.note("trainer ended: " + event.detail, true);
    back_off(event.detail, event.code);
}

void TrainerSupervision::on_alive(const TrainerAlive& event) {
    alive_ = event;
    heard_ = context_.now;
    if (state_ == State::training) delta_ = event.delta;
}

TrainerSupervision::Outcome TrainerSupervision::on_done(const Done& done) {
    heard_ = context_.now;
    if (done.op == saving_) {
        end_save();
        const auto* progress = std::get_if<ProgressAnswer>(&done.answer);
        if (done.error || progress == nullptr) return Outcome::none;
        saved_delta_ = progress->delta;
        save_stall_ = progress->stall;
        return Outcome::saved;
    }
    op_.reset();
    switch (state_) {
        case State::starting:
            if (done.error) fail("did not start: " + done.error->detail);
            else state_ = State::unloaded;
            return Outcome::none;
        case State::loading: {
            const auto* progress = std::get_if<ProgressAnswer>(&done.answer);
            if (done.error) {
                state_ = State::unloaded;
                if (!says_bad_file(done.error->code)) fail("could not load: " + done.error->detail, done.error->code);
                return Outcome::restore_failed;
            }
            state_ = State::idle;
            delta_ = {};
            if (progress == nullptr) return Outcome::loaded;
            delta_ = progress->delta;
            restored_ = progress->note;
            return Outcome::restored;
        }
        case State::training: {
            const auto* round = std::get_if<RoundAnswer>(&done.answer);
            if (done.error || round == nullptr) {
                fail("round failed: " + (done.error ? done.error->detail : std::string("no answer")));
                return Outcome::none;
            }
            state_ = State::idle;
            delta_ = round->delta;
            round_end_ = round->why;
            worked(false);
            return Outcome::round_ended;
        }
        case State::evaluating: {
            state_ = State::idle;
            const auto* answer = std::get_if<EvaluatedAnswer>(&done.answer);
            if (done.error || answer == nullptr) return Outcome::none;
            heldout_ = answer->loss;
            return Outcome::evaluated;
        }
        default: return Outcome::none;
    }
}

Mono TrainerSupervision::deadline() const {
    const auto& config = context_.config;
    switch (state_) {
        case State::off:
        case State::backoff:
        case State::unloaded: return Mono::max();
        case State::starting: return heard_ + config.trainer_start_patience;
        default: return heard_ + std::max<Millis>(config.trainer_silence, 5 * alive_.median_step);
    }
}

void TrainerSupervision::tick() {
    if (context_.now >= deadline()) fail("silent for too long");
}

Mono TrainerSupervision::next_wake() const { return state_ == State::backoff ? retry_at_ : deadline(); }

TrainerPhase TrainerSupervision::phase(bool waiting) const {
    switch (state_) {
        case State::off: return TrainerPhase::stopped;
        case State::backoff: return TrainerPhase::failed;
        case State::starting:
        case State::unloaded:
        case State::loading: return TrainerPhase::starting;
        case State::training: return TrainerPhase::training;
        default: break;
    }
    return waiting ? TrainerPhase::waiting : TrainerPhase::training;
}

}  // namespace skerry::node
