#include "coordinator/core/deadlines.hpp"

#include <algorithm>
#include <vector>

namespace skerry::coordinator {

namespace {

constexpr std::uint64_t kUnit = 1024;       ///< pieces that a transfer's time is noted for
constexpr int kUntriedPredictions = 3;
constexpr int kMostPredictions = 10;
constexpr Millis kLongest{86'400'000};      ///< a sample beyond a day is one

Millis median_of(std::vector<Millis> values) {
    if (values.empty()) return Millis(0);
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

void PhaseTimes::add(Millis sample) {
    samples_.push_back(std::clamp(sample, Millis(0), kLongest));
    if (samples_.size() > kKept) samples_.pop_front();
}

Millis PhaseTimes::median() const { return median_of({samples_.begin(), samples_.end()}); }

Millis PhaseTimes::deviation() const {
    const Millis middle = median();
    std::vector<Millis> distances;
    for (Millis sample : samples_) distances.push_back(sample > middle ? sample - middle : middle - sample);
    return median_of(std::move(distances));
}

void Deadlines::add_transfer(std::uint64_t load, Millis slowest) {
    if (load == 0) return;
    per_1024_pieces_.add(Millis(static_cast<Millis::rep>(static_cast<std::uint64_t>(slowest.count()) * kUnit / load)));
}

Millis Deadlines::prediction(std::uint64_t load) const {
    if (per_1024_pieces_.count() == 0) return config_.exchange_deadline / kUntriedPredictions;
    const auto whole = static_cast<std::uint64_t>(per_1024_pieces_.median().count()) * load / kUnit;
    return std::max(Millis(1), Millis(static_cast<Millis::rep>(whole)));
}

Bounds Deadlines::bounds(StepPhase phase, std::uint64_t load) const {
    switch (phase) {
        case StepPhase::collect:
            return {round_, config_.collect_most > Millis(0) ? config_.collect_most : 2 * round_};
        case StepPhase::votes: return {config_.vote_deadline, kMostPredictions * config_.vote_deadline};
        case StepPhase::exchange: break;
    }
    const Millis least = std::min(config_.exchange_least, config_.exchange_deadline);
    return {least, config_.exchange_most > Millis(0) ? config_.exchange_most : kMostPredictions * prediction(load)};
}

const PhaseTimes* Deadlines::times(StepPhase phase, const NodeId& node) const {
    auto at = times_.find(node);
    return at == times_.end() ? nullptr : &at->second[index(phase)];
}

Millis Deadlines::within(StepPhase phase, const NodeId& node, std::uint64_t load, Millis untried) const {
    const PhaseTimes* known = times(phase, node);
    return bounds(phase, load).clamp(known && known->enough() ? known->estimate() : untried);
}

Millis Deadlines::collect(const NodeId& node) const {
    return within(StepPhase::collect, node, 0, kUntriedPredictions * round_);
}

Millis Deadlines::exchange(const NodeId& node, std::uint64_t load) const {
    return within(StepPhase::exchange, node, load, kUntriedPredictions * prediction(load));
}

Millis Deadlines::votes(const NodeId& node) const { return within(StepPhase::votes, node, 0, config_.vote_deadline); }

PhaseEstimate Deadlines::status(StepPhase phase, const NodeId& node, std::uint64_t load) const {
    PhaseEstimate out;
    if (const PhaseTimes* known = times(phase, node)) {
        out.samples = static_cast<std::uint32_t>(known->count());
        out.median = known->median();
        out.deviation = known->deviation();
    }
    out.deadline = phase == StepPhase::collect   ? collect(node)
                   : phase == StepPhase::exchange ? exchange(node, load)
                                                  : votes(node);
    return out;
}

std::uint64_t Deadlines::load_of(const Plan& plan) {
    std::vector<std::uint64_t> owned(plan.members.size(), 0);
    for (std::uint16_t owner : plan.piece_owner)
        if (owner < owned.size()) ++owned[owner];
    const std::uint64_t pieces = plan.piece_owner.size();
    const std::uint64_t members = plan.members.size();
    std::uint64_t busiest = 0;
    for (std::size_t i = 0; i < owned.size(); ++i) {
        const bool gives = std::any_of(plan.participants.begin(), plan.participants.end(),
                                       [&](const Participant& p) { return p.node == plan.members[i]; });
        const std::uint64_t sent = (gives ? pieces - owned[i] : 0) + owned[i] * (members - 1);
        const std::uint64_t received = owned[i] * (plan.participants.size() - (gives ? 1 : 0)) + pieces - owned[i];
        busiest = std::max({busiest, sent, received});
    }
    return busiest;
}

}  // namespace skerry::coordinator
