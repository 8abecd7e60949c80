#include "node/log/contribution_file.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "node/log/entry_file.hpp"
#include "node/outer/outer_optimizer.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {
namespace {

std::uint64_t slot_bytes(const ContributionForm& form) {
    return chunk_bytes(form.codec->id(), form.grid.size(PieceIndex{0}));
}

std::size_t piece_bytes(const ContributionForm& form, PieceIndex piece) {
    return chunk_bytes(form.codec->id(), form.grid.size(piece));
}

ChunkHeader place_of(const ContributionForm& form, PieceIndex piece) {
    return chunk_place(form.layout_id, form.grid, form.step, piece);
}

Result<Bytes> read_chunk(const File& file, const ContributionForm& form, PieceIndex piece) {
    Bytes chunk(piece_bytes(form, piece));
    auto read = file.read_at(piece.value * slot_bytes(form), chunk);
    if (!read) return fail(read.error());
    return chunk;
}

Error no_piece(PieceIndex piece) {
    return {Errc::not_found, "no piece " + std::to_string(piece.value), {}};
}

Error damaged(const File& file, PieceIndex piece) {
    return {Errc::digest_mismatch,
            file.path().string() + ": piece " + std::to_string(piece.value) + " is damaged",
            {}};
}

}  // namespace

// ---- ContributionWriter ------------------------------------------------------------------------

Result<std::unique_ptr<ContributionWriter>> ContributionWriter::create(
    const DiskPath& path, const ContributionForm& form, std::span<const float> theta) {
    SKERRY_ASSERT(theta.size() == form.grid.elements);
    auto file = File::create(path);
    if (!file) return fail(file.error());
    auto writer = std::make_unique<ContributionWriter>();
    writer->form_ = form;
    writer->file_ = std::move(*file);
    writer->theta_ = theta;
    writer->delta_.resize(form.grid.size(PieceIndex{0}));
    return writer;
}

Result<void> ContributionWriter::push(std::span<const float> local) {
    if (local.size() > form_.grid.elements - next_)
        return fail(Errc::bad_shape, "more weights than the model has");
    while (!local.empty()) {
        PieceIndex piece{static_cast<std::uint32_t>(leaves_.size())};
        std::size_t missing = form_.grid.size(piece) - filled_;
        std::size_t count = std::min(missing, local.size());
        auto squares = compute_delta(theta_.subspan(next_, count), local.first(count),
                                     std::span(delta_).subspan(filled_, count));
        if (!squares) return fail(squares.error());
        squares_ += *squares;
        filled_ += count;
        next_ += count;
        local = local.subspan(count);
        if (count == missing) {
            auto flushed = flush_piece();
            if (!flushed) return flushed;
        }
    }
    return {};
}

Result<void> ContributionWriter::flush_piece() {
    PieceIndex piece{static_cast<std::uint32_t>(leaves_.size())};
    chunk_.resize(piece_bytes(form_, piece));
    auto done = form_.codec->encode(place_of(form_, piece),
                                    std::span<const float>(delta_).first(filled_), chunk_);
    if (!done) return done;
    done = file_.write_at(piece.value * slot_bytes(form_), chunk_);
    if (!done) return done;
    leaves_.push_back(merkle_leaf(chunk_));
    filled_ = 0;
    return {};
}

double ContributionWriter::norm() const { return std::sqrt(squares_); }

// ---- OwnContribution ---------------------------------------------------------------------------

OwnContribution::OwnContribution(const ContributionForm& form, ReadyState ready,
                                 std::vector<Digest> leaves)
    : form_(form), ready_(std::move(ready)), tree_(std::move(leaves)) {}

Result<std::shared_ptr<const OwnContribution>> OwnContribution::open(const DiskPath& path,
                                                                     const ContributionForm& form,
                                                                     const ReadyState& ready,
                                                                     std::vector<Digest> leaves) {
    auto file = File::open_read(path);
    if (!file) return fail(file.error());
    if (leaves.empty()) {
        for (std::uint32_t p = 0; p < form.grid.count(); ++p) {
            auto chunk = read_chunk(*file, form, PieceIndex{p});
            if (!chunk) return fail(Errc::digest_mismatch, chunk.error().detail);
            leaves.push_back(merkle_leaf(*chunk));
        }
    }
    std::shared_ptr<OwnContribution> own(new OwnContribution(form, ready, std::move(leaves)));
    if (own->tree_.root() != ready.contribution)
        return fail(Errc::digest_mismatch,
                    path.string() + " is not contribution " + ready.contribution.short_hex());
    own->file_ = std::move(*file);
    return std::shared_ptr<const OwnContribution>(std::move(own));
}

Result<ContributionPiece> OwnContribution::read(PieceIndex piece) const {
    if (piece.value >= form_.grid.count()) return fail(no_piece(piece));
    auto chunk = read_chunk(file_, form_, piece);
    if (!chunk) return fail(chunk.error());
    if (merkle_leaf(*chunk) != tree_.leaves()[piece.value]) return fail(damaged(file_, piece));
    return ContributionPiece{std::move(*chunk), tree_.proof(piece.value)};
}

