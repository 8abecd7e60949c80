#pragma once
// A connection and its statements, thinly: values in, values out, errors by our codes. For store/ only.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "coordinator/store/store_files.hpp"
#include "protocol/base/bytes.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace skerry::coordinator {

/// A prepared statement at work: bind in order, then `run` or `row` until there is none. Resets itself.
class Query {
  public:
    Query(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
    ~Query();
    Query(const Query&) = delete;
    Query& operator=(const Query&) = delete;

    Query& bind(std::int64_t v);
    Query& bind(std::uint64_t v) { return bind(static_cast<std::int64_t>(v)); }
    Query& bind(std::uint32_t v) { return bind(static_cast<std::int64_t>(v)); }
    Query& bind(int v) { return bind(static_cast<std::int64_t>(v)); }
    Query& bind(bool v) { return bind(static_cast<std::int64_t>(v)); }
    Query& bind(ByteSpan blob);
    Query& bind(const Bytes& blob) { return bind(ByteSpan(blob)); }
    Query& bind(const std::string& text);
    template <class Tag, class Rep>
    Query& bind(const Strong<Tag, Rep>& v) { return bind(static_cast<std::int64_t>(v.value)); }
    template <class Tag, std::size_t N>
    Query& bind(const FixedBytes<Tag, N>& v) { return bind(ByteSpan(v.bytes)); }

    /// For statements without rows. Answers the number of rows changed.
    Result<int> run();
    /// Whether there is another row.
    Result<bool> row();

    std::int64_t integer(int column);
    template <class T>
    T number(int column) {
        return static_cast<T>(integer(column));
    }
    template <class StrongT>
    StrongT strong(int column) {
        return StrongT{static_cast<decltype(StrongT::value)>(integer(column))};
    }
    Bytes blob(int column);
    std::string text(int column);
    /// Zero bytes if the length is another one.
    template <class Fixed>
    Fixed fixed(int column) {
        Fixed out;
        const Bytes b = blob(column);
        if (b.size() == out.bytes.size()) std::memcpy(out.bytes.data(), b.data(), b.size());
        return out;
    }

  private:
    sqlite3* db_;
    sqlite3_stmt* statement_;
    int next_ = 1;
};

class SqliteDb {
  public:
    /// Opens an existing file, sets the connection up and takes the lock. The log beside it has a durable name.
    static Result<std::unique_ptr<SqliteDb>> open(const std::filesystem::path& file, StoreFiles& files);
    /// A file that nobody writes: no lock, no log, not a byte changes.
    static Result<std::unique_ptr<SqliteDb>> open_immutable(const std::filesystem::path& file);
    ~SqliteDb();

    /// `sql` must be a literal: statements are kept by its text.
    Query query(std::string_view sql);
    /// Several statements, no values.
    Result<void> script(const char* sql);

    /// Writes the log back into the file, durably. Closing does that too, but says nothing if it fails.
    Result<void> empty_log();
    /// Closing writes nothing: the log stays as it is.
    void leave_log();

    sqlite3* native() { return db_; }

  private:
    explicit SqliteDb(sqlite3* db) : db_(db) {}
    sqlite3* db_;
    std::map<std::string_view, sqlite3_stmt*> statements_;
};

/// The last error of the connection by our codes: disk_full, io_error, bad_state (locked by another process),
/// malformed (damaged), internal (a constraint: a bug of ours).
Error sqlite_error(sqlite3* db);
/// The same for a result code that the connection does not remember.
Error sqlite_error(int code, const std::string& text);

}  // namespace skerry::coordinator
