#include "coordinator/store/journal_copy.hpp"

#include <sqlite3.h>

#include "coordinator/store/sqlite_db.hpp"
#include "coordinator/store/sqlite_journal.hpp"
#include "coordinator/store/sqlite_rows.hpp"
#include "coordinator/store/store_files.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::coordinator {
namespace {

constexpr std::uint32_t kRecordsAtOnce = 256;

Result<void> check_pages(SqliteDb& db) {
    auto check = db.query("PRAGMA integrity_check(1)");
    auto found = check.row();
    if (!found) return fail(found.error());
    if (check.text(0) != "ok") return fail(Errc::malformed, "the copy is damaged: " + check.text(0), "make a new backup");
    auto keys = db.query("PRAGMA foreign_key_check");
    auto broken = keys.row();
    if (!broken) return fail(broken.error());
    if (*broken) return fail(Errc::malformed, "the copy is damaged: a row names one that is not there", "make a new backup");
    return {};
}

/// h of the head, recomputed from the first decision on.
Result<Digest> check_chain(SqliteDb& db, const RunRow& run, Step head) {
    Digest h = chain_start(body_digest(run.manifest));
    for (Step at; at < head;) {
        auto records = load_decisions(db, at, kRecordsAtOnce, SIZE_MAX);
        if (!records) return fail(records.error());
        if (records->empty()) return fail(Errc::malformed, "decision " + std::to_string(at.value) + " is missing");
        for (const SignedDecision& record : *records) {
            auto decision = parse_decision(record.decision.body);
            if (!decision) return fail(decision.error());
            const bool follows = decision->step == at && chain_next(h, *decision) == decision->h_after;
            if (!follows) return fail(Errc::malformed, "decision " + std::to_string(at.value) + " does not follow the one before it");
            h = decision->h_after;
            at = at.next();
        }
    }
    return h;
}

}  // namespace

JournalCopy::~JournalCopy() {
    if (backup_) sqlite3_backup_finish(backup_);
    sqlite3_close(target_);
}

Result<bool> JournalCopy::step(int pages) {
    const int code = sqlite3_backup_step(backup_, pages);
    if (code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED) return false;
    if (code != SQLITE_DONE) return fail(sqlite_error(code, std::string("backup: ") + sqlite3_errstr(code)));
    const int done = sqlite3_backup_finish(std::exchange(backup_, nullptr));
    if (done != SQLITE_OK) return fail(sqlite_error(done, std::string("backup: ") + sqlite3_errstr(done)));
    return true;
}

Result<CopyFacts> check_copy(const std::filesystem::path& file) {
    auto db = SqliteDb::open_immutable(file);
    if (!db) return fail(db.error());
    auto version = check_schema_version(**db);
    if (!version) return fail(version.error());
    auto pages = check_pages(**db);
    if (!pages) return fail(pages.error());
    auto image = load_image(**db);
    if (!image) return fail(image.error());
    auto manifest = parse_manifest(image->run.manifest);
    if (!manifest) return fail(manifest.error());
    auto h = check_chain(**db, image->run, image->head);
    if (!h) return fail(h.error());
    CopyFacts out{image->run, image->term, image->meta, image->head, *h, 0};
    if (!image->decisions.empty()) out.tokens = image->decisions.back().tokens_after;
    return out;
}

Result<void> raise_numbers(const std::filesystem::path& file) {
    auto db = SqliteDb::open(file, os_files());
    if (!db) return fail(db.error());
    return (*db)->script("UPDATE meta SET term = term + 1000, epoch = epoch + 1000, next_lease = next_lease + 4294967296");
}

}  // namespace skerry::coordinator
