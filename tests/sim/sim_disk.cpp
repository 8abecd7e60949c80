#include "tests/sim/sim_disk.hpp"

#include <algorithm>

#include "protocol/wire/canonical.hpp"

namespace skerry::sim {

std::vector<Digest> EntryFile::leaves() const {
    std::vector<Digest> out;
    for (const auto& [piece, chunk] : chunks) out.push_back(merkle_leaf(chunk));
    return out;
}

Digest EntryFile::root() const { return chunks.empty() ? Digest{} : merkle_root(leaves()); }

std::vector<Decision> SimDisk::chain() const {
    std::vector<Decision> out;
    for (const SignedDecision& record : decisions) out.push_back(*parse_decision(record.decision.body));
    return out;
}

bool SimDisk::needs_entry(Step step) const {
    const auto all = chain();
    if (all[step.value].kind != EntryKind::commit) return false;
    return std::none_of(all.begin(), all.end(), [&](const Decision& d) {
        return is_rollback(d.kind) && d.rollback_to <= step && step < d.step;
    });
}

std::optional<ModelState> SimDisk::state_at(Step step, std::uint64_t run_seed, std::uint32_t pieces) const {
    if (auto snapshot = snapshots.find(step); snapshot != snapshots.end()) return snapshot->second;
    if (step.value == 0) return initial_state(run_seed, pieces);
    const Decision decision = *parse_decision(decisions.at(step.value - 1).decision.body);
    if (is_rollback(decision.kind)) return state_at(decision.rollback_to, run_seed, pieces);
    auto state = state_at(decision.step, run_seed, pieces);
    if (!state) return std::nullopt;
    if (decision.kind == EntryKind::commit) {
        auto entry = entries.find(decision.step);
        if (entry == entries.end()) return std::nullopt;
        for (const auto& [piece, chunk] : entry->second.chunks) outer_step(*state, piece.value, chunk_value(chunk));
    }
    state->tokens = decision.tokens_after;
    return state;
}


node::NodeImage SimDisk::image() const {
    node::NodeImage out;
    out.manifest = manifest;
    out.term = term;
    out.epoch = epoch;
    out.incarnation = incarnation;
    out.roster = roster;
    out.decisions = decisions;
    for (const auto& [step, entry] : entries)
        if (step.value < decisions.size()) out.entries.push_back(step);
    for (const auto& [step, state] : snapshots) out.snapshots.push_back({step, digest_of(state)});
    for (const auto& [step, file] : prepared) {
        node::PreparedImage image;
        image.step = step;
        image.plan_body = file.plan_body;
        image.root = file.root();
        image.leaves = file.leaves();
        for (const auto& [piece, signature] : file.signatures) image.signatures.push_back(signature);
        out.prepared.push_back(std::move(image));
    }
    for (const auto& [step, mine] : own) out.contributions.push_back({step, mine.id, true, {}});
    for (const auto& [key, pieces] : gathered) {
        node::ContributionImage image{key.first, key.second, false, {}};
        for (const auto& [piece, data] : pieces) image.pieces.push_back(piece);
        out.contributions.push_back(std::move(image));
    }
    for (std::uint32_t slot : {1 - newest_slot, newest_slot})
        if (progress[slot]) out.progress.push_back({slot, progress[slot]->note, progress[slot]->delta});
    out.residual_tag = residual.tag;
    out.leases = leases;
    return out;
}

}  // namespace skerry::sim
