#pragma once
// S_0 of a run: computed from its seed, or read from a base state that its owner pushed (a fork,
// or a model folder). The file's form:
// protocol/rules/base_file.hpp.

#include "node/log/state_files.hpp"

namespace skerry::node {

/// Its name in a run folder.
inline constexpr const char* kBaseState = "base";

/// theta and m are [P] float32; an empty m stands for zeros. Returns the SHA-256 of the file, which is durable then.
/// errors  not_finite; disk_full, io_error.
Result<Digest> write_base_state(const DiskPath& file, std::span<const float> theta, std::span<const float> m);

/// Of the whole file, whatever it is. Reads it in windows. errors  not_found; io_error.
Result<Digest> base_state_sha256(const DiskPath& file);

/// errors  digest_mismatch: it is another file, or damaged (theta and m are undefined then); not_found; io_error.
Result<void> read_base_state(const DiskPath& file, const Digest& sha256, const StateFiles& files);

/// Whether S_0 can be made here: from the seed always.
bool has_first_state(const Manifest& manifest, const DiskPath& run_folder);
/// theta, m := S_0. errors  those of read_base_state.
Result<void> load_first_state(const Manifest& manifest, const PieceGrid& grid, const DiskPath& run_folder,
                              const StateFiles& files);

}  // namespace skerry::node
