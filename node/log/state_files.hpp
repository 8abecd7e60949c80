#pragma once
// theta and m as shared mapped files, and the mark that says which state they are.

#include <optional>
#include <span>

#include "node/log/file.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// What a state's digest is made of. Its canonical form (a block of the data plane) hashes to the
/// digest.
struct StateRoots {
    std::uint64_t tokens = 0;
    Digest theta_root;
    Digest m_root;
    friend bool operator==(const StateRoots&, const StateRoots&) = default;
};
/// Tag "skerry/state/1", zero byte, fields: SHA-256 of it is the digest of S_k.
Bytes to_bytes(const StateRoots& roots);
Result<StateRoots> parse_state_roots(ByteSpan block);
Digest digest_of(const StateRoots& roots);

/// Leaf hashes of theta and m by piece.
struct StateLeaves {
    std::vector<Digest> theta;
    std::vector<Digest> m;
    StateRoots roots(std::uint64_t tokens) const;
};

/// Which state the mapped files are. Removed before they change; whoever finds one still compares
/// the digest.
struct StateMark {
    Step step;
    StateRoots roots;
};

/// The working copies in `folder`. The mapping lives as long as the object; the files' content is
/// not trusted by itself.
class StateFiles {
  public:
    /// errors  disk_full, io_error.
    static Result<StateFiles> open(const DiskPath& folder, const PieceGrid& grid);

    std::span<float> theta() const;     ///< [P] float32
    std::span<float> momentum() const;  ///< [P] float32
    int theta_descriptor() const { return theta_descriptor_.descriptor(); }

    /// Of both files, in this run of the machine; empty: not known.
    std::string identity() const;
    /// Reads everything once.
    StateLeaves leaves() const;

    std::optional<StateMark> mark() const;
    Result<void> write_mark(const StateMark& mark);
    Result<void> clear_mark();

  private:
    DiskPath folder_;
    PieceGrid grid_;
    MappedFile theta_;
    MappedFile momentum_;
    File theta_descriptor_;
};

/// S_0 of a run that starts from its seed: theta from the tensor table, m zero.
void fill_initial_state(const Manifest& manifest, const PieceGrid& grid, const StateFiles& files);

}  // namespace skerry::node
