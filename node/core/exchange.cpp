#include "node/core/exchange.hpp"

#include <algorithm>

#include "node/core/disk_errors.hpp"
#include "protocol/identity/merkle.hpp"
#include "protocol/wire/chunk_codec.hpp"

namespace skerry::node {

namespace {
constexpr Millis kHaveEvery{1000};

bool bit(const std::vector<std::uint8_t>& bitmap, PieceIndex piece) {
    return piece.value / 8 < bitmap.size() && ((bitmap[piece.value / 8] >> (piece.value % 8)) & 1) != 0;
}
}  // namespace

std::uint32_t Exchange::chunk_size(PieceIndex piece) const {
    return static_cast<std::uint32_t>(chunk_bytes(context_.manifest->codec, context_.grid.size(piece)));
}

void Exchange::follow(std::shared_ptr<const Plan> plan, const Digest& digest, Bytes body) {
    if (plan_) {
        asker_.forget_object({ObjectKind::result, plan_->step, digest_});
        context_.emit(DropStaging{plan_->step, digest_});
        lower_.insert(digest_);
    }
    step_ = plan->step;
    plan_ = std::move(plan);
    digest_ = digest;
    lower_.erase(digest_);  // a rebuilt coordinator may go back to it
    // What it does not bind is not needed any more, and would fill the windows.
    asker_.forget_if([&](const Want& want) {
        return want.object.kind == ObjectKind::contribution && !binds(want.maker, want.object.id);
    });
    results_.assign(plan_->kind == EntryKind::commit ? context_.grid.count() : 0, {});
    results_have_ = 0;
    reducing_.clear();
    gone_.clear();
    peers_have_.clear();
    have_changed_ = decided_ = restored_ = false;
    changed_ = true;
    context_.emit(FollowPlan{digest, std::move(body), plan_});
    want_missing();
    for (const auto& [from, have] : heard_) use_have(from, have);
}

void Exchange::restore(const PreparedImage& image, std::shared_ptr<const Plan> plan, const Digest& digest) {
    step_ = plan->step;
    plan_ = std::move(plan);
    digest_ = digest;
    results_.assign(image.leaves.size(), {});
    results_have_ = results_.size();
    for (std::size_t p = 0; p < results_.size(); ++p)
        results_[p] = {true, false, false, image.leaves[p], image.signatures[p]};
    decided_ = false;
    changed_ = restored_ = true;
    have_changed_ = !results_.empty();
    context_.emit(FollowPlan{digest, image.plan_body, plan_});
}

void Exchange::end_step(Step step) {
    asker_.forget_if([&](const Want& want) {
        return want.object.kind != ObjectKind::block && want.object.step <= step &&
               want.purpose != ChunkPurpose::entry;
    });
    if (step < step_) return;
    plan_.reset();
    lower_.clear();
    results_.clear();
    results_have_ = 0;
    reducing_.clear();
    own_.clear();
    gathered_.clear();
    gone_.clear();
    peers_have_.clear();
    decided_ = false;
    step_ = step.next();
    changed_ = true;
}

void Exchange::add_own(Step step, const Digest& id) {
    step_ = step;
    own_.insert(id);
    changed_ = true;
    if (!plan_) return;
    gone_.erase(context_.self());
    for (std::uint32_t p = 0; p < results_.size(); ++p) try_reduce(PieceIndex{p});
}

void Exchange::add_gathered(Step step, const Digest& id, const std::vector<PieceIndex>& pieces) {
    step_ = step;
    gathered_[id].insert(pieces.begin(), pieces.end());
}

void Exchange::lose_own(const Digest& id) {
    own_.erase(id);
    if (plan_ && binds(context_.self(), id)) gone_.insert(context_.self());
    changed_ = true;
}

Digest Exchange::root() const {
    if (results_.empty()) return {};  // of a plan without chunks
    std::vector<Digest> leaves;
    leaves.reserve(results_.size());
    for (const Result& result : results_) leaves.push_back(result.leaf);
    return merkle_root(leaves);
}

void Exchange::forget_contributions() {
    own_.clear();
    gathered_.clear();
    reducing_.clear();
    for (Result& result : results_) result.reducing = false;
    changed_ = true;
    if (plan_) want_missing();
}

bool Exchange::member(const NodeId& node) const {
    return plan_ && std::binary_search(plan_->members.begin(), plan_->members.end(), node);
}

bool Exchange::binds(const NodeId& node, const Digest& contribution) const {
    return plan_ && std::any_of(plan_->participants.begin(), plan_->participants.end(), [&](const auto& p) {
               return p.node == node && p.contribution == contribution;
           });
}

bool Exchange::binds_own(const NodeId& self) const {
    return std::any_of(own_.begin(), own_.end(), [&](const Digest& id) { return binds(self, id); });
}

bool Exchange::contribution_here(const Digest& id, PieceIndex piece) const {
    if (own_.contains(id)) return true;
    auto at = gathered_.find(id);
    return at != gathered_.end() && at->second.contains(piece);
}

void Exchange::want_contribution(const Participant& participant, PieceIndex piece, bool relayed) {
    Want want;
    want.object = {ObjectKind::contribution, plan_->step, participant.contribution};
    want.piece = want.place = piece;
    want.purpose = ChunkPurpose::contribution;
    want.maker = participant.node;
    want.bytes = chunk_size(piece);
    want.relayed = relayed;
    asker_.want(std::move(want));
}

/// Of the owner while the step is open; once it is decided, or if the owner is myself, whoever has it may give it.
void Exchange::want_result(PieceIndex piece) {
    if (results_[piece.value].have) return;
    const NodeId& owner = plan_->members[plan_->piece_owner[piece.value]];
    Want want;
    want.object = {ObjectKind::result, plan_->step, digest_};
    want.piece = want.place = piece;
    want.purpose = ChunkPurpose::result;
    if (!decided_ && owner != context_.self()) want.maker = owner;
    want.owner = roster_.key_of(owner);
    want.bytes = chunk_size(piece);
    asker_.want(std::move(want));
}

void Exchange::fetch_decided() {
    if (!plan_ || decided_) return;
    decided_ = true;
    asker_.forget_if([](const Want& want) { return want.object.kind == ObjectKind::contribution; });
    for (std::uint32_t p = 0; p < results_.size(); ++p)
        if (!results_[p].reducing) want_result(PieceIndex{p});
}

void Exchange::want_missing() {
    for (std::uint32_t p = 0; p < results_.size(); ++p) {
        const PieceIndex piece{p};
        const NodeId& owner = plan_->members[plan_->piece_owner[p]];
        if (owner == context_.self() && !decided_) {
            results_[p].mine = true;
            for (const Participant& participant : plan_->participants) {
                if (contribution_here(participant.contribution, piece)) continue;
                if (participant.node == context_.self()) gone_.insert(context_.self());
                else want_contribution(participant, piece, false);
            }
            try_reduce(piece);
            continue;
        }
        want_result(piece);
    }
    // A participant that owns nothing must still notice that its contribution is lost.
    for (const Participant& participant : plan_->participants)
        if (participant.node == context_.self() && !own_.contains(participant.contribution))
            gone_.insert(context_.self());
}

void Exchange::try_reduce(PieceIndex piece) {
    // What was asked for under an earlier plan may come under one without chunks.
    if (!plan_ || piece.value >= results_.size()) return;
    Result& result = results_[piece.value];
    if (!result.mine || result.have || result.reducing || context_.now < disk_again_) return;
    // All participants of the plan, or nothing: a subset is another result.
    for (const Participant& participant : plan_->participants)
        if (!contribution_here(participant.contribution, piece)) return;
    result.reducing = true;
    const OpId op = context_.new_op();
    reducing_[op] = piece;
    context_.emit(ReducePiece{op, digest_, piece});
}

std::optional<Digest> Exchange::on_done(const Done& done) {
    auto at = reducing_.find(done.op);
    if (at == reducing_.end()) return {};
    const PieceIndex piece = at->second;
    reducing_.erase(at);
    results_[piece.value].reducing = false;
    const auto* reduced = std::get_if<ReducedAnswer>(&done.answer);
    if (reduced && !done.error && reduced->damaged.is_zero()) {
        take_result(piece, reduced->leaf, reduced->signature);
        return {};
    }
    if (reduced && own_.contains(reduced->damaged)) return reduced->damaged;
    // There was no room for the result: what it is made of is still there.
    const bool full = done.error && done.error->code == Errc::disk_full;
    // Else a gathered chunk rotted or vanished, or cannot be read: gather all foreign ones of this piece again.
    if (!full)
        for (auto& [id, pieces] : gathered_) pieces.erase(piece);
    if (done.error && is_disk_error(done.error->code)) disk_again_ = context_.now + kDiskAgain;
    else want_missing();
    return {};
}

void Exchange::take_result(PieceIndex piece, const Digest& leaf, const Signature& signature) {
    Result& result = results_[piece.value];
    if (result.have) return;
    result.have = true;
    result.leaf = leaf;
    result.signature = signature;
    ++results_have_;
    have_changed_ = changed_ = true;
}

void Exchange::on_have(const NodeId& from, const Have& message) {
    if (message.bitmap.size() > (context_.grid.count() + 7) / 8) return;
    // Also of a plan that is not mine yet: it is not said again to one that follows it only later.
    heard_[from] = message;
    use_have(from, message);
}

void Exchange::use_have(const NodeId& from, const Have& message) {
    if (!plan_ || message.object != ObjectRef{ObjectKind::result, plan_->step, digest_}) return;
    if (!member(from)) return;
    peers_have_[from] = message.bitmap;
    // I reduced them in an earlier life. What they were made of may be lost since.
    for (std::uint32_t p = 0; p < results_.size(); ++p)
        if (results_[p].mine && !results_[p].reducing && bit(message.bitmap, PieceIndex{p})) want_result(PieceIndex{p});
}

void Exchange::on_gone(const NodeId& from, const Want& want) {
    if (want.purpose != ChunkPurpose::contribution || from != want.maker) return;
    if (plan_ && binds(from, want.object.id)) gone_.insert(from);
}

void Exchange::on_fetched(const Fetched& fetched) {
    if (fetched.want.purpose == ChunkPurpose::contribution) {
        on_contribution(fetched);
        return;
    }
    if (fetched.failed || fetched.answer.verdict != ChunkVerdict::stored) return;
    if (!follows(fetched.want.object.id)) return;
    take_result(fetched.want.place, fetched.envelope.leaf, fetched.envelope.owner_signature);
}

void Exchange::on_contribution(const Fetched& fetched) {
    const Want& want = fetched.want;
    if (fetched.failed || want.object.step != step_) return;
    if (fetched.answer.verdict == ChunkVerdict::stored) {
        gathered_[want.object.id].insert(want.place);
        changed_ = true;
        if (plan_) try_reduce(want.place);
        return;
    }
    if (fetched.answer.verdict != ChunkVerdict::bad_content || !plan_) return;
    Blame blame;
    blame.plan = digest_;
    blame.piece = want.place;
    blame.kind = BlameKind::bad_contribution;
    blame.accused = want.maker;
    blame.evidence = fetched.answer.evidence;
    ControlMessage message;
    message.body = std::move(blame);
    context_.emit(Send{std::move(message)});
}

void Exchange::pump() {
    if (disk_again_ != Mono::min() && context_.now >= disk_again_) {
        disk_again_ = Mono::min();
        if (plan_) want_missing();
    }
    // The last piece is told at once: its owner may be gone, and somebody waits for it.
    if (plan_ && have_changed_ && (complete() || context_.now - kHaveEvery >= have_sent_at_)) send_have();
}

void Exchange::send_have() {
    Have have;
    have.object = {ObjectKind::result, plan_->step, digest_};
    have.bitmap.assign((results_.size() + 7) / 8, 0);
    for (std::size_t p = 0; p < results_.size(); ++p)
        if (results_[p].have) have.bitmap[p / 8] = static_cast<std::uint8_t>(have.bitmap[p / 8] | (1U << (p % 8)));
    // Not to members alone: after a rebuild others copy a prepared entry, too.
    for (const NodeId& peer : roster_.connected())
        if (peer != context_.self()) context_.emit(SendPeer{peer, have});
    have_sent_at_ = context_.now;
    have_changed_ = false;
}

Mono Exchange::next_wake() const {
    const Mono disk = disk_again_ == Mono::min() ? Mono::max() : disk_again_;
    return plan_ && have_changed_ ? std::min(disk, have_sent_at_ + kHaveEvery) : disk;
}

std::vector<NodeId> Exchange::sources(const Want& want, const std::vector<NodeId>& entry_holders) const {
    std::vector<NodeId> out;
    const bool contribution = want.object.kind == ObjectKind::contribution;
    if (!want.maker.is_zero()) out.push_back(want.maker);
    if (contribution) {
        const bool cut = !roster_.connected(want.maker);
        if (want.relayed || !plan_ || !(cut || asker_.stalled(want.maker, true))) return out;
        for (const NodeId& peer : plan_->members)
            if (peer != want.maker && peer != context_.self()) out.push_back(peer);
        return out;
    }
    for (const auto& [peer, bitmap] : peers_have_)
        if (peer != want.maker && bit(bitmap, want.place)) out.push_back(peer);
    out.insert(out.end(), entry_holders.begin(), entry_holders.end());
    return out;
}

Availability Exchange::look_contribution(const NodeId& asker, const ObjectRef& object, PieceIndex piece, Step head) {
    if (object.step < head) return Availability::gone(GoneReason::superseded);
    if (!plan_ || object.step != plan_->step || !member(asker)) return Availability::later();
    auto bound = std::find_if(plan_->participants.begin(), plan_->participants.end(),
                              [&](const Participant& p) { return p.contribution == object.id; });
    // Not of my plan: of one that I have not heard of yet, or of one that is over.
    if (bound == plan_->participants.end() || piece.value >= results_.size()) return Availability::later();
    if (contribution_here(object.id, piece)) return Availability::here();
    if (bound->node == context_.self()) return Availability::gone(GoneReason::lost);
    if (plan_->members[plan_->piece_owner[piece.value]] != asker) return Availability::gone(GoneReason::unknown);
    want_contribution(*bound, piece, true);
    return Availability::later();
}

Availability Exchange::look_result(const ObjectRef& object, PieceIndex piece) const {
    if (lower_.contains(object.id)) return Availability::gone(GoneReason::superseded);
    if (!follows(object.id) || piece.value >= results_.size()) return Availability::later();
    return results_[piece.value].have ? Availability::here() : Availability::later();
}

ExchangeState Exchange::state() const {
    ExchangeState out;
    if (!plan_) return out;
    out.plan = digest_;
    for (std::uint32_t p = 0; p < results_.size(); ++p) {
        if (!results_[p].mine) continue;
        for (const Participant& participant : plan_->participants) {
            ++out.contributions_need;
            if (results_[p].have || contribution_here(participant.contribution, PieceIndex{p})) ++out.contributions_have;
        }
    }
    out.results_have = static_cast<std::uint32_t>(results_have_);
    out.results_need = static_cast<std::uint32_t>(results_.size());
    out.gone.assign(gone_.begin(), gone_.end());
    out.stalled = asker_.stalled_edges();
    return out;
}

}  // namespace skerry::node
