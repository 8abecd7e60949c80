#include "node/log/apply_record.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "protocol/base/assert.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

constexpr std::uint64_t kHead = 64;
constexpr std::uint64_t kMostBlock = std::uint64_t{1} << 16;  // in the cache with what it undoes

void copy(std::span<const float> from, std::span<float> to) { std::memcpy(to.data(), from.data(), from.size_bytes()); }

}  // namespace

Result<ApplyRecord> ApplyRecord::open(const DiskPath& path, const std::string& files, std::uint64_t piece_elements) {
    const std::uint64_t block = std::min(kMostBlock, piece_elements);
    auto file = MappedFile::open(path, kHead + 2 * block * sizeof(float));
    if (!file) return fail(file.error());
    ApplyRecord record;
    record.block_ = block;
    record.file_ = std::move(*file);
    const Digest digest = sha256(as_bytes("skerry/apply-record/1 " + files));
    std::uint64_t name[2];
    std::memcpy(name, digest.bytes.data(), sizeof name);
    const bool same = record.get(kFilesLow) == name[0] && record.get(kFilesHigh) == name[1];
    if (!same || files.empty()) record.forget();
    record.set(kFilesLow, name[0]);
    record.set(kFilesHigh, name[1]);
    return record;
}

std::optional<ApplyRecord::Found> ApplyRecord::found() const {
    if (get(kKind) != kWhole && get(kKind) != kApplying) return std::nullopt;
    return Found{Step{get(kStep)}, get(kTokens), get(kKind) == kWhole};
}

void ApplyRecord::forget() { set(kKind, kUnknown); }

void ApplyRecord::set_whole(Step step, std::uint64_t tokens) {
    forget();
    set(kStep, step.value);
    set(kTokens, tokens);
    set(kKind, kWhole);
}

void ApplyRecord::begin(Step step, std::uint64_t tokens) {
    forget();
    set(kStep, step.value);
    set(kTokens, tokens);
    set(kProgress, 0);
    set(kKind, kApplying);
}

// Progress is twice the block, plus one while the block changes and `undo` has what it was.

std::uint64_t ApplyRecord::next() const { return get(kProgress) / 2; }

void ApplyRecord::restore(std::span<float> theta, std::span<float> momentum) {
    if (get(kProgress) % 2 == 0) return;
    copy(undo().first(theta.size()), theta);
    copy(undo().subspan(block_, momentum.size()), momentum);
    set(kProgress, get(kProgress) - 1);
}

void ApplyRecord::before(std::span<const float> theta, std::span<const float> momentum) {
    SKERRY_ASSERT(theta.size() <= block_ && momentum.size() == theta.size());
    copy(theta, undo());
    copy(momentum, undo().subspan(block_));
    set(kProgress, get(kProgress) + 1);
}

void ApplyRecord::after() { set(kProgress, get(kProgress) + 1); }

std::uint64_t ApplyRecord::get(Word word) const {
    auto* words = reinterpret_cast<std::uint64_t*>(file_.bytes().data());
    return std::atomic_ref(words[word]).load();
}

void ApplyRecord::set(Word word, std::uint64_t value) {
    auto* words = reinterpret_cast<std::uint64_t*>(file_.bytes().data());
    std::atomic_ref(words[word]).store(value);
}

std::span<float> ApplyRecord::undo() const {
    return {reinterpret_cast<float*>(file_.bytes().data() + kHead), 2 * block_};
}

}  // namespace skerry::node
