// What an open step needs: my contribution, pieces of others, and an owner's reduction.

#include <algorithm>

#include "node/log/run_store.hpp"
#include "node/outer/mean.hpp"
#include "protocol/base/log.hpp"
#include "protocol/identity/merkle.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kReadyTag = "skerry/file/contribution/1";

Bytes ready_bytes(const ReadyState& ready) {
    ByteWriter w;
    w.id(ready.step);
    w.id(ready.contribution);
    w.u64(ready.weight_tokens);
    w.u32(static_cast<std::uint32_t>(ready.segments.size()));
    for (const Segment& segment : ready.segments) {
        w.id(segment.lease);
        w.u64(segment.from);
        w.u64(segment.to);
    }
    w.f64(ready.norm);
    w.f64(ready.loss);
    return w.take();
}

Result<ReadyState> parse_ready(ByteSpan payload) {
    ByteReader r(payload);
    ReadyState ready;
    ready.step = r.strong<Step>();
    ready.contribution = r.fixed<Digest>();
    ready.weight_tokens = r.u64();
    ready.segments.resize(r.count(kMaxSegments));
    for (Segment& segment : ready.segments) {
        segment.lease = r.strong<LeaseId>();
        segment.from = r.u64();
        segment.to = r.u64();
    }
    ready.norm = r.f64();
    ready.loss = r.f64();
    if (!r.ok() || !r.at_end()) return fail(Errc::malformed, "not a contribution's record");
    return ready;
}

}  // namespace

ContributionForm RunStore::form_for(Step step) const { return {grid_, codec_, layout_id_, step}; }

// ---- my own ------------------------------------------------------------------------------------

Result<std::unique_ptr<ContributionWriter>> RunStore::begin_contribution(Step step) {
    if (state_step() != step)
        return fail(Errc::bad_state, "the state is not S_" + std::to_string(step.value));
    return ContributionWriter::create(folder_ / "contribution" / "own.part", form_for(step),
                                      state_.theta());
}

Result<ReadyState> RunStore::finish_contribution(ContributionWriter& writer, ReadyState ready) {
    if (!writer.complete())
        return fail(Errc::bad_state,
                    "weights are missing from " + std::to_string(writer.next_element()));
    ready.step = writer.form().step;
    ready.contribution = merkle_root(writer.leaves());
    ready.norm = writer.norm();
    ready.finite = true;
    DiskPath path = folder_ / "contribution" / "own";
    auto renamed = rename_file(writer.path(), path);
    if (!renamed) return fail(renamed.error());
    auto recorded =
        write_sealed(folder_ / "contribution" / "own.ready", kReadyTag, ready_bytes(ready));
    if (!recorded) return fail(recorded.error());
    auto own = OwnContribution::open(path, writer.form(), ready, writer.leaves());
    if (!own) return fail(own.error());
    Lock lock(mutex_);
    own_ = *own;
    return ready;
}

std::optional<ReadyState> RunStore::own_contribution() const {
    Lock lock(mutex_);
    return own_ ? std::optional(own_->ready()) : std::nullopt;
}

void RunStore::drop_own_contribution() {
    Lock lock(mutex_);
    own_.reset();
    for (const char* name : {"own", "own.ready"})
        (void)remove_file(folder_ / "contribution" / name);
}

// ---- pieces of others --------------------------------------------------------------------------

/// Files are "<step>.<id>"; what a crash left is verified piece by piece.
Result<void> RunStore::find_contributions() {
    auto names = names_in(folder_ / "contribution");
    if (!names) return fail(names.error());
    for (const std::string& name : *names) {
        if (name.starts_with("own")) continue;
        auto dot = name.find('.');
        auto step = parse_number(std::string_view(name).substr(0, dot));
        auto id = parse_fixed_hex<Digest>(
            dot == std::string::npos ? "" : std::string_view(name).substr(dot + 1));
        if (!step || !id || !gather(Step{*step}, *id))
            (void)remove_file(folder_ / "contribution" / name);
    }
    auto record = read_sealed(folder_ / "contribution" / "own.ready", kReadyTag, 1 << 20);
    if (!record) return {};
    auto ready = parse_ready(*record);
    if (!ready) return {};
    auto own =
        OwnContribution::open(folder_ / "contribution" / "own", form_for(ready->step), *ready, {});
    if (own) {
        own_ = *own;
    } else {
        log_warn("log.contribution_lost", {{"why", own.error().detail}});
        drop_own_contribution();
    }
    return {};
}

