#include "node/log/verify.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "node/log/base_state.hpp"
#include "node/log/decision_log.hpp"
#include "node/log/node_files.hpp"
#include "node/log/replay.hpp"
#include "node/log/snapshot.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/signatures.hpp"

namespace skerry::node {
namespace {

std::string name_of(Step step) { return std::to_string(step.value); }

std::vector<Step> numbered(const DiskPath& folder) {
    std::vector<Step> steps;
    auto names = names_in(folder);
    if (!names) return steps;
    for (const std::string& name : *names) {
        auto step = parse_number(name);
        if (step) steps.push_back(Step{*step});
    }
    std::sort(steps.begin(), steps.end());
    return steps;
}

/// Removes the replayed state whatever happens.
struct Scratch {
    DiskPath folder;
    ~Scratch() {
        auto removed = remove_tree(folder);
        static_cast<void>(removed);
    }
};

class Verifier {
  public:
    Verifier(const DiskPath& folder, const VerifyOptions& options, const Manifest& manifest)
        : folder_(folder),
          options_(options),
          manifest_(manifest),
          run_digest_(body_digest(to_bytes(manifest))),
          grid_{manifest.elements, manifest.piece_elements},
          seeded_(has_first_state(manifest, folder)) {}

    Result<VerifyReport> run() {
        auto codec = find_codec(manifest_.codec);
        if (!codec) return fail(codec.error());
        codec_ = *codec;
        auto log =
            DecisionLog::open_read_only(folder_ / "decisions", first_, chain_start(run_digest_));
        if (!log) return fail(log.error());
        log_ = std::move(*log);
        if (log_.cut_bytes() > 0)
            problem("decisions: " + std::to_string(log_.cut_bytes()) +
                    " bytes at the end are no whole record");
        report_.first = first_;
        report_.head = log_.next();
        report_.h_head = log_.chain(log_.next());
        check_base();
        check_decisions();
        check_credits();
        check_entries();
        check_newest_prepared();
        check_snapshots();
        check_gaps();
        if (options_.replay) {
            auto replayed = replay();
            if (!replayed) return fail(replayed.error());
        }
        return std::move(report_);
    }

  private:
    void problem(std::string text) { report_.problems.push_back(std::move(text)); }

    void check_base();
    void check_decisions();
    void check_credits();
    void check_entries();
    void check_newest_prepared();
    void check_plan(const EntryReader& entry, const Decision& decision);
    void check_snapshots();
    void check_gaps();
    std::optional<Step> choose_start() const;
    bool needed(Step step) const;
    Result<void> replay();
    Result<void> load_base(Step base, const StateFiles& files);
    Result<void> step_forward(const DecisionRow& row, const StateFiles& files);
    Result<void> rebuild(Step target, Step base, const StateFiles& files);
    void record(Step step, const StateFiles& files);

