#include "node/log/snapshot_fetch.hpp"

#include <algorithm>

#include "protocol/identity/merkle.hpp"

namespace skerry::node {

Result<std::unique_ptr<SnapshotFetch>> SnapshotFetch::open(const DiskPath& folder, Step step,
                                                           const Digest& state_digest,
                                                           ByteSpan state_roots,
                                                           const PieceGrid& grid) {
    auto roots = parse_state_roots(state_roots);
    if (!roots) return fail(Errc::digest_mismatch, roots.error().detail);
    if (digest_of(*roots) != state_digest)
        return fail(Errc::digest_mismatch, "roots of another state");
    auto made = make_folder(folder);
    if (!made) return fail(made.error());

    std::unique_ptr<SnapshotFetch> fetch(new SnapshotFetch);
    fetch->folder_ = folder;
    fetch->grid_ = grid;
    fetch->step_ = step;
    fetch->roots_ = *roots;
    auto theta = File::open_write(folder / "theta");
    if (!theta) return fail(theta.error());
    fetch->theta_ = {std::move(*theta), roots->theta_root, &fetch->leaves_.theta, {}};
    auto momentum = File::open_write(folder / "m");
    if (!momentum) return fail(momentum.error());
    fetch->momentum_ = {std::move(*momentum), roots->m_root, &fetch->leaves_.m, {}};
    fetch->recover(fetch->theta_, "theta.leaves");
    fetch->recover(fetch->momentum_, "m.leaves");
    return fetch;
}

/// What an earlier process fetched: the leaf list if it gives the root, and every piece that gives
/// its leaf.
void SnapshotFetch::recover(Part& part, const char* name) {
    std::vector<Digest> leaves{
        part.root};  // of one piece the root is the leaf, and there is no list to ask for
    if (grid_.count() > 1) {
        auto list = read_whole(folder_ / name, std::uint64_t{grid_.count()} * Digest::size());
        if (!list) return;
        auto parsed = parse_leaf_list(*list, grid_.count());
        if (!parsed || merkle_root(*parsed) != part.root) return;
        leaves = std::move(*parsed);
    }
    auto adopted = adopt_leaves(part, std::move(leaves));
    if (!adopted) return;
    for (std::uint32_t p = 0; p < grid_.count(); ++p) {
        PieceIndex piece{p};
        Bytes bytes(std::size_t{grid_.size(piece)} * sizeof(float));
        if (!part.file.read_at(grid_.first(piece) * sizeof(float), bytes)) continue;
        if (merkle_leaf(bytes) != (*part.leaves)[p]) continue;
        part.here[p] = true;
        have_bytes_ += bytes.size();
    }
}

Result<void> SnapshotFetch::adopt_leaves(Part& part, std::vector<Digest> leaves) {
    auto sized = part.file.resize(grid_.elements * sizeof(float));
    if (!sized) return sized;
    *part.leaves = std::move(leaves);
    part.here.assign(grid_.count(), false);
    return {};
}

std::vector<Digest> SnapshotFetch::wanted(std::size_t count) const {
    std::vector<Digest> out;
    for (const Part* part : {&theta_, &momentum_}) {
        if (part->leaves->empty() && out.size() < count) out.push_back(part->root);
    }
    for (const Part* part : {&theta_, &momentum_}) {
        for (std::size_t p = 0; p < part->here.size() && out.size() < count; ++p) {
            const Digest& leaf = (*part->leaves)[p];
            // Equal pieces (the zeros of a young m) have one hash and are asked for once.
            if (!part->here[p] && std::find(out.begin(), out.end(), leaf) == out.end())
                out.push_back(leaf);
        }
    }
    return out;
}

Result<bool> SnapshotFetch::put(const Digest& hash, ByteSpan block) {
    bool stored = false;
    for (auto [part, name] :
         {std::pair{&theta_, "theta.leaves"}, std::pair{&momentum_, "m.leaves"}}) {
        auto done = part->leaves->empty() && part->root == hash ? put_leaves(*part, name, block)
                                                                : put_piece(*part, hash, block);
        if (!done) return done;
        stored = stored || *done;
    }
    return stored;
}

Result<bool> SnapshotFetch::put_leaves(Part& part, const char* name, ByteSpan block) {
    auto leaves = parse_leaf_list(block, grid_.count());
    if (!leaves || merkle_root(*leaves) != part.root)
        return fail(Errc::digest_mismatch, "a leaf list that does not give its root");
    auto written = write_durably(folder_ / name, block);
    if (written) written = adopt_leaves(part, std::move(*leaves));
    if (!written) return fail(written.error());
    return true;
}

Result<bool> SnapshotFetch::put_piece(Part& part, const Digest& hash, ByteSpan block) {
    bool stored = false;
    bool checked = false;
    for (std::uint32_t p = 0; p < part.here.size(); ++p) {
        PieceIndex piece{p};
        if (part.here[p] || (*part.leaves)[p] != hash) continue;
        if (!checked && merkle_leaf(block) != hash)
            return fail(Errc::digest_mismatch, "a piece that is not its hash");
        checked = true;
        if (block.size() != std::size_t{grid_.size(piece)} * sizeof(float))
            return fail(Errc::digest_mismatch, "a piece of another size");
        auto written = part.file.write_at(grid_.first(piece) * sizeof(float), block);
        if (!written) return fail(written.error());
        part.here[p] = true;
        have_bytes_ += block.size();
        stored = true;
    }
    return stored;
}

bool SnapshotFetch::complete() const {
    for (const Part* part : {&theta_, &momentum_}) {
        if (part->leaves->empty() ||
            std::find(part->here.begin(), part->here.end(), false) != part->here.end())
            return false;
    }
    return true;
}

Result<void> SnapshotFetch::sync() {
    auto synced = theta_.file.sync();
    if (!synced) return synced;
    return momentum_.file.sync();
}

}  // namespace skerry::node
