#include "coordinator/store/sqlite_journal.hpp"

#include <sqlite3.h>

#include "coordinator/store/sqlite_rows.hpp"
#include "protocol/base/thread_home.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"
#include "schema.hpp"

namespace skerry::coordinator {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kSchemaVersion = 3;
/// From version i + 1 to i + 2. Like fill_new, inside a transaction.
constexpr const char* kMigrations[kSchemaVersion - 1] = {
    "ALTER TABLE meta ADD COLUMN void_sequences INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE meta ADD COLUMN loss_to_record INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE plan ADD COLUMN must_end_decided INTEGER NOT NULL DEFAULT 0;"
    "PRAGMA user_version = 2",
    "ALTER TABLE node ADD COLUMN given_steps INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE node ADD COLUMN given_steps_here INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE node ADD COLUMN given_active_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE node ADD COLUMN given_since INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE node ADD COLUMN given_sent_before INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE node ADD COLUMN given_sent INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE node ADD COLUMN given_received_before INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE node ADD COLUMN given_received INTEGER NOT NULL DEFAULT 0;"
    "PRAGMA user_version = 3",
};

/// Rolls back unless it was committed.
class Transaction {
  public:
    explicit Transaction(SqliteDb& db) : db_(db) {}
    ~Transaction() {
        if (open_) (void)db_.script("ROLLBACK");
    }
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    Result<void> begin() {
        auto r = db_.script("BEGIN IMMEDIATE");
        open_ = r.has_value();
        return r;
    }
    Result<void> commit() {
        auto r = db_.script("COMMIT");
        if (r) open_ = false;
        return r;
    }

  private:
    SqliteDb& db_;
    bool open_ = false;
};

Result<void> fill_new(SqliteDb& db, const RunRow& run) {
    Transaction tx(db);
    if (auto r = tx.begin(); !r) return r;
    if (auto r = db.script(kSchema); !r) return r;
    if (auto r = db.script("PRAGMA user_version = 3; INSERT INTO meta VALUES (1, 0, 0, 1, 0, 0, 1, '', 0)"); !r) return r;
    {
        auto q = db.query("INSERT INTO run VALUES (1, ?, ?)");
        q.bind(run.manifest).bind(run.data_manifest);
        if (auto r = q.run(); !r) return fail(r.error());
    }
    return tx.commit();
}

}  // namespace

namespace {

Result<std::int64_t> schema_version(SqliteDb& db) {
    auto version = db.query("PRAGMA user_version");
    if (auto found = version.row(); !found) return fail(found.error());
    return version.integer(0);
}

Fail unknown_schema(std::int64_t version) {
    return fail(Errc::version_mismatch,
                "the database has schema " + std::to_string(version) + ", this program knows " + std::to_string(kSchemaVersion),
                version > kSchemaVersion ? "use the skerry-coordinator that made it, or a newer one" : "is this a run's database?");
}

/// To the schema of this program, in one transaction.
Result<void> migrate(SqliteDb& db, std::int64_t version) {
    if (version == kSchemaVersion) return {};
    Transaction tx(db);
    if (auto r = tx.begin(); !r) return r;
    for (; version < kSchemaVersion; ++version)
        if (auto r = db.script(kMigrations[version - 1]); !r) return r;
    return tx.commit();
}

}  // namespace

Result<void> check_schema_version(SqliteDb& db) {
    auto version = schema_version(db);
    if (!version) return fail(version.error());
    if (*version != kSchemaVersion) return unknown_schema(*version);
    return {};
}

namespace {

Result<void> check_whole(SqliteDb& db) {
    auto check = db.query("PRAGMA quick_check(1)");
    if (auto found = check.row(); !found) return fail(found.error());
    if (check.text(0) != "ok")
        return fail(Errc::malformed, "the database is damaged: " + check.text(0), "restore it from a backup, or rebuild it");
    return {};
}

Result<void> make_ready(SqliteDb& db) {
    auto version = schema_version(db);
    if (!version) return fail(version.error());
    if (*version < 1 || *version > kSchemaVersion) return unknown_schema(*version);
    if (auto r = check_whole(db); !r) return r;
    return migrate(db, *version);
}

/// A process that ended without closing leaves a log, and if it ended because a sync failed, the log may show
/// transactions that the medium does not have: the kernel counts their pages as clean, so no later sync brings them
/// there. Commits after them, or a checkpoint, would stand on nothing. A copy is all durable before it takes the place.
Result<void> renew_log(const fs::path& file, StoreFiles& files) {
    const fs::path log = file.string() + "-wal";
    if (!files.exists(log)) return {};
    auto lock = SqliteDb::open(file, files);  // the log of a running process is not ours to replace
    if (!lock) return fail(lock.error());
    (*lock)->leave_log();
    if (!files.exists(log)) return {};
    const fs::path copy = file.string() + "-wal.new";
    if (auto r = files.copy_durably(log, copy); !r) return r;
    if (auto r = files.rename(copy, log); !r) return r;
    return files.sync_folder(file.parent_path());
}

}  // namespace

