#include "node/core/step_machine.hpp"

#include <algorithm>

#include "node/core/disk_errors.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {

namespace {
constexpr Millis kAskAgain{2000};
constexpr Millis kReloadAgain{3000};
constexpr Millis kPrepareAgain{5000};
constexpr std::size_t kPlanBodies = 4;

ControlMessage control(ControlBody body) {
    ControlMessage message;
    message.body = std::move(body);
    return message;
}
}  // namespace

StepMachine::StepMachine(Context& context, RosterBook& roster, Chain& chain, StateLog& log, Asker& asker,
                         Exchange& exchange, CatchUp& catch_up, LeaseBook& leases, TrainerSupervision& trainer)
    : context_(context), roster_(roster), chain_(chain), log_(log), asker_(asker), exchange_(exchange),
      catch_up_(catch_up), leases_(leases), trainer_(trainer) {}

void StepMachine::begin(const NodeImage& image) {
    progress_ = image.progress;
    residual_tag_ = image.residual_tag;
    Step open = log_.log_head();
    for (const Step step : image.entries) open = std::max(open, step.next());
    for (const ContributionImage& found : image.contributions) {
        if (found.step < open) continue;
        if (found.own) exchange_.add_own(found.step, found.id);
        else exchange_.add_gathered(found.step, found.id, found.pieces);
    }
    for (const PreparedImage& found : image.prepared) {
        auto plan = parse_plan(found.plan_body);
        // A vote for an entry was given at its step; one for a rollback may have been given from further behind.
        if (!plan || found.step != (is_rollback(plan->kind) ? chain_.known() : open)) continue;
        const std::size_t pieces = plan->kind == EntryKind::commit ? context_.grid.count() : 0;
        const bool fits = found.leaves.size() == pieces && found.signatures.size() == found.leaves.size();
        if (!fits || (exchange_.following() && Exchange::rank(*plan) < Exchange::rank(exchange_.plan()))) continue;
        exchange_.restore(found, std::make_shared<const Plan>(std::move(*plan)), body_digest(found.plan_body));
    }
}

void StepMachine::drop_private_state() {
    context_.emit(DropPrivateState{});
    forget_progress();
    residual_tag_.reset();
    exchange_.forget_contributions();
    drop_local("this disk is older than its node");
}

void StepMachine::session_opened() {
    decisions_again_ = Mono::min();
    if (leaving_) context_.emit(Send{control(Leaving{*leaving_})});
}

bool StepMachine::behind() const {
    return !log_.loaded() || log_.applied() < chain_.known() || (context_.heard_orders && chain_.known() < context_.orders.head);
}

/// Here, told and applied: the open step is mine too.
bool StepMachine::at_head() const {
    return log_.loaded() && !log_.busy() && log_.applied() == chain_.known() && context_.heard_orders &&
           context_.orders.head == log_.applied() && !halted_;
}

Phase StepMachine::phase() const {
    if (!context_.manifest || !context_.heard_orders) return Phase::joining;
    if (behind()) return Phase::behind;
    if (prepared()) return Phase::prepared;
    if (exchange_.following() && exchange_.plan().step == log_.applied()) return Phase::exchange;
    return ready() ? Phase::ready : Phase::work;
}

// --------------------------------------------------------------------------------------- orders and plans

