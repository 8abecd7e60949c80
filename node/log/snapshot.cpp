#include "node/log/snapshot.hpp"

#include <cstring>

#include "protocol/identity/merkle.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kManifestTag = "skerry/file/snapshot/1";
constexpr std::uint64_t kMaxManifest = 200 + 2 * std::uint64_t{kMaxPieces} * Digest::size();

ByteSpan raw(std::span<const float> values) {
    return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size_bytes()};
}

/// Writes one part from the mapped file, straight from the page cache, and hashes what it writes.
Result<std::vector<Digest>> write_part(const DiskPath& path, const PieceGrid& grid,
                                       std::span<const float> values) {
    auto file = File::create(path);
    if (!file) return fail(file.error());
    std::vector<Digest> leaves;
    for (std::uint32_t p = 0; p < grid.count(); ++p) {
        PieceIndex piece{p};
        auto window = values.subspan(grid.first(piece), grid.size(piece));
        leaves.push_back(float_leaf(window));
        auto written = file->write_at(grid.first(piece) * sizeof(float), raw(window));
        if (!written) return fail(written.error());
    }
    auto synced = file->sync();
    if (!synced) return fail(synced.error());
    return leaves;
}

Result<std::vector<Digest>> read_leaves(ByteReader& r, const PieceGrid& grid) {
    if (r.count(kMaxPieces) != grid.count())
        return fail(Errc::malformed, "a snapshot of another grid");
    std::vector<Digest> leaves(grid.count());
    for (Digest& leaf : leaves) leaf = r.fixed<Digest>();
    return leaves;
}

}  // namespace

Result<void> write_snapshot_manifest(const DiskPath& folder, const Digest& run_digest, Step step,
                                     const Digest& h, std::uint64_t tokens,
                                     const StateLeaves& leaves) {
    ByteWriter w;
    w.id(run_digest);
    w.id(step);
    w.id(h);
    w.u64(tokens);
    for (const auto* list : {&leaves.theta, &leaves.m}) {
        w.u32(static_cast<std::uint32_t>(list->size()));
        for (const Digest& leaf : *list) w.id(leaf);
    }
    return write_sealed(folder / "manifest", kManifestTag, w.view());
}

Result<SnapshotInfo> write_snapshot_folder(const DiskPath& folder, const Digest& run_digest,
                                           const PieceGrid& grid, const StateFiles& files,
                                           Step step, const Digest& h, std::uint64_t tokens) {
    auto cleared = remove_tree(folder);
    if (cleared) cleared = make_folder(folder);
    if (!cleared) return fail(cleared.error());
    auto theta = write_part(folder / "theta", grid, files.theta());
    if (!theta) return fail(theta.error());
    auto momentum = write_part(folder / "m", grid, files.momentum());
    if (!momentum) return fail(momentum.error());
    StateLeaves leaves{std::move(*theta), std::move(*momentum)};
    auto sealed = write_snapshot_manifest(folder, run_digest, step, h, tokens, leaves);
    if (!sealed) return fail(sealed.error());
    SnapshotInfo info;
    info.step = step;
    info.h = h;
    info.roots = leaves.roots(tokens);
    info.state_digest = digest_of(info.roots);
    info.bytes = grid.elements * 2 * sizeof(float);
    return info;
}

Result<Snapshot> Snapshot::open(const DiskPath& folder, const Digest& run_digest,
                                const PieceGrid& grid) {
    auto payload = read_sealed(folder / "manifest", kManifestTag, kMaxManifest);
    if (!payload) return fail(payload.error());
    ByteReader r(*payload);
    Snapshot out;
    out.grid_ = grid;
    bool same_run = r.fixed<Digest>() == run_digest;
    out.info_.step = r.strong<Step>();
    out.info_.h = r.fixed<Digest>();
    std::uint64_t tokens = r.u64();
    if (!r.ok() || !same_run)
        return fail(Errc::malformed, folder.string() + " is a snapshot of another run");
    auto theta = read_leaves(r, grid);
    if (!theta) return fail(theta.error());
    auto momentum = read_leaves(r, grid);
    if (!momentum) return fail(momentum.error());
    if (!r.ok() || !r.at_end())
        return fail(Errc::malformed, folder.string() + ": manifest does not fit");
    out.leaves_ = {std::move(*theta), std::move(*momentum)};
    out.info_.roots = out.leaves_.roots(tokens);
    out.info_.state_digest = digest_of(out.info_.roots);
    out.info_.bytes = grid.elements * 2 * sizeof(float);

    auto theta_file = File::open_read(folder / "theta");
    if (!theta_file) return fail(theta_file.error());
    out.theta_ = std::move(*theta_file);
    auto momentum_file = File::open_read(folder / "m");
    if (!momentum_file) return fail(momentum_file.error());
    out.momentum_ = std::move(*momentum_file);
    return out;
}

Result<Bytes> Snapshot::read(const File& file, const std::vector<Digest>& leaves,
                             PieceIndex piece) const {
    if (piece.value >= grid_.count())
        return fail(Errc::not_found, "no piece " + std::to_string(piece.value));
    Bytes out(std::size_t{grid_.size(piece)} * sizeof(float));
    auto read = file.read_at(grid_.first(piece) * sizeof(float), out);
    if (!read) return fail(Errc::digest_mismatch, read.error().detail);
    if (merkle_leaf(out) != leaves[piece.value])
        return fail(Errc::digest_mismatch, file.path().string() + ": piece " +
                                               std::to_string(piece.value) + " is damaged");
    return out;
}

Result<void> Snapshot::verify() const {
    for (std::uint32_t p = 0; p < grid_.count(); ++p) {
        auto theta = read_theta(PieceIndex{p});
        if (!theta) return fail(theta.error());
        auto momentum = read_momentum(PieceIndex{p});
        if (!momentum) return fail(momentum.error());
    }
    return {};
}

Result<void> Snapshot::load_into(const StateFiles& files) const {
    for (std::uint32_t p = 0; p < grid_.count(); ++p) {
        PieceIndex piece{p};
        auto theta = read_theta(piece);
        if (!theta) return fail(theta.error());
        std::memcpy(files.theta().data() + grid_.first(piece), theta->data(), theta->size());
        auto momentum = read_momentum(piece);
        if (!momentum) return fail(momentum.error());
        std::memcpy(files.momentum().data() + grid_.first(piece), momentum->data(),
                    momentum->size());
    }
    return {};
}

}  // namespace skerry::node
