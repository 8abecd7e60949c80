#include "node/exchange/piece_files.hpp"

#include "node/log/run_store.hpp"
#include "protocol/base/failpoint.hpp"
#include "protocol/identity/merkle.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"
#include "protocol/wire/signatures.hpp"

namespace skerry::node {
namespace {

ChunkAnswer verdict(ChunkVerdict value) {
    ChunkAnswer answer;
    answer.verdict = value;
    return answer;
}

/// What a store's refusal says about a piece whose proof or signature holds.
ChunkVerdict judge(const Error& error) { return is_disk_error(error.code) ? ChunkVerdict::disk_error : ChunkVerdict::bad_content; }

/// Proof, then as much of the chunk as fits: u32 count, digests, blob.
Bytes contribution_evidence(const Data& envelope, ByteSpan chunk) {
    ByteWriter out;
    out.u32(static_cast<std::uint32_t>(envelope.proof.size()));
    for (const Digest& digest : envelope.proof) out.id(digest);
    std::size_t room = kMaxEvidence - out.view().size() - 4;
    out.blob(chunk.subspan(0, std::min(room, chunk.size())));
    return out.take();
}

Bytes two_results(const ResultPiece& first, const Digest& leaf, const Signature& signature) {
    ByteWriter out;
    out.id(first.leaf);
    out.id(first.owner_signature);
    out.id(leaf);
    out.id(signature);
    return out.take();
}

}  // namespace

PieceSigning signing_with(KeyPair key) {
    return {[key](const Digest& h_after) { return sign_vote(key, h_after); },
            [key](const Digest& plan, PieceIndex piece, const Digest& leaf) { return sign_result(key, plan, piece, leaf); },
            [](const PublicKey& owner, const Digest& plan, PieceIndex piece, const Digest& leaf,
               const Signature& signature) { return verify_result(owner, plan, piece, leaf, signature); }};
}

PieceFiles::PieceFiles(std::shared_ptr<RunStore> store, PieceSigning signing)
    : store_(std::move(store)), signing_(std::move(signing)) {}

PieceFiles::~PieceFiles() = default;

std::shared_ptr<StagedEntry> PieceFiles::staged(const Digest& plan_digest) {
    std::lock_guard lock(mutex_);
    auto found = staged_.find(plan_digest);
    return found == staged_.end() ? nullptr : found->second;
}

bool PieceFiles::is_prepared(const Digest& plan_digest, const Digest& root) const {
    for (const PreparedEntry& entry : store_->prepared()) {
        if (entry.plan_digest == plan_digest && entry.root == root) return true;
    }
    return false;
}

// --------------------------------------------------------------------------------------- any thread

Result<PieceBytes> PieceFiles::read(const ObjectRef& object, PieceIndex piece) {
    Data envelope;
    envelope.object = object;
    envelope.piece = piece;
    Bytes bytes;
    if (object.kind == ObjectKind::contribution) {
        auto found = store_->read_contribution(object.step, object.id, piece);
        if (!found) return fail(found.error());
        envelope.proof = std::move(found->proof);
        bytes = std::move(found->chunk);
    } else if (object.kind == ObjectKind::result) {
        auto found = store_->read_result(object.step, object.id, piece);
        if (!found) {
            // Sets the entry aside, so that it is fetched again; unless it is whole when it is read again.
            if (is_damage(found.error().code) && store_->verify_entry(object.step))
                return fail(Errc::io_error, "read otherwise than it is: " + found.error().detail);
            return fail(found.error());
        }
        envelope.leaf = found->leaf;
        envelope.owner_signature = found->owner_signature;
        bytes = std::move(found->chunk);
    } else {
        auto found = store_->read_block(object);
        if (!found) return fail(found.error());
        bytes = std::move(*found);
    }
    envelope.bytes = static_cast<std::uint32_t>(bytes.size());
    return PieceBytes{std::move(envelope), std::make_shared<const Bytes>(std::move(bytes))};
}

Result<ChunkAnswer> PieceFiles::take_piece(const VerifyChunk& what, const Data& envelope, ByteSpan chunk) {
    if (what.purpose == ChunkPurpose::contribution) return take_contribution(what, envelope, chunk);
    return take_result(what, envelope, chunk);
}

ChunkAnswer PieceFiles::take_contribution(const VerifyChunk& what, const Data& envelope, ByteSpan chunk) {
    auto gathered = store_->gather(what.object.step, what.object.id);
    if (!gathered) return verdict(ChunkVerdict::disk_error);
    auto put = (*gathered)->put(what.piece, chunk, envelope.proof);
    if (put) return verdict(ChunkVerdict::stored);
    if (put.error().code == Errc::digest_mismatch) return verdict(ChunkVerdict::bad_proof);
    auto answer = verdict(judge(put.error()));
    if (answer.verdict == ChunkVerdict::bad_content) answer.evidence = contribution_evidence(envelope, chunk);
    return answer;
}

ChunkAnswer PieceFiles::take_result(const VerifyChunk& what, const Data& envelope, ByteSpan chunk) {
    Digest leaf = merkle_leaf(chunk);
    auto entry = staged(what.object.id);
    if (!entry) {  // prepared before: it is here already
        auto kept = store_->read_result(what.object.step, what.object.id, what.piece);
        auto answer = verdict(kept && kept->leaf == leaf ? ChunkVerdict::stored : ChunkVerdict::disk_error);
        answer.leaf = leaf;
        return answer;
    }
    bool signed_result = what.purpose == ChunkPurpose::result;
    Digest expected = signed_result ? envelope.leaf : what.expect;
    if (leaf != expected) return verdict(ChunkVerdict::bad_proof);
    if (signed_result && !signing_.verify_result(what.owner, what.object.id, what.piece, leaf, envelope.owner_signature))
        return verdict(ChunkVerdict::bad_proof);

    auto here = entry->leaf(what.piece);
    if (here && *here != leaf) {
        auto answer = verdict(ChunkVerdict::bad_content);
        auto first = entry->read(what.piece);
        if (first) answer.evidence = two_results(*first, leaf, envelope.owner_signature);
        return answer;
    }
    auto put = entry->put(what.piece, chunk, envelope.owner_signature);
    auto answer = verdict(put ? ChunkVerdict::stored : judge(put.error()));
    answer.leaf = leaf;
    return answer;
}

Result<ReducedAnswer> PieceFiles::reduce(const Digest& plan_digest, PieceIndex piece) {
    auto entry = staged(plan_digest);
    if (!entry) return fail(Errc::not_found, "no staging for plan " + plan_digest.short_hex());
    failpoint("owner.before_first_result");
    ReducedAnswer answer;
    auto sign = [&](const Digest& leaf) {
        answer.leaf = leaf;
        answer.signature = signing_.result(plan_digest, piece, leaf);
        return answer.signature;
    };
    auto reduced = store_->reduce(*entry, piece, sign);
    if (!reduced) {
        answer.damaged = store_->damaged_contribution(entry->plan(), piece);
        if (!answer.damaged.is_zero()) return answer;
        return fail(reduced.error());
    }
    if (answer.leaf.is_zero()) {  // it was there already
        auto kept = entry->read(piece);
        if (!kept) return fail(kept.error());
        answer.leaf = kept->leaf;
        answer.signature = kept->owner_signature;
    }
    return answer;
}

// -------------------------------------------------------------------------------------- disk thread

Result<ChunkAnswer> PieceFiles::take_block(const VerifyChunk& what, ByteSpan block) {
    if (what.purpose == ChunkPurpose::leaf_list) return take_leaf_list(what, block);
    if (what.purpose == ChunkPurpose::theta_piece || what.purpose == ChunkPurpose::m_piece)
        return take_snapshot_piece(what, block);

    if (sha256(block) != what.object.id) return verdict(ChunkVerdict::bad_proof);
    auto answer = verdict(ChunkVerdict::stored);
    answer.body.assign(block.begin(), block.end());
    if (what.purpose == ChunkPurpose::plan_body) {
        auto followed = follow(block);
        if (!followed) answer.verdict = judge(followed.error());
        return answer;
    }
    if (fetches_.contains(what.object.step)) return answer;
    auto fetch = store_->fetch_snapshot(what.object.step, what.object.id, block);
    if (!fetch) {
        answer.verdict = judge(fetch.error());
        return answer;
    }
    fetches_[what.object.step] = std::move(*fetch);
    return answer;
}

ChunkAnswer PieceFiles::take_leaf_list(const VerifyChunk& what, ByteSpan block) {
    auto leaves = parse_leaf_list(block);
    if (!leaves || merkle_root(*leaves) != what.object.id) return verdict(ChunkVerdict::bad_proof);
    auto answer = verdict(ChunkVerdict::stored);
    for (auto& [step, fetch] : fetches_) {
        const StateRoots& roots = fetch->roots();
        if (roots.theta_root != what.object.id && roots.m_root != what.object.id) continue;
        auto put = fetch->put(what.object.id, block);
        if (!put) answer.verdict = judge(put.error());
    }
    answer.leaves = std::move(*leaves);
    return answer;
}

ChunkAnswer PieceFiles::take_snapshot_piece(const VerifyChunk& what, ByteSpan block) {
    auto fetch = fetches_.find(what.object.step);
    if (fetch == fetches_.end()) return verdict(ChunkVerdict::disk_error);
    auto put = fetch->second->put(what.object.id, block);
    if (put) return verdict(ChunkVerdict::stored);
    return verdict(is_disk_error(put.error().code) ? ChunkVerdict::disk_error : ChunkVerdict::bad_proof);
}

Result<void> PieceFiles::follow(ByteSpan plan_body) {
    auto plan = parse_plan(plan_body);
    if (!plan) return fail(plan.error());
    Digest digest = body_digest(plan_body);
    if (plan->kind != EntryKind::commit) {
        without_entry_[digest] = Bytes(plan_body.begin(), plan_body.end());
        return {};
    }
    for (const PreparedEntry& entry : store_->prepared()) {
        if (entry.plan_digest == digest) return {};
    }
    auto entry = store_->stage_entry(plan_body);
    if (!entry) return fail(entry.error());
    std::lock_guard lock(mutex_);
    staged_[digest] = std::move(*entry);
    return {};
}

void PieceFiles::drop_staging(Step step, const Digest& plan_digest) {
    without_entry_.erase(plan_digest);
    std::shared_ptr<StagedEntry> entry;
    {
        std::lock_guard lock(mutex_);
        auto found = staged_.find(plan_digest);
        if (found != staged_.end()) {
            entry = std::move(found->second);
            staged_.erase(found);
        }
    }
    // A higher plan of the step may have taken its place already; its files are not ours to drop.
    bool other = false;
    {
        std::lock_guard lock(mutex_);
        for (const auto& [digest, kept] : staged_) other = other || kept->plan().step == step;
    }
    if (!other) {
        store_->drop_prepared(step);
    } else if (entry) {
        entry->discard();
    }
}

void PieceFiles::drop_contributions(Step step) { store_->drop_contributions(step.next()); }

Result<PreparedAnswer> PieceFiles::prepare(const WritePrepared& action) {
    PreparedAnswer answer;
    answer.signature = signing_.vote(action.h_after);
    answer.durable = is_prepared(action.plan_digest, action.root);
    if (answer.durable) return answer;
    if (auto known = append_records(action.step, action.records); !known) {
        if (!is_disk_error(known.error().code)) return fail(known.error());
        return answer;
    }
    if (auto ballot = without_entry_.find(action.plan_digest); ballot != without_entry_.end()) {
        auto kept = store_->prepare_ballot(ballot->second);
        if (!kept && !is_disk_error(kept.error().code)) return fail(kept.error());
        answer.durable = kept.has_value();
        return answer;
    }
    auto entry = staged(action.plan_digest);
    if (!entry) return fail(Errc::not_found, "no staging for plan " + action.plan_digest.short_hex());
    auto made = store_->prepare(*entry);
    if (!made && !is_disk_error(made.error().code)) return fail(made.error());
    if (made && made->root != action.root)
        return fail(Errc::digest_mismatch, "the prepared entry has root " + made->root.short_hex());
    answer.durable = made.has_value();
    return answer;
}

/// `records` end below `step`.
Result<void> PieceFiles::append_records(Step step, const std::vector<SignedDecision>& records) {
    Step at{step.value - records.size()};
    for (const SignedDecision& record : records) {
        if (store_->decisions().next() <= at) {
            auto appended = store_->append_decision(record);
            if (!appended) return appended;
        }
        at = at.next();
    }
    return {};
}

Result<void> PieceFiles::append(const AppendEntry& action) {
    bool has_entry = !action.record_only;
    if (has_entry && !is_prepared(action.plan_digest, action.root)) {
        auto entry = staged(action.plan_digest);
        if (!entry || !entry->complete())
            return fail(Errc::digest_mismatch, "the entry of step " + std::to_string(action.step.value) + " is not here");
        auto made = store_->prepare(*entry);
        if (!made) return fail(made.error());
        if (made->root != action.root)
            return fail(Errc::digest_mismatch, "the entry's root is not the decided one");
    }
    if (store_->decisions().next() <= action.step) {
        auto appended = store_->append_decision(action.record);
        if (!appended) return appended;
    }
    if (has_entry) {
        auto adopted = store_->adopt_prepared(action.step);
        if (!adopted) return fail(adopted.error());
        if (!*adopted) return fail(Errc::digest_mismatch, "no prepared entry has the decided root");
    } else {
        store_->drop_prepared(action.step);
        without_entry_.erase(action.plan_digest);
    }
    forget_staged([&](Step step) { return step == action.step; });
    return {};
}

void PieceFiles::forget_staged(const std::function<bool(Step)>& which) {
    std::lock_guard lock(mutex_);
    std::erase_if(staged_, [&](const auto& kept) { return which(kept.second->plan().step); });
}

Result<StateAnswer> PieceFiles::adopt_snapshot(const AdoptSnapshot& action) {
    auto fetch = fetches_.find(action.step);
    if (fetch == fetches_.end() || !fetch->second->complete())
        return fail(Errc::digest_mismatch, "snapshot " + std::to_string(action.step.value) + " is not complete");
    auto known = append_records(action.step, action.records);
    if (!known) return fail(known.error());
    auto info = store_->adopt_snapshot(*fetch->second);
    fetches_.erase(fetch);
    if (!info) return fail(info.error());
    if (info->state_digest != action.digest) return fail(Errc::digest_mismatch, "the snapshot is of another state");
    forget_staged([&](Step step) { return step < action.step; });
    auto loaded = store_->load_state(action.step);
    if (!loaded) return fail(loaded.error());
    return StateAnswer{info->state_digest, true};
}

void PieceFiles::drop_snapshot(Step step) {
    auto fetch = fetches_.find(step);
    if (fetch == fetches_.end()) return;
    DiskPath folder = fetch->second->folder();
    fetches_.erase(fetch);
    (void)remove_tree(folder);
}

}  // namespace skerry::node
