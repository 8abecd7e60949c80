#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/cli/commands.hpp"
#include "node/cli/state_at.hpp"
#include "node/data/folder_files.hpp"
#include "node/log/decision_log.hpp"
#include "node/log/node_files.hpp"
#include "node/log/verify.hpp"
#include "node/model_folder/hf_folder.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

Result<std::string> node_dir(const Context& context) {
    if (context.dir.empty()) return fail(Errc::usage, "which node?", "--dir NODEDIR");
    return context.dir;
}

/// Whose state the run began with; null unless it is a fork.
Json origin_json(const Manifest& m) {
    if (m.parent_run.is_zero()) return nullptr;
    return {{"run_id", m.parent_run.hex()}, {"step", m.parent_step.value}, {"h", m.parent_h.hex()}};
}

std::optional<Step> to_step(std::optional<std::uint64_t> step) {
    return step ? std::optional(Step{*step}) : std::nullopt;
}

}  // namespace

// ---------------------------------------------------------------------------------------------- export

namespace {

std::string origin_text(const StateAt& state) {
    const Manifest& m = state.manifest();
    std::string out = "run " + m.name + " (" + m.run.hex() + "), step " + std::to_string(state.step().value) + ", digest " + state.digest().hex();
    if (!m.parent_run.is_zero())
        out += "; the run is a fork of run " + m.parent_run.hex() + ", step " + std::to_string(m.parent_step.value) + ", chain " + m.parent_h.hex();
    else if (!m.initial_root.is_zero())
        out += "; the run began with a model folder, whose state has the SHA-256 " + m.initial_root.hex();
    return out;
}

Result<DataManifest> data_of(const std::filesystem::path& run_folder) {
    auto bytes = NodeFiles(DiskPath(run_folder)).read_data_manifest();
    if (!bytes) return fail(bytes.error());
    return parse_data_manifest(*bytes);
}

}  // namespace

Result<void> export_command(const Context& context, const ExportCommand& command) {
    auto dir = node_dir(context);
    if (!dir) return fail(dir.error());
    FolderOptions options;
    options.bf16 = command.dtype == "bf16";
    if (!command.file_size.empty()) {
        auto size = parse_size(command.file_size);
        if (!size) return fail(size.error());
        options.file_bytes = *size;
    }
    std::filesystem::path folder = std::filesystem::absolute(command.out).lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();
    const std::filesystem::path run_folder = run_folder_of(*dir);
    auto state = StateAt::rebuild(run_folder, to_step(command.step), folder.parent_path());
    if (!state) return fail(state.error());
    const Manifest& m = state->manifest();
    auto model = parse_model_config(m.model_json);
    if (!model) return fail(model.error());
    auto data = data_of(run_folder);
    if (!data) return fail(data.error());
    auto files = export_files(shards_beside(run_folder), *data, model->max_position_embeddings);
    if (!files) return fail(files.error());
    options.files = std::move(*files);
    options.provenance = origin_text(*state);
    auto written = export_model_folder(folder, *model, state->theta(), options);
    if (!written) return written;
    if (context.json) {
        print_json({{"schema", "skerry.exported/1"}, {"run", m.name}, {"step", state->step().value}, {"digest", state->digest().hex()},
                    {"forked_from", origin_json(m)}, {"dtype", options.bf16 ? "bf16" : "fp32"}, {"folder", folder.string()}});
    } else {
        std::printf("%s: step %llu of run %s\n", folder.c_str(), static_cast<unsigned long long>(state->step().value), m.name.c_str());
    }
    return {};
}

// ---------------------------------------------------------------------------------------------- verify

