#include "node/core/state_log.hpp"

#include <algorithm>

#include "node/core/disk_errors.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {

namespace {
bool refused(const Done& done) { return done.error && is_disk_error(done.error->code); }
}  // namespace

void StateLog::begin(const NodeImage& image) {
    entries_.insert(image.entries.begin(), image.entries.end());
    for (const StateDigest& snapshot : image.snapshots) snapshots_[snapshot.step] = snapshot.value;
    if (image.state) marked_ = *image.state;
    records_ = chain_.known();
    applied_ = newest_start();
    find_gaps(image);
}

/// What a snapshot jumped over was never here, and what lies below that helps nobody.
void StateLog::find_gaps(const NodeImage& image) {
    std::set<Step> found = entries_;
    found.insert(image.damaged.begin(), image.damaged.end());
    Step at = newest_snapshot();
    if (!snapshots_.empty() && !found.empty()) at = std::min(at, *found.begin());
    for (bool gap = false;; at = at.next()) {
        if (gap && snapshots_.contains(at)) missing_.clear();
        if (at >= chain_.known()) break;
        gap = !found.contains(at) && (gap || chain_.needs_entry(at));
        if (gap && chain_.needs_entry(at)) missing_.insert(at);
    }
    for (Step step : image.damaged)
        if (step < chain_.known() && chain_.needs_entry(step)) missing_.insert(step);
}

std::optional<Kept> StateLog::part_of(const ObjectRef& object) const {
    const bool decided = object.step < chain_.known();
    if (object.kind == ObjectKind::contribution || (object.kind == ObjectKind::result && !decided)) return std::nullopt;
    const ChainLink* link = decided ? &chain_.link(object.step) : nullptr;
    const bool of_entry = link != nullptr && link->kind == EntryKind::commit &&
                          (object.kind == ObjectKind::result || object.id == link->root || object.id == link->plan_digest);
    return Kept{object.step, !of_entry};
}

bool StateLog::lose(const Kept& what) {
    if (what.snapshot) return snapshots_.erase(what.step) > 0;
    if (entries_.erase(what.step) == 0) return false;
    if (chain_.needs_entry(what.step)) missing_.insert(what.step);
    return true;
}

std::optional<Kept> StateLog::next_kept(const Kept& from) const {
    std::optional<Kept> out;
    auto entry = entries_.lower_bound(from.snapshot ? from.step.next() : from.step);
    auto snapshot = snapshots_.lower_bound(from.step);
    if (entry != entries_.end()) out = Kept{*entry, false};
    if (snapshot != snapshots_.end() && (!out || snapshot->first < out->step)) out = Kept{snapshot->first, true};
    return out;
}

bool StateLog::misses(Step step) const {
    return step < applied_ && missing_.contains(step) && chain_.needs_entry(step);
}

std::optional<Step> StateLog::newest_missing(Step below) const {
    for (auto at = missing_.lower_bound(below); at != missing_.begin();)
        if (--at; misses(*at)) return *at;
    return std::nullopt;
}

std::uint64_t StateLog::missing() const {
    return static_cast<std::uint64_t>(std::count_if(missing_.begin(), missing_.end(), [&](Step step) { return misses(step); }));
}

void StateLog::restored(Step step) {
    missing_.erase(step);
    entries_.insert(step);
    broken_.clear();
}

Step StateLog::log_head() const {
    Step at = applied_;
    while (at < chain_.known() && passed(at)) at = at.next();
    return at;
}

bool StateLog::durably_passed(Step step) const {
    if (!passed(step)) return false;
    if (entries_.contains(step) || !chain_.link(step).dead) return true;
    const auto rollback = chain_.rollback_over(step);
    return rollback && *rollback < records_;
}

Step StateLog::synced() const {
    Step at = applied_;
    while (at < chain_.known() && durably_passed(at)) at = at.next();
    return at;
}

Step StateLog::oldest_entry() const {
    // Of the run of entries that ends at the head: what is below a gap helps nobody.
    Step at = synced();
    // What is about to go is not offered: its file may be gone before this is told so.
    const Step stays = going_.entries.empty() ? Step{} : going_.entries.back().next();
    while (at > stays && durably_passed(Step{at.value - 1})) at = Step{at.value - 1};
    return at;
}

std::vector<Step> StateLog::snapshots() const {
    std::vector<Step> out;
    for (const auto& [step, digest] : snapshots_)
        if (!std::binary_search(going_.snapshots.begin(), going_.snapshots.end(), step)) out.push_back(step);
    if (out.size() > kMaxSnapshotsPerReport)
        out.erase(out.begin(), out.end() - static_cast<std::ptrdiff_t>(kMaxSnapshotsPerReport));
    return out;
}

