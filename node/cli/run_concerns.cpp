#include "node/cli/run_concerns.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

constexpr double kSlowShare = 0.5;   // of a step; beyond it an exchange is worth a warning
constexpr double kSameRate = 1.1;    // a link measured within this of its limit is held by it
constexpr double kManyEpochs = 4;
constexpr double kDay_s = 24 * 3600;

std::string size(double bytes) { return to_size_text(static_cast<std::uint64_t>(bytes)); }

std::string seconds(double s) {
    if (s >= 10) return to_duration_text(Millis(std::llround(s) * 1000));
    char out[32];
    std::snprintf(out, sizeof out, "%.1f s", s);
    return out;
}

Rate rate_of(double link, std::uint64_t limit) {
    const auto most = static_cast<double>(limit);
    if (limit == 0) return {link, false};
    return {link > 0 ? std::min(link, most) : most, link <= 0 || link * kSameRate >= most};
}

double time_of(std::uint64_t bytes, const Rate& rate) { return rate.bytes_per_s > 0 ? static_cast<double>(bytes) / rate.bytes_per_s : 0; }

/// Whether what comes in takes longer than what goes out.
bool down_is_slower(const Means& node, const Load& load) { return time_of(load.down, node.down()) > time_of(load.up, node.up()); }

/// What a day of the run moves both ways; none where nobody knows how long a step takes.
std::optional<double> bytes_a_day(const Means& node, const Load& load) {
    if (!load.step_s) return std::nullopt;
    const double step_s = std::max(*load.step_s, exchange_time(node, load).value_or(0));
    if (step_s <= 0) return std::nullopt;
    return static_cast<double>(load.up + load.down) * kDay_s / step_s;
}

/// The trainer's own reckoning counts the weights that it shares (node/trainer/trainer_memory.hpp).
std::uint64_t counted(const Needs& needs, std::uint64_t trainer) { return trainer == 0 ? 0 : trainer + needs.shared / 2; }

LimitUse rate_use(const char* key, std::uint64_t bytes, const Rate& rate, std::uint64_t limit, bool decides) {
    const double time = static_cast<double>(bytes) / static_cast<double>(limit);
    return {key, rate.by_limit && decides, to_size_text(bytes) + " of a step at " + to_size_text(limit) + "/s take " + seconds(time)};
}

LimitUse daily_use(const Means& node, const Load& load) {
    const auto limit = static_cast<double>(node.limits.daily_bytes);
    const auto day = bytes_a_day(node, load);
    const std::string most = to_size_text(node.limits.daily_bytes) + " a day";
    if (!day) return {"daily_transfer", false, most + " are enough for " + std::to_string(node.limits.daily_bytes / std::max<std::uint64_t>(1, load.up + load.down)) + " steps"};
    if (*day <= limit) return {"daily_transfer", false, "the run moves " + size(*day) + " of " + most};
    return {"daily_transfer", true, "the run moves " + size(*day) + " a day, " + most + " are used up after " + seconds(kDay_s * limit / *day)};
}

void add_limit_concerns(std::vector<Concern>& out, const Means& node, const Needs& needs, const Load& load) {
    const MachineLimits& limits = node.limits;
    const std::uint64_t least = counted(needs, needs.trainer_least);
    if (limits.memory_bytes != 0 && least > limits.memory_bytes)
        out.push_back({Concern::Kind::too_small, Concern::About::memory, node.name,
                       "memory: the trainer needs " + to_size_text(least) + " at least, [limits] memory is " + to_size_text(limits.memory_bytes),
                       "skerry limits set --memory SIZE"});
    const std::uint64_t kept = needs.disk_least - needs.work;
    if (limits.disk_bytes != 0 && kept > limits.disk_bytes)
        out.push_back({Concern::Kind::warn, Concern::About::disk, node.name,
                       "disk: [limits] disk is " + to_size_text(limits.disk_bytes) + ", the run needs " + to_size_text(kept) +
                           " of this node in any case: nothing older is kept",
                       "skerry limits set --disk SIZE"});
    if (limits.daily_bytes == 0) return;
    const LimitUse day = daily_use(node, load);
    if (day.binds)
        out.push_back({Concern::Kind::warn, Concern::About::link, node.name, day.what + " ([limits] daily_transfer): then it pauses until midnight",
                       "skerry limits set --per-day SIZE, or more local_steps in the run's [sync]"});
}

