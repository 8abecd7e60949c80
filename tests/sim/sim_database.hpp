#pragma once
// The coordinator's database on its machine's disk, beside a journal in memory that says what must be in it.

#include "coordinator/store/sqlite_journal.hpp"
#include "tests/sim/memory_journal.hpp"
#include "tests/sim/sqlite_vfs.hpp"

namespace skerry::sim {

/// The real journal, for all processes of the coordinator. Throws Violation J1 when it does not hold what `shadow` does:
/// after every transaction and every start.
class SimDatabase {
  public:
    SimDatabase(std::uint64_t seed, const coordinator::RunRow& run, MemoryJournal& shadow);

    enum class Outcome {
        done,    ///< durable
        stale,   ///< of an old term; nothing was written
        full,    ///< nothing was written; to be tried again
        broken,  ///< the disk failed: the process must end, nothing may be said. The database is open again.
    };
    struct Written {
        Outcome outcome;
        bool durable;
    };
    Written apply(const coordinator::Tx& tx);
    coordinator::Image load();
    std::vector<SignedDecision> decisions(Step from, std::uint32_t max);

    /// The process ends, by kill -9 or a power cut, perhaps while it writes `open`, and the database is opened by the
    /// next one. `written`: that write got through, or had not begun; not set: anything. Answers whether it is there.
    bool crash(const coordinator::Tx* open, std::optional<bool> written);
    /// From now on it must hold what this one does, which equals the one before.
    void follow(MemoryJournal& shadow) { shadow_ = &shadow; }

    void heal() { disk_.clear_faults(); }
    void set_full(bool full) { disk_.set_full(full); }
    /// One of the next syncs fails.
    void fail_a_sync() { disk_.fail_sync_at(static_cast<std::uint64_t>(rng_.in(1, 3))); }

  private:
    coordinator::Image image();
    void shut();
    void open();
    bool recover(const coordinator::Tx* open, bool acknowledged);
    void compare();

    Rng rng_;
    VirtualDisk disk_;
    SqliteVfs files_;
    MemoryJournal* shadow_;
    std::unique_ptr<coordinator::SqliteJournal> database_;
};

}  // namespace skerry::sim