namespace {

const char* kind_word(EntryKind kind) {
    static constexpr const char* kWords[] = {"", "commit", "rollback", "config", "rollback_refeed", "loss_accepted"};
    return kWords[static_cast<int>(kind)];
}

Json decision_json(const Decision& decision) {
    Json out{{"step", decision.step.value},
             {"kind", kind_word(decision.kind)},
             {"to", is_rollback(decision.kind) ? Json(decision.rollback_to.value) : Json(nullptr)},
             {"outer", {{"lr", decision.outer.eta}, {"momentum", decision.outer.mu}}},
             {"h", decision.h_after.hex()},
             {"tokens_after", decision.tokens_after},
             {"root", decision.roots.empty() ? "" : decision.roots.front().hex()},
             {"attempt", decision.attempt.value},
             {"term", decision.term.value},
             {"credits", Json::array()}};
    for (const Credit& credit : decision.credits) {
        Json one{{"node", credit.node.hex()}, {"tokens", credit.weight_tokens}, {"segments", Json::array()}};
        for (const Segment& s : credit.segments) one["segments"].push_back({{"lease", s.lease.value}, {"from", s.from}, {"to", s.to}});
        out["credits"].push_back(std::move(one));
    }
    return out;
}

/// All decisions of the folder. What cannot be read is a problem that verify has named.
Result<Json> decisions_json(const std::filesystem::path& folder, Manifest& run) {
    auto body = NodeFiles(folder).read_manifest();
    if (!body) return fail(body.error());
    auto manifest = parse_manifest(*body);
    if (!manifest) return fail(manifest.error());
    run = std::move(*manifest);
    auto log = DecisionLog::open_read_only(folder / "decisions", Step{}, chain_start(body_digest(*body)));
    if (!log) return fail(log.error());
    Json out = Json::array();
    for (Step step; step < log->next(); step = step.next()) {
        auto record = log->read(step, 1);
        if (!record || record->empty()) continue;
        auto decision = parse_decision(record->front().decision.body);
        if (decision) out.push_back(decision_json(*decision));
    }
    return out;
}

}  // namespace

Result<void> verify_command(const Context& context, const std::string& dir) {
    auto folder = run_folder_of(dir);
    auto report = verify_run(folder, {});
    if (!report) return fail(report.error());
    Manifest manifest;
    auto decisions = decisions_json(folder, manifest);
    if (!decisions) return fail(decisions.error());
    const std::string& run = manifest.name;
    bool ok = report->problems.empty();
    if (context.json) {
        Json states = Json::array();
        for (const VerifiedState& state : report->states) states.push_back({{"step", state.step.value}, {"digest", state.digest.hex()}, {"tokens", state.roots.tokens},
                                                                            {"theta_root", state.roots.theta_root.hex()}, {"m_root", state.roots.m_root.hex()}});
        print_json({{"schema", "skerry.verify/1"}, {"ok", ok}, {"run", run}, {"forked_from", origin_json(manifest)}, {"snapshot", report->replayed_from.value},
                    {"head", report->head.value}, {"h_head", report->h_head.hex()}, {"states", states}, {"decisions", *decisions},
                    {"entries", report->entries}, {"snapshots", report->snapshots}, {"credited_sequences", report->credited_sequences},
                    {"problems", report->problems}});
    } else {
        std::printf("run %s · %llu decisions · %zu entries, %zu snapshots · states %llu to %llu recomputed\n", run.c_str(),
                    static_cast<unsigned long long>(report->head.value - report->first.value), report->entries, report->snapshots,
                    static_cast<unsigned long long>(report->replayed_from.value),
                    static_cast<unsigned long long>(report->states.empty() ? report->replayed_from.value : report->states.back().step.value));
        if (!report->states.empty()) {
            const VerifiedState& last = report->states.back();
            std::printf("digest of step %llu: %s\n", static_cast<unsigned long long>(last.step.value), last.digest.hex().c_str());
        }
        for (const std::string& problem : report->problems) std::printf("problem: %s\n", problem.c_str());
    }
    if (ok) return {};
    return fail(Errc::digest_mismatch, std::to_string(report->problems.size()) + " problems in " + folder.string(),
                "start the node: it fetches damaged parts from its peers");
}

}  // namespace skerry::node
