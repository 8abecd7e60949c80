#include <algorithm>

#include "tests/sim/simulation.hpp"

namespace skerry::sim {

using namespace coordinator;

SimCoordinator::SimCoordinator(Simulation& sim, RunRow run) : journal(std::move(run)), sim_(sim), world_(sim.world) {}

Signing SimCoordinator::signing() const {
    Signing signing;
    signing.sign = [](ByteSpan body) { return cheap_signature(as_bytes("service"), body); };
    signing.verify_vote = [](const PublicKey& key, const Digest& h, const Signature& s) { return s == sim_vote(key, h); };
    signing.verify_result = [](const PublicKey& key, const Digest& plan, PieceIndex piece, const Digest& leaf,
                               const Signature& s) { return s == sim_result(key, plan, piece, leaf); };
    return signing;
}

void SimCoordinator::start() {
    if (up()) return;
    ++life_;
    core_ = std::make_unique<CoordinatorCore>(journal.load(), sim_.settings.coordinator, signing());
    world_.say("coordinator", "starts, term " + std::to_string(journal.term().value + 1));
    feed(Started{});
}

void SimCoordinator::crash() {
    if (!core_) return;
    world_.say("coordinator", "is killed");
    // The transaction under way is in the database, or it is not.
    const auto* tx = persisting_ ? std::get_if<Persist>(&queue_.front()) : nullptr;
    if (tx != nullptr && world_.rng.chance(0.5)) {
        journal.apply(tx->tx);
        sim_.checker->after_tx(journal, tx->tx);
    }
    core_.reset();
    ++life_;
    queue_.clear();
    persisting_ = false;
    sim_.network->coordinator_died();
    sim_.at_crash("coordinator");
}

RunStatus SimCoordinator::status() const { return core_->status(world_.now); }

void SimCoordinator::lose_disk() {
    if (desk_) return;
    crash();
    world_.say("coordinator", "loses its disk");
    ++life_;
    answered_ = 0;
    desk_.emplace(sim_.manifest().name, std::set<NodeId>{}, signing());
}

/// The drill's process: it says what the desk wants said, and ends when enough nodes have answered.
void SimCoordinator::drill(const Event& event) {
    Actions actions;
    if (const auto* hello = std::get_if<HelloReceived>(&event)) actions = desk_->hello(*hello);
    if (const auto* message = std::get_if<MessageReceived>(&event)) actions = desk_->message(*message);
    if (const auto* closed = std::get_if<SessionClosed>(&event)) actions = desk_->closed(closed->session);
    for (Action& action : actions) {
        if (auto* send = std::get_if<Send>(&action)) sim_.network->coordinator_says(send->session, std::move(send->message));
        if (auto* close = std::get_if<Close>(&action)) sim_.network->coordinator_closes(close->session);
    }
    const RebuildStatus status = desk_->status();
    if (!status.fork.empty()) throw Violation("I9", "the drill sees " + status.fork);
    if (status.all()) return finish_drill();
    if (!status.enough() || status.answered < sim_.manifest().durable_copies) return;
    // Some are down: the operator waits for a while, then goes on without them.
    if (status.answered == answered_) return;
    answered_ = status.answered;
    world_.after(world_.rng.ms(500, 8000), [this, life = life_, count = answered_] {
        if (life == life_ && desk_ && desk_->status().enough() && desk_->status().answered >= count) finish_drill();
    });
}

void SimCoordinator::finish_drill() {
    std::set<NodeId> all;
    for (const RebuildNode& node : desk_->status().nodes) all.insert(node.node);
    auto rebuilt = desk_->finish(all, false);
    require(rebuilt.has_value(), "I9", "the drill fails: " + (rebuilt ? "" : rebuilt.error().detail));
    world_.say("coordinator", "is rebuilt at step " + std::to_string(rebuilt->head.value));
    const auto token = journal.load().tokens;
    journal = MemoryJournal(rebuilt->run);
    journal.apply(rebuilt->tx);
    for (const TokenRow& row : token) journal.apply({rebuilt->tx.term, {op::PutToken{row}}});  // the operator makes new ones
    sim_.checker->rebuilt(journal);
    desk_.reset();
    ++life_;
    sim_.network->coordinator_died();
    start();
}

void SimCoordinator::feed(Event event) {
    if (desk_) return drill(event);
    if (!up()) return;
    const auto life = life_;
    for (Action& action : core_->step(world_.now, event)) queue_.push_back(std::move(action));
    drain();
    if (life == life_) schedule_tick();
}

void SimCoordinator::schedule_tick() {
    const auto token = ++tick_;
    world_.after(core_->next_wake() - world_.now, [this, token, life = life_] {
        if (life == life_ && token == tick_) feed(Tick{});
    });
}

void SimCoordinator::drain() {
    while (!persisting_ && !queue_.empty()) {
        if (sim_.faults_on() && fragile_ > 0 && world_.rng.chance(fragile_)) {
            crash();
            world_.after(world_.rng.ms(100, 4000), [this] { start(); });
            return;
        }
        if (std::holds_alternative<Persist>(queue_.front())) {
            persisting_ = true;
            const Millis takes = world_.rng.chance(0.03) ? world_.rng.ms(50, 800) : world_.rng.ms(0, 6);
            world_.after(takes, [this, life = life_] {
                if (life != life_) return;
                const Tx tx = std::get<Persist>(queue_.front()).tx;
                queue_.pop_front();
                persisting_ = false;
                journal.apply(tx);
                sim_.checker->after_tx(journal, tx);
                sim_.check_copies();
                drain();
            });
            return;
        }
        Action action = std::move(queue_.front());
        queue_.pop_front();
        if (auto* send = std::get_if<Send>(&action)) sim_.network->coordinator_says(send->session, std::move(send->message));
        if (auto* close = std::get_if<Close>(&action)) sim_.network->coordinator_closes(close->session);
        if (auto* load = std::get_if<LoadDecisions>(&action)) {
            world_.after(world_.rng.ms(0, 5), [this, life = life_, l = *load] {
                if (life == life_) feed(DecisionsLoaded{l.session, journal.decisions(l.from, l.max)});
            });
        }
        if (auto* dial = std::get_if<DialBack>(&action)) {
            world_.after(world_.rng.ms(5, 100), [this, life = life_, d = *dial] {
                if (life != life_) return;
                std::size_t index = 0;
                while (sim_.nodes[index]->id() != d.node) ++index;
                feed(DialBackDone{d.node, d.incarnation, sim_.network->reachable[index]});
            });
        }
        if (auto* note = std::get_if<Note>(&action); note && world_.trace) {
            std::string text = note->event;
            for (const auto& [key, value] : note->fields) text += " " + key + "=" + value;
            world_.say("coordinator", text);
        }
    }
}

}  // namespace skerry::sim
