#include "coordinator/store/sqlite_db.hpp"

#include <sqlite3.h>

#include "protocol/base/assert.hpp"

namespace skerry::coordinator {

namespace {

/// For SQLite's file: URIs.
std::string percent_encoded(const std::string& path) {
    constexpr char kHex[] = "0123456789ABCDEF";
    std::string out;
    for (char c : path) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || c == '/' ||
                           c == '.' || c == '-' || c == '_';
        if (plain) {
            out.push_back(c);
        } else {
            out.push_back('%');
            out.push_back(kHex[byte >> 4]);
            out.push_back(kHex[byte & 15]);
        }
    }
    return out;
}

}  // namespace

Error sqlite_error(sqlite3* db) { return sqlite_error(sqlite3_errcode(db), std::string("database: ") + sqlite3_errmsg(db)); }

Error sqlite_error(int code, const std::string& text) {
    switch (code & 0xFF) {
        case SQLITE_FULL:
            return {Errc::disk_full, text, "free space on the coordinator's disk; it goes on by itself"};
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return {Errc::bad_state, text, "another skerry-coordinator has this database: stop it first"};
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return {Errc::malformed, text, "restore the database from a backup, or rebuild it"};
        case SQLITE_NOMEM: return {Errc::out_of_memory, text, ""};
        case SQLITE_CANTOPEN:
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_IOERR: return {Errc::io_error, text, "check the coordinator's disk"};
        default: return {Errc::internal, text, ""};
    }
}

Query::~Query() {
    if (!statement_) return;
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
}

Query& Query::bind(std::int64_t v) {
    sqlite3_bind_int64(statement_, next_++, v);
    return *this;
}

Query& Query::bind(ByteSpan blob) {
    static constexpr char kNothing = 0;  // an empty blob is not NULL
    const void* data = blob.empty() ? static_cast<const void*>(&kNothing) : blob.data();
    sqlite3_bind_blob64(statement_, next_++, data, blob.size(), SQLITE_TRANSIENT);
    return *this;
}

Query& Query::bind(const std::string& text) {
    sqlite3_bind_text64(statement_, next_++, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
}

Result<int> Query::run() {
    auto more = row();
    if (!more) return fail(more.error());
    return sqlite3_changes(db_);
}

Result<bool> Query::row() {
    if (!statement_) return fail(sqlite_error(db_));
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return fail(sqlite_error(db_));
}

std::int64_t Query::integer(int column) { return sqlite3_column_int64(statement_, column); }

Bytes Query::blob(int column) {
    const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_, column));
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
    return data ? Bytes(data, data + size) : Bytes();
}

std::string Query::text(int column) {
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return data ? std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
                : std::string();
}

Result<std::unique_ptr<SqliteDb>> SqliteDb::open(const std::filesystem::path& file, StoreFiles& files) {
    sqlite3* raw = nullptr;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    const int code = sqlite3_open_v2(file.c_str(), &raw, flags, files.vfs());
    if (!raw) return fail(Errc::out_of_memory, "database: no memory for the connection");
    std::unique_ptr<SqliteDb> db(new SqliteDb(raw));
    if (code != SQLITE_OK) return fail(sqlite_error(raw));
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_busy_timeout(raw, 0);
    // A sector that is damaged while it is written takes all of it along. So no two transactions share a sector of the
    // log: SQLite fills it up after each commit when it cannot trust the disk here.
    int trusted = 0;
    sqlite3_file_control(raw, "main", SQLITE_FCNTL_POWERSAFE_OVERWRITE, &trusted);
    // The first write takes the lock for good: a second process is refused, and no shared memory is needed.
    auto set = db->script(
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
        "PRAGMA wal_autocheckpoint=256;"  // a megabyte: what a start after a kill copies
        "BEGIN IMMEDIATE; COMMIT;");
    if (!set) return fail(set.error());
    // SQLite syncs the new log's folder too, but does not say if that failed.
    if (auto named = files.sync_folder(file.parent_path()); !named) return fail(named.error());
    return db;
}

Result<std::unique_ptr<SqliteDb>> SqliteDb::open_immutable(const std::filesystem::path& file) {
    sqlite3* raw = nullptr;
    const std::string uri = "file:" + percent_encoded(std::filesystem::absolute(file).string()) + "?immutable=1";
    const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    const int code = sqlite3_open_v2(uri.c_str(), &raw, flags, nullptr);
    if (!raw) return fail(Errc::out_of_memory, "database: no memory for the connection");
    std::unique_ptr<SqliteDb> db(new SqliteDb(raw));
    if (code != SQLITE_OK) return fail(sqlite_error(raw));
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    auto set = db->script("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;");
    if (!set) return fail(set.error());
    return db;
}

SqliteDb::~SqliteDb() {
    for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
    const int code = sqlite3_close(db_);
    SKERRY_ASSERT(code == SQLITE_OK);
}

Result<void> SqliteDb::empty_log() {
    const int code = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
    if (code != SQLITE_OK) return fail(sqlite_error(db_));
    return {};
}

void SqliteDb::leave_log() { sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr); }

Query SqliteDb::query(std::string_view sql) {
    auto at = statements_.find(sql);
    if (at == statements_.end()) {
        sqlite3_stmt* statement = nullptr;
        sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement,
                           nullptr);
        if (!statement) return Query(db_, nullptr);
        at = statements_.emplace(sql, statement).first;
    }
    return Query(db_, at->second);
}

Result<void> SqliteDb::script(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return fail(sqlite_error(db_));
    return {};
}

}  // namespace skerry::coordinator
