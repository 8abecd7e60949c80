#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "node/cli/commands.hpp"
#include "node/cli/node_folder.hpp"
#include "node/cli/state_at.hpp"
#include "node/data/data_manifest.hpp"
#include "node/log/decision_log.hpp"
#include "node/log/node_files.hpp"
#include "node/log/verify.hpp"
#include "node/model_folder/hf_folder.hpp"
#include "node/tokenizer/encoder.hpp"
#include "node/trainer/child_process.hpp"
#include "protocol/base/task_group.hpp"
#include "protocol/base/within.hpp"
#include "protocol/config/program.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
constexpr auto kStartPatience = std::chrono::seconds(60);
constexpr std::uint32_t kMostTokens = 4096;

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

Result<void> export_command(const Context& context, const std::string& out, std::optional<std::uint64_t> step) {
    auto dir = node_dir(context);
    if (!dir) return fail(dir.error());
    std::filesystem::path folder = std::filesystem::absolute(out).lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();
    auto state = StateAt::rebuild(run_folder_of(*dir), to_step(step), folder.parent_path());
    if (!state) return fail(state.error());
    auto model = parse_model_config(state->manifest().model_json);
    if (!model) return fail(model.error());
    std::string origin = "run " + state->manifest().name + " (" + state->manifest().run.hex() + "), step " +
                         std::to_string(state->step().value) + ", digest " + state->digest().hex();
    const Manifest& m = state->manifest();
    if (!m.parent_run.is_zero())
        origin += "; the run is a fork of run " + m.parent_run.hex() + ", step " + std::to_string(m.parent_step.value) + ", chain " + m.parent_h.hex();
    auto written = export_model_folder(folder, *model, state->theta(), origin);
    if (!written) return written;
    if (context.json) {
        print_json({{"schema", "skerry.exported/1"}, {"run", state->manifest().name}, {"step", state->step().value},
                    {"digest", state->digest().hex()}, {"forked_from", origin_json(m)}, {"folder", folder.string()}});
    } else {
        std::printf("%s: step %llu of run %s\n", folder.c_str(), static_cast<unsigned long long>(state->step().value), state->manifest().name.c_str());
    }
    return {};
}

// -------------------------------------------------------------------------------------------- generate

namespace {

using Tokens = std::vector<std::uint32_t>;

/// A prompt to tokens and tokens to text, as the run's data was made.
class RunTokens {
  public:
    /// Errors: not_found; usage: the run needs a tokenizer, or has none; data_invalid: another one than the run's.
    static Result<RunTokens> open(const std::filesystem::path& run_folder, const std::string& tokenizer) {
        auto bytes = NodeFiles(DiskPath(run_folder)).read_data_manifest();
        if (!bytes) return fail(bytes.error());
        auto data = parse_data_manifest(*bytes);
        if (!data) return fail(data.error());
        if (!data->tokenizer_sha256) {
            if (tokenizer.empty()) return RunTokens();
            return fail(Errc::usage, "this run's tokens are bytes, not those of a tokenizer", "leave --tokenizer away");
        }
        const std::string hash = data->tokenizer_sha256->hex();
        if (tokenizer.empty())
            return fail(Errc::usage, "this run's data was made with a tokenizer.json (SHA-256 " + hash + ")", "--tokenizer FOLDER");
        auto json = read_tokenizer_json(tokenizer);
        if (!json) return fail(json.error());
        if (sha256(as_bytes(*json)) != *data->tokenizer_sha256)
            return fail(Errc::data_invalid, tokenizer + " is not the tokenizer of this run's data (SHA-256 " + hash + ")",
                        "the tokenizer.json that data prepare put beside the shards");
        auto parsed = Tokenizer::parse(as_bytes(*json));
        if (!parsed) return fail(parsed.error());
        RunTokens out;
        out.tokenizer_ = std::make_unique<Tokenizer>(std::move(*parsed));
        return out;
    }

    Result<Tokens> of(const std::string& prompt) const {
        if (!tokenizer_) return Tokens(as_bytes(prompt).begin(), as_bytes(prompt).end());
        Tokens out = tokenizer_->before();
        auto fed = Encoder(*tokenizer_).feed(prompt, true, out);
        if (!fed) return fail(fed.error());
        return out;
    }

