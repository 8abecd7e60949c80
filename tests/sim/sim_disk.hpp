#pragma once
// What survives a crash of a simulated node, and what a power cut may take.

#include <array>
#include <map>
#include <memory>

#include "node/core/node_core.hpp"
#include "tests/sim/model.hpp"

namespace skerry::sim {

struct EntryFile {
    Digest plan_digest;
    Bytes plan_body;
    std::map<PieceIndex, Bytes> chunks;
    std::map<PieceIndex, Signature> signatures;  ///< owners'
    std::shared_ptr<const Plan> plan;            ///< of a plan that was followed

    Digest root() const;
    std::vector<Digest> leaves() const;
};

struct OwnContribution {
    Digest id;
    std::vector<Bytes> chunks;
    Values next_residual;  ///< e', staged
};

struct GatheredPiece {
    Bytes chunk;
    std::vector<Digest> proof;
};

struct ProgressFile {
    node::ProgressNote note;
    node::TrainedSoFar delta;
    Values values;
    std::vector<Segment> truth;  ///< positions really in it
    Step true_base;
};

struct Residual {
    Values e;
    std::optional<Step> tag;
};

struct SimDisk {
    Bytes manifest;
    Term term;
    Epoch epoch;
    Incarnation incarnation;
    Bytes ticket;
    std::optional<SignedBody> roster;
    std::vector<SignedDecision> decisions;
    std::map<Step, EntryFile> entries;
    std::map<Step, ModelState> snapshots;
    std::map<Step, EntryFile> prepared;
    std::array<std::optional<ProgressFile>, 2> progress;
    std::uint32_t newest_slot = 0;
    Residual residual;
    std::vector<LeaseInfo> leases;
    // Caches: not fsynced, a power cut may take any of them.
    std::map<Step, OwnContribution> own;
    std::map<std::pair<Step, Digest>, std::map<PieceIndex, GatheredPiece>> gathered;

    node::NodeImage image() const;
    std::vector<Decision> chain() const;
    /// Whether the log needs an entry of this decided step: it is a commit that no rollback undid.
    bool needs_entry(Step step) const;
    /// What can be made of snapshots and entries.
    std::optional<ModelState> state_at(Step step, std::uint64_t run_seed, std::uint32_t pieces) const;
};

}  // namespace skerry::sim
