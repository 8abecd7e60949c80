#include "node/log/entry_file.hpp"

#include "protocol/base/assert.hpp"
#include "protocol/identity/merkle.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kMagic = "SKRE";
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kHeadBytes = 72;
constexpr std::size_t kRowBytes = Digest::size() + Signature::size();
constexpr std::uint32_t kMaxPlanBytes = 64 * 1024 * 1024;

Error no_piece(PieceIndex piece) {
    return {Errc::not_found, "no piece " + std::to_string(piece.value), {}};
}

Result<void> fits_grid(const Plan& plan, const PieceGrid& grid) {
    if (plan.kind == EntryKind::commit && plan.first_element == 0 &&
        plan.elements == grid.elements && plan.piece_owner.size() == grid.count())
        return {};
    return fail(Errc::malformed, "a plan that does not cover this run's pieces");
}

Result<ResultPiece> read_piece(const File& file, const EntryLayout& layout, const PieceGrid& grid,
                               CodecId codec, PieceIndex piece, const Digest& leaf,
                               const Signature& signature) {
    ResultPiece out{Bytes(chunk_bytes(codec, grid.size(piece))), leaf, signature};
    auto read = file.read_at(layout.chunks + piece.value * layout.slot, out.chunk);
    if (!read) return fail(read.error());
    if (merkle_leaf(out.chunk) != leaf)
        return fail(Errc::digest_mismatch, file.path().string() + ": piece " +
                                               std::to_string(piece.value) + " is damaged");
    return out;
}

}  // namespace

EntryLayout entry_layout(std::size_t plan_bytes, const PieceGrid& grid, CodecId codec) {
    EntryLayout out;
    out.table = kHeadBytes + plan_bytes;
    out.seal = out.table + std::uint64_t{grid.count()} * kRowBytes;
    out.chunks = (out.seal + Digest::size() + 4095) / 4096 * 4096;
    out.slot = chunk_bytes(codec, grid.size(PieceIndex{0}));
    PieceIndex last{grid.count() - 1};
    out.total = out.chunks + last.value * out.slot + chunk_bytes(codec, grid.size(last));
    return out;
}

ChunkHeader chunk_place(std::uint32_t layout, const PieceGrid& grid, Step step, PieceIndex piece) {
    ChunkHeader place;
    place.layout = layout;
    place.step = step;
    place.piece = piece;
    place.first_element = grid.first(piece);
    place.elements = grid.size(piece);
    return place;
}

// ---- EntryReader -------------------------------------------------------------------------------

Result<std::shared_ptr<const EntryReader>> EntryReader::open(const DiskPath& path,
                                                             const PieceGrid& grid, CodecId codec) {
    auto reader = std::make_shared<EntryReader>();
    reader->grid_ = grid;
    reader->codec_ = codec;
    auto file = File::open_read(path);
    if (!file) return fail(file.error());
    reader->file_ = std::move(*file);

    Bytes head(kHeadBytes);
    auto read = reader->file_.read_at(0, head);
    if (!read) return fail(Errc::malformed, path.string() + " is not an entry");
    ByteReader r(head);
    bool form = as_text(r.bytes(kMagic.size())) == kMagic && r.u16() == kVersion;
    form &= r.u16() == static_cast<std::uint16_t>(codec);
    auto step = r.strong<Step>();
    r.u64();  // term and attempt are in the plan too
    r.u32();
    form &= r.u32() == grid.count();
    std::uint32_t plan_bytes = r.u32();
    form &= r.u32() == 0 && plan_bytes <= kMaxPlanBytes;
    reader->plan_digest_ = r.fixed<Digest>();
    if (!form) return fail(Errc::malformed, path.string() + " is not an entry of this run");

    reader->layout_ = entry_layout(plan_bytes, grid, codec);
    Bytes sealed(reader->layout_.seal + Digest::size());
    read = reader->file_.read_at(0, sealed);
    if (!read) return fail(Errc::digest_mismatch, path.string() + " is torn");
    ByteReader body(ByteSpan(sealed).subspan(kHeadBytes));
    ByteSpan plan_body = body.bytes(plan_bytes);
    reader->plan_body_.assign(plan_body.begin(), plan_body.end());
    for (std::uint32_t p = 0; p < grid.count(); ++p) {
        reader->leaves_.push_back(body.fixed<Digest>());
        reader->signatures_.push_back(body.fixed<Signature>());
    }
    ByteSpan covered = ByteSpan(sealed).first(reader->layout_.seal);
    if (body.fixed<Digest>() != sha256(covered) || body_digest(plan_body) != reader->plan_digest_)
        return fail(Errc::digest_mismatch, path.string() + " is damaged");
    auto plan = parse_plan(plan_body);
    if (!plan) return fail(plan.error());
    auto fits = fits_grid(*plan, grid);
    if (!fits) return fail(fits.error());
    if (plan->step != step) return fail(Errc::malformed, path.string() + ": two step numbers");
    reader->plan_ = std::move(*plan);
    reader->root_ = merkle_root(reader->leaves_);
    return std::shared_ptr<const EntryReader>(std::move(reader));
}