Result<std::shared_ptr<GatheredContribution>> RunStore::gather(Step step,
                                                               const Digest& contribution) {
    std::pair key(step, contribution);
    Lock lock(mutex_);
    auto found = gathered_.find(key);
    if (found != gathered_.end()) return found->second;
    DiskPath path =
        folder_ / "contribution" / (std::to_string(step.value) + "." + contribution.hex());
    auto opened = GatheredContribution::open(path, form_for(step), contribution);
    if (opened) gathered_[key] = *opened;
    return opened;
}

std::vector<std::shared_ptr<GatheredContribution>> RunStore::gathered() const {
    Lock lock(mutex_);
    std::vector<std::shared_ptr<GatheredContribution>> out;
    for (const auto& item : gathered_) out.push_back(item.second);
    return out;
}

Result<ContributionPiece> RunStore::read_contribution(Step step, const Digest& contribution,
                                                      PieceIndex piece) const {
    std::shared_ptr<const OwnContribution> own;
    std::shared_ptr<GatheredContribution> gathered;
    {
        Lock lock(mutex_);
        if (own_ && own_->ready().step == step && own_->ready().contribution == contribution)
            own = own_;
        auto found = gathered_.find(std::pair(step, contribution));
        if (found != gathered_.end()) gathered = found->second;
    }
    if (own) return own->read(piece);
    if (gathered) return gathered->read(piece);
    return fail(Errc::not_found, "no contribution " + contribution.short_hex() + " here");
}

bool RunStore::has_contribution(Step step, const Digest& contribution, PieceIndex piece) const {
    Lock lock(mutex_);
    if (own_ && own_->ready().step == step && own_->ready().contribution == contribution)
        return piece.value < grid_.count();
    auto found = gathered_.find(std::pair(step, contribution));
    return found != gathered_.end() && found->second->has(piece);
}

void RunStore::drop_contributions(Step step) {
    bool own_too = false;
    {
        Lock lock(mutex_);
        own_too = own_ && own_->ready().step < step;
        std::erase_if(gathered_, [&](const auto& item) {
            if (item.first.first >= step) return false;
            (void)remove_file(
                folder_ / "contribution" /
                (std::to_string(item.first.first.value) + "." + item.first.second.hex()));
            return true;
        });
    }
    if (own_too) drop_own_contribution();
}

// ---- reduction ---------------------------------------------------------------------------------

Digest RunStore::damaged_contribution(const Plan& plan, PieceIndex piece) const {
    for (const Participant& participant : plan.participants) {
        auto part = read_contribution(plan.step, participant.contribution, piece);
        if (part) continue;
        const Errc why = part.error().code;
        if (why == Errc::digest_mismatch || why == Errc::not_found) return participant.contribution;
    }
    return {};
}

Result<void> RunStore::reduce(StagedEntry& staged, PieceIndex piece,
                              const std::function<Signature(const Digest&)>& sign) {
    if (piece.value >= grid_.count())
        return fail(Errc::not_found, "no piece " + std::to_string(piece.value));
    const Plan& plan = staged.plan();
    MeanBuilder mean(grid_.size(piece));
    for (const Participant& participant : plan.participants) {
        auto part = read_contribution(plan.step, participant.contribution, piece);
        if (!part) return fail(part.error());
        mean.add(*codec_, part->chunk, participant.weight_tokens);
    }
    if (mean.total_weight() == 0) return fail(Errc::malformed, "a plan of no weight");
    Bytes chunk(chunk_bytes(codec_->id(), grid_.size(piece)));
    auto encoded =
        codec_->encode(chunk_place(layout_id_, grid_, plan.step, piece), mean.finish(), chunk);
    if (!encoded) return encoded;
    return staged.put(piece, chunk, sign(merkle_leaf(chunk)));
}

}  // namespace skerry::node
