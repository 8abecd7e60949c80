#include "protocol/rules/chain.hpp"

namespace skerry {

Digest chain_start(const Digest& manifest_digest) {
    return tagged_hash("skerry/chain/0", manifest_digest.bytes);
}

Digest chain_next(const Digest& h, Step step, EntryKind kind, const Digest& plan_digest,
                  std::span<const Digest> roots, std::uint64_t tokens_after) {
    ByteWriter fields;
    fields.id(h);
    fields.id(step);
    fields.u8(static_cast<std::uint8_t>(kind));
    fields.id(plan_digest);
    fields.u32(static_cast<std::uint32_t>(roots.size()));
    for (const Digest& root : roots) fields.id(root);
    fields.u64(tokens_after);
    return tagged_hash("skerry/chain/1", fields);
}

Digest chain_next(const Digest& h, const Decision& decision) {
    return chain_next(h, decision.step, decision.kind, decision.plan_digest, decision.roots,
                      decision.tokens_after);
}

Digest state_digest(std::uint64_t tokens, const Digest& theta_root, const Digest& m_root) {
    ByteWriter fields;
    fields.u64(tokens);
    fields.id(theta_root);
    fields.id(m_root);
    return tagged_hash("skerry/state/1", fields);
}

Digest float_leaf(std::span<const float> piece) {
    return merkle_leaf({reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size_bytes()});
}

}  // namespace skerry