std::string memory_parts(const Needs& needs, std::uint64_t trainer) {
    return " (" + (trainer == 0 ? "" : "trainer " + to_size_text(trainer) + ", ") + "agent " + to_size_text(needs.agent) + ", weights and momentum " +
           to_size_text(needs.shared) + ")";
}

/// At most one: it cannot run, others have to make room, or it will be slow.
void add_memory_concern(std::vector<Concern>& out, const Means& node, const Needs& needs) {
    const std::string least = "memory: needs " + to_size_text(needs.memory_least()) + " at least" + memory_parts(needs, needs.trainer_least);
    const std::string free = to_size_text(node.memory_free_bytes) + " of " + to_size_text(node.memory_bytes) + " are free";
    if (node.memory_bytes != 0 && needs.memory_least() > node.memory_bytes)
        out.push_back({Concern::Kind::too_small, Concern::About::memory, node.name, least + ", the machine has " + to_size_text(node.memory_bytes),
                       "a machine with more memory, or a smaller model"});
    else if (node.memory_free_bytes != 0 && needs.memory_least() > node.memory_free_bytes)
        out.push_back({Concern::Kind::warn, Concern::About::memory, node.name, least + ", " + free, "end other programs"});
    else if (node.memory_free_bytes != 0 && needs.memory() > node.memory_free_bytes)
        out.push_back({Concern::Kind::warn, Concern::About::memory, node.name,
                       "memory: would use " + to_size_text(needs.memory()) + memory_parts(needs, needs.trainer) + ", " + free +
                           ": its trainer works on fewer sequences at a time or computes layers again, which is slower",
                       "end other programs, or a smaller micro_batch in the run's [train]"});
}

void add_disk_concern(std::vector<Concern>& out, const Means& node, const Needs& needs, std::uint64_t here) {
    if (node.disk_free_bytes == 0) return;
    const std::uint64_t least = needs.disk_least - std::min(needs.disk_least, here), end = disk_within(needs, node.limits.disk_bytes),
                        all = end - std::min(end, here);
    if (least > node.disk_free_bytes)
        out.push_back({Concern::Kind::too_small, Concern::About::disk, node.name,
                       "disk: needs " + to_size_text(least) + " at least, " + to_size_text(node.disk_free_bytes) + " are free",
                       "free some, or --dir on a larger disk"});
    else if (all > node.disk_free_bytes)
        out.push_back({Concern::Kind::warn, Concern::About::disk, node.name,
                       "disk: will use " + to_size_text(all) + " by the end, " + to_size_text(node.disk_free_bytes) + " are free",
                       "--disk SIZE keeps less of the log"});
}

void add_link_concern(std::vector<Concern>& out, const Means& node, const Load& load) {
    const double exchange_s = exchange_time(node, load).value_or(0);
    if (!load.step_s || exchange_s <= kSlowShare * *load.step_s) return;
    const bool down = down_is_slower(node, load);
    const Rate rate = down ? node.down() : node.up();
    out.push_back({Concern::Kind::too_small, Concern::About::link, node.name,
                   "its exchange takes " + seconds(exchange_s) + ", a step " + seconds(*load.step_s) + ": " + to_size_text(down ? load.down : load.up) +
                       (down ? " down at " : " up at ") + size(rate.bytes_per_s) + "/s" + (rate.by_limit ? (down ? " ([limits] down)" : " ([limits] up)") : ""),
                   std::string(rate.by_limit ? (down ? "skerry limits set --down RATE, " : "skerry limits set --up RATE, ") : "") +
                       "more local_steps (fewer, longer rounds), or run without it"});
}

void add_data_concerns(RunPlan& plan, const Manifest& m) {
    if (plan.epochs > kManyEpochs)
        plan.concerns.push_back({Concern::Kind::warn, Concern::About::data, "",
                                 "the data is passed over " + std::to_string(std::llround(plan.epochs)) + " times",
                                 "prepare more text, or fewer tokens in [train]"});
    if (m.disk_quota_bytes != 0 && plan.needs.disk_least - plan.needs.data > m.disk_quota_bytes)
        plan.concerns.push_back({Concern::Kind::warn, Concern::About::disk, "",
                                 "the quota of " + to_size_text(m.disk_quota_bytes) + " is below the " +
                                     to_size_text(plan.needs.disk_least - plan.needs.data) + " that a node keeps in any case: nothing older is kept",
                                 "a larger quota in [checkpoint]"});
}

