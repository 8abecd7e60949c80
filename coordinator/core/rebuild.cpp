#include "coordinator/core/rebuild.hpp"

#include <algorithm>

#include "coordinator/core/rebuild_rows.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

namespace {
}  // namespace

// ------------------------------------------------------------------------------------------ what comes in

Actions RebuildDesk::hello(const HelloReceived& event) {
    Actions out;
    const bool other = event.hello.run_name != run_name_;
    const bool unknown = !only_.empty() && !only_.contains(event.node);
    const bool full = !holders_.contains(event.node) && holders_.size() >= kMaxNodes;
    const bool old = event.hello.versions.max < kVersionOfChanges;
    if (other || unknown || full || old) {
        // Its agent goes on trying, and is heard once it is newer.
        Refusal why{Errc::bad_state, "this coordinator is being rebuilt for " + (other ? "run " + run_name_ : "nodes that its operator named"),
                    "try again later", 0};
        if (old && !other && !unknown && !full) {
            why.reason = "this coordinator is being rebuilt, and a node of protocol 1.0 cannot say what it holds";
            why.fix = "install a newer skerry-node, so that its copy counts";
        }
        out.push_back(Send{event.session, {{}, term_, {}, 1, std::move(why)}});
        out.push_back(Close{event.session});
        return out;
    }
    Holder& holder = holders_[event.node];
    if (holder.session) {
        sessions_.erase(*holder.session);
        out.push_back(Close{*holder.session});
    }
    holder.node = event.node;
    holder.key = event.key;
    holder.hello = event.hello;
    holder.session = event.session;
    holder.seq = holder.heard = 0;
    sessions_[event.session] = event.node;
    if (asked_ && !sessions_.contains(asked_->first)) asked_.reset();
    if (event.hello.seen_term > term_ || term_.value == 0) {
        // Whoever answered before has stored a lower one: it is asked again.
        term_ = Term{event.hello.seen_term.value + kRebuildTermStep};
        for (auto& [id, each] : holders_) {
            each.facts.reset();
            if (each.session) ask(each, RebuildPart::facts, {}, out);
        }
    } else {
        ask(holder, RebuildPart::facts, {}, out);
    }
    return out;
}

Actions RebuildDesk::message(const MessageReceived& event) {
    Actions out;
    auto at = sessions_.find(event.session);
    if (at == sessions_.end()) return out;
    Holder& holder = holders_.at(at->second);
    const auto* answer = std::get_if<RebuildAnswer>(&event.message.body);
    if (answer == nullptr || event.message.term != term_ || answer->term != term_ || event.message.seq <= holder.heard)
        return out;
    holder.heard = event.message.seq;
    if (answer->part == RebuildPart::facts) {
        holder.facts = *answer;
        auto roster = parse_roster(answer->roster.body);
        if (roster) holder.roster = std::move(*roster);
    } else if (asked_ && asked_->first == event.session) {
        const std::size_t before = records_.size() + run_.manifest.size();
        if (answer->part == RebuildPart::manifest) take_manifest(*answer);
        else take_records(*answer);
        if (records_.size() + run_.manifest.size() == before) bad_.insert(holder.node);
        asked_.reset();
    }
    pump(out);
    return out;
}

Actions RebuildDesk::closed(SessionId session) {
    Actions out;
    auto at = sessions_.find(session);
    if (at == sessions_.end()) return out;
    Holder& holder = holders_.at(at->second);
    if (holder.session == session) holder.session.reset();
    sessions_.erase(at);
    if (asked_ && asked_->first == session) asked_.reset();
    pump(out);
    return out;
}

void RebuildDesk::ask(Holder& holder, RebuildPart part, Step from, Actions& out) {
    out.push_back(Send{*holder.session, {{}, term_, {}, ++holder.seq, RebuildAsk{term_, part, from}}});
}

/// Manifest, then the longest chain, from whoever has it and is here.
void RebuildDesk::pump(Actions& out) {
    if (asked_) return;
    const bool want_manifest = run_.manifest.empty();
    if (!want_manifest && chain_.size() >= longest().value) return;
    const Step have{chain_.size()};
    Holder* from = source(want_manifest ? Step{} : have.next());
    if (from == nullptr) return;
    const RebuildPart part = want_manifest ? RebuildPart::manifest : RebuildPart::decisions;
    asked_ = {*from->session, part};
    ask(*from, part, have, out);
}

RebuildDesk::Holder* RebuildDesk::source(Step wanted) {
    for (auto& [id, holder] : holders_)
        if (holder.session && holder.facts && !bad_.contains(id) && holder.roster && holder.facts->known >= wanted)
            return &holder;
    return nullptr;
}

void RebuildDesk::take_manifest(const RebuildAnswer& answer) {
    auto manifest = parse_manifest(answer.manifest);
    if (!manifest || manifest->name != run_name_ || sha256(answer.data_manifest) != manifest->data_manifest) return;
    run_ = {answer.manifest, answer.data_manifest};
    manifest_ = std::move(*manifest);
}

void RebuildDesk::take_records(const RebuildAnswer& answer) {
    for (const SignedDecision& record : answer.records) {
        auto decision = parse_decision(record.decision.body);
        const bool next = decision && decision->run == manifest_.run && decision->step.value == chain_.size();
        if (!next || chain_next(h_at(decision->step), *decision) != decision->h_after || !co_signed(record, *decision)) return;
        records_.push_back(record);
        chain_.push_back(std::move(*decision));
    }
}

