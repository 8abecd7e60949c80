#pragma once
// Copies of journals: made of a live one between its transactions, checked, and made fit to go on from.

#include <filesystem>
#include <memory>

#include "coordinator/core/rows.hpp"

struct sqlite3;
struct sqlite3_backup;

namespace skerry::coordinator {

/// SQLite's online backup on the journal's own connection: what is committed meanwhile is in the copy, too, and nothing
/// starts over. Belongs to the journal's thread, and must end before the journal.
class JournalCopy {
  public:
    ~JournalCopy();
    JournalCopy(const JournalCopy&) = delete;
    JournalCopy& operator=(const JournalCopy&) = delete;

    /// Copies at most `pages` more (4 KiB each). True: the copy is whole and closed; nobody has synced it yet.
    /// Errors: disk_full, io_error. The journal itself is not touched by them.
    Result<bool> step(int pages);

  private:
    friend class SqliteJournal;
    JournalCopy(sqlite3* target, sqlite3_backup* backup) : target_(target), backup_(backup) {}
    sqlite3* target_;
    sqlite3_backup* backup_;
};

/// What a copy holds.
struct CopyFacts {
    RunRow run;
    Term term;
    MetaRow meta;
    Step head;
    Digest h_head;
    std::uint64_t tokens = 0;
};

/// Checks every page, every row and the hash chain, changing nothing. Errors: not_found, malformed, version_mismatch.
Result<CopyFacts> check_copy(const std::filesystem::path& file);

/// For a journal that goes on from a copy: what the original gave out after the copy was made is never given out
/// again. Term and epoch rise by 1000, lease ids by 2^32. Errors: those of opening it.
Result<void> raise_numbers(const std::filesystem::path& file);

}  // namespace skerry::coordinator
