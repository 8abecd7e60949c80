#pragma once
// How far an apply got in the mapped working copies, in a mapped file beside them.
//
// The page cache outlives a kill, so the next process goes on where this one ended, without a replay. It does not outlive
// a power cut, and a copy of the folder is other files: both show in the identity that is recorded, and then nothing of it
// is believed.

#include <optional>
#include <string>

#include "node/log/file.hpp"
#include "protocol/base/units.hpp"

namespace skerry::node {

class ApplyRecord {
  public:
    struct Found {
        Step step;
        std::uint64_t tokens = 0;
        bool whole = false;  ///< the files are S_step; else entry `step` is applied up to `next()`
    };

    ApplyRecord() = default;
    /// `files` names the working copies and the run of the machine; empty: nothing is believed, ever.
    static Result<ApplyRecord> open(const DiskPath& path, const std::string& files, std::uint64_t piece_elements);

    /// Elements that are changed between two notes of progress: a piece has a whole number of blocks, the last one short.
    std::uint64_t block() const { return block_; }

    std::optional<Found> found() const;
    void forget();
    void set_whole(Step step, std::uint64_t tokens);
    /// The files are S_step, and entry `step` is about to change them.
    void begin(Step step, std::uint64_t tokens);

    /// The first block that is not applied.
    std::uint64_t next() const;
    /// Undoes what was done to block `next()`, if anything was.
    void restore(std::span<float> theta, std::span<float> momentum);
    /// Around the change of block `next()`.
    void before(std::span<const float> theta, std::span<const float> momentum);
    void after();

  private:
    enum Word : std::uint8_t { kFilesLow, kFilesHigh, kKind, kStep, kTokens, kProgress, kWords };
    enum Kind : std::uint64_t { kUnknown, kWhole, kApplying };
    std::uint64_t get(Word word) const;
    /// A kill sees the words, and what was written before them, in this order.
    void set(Word word, std::uint64_t value);
    std::span<float> undo() const;  ///< two blocks: theta, m

    MappedFile file_;
    std::uint64_t block_ = 0;
};

}  // namespace skerry::node