std::vector<StateDigest> StateLog::snapshot_digests() const {
    std::vector<StateDigest> out;
    for (Step step : snapshots()) out.push_back({step, snapshots_.at(step)});
    return out;
}

std::optional<Digest> StateLog::digest_of(Step step) const {
    for (const StateDigest& known : digests_)
        if (known.step == step) return known.value;
    return std::nullopt;
}

std::optional<Digest> StateLog::agreed_digest(Step step) const {
    for (const StateDigest& agreed : context_.orders.digests)
        if (agreed.step == step) return agreed.value;
    return std::nullopt;
}

// ------------------------------------------------------------------------------------------- operations

Step StateLog::newest_snapshot() const {
    Step best;
    for (const auto& [step, digest] : snapshots_)
        if (step <= chain_.known() && !chain_.dead_state(step)) best = std::max(best, step);
    return best;
}

/// No replay then. A gap below it is filled while the node lives.
bool StateLog::may_use_marked() const {
    return marked_ && *marked_ <= chain_.known() && *marked_ > newest_snapshot() && !chain_.dead_state(*marked_);
}

Step StateLog::newest_start() const { return may_use_marked() ? *marked_ : newest_snapshot(); }

bool StateLog::reaches(Step step) const {
    if (broken_.contains(step)) return false;
    for (Step at = step; at.value > 0 && !snapshots_.contains(at);) {
        const Step below{at.value - 1};
        if (below >= records_) return false;
        const ChainLink& link = chain_.link(below);
        if (link.kind == EntryKind::commit && !entries_.contains(below)) return false;
        at = is_rollback(link.kind) ? link.rollback_to : below;
    }
    return true;
}

void StateLog::load() {
    const Step best = newest_start();
    const bool initial = !snapshots_.contains(best) && best != marked_;
    const OpId op = context_.new_op();
    running_[op] = {Kind::load, best, initial};
    exclusive_ = op;
    context_.emit(LoadState{op, best, initial});
}

std::vector<SignedDecision> StateLog::records_missing() const { return chain_.records(records_, chain_.known()); }

void StateLog::append(Step step, bool prepared) {
    const OpId op = context_.new_op();
    append_ = {op, step};
    const ChainLink& link = chain_.link(step);
    context_.emit(AppendEntry{op, step, *chain_.record(step), link.plan_digest, link.root, prepared, false});
}

void StateLog::append_record(Step step) {
    const OpId op = context_.new_op();
    append_ = {op, step};
    const ChainLink& link = chain_.link(step);
    context_.emit(AppendEntry{op, step, *chain_.record(step), link.plan_digest, link.root, false, true});
}

void StateLog::apply(Step step, LocalDelta local, ResidualRule residual) {
    const OpId op = context_.new_op();
    running_[op] = {Kind::apply, step, false};
    exclusive_ = op;
    context_.emit(Apply{op, step, chain_.decision(step), local, residual});
}

void StateLog::adopt(const StateDigest& snapshot, const Bytes& preimage) {
    const OpId op = context_.new_op();
    running_[op] = {Kind::adopt, snapshot.step, false};
    exclusive_ = op;
    context_.emit(
        AdoptSnapshot{op, snapshot.step, snapshot.value, preimage, chain_.records(records_, snapshot.step)});
}

void StateLog::compute_digest() {
    const OpId op = context_.new_op();
    running_[op] = {Kind::digest, applied_, false};
    readers_.insert(op);
    context_.emit(ComputeDigest{op, applied_});
}

void StateLog::write_snapshot() {
    const OpId op = context_.new_op();
    running_[op] = {Kind::snapshot, applied_, false};
    readers_.insert(op);
    context_.emit(WriteSnapshot{op, applied_});
}

void StateLog::prune(Step floor) {
    if (pruning_) return;
    // The newest snapshot at or below the floor stays, and every entry after it.
    auto keep = snapshots_.upper_bound(std::min(floor, chain_.known()));
    if (keep == snapshots_.begin()) return;
    --keep;
    // One that a rollback undid is of no use.
    while (chain_.dead_state(keep->first)) {
        if (keep == snapshots_.begin()) return;
        --keep;
    }
    if (pruned_to_ == keep->first) return;
    const bool entries = !entries_.empty() && *entries_.begin() < keep->first;
    if (keep == snapshots_.begin() && !entries) return;
    const OpId op = context_.new_op();
    running_[op] = {Kind::look, keep->first, false};
    pruning_ = true;
    pruned_to_ = keep->first;
    context_.emit(Prune{op, keep->first, {}});
}

