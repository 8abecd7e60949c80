#include "coordinator/admin/status_json.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include "protocol/identity/keys.hpp"
#include "protocol/observe/messages_json.hpp"

namespace skerry::coordinator {
namespace {

using Json = nlohmann::json;

std::uint64_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t total = 0;
    std::uint64_t resident = 0;
    statm >> total >> resident;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

Json steps(const std::vector<Step>& list) {
    Json out = Json::array();
    for (Step step : list) out.push_back(step.value);
    return out;
}

std::string name_of(const RunStatus& run, const NodeId& node) {
    if (node.is_zero()) return "";
    for (const NodeStatus& one : run.nodes) {
        if (one.node == node) return one.name;
    }
    return node.short_hex();
}

Json heldout(const RunStatus& run, const std::optional<std::pair<Step, double>>& first) {
    Json out{{"step", run.heldout_step.value}, {"loss", *run.heldout_loss}};
    out["first_step"] = first ? first->first.value : run.heldout_step.value;
    out["first_loss"] = first ? first->second : *run.heldout_loss;
    return out;
}

}  // namespace

std::string state_word(const RunStatus& run) {
    if (run.target_tokens != 0 && run.tokens_committed >= run.target_tokens) return "finished";
    return std::string(to_word(run.run_state));
}

Json to_json(const CoordinatorInfo& info) {
    return {{"name", info.name},
            {"version", SKERRY_VERSION},
            {"pid", ::getpid()},
            {"port", info.port},
            {"metrics_port", info.metrics_port},
            {"uptime_ms", info.uptime_ms},
            {"connections", info.connections},
            {"rss_bytes", resident_bytes()},
            {"fingerprint", to_fingerprint_text(ByteSpan(info.root_id.bytes))}};
}

/// Names of nodes; the start of its id for one that has none.
static Json names_of(const std::vector<NodeId>& ids, const RunStatus& run) {
    Json names = Json::array();
    for (const NodeId& id : ids) {
        auto at = std::find_if(run.nodes.begin(), run.nodes.end(), [&](const NodeStatus& one) { return one.node == id; });
        names.push_back(at == run.nodes.end() || at->name.empty() ? id.hex().substr(0, 8) : at->name);
    }
    return names;
}

static Json to_json(const PhaseEstimate& estimate) {
    return {{"samples", estimate.samples},
            {"median_ms", estimate.median.count()},
            {"deviation_ms", estimate.deviation.count()},
            {"deadline_ms", estimate.deadline.count()}};
}

static Json to_json(const std::optional<MachineState>& m) {
    if (!m) return nullptr;
    const MachineLimits& l = m->limits;
    Json limits{{"up_bytes_per_s", l.up_bytes_per_s},
                {"down_bytes_per_s", l.down_bytes_per_s},
                {"daily_bytes", l.daily_bytes},
                {"memory_bytes", l.memory_bytes},
                {"disk_bytes", l.disk_bytes}};
    return {{"cores", m->cores},
            {"memory_bytes", m->memory_bytes},
            {"memory_free_bytes", m->memory_free_bytes},
            {"disk_free_bytes", m->disk_free_bytes},
            {"tokens_per_s", m->tokens_per_s},
            {"up_bytes_per_s", m->up_bytes_per_s},
            {"down_bytes_per_s", m->down_bytes_per_s},
            {"limits", std::move(limits)}};
}

Json to_json(const NodeStatus& node, const RunStatus& run) {
    return {{"name", node.name},
            {"node_id", node.node.hex()},
            {"site", node.site},
            {"state", to_word(node.state)},
            {"phase", node.phase},
            {"phase_ms", node.phase_ms},
            {"reason", node.reason},
            {"connected", node.connected},
            {"silent", node.silent},
            {"paused", node.paused},
            {"leaving", node.leaving},
            {"ready", node.ready},
            {"prepared", node.voted},
            {"reachable", node.reachable},
            {"disk_full", node.disk_full},
            {"incarnation", node.incarnation.value},
            {"head", node.head.value},
            {"seen_ms", node.heard_ms},
            {"trainer", to_word(node.trainer)},
            {"inner_step", node.inner_step},
            {"tokens_per_s", node.tokens_per_s},
            {"loss", node.loss},
            {"leased_sequences", node.leased_sequences},
            {"credited_tokens", node.credited_tokens},
            {"sent_bytes", node.sent_bytes},
            {"received_bytes", node.received_bytes},
            {"snapshots", steps(node.snapshots)},
            {"unreachable", names_of(node.unreachable, run)},
            {"contribution", skerry::to_json(node.contribution)},
            {"machine", to_json(node.machine)},
            {"estimates",
             {{"collect", to_json(node.collect)}, {"exchange", to_json(node.exchange)}, {"votes", to_json(node.votes)}}}};
}

Json to_json(const RunStatus& run, const std::optional<std::pair<Step, double>>& first, const CoordinatorInfo& info) {
    Json out{{"schema", "skerry.status/1"},
             {"run", run.name},
             {"run_id", run.run.hex()},
             {"state", state_word(run)},
             {"phase", run.phase},
             {"phase_ms", run.phase_ms},
             {"head", run.head.value},
             {"h_head", run.h_head.hex()},
             {"tokens", run.tokens_committed},
             {"tokens_total", run.target_tokens},
             {"elements", run.elements},
             {"term", run.term.value},
             {"epoch", run.epoch.value},
             {"floor", run.floor.value},
             {"attempt", run.attempt.value},
             {"participants", run.participants},
             {"members", run.members},
             {"min_nodes", run.min_nodes},
             {"durable_copies", run.durable_copies},
             {"hold_reason", run.hold_reason},
             {"end_reason", run.end_reason},
             {"next", run.next},
             {"round_ms", run.round_ms},
             {"patience_ms", run.patience_ms},
             {"round_remaining_ms", run.round_remaining_ms},
             {"deadline_remaining_ms", run.deadline_remaining_ms},
             {"attempt_deadline_ms", run.attempt_deadline.count()},
             {"exchange_prediction_ms", run.exchange_prediction.count()},
             {"tokens_per_s", run.tokens_per_s},
             {"loss", run.loss ? Json(*run.loss) : Json(nullptr)},
             {"dropped_messages", run.dropped_messages},
             {"superseded", run.superseded},
             {"withdrawn", run.withdrawn},
             {"coordinator", to_json(info)}};
    out["outer"] = {{"lr", run.outer.eta}, {"momentum", run.outer.mu}};
    out["forked_from"] = nullptr;
    if (!run.parent_run.is_zero())
        out["forked_from"] = {{"run_id", run.parent_run.hex()}, {"step", run.parent_step.value}, {"h", run.parent_h.hex()}};
    out["rolled_back"] = nullptr;
    if (run.rolled_back) out["rolled_back"] = {{"step", run.rolled_back->second.value}, {"to", run.rolled_back->first.value}};
    if (run.heldout_loss) out["heldout"] = heldout(run, first);
    std::uint64_t left = run.target_tokens > run.tokens_committed ? run.target_tokens - run.tokens_committed : 0;
    bool known = run.tokens_per_s > 0;
    out["eta_ms"] = known ? Json(static_cast<std::uint64_t>(1000.0 * static_cast<double>(left) / run.tokens_per_s)) : Json(nullptr);
    out["leases"] = {{"free", run.free_sequences}, {"leased", run.leased_sequences}};
    out["agreed"] = nullptr;
    if (run.agreed)
        out["agreed"] = {{"step", run.agreed->step.value}, {"value", run.agreed->value.hex()}, {"nodes", run.agreed_by}};
    out["waiting_for"] = Json::array();
    for (const WaitingFor& one : run.waiting_for) {
        out["waiting_for"].push_back({{"node", name_of(run, one.node)},
                                      {"node_id", one.node.is_zero() ? "" : one.node.hex()},
                                      {"phase", one.phase},
                                      {"since_ms", one.since_ms}});
    }
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    out["nodes"] = Json::array();
    for (const NodeStatus& node : run.nodes) {
        sent += node.sent_bytes;
        received += node.received_bytes;
        out["nodes"].push_back(to_json(node, run));
    }
    out["sent_bytes"] = sent;
    out["received_bytes"] = received;
    return out;
}

}  // namespace skerry::coordinator