    DiskPath folder_;
    VerifyOptions options_;
    Manifest manifest_;
    Digest run_digest_;
    PieceGrid grid_;
    Step first_;
    bool seeded_;
    const Codec* codec_ = nullptr;
    DecisionLog log_;
    VerifyReport report_;
    std::vector<Decision> decisions_;  // parsed, with credits
    std::set<Step> undone_;            // by a later rollback: their entries are not needed
    std::map<Step, std::shared_ptr<const EntryReader>> entries_;
    std::map<Step, SnapshotInfo> snapshots_;
    std::uint64_t tokens_ = 0;
};

/// A node that came in by a snapshot of others may do without the base of a fork; a damaged one is of no use.
void Verifier::check_base() {
    if (manifest_.initial_root.is_zero() || !seeded_) return;
    auto hash = base_state_sha256(folder_ / kBaseState);
    if (hash && *hash == manifest_.initial_root) return;
    seeded_ = false;
    problem("base: " + (hash ? "not the state that this fork begins with" : hash.error().detail));
}

/// The chain was followed when the log was opened; here come the signatures.
void Verifier::check_decisions() {
    for (Step k = first_; k < log_.next(); k = k.next()) {
        auto record = log_.read(k, 1);
        auto decision = record ? parse_decision(record->front().decision.body)
                               : Result<Decision>(fail(record.error()));
        if (!decision) {
            problem("decision " + name_of(k) + ": " + decision.error().detail);
            decisions_.emplace_back();
            continue;
        }
        if (options_.service_key && !verify_body(*options_.service_key, record->front().decision))
            problem("decision " + name_of(k) + ": not signed by the service key");
        for (const VoterSignature& voter : record->front().voters) {
            if (node_id_of(voter.key) != voter.node ||
                !verify_vote(voter.key, decision->h_after, voter.signature))
                problem("decision " + name_of(k) + ": bad vote of " + voter.node.short_hex());
        }
        decisions_.push_back(std::move(*decision));
    }
}

/// No position in two live decisions, no lease position counted backwards; rolled-back steps do not
/// count.
void Verifier::check_credits() {
    std::map<Step, bool> undone;  // step -> its data may be credited again
    for (const Decision& decision : decisions_) {
        if (!is_rollback(decision.kind)) continue;
        for (Step k = decision.rollback_to; k < decision.step; k = k.next())
            undone.try_emplace(k, decision.kind == EntryKind::rollback_refeed);
    }
    for (const auto& [step, again] : undone) undone_.insert(step);
    std::map<std::uint64_t, std::pair<std::uint64_t, Step>> credited;  // from -> (to, step)
    for (const Decision& decision : decisions_) {
        auto gone = undone.find(decision.step);
        const bool counts = gone == undone.end();
        if (!counts && gone->second) continue;
        for (const Credit& credit : decision.credits) {
            for (const Segment& segment : credit.segments) {
                if (segment.from >= segment.to) continue;
                auto after = credited.lower_bound(segment.from);
                bool overlaps = after != credited.end() && after->first < segment.to;
                if (after != credited.begin())
                    overlaps |= std::prev(after)->second.first > segment.from;
                if (overlaps)
                    problem("decision " + name_of(decision.step) + ": positions " +
                            std::to_string(segment.from) + " to " + std::to_string(segment.to) +
                            " were credited before");
                credited[segment.from] = {segment.to, decision.step};
                if (counts) report_.credited_sequences += segment.to - segment.from;
            }
        }
    }
}

void Verifier::check_plan(const EntryReader& entry, const Decision& decision) {
    const auto& participants = entry.plan().participants;
    bool same = participants.size() == decision.credits.size();
    for (std::size_t i = 0; same && i < participants.size(); ++i) {
        const Credit& credit = decision.credits[i];
        same = participants[i].node == credit.node &&
               participants[i].contribution == credit.contribution &&
               participants[i].weight_tokens == credit.weight_tokens &&
               participants[i].segments == credit.segments;
    }
    if (!same)
        problem("entry " + name_of(decision.step) + ": its plan does not say what was credited");
}

void Verifier::check_entries() {
    std::optional<Step> last;
    for (Step k : numbered(folder_ / "entries")) {
        const DecisionRow* row = log_.row(k);
        auto entry = EntryReader::open(folder_ / "entries" / name_of(k), grid_, codec_->id());
        if (!entry) {
            problem("entry " + name_of(k) + ": " + entry.error().detail);
            continue;
        }
        if (row == nullptr || (*entry)->root() != row->root ||
            (*entry)->plan_digest() != row->plan_digest) {
            problem("entry " + name_of(k) + ": not the one that was decided");
            continue;
        }
        auto whole = (*entry)->verify();
        if (!whole) {
            problem("entry " + name_of(k) + ": " + whole.error().detail);
            continue;
        }
        check_plan(**entry, decisions_[k.value - first_.value]);
        entries_[k] = *entry;
        ++report_.entries;
    }
}

/// A kill between the decision's record and the rename leaves the newest entry under its prepared name. That is no
/// damage: the node renames it at its start.
void Verifier::check_newest_prepared() {
    if (log_.next() == first_) return;
    const Step k{log_.next().value - 1};
    const DecisionRow* row = log_.row(k);
    if (row->kind != EntryKind::commit || entries_.contains(k)) return;
    auto names = names_in(folder_ / "prepared");
    if (!names) return;
    for (const std::string& name : *names) {
        auto entry = EntryReader::open(folder_ / "prepared" / name, grid_, codec_->id());
        if (!entry || (*entry)->root() != row->root || (*entry)->plan_digest() != row->plan_digest) continue;
        if (auto whole = (*entry)->verify(); !whole) continue;
        check_plan(**entry, decisions_[k.value - first_.value]);
        entries_[k] = *entry;
        ++report_.entries;
        return;
    }
}

/// Between the state that the log is replayed from and its head no entry may be missing. What lies
/// below a gap under a snapshot helps nobody and hurts nobody: pruning, or damage that was not
/// worth fetching, left it.
void Verifier::check_gaps() {
    auto start = choose_start();
    Step from = entries_.empty() ? log_.next() : entries_.begin()->first;
    if (start) from = *start;
    for (Step k = from; k < log_.next(); k = k.next()) {
        if (needed(k) && !entries_.contains(k))
            problem("entry " + name_of(k) + " is missing");
    }
}

void Verifier::check_snapshots() {
    for (Step k : numbered(folder_ / "snapshots")) {
        auto snapshot = Snapshot::open(folder_ / "snapshots" / name_of(k), run_digest_, grid_);
        Result<void> whole;
        if (snapshot) whole = snapshot->verify();
        if (!snapshot || !whole) {
            problem("snapshot " + name_of(k) + ": " +
                    (snapshot ? whole.error().detail : snapshot.error().detail));
            continue;
        }
        bool placed = snapshot->info().step == k && k >= first_ && k <= log_.next();
        if (!placed || snapshot->info().h != log_.chain(k)) {
            problem("snapshot " + name_of(k) + ": not of this chain");
            continue;
        }
        snapshots_[k] = snapshot->info();
        ++report_.snapshots;
    }
}

// ---- replay ------------------------------------------------------------------------------------

/// The oldest state from which all entries up to the head are here.
std::optional<Step> Verifier::choose_start() const {
    Step oldest = log_.next();
    while (oldest > first_) {
        Step below{oldest.value - 1};
        if (needed(below) && !entries_.contains(below)) break;
        oldest = below;
    }
    if (oldest == first_ && seeded_) return first_;
    // A rollback behind it must not lead to a state before it.
    for (auto base = snapshots_.lower_bound(oldest); base != snapshots_.end(); ++base) {
        bool reaches = !undone_.contains(Step{base->first.value - std::min<std::uint64_t>(base->first.value, 1)});
        for (Step k = base->first; reaches && k < log_.next(); k = k.next())
            reaches = !is_rollback(log_.row(k)->kind) || log_.row(k)->rollback_to >= base->first;
        if (reaches) return base->first;
    }
    return std::nullopt;
}

bool Verifier::needed(Step step) const {
    return log_.row(step)->kind == EntryKind::commit && !undone_.contains(step);
}

Result<void> Verifier::load_base(Step base, const StateFiles& files) {
    auto known = snapshots_.find(base);
    if (known == snapshots_.end()) {
        auto loaded = load_first_state(manifest_, grid_, folder_, files);
        if (!loaded) return loaded;
        tokens_ = 0;
        return {};
    }
    auto snapshot = Snapshot::open(folder_ / "snapshots" / name_of(base), run_digest_, grid_);
    if (!snapshot) return fail(snapshot.error());
    auto loaded = snapshot->load_into(files);
    if (!loaded) return fail(loaded.error());
    tokens_ = snapshot->info().roots.tokens;
    return {};
}

Result<void> Verifier::step_forward(const DecisionRow& row, const StateFiles& files) {
    if (row.kind == EntryKind::commit) {
        auto entry = entries_.find(row.step);
        if (entry == entries_.end()) return fail(Errc::not_found, "entry " + name_of(row.step) + " is missing");
        ContributionForm form{grid_, codec_, layout_id(run_digest_), row.step};
        auto applied = apply_entry(*entry->second, form, row.outer, files);
        if (!applied) return applied;
    }
    tokens_ = row.tokens_after;
    return {};
}

/// S_target from the base again, for a rollback.
Result<void> Verifier::rebuild(Step target, Step base, const StateFiles& files) {
    std::vector<DecisionRow> steps;
    while (target > base) {
        const DecisionRow& row = *log_.row(Step{target.value - 1});
        if (is_rollback(row.kind)) {
            target = row.rollback_to;
        } else {
            steps.push_back(row);
            target = row.step;
        }
    }
    if (target != base)
        return fail(Errc::not_found, "a rollback below the oldest state that is kept");
    auto loaded = load_base(base, files);
    if (!loaded) return fail(loaded.error());
    for (auto row = steps.rbegin(); row != steps.rend(); ++row) {
        auto applied = step_forward(*row, files);
        if (!applied) return applied;
    }
    return {};
}

void Verifier::record(Step step, const StateFiles& files) {
    const StateRoots roots = files.leaves().roots(tokens_);
    const Digest digest = digest_of(roots);
    report_.states.push_back({step, digest, roots});
    auto snapshot = snapshots_.find(step);
    if (snapshot != snapshots_.end() && snapshot->second.state_digest != digest)
        problem("snapshot " + name_of(step) + ": not the state that the log gives");
    bool marked_differs = false;
    auto mark = read_sealed(folder_ / "state" / "mark", "skerry/file/mark/1", 4096);
    if (mark) {
        ByteReader r(*mark);
        auto marked_step = r.strong<Step>();
        auto marked = parse_state_roots(r.bytes(r.remaining()));
        marked_differs = marked && marked_step == step && digest_of(*marked) != digest;
    }
    if (marked_differs) problem("state " + name_of(step) + ": the working copy was another one");
}

Result<void> Verifier::replay() {
    auto start = choose_start();
    if (!start) {
        std::string what = "no snapshot from which the log reaches its head";
        if (!manifest_.initial_root.is_zero() && !seeded_)
            what += ", and the state that this run begins with (base, SHA-256 " + manifest_.initial_root.hex() + ") is not here";
        problem(std::move(what));
        return {};
    }
    report_.replayed_from = *start;
    DiskPath place = options_.scratch.empty() ? folder_.parent() : options_.scratch;
    Scratch scratch{place / ("skerry-verify-" + std::to_string(::getpid()))};
    auto files = StateFiles::open(scratch.folder, grid_);
    if (!files) return fail(files.error());
    auto loaded = load_base(*start, *files);
    if (!loaded) return fail(loaded.error());
    record(*start, *files);
    bool known = true;  // not behind an undone entry that is missing, up to the rollback that undid it
    for (Step k = *start; k < log_.next(); k = k.next()) {
        const DecisionRow& row = *log_.row(k);
        if (row.kind == EntryKind::commit && !entries_.contains(k)) known = false;
        if (is_rollback(row.kind)) known = true;
        if (!known) continue;
        auto moved = is_rollback(row.kind) ? rebuild(row.rollback_to, *start, *files)
                                                     : step_forward(row, *files);
        if (!moved && moved.error().code != Errc::not_found) return moved;
        if (!moved && undone_.contains(k)) {  // a rollback that was undone itself, over entries that are gone
            known = false;
            continue;
        }
        if (!moved) {
            problem("step " + name_of(k) + ": " + moved.error().detail);
            return {};
        }
        record(k.next(), *files);
    }
    return {};
}

}  // namespace

Result<VerifyReport> verify_run(const DiskPath& folder, const VerifyOptions& options) {
    auto body = NodeFiles(folder).read_manifest();
    if (!body)
        return fail(body.error().code, "no run in " + folder.string() + ": " + body.error().detail);
    auto manifest = parse_manifest(*body);
    if (!manifest) return fail(manifest.error());
    return Verifier(folder, options, *manifest).run();
}

}  // namespace skerry::node