Result<ResultPiece> EntryReader::read(PieceIndex piece) const {
    if (piece.value >= grid_.count()) return fail(no_piece(piece));
    return read_piece(file_, layout_, grid_, codec_, piece, leaves_[piece.value],
                      signatures_[piece.value]);
}

Result<void> EntryReader::check_length() const {
    auto bytes = file_.size();
    if (!bytes) return fail(bytes.error());
    if (*bytes < layout_.total) return fail(Errc::digest_mismatch, file_.path().string() + " is torn");
    return {};
}

Result<void> EntryReader::verify() const {
    for (std::uint32_t p = 0; p < grid_.count(); ++p) {
        auto piece = read(PieceIndex{p});
        if (!piece) return fail(piece.error());
    }
    return {};
}

// ---- StagedEntry -------------------------------------------------------------------------------

Result<std::shared_ptr<StagedEntry>> StagedEntry::create(const DiskPath& path, ByteSpan plan_body,
                                                         const PieceGrid& grid, const Codec& codec,
                                                         std::uint32_t layout_id) {
    auto plan = parse_plan(plan_body);
    if (!plan) return fail(plan.error());
    auto fits = fits_grid(*plan, grid);
    if (!fits) return fail(fits.error());

    std::shared_ptr<StagedEntry> entry(new StagedEntry);
    entry->grid_ = grid;
    entry->codec_ = &codec;
    entry->layout_id_ = layout_id;
    entry->layout_ = entry_layout(plan_body.size(), grid, codec.id());
    entry->plan_ = std::move(*plan);
    entry->plan_body_.assign(plan_body.begin(), plan_body.end());
    entry->plan_digest_ = body_digest(plan_body);
    entry->rows_.resize(grid.count());
    auto file = File::create(path);
    if (!file) return fail(file.error());
    entry->file_ = std::make_shared<File>(std::move(*file));
    // A full disk shows before pieces are fetched; other refusals are of no consequence.
    auto space = entry->file_->reserve(entry->layout_.total);
    if (!space && space.error().code == Errc::disk_full) {
        (void)remove_file(path);
        return fail(space.error());
    }
    return entry;
}

Result<void> StagedEntry::put(PieceIndex piece, ByteSpan chunk, const Signature& owner_signature) {
    if (piece.value >= grid_.count()) return fail(no_piece(piece));
    {
        std::lock_guard lock(mutex_);
        Row& row = rows_[piece.value];
        if (row.here || row.writing) return {};
        row.writing = true;
    }
    auto done = codec_->validate(chunk_place(layout_id_, grid_, plan_.step, piece), chunk);
    Digest leaf = merkle_leaf(chunk);
    if (done) done = file()->write_at(layout_.chunks + piece.value * layout_.slot, chunk);

    std::lock_guard lock(mutex_);
    Row& row = rows_[piece.value];
    row.writing = false;
    if (!done) return done;
    row.here = true;
    row.leaf = leaf;
    row.signature = owner_signature;
    ++have_;
    return {};
}