void StateLog::on_pruned(const Running& running, const PrunedAnswer& answer) {
    if (running.kind == Kind::look) {
        pruning_ = !answer.snapshots.empty() || !answer.entries.empty();
        if (!pruning_) return;
        going_ = answer;
        const OpId op = context_.new_op();
        running_[op] = {Kind::prune, running.step, false};
        context_.emit(Prune{op, running.step, going_});
        return;
    }
    for (Step step : answer.snapshots) snapshots_.erase(step);
    for (Step step : answer.entries) entries_.erase(step);
    if (!answer.entries.empty()) missing_.erase(missing_.begin(), missing_.upper_bound(answer.entries.back()));
}

// ------------------------------------------------------------------------------------------ completions

bool StateLog::owns(OpId op) const { return running_.contains(op) || (append_ && append_->first == op); }

void StateLog::remember_digest(Step step, const Digest& value) {
    std::erase_if(digests_, [&](const StateDigest& known) { return known.step == step; });
    digests_.push_back({step, value});
    while (digests_.size() > kMaxDigestsPerReport) digests_.pop_front();
}

StateLog::Result StateLog::on_done(const Done& done) {
    if (append_ && append_->first == done.op) {
        const Step step = append_->second;
        append_.reset();
        if (refused(done)) return {Outcome::refused, step};
        if (done.error) return {Outcome::append_failed, step};
        if (chain_.needs_entry(step)) entries_.insert(step);
        missing_.erase(step);
        records_ = std::max(records_, step.next());
        return {Outcome::appended, step};
    }
    auto at = running_.find(done.op);
    if (at == running_.end()) return {};
    const Running running = at->second;
    running_.erase(at);
    const auto* state = std::get_if<StateAnswer>(&done.answer);
    switch (running.kind) {
        case Kind::load:
        case Kind::apply:
        case Kind::adopt: return on_exclusive(running, done);
        case Kind::look:
        case Kind::prune:
            pruning_ = false;
            going_ = {};
            if (const auto* pruned = std::get_if<PrunedAnswer>(&done.answer)) on_pruned(running, *pruned);
            return {};
        case Kind::digest:
        case Kind::snapshot: break;
    }
    readers_.erase(done.op);
    if (done.error || state == nullptr || !state->digest) return {};
    if (running.kind == Kind::snapshot) snapshots_[running.step] = *state->digest;
    remember_digest(running.step, *state->digest);
    return {Outcome::digest, running.step};
}

StateLog::Result StateLog::on_exclusive(const Running& running, const Done& done) {
    exclusive_.reset();
    const auto* state = std::get_if<StateAnswer>(&done.answer);
    const bool failed = done.error || state == nullptr;
    switch (running.kind) {
        case Kind::load: {
            const auto agreed = agreed_digest(running.step);
            if (refused(done)) return {Outcome::refused, running.step};
            first_missing_.reset();
            if (running.initial && done.error) {
                first_missing_ = done.error->detail;
                return {Outcome::no_first_state, running.step};
            }
            const bool differs = !failed && agreed && state->digest && *state->digest != *agreed;
            if (failed || differs) {
                if (marked_ == running.step) {
                    marked_.reset();
                    applied_ = newest_start();
                } else if (!running.initial) {
                    snapshots_.erase(running.step);
                    context_.emit(DropSnapshot{running.step});
                }
                return {Outcome::load_failed, running.step};
            }
            loaded_ = true;
            marked_.reset();
            applied_ = running.step;
            if (state->digest) remember_digest(running.step, *state->digest);
            return {Outcome::loaded, running.step};
        }
        case Kind::apply:
            if (failed) {
                const bool back = is_rollback(chain_.link(running.step).kind);
                // theta and m are unchanged (what happens after their first change is an internal error), unless it
                // was a rollback, which loads another state.
                if (refused(done)) {
                    loaded_ = loaded_ && !back;
                    return {Outcome::refused, running.step};
                }
                // not_found: somebody else came upon the damage first, a load perhaps.
                const Errc why = done.error ? done.error->code : Errc::internal;
                const bool gone = is_damage(why) || why == Errc::not_found;
                if (back) broken_.insert(chain_.link(running.step).rollback_to);
                if (gone && !back) lose({running.step, false});
                else loaded_ = false;
                return {Outcome::apply_failed, running.step};
            }
            applied_ = running.step.next();
            return {Outcome::applied, running.step, state->local_kept};
        default: break;
    }
    if (failed) return {Outcome::adopt_failed, running.step};
    loaded_ = true;
    first_missing_.reset();
    applied_ = running.step;
    records_ = std::max(records_, running.step);
    missing_.clear();  // it was jumped over
    if (state->digest) {
        snapshots_[running.step] = *state->digest;
        remember_digest(running.step, *state->digest);
    }
    return {Outcome::adopted, running.step};
}

}  // namespace skerry::node