void StepMachine::on_orders(const Orders& orders, Term term) {
    for (const SignedDecision& record : orders.decisions) learn(record);
    const Step known = chain_.known();
    if (orders.head < known || (orders.head == known && orders.h_head != chain_.h(known))) {
        // Impossible within one history: the coordinator's database is older than what was decided, or another.
        if (!halted_) context_.note("the coordinator's log is not the one this node has; applying nothing", true);
        halted_ = true;
        return;
    }
    halted_ = false;
    leases_settled_ = false;
    if (orders.run_state == RunState::stopped) snapshot_asked_ = true;
    if (orders.plan) wanted_in_ = term;
    if (orders.plan) take_plan(*orders.plan);
    for (const OrderRequest& request : orders.requests) {
        if (request.ask == Ask::write_snapshot) snapshot_asked_ = true;
        if (request.ask == Ask::state_digest && request.step == log_.applied())
            digest_done_ = log_.digest_of(request.step).has_value();
        if (request.ask == Ask::reload_state && log_.loaded() && !log_.busy() && context_.now >= reload_again_) {
            reload_again_ = context_.now + kReloadAgain;
            context_.note("this node's state differs from the agreed one: replaying from disk", true);
            log_.unload();
            drop_local("state reloaded");
        }
    }
    const Mono ends = context_.now + Millis(orders.round_remaining_ms);
    if (orders.head == log_.applied()) round_ends_ = orders.round_remaining_ms > 0 ? ends : context_.now;
}

void StepMachine::on_decisions(const Decisions& decisions) {
    for (const SignedDecision& record : decisions.records) learn(record);
    decisions_again_ = Mono::min();
}

void StepMachine::learn(const SignedDecision& record) {
    if (halted_) return;
    const auto learned = chain_.learn(record);
    if (learned != Chain::Learned::refused) return;
    context_.note("a decision does not continue the chain", true);
    halted_ = true;
}

void StepMachine::ask_decisions() {
    if (halted_ || !context_.heard_orders || chain_.known() >= context_.orders.head) return;
    if (context_.now < decisions_again_) return;
    context_.emit(Send{control(DecisionsRequest{chain_.known()})});
    decisions_again_ = context_.now + kAskAgain;
}

void StepMachine::take_plan(const PlanRef& ref) {
    wanted_plan_ = ref.digest;
    if (!ref.body.empty() && body_digest(ref.body) == ref.digest) {
        while (plan_bodies_.size() >= kPlanBodies && !plan_bodies_.contains(ref.digest))
            plan_bodies_.erase(plan_bodies_.begin());
        plan_bodies_[ref.digest] = ref.body;
    }
    const bool have = plan_bodies_.contains(ref.digest) || exchange_.follows(ref.digest);
    if (!have) context_.emit(Send{control(PlanRequest{ref.digest})});
}

void StepMachine::follow_wanted() {
    if (!wanted_plan_ || !log_.loaded() || halted_ || exchange_.follows(*wanted_plan_)) return;
    auto body = plan_bodies_.find(*wanted_plan_);
    if (body == plan_bodies_.end()) return;
    auto plan = parse_plan(body->second);
    // A plan of another step than head is not for now; a lower one of this step is never gone back to.
    if (!plan || plan->run != context_.manifest->run) return;
    const bool commits = plan->kind == EntryKind::commit;
    if (plan->step != chain_.known() || (commits && plan->step != log_.log_head())) return;
    // A decided entry that is whole here is put into the log first.
    if (exchange_.following() && exchange_.plan().step < plan->step && exchange_.complete()) return;
    if (commits && plan->piece_owner.size() != context_.grid.count()) return;
    if (exchange_.following() && exchange_.plan().step == plan->step && outranked(*plan)) return;
    followed_in_ = wanted_in_;
    prepared_.reset();
    prepare_op_.reset();
    prepare_again_ = Mono::min();
    exchange_.follow(std::make_shared<const Plan>(std::move(*plan)), *wanted_plan_, body->second);
}

/// Whether the plan followed goes before this one of the same step. A coordinator that was rebuilt knows only the plans
/// that somebody has prepared: what outranks them and is not prepared here, where it may count, is given up for them.
bool StepMachine::outranked(const Plan& plan) const {
    if (Exchange::rank(plan) > Exchange::rank(exchange_.plan())) return false;
    const bool voted = exchange_.restored() || (prepared_ && prepared_->state.durable);
    return voted || wanted_in_.value < followed_in_.value + kRebuildTermStep;
}

