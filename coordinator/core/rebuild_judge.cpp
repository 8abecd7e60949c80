// What the answers come to: who is a member, which chain is the run's, and whether it is enough.

#include <algorithm>

#include "coordinator/core/context.hpp"
#include "coordinator/core/rebuild.hpp"
#include "coordinator/core/rebuild_rows.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::coordinator {

namespace {

bool names(const Roster& roster, const NodeId& node) {
    return std::any_of(roster.nodes.begin(), roster.nodes.end(), [&](const RosterEntry& entry) { return entry.node == node; });
}

RosterEntry entry_of(const NodeId& node, const PublicKey& key, const Hello& hello) {
    RosterEntry entry;
    entry.node = node;
    entry.key = key;
    entry.name = hello.node_name;
    entry.site = hello.site;
    return entry;
}

std::string label(const NodeId& node, const std::string& name) { return name + " (" + node.short_hex() + ")"; }

}  // namespace

std::size_t RebuildDesk::copies() const { return safe_copies(manifest_); }

Digest RebuildDesk::h_at(Step step) const {
    return step.value == 0 ? chain_start(body_digest(run_.manifest)) : chain_[step.value - 1].h_after;
}

Step RebuildDesk::longest() const {
    Step out;
    for (const auto& [id, holder] : holders_)
        if (answered(holder) && !holder.wrong) out = std::max(out, holder.facts->known);
    return out;
}

bool RebuildDesk::named_by_others(const NodeId& node) const {
    return std::any_of(holders_.begin(), holders_.end(), [&](const auto& item) {
        return item.first != node && item.second.roster && names(*item.second.roster, node);
    });
}

/// Who holds the newest roster. One that this service key signed goes before any other: in a folder from a backup, or in
/// a second drill, nobody can make one up.
const RebuildDesk::Holder* RebuildDesk::newest() const {
    const Holder* best = nullptr;
    auto rank = [](const Holder& h) { return std::pair(h.genuine, h.roster->epoch); };
    for (const auto& [id, holder] : holders_)
        if (answered(holder) && (!best || rank(holder) > rank(*best))) best = &holder;
    return best;
}

bool RebuildDesk::follows(const NodeId& node) const {
    if (const Holder* holder = newest())
        for (const RosterEntry& entry : holder->roster->nodes)
            if (entry.node == node) return entry.state == NodeState::following;
    auto at = holders_.find(node);
    return at != holders_.end() && at->second.hello.follow;
}

/// Those that count: the nodes of the newest roster, and those that the operator named and that hold the run. Whoever only an older roster
/// names has left since, was away, or was revoked.
std::map<NodeId, RosterEntry> RebuildDesk::members() const {
    std::map<NodeId, RosterEntry> out;
    if (const Holder* holder = newest())
        for (const RosterEntry& entry : holder->roster->nodes)
            if (node_id_of(entry.key) == entry.node && entry.state != NodeState::following) out.emplace(entry.node, entry);
    if (!confirmed_) return out;
    for (const auto& [id, holder] : holders_)
        if (answered(holder) && !follows(id)) out.emplace(id, entry_of(id, holder.key, holder.hello));
    return out;
}

std::map<NodeId, RosterEntry> RebuildDesk::followers() const {
    std::map<NodeId, RosterEntry> out;
    if (const Holder* holder = newest())
        for (const RosterEntry& entry : holder->roster->nodes)
            if (node_id_of(entry.key) == entry.node && entry.state == NodeState::following) out.emplace(entry.node, entry);
    for (const auto& [id, holder] : holders_) {
        if (!answered(holder) || !follows(id)) continue;
        auto [at, fresh] = out.emplace(id, entry_of(id, holder.key, holder.hello));
        if (fresh) at->second.state = NodeState::following;
    }
    return out;
}

/// Named by the operator, but not known here to be of the run: it may have votes all the same, so it is missing.
std::set<NodeId> RebuildDesk::named_unknown(const std::map<NodeId, RosterEntry>& known) const {
    std::set<NodeId> out;
    for (const NodeId& id : named_)
        if (!known.contains(id) && !follows(id)) out.insert(id);
    return out;
}

std::string RebuildDesk::find_fork() const {
    if (run_.manifest.empty()) return {};
    for (const auto& [id, holder] : holders_) {
        if (!answered(holder) || holder.facts->known.value > chain_.size() || h_at(holder.facts->known) == holder.facts->h_known) continue;
        return "at step " + std::to_string(holder.facts->known.value) + " " + label(id, holder.hello.node_name) + " has the chain " +
               holder.facts->h_known.hex() + ", the longest one is " + h_at(holder.facts->known).hex();
    }
    // Others may have what this one cannot give.
    if (chain_.size() < longest().value) return {};
    for (const auto& [id, holder] : holders_)
        if (holder.wrong && answered(holder) && holder.facts->known.value > chain_.size())
            return label(id, holder.hello.node_name) + " gave decisions that do not continue the chain " + h_at(Step{chain_.size()}).hex() +
                   " of step " + std::to_string(chain_.size());
    return {};
}

