#include "coordinator/server/run_watch.hpp"

#include <nlohmann/json.hpp>

#include "protocol/config/quantity.hpp"
#include "protocol/observe/messages_json.hpp"

namespace skerry::coordinator {

std::optional<RunWatch::Stuck> RunWatch::look(const RunStatus& status, Mono now) {
    const bool running = status.run_state == RunState::running;
    if (!running || !running_ || status.head != step_) {
        step_ = status.head;
        running_ = running;
        since_ = now;
        said_ = false;
    }
    const auto open_for = std::chrono::duration_cast<Millis>(now - since_);
    const Millis patience(static_cast<Millis::rep>(status.patience_ms));
    if (!running || said_ || open_for < 2 * patience) return {};
    said_ = true;
    return Stuck{status.head, status.attempt, status.phase, open_for, patience};
}

std::string to_text(const RunWatch::Stuck& stuck) {
    return "step " + std::to_string(stuck.step.value) + ": not decided for " + to_duration_text(stuck.open_for) + ", should take " +
           to_duration_text(stuck.patience) + " (phase " + stuck.phase + ")";
}

std::vector<BundlePart> run_parts(const RunWatch::Stuck& stuck, const std::string& run, const std::map<NodeId, LastMessages>& messages,
                                  const std::string& status_json, const std::string& config) {
    using Json = nlohmann::json;
    Json why{{"schema", "skerry.bundle/1"}, {"program", "skerry-coordinator"}, {"version", SKERRY_VERSION}, {"run", run},
             {"reason", to_text(stuck)}, {"step", stuck.step.value}, {"attempt", stuck.attempt.value}, {"phase", stuck.phase},
             {"open_ms", stuck.open_for.count()}, {"patience_ms", stuck.patience.count()}};
    Json told = Json::object();
    for (const auto& [node, last] : messages) {
        Json one{{"orders", nullptr}, {"report", nullptr}};
        if (last.orders) one["orders"] = to_json(*last.orders);
        if (last.report) one["report"] = to_json(*last.report);
        told[node.short_hex()] = std::move(one);
    }
    auto dump = [](const Json& json) { return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"; };
    return {{"why.json", dump(why)}, {"status.json", dump(Json::parse(status_json, nullptr, false))},
            {"messages.json", dump(told)}, {"config.toml", config}};
}

}  // namespace skerry::coordinator
