#include "node/metrics/node_status.hpp"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "protocol/observe/messages_json.hpp"
#include "protocol/wire/words.hpp"

namespace skerry::node {
namespace {

using nlohmann::json;
constexpr std::size_t kDigestsKept = 1000;

std::string_view to_text(Phase phase) {
    switch (phase) {
        case Phase::joining: return "joining";
        case Phase::behind: return "behind";
        case Phase::work: return "work";
        case Phase::ready: return "ready";
        case Phase::exchange: return "exchange";
        case Phase::prepared: return "prepared";
    }
    return "joining";
}

json to_json(const std::vector<WaitingFor>& waiting, const std::vector<PeerStatus>& peers) {
    json out = json::array();
    for (const WaitingFor& one : waiting) {
        std::string name;
        for (const PeerStatus& peer : peers) {
            if (peer.node == one.node) name = peer.name;
        }
        out.push_back({{"node", name},
                       {"node_id", one.node.is_zero() ? "" : one.node.hex()},
                       {"phase", one.phase},
                       {"since_ms", one.since_ms}});
    }
    return out;
}

json to_json(const std::vector<PeerStatus>& peers, const NodeId& self) {
    json out = json::array();
    for (const PeerStatus& peer : peers) {
        if (peer.node == self) continue;
        out.push_back({{"name", peer.name},
                       {"node_id", peer.node.hex()},
                       {"state", to_word(peer.state)},
                       {"address", peer.address},
                       {"connected", peer.connected},
                       {"sent_bytes", peer.sent_bytes},
                       {"received_bytes", peer.received_bytes}});
    }
    return out;
}

json to_json(const TrainedSoFar& done) {
    return {{"steps", done.steps}, {"sequences", done.sequences}, {"tokens", done.tokens}};
}

}  // namespace

std::string_view phase_text(const NodeView& view, const StatusFacts& facts) {
    if (facts.member_state == NodeState::leaving) return "leaving";
    if (!view.welcomed) return facts.connected ? "joining" : "connecting";
    if (view.phase == Phase::work && view.run_state == RunState::stopped) return "ended";
    if (facts.follow && view.phase == Phase::work) return "follow";
    const bool spectates = view.phase == Phase::ready && view.ready && view.ready->segments.empty();
    if (facts.paused && (view.phase == Phase::work || spectates)) return "paused";
    if (view.phase == Phase::work && view.run_state != RunState::running) return "idle";
    return to_text(view.phase);
}

void StatusBook::note_digest(Step step, const Digest& digest) {
    auto at = std::lower_bound(digests_.begin(), digests_.end(), step,
                               [](const StateDigest& have, Step k) { return have.step < k; });
    if (at != digests_.end() && at->step == step) at->value = digest;
    else digests_.insert(at, {step, digest});
    if (digests_.size() > kDigestsKept) digests_.pop_front();
}

void StatusBook::note_heldout(Step step, double loss) { heldout_ = {step, loss}; }

void StatusBook::note_traffic(std::uint64_t sent, std::uint64_t received) {
    sent_bytes_ = sent;
    received_bytes_ = received;
}

std::string StatusBook::to_json(const NodeView& view, const StatusFacts& facts) const {
    json out = {{"schema", "skerry.node-status/1"},
                {"run", facts.run_name},
                {"run_id", facts.run.hex()},
                {"name", facts.node_name},
                {"node_id", facts.self.hex()},
                {"site", facts.site},
                {"pid", getpid()},
                {"version", SKERRY_VERSION},
                {"coordinator", facts.coordinator},
                {"connected", facts.connected},
                {"phase", phase_text(view, facts)},
                {"member_state", to_word(facts.member_state)},
                {"run_state", to_word(view.run_state)},
                {"paused", facts.paused},
                {"term", view.term.value},
                {"epoch", view.epoch.value},
                {"incarnation", view.incarnation.value},
                {"head", view.head.value},
                {"h_head", view.h_head.hex()},
                {"run_head", view.orders.head.value},
                {"tokens", view.tokens},
                {"tokens_total", facts.target_tokens},
                {"round_remaining_ms", view.orders.round_remaining_ms},
                {"trainer", to_word(view.trainer)},
                {"trainer_pid", facts.trainer_pid},
                {"trainer_restarts", facts.trainer_restarts},
                {"inner_step", alive_.round_steps},
                {"tokens_per_s", alive_.tokens_per_s},
                {"loss", alive_.last_loss},
                {"next", facts.connected ? view.orders.next : "dials " + facts.coordinator + " again"},
                {"hold_reason", facts.connected ? view.orders.hold_reason : ""},
                {"waiting", view.waiting_for},
                {"waiting_ms", view.waiting.count()},
                {"sent_bytes", sent_bytes_},
                {"received_bytes", received_bytes_},
                {"data_port", facts.data_port},
                {"metrics_port", facts.metrics_port},
                {"oldest_entry", facts.oldest_entry.value},
                {"disk_bytes", facts.disk_bytes},
                {"disk_full", facts.disk_full}};
    out["shards"] = {{"fetched_bytes", facts.shards.fetched}, {"from_peers_bytes", facts.shards.from_peers}, {"given_bytes", facts.shards.given}};
    out["model"] = nullptr;
    if (facts.mirror) {
        out["model"] = {{"folder", facts.mirror->folder.string()}, {"step", facts.mirror->step.value}, {"written", facts.mirror->written}};
        out["model"]["error"] = facts.mirror->error ? json(facts.mirror->error->detail) : json(nullptr);
    }
    out["heldout"] = heldout_ ? json{{"step", heldout_->first.value}, {"loss", heldout_->second}} : json(nullptr);
    out["pause"] = json::parse(facts.pause_json);
    out["limits"] = json::parse(facts.limits_json);
    out["trainer_failures"] = view.local.failures;
    out["trainer_retry_ms"] = view.local.retry_in.count();
    out["trainer_error"] = view.local.error;
    out["trainer_setup"] = json::parse(facts.setup_json);
    out["delta"] = node::to_json(view.local.delta);
    out["progress"] = node::to_json(view.local.saved);
    out["progress"]["age_ms"] = view.local.saved_age.count();
    out["progress"]["every_ms"] = view.local.save_every.count();
    out["progress"]["restored_steps"] = view.local.restored_steps;
    // What the coordinator said last is old news while it cannot be heard.
    out["waiting_for"] = facts.connected ? node::to_json(view.orders.waiting_for, facts.peers) : json::array();
    out["leases"] = json::array();
    for (const LeaseInfo& lease : view.leases) out["leases"].push_back({{"id", lease.id.value}, {"from", lease.done}, {"to", lease.hi}});
    out["peers"] = node::to_json(facts.peers, facts.self);
    out["contribution"] = skerry::to_json(view.orders.contribution);
    out["digests"] = json::array();
    for (const StateDigest& digest : digests_)
        out["digests"].push_back({{"step", digest.step.value}, {"value", digest.value.hex()}});
    out["snapshots"] = json::array();
    for (Step step : facts.snapshots) out["snapshots"].push_back(step.value);
    out["refetched"] = {{"entries", facts.refetched_entries},
                        {"snapshot_blocks", facts.refetched_blocks},
                        {"shard_blocks", facts.refetched_shards}};
    out["log"] = {{"missing", view.care.missing},
                  {"damaged", view.care.damaged},
                  {"scrubs", view.care.rounds},
                  {"scrubbed_bytes", view.care.read_bytes}};
    out["refused"] = {{"zap", facts.refused_zap}, {"roster", facts.refused_roster}, {"too_large", facts.refused_too_large}};
    out["watchdog"] = {{"bundles", facts.watchdog.bundles}, {"last", facts.watchdog.last}, {"reason", facts.watchdog.reason}};
    out["error"] = facts.error ? json{{"code", to_name(facts.error->code)},
                                      {"message", facts.error->detail},
                                      {"fix", facts.error->fix}}
                               : json(nullptr);
    return out.dump();
}

}  // namespace skerry::node
