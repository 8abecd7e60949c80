#pragma once
// One decided entry on its way here: leaf list of the decided root and plan body, then chunks, each against its leaf.

#include <optional>
#include <set>

#include "node/core/asker.hpp"

namespace skerry::node {

class EntryFetch {
  public:
    /// one_by_one: never more than one chunk is asked for, and none before its staging is open: nobody waits for it.
    enum class Pace : std::uint8_t { all_at_once, one_by_one };

    EntryFetch(Context& context, Asker& asker, Pace pace) : context_(context), asker_(asker), pace_(pace) {}

    /// Another one under way is given up.
    void begin(Step step, const Digest& plan_digest, const Digest& root);
    void end();
    std::optional<Step> step() const { return entry_ ? std::optional(entry_->step) : std::nullopt; }
    bool is_root(const Digest& id) const { return entry_ && entry_->root == id; }
    bool complete() const { return entry_ && entry_->body && entry_->leaves && entry_->missing.empty(); }
    /// Whether it was a part of this entry.
    bool on_fetched(const Fetched& fetched);

  private:
    struct Entry {
        Step step;
        Digest plan_digest;
        Digest root;
        bool body = false;
        std::optional<std::vector<Digest>> leaves;
        std::set<PieceIndex> missing;
    };
    void want_block(const Digest& hash, ChunkPurpose purpose, std::uint32_t bytes);
    void want_chunks();

    Context& context_;
    Asker& asker_;
    Pace pace_;
    std::optional<Entry> entry_;
};

}  // namespace skerry::node
