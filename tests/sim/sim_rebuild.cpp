// The operator's rebuild drill: the coordinator's disk is lost, a new one is made of what the nodes hold.

#include <algorithm>

#include "tests/sim/faults.hpp"
#include "tests/sim/simulation.hpp"

namespace skerry::sim {

using namespace coordinator;

void SimCoordinator::lose(bool beside) {
    if (drill_) return;
    beside = beside && up();
    const std::uint64_t old = current_;
    if (beside) {
        world_.say("coordinator", "is out of reach; another is made of what the nodes hold");
        current_ = 0;
        doom_.reset();
        was_ = CoordinatorState::down;
    } else {
        crash();
        end_old();
        world_.say("coordinator", "has lost its disk");
    }
    // One machine beside the newest is enough.
    std::erase_if(processes_, [&](const auto& item) {
        const bool ends = item.first != old;
        if (ends) sim_.network->coordinator_died(item.first);
        return ends;
    });
    old_.reset();
    begin_drill();
}

/// The operator's machines: those that he let in and that are not out of the run for good.
std::set<NodeId> SimCoordinator::machines() const {
    std::set<NodeId> out;
    for (const auto& node : sim_.nodes) {
        const auto row = journal.nodes().find(node->id());
        const bool in = row != journal.nodes().end() && row->second.state != NodeState::left && row->second.state != NodeState::revoked;
        if (in && !node->gone()) out.insert(node->id());
    }
    return out;
}

/// He names them at once, or looks at the list first.
void SimCoordinator::begin_drill() {
    std::set<NodeId> named = machines();
    const bool at_once = world_.rng.chance(0.5);
    RebuildDesk desk(sim_.manifest().name, at_once ? named : std::set<NodeId>{}, signing());
    drill_.emplace(Drill{++started_, std::move(desk), std::move(named)});
    sim_.network->reset_sessions();
    tick_drill(drill_->process);
}

void SimCoordinator::tick_drill(std::uint64_t process) {
    if (!drill_ || drill_->process != process) return;
    say(drill_->desk.tick(world_.now));
    look();
    world_.after(Millis(1000), [this, process] { tick_drill(process); });
}

/// The drill's process: it says what the desk wants said, and looks at who has answered.
void SimCoordinator::take(Event event) {
    Actions actions;
    if (const auto* hello = std::get_if<HelloReceived>(&event)) actions = drill_->desk.hello(*hello);
    if (const auto* message = std::get_if<MessageReceived>(&event)) actions = drill_->desk.message(*message);
    if (const auto* closed = std::get_if<SessionClosed>(&event)) actions = drill_->desk.closed(closed->session);
    say(std::move(actions));
    look();
}

void SimCoordinator::say(Actions actions) {
    for (Action& action : actions) {
        world_.mix(0x5000 + action.index());
        if (auto* send = std::get_if<Send>(&action)) sim_.network->coordinator_says(send->session, std::move(send->message));
        if (auto* close = std::get_if<Close>(&action)) sim_.network->coordinator_closes(close->session);
    }
}

void SimCoordinator::look() {
    // One more was let in where the old process goes on: he begins anew, with that one.
    if (machines() != drill_->named) {
        sim_.network->coordinator_died(drill_->process);
        return begin_drill();
    }
    const RebuildStatus status = drill_->desk.status();
    if (!drill_->desk.confirmed()) return confirm(status);
    require(status.fork.empty(), "I9", "the drill sees " + status.fork);
    if (may_finish(status, false)) return finish();
    if (!may_finish(status, true) || status.answered == drill_->answered) return;
    // Some are down: the operator waits for a while, then goes on without them.
    drill_->answered = status.answered;
    world_.after(world_.rng.ms(500, 8000), [this, process = drill_->process] {
        if (drill_ && drill_->process == process && may_finish(drill_->desk.status(), true)) finish();
    });
}

/// He says yes once each of his machines is on the list.
void SimCoordinator::confirm(const RebuildStatus& status) {
    std::set<NodeId> listed;
    for (const RebuildNode& node : status.nodes) listed.insert(node.node);
    if (!std::includes(listed.begin(), listed.end(), drill_->named.begin(), drill_->named.end())) return;
    say(drill_->desk.confirm(drill_->named));
    look();
}

/// None that may come back is left out after disks were damaged, since then it may be the only one that knows a step.
bool SimCoordinator::may_finish(const RebuildStatus& status, bool patient) const {
    if (!status.enough() && !only_new_ones_missing(status)) return false;
    return std::all_of(status.nodes.begin(), status.nodes.end(), [&](const RebuildNode& node) {
        return node.answered || node.empty || !drill_->named.contains(node.node) || (patient && !sim_.damaged());
    });
}

/// Whoever is a member without an answer says that it holds nothing, and the operator knows it for a machine that had
/// just joined, not one whose disk is lost: he accepts to go on without its word.
bool SimCoordinator::only_new_ones_missing(const RebuildStatus& status) const {
    if (!status.whole || !status.fork.empty() || !status.unproven.empty() || status.answered == 0) return false;
    return std::all_of(sim_.nodes.begin(), sim_.nodes.end(), [&](const auto& node) {
        const auto at = std::find_if(status.nodes.begin(), status.nodes.end(),
                                     [&](const RebuildNode& listed) { return listed.node == node->id(); });
        if (at == status.nodes.end() || at->answered) return true;
        return at->empty && node->facts().entries.empty() && node->facts().decisions.value == 0;
    });
}

void SimCoordinator::finish() {
    const RebuildStatus status = drill_->desk.status();
    auto rebuilt = drill_->desk.finish(!status.enough() && only_new_ones_missing(status));
    require(rebuilt.has_value(), "I9", rebuilt ? "" : "the drill fails: " + rebuilt.error().detail);
    world_.say("coordinator", "is rebuilt at step " + std::to_string(rebuilt->head.value) +
                                  (rebuilt->adopted ? ", a prepared entry is decided next" : ""));
    const auto tokens = journal.load().tokens;
    if (old_runs()) {
        old_.emplace(OldMachine{machine_, journal, std::move(database_)});
        old_->database->follow(old_->journal);
    }
    ++machine_;
    journal = MemoryJournal(rebuilt->run);
    database_ = std::make_unique<SimDatabase>(sim_.world.seed + machine_, rebuilt->run, journal);
    write(rebuilt->tx);
    for (const TokenRow& token : tokens) write({rebuilt->tx.term, {op::PutToken{token}}});  // he makes new ones
    sim_.checker->rebuilt(journal);
    const std::uint64_t process = drill_->process;
    drill_.reset();
    sim_.network->coordinator_died(process);
    start();
}

/// A node knows the step decided that the rebuilt coordinator wants to decide first. If that does not end, its copy is
/// needed: the drill is done again, with that node there.
void SimCoordinator::look_again(Step known) {
    if (known <= journal.head() || !journal.plan() || !journal.plan()->must_end_decided || doubted_ == machine_) return;
    doubted_ = machine_;
    world_.after(Millis(30'000), [this, machine = machine_, head = journal.head()] {
        if (machine_ == machine && journal.head() == head && !drill_) lose(false);
        if (doubted_ == machine) doubted_ = 0;
    });
}

std::string SimCoordinator::describe_drill() const {
    if (!drill_) return {};
    const RebuildStatus status = drill_->desk.status();
    std::string out = "coordinator: being rebuilt, head " + std::to_string(status.head.value) + (status.whole ? "" : ", not whole") +
                      ", " + std::to_string(status.answered) + " of " + std::to_string(status.members) + " answered, " +
                      std::to_string(status.needed) + " needed, " + std::to_string(status.unheard) + " named and unheard" +
                      (status.unproven.empty() ? "" : ", not proven: " + status.unproven) + "\n";
    for (const RebuildNode& node : status.nodes)
        out += "  " + node.name + (node.member ? "" : " no member") + (node.answered ? " knows " + std::to_string(node.known.value) : " silent") + "\n";
    return out;
}

}  // namespace skerry::sim
