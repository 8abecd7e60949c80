// Entries of the open step: staged, prepared, adopted into the log.

#include <algorithm>

#include "node/log/ballot.hpp"
#include "node/log/run_store.hpp"
#include "protocol/base/log.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kStaged = ".part";

/// "<step>.<term>.<attempt>"
std::optional<PreparedEntry> parse_prepared_name(const std::string& name) {
    auto dot1 = name.find('.');
    auto dot2 = name.find('.', dot1 + 1);
    if (dot1 == std::string::npos || dot2 == std::string::npos) return std::nullopt;
    auto step = parse_number(std::string_view(name).substr(0, dot1));
    auto term = parse_number(std::string_view(name).substr(dot1 + 1, dot2 - dot1 - 1));
    auto attempt = parse_number(std::string_view(name).substr(dot2 + 1));
    if (!step || !term || !attempt) return std::nullopt;
    return PreparedEntry{
        Step{*step}, Term{*term}, Attempt{static_cast<std::uint32_t>(*attempt)}, {}, {}, false};
}

auto plan_order(const PreparedEntry& entry) { return std::pair(entry.term, entry.attempt); }
auto plan_order(const Plan& plan) { return std::pair(plan.term, plan.attempt); }

}  // namespace

DiskPath RunStore::prepared_path(const PreparedEntry& entry) const {
    return folder_ / "prepared" /
           (std::to_string(entry.step.value) + "." + std::to_string(entry.term.value) + "." +
            std::to_string(entry.attempt.value) + std::string(entry.ballot ? kBallot : ""));
}

/// A file of prepared/ as a prepared entry; none if it is not whole.
std::optional<PreparedEntry> RunStore::open_prepared(const DiskPath& path) const {
    bool ballot = path.path().extension() == kBallot;
    auto entry = parse_prepared_name(ballot ? path.path().stem().string() : path.name());
    if (!entry) return std::nullopt;
    entry->ballot = ballot;
    if (ballot) {
        auto body = prepared_plan(*entry);
        auto plan = body ? parse_plan(*body) : Result<Plan>(fail(body.error()));
        if (!plan || plan->kind == EntryKind::commit || plan->step != entry->step) return std::nullopt;
        entry->plan_digest = body_digest(*body);
        return entry;
    }
    auto reader = EntryReader::open(path, grid_, codec_->id());
    bool whole = reader && (*reader)->plan().step == entry->step && (*reader)->verify();
    if (!whole) return std::nullopt;
    entry->plan_digest = (*reader)->plan_digest();
    entry->root = (*reader)->root();
    return entry;
}

Result<Bytes> RunStore::prepared_plan(const PreparedEntry& entry) const {
    if (entry.ballot) return read_sealed(prepared_path(entry), kBallotTag, kMaxFrame);
    auto reader = cached_reader(prepared_path(entry));
    if (!reader) return fail(reader.error());
    return (*reader)->plan_body();
}

Result<PreparedEntry> RunStore::prepare_ballot(ByteSpan plan_body) {
    auto plan = parse_plan(plan_body);
    if (!plan) return fail(plan.error());
    PreparedEntry entry{plan->step, plan->term, plan->attempt, body_digest(plan_body), {}, true};
    auto written = write_sealed(prepared_path(entry), kBallotTag, plan_body);
    if (!written) return fail(written.error());
    {
        Lock lock(mutex_);
        std::erase_if(prepared_, [&](const PreparedEntry& p) {
            return p.step == entry.step && p.plan_digest == entry.plan_digest;
        });
        prepared_.push_back(entry);
    }
    remove_prepared(entry.step, &entry.plan_digest);
    return entry;
}

/// Prepared entries of a decided step finish their rename or go; those of the open step are
/// verified and kept.
Result<void> RunStore::find_prepared() {
    auto names = names_in(folder_ / "prepared");
    if (!names) return fail(names.error());
    for (const std::string& name : *names) {
        DiskPath path = folder_ / "prepared" / name;
        auto entry = open_prepared(path);
        if (!entry) {
            log_warn("log.prepared_damaged", {{"file", path.string()}});
            auto removed = remove_tree(path);
            if (!removed) return removed;
            continue;
        }
        prepared_.push_back(*entry);
    }
    std::map<Step, PreparedEntry> highest;
    for (const PreparedEntry& entry : prepared_) {
        auto [place, first] = highest.try_emplace(entry.step, entry);
        if (!first && plan_order(entry) > plan_order(place->second)) place->second = entry;
    }
    for (const auto& [step, entry] : highest) {
        if (step >= decisions_.next()) {
            remove_prepared(step, &entry.plan_digest);
            continue;
        }
        auto adopted = adopt_prepared(step);
        if (!adopted) return fail(adopted.error());
    }
    return {};
}

Result<bool> RunStore::adopt_prepared(Step k) {
    auto decided = row(k);
    if (!decided)
        return fail(Errc::not_found, "step " + std::to_string(k.value) + " is not decided here");
    if (decided->kind != EntryKind::commit) {
        remove_prepared(k, nullptr);
        return false;
    }
    bool in_log = has_entry(k);
    for (const PreparedEntry& entry : prepared()) {
        // The decided root, not the newest file: a superseded plan may have left one here.
        if (in_log || entry.step != k || entry.root != decided->root ||
            entry.plan_digest != decided->plan_digest)
            continue;
        // An earlier try whose folder could not be synced: renamed anew, since a second fsync alone
        // may say ok to nothing.
        if (!is_there(prepared_path(entry))) (void)rename_file(entry_path(k), prepared_path(entry));
        auto renamed = rename_durably(prepared_path(entry), entry_path(k));
        if (!renamed) return fail(renamed.error());
        forget_reader(prepared_path(entry));
        Lock lock(mutex_);
        entries_.insert(k);
        std::erase_if(prepared_, [&](const PreparedEntry& p) {
            return p.step == k && p.plan_digest == entry.plan_digest;
        });
        staged_.erase(k);
        in_log = true;
    }
    bool same_plan_other_root =
        false;  // an owner signed two results: neither this file nor its pieces are of use
    for (const PreparedEntry& entry : prepared())
        same_plan_other_root |= entry.step == k && entry.plan_digest == decided->plan_digest;
    remove_prepared(k, in_log || same_plan_other_root ? nullptr : &decided->plan_digest);
    return in_log;
}

