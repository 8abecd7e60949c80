#pragma once
// Finds what rots on the disk: reads all that is kept of the log, oldest first, slowly, then again after a while. Nothing
// else would: a start does not read old entries, and a run may go on for months without anybody asking for one.

#include "node/core/state_log.hpp"

namespace skerry::node {

class Scrub {
  public:
    Scrub(Context& context, const StateLog& log) : context_(context), log_(log) {}

    /// Has some pieces read, if it is time for them.
    void pump();
    bool owns(OpId op) const { return op_ == op; }
    /// What was damaged.
    std::optional<Kept> on_done(const Done& done);
    Mono next_wake() const { return op_ ? Mono::max() : next_at_; }

    std::uint64_t rounds() const { return rounds_; }
    std::uint64_t read_bytes() const { return read_bytes_; }

  private:
    void next_object();
    std::uint64_t piece_bytes() const;

    Context& context_;
    const StateLog& log_;
    Kept at_;
    std::uint32_t piece_ = 0;  ///< of it, the next one to read
    std::optional<OpId> op_;
    Mono round_due_ = Mono::min();  ///< when the next round may begin
    Mono next_at_ = Mono::min();
    std::uint64_t rounds_ = 0;
    std::uint64_t read_bytes_ = 0;
};

}  // namespace skerry::node
