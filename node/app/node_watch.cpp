#include "node/app/node_watch.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "protocol/config/quantity.hpp"
#include "protocol/observe/messages_json.hpp"

namespace skerry::node {
namespace {

/// A node that is told nothing (no session yet) waits at least so long.
constexpr Millis kLeast{5'000};
constexpr Millis kNothingTold{60'000};

std::string_view word(Phase phase) {
    constexpr std::string_view kWords[] = {"joining", "behind", "work", "ready", "exchange", "prepared"};
    return kWords[static_cast<std::size_t>(phase)];
}

/// An attempt, and what is left of the round while the node waits for others to end theirs.
Millis told_by(const NodeView& view) {
    const Millis attempt(static_cast<Millis::rep>(4 * view.orders.edge_patience_ms));
    const Millis round(static_cast<Millis::rep>(view.phase == Phase::ready ? view.orders.round_remaining_ms : 0));
    return attempt.count() == 0 ? kNothingTold : std::max(kLeast, attempt + round);
}

}  // namespace

std::optional<NodeWatch::Stuck> NodeWatch::look(const NodeView& view, Mono now) {
    const Key key{view.phase, view.head, view.orders.head, view.attempt,
                  std::uint64_t{view.exchange.contributions_have} + view.exchange.results_have, view.run_state};
    if (!(key == key_)) {
        key_ = key;
        since_ = now;
        told_ = told_by(view);
        said_ = false;
    }
    const bool waits = view.phase != Phase::work && view.run_state == RunState::running;
    const auto waited = std::chrono::duration_cast<Millis>(now - since_);
    if (!waits || said_ || waited < 2 * told_) return {};
    said_ = true;
    return Stuck{std::string(word(view.phase)), view.orders.head, waited, told_};
}

std::string to_text(const NodeWatch::Stuck& stuck) {
    return "step " + std::to_string(stuck.step.value) + ": " + to_duration_text(stuck.waited) + " in phase " + stuck.phase +
           " without progress, told were " + to_duration_text(stuck.told);
}

std::vector<BundlePart> node_parts(const NodeWatch::Stuck& stuck, const NodeView& view, const std::optional<Report>& last_report,
                                   const std::string& status_json, const std::string& config) {
    nlohmann::json why{{"schema", "skerry.bundle/1"}, {"program", "skerry-node"}, {"version", SKERRY_VERSION}, {"reason", to_text(stuck)},
                       {"step", stuck.step.value}, {"attempt", view.attempt.value}, {"phase", stuck.phase},
                       {"waited_ms", stuck.waited.count()}, {"told_ms", stuck.told.count()}, {"waiting", view.waiting_for}};
    nlohmann::json messages{{"orders", to_json(view.orders)}};
    messages["report"] = last_report ? to_json(*last_report) : nlohmann::json(nullptr);
    auto dump = [](const nlohmann::json& json) { return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"; };
    nlohmann::json status = nlohmann::json::parse(status_json, nullptr, false);
    return {{"why.json", dump(why)}, {"status.json", dump(status)}, {"messages.json", dump(messages)}, {"config.toml", config}};
}

}  // namespace skerry::node