bool StagedEntry::has(PieceIndex piece) const {
    std::lock_guard lock(mutex_);
    return piece.value < rows_.size() && rows_[piece.value].here;
}

std::uint32_t StagedEntry::have() const {
    std::lock_guard lock(mutex_);
    return have_;
}

bool StagedEntry::complete() const { return have() == grid_.count(); }

std::vector<std::uint8_t> StagedEntry::bitmap() const {
    std::lock_guard lock(mutex_);
    std::vector<std::uint8_t> out((rows_.size() + 7) / 8);
    for (std::size_t p = 0; p < rows_.size(); ++p) {
        if (rows_[p].here) out[p / 8] = static_cast<std::uint8_t>(out[p / 8] | 1U << (p % 8));
    }
    return out;
}

std::optional<Digest> StagedEntry::leaf(PieceIndex piece) const {
    std::lock_guard lock(mutex_);
    if (piece.value >= rows_.size() || !rows_[piece.value].here) return std::nullopt;
    return rows_[piece.value].leaf;
}

Result<ResultPiece> StagedEntry::read(PieceIndex piece) const {
    Row row;
    std::shared_ptr<File> from;
    {
        std::lock_guard lock(mutex_);
        if (piece.value >= rows_.size() || !rows_[piece.value].here) return fail(no_piece(piece));
        row = rows_[piece.value];
        from = file_;
    }
    return read_piece(*from, layout_, grid_, codec_->id(), piece, row.leaf, row.signature);
}

Bytes StagedEntry::make_head() const {
    ByteWriter w;
    w.bytes(as_bytes(kMagic));
    w.u16(kVersion);
    w.u16(static_cast<std::uint16_t>(codec_->id()));
    w.id(plan_.step);
    w.id(plan_.term);
    w.id(plan_.attempt);
    w.u32(grid_.count());
    w.u32(static_cast<std::uint32_t>(plan_body_.size()));
    w.u32(0);
    w.id(plan_digest_);
    SKERRY_ASSERT(w.view().size() == kHeadBytes);
    w.bytes(plan_body_);
    for (const Row& row : rows_) {
        w.id(row.leaf);
        w.id(row.signature);
    }
    Digest digest = sha256(w.view());
    w.id(digest);
    return w.take();
}

Result<Digest> StagedEntry::finish(const DiskPath& final_path) {
    std::vector<Digest> leaves;
    Bytes head;
    {
        std::lock_guard lock(mutex_);
        if (have_ != rows_.size()) return fail(Errc::bad_state, "pieces are missing");
        for (const Row& row : rows_) leaves.push_back(row.leaf);
        head = make_head();
    }
    if (finished_) return merkle_root(leaves);
    if (sync_failed_) {
        auto copied = copy_to_new_file();
        if (!copied) return fail(copied.error());
    }
    auto done = file()->write_at(0, head);
    if (!done) return fail(done.error());
    done = file()->sync();
    if (done) done = rename_durably(file()->path(), final_path);
    sync_failed_ = !done;  // of the content or of the folder
    if (!done) return fail(done.error());
    file()->set_path(final_path);
    finished_ = true;
    return merkle_root(leaves);
}

std::shared_ptr<File> StagedEntry::file() const {
    std::lock_guard lock(mutex_);
    return file_;
}

/// Every piece is hashed on the way: what the old file lost is not carried over.
Result<void> StagedEntry::copy_to_new_file() {
    DiskPath path = file()->path();
    (void)remove_file(path);
    auto made = File::create(path);
    if (!made) return fail(made.error());
    auto fresh = std::make_shared<File>(std::move(*made));
    for (std::uint32_t p = 0; p < grid_.count(); ++p) {
        auto piece = read(PieceIndex{p});
        if (!piece) return fail(piece.error());
        auto written = fresh->write_at(layout_.chunks + p * layout_.slot, piece->chunk);
        if (!written) return written;
    }
    std::lock_guard lock(mutex_);
    file_ = std::move(fresh);
    return {};
}

void StagedEntry::discard() {
    if (!finished_) (void)remove_file(file()->path());
}

}  // namespace skerry::node
