#pragma once
// The agent's half of saved local progress: what the trainer's file beside it contains.
//
// progress/<slot>.trainer is the trainer's; progress/<slot>.note is written after it and makes it count. Two slots;
// the newer whole one wins.

#include <optional>
#include <vector>

#include "node/core/node_core.hpp"
#include "node/log/file.hpp"

namespace skerry::node {

class ProgressFiles {
  public:
    explicit ProgressFiles(DiskPath run_folder) : folder_(std::move(run_folder) / "progress") {}

    DiskPath trainer_file(std::uint32_t slot) const;
    /// Before the trainer overwrites a slot: the slot no longer counts. Durable.
    Result<void> void_slot(std::uint32_t slot);
    /// The trainer's file is written and synced. Durable.
    Result<void> commit(std::uint32_t slot, const ProgressNote& note, const TrainedSoFar& delta);
    /// Whole slots, oldest first.
    std::vector<ProgressImage> read() const;
    Result<ProgressImage> read_slot(std::uint32_t slot) const;
    Result<void> drop_all();

  private:
    struct Found {
        std::uint64_t serial = 0;
        ProgressImage image;
    };
    Result<Found> load(std::uint32_t slot) const;
    DiskPath note_file(std::uint32_t slot) const;

    DiskPath folder_;
};

}  // namespace skerry::node