void StepMachine::prepare() {
    if (prepare_op_ || halted_ || !exchange_.complete() || !log_.loaded()) return;
    const Step step = exchange_.plan().step;
    if (step != chain_.known() || !can_vote()) return;
    if (prepared_ && prepared_->state.durable) return;
    if (prepared_ && context_.now < prepare_again_) return;
    prepare_plan_ = exchange_.digest();
    prepare_root_ = exchange_.root();
    std::uint64_t tokens = chain_.tokens(is_rollback(exchange_.plan().kind) ? exchange_.plan().rollback_to : step);
    for (const Participant& participant : exchange_.plan().participants) tokens += participant.weight_tokens;
    const Digest h = chain_next(chain_.h(step), step, exchange_.plan().kind, prepare_plan_,
                                std::span<const Digest>(&prepare_root_, 1), tokens);
    prepare_op_ = context_.new_op();
    context_.emit(WritePrepared{*prepare_op_, step, prepare_plan_, prepare_root_, h, log_.records_missing()});
}

/// A vote for an entry also says that the log below is durable here; one for a rollback, that the state that it goes
/// back to can be made of what is kept here. What leads to the present state does not matter then: it may be lost.
bool StepMachine::can_vote() const {
    const Plan& plan = exchange_.plan();
    if (is_rollback(plan.kind)) return !log_.pruning() && log_.reaches(plan.rollback_to);
    return plan.step == log_.log_head();
}

void StepMachine::on_prepared(const Done& done) {
    prepare_op_.reset();
    prepare_again_ = context_.now + kPrepareAgain;
    const auto* answer = std::get_if<PreparedAnswer>(&done.answer);
    if (done.error || answer == nullptr || !exchange_.follows(prepare_plan_)) return;
    if (answer->durable) log_.records_kept(exchange_.plan().step);
    prepared_ = Voted{exchange_.plan().step, {prepare_plan_, prepare_root_, answer->durable, answer->signature}};
}

std::optional<PreparedState> StepMachine::prepared() const {
    if (!prepared_ || prepared_->step != chain_.known() || log_.has_entry(prepared_->step)) return std::nullopt;
    // An entry is voted for by who is at its step; a rollback may be the only way on.
    if (prepared_->step != log_.applied() && !(exchange_.following() && is_rollback(exchange_.plan().kind)))
        return std::nullopt;
    return prepared_->state;
}

std::optional<HeldPlan> StepMachine::held_plan() const {
    if (!exchange_.following() || exchange_.plan().step != chain_.known()) return std::nullopt;
    const bool voted = prepared_ && prepared_->state.durable && prepared_->state.plan == exchange_.digest();
    if (!voted && !exchange_.restored()) return std::nullopt;
    return HeldPlan{to_bytes(exchange_.plan()), exchange_.root()};
}

// -------------------------------------------------------------------------------------------------- log

void StepMachine::append_next() {
    if (halted_ || log_.appending() || context_.now < disk_again_) return;
    const Step next = log_.log_head();
    if (!log_.loaded()) return;
    if (next >= chain_.known()) {
        if (catch_up_.entry()) catch_up_.end_entry();
        return;
    }
    const ChainLink& link = chain_.link(next);
    if (prepare_op_ && prepare_plan_ == link.plan_digest) return;  // its file is being written
    if (!chain_.needs_entry(next)) return skip_entry(next);
    if (prepared_ && prepared_->step == next && prepared_->state.plan == link.plan_digest &&
        prepared_->state.root == link.root) {
        log_.append(next, prepared_->state.durable);
        return;
    }
    if (exchange_.follows(link.plan_digest)) {
        if (exchange_.complete() && exchange_.root() == link.root) {
            log_.append(next, false);
            return;
        }
        if (snapshot_first(next)) return;
        // Goes on as before: owners, or whoever has the decided entry, still give the pieces.
        exchange_.fetch_decided();
        if (!exchange_.complete()) return;
    }
    if (exchange_.following() && exchange_.plan().step <= next) {
        // Another root or another plan was decided: what is staged here is worth nothing.
        context_.emit(DropStaging{exchange_.plan().step, exchange_.digest()});
        exchange_.end_step(next);
        prepared_.reset();
    }
    fetch_next(next);
}

