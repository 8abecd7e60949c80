#include "node/core/chain.hpp"

#include <algorithm>

#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {

void Chain::begin(const Digest& manifest_digest) { start_ = chain_start(manifest_digest); }

Chain::Learned Chain::learn(const SignedDecision& record) {
    auto parsed = parse_decision(record.decision.body);
    if (!parsed || !context_.manifest || parsed->run != context_.manifest->run) return Learned::refused;
    const Step step = parsed->step;
    if (step < known()) return link(step).h_after == parsed->h_after ? Learned::known : Learned::refused;
    if (step > known()) return Learned::ahead;
    // One stage in this form of the protocol: exactly one root.
    if (parsed->roots.size() != 1) return Learned::refused;
    if (chain_next(h(step), *parsed) != parsed->h_after) return Learned::refused;
    if (is_rollback(parsed->kind) && dead_state(parsed->rollback_to)) return Learned::refused;

    links_.push_back(
        {parsed->kind, parsed->plan_digest, parsed->roots.front(), parsed->h_after, parsed->tokens_after,
         parsed->rollback_to, false});
    const auto& credits = parsed->credits;
    if (std::any_of(credits.begin(), credits.end(),
                    [&](const Credit& credit) { return credit.node == context_.self(); }))
        last_credited_ = step;
    if (is_rollback(parsed->kind)) note_rollback(step, parsed->rollback_to);
    whole_[step] = {record, std::make_shared<const Decision>(std::move(*parsed))};
    return Learned::appended;
}

void Chain::note_rollback(Step step, Step to) {
    for (Step undone = to; undone < step; undone = undone.next()) links_[undone.value].dead = true;
    std::erase_if(rollbacks_, [&](const auto& earlier) { return earlier.second >= to; });
    rollbacks_.emplace_back(to, step);
    last_credited_.reset();  // residuals are dropped
}

std::optional<Step> Chain::rollback_over(Step step) const {
    for (const auto& [to, at] : rollbacks_)
        if (to <= step && step <= at) return at;
    return std::nullopt;
}

std::shared_ptr<const Decision> Chain::decision(Step step) const {
    auto at = whole_.find(step);
    return at == whole_.end() ? nullptr : at->second.decision;
}

const SignedDecision* Chain::record(Step step) const {
    auto at = whole_.find(step);
    return at == whole_.end() ? nullptr : &at->second.record;
}

std::vector<SignedDecision> Chain::records(Step from, Step to) const {
    std::vector<SignedDecision> out;
    for (auto at = whole_.lower_bound(from); at != whole_.end() && at->first < to; ++at)
        out.push_back(at->second.record);
    return out;
}

void Chain::forget_below(Step step) { whole_.erase(whole_.begin(), whole_.lower_bound(step)); }

}  // namespace skerry::node
