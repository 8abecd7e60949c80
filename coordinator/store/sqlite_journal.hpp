#pragma once
// The journal in SQLite: one connection, WAL, synchronous FULL, exclusive lock.

#include <filesystem>
#include <memory>

#include "coordinator/store/journal.hpp"
#include "coordinator/store/journal_copy.hpp"
#include "coordinator/store/store_files.hpp"

namespace skerry::coordinator {

/// Belongs to the thread that first calls it (checked). The lock on the file refuses a second process.
class SqliteJournal final : public Journal {
  public:
    /// Makes the database of a new run (mode 0600). Errors: already_exists; malformed if the manifest does not
    /// parse; disk_full, io_error.
    static Result<std::unique_ptr<SqliteJournal>> create(const std::filesystem::path& file, const RunRow& run,
                                                         StoreFiles& files = os_files());

    /// Opens and checks it (quick_check). Errors: not_found; bad_state if another process has it;
    /// version_mismatch for a schema that a newer program made (an older one is migrated); malformed if it is damaged; disk_full (it needs room for a
    /// copy of the log that a killed process left); io_error.
    static Result<std::unique_ptr<SqliteJournal>> open(const std::filesystem::path& file,
                                                       StoreFiles& files = os_files());

    ~SqliteJournal() override;

    Result<Image> load() override;
    Result<void> apply(const Tx& tx) override;
    Result<std::vector<SignedDecision>> decisions(Step from, std::uint32_t max) override;

    /// The run's birth record alone: to name a run without starting it.
    Result<RunRow> run_row();

    /// Begins a copy into a new file (mode 0600). Errors: already_exists, disk_full, io_error.
    Result<std::unique_ptr<JournalCopy>> begin_copy(const std::filesystem::path& file);

  private:
    struct Db;
    explicit SqliteJournal(std::unique_ptr<Db> db);
    std::unique_ptr<Db> db_;
};

}  // namespace skerry::coordinator