/// A step without an entry, or one that a later rollback undid.
void StepMachine::skip_entry(Step next) {
    catch_up_.end_entry();
    if (exchange_.following() && exchange_.plan().step <= next) {
        exchange_.end_step(next);  // its files go when the record is durable
        prepared_.reset();
    }
    log_.append_record(next);
}

void StepMachine::fetch_next(Step next) {
    if (snapshot_first(next)) return;
    const ChainLink& link = chain_.link(next);
    if (catch_up_.entry() != next) catch_up_.fetch_entry(next, link.plan_digest, link.root);
    else if (catch_up_.entry_complete()) log_.append(next, false);
}

/// Whether a snapshot is on its way that makes entry `next` unnecessary.
bool StepMachine::snapshot_first(Step next, bool only_way) {
    if (catch_up_.snapshot_withdrawn()) drop_fetched_snapshot();
    if (catch_up_.snapshot()) return *catch_up_.snapshot() > next;
    if (!context_.heard_orders || chain_.known() < context_.orders.head) return chain_.known() < context_.orders.head;
    auto better = catch_up_.choose_snapshot(next, chain_.known(), only_way);
    if (!better) return false;
    catch_up_.end_entry();
    catch_up_.fetch_snapshot(*better, chain_.tokens(better->step));
    return true;
}

/// A snapshot of that step may also be one of my own: that stays.
void StepMachine::drop_fetched_snapshot() {
    if (catch_up_.snapshot()) catch_up_.end_snapshot(log_.has_snapshot(*catch_up_.snapshot()));
}

void StepMachine::adopt_snapshot() {
    if (!catch_up_.snapshot_complete() || log_.busy() || log_.being_read() || halted_) return;
    const StateDigest what = catch_up_.snapshot_digest();
    if (what.step <= log_.applied() && log_.loaded()) {
        drop_fetched_snapshot();
        return;
    }
    if (!trainer_.quiet()) {
        trainer_.freeze();
        return;
    }
    log_.adopt(what, catch_up_.preimage());
}

void StepMachine::apply_next() {
    const Step step = log_.applied();
    if (halted_ || !log_.loaded() || step >= chain_.known() || context_.now < disk_again_) return;
    if (auto rollback = chain_.rollback_over(step)) return apply_rollback(*rollback);
    if (!log_.passed(step) || log_.busy() || log_.being_read()) return;
    if (!trainer_.quiet()) {
        trainer_.freeze();
        return;
    }
    const auto decision = chain_.decision(step);
    treatment_ = treat(*decision);
    log_.apply(step, treatment_->local, treatment_->residual);
}

/// S_{step+1} is made of an older state: from what is kept here, or else of a newer snapshot of somebody.
void StepMachine::apply_rollback(Step step) {
    if (log_.log_head() <= step || log_.busy() || log_.being_read() || log_.pruning()) return;
    if (!log_.reaches(chain_.link(step).rollback_to)) {
        (void)snapshot_first(step, true);
        return;
    }
    if (!trainer_.quiet()) {
        trainer_.freeze();
        return;
    }
    treatment_ = treat(*chain_.decision(step));
    log_.apply(step, treatment_->local, treatment_->residual);
}

