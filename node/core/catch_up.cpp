#include "node/core/catch_up.hpp"

#include <algorithm>
#include <string_view>

#include "protocol/wire/chunk_codec.hpp"

namespace skerry::node {

namespace {
constexpr std::string_view kStateTag = "skerry/state/1";

bool holds(const Holder& holder, Step snapshot) {
    return std::find(holder.snapshots.begin(), holder.snapshots.end(), snapshot) != holder.snapshots.end();
}

/// Every piece starts at another holder, so that several serve one catching up.
void rotate(std::vector<NodeId>& nodes, std::uint32_t by) {
    if (!nodes.empty()) std::rotate(nodes.begin(), nodes.begin() + by % nodes.size(), nodes.end());
}
}  // namespace

void CatchUp::want_block(Step step, const Digest& hash, ChunkPurpose purpose, PieceIndex wire, PieceIndex place,
                         std::uint32_t bytes) {
    Want want;
    want.object = {ObjectKind::block, step, hash};
    want.piece = wire;
    want.place = place;
    want.purpose = purpose;
    want.bytes = bytes;
    asker_.want(std::move(want));
}

// ---------------------------------------------------------------------------------------------- entries

std::uint64_t CatchUp::entry_bytes() const {
    std::uint64_t sum = 0;
    for (std::uint32_t p = 0; p < context_.grid.count(); ++p)
        sum += chunk_bytes(context_.manifest->codec, context_.grid.size(PieceIndex{p}));
    return sum;
}

std::vector<NodeId> CatchUp::entry_holders(Step step, PieceIndex place) const {
    std::vector<NodeId> out;
    for (const Holder& holder : context_.orders.holders)
        if (holder.oldest_entry <= step && step < holder.head) out.push_back(holder.node);
    rotate(out, place.value);
    // What Orders say is a second old: the others may have it by now. They come last: most are behind themselves.
    for (const NodeId& peer : roster_.connected())
        if (std::find(out.begin(), out.end(), peer) == out.end()) out.push_back(peer);
    return out;
}

// -------------------------------------------------------------------------------------------- snapshots

std::vector<NodeId> CatchUp::snapshot_holders(Step step, PieceIndex place) const {
    std::vector<NodeId> out;
    for (const Holder& holder : context_.orders.holders)
        if (holds(holder, step) && holder.node != context_.self()) out.push_back(holder.node);
    rotate(out, place.value);
    return out;
}

std::optional<StateDigest> CatchUp::choose_snapshot(Step next, Step head, bool only_way) const {
    const std::uint64_t per_entry = entry_bytes();
    const auto& holders = context_.orders.holders;
    const bool entries_exist = !only_way && std::any_of(holders.begin(), holders.end(), [&](const Holder& holder) {
        return holder.node != context_.self() && holder.oldest_entry <= next && next < holder.head;
    });
    std::uint64_t best = entries_exist ? (head.value - next.value) * per_entry : ~std::uint64_t{0};
    std::optional<StateDigest> out;
    for (const StateDigest& agreed : context_.orders.digests) {
        if (agreed.step <= next || agreed.step > head || snapshot_holders(agreed.step).empty()) continue;
        const std::uint64_t cost =
            8 * context_.grid.elements + (head.value - agreed.step.value) * per_entry;
        if (cost >= best) continue;
        best = cost;
        out = agreed;
    }
    return out;
}

void CatchUp::fetch_snapshot(const StateDigest& what, std::uint64_t tokens) {
    snapshot_.emplace();
    snapshot_->what = what;
    snapshot_->tokens = tokens;
    for (std::uint32_t p = 0; p < 2 * context_.grid.count(); ++p) snapshot_->missing.insert(PieceIndex{p});
    want_block(what.step, what.value, ChunkPurpose::state_preimage, PieceIndex{0}, PieceIndex{0}, 128);
}

bool CatchUp::snapshot_withdrawn() const { return snapshot_ && snapshot_holders(snapshot_->what.step).empty(); }

void CatchUp::end_snapshot(bool adopted) {
    if (!snapshot_) return;
    const Step step = snapshot_->what.step;
    asker_.forget_if([&](const Want& want) {
        return want.object.kind == ObjectKind::block && want.object.step == step &&
               (want.purpose == ChunkPurpose::state_preimage || want.purpose == ChunkPurpose::theta_piece ||
                want.purpose == ChunkPurpose::m_piece || want.purpose == ChunkPurpose::leaf_list);
    });
    if (!adopted) context_.emit(DropSnapshot{step});
    snapshot_.reset();
}

void CatchUp::take_preimage(const Bytes& body) {
    ByteReader in(body);
    const auto tag = in.bytes(kStateTag.size());
    const bool tagged = as_text(tag) == kStateTag && in.u8() == 0;
    const std::uint64_t tokens = in.u64();
    const auto theta = in.fixed<Digest>();
    const auto m = in.fixed<Digest>();
    // It hashes to the agreed digest, so only an agreed nonsense could fail here.
    if (!tagged || !in.ok() || !in.at_end() || tokens != snapshot_->tokens) return;
    snapshot_->preimage = body;
    snapshot_->theta_root = theta;
    snapshot_->m_root = m;
    if (one_piece()) {
        snapshot_->theta = std::vector<Digest>{theta};
        snapshot_->m = std::vector<Digest>{m};
        want_floats(*snapshot_->theta, ChunkPurpose::theta_piece);
        want_floats(*snapshot_->m, ChunkPurpose::m_piece);
        return;
    }
    const auto list_bytes = 32 * context_.grid.count();
    want_block(snapshot_->what.step, theta, ChunkPurpose::leaf_list, PieceIndex{0}, PieceIndex{0}, list_bytes);
    want_block(snapshot_->what.step, m, ChunkPurpose::leaf_list, PieceIndex{1}, PieceIndex{0}, list_bytes);
}

void CatchUp::want_floats(const std::vector<Digest>& leaves, ChunkPurpose purpose) {
    const std::uint32_t shift = purpose == ChunkPurpose::m_piece ? context_.grid.count() : 0;
    for (std::uint32_t p = 0; p < leaves.size(); ++p)
        want_block(snapshot_->what.step, leaves[p], purpose, PieceIndex{p + shift}, PieceIndex{p},
                   4 * context_.grid.size(PieceIndex{p}));
}

void CatchUp::on_snapshot(const Fetched& fetched) {
    const Want& want = fetched.want;
    if (!snapshot_ || want.object.step != snapshot_->what.step) return;
    if (want.purpose == ChunkPurpose::state_preimage && want.object.id == snapshot_->what.value)
        take_preimage(fetched.answer.body);
    if (want.purpose == ChunkPurpose::theta_piece || want.purpose == ChunkPurpose::m_piece)
        snapshot_->missing.erase(want.piece);
    if (want.purpose != ChunkPurpose::leaf_list || fetched.answer.leaves.size() != context_.grid.count()) return;
    if (want.piece.value == 0 && want.object.id == snapshot_->theta_root && !snapshot_->theta) {
        snapshot_->theta = fetched.answer.leaves;
        want_floats(*snapshot_->theta, ChunkPurpose::theta_piece);
    }
    if (want.piece.value == 1 && want.object.id == snapshot_->m_root && !snapshot_->m) {
        snapshot_->m = fetched.answer.leaves;
        want_floats(*snapshot_->m, ChunkPurpose::m_piece);
    }
}

void CatchUp::on_fetched(const Fetched& fetched) {
    if (fetched.failed || fetched.answer.verdict != ChunkVerdict::stored) return;
    entry_.on_fetched(fetched);
    on_snapshot(fetched);
}

std::vector<NodeId> CatchUp::sources(const Want& want) const {
    const bool of_snapshot = snapshot_ && want.object.kind == ObjectKind::block &&
                             want.object.step == snapshot_->what.step && want.purpose != ChunkPurpose::plan_body &&
                             !entry_.is_root(want.object.id);
    return of_snapshot ? snapshot_holders(want.object.step, want.place) : entry_holders(want.object.step, want.place);
}

}  // namespace skerry::node
