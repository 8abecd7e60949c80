#include "protocol/observe/messages_json.hpp"

#include <nlohmann/json.hpp>

#include "protocol/wire/words.hpp"

namespace skerry {
namespace {

using Json = nlohmann::json;

Json steps(const std::vector<Step>& list) {
    Json out = Json::array();
    for (Step step : list) out.push_back(step.value);
    return out;
}

Json ids(const std::vector<NodeId>& list) {
    Json out = Json::array();
    for (const NodeId& id : list) out.push_back(id.short_hex());
    return out;
}

Json segments(const std::vector<Segment>& list) {
    Json out = Json::array();
    for (const Segment& s : list) out.push_back({{"lease", s.lease.value}, {"from", s.from}, {"to", s.to}});
    return out;
}

}  // namespace

Json to_json(const Orders& o) {
    Json out{{"run_state", to_word(o.run_state)},
             {"head", o.head.value},
             {"h_head", o.h_head.short_hex()},
             {"tokens", o.tokens_committed},
             {"epoch", o.epoch.value},
             {"floor", o.floor.value},
             {"planned_participants", o.planned_participants},
             {"round_remaining_ms", o.round_remaining_ms},
             {"edge_patience_ms", o.edge_patience_ms},
             {"data_ended", o.data_ended},
             {"hold_reason", o.hold_reason},
             {"next", o.next},
             {"dial", ids(o.dial)},
             {"new_decisions", o.decisions.size()}};
    out["plan"] = o.plan ? Json(o.plan->digest.short_hex()) : Json(nullptr);
    out["leases"] = Json::array();
    for (const LeaseInfo& l : o.leases)
        out["leases"].push_back({{"lease", l.id.value}, {"lo", l.lo}, {"hi", l.hi}, {"done", l.done}, {"pinned", l.pinned}});
    out["requests"] = Json::array();
    for (const OrderRequest& r : o.requests) out["requests"].push_back({{"ask", static_cast<int>(r.ask)}, {"step", r.step.value}});
    out["holders"] = Json::array();
    for (const Holder& h : o.holders)
        out["holders"].push_back({{"peer", h.node.short_hex()}, {"oldest_entry", h.oldest_entry.value}, {"head", h.head.value}, {"snapshots", steps(h.snapshots)}});
    out["waiting_for"] = Json::array();
    for (const WaitingFor& w : o.waiting_for)
        out["waiting_for"].push_back({{"peer", w.node.is_zero() ? "" : w.node.short_hex()}, {"phase", w.phase}, {"since_ms", w.since_ms}});
    return out;
}

Json to_json(const Report& r) {
    Json out{{"head", r.head.value},
             {"h_head", r.h_head.short_hex()},
             {"log_synced_to", r.log_synced_to.value},
             {"epoch", r.epoch.value},
             {"snapshots", steps(r.snapshots)},
             {"oldest_entry", r.oldest_entry.value},
             {"trainer", to_word(r.trainer)},
             {"inner_step", r.inner_step},
             {"tokens_per_s", r.tokens_per_s},
             {"loss", r.loss},
             {"paused", r.paused},
             {"disk_full", r.disk_full},
             {"unreachable", ids(r.unreachable)},
             {"sent_bytes", r.sent_bytes},
             {"received_bytes", r.received_bytes}};
    out["ready"] = nullptr;
    if (r.ready)
        out["ready"] = {{"step", r.ready->step.value}, {"contribution", r.ready->contribution.short_hex()}, {"tokens", r.ready->weight_tokens},
                        {"segments", segments(r.ready->segments)}, {"norm", r.ready->norm}, {"loss", r.ready->loss}, {"finite", r.ready->finite}};
    out["exchange"] = nullptr;
    if (r.exchange) {
        const ExchangeState& x = *r.exchange;
        Json stalled = Json::array();
        for (const StalledEdge& e : x.stalled)
            stalled.push_back({{"from", e.from.short_hex()}, {"object", e.contribution ? "contribution" : "result"}, {"waited_ms", e.waited_ms}});
        out["exchange"] = {{"plan", x.plan.short_hex()}, {"contributions_have", x.contributions_have}, {"contributions_need", x.contributions_need},
                           {"results_have", x.results_have}, {"results_need", x.results_need}, {"gone", ids(x.gone)}, {"stalled", stalled}};
    }
    out["prepared"] = nullptr;
    if (r.prepared)
        out["prepared"] = {{"plan", r.prepared->plan.short_hex()}, {"root", r.prepared->root.short_hex()}, {"durable", r.prepared->durable}};
    return out;
}

Json to_json(const std::optional<Contribution>& c) {
    if (!c) return nullptr;
    return {{"tokens", c->tokens},
            {"share", c->tokens_of_all == 0 ? 0.0 : static_cast<double>(c->tokens) / static_cast<double>(c->tokens_of_all)},
            {"steps", c->steps},
            {"steps_here", c->steps_here},
            {"rank", c->rank},
            {"ranked", c->ranked},
            {"sent_bytes", c->sent_bytes},
            {"received_bytes", c->received_bytes},
            {"active_ms", c->active_ms},
            {"since_unix_s", c->since_unix_s}};
}

}  // namespace skerry
