#pragma once
// Row values to SQL and back. For store/ only.

#include "coordinator/core/rows.hpp"
#include "coordinator/store/sqlite_db.hpp"

namespace skerry::coordinator {

/// Carries out one operation with its checks. Errors: internal if a check fails; those of the database.
Result<void> apply_op(SqliteDb& db, const Op& op);

/// Everything. Errors: malformed if a row does not parse.
Result<Image> load_image(SqliteDb& db);

/// At most `max` records from `from` on and at most about `max_bytes`, at least one if there is one.
Result<std::vector<SignedDecision>> load_decisions(SqliteDb& db, Step from, std::uint32_t max,
                                                   std::size_t max_bytes);

Result<RunRow> load_run(SqliteDb& db);

/// Errors: version_mismatch.
Result<void> check_schema_version(SqliteDb& db);

}  // namespace skerry::coordinator
