#include "node/log/replay.hpp"

#include "node/outer/outer_optimizer.hpp"

namespace skerry::node {

Result<void> apply_entry(const EntryReader& entry, const ContributionForm& form,
                         const OuterHyper& hyper, const StateFiles& files) {
    const PieceGrid& grid = form.grid;
    std::vector<float> mean(grid.size(PieceIndex{0}));
    for (std::uint32_t p = 0; p < grid.count(); ++p) {
        PieceIndex piece{p};
        auto result = entry.read(piece);
        if (!result) return fail(result.error());
        auto valid = form.codec->validate(chunk_place(form.layout_id, grid, form.step, piece),
                                          result->chunk);
        if (!valid) return valid;
        std::span<float> window = std::span(mean).first(grid.size(piece));
        form.codec->decode(result->chunk, window);
        apply_outer_step(files.theta().subspan(grid.first(piece), grid.size(piece)),
                         files.momentum().subspan(grid.first(piece), grid.size(piece)), window,
                         hyper);
    }
    return {};
}

}  // namespace skerry::node
