#include "node/log/replay.hpp"

#include <algorithm>

#include "node/outer/outer_optimizer.hpp"
#include "protocol/base/failpoint.hpp"

namespace skerry::node {
namespace {

template <class T>
std::span<T> part(std::span<T> piece, std::uint64_t block, std::uint64_t size) {
    const std::uint64_t first = block * size;
    return piece.subspan(first, std::min<std::uint64_t>(size, piece.size() - first));
}

/// `before` blocks are in the pieces before this one.
void apply_recorded(std::span<float> theta, std::span<float> momentum, std::span<const float> mean,
                    const OuterHyper& hyper, std::uint64_t before, std::uint64_t blocks, ApplyRecord& record) {
    for (std::uint64_t block = record.next() - before; block < blocks; ++block) {
        auto t = part(theta, block, record.block());
        auto m = part(momentum, block, record.block());
        record.restore(t, m);
        record.before(t, m);
        apply_outer_step(t, m, part(mean, block, record.block()), hyper);
        failpoint("node.mid_apply");
        record.after();
    }
}

}  // namespace

Result<void> apply_entry(const EntryReader& entry, const ContributionForm& form,
                         const OuterHyper& hyper, const StateFiles& files, ApplyRecord* record) {
    const PieceGrid& grid = form.grid;
    std::vector<float> mean(grid.size(PieceIndex{0}));
    std::uint64_t before = 0;
    for (std::uint32_t p = 0; p < grid.count(); ++p) {
        PieceIndex piece{p};
        const std::uint64_t blocks = record == nullptr ? 0 : (grid.size(piece) + record->block() - 1) / record->block();
        if (record != nullptr && record->next() >= before + blocks) {
            before += blocks;
            continue;
        }
        auto result = entry.read(piece);
        if (!result) return fail(result.error());
        auto valid = form.codec->validate(chunk_place(form.layout_id, grid, form.step, piece),
                                          result->chunk);
        if (!valid) return valid;
        std::span<float> window = std::span(mean).first(grid.size(piece));
        form.codec->decode(result->chunk, window);
        auto theta = files.theta().subspan(grid.first(piece), grid.size(piece));
        auto momentum = files.momentum().subspan(grid.first(piece), grid.size(piece));
        if (record == nullptr) apply_outer_step(theta, momentum, window, hyper);
        else apply_recorded(theta, momentum, window, hyper, before, blocks, *record);
        before += blocks;
    }
    return {};
}

}  // namespace skerry::node