/// Enough nodes have signed what the chain is after it. The service key's signature proves nothing here: it may be the
/// one that was lost.
bool RebuildDesk::co_signed(const SignedDecision& record, const Decision& decision) const {
    std::set<NodeId> voters;
    for (const VoterSignature& v : record.voters)
        if (node_id_of(v.key) == v.node && signing_.verify_vote(v.key, decision.h_after, v.signature)) voters.insert(v.node);
    return voters.size() >= std::max(1U, std::min(manifest_.durable_copies, manifest_.min_nodes));
}

// ------------------------------------------------------------------------------------------------- judging

Digest RebuildDesk::h_at(Step step) const {
    return step.value == 0 ? chain_start(body_digest(run_.manifest)) : chain_[step.value - 1].h_after;
}

Step RebuildDesk::longest() const {
    Step out;
    for (const auto& [id, holder] : holders_)
        if (holder.facts && !bad_.contains(id)) out = std::max(out, holder.facts->known);
    return out;
}

std::map<NodeId, RosterEntry> RebuildDesk::members(const std::set<NodeId>* confirmed) const {
    std::map<NodeId, std::pair<Epoch, RosterEntry>> newest;
    for (const auto& [id, holder] : holders_) {
        if (!holder.roster || (confirmed && !confirmed->contains(id))) continue;
        for (const RosterEntry& entry : holder.roster->nodes) {
            auto [at, fresh] = newest.try_emplace(entry.node, holder.roster->epoch, entry);
            if (!fresh && holder.roster->epoch > at->second.first) at->second = {holder.roster->epoch, entry};
        }
    }
    std::map<NodeId, RosterEntry> out;
    for (auto& [id, entry] : newest) out[id] = std::move(entry.second);
    return out;
}

std::string RebuildDesk::find_fork() const {
    for (const auto& [id, holder] : holders_) {
        if (!holder.facts || run_.manifest.empty() || holder.facts->known.value > chain_.size()) continue;
        if (h_at(holder.facts->known) == holder.facts->h_known || !holder.roster) continue;
        return "at step " + std::to_string(holder.facts->known.value) + " " + holder.hello.node_name + " (" + id.short_hex() +
               ") has the chain " + holder.facts->h_known.hex() + ", the longest one is " + h_at(holder.facts->known).hex();
    }
    for (const NodeId& id : bad_)
        return holders_.at(id).hello.node_name + " (" + id.short_hex() + ") gave decisions that do not continue the chain " +
               h_at(Step{chain_.size()}).hex() + " of step " + std::to_string(chain_.size());
    return {};
}

RebuildStatus RebuildDesk::status() const {
    RebuildStatus s;
    s.term = term_;
    const auto all = members(nullptr);
    for (const auto& [id, entry] : all)
        if (!holders_.contains(id)) s.nodes.push_back({id, entry.name, true, false, {}, false});
    for (const auto& [id, holder] : holders_) {
        const bool member = all.contains(id);
        const bool answered = holder.facts.has_value();
        s.nodes.push_back({id, holder.hello.node_name, member, answered, answered ? holder.facts->known : Step{},
                           answered && !holder.facts->prepared.empty()});
        if (member && answered) ++s.answered;
    }
    s.members = all.size();
    const std::size_t copies = std::max(1U, std::min(manifest_.durable_copies, manifest_.min_nodes));
    s.needed = run_.manifest.empty() ? s.members : s.members - std::min(s.members, copies) + 1;
    s.head = Step{chain_.size()};
    s.whole = !run_.manifest.empty() && chain_.size() >= longest().value;
    s.fork = find_fork();
    return s;
}

Result<Rebuilt> RebuildDesk::finish(const std::set<NodeId>& confirmed, bool accept_loss) const {
    const RebuildStatus now = status();
    if (!now.fork.empty()) return fail(Errc::bad_state, "two chains differ: " + now.fork, "revoke the node that is wrong: leave it off");
    if (!now.whole || now.members == 0)
        return fail(Errc::bad_state, "no node that answered holds the run's manifest and chain", "wait for more nodes");
    const auto roster = members(&confirmed);
    RebuildRows rows(run_, manifest_, term_, signing_);
    std::size_t answered = 0;
    std::string missing;
    for (const auto& [id, entry] : roster) {
        auto holder = holders_.find(id);
        const bool here = confirmed.contains(id) && holder != holders_.end() && holder->second.facts;
        rows.add_node(entry, here ? &holder->second.hello : nullptr, here ? &*holder->second.facts : nullptr);
        if (here) ++answered;
        else missing += (missing.empty() ? "" : ", ") + entry.name + " (" + id.short_hex() + ")";
    }
    const std::size_t copies = std::max(1U, std::min(manifest_.durable_copies, manifest_.min_nodes));
    const bool enough = answered + copies > roster.size();
    if (answered == 0 || (!enough && !accept_loss))
        return fail(Errc::bad_state,
                    "nodes of the rosters that did not answer: " + missing + "; a step that was decided may be known to them alone",
                    "start them and wait, or accept the loss with --accept-loss");
    for (std::size_t k = 0; k < records_.size(); ++k) rows.add_decision(chain_[k], records_[k]);
    return rows.finish(!enough);
}

}  // namespace skerry::coordinator
