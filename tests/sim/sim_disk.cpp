#include "tests/sim/sim_disk.hpp"

namespace skerry::sim {

std::vector<Digest> EntryFile::leaves() const {
    std::vector<Digest> out;
    for (const auto& [piece, chunk] : chunks) out.push_back(merkle_leaf(chunk));
    return out;
}

Digest EntryFile::root() const { return merkle_root(leaves()); }

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
