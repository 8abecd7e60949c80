#include "node/core/entry_fetch.hpp"

#include "protocol/wire/chunk_codec.hpp"

namespace skerry::node {

void EntryFetch::begin(Step step, const Digest& plan_digest, const Digest& root) {
    end();
    entry_ = Entry{step, plan_digest, root, false, {}, {}};
    const std::uint32_t pieces = context_.grid.count();
    for (std::uint32_t p = 0; p < pieces; ++p) entry_->missing.insert(PieceIndex{p});
    asker_.forget_object({ObjectKind::result, step, plan_digest});
    if (pace_ == Pace::all_at_once) context_.emit(OpenStaging{step, plan_digest});
    // The list of one leaf is the root itself; asked for as a block that hash would mean the piece.
    if (pieces == 1) entry_->leaves = std::vector<Digest>{root};
    else want_block(root, ChunkPurpose::leaf_list, 32 * pieces);
    want_block(plan_digest, ChunkPurpose::plan_body, 4096);
    want_chunks();
}

void EntryFetch::end() {
    if (!entry_) return;
    asker_.forget_object({ObjectKind::block, entry_->step, entry_->root});
    asker_.forget_object({ObjectKind::block, entry_->step, entry_->plan_digest});
    asker_.forget_object({ObjectKind::result, entry_->step, entry_->plan_digest});
    entry_.reset();
}

void EntryFetch::want_block(const Digest& hash, ChunkPurpose purpose, std::uint32_t bytes) {
    Want want;
    want.object = {ObjectKind::block, entry_->step, hash};
    want.purpose = purpose;
    want.bytes = bytes;
    asker_.want(std::move(want));
}

void EntryFetch::want_chunks() {
    if (!entry_->leaves || (pace_ == Pace::one_by_one && !entry_->body)) return;
    for (PieceIndex piece : entry_->missing) {
        Want chunk;
        chunk.object = {ObjectKind::result, entry_->step, entry_->plan_digest};
        chunk.piece = chunk.place = piece;
        chunk.purpose = ChunkPurpose::entry;
        chunk.expect = (*entry_->leaves)[piece.value];
        chunk.bytes = static_cast<std::uint32_t>(chunk_bytes(context_.manifest->codec, context_.grid.size(piece)));
        asker_.want(std::move(chunk));
        if (pace_ == Pace::one_by_one) return;
    }
}

bool EntryFetch::on_fetched(const Fetched& fetched) {
    const Want& want = fetched.want;
    if (!entry_ || want.object.step != entry_->step) return false;
    if (want.purpose == ChunkPurpose::plan_body && want.object.id == entry_->plan_digest) {
        entry_->body = true;
    } else if (want.purpose == ChunkPurpose::entry && want.object.id == entry_->plan_digest) {
        entry_->missing.erase(want.place);
    } else if (want.purpose == ChunkPurpose::leaf_list && is_root(want.object.id)) {
        if (fetched.answer.leaves.size() == context_.grid.count()) entry_->leaves = fetched.answer.leaves;
    } else {
        return false;
    }
    const bool more = pace_ == Pace::one_by_one || want.purpose == ChunkPurpose::leaf_list;
    if (more) want_chunks();
    return true;
}

}  // namespace skerry::node
