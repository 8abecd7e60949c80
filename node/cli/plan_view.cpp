#include "node/cli/plan_view.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

std::string count(std::uint64_t value) { return to_count_text(static_cast<double>(value)); }
std::string size(std::uint64_t bytes) { return to_size_text(bytes); }

std::string decimals(double value, int digits) {
    char out[32];
    std::snprintf(out, sizeof out, "%.*f", digits, value);
    return out;
}

std::string seconds(double s) { return s < 10 ? decimals(s, 1) + " s" : to_duration_text(Millis(std::llround(s) * 1000)); }

Json number_or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

std::string data_line(const RunPlan& plan, const Manifest& m, const DataManifest& data) {
    return "data    " + count(data.tokens(false)) + " tokens in " + std::to_string(data.shards.size()) + " shards (" + size(plan.needs.data) +
           "), the run uses " + count(m.target_tokens) + ": " + decimals(plan.epochs, 2) + " epochs";
}

std::string duration_line(const RunPlan& plan) {
    if (!plan.duration)
        return "time    not known: the speed of " + std::string(plan.nodes == 1 ? "the node" : "a node") + " is not; --node-speed 20k gives an answer";
    auto slowest = std::max_element(plan.paces.begin(), plan.paces.end(),
                                    [](const Pace& a, const Pace& b) { return a.train_s.value_or(0) < b.train_s.value_or(0); });
    return "time    about " + to_duration_text(*plan.duration) + ": " + seconds(*plan.step_s) + " a step, " + seconds(plan.train_s) +
           " of it training (slowest: " + slowest->name + "), " + seconds(plan.exchange_s) + " exchange and writing";
}

}  // namespace

std::string to_text(const LimitUse& use) { return use.key + (use.binds ? " binds: " : ": ") + use.what; }

std::vector<std::string> to_lines(const Concern& concern) {
    const bool small = concern.kind == Concern::Kind::too_small;
    std::vector<std::string> out{std::string(small ? "small   " : "warn    ") + (concern.node.empty() ? "" : concern.node + ": ") + concern.what};
    if (!concern.fix.empty()) out.push_back("        fix: " + concern.fix);
    return out;
}

std::vector<std::string> to_lines(const RunPlan& plan, const Manifest& m, const DataManifest& data, const std::vector<std::string>& assumed) {
    std::vector<std::string> out;
    out.push_back("run     " + m.name + ": " + count(m.elements) + " parameters, seed " + std::to_string(m.seed));
    out.push_back(data_line(plan, m, data));
    out.push_back("plan    " + std::to_string(plan.steps) + " outer steps by " + std::to_string(plan.nodes) + (plan.nodes == 1 ? " node: " : " nodes: ") +
                  std::to_string(m.local_steps) + " inner steps x " + std::to_string(m.batch_sequences) + " x " + std::to_string(m.sequence_tokens) +
                  " tokens each, " + count(plan.tokens_per_step) + " tokens a step");
    out.push_back("bytes   " + size(plan.bytes.most_up()) + " up, " + size(plan.bytes.most_down()) + " down per node and step · " +
                  size(plan.bytes.most_up() * plan.steps) + " up, " + size(plan.bytes.most_down() * plan.steps + plan.needs.data) +
                  " down per node in all, data included · " + size(plan.bytes.all * plan.steps) + " between all nodes");
    const Needs& n = plan.needs;
    out.push_back("memory  " + size(n.memory()) + " per node" + (n.memory_least() < n.memory() ? " (" + size(n.memory_least()) + " at least, slower)" : "") + ": trainer " +
                  size(n.trainer) + ", agent " + size(n.agent) + ", weights and momentum " + size(n.shared));
    out.push_back("disk    " + size(n.disk) + " per node by the end (" + size(n.disk_least) + " at least), " + size(n.data) + " of it data");
    out.push_back(duration_line(plan));
    for (const std::string& one : assumed) out.push_back("assumed " + one);
    for (std::size_t i = 0; i < plan.limits.size(); ++i) {
        for (const LimitUse& one : plan.limits[i])
            if (one.binds) out.push_back("limit   " + plan.paces[i].name + ": " + to_text(one));
    }
    for (const Concern& one : plan.concerns) {
        for (std::string& line : to_lines(one)) out.push_back(std::move(line));
    }
    return out;
}