struct SqliteJournal::Db {
    std::unique_ptr<SqliteDb> sqlite;
    ThreadHome home;
};

SqliteJournal::SqliteJournal(std::unique_ptr<Db> db) : db_(std::move(db)) {}
SqliteJournal::~SqliteJournal() = default;

Result<std::unique_ptr<SqliteJournal>> SqliteJournal::create(const fs::path& file, const RunRow& run,
                                                             StoreFiles& files) {
    if (auto manifest = parse_manifest(run.manifest); !manifest) return fail(manifest.error());
    if (files.exists(file)) return fail(Errc::already_exists, file.string() + " exists");
    // Made beside it and then linked: a half-made database is never found under its name.
    const fs::path fresh = file.string() + ".new";
    for (const char* suffix : {"", "-wal", "-shm", "-journal"})
        if (auto r = files.remove(fresh.string() + suffix); !r) return fail(r.error());
    if (auto r = files.create_private(fresh); !r) return fail(r.error());
    {
        auto db = SqliteDb::open(fresh, files);
        if (!db) return fail(db.error());
        if (auto r = fill_new(**db, run); !r) return fail(r.error());
        if (auto r = (*db)->empty_log(); !r) return fail(r.error());  // only the file itself gets the name
    }
    if (auto r = files.sync(fresh); !r) return fail(r.error());
    if (auto r = files.link(fresh, file); !r) return fail(r.error());
    if (auto r = files.remove(fresh); !r) return fail(r.error());
    if (auto r = files.sync_folder(file.parent_path()); !r) return fail(r.error());
    return open(file, files);
}

Result<std::unique_ptr<SqliteJournal>> SqliteJournal::open(const fs::path& file, StoreFiles& files) {
    if (!files.exists(file))
        return fail(Errc::not_found, "no database " + file.string(), "skerry-coordinator init, then skerry run create");
    if (auto r = renew_log(file, files); !r) return fail(r.error());
    auto db = SqliteDb::open(file, files);
    if (!db) return fail(db.error());
    if (auto r = make_ready(**db); !r) return fail(r.error());
    auto state = std::make_unique<Db>();
    state->sqlite = std::move(*db);
    return std::unique_ptr<SqliteJournal>(new SqliteJournal(std::move(state)));
}

Result<Image> SqliteJournal::load() {
    db_->home.check();
    return load_image(*db_->sqlite);
}

Result<void> SqliteJournal::apply(const Tx& tx) {
    db_->home.check();
    SqliteDb& db = *db_->sqlite;
    Transaction transaction(db);
    if (auto r = transaction.begin(); !r) return r;
    const bool claims = !tx.ops.empty() && std::holds_alternative<op::ClaimTerm>(tx.ops.front());
    if (!claims) {
        auto q = db.query("SELECT term FROM meta WHERE term = ?");
        q.bind(tx.term);
        auto mine = q.row();
        if (!mine) return fail(mine.error());
        if (!*mine)
            return fail(Errc::stale, "another coordinator has taken over: the stored term is not " +
                                         std::to_string(tx.term.value));
    }
    for (const Op& op : tx.ops)
        if (auto r = apply_op(db, op); !r) return r;
    return transaction.commit();
}

Result<std::vector<SignedDecision>> SqliteJournal::decisions(Step from, std::uint32_t max) {
    db_->home.check();
    return load_decisions(*db_->sqlite, from, max, kMaxFrame / 2);
}

Result<RunRow> SqliteJournal::run_row() {
    db_->home.check();
    return load_run(*db_->sqlite);
}

Result<std::unique_ptr<JournalCopy>> SqliteJournal::begin_copy(const fs::path& file) {
    db_->home.check();
    if (auto made = os_files().create_private(file); !made) return fail(made.error());
    sqlite3* target = nullptr;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    const int code = sqlite3_open_v2(file.c_str(), &target, flags, nullptr);
    // Whoever takes the copy away syncs it: no fsync here, where decisions wait.
    const bool ready = code == SQLITE_OK && sqlite3_exec(target, "PRAGMA synchronous=OFF", nullptr, nullptr, nullptr) == SQLITE_OK;
    sqlite3_backup* backup = ready ? sqlite3_backup_init(target, "main", db_->sqlite->native(), "main") : nullptr;
    if (!backup) {
        Error why = target ? sqlite_error(target) : Error{Errc::out_of_memory, "database: no memory for the connection", ""};
        sqlite3_close(target);
        return fail(std::move(why));
    }
    return std::unique_ptr<JournalCopy>(new JournalCopy(target, backup));
}

}  // namespace skerry::coordinator
