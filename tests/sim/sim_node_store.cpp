// The simulated node's side of its run folder: the work is the node's own.

#include <algorithm>

#include "node/log/base_state.hpp"
#include "node/log/progress_files.hpp"
#include "node/log/store_work.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/sim/simulation.hpp"

namespace skerry::sim {

using namespace node;

namespace {
constexpr Millis kStagingRetry{1000};
}  // namespace

// ---------------------------------------------------------------------------------------------- durable facts

void SimNode::on(const PersistSeen& a) {
    on_disk(a.op, disk_time(), [this, a]() -> Outcome {
        require(a.term >= seen_.term && a.epoch >= seen_.epoch && a.incarnation >= seen_.incarnation, "I13",
                name() + " stores a lower term, epoch or incarnation: " + std::to_string(a.term.value) + " " +
                    std::to_string(a.epoch.value) + " " + std::to_string(a.incarnation.value) + " after " +
                    std::to_string(seen_.term.value) + " " + std::to_string(seen_.epoch.value) + " " +
                    std::to_string(seen_.incarnation.value));
        auto done = carry_out(folder_, a);
        auto now = NodeFiles(folder_).read_seen();
        if (now) seen_ = *now;
        return done;
    });
}

void SimNode::on(const AdoptManifest& a) {
    on_disk(a.op, disk_time(), [this, a]() -> Outcome {
        auto made = carry_out(folder_, a);
        if (!made) return fail(made.error());
        set_store(std::move(*made));
        return Answer{};
    });
}

void SimNode::on(const SaveLeases& a) {
    on_disk({}, disk_time(), [this, a]() -> Outcome {
        carry_out(folder_, a);
        return Answer{};
    });
    if (!world_.trace) return;
    std::string text = "leases";
    for (const LeaseInfo& l : a.leases)
        text += " " + std::to_string(l.id.value) + ":" + std::to_string(l.done) + "-" + std::to_string(l.hi) + (l.pinned ? "p" : "");
    world_.say(name(), text);
}

void SimNode::on(const DropPrivateState& a) {
    on_disk({}, disk_time(), [this, a]() -> Outcome {
        carry_out(folder_, store_.get(), a);
        residual_.reset();
        (void)remove_file(folder_ / "residual");
        return Answer{};
    });
}

// The codecs of today leave no residual. Of one that did, the tag would be kept like this (I12).
namespace {
constexpr const char* kResidualTag = "skerry/sim/residual/1";
}
void SimNode::read_residual() {
    residual_.reset();
    auto payload = read_sealed(folder_ / "residual", kResidualTag, 100);
    if (payload) residual_ = ByteReader(*payload).strong<Step>();
}
void SimNode::advance_residual(Step step) {
    residual_ = step;
    ByteWriter w;
    w.id(step);
    // A full disk: whoever starts from it finds an older tag, which counts for nothing.
    (void)write_sealed(folder_ / "residual", kResidualTag, w.view());
}

// ------------------------------------------------------------------------------------------------- open step

void SimNode::on(const FollowPlan& a) {
    const std::tuple rank{a.plan->step, a.plan->term, a.plan->attempt};
    const bool successor = seen_.term.value >= followed_in_.value + kRebuildTermStep;
    require(!followed_ || *followed_ <= rank || successor, "I13", name() + " goes back to a lower plan");
    followed_ = rank;
    followed_in_ = seen_.term;
    if (world_.trace) {
        std::string text = "plan " + a.digest.short_hex() + " of step " + std::to_string(a.plan->step.value) + " attempt " +
                           std::to_string(a.plan->attempt.value) + " binds";
        for (const Participant& p : a.plan->participants)
            text += " " + sim_.name_of(p.node) + "/" + p.contribution.short_hex();
        text += ", owners";
        for (std::uint16_t owner : a.plan->piece_owner) text += " " + sim_.name_of(a.plan->members[owner]);
        world_.say(name(), text);
    }
    open_staging(a.digest, a.body);
}

// As the agent's exchange engine does it: what needs a staging waits until it is open, or refused.
void SimNode::open_staging(const Digest& plan, Bytes body) {
    if (!pieces_) return;
    opening_.try_emplace(plan);
    on_disk({}, disk_time(), [this, plan, body = std::move(body)]() -> Outcome {
        auto followed = pieces_->follow(body);
        if (!followed) {
            world_.say(name(), "staging refused: " + followed.error().detail);
            refused_ = Refused{plan, body, world_.now};
        }
        staging_opened(plan);
        return Answer{};
    });
}

void SimNode::run_staged(const Digest& plan, OpId op, Millis delay, Work work) {
    if (refused_ && refused_->plan == plan && !opening_.contains(plan) && world_.now - refused_->at >= kStagingRetry) {
        Bytes body = std::move(refused_->body);
        refused_.reset();
        open_staging(plan, std::move(body));
    }
    auto start = [this, op, delay, work = std::move(work)] { later(op, delay, work); };
    auto opening = opening_.find(plan);
    if (opening == opening_.end()) return start();
    opening->second.push_back(std::move(start));
}

void SimNode::staging_opened(const Digest& plan) {
    auto opening = opening_.extract(plan);
    if (opening.empty()) return;
    for (auto& start : opening.mapped()) start();
}

void SimNode::on(const OpenStaging& a) {
    if (pieces_ && !pieces_->is_open(a.plan_digest)) opening_.try_emplace(a.plan_digest);
}

void SimNode::on(const DropStaging& a) {
    if (!pieces_) return;
    staging_opened(a.plan_digest);
    on_disk({}, disk_time(), [this, a]() -> Outcome {
        check_drop(a);
        pieces_->drop_staging(a.step, a.plan_digest);
        something_is_deleted();
        return Answer{};
    });
}

/// A prepared entry that was decided is one of its copies until it is in the log, or in a snapshot. I5.
void SimNode::check_drop(const DropStaging& a) const {
    const bool decided = a.step < sim_.checker->decided() && sim_.checker->decided(a.step).plan == a.plan_digest;
    if (!decided || rotten_ || sim_.checker->dead(a.step)) return;
    const auto& all = store_->prepared();
    const bool prepared = std::any_of(all.begin(), all.end(), [&](const PreparedEntry& p) { return p.plan_digest == a.plan_digest; });
    const bool kept = store_->has_entry(a.step) || facts_.snapshots.upper_bound(a.step) != facts_.snapshots.end();
    require(!prepared || kept, "I5", name() + " removes its copy of the decided entry " + std::to_string(a.step.value));
}

void SimNode::on(const DropContributions& a) {
    if (!pieces_) return;
    on_disk({}, disk_time(), [this, a]() -> Outcome {
        pieces_->drop_contributions(a.step);
        return Answer{};
    });
}

void SimNode::on(const ReducePiece& a) {
    run_staged(a.plan_digest, a.op, world_.rng.ms(0, 8),
               [this, a]() -> Outcome { return to_answer(pieces_->reduce(a.plan_digest, a.piece)); });
}

void SimNode::on(const WritePrepared& a) {
    on_disk(a.op, disk_time(), [this, a]() -> Outcome { return to_answer(pieces_->prepare(a)); });
}

void SimNode::on(const AppendEntry& a) {
    sim_.checker->entry_taken(name(), a.step, a.root);
    staging_opened(a.plan_digest);
    on_disk(a.op, disk_time(), [this, a]() -> Outcome {
        require(a.step <= store_->decisions().next(), "I10", name() + " leaves a gap in its log");
        return to_answer(pieces_->append(a));
    });
}

// ------------------------------------------------------------------------------------------------------ state

/// The mapped files are S_step now.
void SimNode::reached(Step step) {
    require(!trainer_.order, "I12", name() + " changes theta under its trainer");
    require(store_->state_step() == step, "I10", name() + " has another state than it was told to make");
    const Digest digest = state_digest_of(store_->grid(), store_->tokens(), store_->theta(), store_->momentum());
    sim_.checker->state_reached(name(), step, digest);
}

/// L2: a living trainer's delta is dropped only when it is credited, too old, or its lease is lost.
void SimNode::check_no_work_lost(const Decision* decision, Step now_at) const {
    // Over steps whose entries nobody keeps any more there is nothing to carry a delta with.
    if (!trainer_.loaded || trainer_.truth.empty() || jumped_) return;
    if (decision)
        for (const Credit& c : decision->credits)
            for (const Segment& s : c.segments)
                for (const Segment& mine : trainer_.truth)
                    if (s.lease == mine.lease) return;
    if (now_at.value - trainer_.true_base->value > sim_.manifest().max_carry) return;
    const auto& leases = sim_.coordinator->journal.leases();
    for (const Segment& mine : trainer_.truth) {
        auto at = leases.find(mine.lease);
        if (mine.lease < sim_.checker->first_lease() || at == leases.end() || at->second.holder != id_ || at->second.done != mine.from) return;
    }
    require(false, "L2", name() + " drops a delta of" + to_text(trainer_.truth));
}

void SimNode::on(const Apply& a) {
    on_disk(a.op, world_.rng.ms(1, 40), [this, a]() -> Outcome {
        if (is_rollback(a.decision->kind)) return roll_back(a);
        require(store_->state_step() == a.step, "I10", name() + " applies out of order");
        const DecisionRow* row = store_->decisions().row(a.step);
        require(row != nullptr, "I10", name() + " applies a step without its decision");
        sim_.checker->entry_taken(name(), a.step, row->root);
        if (a.local == LocalDelta::reload) check_no_work_lost(a.decision.get(), a.step.next());
        if (a.local == LocalDelta::none)
            require(!trainer_.loaded, "L2", name() + " forgets its trainer");
        auto applied = store_->apply(a.step);
        if (!applied) return fail(applied.error());
        reached(a.step.next());
        if (a.residual == ResidualRule::advance) {
            const bool credited = encoded_ && encoded_->first == a.step &&
                                  std::any_of(a.decision->credits.begin(), a.decision->credits.end(), [&](const Credit& c) {
                                      return c.node == id_ && c.contribution == encoded_->second;
                                  });
            require(credited, "I12", name() + " takes over the residual of an uncredited contribution");
            advance_residual(a.step);
        }
        StateAnswer answer;
        answer.local_kept = trainer_.alive && trainer_.loaded;
        if (a.local == LocalDelta::reload && answer.local_kept) trainer_.clear(sim_.pieces());
        return Answer{answer};
    });
}

SimNode::Outcome SimNode::roll_back(const Apply& a) {
    require(a.residual == ResidualRule::zero, "I12", name() + " keeps its residual over a rollback");
    require(a.local != LocalDelta::carry, "I12", name() + " carries a delta over a rollback");
    auto applied = store_->apply(a.step);
    if (!applied) return fail(applied.error());
    reached(a.step.next());
    require(store_->tokens() == a.decision->tokens_after, "I7", name() + " goes back to another count of tokens");
    residual_.reset();
    (void)remove_file(folder_ / "residual");
    StateAnswer answer;
    answer.local_kept = trainer_.alive && trainer_.loaded;
    if (answer.local_kept) trainer_.clear(sim_.pieces());
    return Answer{answer};
}

/// S_0 of a fork, from the coordinator: it is down, the line breaks, or the disk does.
Result<void> SimNode::fetch_base() {
    if (!sim_.coordinator->up() || world_.rng.chance(0.3)) return fail(Errc::unreachable, "no answer");
    const DiskPath part = folder_ / "base.tmp";
    auto written = write_base_state(part, sim_.settings.base_theta, sim_.settings.base_m);
    if (!written) return fail(written.error());
    require(*written == sim_.manifest().initial_root, "I2", name() + " was sent another base");
    return rename_durably(part, folder_ / kBaseState);
}

void SimNode::on(const LoadState& a) {
    on_disk(a.op, disk_time(), [this, a]() -> Outcome {
        if (a.initial && !has_first_state(store_->manifest(), folder_)) {
            auto fetched = fetch_base();
            if (!fetched) return fail(fetched.error());
        }
        auto loaded = carry_out(*store_, a);
        if (loaded) reached(a.step);
        return loaded;
    });
}

void SimNode::on(const AdoptSnapshot& a) {
    on_disk(a.op, disk_time(), [this, a]() -> Outcome {
        auto adopted = pieces_->adopt_snapshot(a);
        if (!adopted) return fail(adopted.error());
        require(store_->decisions().next() >= a.step, "I10", name() + " has a snapshot without its decisions");
        jumped_ = true;
        jumps_.insert(a.step);
        reached(a.step);
        return Answer{*adopted};
    });
}

void SimNode::on(const DropSnapshot& a) {
    if (!pieces_) return;
    on_disk({}, disk_time(), [this, a]() -> Outcome {
        pieces_->drop_snapshot(a.step);
        something_is_deleted();
        return Answer{};
    });
}

void SimNode::on(const ComputeDigest& a) {
    on_disk(a.op, world_.rng.ms(1, 30), [this, a]() -> Outcome {
        require(store_->state_step() == a.step, "I2", name() + " names the digest of another state");
        return carry_out(*store_, a);
    });
}

void SimNode::on(const WriteSnapshot& a) {
    on_disk(a.op, disk_time() * 4, [this, a]() -> Outcome {
        require(store_->state_step() == a.step, "I2", name() + " writes a snapshot of another state");
        return carry_out(*store_, a);
    });
}

void SimNode::on(const VerifyKept& a) {
    on_disk(a.op, world_.rng.ms(0, 5), [this, a]() -> Outcome {
        auto done = carry_out(*store_, a);
        if (!done) something_is_deleted();
        return done;
    });
}

void SimNode::on(const Prune& a) {
    on_disk(a.op, disk_time(), [this, a]() -> Outcome {
        auto done = carry_out(*store_, a);
        something_is_deleted();
        return done;
    });
}

}  // namespace skerry::sim