    /// A model may break a character in two, or make a token that there is not: that is shown as '?'.
    std::string text(const Tokens& tokens) const {
        std::string raw;
        for (std::uint32_t token : tokens) {
            if (!tokenizer_) {
                raw.push_back(token < 256 ? static_cast<char>(token) : '?');
                continue;
            }
            auto bytes = tokenizer_->decode({&token, 1}, false);
            raw += bytes ? *bytes : "?";
        }
        return to_utf8(raw);
    }

  private:
    std::unique_ptr<const Tokenizer> tokenizer_;  ///< null: tokens are bytes
};

/// Shows one trainer the weights and asks it for tokens.
Task<Result<Tokens>> ask_trainer(ChildProcess& trainer, const StateAt& state, ModelConfig model, TrainConfig train, GenerateOrder order) {
    auto ready = co_await within(kStartPatience, trainer.ready());
    if (!ready) co_return fail(ready.error());
    auto elements = co_await trainer.configure(model, train);
    if (!elements) co_return fail(elements.error());
    auto shown = co_await trainer.show_theta(state.theta_descriptor(), state.manifest().elements);
    if (!shown) co_return fail(shown.error());
    auto tokens = co_await trainer.generate(WeightSource::theta, std::move(order));
    if (!tokens) co_return fail(tokens.error());
    auto asked = co_await trainer.quit();
    static_cast<void>(asked);
    co_return tokens;
}

Result<Tokens> run_trainer(const ChildOptions& options, const StateAt& state, const ModelConfig& model, const TrainConfig& train,
                           const GenerateOrder& order) {
    asio::io_context io;
    ChildProcess trainer(io.get_executor(), options);
    auto spawned = trainer.spawn();
    if (!spawned) return fail(spawned.error());
    Result<Tokens> out = fail(Errc::trainer_failed, "the trainer ended without an answer");
    TaskGroup group(io.get_executor());
    group.spawn(trainer.run());
    auto keep = [&](std::exception_ptr error, Result<Tokens> result) {
        if (error) std::rethrow_exception(error);
        out = std::move(result);
        if (!out) trainer.kill();
    };
    asio::co_spawn(io, ask_trainer(trainer, state, model, train, order), keep);
    io.run();
    return out;
}

/// The node's own trainer and threads, unless told otherwise.
ChildOptions trainer_options(const std::string& dir, const GenerateCommand& command) {
    ChildOptions out;
    std::string program = command.trainer;
    out.threads = command.threads;
    auto config = load_node_toml(std::filesystem::path(dir) / "node.toml");
    if (config && program.empty()) program = config->trainer;
    if (config && out.threads == 0) out.threads = static_cast<std::uint32_t>(config->threads);
    program = find_program(program.empty() ? "skerry-trainer" : program);
    if (out.threads == 0) out.threads = std::max(1U, std::thread::hardware_concurrency());
    out.command = {program};
    out.window_elements = 4096;
    return out;
}

}  // namespace

Result<void> generate_command(const Context& context, const GenerateCommand& command) {
    auto dir = node_dir(context);
    if (!dir) return fail(dir.error());
    if (command.prompt.empty()) return fail(Errc::usage, "--prompt is empty", "--prompt 'It was'");
    if (command.tokens == 0 || command.tokens > kMostTokens) return fail(Errc::usage, "--tokens: from 1 to " + std::to_string(kMostTokens));
    auto state = StateAt::rebuild(run_folder_of(*dir), to_step(command.step), std::filesystem::temp_directory_path());
    if (!state) return fail(state.error());
    auto model = parse_model_config(state->manifest().model_json);
    if (!model) return fail(model.error());
    auto train = parse_train_config(state->manifest().train_json);
    if (!train) return fail(train.error());
    auto words = RunTokens::open(run_folder_of(*dir), command.tokenizer);
    if (!words) return fail(words.error());
    auto prompt = words->of(command.prompt);
    if (!prompt) return fail(prompt.error());
    GenerateOrder order{std::move(*prompt), command.tokens, command.temperature, command.seed};
    auto tokens = run_trainer(trainer_options(*dir, command), *state, *model, *train, order);
    if (!tokens) return fail(tokens.error());
    if (context.json) {
        print_json({{"schema", "skerry.generated/1"}, {"step", state->step().value}, {"prompt", command.prompt},
                    {"tokens", *tokens}, {"text", words->text(*tokens)}});
    } else {
        std::printf("%s%s\n", command.prompt.c_str(), words->text(*tokens).c_str());
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
