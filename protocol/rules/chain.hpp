#pragma once
// The hash chain of the log, and the digest of a state.

#include <span>

#include "protocol/identity/merkle.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry {

/// A rebuilt coordinator begins so far above the highest term that any node has seen.
inline constexpr std::uint64_t kRebuildTermStep = 1000;

/// h_0 = H("skerry/chain/0", manifest digest).
Digest chain_start(const Digest& manifest_digest);

/// h_{k+1} = H("skerry/chain/1", h_k, k, kind, plan digest, roots, tokens_after).
Digest chain_next(const Digest& h, Step step, EntryKind kind, const Digest& plan_digest,
                  std::span<const Digest> roots, std::uint64_t tokens_after);

/// h_{k+1} as the record's own fields give it.
Digest chain_next(const Digest& h, const Decision& decision);

/// Digest of S_k: H("skerry/state/1", tokens, root of theta, root of m).
Digest state_digest(std::uint64_t tokens, const Digest& theta_root, const Digest& m_root);

/// Merkle leaf of one fp32 piece of theta or m.
Digest float_leaf(std::span<const float> piece);

}  // namespace skerry