/// What as many nodes know as an entry has copies needs no proof. Above that, the votes must be of nodes that others
/// know: anybody can make up keys, and decisions that they sign.
std::string RebuildDesk::find_unproven() const {
    std::vector<Step> known;
    for (const auto& [id, holder] : holders_)
        if (answered(holder) && !holder.wrong && !follows(id)) known.push_back(holder.facts->known);
    if (known.empty()) return {};
    std::sort(known.rbegin(), known.rend());
    const Step agreed = known[std::min(copies(), known.size()) - 1];
    if (agreed.value >= chain_.size()) return {};
    std::set<NodeId> credited;
    for (std::size_t k = 0; k < agreed.value; ++k)
        for (const Credit& credit : chain_[k].credits) credited.insert(credit.node);
    auto vouched = [&](const NodeId& voter, const NodeId& giver) {
        if (credited.contains(voter)) return true;
        return std::any_of(holders_.begin(), holders_.end(), [&](const auto& item) {
            const Holder& holder = item.second;
            return answered(holder) && (item.first != giver || holder.genuine) && names(*holder.roster, voter);
        });
    };
    for (std::size_t k = agreed.value; k < chain_.size(); ++k) {
        const auto voters = voters_of(records_[k], chain_[k]);
        const auto proven = std::count_if(voters.begin(), voters.end(), [&](const NodeId& v) { return vouched(v, given_by_[k]); });
        if (static_cast<std::size_t>(proven) >= copies()) continue;
        return "step " + std::to_string(k) + " is known from " + label(given_by_[k], holders_.at(given_by_[k]).hello.node_name) +
               ", and fewer than " + std::to_string(copies()) + " nodes that others know have signed it";
    }
    return {};
}

RebuildStatus RebuildDesk::status() const {
    RebuildStatus s;
    s.term = term_;
    const auto all = members();
    for (const auto& [id, entry] : all)
        if (!holders_.contains(id)) s.nodes.push_back({id, entry.name, true});
    for (const NodeId& id : named_) {
        auto holder = holders_.find(id);
        if (holder == holders_.end() || !has_heard(holder->second)) ++s.unheard;
        if (holder == holders_.end() && !all.contains(id) && !follows(id)) s.nodes.push_back({id, {}, true});
    }
    for (const auto& [id, holder] : holders_) {
        const bool here = answered(holder);
        s.nodes.push_back({id, holder.hello.node_name, all.contains(id) || (confirmed_ && !follows(id)), here, here ? holder.facts->known : Step{},
                           here && !holder.facts->prepared.empty(), has_heard(holder) && !holder.roster});
        if (all.contains(id) && here) ++s.answered;
        if (holder.asked) s.asking = true;
    }
    s.members = all.size() + named_unknown(all).size();
    s.needed = run_.manifest.empty() ? s.members : s.members - std::min(s.members, copies()) + 1;
    s.head = Step{chain_.size()};
    s.whole = !run_.manifest.empty() && chain_.size() >= longest().value;
    s.fork = find_fork();
    if (s.whole) s.unproven = find_unproven();
    return s;
}

Result<Rebuilt> RebuildDesk::finish(bool accept_loss, bool paused) const {
    const RebuildStatus now = status();
    if (!now.fork.empty()) return fail(Errc::bad_state, "two chains differ: " + now.fork, "name your nodes with --confirm and leave the wrong one off");
    if (!now.whole || now.members == 0)
        return fail(Errc::bad_state, "no node that answered holds the run's manifest and chain", "wait for more nodes");
    if (!now.unproven.empty()) return fail(Errc::bad_state, now.unproven, "start more nodes, or name those that you trust with --confirm");
    const auto roster = members();
    RebuildRows rows(run_, manifest_, term_, signing_);
    std::size_t here = 0;
    std::string missing;
    for (const auto& [id, entry] : roster) {
        auto at = holders_.find(id);
        const Holder* holder = at != holders_.end() && answered(at->second) ? &at->second : nullptr;
        rows.add_node(entry, holder ? &holder->hello : nullptr, holder ? &*holder->facts : nullptr);
        if (holder) ++here;
        else missing += (missing.empty() ? "" : ", ") + label(id, entry.name);
    }
    for (const auto& [id, entry] : followers()) {
        auto at = holders_.find(id);
        const bool heard = at != holders_.end() && answered(at->second);
        rows.add_node(entry, heard ? &at->second.hello : nullptr, heard ? &*at->second.facts : nullptr);
    }
    const auto unknown = named_unknown(roster);
    for (const NodeId& id : unknown) missing += (missing.empty() ? "" : ", ") + id.short_hex();
    const bool enough = here + copies() > roster.size() + unknown.size();
    if (here == 0 || (!enough && !accept_loss))
        return fail(Errc::bad_state,
                    "nodes of the newest roster that did not answer: " + missing + "; a step that was decided may be known to them alone",
                    "start them and wait, or accept the loss with --accept-loss");
    for (std::size_t k = 0; k < records_.size(); ++k) rows.add_decision(chain_[k], records_[k]);
    return rows.finish(!enough, paused);
}

}  // namespace skerry::coordinator
