#pragma once
// Fills the gaps of the log: what was damaged below the head is fetched again and appended in its place, one entry after
// the other and piece by piece, while everything else goes on. Nothing is applied; the state has passed it.

#include "node/core/entry_fetch.hpp"
#include "node/core/state_log.hpp"

namespace skerry::node {

class Repair {
  public:
    Repair(Context& context, const Chain& chain, StateLog& log, Asker& asker)
        : context_(context), chain_(chain), log_(log), fetch_(context, asker, EntryFetch::Pace::one_by_one) {}

    /// Before the step machine looks at the log: an entry that the head has to pass again is its own to fetch.
    void pump();
    void on_fetched(const Fetched& fetched);
    bool owns(OpId op) const { return append_ && append_->first == op; }
    void on_done(const Done& done);
    Mono next_wake() const;

  private:
    void rest() { again_ = context_.now + kRest; }
    void drop_staging(Step step);
    /// Nobody has it, or they are all away: the next one may be had, and this one later.
    static constexpr Millis kPatience{30'000};
    static constexpr Millis kRest{10'000};

    Context& context_;
    const Chain& chain_;
    StateLog& log_;
    EntryFetch fetch_;
    std::optional<std::pair<OpId, Step>> append_;
    Mono heard_;                 ///< when something of it came last
    Mono again_ = Mono::min();   ///< nobody had anything, or the disk refused: not before then
    std::optional<Step> tried_;  ///< in vain: the next one has its turn
};

}  // namespace skerry::node