Json to_json(const RunPlan& plan, const Manifest& m, const DataManifest& data, const std::vector<std::string>& assumed) {
    Json out{{"run", m.name}, {"elements", m.elements}, {"tokens_total", m.target_tokens}, {"tokens_per_step", plan.tokens_per_step},
             {"steps", plan.steps}, {"epochs", plan.epochs}, {"data_tokens", data.tokens(false)}, {"assumed", assumed}};
    out["bytes"] = {{"encoded", plan.bytes.encoded},          {"up_per_step", plan.bytes.most_up()},
                    {"down_per_step", plan.bytes.most_down()}, {"all_per_step", plan.bytes.all},
                    {"all", plan.bytes.all * plan.steps},      {"data_per_node", plan.needs.data}};
    const Needs& n = plan.needs;
    out["needs"] = {{"memory_bytes", n.memory()}, {"memory_least_bytes", n.memory_least()}, {"trainer_bytes", n.trainer}, {"trainer_least_bytes", n.trainer_least},
                    {"agent_bytes", n.agent},     {"shared_bytes", n.shared},        {"disk_bytes", n.disk},       {"disk_least_bytes", n.disk_least}, {"disk_work_bytes", n.work}};
    out["step_s"] = number_or_null(plan.step_s);
    out["train_s"] = plan.step_s ? Json(plan.train_s) : Json(nullptr);
    out["exchange_s"] = plan.exchange_s;
    out["duration_ms"] = plan.duration ? Json(plan.duration->count()) : Json(nullptr);
    out["nodes"] = Json::array();
    for (std::size_t i = 0; i < plan.paces.size(); ++i) {
        const Pace& pace = plan.paces[i];
        Json limits = Json::array();
        for (const LimitUse& one : plan.limits[i]) limits.push_back({{"key", one.key}, {"binds", one.binds}, {"what", one.what}});
        out["nodes"].push_back({{"name", pace.name}, {"sequences", pace.sequences}, {"train_s", number_or_null(pace.train_s)},
                                {"exchange_s", number_or_null(pace.exchange_s)}, {"up_bytes", plan.bytes.up[i]},
                                {"down_bytes", plan.bytes.down[i]}, {"limits", std::move(limits)}, {"too_small", plan.too_small(pace.name)}});
    }
    out["concerns"] = Json::array();
    for (const Concern& one : plan.concerns)
        out["concerns"].push_back({{"kind", one.kind == Concern::Kind::warn ? "warn" : "too_small"}, {"node", one.node}, {"what", one.what}, {"fix", one.fix}});
    return out;
}

Means means_of(const Json& node, std::uint64_t elements, std::uint64_t wanted) {
    Means out;
    out.name = node.value("name", "");
    const Json machine = node.contains("machine") && node["machine"].is_object() ? node["machine"] : Json::object();
    out.cores = machine.value("cores", 0U);
    out.memory_bytes = machine.value("memory_bytes", std::uint64_t{0});
    out.memory_free_bytes = machine.value("memory_free_bytes", std::uint64_t{0});
    out.disk_free_bytes = machine.value("disk_free_bytes", std::uint64_t{0});
    out.up_bytes_per_s = machine.value("up_bytes_per_s", 0.0);
    out.down_bytes_per_s = machine.value("down_bytes_per_s", 0.0);
    if (const Json limits = machine.value("limits", Json::object()); limits.is_object()) {
        const auto limit = [&](const char* key) { return limits.value(key, std::uint64_t{0}); };
        out.limits = {limit("up_bytes_per_s"), limit("down_bytes_per_s"), limit("daily_bytes"), limit("memory_bytes"), limit("disk_bytes")};
    }
    const double speed = machine.value("tokens_per_s", 0.0);
    if (elements > 0 && wanted > 0) out.tokens_per_s = speed * work_per_token(elements) / work_per_token(wanted);
    return out;
}

}  // namespace skerry::node
