#include "tests/sim/sim_coordinator.hpp"

#include <algorithm>

#include "tests/sim/faults.hpp"
#include "tests/sim/simulation.hpp"

namespace skerry::sim {

using namespace coordinator;

namespace {
template <class What>
bool contains(const Tx& tx) {
    return std::any_of(tx.ops.begin(), tx.ops.end(), [](const Op& o) { return std::holds_alternative<What>(o); });
}
}  // namespace

SimCoordinator::SimCoordinator(Simulation& sim, RunRow run)
    : journal(run),
      sim_(sim),
      world_(sim.world, coordinator_stream),
      database_(std::make_unique<SimDatabase>(sim.world.seed, run, journal)) {}

// ------------------------------------------------------------------------------------------------ processes

Signing SimCoordinator::signing() const {
    Signing signing;
    signing.sign = [](ByteSpan body) { return cheap_signature(as_bytes("service"), body); };
    signing.verify_vote = [](const PublicKey& key, const Digest& h, const Signature& s) { return s == sim_vote(key, h); };
    signing.verify_result = [](const PublicKey& key, const Digest& plan, PieceIndex piece, const Digest& leaf,
                               const Signature& s) { return s == sim_result(key, plan, piece, leaf); };
    return signing;
}

SimDatabase& SimCoordinator::database_of(const Process& process) const {
    return process.machine == machine_ ? *database_ : *old_->database;
}

void SimCoordinator::start() {
    if (up() || drill_) return;
    auto process = std::make_unique<Process>();
    current_ = process->number = ++started_;
    process->machine = machine_;
    process->core = std::make_unique<CoordinatorCore>(database_->load(), sim_.settings.coordinator, signing());
    processes_[current_] = std::move(process);
    world_.say("coordinator", "starts, term " + std::to_string(journal.term().value + 1));
    feed(Started{});
}

void SimCoordinator::crash(std::optional<bool> written) {
    if (!up()) return;
    world_.say("coordinator", "is killed");
    const Process& process = *processes_.at(current_);
    std::optional<Tx> open;
    if (process.persisting) open = std::get<Persist>(process.queue.front()).tx;
    if (database_->crash(open ? &*open : nullptr, written)) is_durable(*open);
    end(current_);
    sim_.check_copies();
}

void SimCoordinator::end(std::uint64_t process) {
    processes_.erase(process);
    if (process == current_) {
        current_ = 0;
        doom_.reset();
        was_ = CoordinatorState::down;
    }
    sim_.network->coordinator_died(process);
}

void SimCoordinator::hang(Mono until) {
    if (!up()) return;
    Process& process = *processes_.at(current_);
    process.frozen_until = std::max(process.frozen_until, until);
}

void SimCoordinator::succeed(Mono old_wakes) {
    if (!up()) return;
    hang(old_wakes);
    const std::uint64_t old = std::exchange(current_, 0);
    doom_.reset();
    // The new one opens the database when the old one's write is over, or comes before it.
    if (find(old)->persisting && world_.rng.chance(0.5)) (void)finish_write(old);
    start();
}

void SimCoordinator::end_old() {
    std::vector<std::uint64_t> old;
    for (const auto& [number, process] : processes_)
        if (number != current_) old.push_back(number);
    for (std::uint64_t number : old) end(number);
    old_.reset();
}

SimCoordinator::Process* SimCoordinator::find(std::uint64_t process) {
    auto at = processes_.find(process);
    return at == processes_.end() ? nullptr : at->second.get();
}

std::uint64_t SimCoordinator::answering() {
    std::vector<std::uint64_t> awake;
    for (const auto& [number, process] : processes_)
        if (process->frozen_until <= world_.now) awake.push_back(number);
    if (drill_) awake.push_back(drill_->process);
    if (awake.empty()) return 0;
    return world_.rng.chance(0.7) ? awake.back() : awake.front();
}

CoordinatorState SimCoordinator::state() const {
    if (!up()) return CoordinatorState::down;
    const Process& process = *processes_.at(current_);
    if (process.persisting && contains<op::PutDecision>(std::get<Persist>(process.queue.front()).tx))
        return CoordinatorState::deciding;
    const auto standing = process.core->standing();
    if (standing.holds) return CoordinatorState::hold;
    if (standing.plan) return CoordinatorState::open;
    return standing.run_state == RunState::paused ? CoordinatorState::paused : CoordinatorState::collect;
}

RunStatus SimCoordinator::status() const { return processes_.at(current_)->core->status(world_.now); }

// --------------------------------------------------------------------------------------------------- events

void SimCoordinator::feed(std::uint64_t number, Event event) {
    if (drill_ && number == drill_->process) return take(std::move(event));
    Process* process = find(number);
    if (!process) return;
    if (process->frozen_until > world_.now) {
        world_.after(process->frozen_until - world_.now,
                     [this, number, e = std::move(event)]() mutable { feed(number, std::move(e)); });
        return;
    }
    if (const auto* hello = std::get_if<HelloReceived>(&event); hello && number == current_) look_again(hello->hello.head);
    for (Action& action : process->core->step(world_.now, event)) process->queue.push_back(std::move(action));
    drain(number);
    process = find(number);
    if (process) schedule_tick(*process);
    if (number == current_) notice();
}

void SimCoordinator::notice() {
    if (state() == was_) return;
    was_ = state();
    sim_.faults->coordinator_at(was_);
}

void SimCoordinator::schedule_tick(Process& process) {
    const auto token = ++process.tick;
    world_.after(process.core->next_wake() - world_.now, [this, token, number = process.number] {
        const Process* still = find(number);
        if (still && still->tick == token) feed(number, Tick{});
    });
}

void SimCoordinator::drain(std::uint64_t number) {
    for (Process* process = find(number); process && !process->persisting && !process->queue.empty();
         process = find(number)) {
        if (process->frozen_until > world_.now) {
            world_.after(process->frozen_until - world_.now, [this, number] { drain(number); });
            return;
        }
        if (number == current_ && doom_ && sim_.faults_on() && doom_->actions-- == 0) {
            const Millis down = doom_->down;
            crash();
            world_.after(down, [this] { start(); });
            return;
        }
        if (std::holds_alternative<Persist>(process->queue.front())) return begin_write(*process);
        Action action = std::move(process->queue.front());
        process->queue.pop_front();
        carry_out(*process, std::move(action));
    }
}

void SimCoordinator::begin_write(Process& process) {
    const std::uint64_t number = process.number;
    process.persisting = true;
    const Tx& tx = std::get<Persist>(process.queue.front()).tx;
    const bool plan = contains<op::PutPlan>(tx);
    const bool decision = contains<op::PutDecision>(tx);
    // Nobody writes between what a successor has read and the term that it claims.
    if (contains<op::ClaimTerm>(tx) && processes_.size() > 1) {
        if (finish_write(number)) drain(number);
        return;
    }
    const Millis takes = world_.rng.chance(0.03) ? world_.rng.ms(50, 800) : world_.rng.ms(0, 6);
    write_after(process, takes);
    if (number != current_) return;
    if (plan) sim_.faults->reached(Moment::plan_before);
    if (decision) sim_.faults->reached(Moment::deciding);
}

void SimCoordinator::write_after(Process& process, Millis delay) {
    world_.after(delay, [this, number = process.number, write = ++process.writes] {
        const Process* still = find(number);
        if (still && still->persisting && still->writes == write && finish_write(number)) drain(number);
    });
}

bool SimCoordinator::finish_write(std::uint64_t number) {
    Process& process = *find(number);
    const Tx tx = std::get<Persist>(process.queue.front()).tx;
    const auto [outcome, durable] = database_of(process).apply(tx);
    if (outcome == SimDatabase::Outcome::full) {
        world_.say("coordinator", "its disk is full");
        if (contains<op::ClaimTerm>(tx) && !old_) end_old();  // as above
        write_after(process, world_.rng.ms(250, 1000));
        return false;
    }
    process.queue.pop_front();
    process.persisting = false;
    const bool beside = process.machine != machine_;
    if (durable && beside) sim_.checker->beside(tx, journal);
    else if (durable) is_durable(tx);
    if (outcome == SimDatabase::Outcome::stale) {
        world_.say("coordinator", "an old process ends: another has taken over");
        end(number);
        return false;
    }
    if (outcome == SimDatabase::Outcome::broken) {
        world_.say("coordinator", "its disk fails, and it ends");
        end(number);
        sim_.check_copies();
        if (!beside) world_.after(world_.rng.ms(100, 4000), [this] { start(); });
        return false;
    }
    sim_.check_copies();
    if (number == current_ && contains<op::PutPlan>(tx)) sim_.faults->reached(Moment::plan_after);
    if (number == current_ && contains<op::PutDecision>(tx)) sim_.faults->reached(Moment::decided);
    return find(number) != nullptr;
}

void SimCoordinator::write(const Tx& tx) { require(database_->apply(tx).durable, "J1", "a transaction is refused"); }

void SimCoordinator::is_durable(const Tx& tx) {
    sim_.checker->after_tx(journal, tx);
    sim_.after_tx(tx);
}

void SimCoordinator::carry_out(Process& process, Action action) {
    const std::uint64_t number = process.number;
    world_.mix(0x1000 + action.index());
    if (auto* send = std::get_if<Send>(&action)) sim_.network->coordinator_says(send->session, std::move(send->message));
    if (auto* close = std::get_if<Close>(&action)) sim_.network->coordinator_closes(close->session);
    if (auto* load = std::get_if<LoadDecisions>(&action)) {
        world_.after(world_.rng.ms(0, 5), [this, number, l = *load] {
            if (const Process* still = find(number))
                feed(number, DecisionsLoaded{l.session, database_of(*still).decisions(l.from, l.max)});
        });
    }
    if (auto* dial = std::get_if<DialBack>(&action)) {
        world_.after(world_.rng.ms(5, 100), [this, number, d = *dial] {
            feed(number, DialBackDone{d.node, d.incarnation, sim_.network->reachable[sim_.index_of(d.node)]});
        });
    }
    if (auto* note = std::get_if<Note>(&action); note && world_.trace) {
        std::string text = note->event;
        for (const auto& [key, value] : note->fields) text += " " + key + "=" + value;
        world_.say(number == current_ ? "coordinator" : "old coordinator", text);
    }
}

}  // namespace skerry::sim