StepMachine::Treatment StepMachine::treat(const Decision& decision) const {
    Treatment out;
    if (is_rollback(decision.kind)) {
        // Residual and delta belong to a state that is no more; the delta's leases stay.
        out.local = trainer_.loaded() ? LocalDelta::reload : LocalDelta::none;
        out.residual = ResidualRule::zero;
        out.drop = true;
        return out;
    }
    const bool has_delta = trainer_.has_delta() && !reload_wanted_;
    if (trainer_.loaded()) out.local = LocalDelta::reload;

    const auto mine = std::find_if(decision.credits.begin(), decision.credits.end(),
                                   [&](const Credit& credit) { return credit.node == context_.self(); });
    if (mine != decision.credits.end()) {
        out.credited = mine->segments;
        const bool as_frozen = frozen_ && frozen_->step == decision.step && frozen_->id == mine->contribution;
        if (as_frozen) out.residual = ResidualRule::advance;
        // The delta was waiting since the freeze, so minus the frozen part it is empty.
        const bool is_frozen_part = as_frozen && frozen_->life == trainer_.life();
        const auto inside = delta();
        const bool contains = std::any_of(inside.begin(), inside.end(), [&](const Segment& segment) {
            return std::any_of(out.credited.begin(), out.credited.end(),
                               [&](const Segment& c) { return c.lease == segment.lease; });
        });
        if (is_frozen_part || contains) {
            out.drop = true;
            return out;
        }
    }
    if (!has_delta) return out;
    const std::uint64_t age = decision.step.value + 1 - base_.value;
    if (age > context_.manifest->max_carry) {
        out.drop = out.give_back = true;
        return out;
    }
    out.local = LocalDelta::carry;
    return out;
}

void StepMachine::applied(Step step, bool local_kept) {
    const Treatment done = treatment_.value_or(Treatment{});
    treatment_.reset();
    if (done.residual == ResidualRule::advance) residual_tag_ = step;
    if (done.residual == ResidualRule::zero) residual_tag_.reset();
    if (done.give_back) leases_.give_back(delta());
    if (done.drop) forget_progress();
    const bool keeps = done.local == LocalDelta::carry && trainer_.loaded() && local_kept;
    if (!keeps) {
        leases_.rewind();
        trainer_.delta_dropped();
        base_ = step.next();
        // Died while it was told: what it holds now is not known.
        if (done.local != LocalDelta::none && trainer_.loaded() && !local_kept) reload_wanted_ = true;
        else reload_wanted_ = false;
    }
    leases_.credit(done.credited);
    frozen_.reset();
    lost_at_.reset();
    prepared_.reset();
    context_.emit(DropContributions{step});
    after_apply();
    if (!is_rollback(chain_.link(step).kind)) return;
    // A snapshot of it makes what lies behind the rollback unnecessary; the inner optimizer starts anew, too.
    snapshot_asked_ = true;
    reload_wanted_ = trainer_.loaded();
    reset_optimizer_ = true;
}

/// What a rollback goes back to is kept until there is a floor behind it.
Step StepMachine::prune_floor() const {
    Step floor = context_.orders.floor;
    if (exchange_.following() && is_rollback(exchange_.plan().kind)) floor = std::min(floor, exchange_.plan().rollback_to);
    if (auto last = chain_.last_rollback(); last && floor <= last->second) floor = std::min(floor, last->first);
    return floor;
}

void StepMachine::after_apply() {
    round_over_ = false;
    round_steps_ = 0;
    digest_done_ = log_.digest_of(log_.applied()).has_value();
    leases_settled_ = false;
    round_ends_ = Mono::max();
    if (context_.manifest->round_ms == 0) return;
    // The coordinator's clock began at the decision: who applies late ends with the others all the same.
    const bool told = context_.heard_orders && context_.orders.head == log_.applied();
    round_ends_ = told ? context_.orders_at + Millis(context_.orders.round_remaining_ms)
                       : context_.now + Millis(context_.manifest->round_ms);
}

