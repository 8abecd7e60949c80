#include "tests/sim/sim_database.hpp"

#include "tests/sim/image_difference.hpp"

namespace skerry::sim {

using namespace coordinator;

namespace {
constexpr const char* kFolder = "/run";
constexpr const char* kFile = "/run/run.db";
constexpr std::uint64_t kStream = 5;

DiskModel draw_model(Rng& rng) {
    return rng.chance(0.5) ? DiskModel{512, rng.chance(0.5)} : DiskModel{4096, rng.chance(0.5)};
}
}  // namespace

SimDatabase::SimDatabase(std::uint64_t seed, const RunRow& run, MemoryJournal& shadow)
    : rng_(seed, kStream), disk_(draw_model(rng_)), files_(disk_), shadow_(&shadow) {
    SqliteVfs::seed(seed);
    const bool made = disk_.make_folder(kFolder) && disk_.sync_folder("/");
    require(made, "J1", "no folder for the database");
    auto created = SqliteJournal::create(kFile, run, files_);
    require(created.has_value(), "J1", created ? "" : created.error().detail);
    database_ = std::move(*created);
    compare();
}

Image SimDatabase::image() {
    auto image = database_->load();
    require(image.has_value(), "J1", image ? "" : image.error().detail);
    return std::move(*image);
}

void SimDatabase::compare() {
    const auto text = difference(image(), shadow_->load());
    require(text.empty(), "J1", "the database and what it must hold " + text);
}

Image SimDatabase::load() { return image(); }

std::vector<SignedDecision> SimDatabase::decisions(Step from, std::uint32_t max) {
    auto records = database_->decisions(from, max);
    require(records.has_value(), "J1", records ? "" : records.error().detail);
    require(*records == shadow_->decisions(from, max), "J1", "other decisions than were written");
    return std::move(*records);
}

SimDatabase::Written SimDatabase::apply(const Tx& tx) {
    const auto failed = disk_.failed_syncs();
    auto done = database_->apply(tx);
    if (done || done.error().code == Errc::stale || done.error().code == Errc::internal) {
        // A broken check is the shadow's to name.
        const bool taken = shadow_->apply(tx);
        require(taken || !done, "I1", "a write of an old term is taken");
        require(taken == done.has_value(), "J1", done ? "" : done.error().detail);
        compare();
        return {taken ? Outcome::done : Outcome::stale, taken};
    }
    if (done.error().code == Errc::disk_full) {
        compare();
        return {Outcome::full, false};
    }
    require(disk_.failed_syncs() > failed && done.error().code == Errc::io_error, "J1", done.error().detail);
    shut();
    disk_.end_process();
    if (rng_.chance(0.3)) disk_.drop_caches(rng_);
    return {Outcome::broken, recover(&tx, false)};
}

bool SimDatabase::crash(const Tx* open, std::optional<bool> written) {
    bool acknowledged = false;
    if (open != nullptr && written != false) {
        if (!written) disk_.stop_at(static_cast<std::uint64_t>(rng_.in(1, 30)));
        acknowledged = database_->apply(*open).has_value();
    }
    shut();
    rng_.chance(0.5) ? disk_.crash(rng_) : disk_.end_process();
    return recover(open, acknowledged);
}

/// As kill -9 does.
void SimDatabase::shut() {
    disk_.stop();
    database_.reset();
}

void SimDatabase::open() {
    for (int tries = 0;; ++tries) {
        if (tries < 2 && rng_.chance(0.15)) disk_.stop_at(static_cast<std::uint64_t>(rng_.in(1, 12)));
        const auto failed = disk_.failed_syncs();
        auto opened = SqliteJournal::open(kFile, files_);
        if (opened && !disk_.stopped()) {
            disk_.stop_at(0);
            database_ = std::move(*opened);
            return;
        }
        const bool full = !opened && opened.error().code == Errc::disk_full;
        const bool meant = disk_.stopped() || disk_.failed_syncs() > failed || full;
        require(meant && tries < 10, "J1", opened ? "" : "the database does not open: " + opened.error().detail);
        disk_.stop();
        if (opened) opened->reset();
        if (full) disk_.set_full(false);  // somebody makes room
        rng_.chance(0.5) ? disk_.crash(rng_) : disk_.end_process();
    }
}

bool SimDatabase::recover(const Tx* tx, bool acknowledged) {
    open();
    if (tx == nullptr) {
        compare();
        return false;
    }
    const Image now = image();
    MemoryJournal with = *shadow_;
    if (with.apply(*tx) && now == with.load()) {
        *shadow_ = std::move(with);
        return true;
    }
    const auto text = difference(now, shadow_->load());
    require(text.empty() && !acknowledged, "J1",
            acknowledged ? "an acknowledged transaction is not there" : "half a transaction: the images " + text);
    return false;
}

}  // namespace skerry::sim
