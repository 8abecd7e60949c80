#include "node/log/node_image.hpp"

#include "node/log/progress_files.hpp"
#include "protocol/base/log.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

Result<PreparedImage> read_prepared(const RunStore& store, const PreparedEntry& entry) {
    if (entry.ballot) {
        auto body = store.prepared_plan(entry);
        if (!body) return fail(body.error());
        return PreparedImage{entry.step, std::move(*body), {}, {}, {}};
    }
    auto name = std::to_string(entry.step.value) + "." + std::to_string(entry.term.value) + "." +
                std::to_string(entry.attempt.value);
    auto reader = EntryReader::open(store.folder() / "prepared" / name, store.grid(), store.codec().id());
    if (!reader) return fail(reader.error());
    PreparedImage out{entry.step, (*reader)->plan_body(), (*reader)->root(), (*reader)->leaves(), {}};
    for (std::uint32_t piece = 0; piece < store.grid().count(); ++piece) {
        auto row = (*reader)->read(PieceIndex{piece});  // hashes the chunk against its leaf
        if (!row) return fail(row.error());
        out.signatures.push_back(row->owner_signature);
    }
    return out;
}

/// Damaged entries and snapshots are removed here, so that what is needed of them is fetched again. The bulk of an entry
/// is not read: that would take as long as the log is large. Whoever applies or serves it verifies it; see core/scrub.hpp, too.
void read_log(RunStore& store, NodeImage& image) {
    const DecisionLog& log = store.decisions();
    for (Step at = log.first(); at < log.next();) {
        auto records = log.read(at, 256);
        if (!records || records->empty()) break;
        at.value += records->size();
        for (SignedDecision& record : *records) image.decisions.push_back(std::move(record));
    }
    for (Step k = log.first(); k < log.next(); k = k.next()) {
        if (store.has_entry(k)) (store.check_entry(k) ? image.entries : image.damaged).push_back(k);
    }
    for (const SnapshotInfo& snapshot : store.snapshots()) {
        if (store.verify_snapshot(snapshot.step)) image.snapshots.push_back({snapshot.step, snapshot.state_digest});
    }
    image.state = store.marked_state();
}

void read_open_step(RunStore& store, NodeImage& image) {
    for (const PreparedEntry& entry : store.prepared()) {
        auto prepared = read_prepared(store, entry);
        if (prepared) image.prepared.push_back(std::move(*prepared));
        else log_warn("prepared.damaged", {{"step", std::to_string(entry.step.value)}, {"error", prepared.error().detail}});
    }
    for (const auto& gathered : store.gathered())
        image.contributions.push_back({gathered->step(), gathered->contribution(), false, gathered->pieces()});
    auto own = store.own_contribution();
    if (!own) return;
    ContributionImage contribution{own->step, own->contribution, true, {}};
    for (std::uint32_t piece = 0; piece < store.grid().count(); ++piece) contribution.pieces.push_back(PieceIndex{piece});
    image.contributions.push_back(std::move(contribution));
}

}  // namespace

Result<NodeImage> load_image(const NodeFiles& files, RunStore* store) {
    NodeImage image;
    auto seen = files.read_seen();
    if (seen) {
        image.term = seen->term;
        image.epoch = seen->epoch;
        image.incarnation = seen->incarnation;
        if (!seen->roster.body.empty()) image.roster = seen->roster;
    } else if (seen.error().code != Errc::not_found) {
        log_warn("seen.damaged", {{"error", seen.error().detail}});
    }
    if (store == nullptr) return image;
    image.manifest = to_bytes(store->manifest());
    read_log(*store, image);
    read_open_step(*store, image);
    image.progress = ProgressFiles(store->folder()).read();
    auto leases = files.read_leases();
    if (leases) image.leases = std::move(*leases);
    return image;
}

Result<OpenedRun> open_run(const DiskPath& folder) {
    OpenedRun out;
    NodeFiles files(folder);
    auto seen = files.read_seen();
    if (seen) out.ticket = seen->ticket;
    auto manifest = files.read_manifest();
    auto data = files.read_data_manifest();
    for (const Result<Bytes>* file : {&manifest, &data}) {
        if (*file || file->error().code == Errc::not_found) continue;
        if (is_disk_error(file->error().code)) return fail(file->error());
        log_warn("manifest.damaged", {{"error", file->error().detail}});  // the coordinator sends it again
    }
    if (manifest && data) {
        auto parsed = parse_manifest(*manifest);
        if (!parsed) return fail(parsed.error());
        auto store = RunStore::open(folder, *parsed);
        if (!store) return fail(store.error());
        out.store = std::move(*store);
        out.data_manifest = std::move(*data);
    }
    auto image = load_image(files, out.store.get());
    if (!image) return fail(image.error());
    out.image = std::move(*image);
    return out;
}

}  // namespace skerry::node