Result<std::shared_ptr<StagedEntry>> RunStore::stage_entry(ByteSpan plan_body) {
    auto plan = parse_plan(plan_body);
    if (!plan) return fail(plan.error());
    Digest digest = body_digest(plan_body);
    auto decided = row(plan->step);
    if (decided && decided->plan_digest != digest)
        return fail(Errc::stale, "another plan of that step was decided");
    if (has_entry(plan->step)) return fail(Errc::already_exists, "that entry is in the log");
    {
        Lock lock(mutex_);
        auto staged = staged_.find(plan->step);
        if (staged != staged_.end() && staged->second->plan_digest() == digest)
            return staged->second;
        bool higher_is_here = !decided && staged != staged_.end() &&
                              plan_order(staged->second->plan()) > plan_order(*plan);
        for (const PreparedEntry& entry : prepared_) {
            if (entry.step != plan->step) continue;
            if (entry.plan_digest == digest)
                return fail(Errc::already_exists, "that entry is prepared");
            higher_is_here |= !decided && plan_order(entry) > plan_order(*plan);
        }
        if (higher_is_here) return fail(Errc::stale, "a higher plan of that step is followed");
    }
    DiskPath path = prepared_path({plan->step, plan->term, plan->attempt, digest, {}, false});
    path = path.with(kStaged);
    auto made = StagedEntry::create(path, plan_body, grid_, *codec_, layout_id_);
    if (!made) return made;
    {
        Lock lock(mutex_);
        auto& place = staged_[plan->step];
        if (place) place->discard();
        place = *made;
    }
    remove_prepared(plan->step, &digest);
    return made;
}

Result<PreparedEntry> RunStore::prepare(StagedEntry& staged) {
    const Plan& plan = staged.plan();
    PreparedEntry entry{plan.step, plan.term, plan.attempt, staged.plan_digest(), {}, false};
    auto root = staged.finish(prepared_path(entry));
    if (!root) return fail(root.error());
    entry.root = *root;
    Lock lock(mutex_);
    std::erase_if(prepared_, [&](const PreparedEntry& p) {
        return p.step == entry.step && p.plan_digest == entry.plan_digest;
    });
    if (!entries_.contains(entry.step)) prepared_.push_back(entry);
    return entry;
}

std::vector<PreparedEntry> RunStore::prepared() const {
    Lock lock(mutex_);
    return prepared_;
}

void RunStore::drop_prepared(Step step) { remove_prepared(step, nullptr); }

/// Staged and prepared entries of one step, but for the plan to keep. Looks at the folder, not at
/// the list: a file whose rename was not known to be durable is in the one only.
void RunStore::remove_prepared(Step step, const Digest* keep_plan) {
    std::vector<std::string> kept;
    {
        Lock lock(mutex_);
        auto is_kept = [&](const Digest& plan) {
            return keep_plan != nullptr && plan == *keep_plan;
        };
        auto staged = staged_.find(step);
        if (staged != staged_.end() && is_kept(staged->second->plan_digest())) {
            const Plan& plan = staged->second->plan();
            kept.push_back(prepared_path({step, plan.term, plan.attempt, {}, {}, false}).name());
            kept.push_back(kept.back() + std::string(kStaged));
        } else if (staged != staged_.end()) {
            staged->second->discard();
            staged_.erase(staged);
        }
        for (const PreparedEntry& entry : prepared_) {
            if (entry.step == step && is_kept(entry.plan_digest))
                kept.push_back(prepared_path(entry).name());
        }
        std::erase_if(prepared_, [&](const PreparedEntry& p) {
            return p.step == step && !is_kept(p.plan_digest);
        });
    }
    auto names = names_in(folder_ / "prepared");
    if (!names) return;
    std::string prefix = std::to_string(step.value) + ".";
    for (const std::string& name : *names) {
        if (!name.starts_with(prefix) || std::find(kept.begin(), kept.end(), name) != kept.end())
            continue;
        DiskPath path = folder_ / "prepared" / name;
        (void)remove_file(path);
        forget_reader(path);
    }
}

Result<ResultPiece> RunStore::read_result(Step step, const Digest& plan_digest,
                                          PieceIndex piece) const {
    std::shared_ptr<StagedEntry> staged;
    std::optional<DiskPath> path;
    {
        Lock lock(mutex_);
        auto found = staged_.find(step);
        if (found != staged_.end() && found->second->plan_digest() == plan_digest)
            staged = found->second;
        for (const PreparedEntry& entry : prepared_) {
            if (entry.step == step && entry.plan_digest == plan_digest) path = prepared_path(entry);
        }
    }
    if (staged) return staged->read(piece);
    auto reader = path ? cached_reader(*path) : open_entry(step);
    if (!reader) return fail(reader.error());
    if ((*reader)->plan_digest() != plan_digest)
        return fail(Errc::not_found, "no result of that plan");
    return (*reader)->read(piece);
}

}  // namespace skerry::node
