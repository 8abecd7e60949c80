#include "tests/sim/model.hpp"

#include "node/log/entry_file.hpp"
#include "protocol/base/assert.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::sim {

std::vector<float> local_weights(std::span<const float> theta, const Values& delta, const PieceGrid& grid) {
    std::vector<float> local(theta.begin(), theta.end());
    for (std::size_t i = 0; i < local.size(); ++i) {
        const auto whole = delta[i / grid.piece_elements] * static_cast<std::int64_t>(i % 61 + 1);
        local[i] -= static_cast<float>(whole) * 0x1p-28F;
    }
    return local;
}

ChunkForm::ChunkForm(const Manifest& manifest)
    : grid{manifest.elements, manifest.piece_elements},
      codec(*node::find_codec(manifest.codec)),
      layout(layout_id(body_digest(to_bytes(manifest)))) {}

Bytes ChunkForm::encode(Step step, PieceIndex piece, std::span<const float> values) const {
    Bytes chunk(chunk_bytes(codec->id(), grid.size(piece)));
    auto encoded = codec->encode(node::chunk_place(layout, grid, step, piece), values, chunk);
    SKERRY_ASSERT(encoded);
    return chunk;
}

std::vector<Bytes> contribution_chunks(const ChunkForm& form, Step step, std::span<const float> theta,
                                       std::span<const float> local) {
    std::vector<float> delta(theta.size());
    for (std::size_t i = 0; i < delta.size(); ++i) delta[i] = theta[i] - local[i];
    std::vector<Bytes> chunks;
    for (std::uint32_t p = 0; p < form.grid.count(); ++p) {
        const PieceIndex piece{p};
        chunks.push_back(form.encode(step, piece, std::span(delta).subspan(form.grid.first(piece), form.grid.size(piece))));
    }
    return chunks;
}

Digest entry_root(const ChunkForm& form, Step step, std::span<const Weighted> contributions) {
    std::uint64_t total = 0;
    for (const Weighted& c : contributions) total += c.weight;
    std::vector<Digest> leaves;
    for (std::uint32_t p = 0; p < form.grid.count(); ++p) {
        const PieceIndex piece{p};
        std::vector<float> mean(form.grid.size(piece), 0.0F);
        std::vector<float> one(mean.size());
        for (const Weighted& c : contributions) {
            form.codec->decode((*c.chunks)[p], one);
            for (std::size_t i = 0; i < mean.size(); ++i) mean[i] = mean[i] + static_cast<float>(c.weight) * one[i];
        }
        for (float& value : mean) value = value / static_cast<float>(total);
        leaves.push_back(merkle_leaf(form.encode(step, piece, mean)));
    }
    return merkle_root(leaves);
}

Digest state_digest_of(const PieceGrid& grid, std::uint64_t tokens, std::span<const float> theta,
                       std::span<const float> momentum) {
    std::vector<Digest> theta_leaves;
    std::vector<Digest> m_leaves;
    for (std::uint32_t p = 0; p < grid.count(); ++p) {
        const PieceIndex piece{p};
        theta_leaves.push_back(float_leaf(theta.subspan(grid.first(piece), grid.size(piece))));
        m_leaves.push_back(float_leaf(momentum.subspan(grid.first(piece), grid.size(piece))));
    }
    return state_digest(tokens, merkle_root(theta_leaves), merkle_root(m_leaves));
}

std::vector<Digest> leaves_of(const std::vector<Bytes>& chunks) {
    std::vector<Digest> leaves;
    for (const Bytes& chunk : chunks) leaves.push_back(merkle_leaf(chunk));
    return leaves;
}

}  // namespace skerry::sim
