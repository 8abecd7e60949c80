#include "node/cli/state_at.hpp"

#include <algorithm>

#include <stdlib.h>

#include "node/log/base_state.hpp"
#include "node/log/decision_log.hpp"
#include "node/log/node_files.hpp"
#include "node/log/replay.hpp"
#include "node/log/snapshot.hpp"
#include "protocol/config/files.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

/// What a rebuild reads from.
struct Source {
    fs::path folder;
    Manifest manifest;
    Digest run_digest;
    PieceGrid grid;
    const Codec* codec = nullptr;
    DecisionLog log;
    Step first;
};

Result<Source> open_source(const fs::path& folder) {
    Source out;
    out.folder = folder;
    auto body = NodeFiles(folder).read_manifest();
    if (!body)
        return fail(body.error().code, "no run in " + folder.string() + ": " + body.error().detail, "name the folder that  skerry join --dir  made");
    auto manifest = parse_manifest(*body);
    if (!manifest) return fail(manifest.error());
    out.manifest = std::move(*manifest);
    out.run_digest = body_digest(*body);
    out.grid = {out.manifest.elements, out.manifest.piece_elements};
    auto codec = find_codec(out.manifest.codec);
    if (!codec) return fail(codec.error());
    out.codec = *codec;
    auto log = DecisionLog::open_read_only(folder / "decisions", out.first, chain_start(out.run_digest));
    if (!log) return fail(log.error());
    out.log = std::move(*log);
    return out;
}

fs::path snapshot_folder(const Source& source, Step step) { return source.folder / "snapshots" / std::to_string(step.value); }
fs::path entry_file(const Source& source, Step step) { return source.folder / "entries" / std::to_string(step.value); }

/// From where, and by which commits in ascending order, S_target is reached.
struct Route {
    Step target;
    Step base;
    bool snapshot = false;
    std::vector<DecisionRow> commits;
};

/// Nothing if something is missing.
std::optional<Route> find_route(const Source& source, Step target) {
    Route out;
    out.target = target;
    for (;;) {
        if (fs::exists(snapshot_folder(source, target) / "manifest")) {
            out.snapshot = true;
            break;
        }
        if (target == source.first) {
            if (!has_first_state(source.manifest, source.folder)) return std::nullopt;
            break;
        }
        const DecisionRow* row = source.log.row(Step{target.value - 1});
        if (row == nullptr) return std::nullopt;
        if (row->kind == EntryKind::commit) {
            if (!fs::exists(entry_file(source, row->step))) return std::nullopt;
            out.commits.push_back(*row);
        }
        target = is_rollback(row->kind) ? row->rollback_to : row->step;
    }
    out.base = target;
    std::reverse(out.commits.begin(), out.commits.end());
    return out;
}

Result<void> follow(const Source& source, const Route& route, const StateFiles& files) {
    if (route.snapshot) {
        auto snapshot = Snapshot::open(snapshot_folder(source, route.base), source.run_digest, source.grid);
        if (!snapshot) return fail(snapshot.error());
        if (snapshot->info().step != route.base || snapshot->info().h != source.log.chain(route.base))
            return fail(Errc::digest_mismatch, "snapshot " + std::to_string(route.base.value) + " is not of this chain", "skerry verify DIR");
        auto loaded = snapshot->load_into(files);
        if (!loaded) return loaded;
    } else {
        auto loaded = load_first_state(source.manifest, source.grid, source.folder, files);
        if (!loaded) return loaded;
    }
    for (const DecisionRow& row : route.commits) {
        auto entry = EntryReader::open(entry_file(source, row.step), source.grid, source.codec->id());
        if (!entry) return fail(entry.error());
        if ((*entry)->root() != row.root) return fail(Errc::digest_mismatch, "entry " + std::to_string(row.step.value) + " is not the one that was decided", "skerry verify DIR");
        ContributionForm form{source.grid, source.codec, layout_id(source.run_digest), row.step};
        auto applied = apply_entry(**entry, form, row.outer, files);
        if (!applied) return applied;
    }
    return {};
}

