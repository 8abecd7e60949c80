#pragma once
// The state that a run begins with, to the coordinator, by its hash: of a fork, or of a model folder.

#include <filesystem>
#include <span>

#include "node/cli/channel.hpp"
#include "protocol/base/ids.hpp"

namespace skerry::node {

/// A folder of its own for what is needed only while a command runs; goes with the object.
class Scratch {
  public:
    /// Errors: io_error, disk_full.
    static Result<Scratch> make();
    ~Scratch();
    Scratch(Scratch&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}
    Scratch& operator=(Scratch&&) = delete;
    const std::filesystem::path& folder() const { return folder_; }

  private:
    explicit Scratch(std::filesystem::path folder) : folder_(std::move(folder)) {}
    std::filesystem::path folder_;
};

/// theta, momentum [P] float32; an empty momentum stands for zeros. Sends what the coordinator lacks of the file. Returns its SHA-256.
/// Errors: not_finite; disk_full, io_error; the coordinator's.
Result<Digest> send_base(Channel& channel, std::span<const float> theta, std::span<const float> momentum);

}  // namespace skerry::node
