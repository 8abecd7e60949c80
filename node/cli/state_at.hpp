#pragma once
// A state S_k rebuilt from a run folder without its agent: for export, generate.

#include <filesystem>
#include <memory>
#include <optional>

#include "node/log/state_files.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// Lies in a scratch folder that goes with the object.
class StateAt {
  public:
    /// S_step, or the newest state that the folder has all of. Reads only; safe beside a running agent.
    /// Errors: not_found (no run there, or no such state: what is kept is said), digest_mismatch, disk_full, io_error.
    static Result<StateAt> rebuild(const std::filesystem::path& run_folder, std::optional<Step> step,
                                   const std::filesystem::path& scratch_parent);
    ~StateAt();
    StateAt(StateAt&&) noexcept;
    StateAt& operator=(StateAt&&) noexcept;

    const Manifest& manifest() const;
    Step step() const;
    Digest digest() const;
    /// The chain's value at it.
    Digest h() const;
    std::span<const float> theta() const;
    std::span<const float> momentum() const;
    int theta_descriptor() const;

  private:
    struct Parts;
    explicit StateAt(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

/// A node's folder holds the run's in `run`; either is understood.
std::filesystem::path run_folder_of(const std::filesystem::path& dir);
/// The data shards and the files of the run lie beside that folder.
std::filesystem::path shards_beside(const std::filesystem::path& run_folder);

}  // namespace skerry::node
