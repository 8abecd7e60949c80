#include "coordinator/core/rebuild.hpp"

#include <algorithm>

#include "protocol/identity/keys.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

namespace {

/// What a node may claim to have seen: numbers never wrap around.
constexpr std::uint64_t kMaxClaimed = std::uint64_t{1} << 40;
constexpr std::uint64_t kMaxLeaseClaimed = std::uint64_t{1} << 62;
/// Questions that are out at once; each lets one node send a large frame.
constexpr std::size_t kAtOnce = 16;
constexpr Millis kAnswerPatience{20'000};

/// What the list needs of a node that nobody has confirmed.
void slim(RebuildAnswer& facts, std::optional<Roster>& roster) {
    facts.roster.body = {};
    facts.snapshots = {};
    for (HeldPlan& held : facts.prepared) held.body = {};
    if (!roster) return;
    for (RosterEntry& entry : roster->nodes) entry.addresses = {};
}

}  // namespace

// ------------------------------------------------------------------------------------------ what comes in

std::optional<Refusal> RebuildDesk::refusal(const HelloReceived& event) const {
    const Hello& hello = event.hello;
    auto refuse = [](std::string why, std::string fix) { return Refusal{Errc::bad_state, "this coordinator is being rebuilt" + why, std::move(fix), 0}; };
    if (hello.run_name != run_name_) return refuse(" for run " + run_name_, "try again later");
    if (confirmed_ && !named_.contains(event.node)) return refuse(" from nodes that its operator named", "try again later");
    // Its agent goes on trying, and is heard once it is newer.
    if (hello.versions.max < kVersionOfChanges)
        return refuse(", and a node of protocol 1.0 cannot say what it holds", "install a newer skerry-node, so that its copy counts");
    if (hello.seen_term.value > kMaxClaimed || hello.seen_epoch.value > kMaxClaimed)
        return refuse(", and this node names a term or an epoch that no coordinator can have reached", "join again with a token");
    if (!holders_.contains(event.node) && holders_.size() >= kMaxNodes)
        return refuse(", and " + std::to_string(kMaxNodes) + " nodes have dialled already", "the operator names the run's nodes with --confirm");
    return {};
}

Actions RebuildDesk::hello(const HelloReceived& event) {
    Actions out;
    if (auto why = refusal(event)) {
        out.push_back(Send{event.session, {{}, term_, {}, 1, std::move(*why)}});
        out.push_back(Close{event.session});
        return out;
    }
    Holder& holder = holders_[event.node];
    forget(holder, out);
    holder.node = event.node;
    holder.key = event.key;
    holder.hello = event.hello;
    holder.session = event.session;
    holder.seq = holder.heard = 0;
    sessions_[event.session] = event.node;
    if (confirmed_) raise_term(event.hello.seen_term);
    pump(out);
    return out;
}

Actions RebuildDesk::message(const MessageReceived& event) {
    Actions out;
    auto at = sessions_.find(event.session);
    const auto* answer = std::get_if<RebuildAnswer>(&event.message.body);
    if (at == sessions_.end() || answer == nullptr) return out;
    Holder& holder = holders_.at(at->second);
    const bool fits = holder.asked && answer->part == holder.asked->part && answer->term == holder.asked->term &&
                      event.message.term == holder.asked->term && event.message.seq > holder.heard;
    if (!fits) return out;
    holder.heard = event.message.seq;
    holder.asked.reset();
    bool good = false;
    if (answer->part == RebuildPart::facts) good = take_facts(holder, *answer);
    else good = answer->part == RebuildPart::manifest ? take_manifest(*answer) : take_records(holder.node, *answer);
    if (!good) holder.wrong = true;
    pump(out);
    return out;
}

Actions RebuildDesk::closed(SessionId session) {
    Actions out;
    auto at = sessions_.find(session);
    if (at == sessions_.end()) return out;
    Holder& holder = holders_.at(at->second);
    holder.session.reset();
    holder.asked.reset();
    sessions_.erase(at);
    prune();
    pump(out);
    return out;
}

Actions RebuildDesk::tick(Mono now) {
    Actions out;
    for (auto& [id, holder] : holders_) {
        if (!holder.asked) continue;
        if (!holder.asked->since) holder.asked->since = now;
        if (now - *holder.asked->since < kAnswerPatience) continue;
        ++holder.failed;
        forget(holder, out);
    }
    prune();
    pump(out);
    return out;
}

/// A stranger that is gone takes no place; a node that others name is back in a moment.
void RebuildDesk::prune() {
    if (confirmed_) return;
    std::erase_if(holders_, [&](const auto& item) { return !item.second.session && !named_by_others(item.first); });
}

Actions RebuildDesk::confirm(std::set<NodeId> nodes) {
    Actions out;
    confirmed_ = true;
    named_ = std::move(nodes);
    Term seen;
    for (auto& [id, holder] : holders_) {
        if (named_.contains(id)) seen = std::max(seen, holder.hello.seen_term);
        else forget(holder, out);
    }
    raise_term(seen);
    std::erase_if(holders_, [&](const auto& item) { return !named_.contains(item.first); });
    pump(out);
    return out;
}

/// Its session ends, if it has one.
void RebuildDesk::forget(Holder& holder, Actions& out) {
    holder.asked.reset();
    if (!holder.session) return;
    sessions_.erase(*holder.session);
    out.push_back(Close{*holder.session});
    holder.session.reset();
}

/// Whoever answered in a lower one has stored that: pump() asks it again.
void RebuildDesk::raise_term(Term seen) {
    if (seen > term_ || term_.value == 0) term_ = Term{seen.value + kRebuildTermStep};
}

// ------------------------------------------------------------------------------------------------- asking

void RebuildDesk::ask(Holder& holder, RebuildPart part, Step from, Actions& out) {
    // A node is held to the new term by its confirmation alone.
    const Term term = confirmed_ ? term_ : holder.hello.seen_term;
    holder.asked = Question{term, part, {}};
    out.push_back(Send{*holder.session, {{}, term, {}, ++holder.seq, RebuildAsk{term, part, from}}});
}

bool RebuildDesk::has_heard(const Holder& holder) const {
    return holder.facts && (!confirmed_ || holder.facts->term == term_);
}

void RebuildDesk::pump(Actions& out) {
    std::vector<Holder*> waiting;
    std::size_t room = kAtOnce;
    for (auto& [id, holder] : holders_) {
        if (holder.asked) room -= std::min<std::size_t>(room, 1);
        else if (holder.session && !has_heard(holder)) waiting.push_back(&holder);
    }
    std::stable_sort(waiting.begin(), waiting.end(), [](const Holder* a, const Holder* b) { return a->failed < b->failed; });
    for (std::size_t i = 0; i < waiting.size() && i < room; ++i) ask(*waiting[i], RebuildPart::facts, {}, out);
    if (confirmed_) pump_bulk(out);
}

/// Manifest, then the longest chain, one question at a time, from whoever has it and is here.
void RebuildDesk::pump_bulk(Actions& out) {
    const bool out_already = std::any_of(holders_.begin(), holders_.end(), [](const auto& item) {
        return item.second.asked && item.second.asked->part != RebuildPart::facts;
    });
    if (out_already) return;
    const bool want_manifest = run_.manifest.empty();
    if (!want_manifest && chain_.size() >= longest().value) return;
    const Step have{chain_.size()};
    if (Holder* from = source(want_manifest ? Step{} : have.next()))
        ask(*from, want_manifest ? RebuildPart::manifest : RebuildPart::decisions, have, out);
}

RebuildDesk::Holder* RebuildDesk::source(Step wanted) {
    Holder* best = nullptr;
    for (auto& [id, holder] : holders_) {
        const bool can = holder.session && !holder.asked && answered(holder) && !holder.wrong && holder.facts->known >= wanted;
        if (can && (!best || holder.failed < best->failed)) best = &holder;
    }
    return best;
}

bool RebuildDesk::take_facts(Holder& holder, const RebuildAnswer& answer) {
    holder.facts = answer;
    holder.roster.reset();
    if (answer.incarnation.value > kMaxClaimed || answer.highest_lease.value > kMaxLeaseClaimed) return false;
    if (auto roster = parse_roster(answer.roster.body)) holder.roster = std::move(*roster);
    // Such a signature is the same each time.
    holder.genuine = holder.roster && signing_.sign(answer.roster.body) == answer.roster.signature;
    if (!confirmed_) slim(*holder.facts, holder.roster);
    return true;
}

bool RebuildDesk::take_manifest(const RebuildAnswer& answer) {
    auto manifest = parse_manifest(answer.manifest);
    if (!manifest || manifest->name != run_name_ || sha256(answer.data_manifest) != manifest->data_manifest) return false;
    run_ = {answer.manifest, answer.data_manifest};
    manifest_ = std::move(*manifest);
    return true;
}

/// True if the chain is longer by at least one.
bool RebuildDesk::take_records(const NodeId& from, const RebuildAnswer& answer) {
    const std::size_t before = chain_.size();
    for (const SignedDecision& record : answer.records) {
        auto decision = parse_decision(record.decision.body);
        const bool next = decision && decision->run == manifest_.run && decision->step.value == chain_.size();
        if (!next || chain_next(h_at(decision->step), *decision) != decision->h_after) break;
        if (voters_of(record, *decision).size() < copies()) break;
        records_.push_back(record);
        chain_.push_back(std::move(*decision));
        given_by_.push_back(from);
    }
    return chain_.size() > before;
}

/// Whose signatures under what the chain is after it are right. The service key's signature proves nothing here: it may
/// be the one that was lost.
std::set<NodeId> RebuildDesk::voters_of(const SignedDecision& record, const Decision& decision) const {
    std::set<NodeId> voters;
    for (const VoterSignature& v : record.voters)
        if (node_id_of(v.key) == v.node && signing_.verify_vote(v.key, decision.h_after, v.signature)) voters.insert(v.node);
    return voters;
}

}  // namespace skerry::coordinator
