#include "tests/sim/disk_facts.hpp"

#include <algorithm>

#include "node/log/ballot.hpp"
#include "node/log/file.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::sim {

using namespace node;

bool DiskFacts::has(Step step, const Entry& entry) const {
    for (auto [at, end] = entries.equal_range(step); at != end; ++at)
        if (at->second == entry) return true;
    return false;
}

bool DiskFacts::has(const Entry& entry) const {
    return std::any_of(entries.begin(), entries.end(), [&](const auto& at) { return at.second == entry; });
}

bool DiskFacts::covers(Step step, const Digest& plan, bool has_chunks, const std::function<bool(Step)>& is_dead_state) const {
    if (!has_chunks && decisions > step) return true;
    for (auto at = snapshots.upper_bound(step); at != snapshots.end(); ++at)
        if (!is_dead_state(*at)) return true;
    for (auto [at, end] = entries.equal_range(step); at != end; ++at)
        if (at->second.plan == plan) return true;
    return false;
}

DiskFacts facts_of(const RunStore& store) {
    DiskFacts out;
    out.decisions = store.decisions().next();
    for (Step step : store.entries())
        if (const DecisionRow* row = store.decisions().row(step)) out.entries.insert({step, {row->plan_digest, row->root}});
    for (const PreparedEntry& entry : store.prepared()) out.entries.insert({entry.step, {entry.plan_digest, entry.root}});
    for (const SnapshotInfo& snapshot : store.snapshots()) out.snapshots.insert(snapshot.step);
    return out;
}

DiskFacts read_facts(const DiskPath& folder, const Manifest& manifest) {
    DiskFacts out;
    const PieceGrid grid{manifest.elements, manifest.piece_elements};
    const Digest run = body_digest(to_bytes(manifest));
    auto decisions = DecisionLog::open_read_only(folder / "decisions", Step{0}, chain_start(run));
    if (decisions) out.decisions = decisions->next();
    for (const char* kind : {"entries", "prepared"}) {
        auto names = names_in(folder / kind);
        if (!names) continue;
        for (const std::string& name : *names) {
            if (name.ends_with(kBallot)) {
                auto body = read_sealed(folder / kind / name, kBallotTag, kMaxFrame);
                auto plan = body ? parse_plan(*body) : Result<Plan>(fail(body.error()));
                if (plan) out.entries.insert({plan->step, {body_digest(*body), {}}});
                continue;
            }
            auto entry = EntryReader::open(folder / kind / name, grid, manifest.codec);
            if (!entry || !(*entry)->verify()) {
                if (parse_number(name)) out.damaged = std::string(kind) + "/" + name;
                continue;
            }
            out.entries.insert({(*entry)->plan().step, {(*entry)->plan_digest(), (*entry)->root()}});
        }
    }
    auto names = names_in(folder / "snapshots");
    if (!names) return out;
    for (const std::string& name : *names) {
        if (!parse_number(name)) continue;
        auto snapshot = Snapshot::open(folder / "snapshots" / name, run, grid);
        if (snapshot && snapshot->verify()) out.snapshots.insert(snapshot->info().step);
        else out.damaged = "snapshots/" + name;
    }
    return out;
}

}  // namespace skerry::sim
