#pragma once
// What training does in a simulation, in whole numbers, and what float32 becomes of it. Everything is a function of
// the leased positions and of the state they were trained on, so any mistake in who applied what changes a digest.

#include <span>

#include "node/compress/codec.hpp"
#include "protocol/identity/merkle.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/rules/data_order.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::sim {

/// One number for each piece.
using Values = std::vector<std::int64_t>;

/// What training on one position adds to a piece of the delta; `theta` are bits of the piece's first weight.
inline std::int64_t gradient(std::uint64_t position, std::uint32_t piece, std::uint32_t theta) {
    const auto mixed = splitmix64_finalise(position * 0x100 + piece + splitmix64_finalise(theta));
    return static_cast<std::int64_t>(mixed & 0xffff) - 0x7000;
}

/// The weights that a trainer with this delta holds: theta minus the piece's number, spread over its elements.
std::vector<float> local_weights(std::span<const float> theta, const Values& delta, const PieceGrid& grid);

/// What the form of a run's chunks follows from.
struct ChunkForm {
    explicit ChunkForm(const Manifest& manifest);
    PieceGrid grid;
    const node::Codec* codec;
    std::uint32_t layout;
    Bytes encode(Step step, PieceIndex piece, std::span<const float> values) const;
};

/// theta - local in chunks: what a contribution of this delta must be.
std::vector<Bytes> contribution_chunks(const ChunkForm& form, Step step, std::span<const float> theta,
                                       std::span<const float> local);
struct Weighted {
    std::uint64_t weight = 0;
    const std::vector<Bytes>* chunks = nullptr;
};
/// Root of the entry that these contributions make, in plan order; by the definition, not by the node's loops.
Digest entry_root(const ChunkForm& form, Step step, std::span<const Weighted> contributions);
Digest state_digest_of(const PieceGrid& grid, std::uint64_t tokens, std::span<const float> theta,
                       std::span<const float> momentum);

std::vector<Digest> leaves_of(const std::vector<Bytes>& chunks);

/// Signatures that cost one hash; only their owners make them, so nothing else is needed of them here.
inline Signature cheap_signature(ByteSpan key, ByteSpan message) {
    Sha256 h;
    const Digest d = h.update(key).update(message).finish();
    Signature s;
    std::copy(d.bytes.begin(), d.bytes.end(), s.bytes.begin());
    return s;
}
inline Signature sim_vote(const PublicKey& key, const Digest& h) { return cheap_signature(key.bytes, h.bytes); }
inline Signature sim_result(const PublicKey& key, const Digest& plan, PieceIndex piece, const Digest& leaf) {
    ByteWriter w;
    w.id(plan);
    w.id(piece);
    w.id(leaf);
    return cheap_signature(key.bytes, w.view());
}

}  // namespace skerry::sim