void StepMachine::keep_house() {
    if (!log_.loaded() || log_.busy()) return;
    const bool caught_up = log_.applied() == chain_.known();
    if (!log_.being_read() && caught_up) {
        const auto every = context_.manifest->snapshot_every;
        const bool due = every > 0 && log_.applied().value > 0 && log_.applied().value % every == 0;
        if ((due || snapshot_asked_) && !log_.has_snapshot(log_.applied()) && log_.applied().value > 0) {
            snapshot_asked_ = false;
            digest_done_ = true;
            log_.write_snapshot();
        } else if (!digest_done_) {
            digest_done_ = true;
            log_.compute_digest();
        }
    }
    if (context_.heard_orders && !roster_.anyone_joining()) log_.prune(prune_floor());
}

void StepMachine::on_log(const StateLog::Result& result) {
    using Outcome = StateLog::Outcome;
    switch (result.outcome) {
        case Outcome::loaded:
            base_ = log_.applied();
            after_apply();
            break;
        case Outcome::appended:
            catch_up_.end_entry();
            exchange_.end_step(result.step);
            break;
        case Outcome::append_failed:
            context_.note("an entry could not be appended; fetching it again", true);
            prepared_.reset();
            exchange_.end_step(result.step);
            catch_up_.end_entry();
            break;
        case Outcome::applied: applied(result.step, result.local_kept); break;
        case Outcome::apply_failed:
            treatment_.reset();
            context_.note("an entry on this disk is damaged; fetching it again", true);
            break;
        case Outcome::adopted:
            catch_up_.end_snapshot(true);
            // What is voted for the step after it stays.
            if (exchange_.following() && exchange_.plan().step < result.step)
                context_.emit(DropStaging{exchange_.plan().step, exchange_.digest()});
            exchange_.end_step(Step{result.step.value - 1});
            if (prepared_ && prepared_->step < result.step) prepared_.reset();
            drop_local("jumped over steps by a snapshot");
            base_ = log_.applied();
            after_apply();
            break;
        case Outcome::adopt_failed: drop_fetched_snapshot(); break;
        case Outcome::refused:
            treatment_.reset();
            disk_refused();
            break;
        case Outcome::no_first_state:
            context_.note("the state that this run begins with cannot be had: " + *log_.first_missing() + "; trying again", true);
            disk_again_ = context_.now + kDiskAgain;
            break;
        default: break;
    }
}

void StepMachine::disk_refused() {
    context_.note("the disk refuses; trying again", true);
    disk_again_ = context_.now + kDiskAgain;
}

// ----------------------------------------------------------------------------------------------- driving

void StepMachine::advance() {
    if (!context_.manifest || exited_) return;
    ask_decisions();
    const bool may_load = !log_.loaded() && !log_.busy() && !log_.being_read() && trainer_.quiet();
    if (may_load && context_.now >= disk_again_) log_.load();
    // Without S_0 no entry is of use; a later state of the others is.
    if (log_.first_missing() && !log_.loaded()) (void)snapshot_first(Step{}, true);
    adopt_snapshot();
    append_next();
    apply_next();
    settle_leases();
    follow_wanted();
    prepare();
    keep_house();
    freeze_if_due();
    drive_trainer();
    return_unworked();
    if (leaving_ == LeaveWhen::now || left_ || stopping_) finish_stop();
}

Mono StepMachine::next_wake() const {
    Mono wake = decisions_again_ > context_.now ? decisions_again_ : Mono::max();
    if (auto due = save_due()) wake = std::min(wake, *due);
    if (prepared_ && !prepared_->state.durable) wake = std::min(wake, prepare_again_);
    if (disk_again_ > context_.now) wake = std::min(wake, disk_again_);
    const bool ending = paused_ && trainer_.state() != TrainerSupervision::State::off && !pause_overdue();
    if (ending) wake = std::min(wake, paused_at_ + context_.config.pause_patience);
    return wake;
}

void StepMachine::on_done(const Done& done) {
    if (done.op == prepare_op_) on_prepared(done);
    else if (done.op == encode_op_) on_encoded(done);
}

}  // namespace skerry::node