// ---- GatheredContribution ----------------------------------------------------------------------
// Behind the chunk slots: for each piece one byte (1: there is a proof), one byte of its length,
// the proof.

namespace {
constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kProofSlot = 2 + kMaxDepth * Digest::size();

std::uint64_t proof_offset(const ContributionForm& form, PieceIndex piece) {
    return form.grid.count() * slot_bytes(form) + piece.value * kProofSlot;
}
}  // namespace

Result<std::shared_ptr<GatheredContribution>> GatheredContribution::open(
    const DiskPath& path, const ContributionForm& form, const Digest& contribution) {
    std::shared_ptr<GatheredContribution> out(new GatheredContribution);
    out->form_ = form;
    out->id_ = contribution;
    out->rows_.resize(form.grid.count());
    auto file = File::open_write(path);
    if (!file) return fail(file.error());
    out->file_ = std::move(*file);
    auto size = out->file_.size();
    if (!size) return fail(size.error());
    std::uint64_t whole = proof_offset(form, PieceIndex{form.grid.count()});
    if (*size == whole) {
        out->recover();
        return out;
    }
    auto sized = out->file_.resize(0);
    if (sized) sized = out->file_.resize(whole);  // sparse: an owner fills its own pieces only
    if (!sized) return fail(sized.error());
    return out;
}

Result<std::vector<Digest>> GatheredContribution::read_proof(PieceIndex piece) const {
    Bytes slot(kProofSlot);
    auto read = file_.read_at(proof_offset(form_, piece), slot);
    if (!read) return fail(read.error());
    ByteReader r(slot);
    bool there = r.u8() == 1;
    std::size_t length = r.u8();
    if (!there || length > kMaxDepth) return fail(no_piece(piece));
    std::vector<Digest> proof(length);
    for (Digest& digest : proof) digest = r.fixed<Digest>();
    return proof;
}

void GatheredContribution::recover() {
    for (std::uint32_t p = 0; p < form_.grid.count(); ++p) {
        PieceIndex piece{p};
        auto proof = read_proof(piece);
        if (!proof) continue;
        auto chunk = read_chunk(file_, form_, piece);
        if (!chunk) continue;
        Digest leaf = merkle_leaf(*chunk);
        if (!verify_merkle_proof(id_, leaf, p, form_.grid.count(), *proof)) continue;
        if (!form_.codec->validate(place_of(form_, piece), *chunk)) continue;
        rows_[p] = {true, leaf};
        ++have_;
    }
}

Result<void> GatheredContribution::put(PieceIndex piece, ByteSpan chunk,
                                       std::span<const Digest> proof) {
    if (piece.value >= form_.grid.count() || proof.size() > kMaxDepth) return fail(no_piece(piece));
    if (has(piece)) return {};
    Digest leaf = merkle_leaf(chunk);
    if (!verify_merkle_proof(id_, leaf, piece.value, form_.grid.count(), proof))
        return fail(Errc::digest_mismatch, "piece " + std::to_string(piece.value) +
                                               " is not of contribution " + id_.short_hex());
    auto done = form_.codec->validate(place_of(form_, piece), chunk);
    if (!done) return done;
    done = file_.write_at(piece.value * slot_bytes(form_), chunk);
    if (!done) return done;
    ByteWriter w;
    w.u8(1);
    w.u8(static_cast<std::uint8_t>(proof.size()));
    for (const Digest& digest : proof) w.id(digest);
    done = file_.write_at(proof_offset(form_, piece), w.view());
    if (!done) return done;

    std::lock_guard lock(mutex_);
    Row& row = rows_[piece.value];
    if (!row.here) ++have_;
    row = {true, leaf};
    return {};
}

bool GatheredContribution::has(PieceIndex piece) const {
    std::lock_guard lock(mutex_);
    return piece.value < rows_.size() && rows_[piece.value].here;
}

std::uint32_t GatheredContribution::have() const {
    std::lock_guard lock(mutex_);
    return have_;
}

std::vector<PieceIndex> GatheredContribution::pieces() const {
    std::lock_guard lock(mutex_);
    std::vector<PieceIndex> out;
    for (std::uint32_t p = 0; p < rows_.size(); ++p) {
        if (rows_[p].here) out.push_back(PieceIndex{p});
    }
    return out;
}

Result<ContributionPiece> GatheredContribution::read(PieceIndex piece) {
    Digest leaf;
    {
        std::lock_guard lock(mutex_);
        if (piece.value >= rows_.size() || !rows_[piece.value].here) return fail(no_piece(piece));
        leaf = rows_[piece.value].leaf;
    }
    auto chunk = read_chunk(file_, form_, piece);
    if (!chunk) return fail(chunk.error());
    auto proof = read_proof(piece);
    if (!proof && is_disk_error(proof.error().code)) return fail(proof.error());
    const bool whole = proof && merkle_leaf(*chunk) == leaf &&
                       verify_merkle_proof(id_, leaf, piece.value, form_.grid.count(), *proof);
    if (whole) return ContributionPiece{std::move(*chunk), std::move(*proof)};
    std::lock_guard lock(mutex_);
    if (std::exchange(rows_[piece.value].here, false)) --have_;
    return fail(damaged(file_, piece));
}

}  // namespace skerry::node