/// The newest state with a route; walks down, as a decision may be here before its entry.
Result<Route> choose_route(const Source& source, std::optional<Step> step) {
    if (step) {
        auto route = find_route(source, *step);
        if (route) return *route;
        return fail(Errc::not_found, "S_" + std::to_string(step->value) + " cannot be rebuilt from " + source.folder.string() +
                                         ": the log is at step " + std::to_string(source.log.next().value) + ", older entries may have been pruned",
                    "leave --step away for the newest state");
    }
    for (Step target = source.log.next();; target.value -= 1) {
        auto route = find_route(source, target);
        if (route) return *route;
        if (target == source.first) break;
    }
    return fail(Errc::not_found, "no state in " + source.folder.string() + " yet", "wait until the node has joined");
}

std::uint64_t tokens_at(const Source& source, Step step) {
    return step == source.first ? 0 : source.log.row(Step{step.value - 1})->tokens_after;
}

}  // namespace

struct StateAt::Parts {
    fs::path scratch;
    std::optional<StateFiles> files;
    Manifest manifest;
    Step step;
    Digest digest;
    Digest h;
    ~Parts() {
        files.reset();
        std::error_code ignored;
        fs::remove_all(scratch, ignored);
    }
};

StateAt::StateAt(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
StateAt::~StateAt() = default;
StateAt::StateAt(StateAt&&) noexcept = default;
StateAt& StateAt::operator=(StateAt&&) noexcept = default;

namespace {

Result<std::pair<Source, Route>> find_way(const fs::path& folder, std::optional<Step> step) {
    auto source = open_source(folder);
    if (!source) return fail(source.error());
    auto route = choose_route(*source, step);
    if (!route) return fail(route.error());
    return std::pair(std::move(*source), std::move(*route));
}

}  // namespace

Result<StateAt> StateAt::rebuild(const fs::path& run_folder, std::optional<Step> step, const fs::path& scratch_parent) {
    auto parts = std::make_unique<Parts>();
    auto made = make_private_folder(fs::absolute(scratch_parent));
    if (!made) return fail(made.error());
    std::string pattern = (fs::absolute(scratch_parent) / ".skerry-state-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return fail(skerry::file_error("cannot make", pattern, errno));
    parts->scratch = pattern;
    Error last{Errc::internal, "", ""};
    // A running agent may prune what was just found: look again, twice.
    for (int tries = 0; tries < 3; ++tries) {
        auto way = find_way(run_folder, step);
        if (!way) return fail(way.error());
        const auto& [source, route] = *way;
        parts->files.reset();
        auto files = StateFiles::open(parts->scratch / "state", source.grid);
        if (!files) return fail(files.error());
        parts->files.emplace(std::move(*files));
        auto done = follow(source, route, *parts->files);
        if (done) {
            parts->manifest = source.manifest;
            parts->step = route.target;
            parts->h = source.log.chain(parts->step);
            parts->digest = digest_of(parts->files->leaves().roots(tokens_at(source, parts->step)));
            return StateAt(std::move(parts));
        }
        last = done.error();
        if (last.code != Errc::not_found) break;
    }
    return fail(std::move(last));
}

const Manifest& StateAt::manifest() const { return parts_->manifest; }
Step StateAt::step() const { return parts_->step; }
Digest StateAt::digest() const { return parts_->digest; }
Digest StateAt::h() const { return parts_->h; }
std::span<const float> StateAt::momentum() const { return parts_->files->momentum(); }
std::span<const float> StateAt::theta() const { return parts_->files->theta(); }
int StateAt::theta_descriptor() const { return parts_->files->theta_descriptor(); }

fs::path run_folder_of(const fs::path& dir) { return fs::exists(dir / "run") ? dir / "run" : dir; }

fs::path shards_beside(const fs::path& run_folder) { return (run_folder / "..").lexically_normal() / "shards"; }

}  // namespace skerry::node
