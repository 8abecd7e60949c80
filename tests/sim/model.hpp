#pragma once
// Integers for tensors: one int64 for each piece of theta and m. Everything is a function of the leased positions and
// of the state they were trained on, so any mistake in who applied what changes a digest.

#include <span>

#include "protocol/identity/merkle.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/rules/data_order.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::sim {

using Values = std::vector<std::int64_t>;

struct ModelState {
    std::uint64_t tokens = 0;
    Values theta;
    Values m;
};

inline ModelState initial_state(std::uint64_t run_seed, std::uint32_t pieces) {
    ModelState s;
    for (std::uint32_t p = 0; p < pieces; ++p)
        s.theta.push_back(static_cast<std::int64_t>(splitmix64_finalise(run_seed + p) >> 20));
    s.m.assign(pieces, 0);
    return s;
}

/// What training on one position adds to a piece of the delta.
inline std::int64_t gradient(std::uint64_t position, std::uint32_t piece, std::int64_t theta) {
    const auto mixed = splitmix64_finalise(position * 0x100 + piece + splitmix64_finalise(static_cast<std::uint64_t>(theta)));
    return static_cast<std::int64_t>(mixed & 0xffffffffffU) - 0x7000000000;
}

/// A chunk: kind, step, piece, value.
inline Bytes to_chunk(ObjectKind kind, Step step, PieceIndex piece, std::int64_t value) {
    ByteWriter w;
    w.u8(static_cast<std::uint8_t>(kind));
    w.id(step);
    w.id(piece);
    w.u64(static_cast<std::uint64_t>(value));
    return w.take();
}
inline std::int64_t chunk_value(ByteSpan chunk) {
    ByteReader r(chunk.subspan(chunk.size() - 8));
    return static_cast<std::int64_t>(r.u64());
}
inline Bytes float_piece(std::int64_t value) {
    ByteWriter w;
    w.u64(static_cast<std::uint64_t>(value));
    return w.take();
}

inline std::vector<Digest> leaves_of(const std::vector<Bytes>& chunks) {
    std::vector<Digest> leaves;
    for (const Bytes& chunk : chunks) leaves.push_back(merkle_leaf(chunk));
    return leaves;
}
inline std::vector<Digest> float_leaves(const Values& values) {
    std::vector<Digest> leaves;
    for (std::int64_t v : values) leaves.push_back(merkle_leaf(float_piece(v)));
    return leaves;
}
inline Digest digest_of(const ModelState& s) {
    return state_digest(s.tokens, merkle_root(float_leaves(s.theta)), merkle_root(float_leaves(s.m)));
}
inline Bytes preimage_of(const ModelState& s) {
    ByteWriter w;
    w.bytes(as_bytes("skerry/state/1"));
    w.u8(0);
    w.u64(s.tokens);
    w.id(merkle_root(float_leaves(s.theta)));
    w.id(merkle_root(float_leaves(s.m)));
    return w.take();
}

/// One summand more. Like a sum of floats it depends on the order.
inline std::int64_t add_weighted(std::int64_t sum, std::uint64_t weight, std::int64_t value) {
    sum += static_cast<std::int64_t>(weight) * value;
    return sum ^ ((sum >> 9) & 7);
}
inline std::int64_t mean_of(std::int64_t sum, std::int64_t weight) { return weight == 0 ? 0 : sum / weight; }

inline void outer_step(ModelState& s, std::uint32_t piece, std::int64_t mean) {
    s.m[piece] = s.m[piece] / 2 + mean;
    s.theta[piece] -= mean + s.m[piece] / 2;
}

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
