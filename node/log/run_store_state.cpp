// The state in the mapped files: from a mark, a snapshot or the seed, and forward along the log.

#include <algorithm>

#include "node/log/replay.hpp"
#include "node/log/run_store.hpp"
#include "protocol/base/log.hpp"

namespace skerry::node {

struct RunStore::Route {
    enum class Start { none, current, snapshot, seed };
    Start start = Start::none;
    Step base;
    std::vector<DecisionRow> steps;  // to apply, in order; no rollbacks among them
    MissingParts missing;
};

std::optional<Step> RunStore::state_step() const {
    Lock lock(mutex_);
    return state_step_;
}

std::uint64_t RunStore::tokens() const {
    Lock lock(mutex_);
    return tokens_;
}

/// Walks back from `target` to something that holds a whole state. A rollback at step k means that
/// S_{k+1} is S_j, so the walk goes on at j.
RunStore::Route RunStore::route_to(Step target) const {
    Route route;
    Lock lock(mutex_);
    for (Step at = target;;) {
        route.base = at;
        if (state_step_ == at)
            route.start = Route::Start::current;
        else if (snapshots_.contains(at))
            route.start = Route::Start::snapshot;
        else if (at == first_ && can_make_first())
            route.start = Route::Start::seed;
        if (route.start != Route::Start::none) break;
        const DecisionRow* found = at > first_ ? decisions_.row(Step{at.value - 1}) : nullptr;
        if (found == nullptr) {
            if (at > first_)
                route.missing.decisions_from = decisions_.next();
            else
                route.missing.base = true;
            break;
        }
        if (is_rollback(found->kind)) {
            if (found->rollback_to >=
                at) {  // cannot be decided; keeps a hostile record from looping us
                route.missing.base = true;
                break;
            }
            at = found->rollback_to;
            continue;
        }
        if (found->kind == EntryKind::commit && !entries_.contains(found->step))
            route.missing.entries.push_back(found->step);
        route.steps.push_back(*found);
        at = found->step;
    }
    std::reverse(route.steps.begin(), route.steps.end());
    std::reverse(route.missing.entries.begin(), route.missing.entries.end());
    return route;
}

MissingParts RunStore::missing_for(Step target) const { return route_to(target).missing; }

std::optional<Step> RunStore::marked_state() const {
    if (auto mark = state_.mark()) return mark->step;
    auto record = record_.found();
    return record && record->whole ? std::optional(record->step) : std::nullopt;
}

/// A kill came in the middle of an apply: goes on with it. Where that cannot be, a replay does.
void RunStore::finish_apply() {
    auto begun = record_.found();
    if (!begun || begun->whole) return;
    auto decided = row(begun->step);
    Result<std::shared_ptr<const EntryReader>> entry = fail(Errc::not_found, "not decided here");
    if (decided && decided->kind == EntryKind::commit) entry = open_entry(begun->step);
    Result<void> applied = entry ? (*entry)->verify() : fail(entry.error());
    if (applied) applied = apply_entry(**entry, {grid_, codec_, layout_id_, begun->step}, decided->outer, state_, &record_);
    if (applied) return record_.set_whole(begun->step.next(), decided->tokens_after);
    log_warn("log.apply_not_finished", {{"step", std::to_string(begun->step.value)}, {"why", applied.error().detail}});
    record_.forget();
}

/// After a restart: the mapped files count only if they give the digest that the mark names, or if no power cut can have
/// come between them and what is recorded of them.
Result<void> RunStore::trust_mark() {
    if (state_step()) return {};
    auto mark = state_.mark();
    auto record = record_.found();
    if (!mark && record && record->whole) {
        Lock lock(mutex_);
        state_step_ = record->step;
        tokens_ = record->tokens;
        last_digest_.reset();
    }
    if (!mark) return {};
    if (state_.leaves().roots(mark->roots.tokens) != mark->roots) {
        log_warn("log.state_not_trusted", {{"step", std::to_string(mark->step.value)}});
        record_.forget();
        return state_.clear_mark();
    }
    Lock lock(mutex_);
    state_step_ = mark->step;
    tokens_ = mark->roots.tokens;
    last_digest_ = {mark->step, digest_of(mark->roots)};
    return {};
}

Result<void> RunStore::start_from(const Route& route) {
    if (route.start == Route::Start::current) return {};
    {
        Lock lock(mutex_);
        state_step_.reset();
    }
    record_.forget();
    auto cleared = state_.clear_mark();
    if (!cleared) return cleared;
    std::uint64_t tokens = 0;
    if (route.start == Route::Start::seed) {
        auto loaded = load_first_state(manifest_, grid_, folder_, state_);
        if (!loaded) {
            if (loaded.error().code == Errc::digest_mismatch) (void)remove_file(folder_ / kBaseState);
            return loaded;
        }
    } else {
        auto snapshot = find_snapshot(route.base);
        if (!snapshot)
            return fail(Errc::not_found,
                        "snapshot " + std::to_string(route.base.value) + " went away");
        auto loaded = snapshot->load_into(state_);
        if (!loaded) {
            if (loaded.error().code == Errc::digest_mismatch) set_snapshot_aside(route.base);
            return loaded;
        }
        tokens = snapshot->info().roots.tokens;
    }
    record_.set_whole(route.base, tokens);
    Lock lock(mutex_);
    state_step_ = route.base;
    tokens_ = tokens;
    return {};
}

Result<void> RunStore::load_state(Step target) {
    auto trusted = trust_mark();
    if (!trusted) return trusted;
    for (;;) {
        Route route = route_to(target);
        if (!route.missing.nothing())
            return fail(Errc::not_found,
                        "S_" + std::to_string(target.value) + " cannot be built from this disk");
        auto started = start_from(route);
        if (!started) {
            bool other_way = started.error().code == Errc::digest_mismatch ||
                             started.error().code == Errc::not_found;
            if (other_way) continue;  // that snapshot is gone now; an older one may do
            return started;
        }
        for (const DecisionRow& step : route.steps) {
            auto applied = apply_row(step);
            if (!applied) return applied;
        }
        // A route that ends in a rollback ends at an older number with the content of the target.
        if (state_step() != target) record_.set_whole(target, tokens());
        Lock lock(mutex_);
        if (state_step_ != target) last_digest_.reset();
        state_step_ = target;
        return {};
    }
}

Result<void> RunStore::apply(Step k) {
    auto decided = row(k);
    if (!decided)
        return fail(Errc::not_found, "step " + std::to_string(k.value) + " is not decided here");
    if (is_rollback(decided->kind)) return load_state(k.next());
    if (state_step() != k)
        return fail(Errc::bad_state, "the state is not S_" + std::to_string(k.value));
    return apply_row(*decided);
}

Result<void> RunStore::apply_row(const DecisionRow& decided) {
    Step k = decided.step;
    std::shared_ptr<const EntryReader> entry;
    if (decided.kind == EntryKind::commit) {
        auto opened = open_entry(k);
        Result<void> whole;
        if (opened) whole = (*opened)->verify();
        if (!opened || !whole) return sound_entry(k, fail(opened ? whole.error() : opened.error()));
        entry = *opened;
    }
    auto cleared = state_.clear_mark();
    if (!cleared) return cleared;
    {
        Lock lock(mutex_);
        state_step_.reset();  // from here on the files are no known state
        last_digest_.reset();
    }
    if (entry) {
        record_.begin(k, tokens());
        auto applied = apply_entry(*entry, {grid_, codec_, layout_id_, k}, decided.outer, state_, &record_);
        if (!applied) {
            record_.forget();
            return fail(Errc::internal, "the state is lost: " + applied.error().detail);
        }
    }
    record_.set_whole(k.next(), decided.tokens_after);
    Lock lock(mutex_);
    state_step_ = k.next();
    tokens_ = decided.tokens_after;
    return {};
}

Result<Digest> RunStore::digest_state() {
    std::optional<Step> step = state_step();
    if (!step) return fail(Errc::bad_state, "there is no state to digest");
    {
        Lock lock(mutex_);
        if (last_digest_ && last_digest_->first == *step) return last_digest_->second;
    }
    StateRoots roots = state_.leaves().roots(tokens());
    // Without a mark a restart replays; that is all.
    auto marked = state_.write_mark({*step, roots});
    if (!marked) log_warn("log.mark_not_written", {{"why", marked.error().detail}});
    Lock lock(mutex_);
    last_digest_ = {*step, digest_of(roots)};
    return last_digest_->second;
}

}  // namespace skerry::node
