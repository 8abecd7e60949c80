#include "tests/sim/faults.hpp"

#include <algorithm>

#include "tests/sim/simulation.hpp"

namespace skerry::sim {

namespace admin = coordinator::admin;

// -------------------------------------------------------------------------------------------------- the plan

void Faults::begin() {
    on_ = true;
    for (const Fault& fault : plan_)
        sim_.world.after(Millis(1000) + fault.at - (sim_.world.now - Mono{}), [this, fault] { due(fault); });
}

void Faults::due(const Fault& fault) {
    if (!on_) return;
    if (fault.moment == Moment::none) fire(fault);
    else armed_.push_back(fault);
}

void Faults::reached(Moment moment, std::uint32_t node) {
    if (!on_) return;
    std::vector<Fault> now;
    std::erase_if(armed_, [&](const Fault& fault) {
        const bool its = fault.moment == moment && (node == kCoordinator || fault.target % nodes() == node);
        if (its) now.push_back(fault);
        return its;
    });
    for (const Fault& fault : now) fire(fault);
}

void Faults::coordinator_at(CoordinatorState state) {
    if (state == CoordinatorState::collect) reached(Moment::collect);
    if (state == CoordinatorState::open) reached(Moment::open);
    if (state == CoordinatorState::hold) reached(Moment::hold);
    if (state == CoordinatorState::paused) reached(Moment::paused);
}

void Faults::node_at(std::uint32_t node, node::Phase phase) {
    static constexpr Moment kMoments[] = {Moment::none,  Moment::behind,   Moment::work,
                                          Moment::ready, Moment::exchange, Moment::prepared};
    const Moment moment = kMoments[static_cast<std::size_t>(phase)];
    if (moment != Moment::none) reached(moment, node);
}

std::uint32_t Faults::nodes() const { return sim_.settings.nodes; }

void Faults::fire(const Fault& drawn) {
    Fault fault = drawn;
    fault.target %= nodes();  // a shorter run may have fewer
    fault.other %= nodes();
    const CoordinatorState state = sim_.coordinator->state();
    const SimNode& target = *sim_.nodes[fault.target];
    std::optional<node::Phase> phase;
    if (target.up()) phase = target.phase();
    say(fault);
    if (!happen(fault)) return;
    if (state != CoordinatorState::down) probes_.count(state, fault.kind);
    if (phase) probes_.count(*phase, fault.kind);
}

void Faults::say(const Fault& fault) const {
    if (!sim_.world.trace) return;
    sim_.world.say("fault", to_text({fault}));
}

void Faults::afterwards(Millis span, std::function<void()> what) {
    sim_.world.after(span, [this, w = std::move(what)] {
        if (on_) w();
    });
}

void Faults::start_later(std::uint32_t node, Millis span) {
    afterwards(span, [this, node] { sim_.nodes[node]->start(); });
}

bool Faults::happen(const Fault& fault) {
    if (fault.kind < FaultKind::kill_node) return happen_to_coordinator(fault);
    if (fault.kind < FaultKind::cut_control) return happen_to_node(fault);
    return happen_to_link(fault);
}

// ----------------------------------------------------------------------------------------------- coordinator

bool Faults::happen_to_coordinator(const Fault& fault) {
    SimCoordinator& coordinator = *sim_.coordinator;
    if (!coordinator.up()) return false;
    const bool before = fault.moment == Moment::plan_before || fault.moment == Moment::deciding;
    switch (fault.kind) {
        case FaultKind::kill_coordinator:
            coordinator.crash(before ? std::optional(fault.strength % 2 == 0) : std::nullopt);
            afterwards(fault.span, [this] { sim_.coordinator->start(); });
            return true;
        case FaultKind::doom_coordinator: coordinator.dies_in(fault.strength, fault.span); return true;
        case FaultKind::hang_coordinator: coordinator.hang(sim_.world.now + fault.span); return true;
        case FaultKind::succeed_coordinator: {
            // Not out of its own event.
            const Mono until = sim_.world.now + fault.span;
            coordinator.hang(until);
            sim_.world.after(Millis(0), [this, until] { sim_.coordinator->succeed(until); });
            return true;
        }
        case FaultKind::clock_jump:
            wall_jump_s_ += (fault.strength % 2 == 0 ? 60 : -60) * static_cast<std::int64_t>(fault.strength);
            return true;
        case FaultKind::run_pause:
            coordinator.feed(coordinator::AdminCommand{2, admin::PauseRun{}});
            afterwards(fault.span,
                       [this] { sim_.coordinator->feed(coordinator::AdminCommand{3, admin::StartRun{}}); });
            return true;
        case FaultKind::run_rollback: roll_back(fault.strength); return true;
        case FaultKind::run_config:
            coordinator.feed(coordinator::AdminCommand{
                6, admin::Configure{{static_cast<float>(1 + fault.strength % 9) / 10, 0.5F}}});
            return true;
        case FaultKind::coordinator_full:
            coordinator.set_disk_full(true);
            afterwards(fault.span, [this] { sim_.coordinator->set_disk_full(false); });
            return true;
        case FaultKind::coordinator_sync: coordinator.fail_a_sync(); return true;
        case FaultKind::lose_coordinator: return lose_coordinator(fault);
        default: return false;
    }
}

bool Faults::lose_coordinator(const Fault& fault) {
    // Before the first decision there is nothing to make it of; two disks under one name are beyond the drill.
    if (sim_.coordinator->journal.head().value == 0 || cloned_) return false;
    const bool beside = fault.strength % 2 == 1;
    const bool before = fault.moment == Moment::plan_before || fault.moment == Moment::deciding;
    if (!beside && before) sim_.coordinator->crash(fault.strength % 4 == 0);
    // Not out of its own event.
    sim_.world.after(Millis(0), [this, beside] { sim_.coordinator->lose(beside); });
    return true;
}

void Faults::roll_back(std::uint32_t strength) {
    const MemoryJournal& journal = sim_.coordinator->journal;
    const Step to{journal.head().value - std::min<std::uint64_t>(journal.head().value, strength % 7)};
    const Step from{to.value - std::min<std::uint64_t>(to.value, 1)};
    sim_.coordinator->feed(coordinator::AdminCommand{5, admin::Rollback{to, strength % 2 == 1, journal.decisions(from, 1000)}});
}

// ----------------------------------------------------------------------------------------------------- nodes

bool Faults::happen_to_node(const Fault& fault) {
    SimNode& node = *sim_.nodes[fault.target];
    auto power_cut = [&](std::uint32_t index) {
        if (!sim_.nodes[index]->up()) return false;
        sim_.nodes[index]->kill(true);
        start_later(index, fault.span);
        return true;
    };
    switch (fault.kind) {
        case FaultKind::power_some: {
            bool any = false;
            for (std::uint32_t i = 0; i < nodes(); ++i)
                if (((fault.strength >> i) & 1U) != 0) any = power_cut(i) || any;
            return any;
        }
        case FaultKind::power_all:
            sim_.coordinator->crash();
            for (std::uint32_t i = 0; i < nodes(); ++i) power_cut(i);
            afterwards(fault.span, [this] { sim_.coordinator->start(); });
            return true;
        case FaultKind::clone_node: return clone(fault);
        case FaultKind::restore_node: return restore(fault);
        case FaultKind::lose_disk:
            if (cloned_ || !sim_.may_damage(fault.target)) return false;
            sim_.note_damage(node.id(), Simulation::Damage::lost);
            node.replace_disk({});
            start_later(fault.target, fault.span);
            return true;
        case FaultKind::flip_bit:
            if (cloned_ || !sim_.may_damage(fault.target) || !node.flip_bit(fault.strength % 4 == 0)) return false;
            sim_.note_damage(node.id(), Simulation::Damage::rot);
            return true;
        default: break;
    }
    if (!node.up()) return false;
    switch (fault.kind) {
        case FaultKind::kill_node:
            node.kill(false);
            start_later(fault.target, fault.span);
            return true;
        case FaultKind::power_node: return power_cut(fault.target);
        case FaultKind::power_twice:
            node.trips_at(1 + fault.strength % 12);
            return power_cut(fault.target);
        case FaultKind::doom_node: node.dies_in(fault.strength, fault.strength % 2 == 1, fault.span); return true;
        case FaultKind::freeze_node: node.freeze_until(sim_.world.now + fault.span); return true;
        case FaultKind::suspend_node: {
            node.freeze_until(sim_.world.now + fault.span);
            auto asleep = [this, index = fault.target](bool now) {
                for (std::uint32_t i = 0; i <= nodes(); ++i) {
                    const std::uint32_t end = i == nodes() ? kCoordinator : i;
                    if (end == index) continue;
                    sim_.network->silence(index, end, now);
                    sim_.network->silence(end, index, now);
                }
            };
            asleep(true);
            afterwards(fault.span, [asleep] { asleep(false); });
            return true;
        }
        case FaultKind::kill_trainer: return node.kill_trainer();
        case FaultKind::nan_trainer: return node.kill_trainer(Errc::not_finite);
        case FaultKind::hang_trainer: return node.hang_trainer();
        case FaultKind::disk_full:
            node.set_disk_full(true);
            afterwards(fault.span, [this, index = fault.target] { sim_.nodes[index]->set_disk_full(false); });
            return true;
        case FaultKind::fail_sync: node.fail_sync(1 + fault.strength % 8); return true;
        case FaultKind::fail_space: node.fail_space(1 + fault.strength % 20); return true;
        case FaultKind::user_pause:
            node.feed(node::UserPause{});
            afterwards(fault.span, [this, index = fault.target] { sim_.nodes[index]->feed(node::UserResume{}); });
            return true;
        case FaultKind::leave_node: return leave(fault);
        case FaultKind::serve_damaged: node.serves_damaged(sim_.world.now + fault.span); return true;
        default: return false;
    }
}

bool Faults::leave(const Fault& fault) {
    const bool enough = nodes() > sim_.manifest().min_nodes + 1 + leaving_;
    if (!enough || sim_.network->needs_relays()) return false;
    ++leaving_;
    sim_.nodes[fault.target]->feed(node::UserLeave{fault.strength % 2 == 1 ? LeaveWhen::now : LeaveWhen::after_step});
    return true;
}

/// The clone's disk is lost when the original comes back.
bool Faults::clone(const Fault& fault) {
    if (cloned_ || sim_.coordinator->being_rebuilt() || !sim_.may_damage(fault.target)) return false;
    cloned_ = fault.target;
    clone_ = static_cast<std::uint32_t>(sim_.nodes.size());
    sim_.add_clone(fault.target);
    afterwards(fault.span, [this] {
        sim_.lose_disk(clone_);
        sim_.nodes[*cloned_]->start();
    });
    return true;
}

bool Faults::restore(const Fault& fault) {
    if (cloned_ || !sim_.may_damage(fault.target)) return false;
    afterwards(fault.span, [this, index = fault.target, backup = sim_.nodes[fault.target]->copy_disk()] {
        SimNode& node = *sim_.nodes[index];
        if (node.gone()) return;
        sim_.note_damage(node.id(), Simulation::Damage::lost);
        node.replace_disk(backup);
        node.start();
    });
    return true;
}

// ----------------------------------------------------------------------------------------------------- links

bool Faults::happen_to_link(const Fault& fault) {
    Network& network = *sim_.network;
    const std::uint32_t all = (1U << nodes()) - 1;
    switch (fault.kind) {
        case FaultKind::cut_all_control:
            for (std::uint32_t i = 0; i < nodes(); ++i) {
                Fault one = fault;
                one.kind = FaultKind::cut_control;
                one.target = i;
                one.strength = 0;
                control(one);
            }
            return true;
        case FaultKind::reset_control: network.reset_sessions(); return true;
        case FaultKind::reset_data: network.reset_connections(); return true;
        case FaultKind::partition: return separate(fault, fault.strength & all, true, fault.span.count() % 2 == 1);
        case FaultKind::one_way_partition: return separate(fault, fault.strength & all, false, fault.span.count() % 2 == 1);
        case FaultKind::isolate_node: return separate(fault, 1U << fault.target, true, true);
        case FaultKind::cut_edge:
        case FaultKind::silence_edge:
        case FaultKind::slow_edge:
        case FaultKind::clog_edge: return edge(fault);
        default: return control(fault);
    }
}

bool Faults::control(const Fault& fault) {
    Network* network = sim_.network.get();
    const std::uint32_t node = fault.target;
    const bool up = fault.strength % 3 != 2;
    const bool down = fault.strength % 3 != 1;
    std::function<void(std::uint32_t, std::uint32_t, bool)> set;
    switch (fault.kind) {
        case FaultKind::cut_control: set = [=](auto a, auto b, bool on) { network->cut(a, b, on); }; break;
        case FaultKind::silence_control: set = [=](auto a, auto b, bool on) { network->silence(a, b, on); }; break;
        case FaultKind::slow_control:
            set = [=](auto a, auto b, bool on) { network->slow(a, b, on ? Millis(10 * fault.strength) : Millis(0)); };
            break;
        case FaultKind::clog_control:
            set = [=, until = sim_.world.now + fault.span](auto a, auto b, bool on) {
                if (on) network->clog(a, b, until);
            };
            break;
        default: return false;
    }
    auto both = [=](bool on) {
        if (up) set(node, kCoordinator, on);
        if (down) set(kCoordinator, node, on);
    };
    both(true);
    afterwards(fault.span, [both] { both(false); });
    return true;
}

bool Faults::edge(const Fault& fault) {
    const std::uint32_t a = fault.target;
    const std::uint32_t b = fault.other == a ? (a + 1) % nodes() : fault.other;
    if (a == b) return false;
    Network* network = sim_.network.get();
    auto set = [=, until = sim_.world.now + fault.span](std::uint32_t from, std::uint32_t to, bool on) {
        switch (fault.kind) {
            case FaultKind::cut_edge: return network->cut(from, to, on);
            case FaultKind::silence_edge: return network->silence(from, to, on);
            case FaultKind::slow_edge: return network->slow(from, to, on ? Millis(10 * fault.strength) : Millis(0));
            default:
                if (on) network->clog(from, to, until);
        }
    };
    auto both = [=](bool on) {
        set(a, b, on);
        if (fault.strength % 2 == 1) set(b, a, on);
    };
    both(true);
    afterwards(fault.span, [both] { both(false); });
    return true;
}

bool Faults::separate(const Fault& fault, std::uint32_t set, bool both_ways, bool control_too) {
    auto inside = [set](std::uint32_t node) { return ((set >> node) & 1U) != 0; };
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ways;
    for (std::uint32_t a = 0; a < nodes(); ++a) {
        if (!inside(a)) continue;
        for (std::uint32_t b = 0; b < nodes(); ++b) {
            if (inside(b)) continue;
            ways.emplace_back(b, a);
            if (both_ways) ways.emplace_back(a, b);
        }
        if (control_too) ways.emplace_back(kCoordinator, a);
        if (control_too && both_ways) ways.emplace_back(a, kCoordinator);
    }
    for (auto [a, b] : ways) sim_.network->cut(a, b, true);
    afterwards(fault.span, [this, ways] {
        for (auto [a, b] : ways) sim_.network->cut(a, b, false);
    });
    return !ways.empty();
}

// ----------------------------------------------------------------------------------------------------- after

void Faults::heal() {
    sim_.world.say("fault", "everything heals");
    on_ = false;
    armed_.clear();
    wall_jump_s_ = 0;
    sim_.network->heal();
    sim_.coordinator->heal_disk();
    sim_.coordinator->end_old();  // with nothing to write it would never learn of its successor
    sim_.coordinator->start();
    sim_.coordinator->feed(coordinator::AdminCommand{4, admin::StartRun{}});
    if (cloned_ && clone_ != 0) sim_.lose_disk(clone_);
    for (auto& node : sim_.nodes) {
        node->set_disk_full(false);
        node->start();
        node->feed(node::UserResume{});
    }
}

}  // namespace skerry::sim
