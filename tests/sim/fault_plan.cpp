#include "tests/sim/fault_plan.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace skerry::sim {

namespace {

constexpr std::array<std::string_view, kFaultKinds> kKinds = {
    "kill_coordinator", "doom_coordinator", "hang_coordinator", "succeed_coordinator", "clock_jump", "run_pause",
    "run_rollback", "run_config",
    "coordinator_full", "coordinator_sync", "lose_coordinator",
    "kill_node", "doom_node", "power_node", "power_some", "power_all", "freeze_node", "suspend_node", "kill_trainer",
    "hang_trainer", "nan_trainer", "disk_full", "fail_sync", "fail_space",
    "flip_bit", "lose_disk", "power_twice", "user_pause", "leave_node", "clone_node", "restore_node",
    "serve_damaged", "cut_control",
    "cut_all_control", "silence_control", "slow_control", "clog_control", "reset_control", "cut_edge", "silence_edge",
    "slow_edge", "clog_edge", "reset_data", "partition", "one_way_partition", "isolate_node"};
constexpr std::array<std::string_view, static_cast<std::size_t>(Moment::count)> kMoments = {
    "", "collect", "plan_before", "plan_after", "open", "deciding", "decided", "hold", "paused", "behind", "work",
    "ready", "exchange", "prepared"};

template <class Names>
std::optional<std::size_t> index_in(const Names& names, std::string_view text) {
    auto at = std::find(names.begin(), names.end(), text);
    if (at == names.end()) return {};
    return static_cast<std::size_t>(at - names.begin());
}

std::string_view take(std::string_view& text, char until) {
    const auto end = std::min(text.find(until), text.size());
    const auto part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return part;
}

std::optional<std::uint32_t> take_number(std::string_view& text) {
    const std::string part(take(text, ':'));
    if (part.empty() || part.size() > 9 || part.find_first_not_of("0123456789") != std::string::npos) return {};
    return static_cast<std::uint32_t>(std::strtoul(part.c_str(), nullptr, 10));
}

std::optional<Fault> parse_fault(std::string_view text) {
    Fault fault;
    const auto kind = index_in(kKinds, take(text, '@'));
    auto when = take(text, ':');
    auto time = take(when, '/');
    const auto at = take_number(time);
    const auto moment = index_in(kMoments, when);
    const auto target = take_number(text);
    const auto other = take_number(text);
    const auto span = take_number(text);
    const auto strength = take_number(text);
    if (!kind || !at || !moment || !target || !other || !span || !strength || !text.empty()) return {};
    return Fault{static_cast<FaultKind>(*kind), static_cast<Moment>(*moment), *target, *other, Millis(*at), Millis(*span),
                 *strength};
}

Fault draw_fault(Rng& rng, FaultKind kind, std::uint32_t nodes, Millis at) {
    Fault fault;
    fault.kind = kind;
    fault.at = at;
    fault.target = static_cast<std::uint32_t>(rng.in(0, nodes - 1));
    fault.other = static_cast<std::uint32_t>(rng.in(0, nodes - 1));
    fault.span = rng.chance(0.3) ? rng.ms(4000, 16'000) : rng.ms(100, 4000);
    fault.strength = static_cast<std::uint32_t>(rng.in(0, 400));
    return fault;
}

FaultPlan draw_swarm(Rng& rng, std::uint32_t nodes, Millis begin, Millis end) {
    // A few kinds often, or many seldom: what hides a bug in one mix is missing in another.
    const double share = rng.chance(0.5) ? 0.15 : 0.45;
    std::vector<FaultKind> kinds;
    for (std::size_t kind = 0; kind < kFaultKinds; ++kind)
        if (rng.chance(share)) kinds.push_back(static_cast<FaultKind>(kind));
    const auto every = rng.in(400, 4000);
    FaultPlan plan;
    for (Millis at = begin; !kinds.empty();) {
        at += rng.ms(every / 4, 2 * every);
        if (at >= end) break;
        const auto kind = kinds[static_cast<std::size_t>(rng.in(0, static_cast<std::int64_t>(kinds.size()) - 1))];
        plan.push_back(draw_fault(rng, kind, nodes, at));
        if (rng.chance(0.35))
            plan.back().moment = static_cast<Moment>(rng.in(1, static_cast<std::int64_t>(Moment::count) - 1));
    }
    return plan;
}

/// What brings the coordinator into a state that it does not come to by itself.
void draw_cause(Rng& rng, Moment moment, std::uint32_t nodes, Millis at, FaultPlan& plan) {
    Fault cause = draw_fault(rng, FaultKind::run_pause, nodes, at);
    cause.span = rng.ms(1500, 4000);
    if (moment == Moment::hold) {
        cause.kind = FaultKind::power_some;
        cause.strength = 0xffU & ~(1U << cause.target);
    }
    plan.push_back(cause);
}

/// What passes quickly or comes seldom has more turns.
constexpr Moment kTurns[] = {
    Moment::deciding, Moment::hold,   Moment::paused,      Moment::behind,     Moment::exchange, Moment::deciding,
    Moment::hold,     Moment::paused, Moment::behind,      Moment::work,       Moment::deciding, Moment::hold,
    Moment::paused,   Moment::behind, Moment::plan_before, Moment::plan_after, Moment::decided,  Moment::deciding,
    Moment::hold,     Moment::paused, Moment::behind,      Moment::prepared,   Moment::ready,    Moment::exchange,
    Moment::work,     Moment::open,   Moment::collect};

FaultPlan draw_directed(Rng& rng, std::uint64_t turn, std::uint32_t nodes, Millis begin, Millis end) {
    const Moment moment = kTurns[turn % std::size(kTurns)];
    const bool caused = moment == Moment::hold || moment == Moment::paused;
    auto kind = static_cast<std::uint64_t>(rng.in(0, kFaultKinds - 1));
    FaultPlan plan;
    for (Millis at = begin; at < end; at += rng.ms(300, 1500), ++kind) {
        if (caused && (plan.empty() || rng.chance(0.25))) draw_cause(rng, moment, nodes, at, plan);
        plan.push_back(draw_fault(rng, static_cast<FaultKind>(kind % kFaultKinds), nodes, at));
        plan.back().moment = moment;
    }
    return plan;
}

/// One node prepares long before the others. Then it is cut off, they go on under another plan, and the coordinator is
/// lost with what they decided; or the coordinator is lost before anything is decided.
FaultPlan draw_one_ahead(Rng& rng, std::uint32_t nodes, Millis begin, Millis end) {
    FaultPlan plan;
    for (Millis at = begin; at < end; at += rng.ms(9000, 14'000)) {
        const bool superseded = rng.chance(0.6);
        const auto ahead = static_cast<std::uint32_t>(rng.in(0, nodes - 1));
        auto add = [&](FaultKind kind, Millis when, Moment moment, Millis span) -> Fault& {
            plan.push_back(draw_fault(rng, kind, nodes, when));
            plan.back().target = ahead;
            plan.back().moment = moment;
            plan.back().span = span;
            return plan.back();
        };
        for (std::uint32_t i = 1; i < nodes; ++i) {
            Fault& slow = add(FaultKind::slow_edge, at, Moment::none, rng.ms(6000, 12'000));
            slow.other = (ahead + i) % nodes;
            slow.strength = static_cast<std::uint32_t>(2 * rng.in(100, 200));  // what it gives, not what it gets
        }
        if (superseded) add(FaultKind::isolate_node, at, Moment::prepared, rng.ms(4000, 9000));
        const Millis later = superseded ? rng.ms(2500, 5000) : Millis(0);
        Fault& loss = add(FaultKind::lose_coordinator, at + later, superseded ? Moment::decided : Moment::prepared, Millis(0));
        loss.strength &= ~1U;
    }
    return plan;
}

constexpr std::uint64_t kOneAheadEvery = 9;

}  // namespace

std::string_view name_of(FaultKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }
std::string_view name_of(Moment moment) { return kMoments[static_cast<std::size_t>(moment)]; }

FaultPlan draw_faults(std::uint64_t seed, std::uint32_t nodes, Millis begin, Millis end) {
    Rng rng(seed, fault_stream);
    if (seed % 2 == 1) return draw_swarm(rng, nodes, begin, end);
    const std::uint64_t turn = seed / 2;
    if (nodes >= 2 && turn % kOneAheadEvery == 4) return draw_one_ahead(rng, nodes, begin, end);
    return draw_directed(rng, turn, nodes, begin, end);
}

std::string to_text(const FaultPlan& plan) {
    std::string out;
    for (const Fault& f : plan) {
        if (!out.empty()) out += ",";
        out += std::string(name_of(f.kind)) + "@" + std::to_string(f.at.count());
        if (f.moment != Moment::none) out += "/" + std::string(name_of(f.moment));
        for (auto number : {static_cast<std::int64_t>(f.target), static_cast<std::int64_t>(f.other),
                            static_cast<std::int64_t>(f.span.count()), static_cast<std::int64_t>(f.strength)})
            out += ":" + std::to_string(number);
    }
    return out;
}

std::optional<FaultPlan> parse_faults(std::string_view text) {
    FaultPlan plan;
    while (!text.empty()) {
        auto fault = parse_fault(take(text, ','));
        if (!fault) return {};
        plan.push_back(*fault);
    }
    return plan;
}

}  // namespace skerry::sim