void add_pace_concerns(RunPlan& plan, const Manifest& m, const Pace& pace, Millis exchange_deadline) {
    if (pace.cut_short)
        plan.concerns.push_back({Concern::Kind::warn, Concern::About::pace, pace.name,
                                 "trains on " + std::to_string(pace.sequences) + " of " + std::to_string(std::uint64_t{m.local_steps} * m.batch_sequences) +
                                     " sequences of a round until round_deadline (" + to_duration_text(Millis(m.round_ms)) + ")",
                                 "a longer round_deadline or fewer local_steps in [sync]"});
    if (plan.step_s && exchange_deadline.count() > 0 && pace.exchange_s.value_or(0) * 1000 > static_cast<double>(exchange_deadline.count()))
        plan.concerns.push_back({Concern::Kind::warn, Concern::About::pace, pace.name,
                                 "its exchange takes " + seconds(*pace.exchange_s) + ", exchange_deadline is " + to_duration_text(exchange_deadline) +
                                     ": the first plans are made anew",
                                 "a longer exchange_deadline in [sync]"});
}

}  // namespace

Rate Means::up() const { return rate_of(up_bytes_per_s, limits.up_bytes_per_s); }
Rate Means::down() const { return rate_of(down_bytes_per_s, limits.down_bytes_per_s); }

std::optional<double> exchange_time(const Means& node, const Load& load) {
    if (node.up().bytes_per_s <= 0 && node.down().bytes_per_s <= 0) return std::nullopt;
    return std::max(time_of(load.up, node.up()), time_of(load.down, node.down()));
}

std::uint64_t disk_within(const Needs& needs, std::uint64_t limit) {
    if (limit == 0) return needs.disk;
    return std::max(needs.disk_least, std::min(needs.disk, limit + needs.work));
}

std::vector<LimitUse> limit_uses(const Means& node, const Needs& needs, const Load& load) {
    const MachineLimits& l = node.limits;
    const bool down = down_is_slower(node, load);
    std::vector<LimitUse> out;
    if (l.up_bytes_per_s != 0) out.push_back(rate_use("up", load.up, node.up(), l.up_bytes_per_s, !down && load.up > 0));
    if (l.down_bytes_per_s != 0) out.push_back(rate_use("down", load.down, node.down(), l.down_bytes_per_s, down));
    if (l.daily_bytes != 0) out.push_back(daily_use(node, load));
    if (l.memory_bytes != 0 && needs.trainer != 0)
        out.push_back({"memory", counted(needs, needs.trainer) > l.memory_bytes,
                       "the trainer would use " + to_size_text(counted(needs, needs.trainer)) + ", it may use " + to_size_text(l.memory_bytes)});
    if (l.disk_bytes != 0)
        out.push_back({"disk", needs.disk - needs.work > l.disk_bytes,
                       "log, snapshots and data would take " + to_size_text(needs.disk - needs.work) + ", they may take " + to_size_text(l.disk_bytes)});
    return out;
}

std::vector<Concern> concerns_of(const Means& node, const Needs& needs, const Load& load, std::uint64_t here) {
    std::vector<Concern> out;
    add_memory_concern(out, node, needs);
    add_disk_concern(out, node, needs, here);
    add_limit_concerns(out, node, needs, load);
    add_link_concern(out, node, load);
    return out;
}

void add_concerns(RunPlan& plan, const Manifest& m, const std::vector<Means>& nodes, Millis exchange_deadline) {
    add_data_concerns(plan, m);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const Load load{plan.bytes.up[i], plan.bytes.down[i], plan.step_s};
        add_pace_concerns(plan, m, plan.paces[i], exchange_deadline);
        auto concerns = concerns_of(nodes[i], plan.needs, load);
        plan.concerns.insert(plan.concerns.end(), concerns.begin(), concerns.end());
        plan.limits.push_back(limit_uses(nodes[i], plan.needs, load));
    }
}

bool RunPlan::too_small(const std::string& node) const {
    return std::any_of(concerns.begin(), concerns.end(),
                       [&](const Concern& c) { return c.kind == Concern::Kind::too_small && c.node == node; });
}

}  // namespace skerry::node
