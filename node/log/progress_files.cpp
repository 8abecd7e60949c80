#include "node/log/progress_files.hpp"

#include <algorithm>

namespace skerry::node {
namespace {

constexpr std::string_view kTag = "skerry/file/progress/1";
constexpr std::uint32_t kSlots = 2;
constexpr std::uint32_t kMaxSegments = 4096;
constexpr std::uint64_t kMaxBytes = 256 * 1024;

}  // namespace

DiskPath ProgressFiles::trainer_file(std::uint32_t slot) const { return folder_ / (std::to_string(slot) + ".trainer"); }
DiskPath ProgressFiles::note_file(std::uint32_t slot) const { return folder_ / (std::to_string(slot) + ".note"); }

Result<void> ProgressFiles::void_slot(std::uint32_t slot) {
    auto made = make_folder(folder_);
    if (!made) return made;
    auto removed = remove_tree(note_file(slot));
    if (!removed) return removed;
    return sync_folder(folder_);
}

Result<void> ProgressFiles::commit(std::uint32_t slot, const ProgressNote& note, const TrainedSoFar& delta) {
    std::uint64_t serial = 0;
    for (std::uint32_t other = 0; other < kSlots; ++other) {
        auto found = load(other);
        if (found) serial = std::max(serial, found->serial);
    }
    ByteWriter out;
    out.u64(serial + 1);
    out.id(note.base);
    out.id(note.head);
    out.u32(note.round_steps);
    out.u64(delta.steps);
    out.u64(delta.sequences);
    out.u64(delta.tokens);
    out.f64(delta.loss);
    out.u32(static_cast<std::uint32_t>(note.fed.size()));
    for (const Segment& segment : note.fed) {
        out.id(segment.lease);
        out.u64(segment.from);
        out.u64(segment.to);
    }
    return write_sealed(note_file(slot), kTag, out.view());
}

Result<ProgressFiles::Found> ProgressFiles::load(std::uint32_t slot) const {
    auto payload = read_sealed(note_file(slot), kTag, kMaxBytes);
    if (!payload) return fail(payload.error());
    ByteReader in(*payload);
    Found out;
    out.serial = in.u64();
    out.image.slot = slot;
    out.image.note.base = in.strong<Step>();
    out.image.note.head = in.strong<Step>();
    out.image.note.round_steps = in.u32();
    out.image.delta.steps = in.u64();
    out.image.delta.sequences = in.u64();
    out.image.delta.tokens = in.u64();
    out.image.delta.loss = in.f64();
    out.image.note.fed.resize(in.count(kMaxSegments));
    for (Segment& segment : out.image.note.fed) {
        segment.lease = in.strong<LeaseId>();
        segment.from = in.u64();
        segment.to = in.u64();
    }
    if (!in.ok() || !in.at_end()) return fail(Errc::malformed, "progress note of another format");
    return out;
}

Result<ProgressImage> ProgressFiles::read_slot(std::uint32_t slot) const {
    auto found = load(slot);
    if (!found) return fail(found.error());
    return found->image;
}

std::vector<ProgressImage> ProgressFiles::read() const {
    std::vector<Found> found;
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        auto one = load(slot);
        if (one && is_there(trainer_file(slot))) found.push_back(*one);
    }
    std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.serial < b.serial; });
    std::vector<ProgressImage> out;
    for (Found& one : found) out.push_back(std::move(one.image));
    return out;
}

Result<void> ProgressFiles::drop_all() { return remove_tree(folder_); }

}  // namespace skerry::node
