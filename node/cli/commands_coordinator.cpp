#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include "node/cli/base_folder.hpp"
#include "node/cli/channel.hpp"
#include "node/cli/commands.hpp"
#include "node/cli/kept_files.hpp"
#include "node/cli/plan_view.hpp"
#include "node/cli/state_at.hpp"
#include "node/data/prepare.hpp"
#include "node/log/base_state.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

Json with_run(const Context& context) {
    Json args = Json::object();
    if (!context.run.empty()) args["run"] = context.run;
    return args;
}

/// Asks one question and hands the answer on.
Result<Json> ask(const Context& context, const std::string& verb, const Json& args) {
    auto channel = Channel::to_coordinator(context);
    if (!channel) return fail(channel.error());
    return channel->call(verb, args);
}

std::string words(const Json& json, const char* key) {
    auto found = json.find(key);
    if (found == json.end() || found->is_null()) return "";
    return found->is_string() ? found->get<std::string>() : found->dump();
}

std::uint64_t number(const Json& json, const char* key) {
    auto found = json.find(key);
    return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

}  // namespace

// ------------------------------------------------------------------------------------------------ data

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// A line on a terminal that is written over each second; elsewhere a line each ten seconds.
class ProgressLine {
  public:
    explicit ProgressLine(bool silent) : silent_(silent), terminal_(::isatty(STDERR_FILENO) == 1) {}
    void show(const PrepareProgress& p) {
        if (silent_ || Clock::now() < next_) return;
        next_ = Clock::now() + std::chrono::seconds(terminal_ ? 1 : 10);
        const double spent = seconds_since(begin_), done = p.of_bytes == 0 ? 1 : std::min(1.0, static_cast<double>(p.bytes) / static_cast<double>(p.of_bytes));
        std::fprintf(stderr, "%s%3.0f %% · %s tokens · %s tokens/s · %.0f s left%s", terminal_ ? "\r" : "", 100 * done,
                     to_count_text(static_cast<double>(p.tokens)).c_str(), to_count_text(static_cast<double>(p.tokens) / spent).c_str(),
                     done > 0 ? spent * (1 - done) / done : 0.0, terminal_ ? "\033[K" : "\n");
        shown_ = true;
    }
    ~ProgressLine() {
        if (shown_ && terminal_) std::fputs("\r\033[K", stderr);
    }
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

  private:
    bool silent_, terminal_, shown_ = false;
    Clock::time_point begin_ = Clock::now(), next_ = begin_ + std::chrono::seconds(1);
};

Result<PrepareOptions> to_options(const PrepareCommand& command) {
    PrepareOptions options;
    for (const std::string& text : command.texts) options.texts.emplace_back(text);
    if (!command.held_out.empty()) options.held_out = command.held_out;
    options.out = command.out;
    if (!command.tokenizer.empty()) options.tokenizer = command.tokenizer;
    options.separator = command.separator;
    options.field = command.field;
    ExampleOptions& examples = options.examples;
    examples.prompt_field = command.prompt_field;
    examples.completion_field = command.completion_field;
    examples.tokens.name = command.chat_template;
    examples.tokens.train_on_all = command.train_on == "all";
    examples.length = command.pack;
    using TooLong = ExampleOptions::TooLong;
    examples.too_long = command.too_long == "skip" ? TooLong::skip : command.too_long == "refuse" ? TooLong::refuse : TooLong::cut;
    const bool of_examples = !command.prompt_field.empty() || !command.completion_field.empty();
    if (of_examples && !command.field.empty()) return fail(Errc::usage, "--field is for texts, --prompt-field and --completion-field are for examples", "one of them");
    if (command.shard_size.empty()) return options;
    auto bytes = parse_size(command.shard_size);
    if (!bytes) return fail(bytes.error());
    options.shard_tokens = std::max<std::uint64_t>(1024, *bytes / 2);
    return options;
}

Json examples_json(const Prepared& made) {
    if (!made.examples) return nullptr;
    const Prepared::Examples& e = *made.examples;
    const auto& packed = *made.manifest.packed;
    return {{"template", e.chat_template}, {"length", packed.length}, {"end_token", packed.end_token},
            {"sequences", e.rows}, {"targets", e.targets}, {"padding", e.padding}, {"cut", e.cut}, {"skipped", e.skipped}, {"without_target", e.without_target}};
}

void print_examples(const Prepared& made) {
    const Prepared::Examples& e = *made.examples;
    const auto count = [](std::uint64_t n) { return to_count_text(static_cast<double>(n)); };
    const double all = static_cast<double>(e.rows) * made.manifest.packed->length;
    std::printf("%s examples in %s sequences of %u tokens · template: %s · %.1f %% targets, %.1f %% padding\n", count(made.documents).c_str(), count(e.rows).c_str(),
                made.manifest.packed->length, e.chat_template.c_str(), 100 * static_cast<double>(e.targets) / all,
                100 * static_cast<double>(e.padding) / all);
    std::printf("longer than a sequence: %s cut, %s skipped · without a target, left out: %s\n", count(e.cut).c_str(), count(e.skipped).c_str(),
                count(e.without_target).c_str());
}

void report_prepared(const Context& context, const Prepared& made, const fs::path& file, double seconds) {
    const DataManifest& data = made.manifest;
    const auto held_out = static_cast<std::size_t>(std::ranges::count_if(data.shards, &DataShard::held_out));
    const double per_byte = static_cast<double>(made.tokens) / static_cast<double>(std::max<std::uint64_t>(1, made.text_bytes));
    const double per_s = static_cast<double>(made.tokens) / std::max(seconds, 1e-6);
    const auto count = [](std::uint64_t n) { return to_count_text(static_cast<double>(n)); };
    if (context.json) {
        print_json({{"schema", "skerry.prepared/1"}, {"manifest", file.string()}, {"shards", data.shards.size() - held_out},
                    {"held_out_shards", held_out}, {"tokens", data.tokens(false)}, {"held_out_tokens", data.tokens(true)},
                    {"tokenizer", data.tokenizer}, {"vocab_size", data.vocab_size}, {"documents", made.documents}, {"empty", made.empty},
                    {"text_bytes", made.text_bytes}, {"tokens_per_byte", per_byte}, {"tokens_per_s", per_s}, {"examples", examples_json(made)}});
        return;
    }
    std::printf("%s tokens in %zu shards, %s held out in %zu · %s\n", count(data.tokens(false)).c_str(), data.shards.size() - held_out,
                count(data.tokens(true)).c_str(), held_out, file.c_str());
    if (made.examples) print_examples(made);
    std::printf("%s documents (%s empty ones left out) · vocabulary %u · %.3f tokens per byte · %s tokens/s\n", count(made.documents).c_str(),
                count(made.empty).c_str(), data.vocab_size, per_byte, to_count_text(per_s).c_str());
}

}  // namespace

Result<void> prepare_command(const Context& context, const PrepareCommand& command) {
    auto options = to_options(command);
    if (!options) return fail(options.error());
    const auto begin = Clock::now();
    Result<Prepared> made = [&] {
        ProgressLine line(context.json);
        options->progress = [&](const PrepareProgress& progress) { line.show(progress); };
        return prepare_data(*options);
    }();
    if (!made) {
        Error why = made.error();
        // A text that is not there is as bad as an empty one.
        if (why.code == Errc::not_found) why.code = Errc::data_invalid;
        if (why.fix.empty()) why.fix = "name a plain text file (UTF-8)";
        return fail(std::move(why));
    }
    report_prepared(context, *made, options->out / "manifest.json", seconds_since(begin));
    return {};
}

Result<void> push_command(const Context& context, const std::string& folder) {
    const fs::path run_folder = run_folder_of(folder);
    if (fs::exists(run_folder / kBaseState)) return push_base(context, run_folder);
    auto data = read_data_manifest(folder);
    if (!data) return fail(data.error());
    auto channel = Channel::to_coordinator(context);
    if (!channel) return fail(channel.error());
    std::vector<Digest> names;
    for (const DataShard& shard : data->shards) names.push_back(shard.sha256);
    auto have = ask_files(*channel, names);
    if (!have) return fail(have.error());
    std::uint64_t bytes = 0;
    std::size_t pushed = 0;
    for (std::size_t i = 0; i < data->shards.size(); ++i) {
        const DataShard& shard = data->shards[i];
        const Json& here = (*have)[i];
        auto sent = send_file(*channel, fs::path(folder) / shard.file, {shard.sha256, shard.bytes}, here);
        if (!sent) return fail(sent.error());
        bytes += *sent;
        if (!here.value("complete", false)) ++pushed;
    }
    auto texts = folder_texts(folder);
    auto small = texts ? send_texts(*channel, *texts) : Result<void>(fail(texts.error()));
    if (!small) return small;
    if (context.json) {
        print_json({{"schema", "skerry.pushed/1"}, {"shards", data->shards.size()}, {"pushed", pushed}, {"bytes", bytes}});
        return {};
    }
    std::printf("%zu shards: %zu pushed (%s), %zu were there\n", data->shards.size(), pushed, to_size_text(bytes).c_str(),
                data->shards.size() - pushed);
    return {};
}

// ------------------------------------------------------------------------------------------------ runs

Result<void> run_verb_command(const Context& context, const std::string& verb, const std::string& name, bool now) {
    Json args = with_run(context);
    if (!name.empty()) args["run"] = name;
    if (now) args["now"] = true;
    auto done = ask(context, "run." + verb, args);
    if (!done) return fail(done.error());
    if (context.json) {
        Json out = *done;
        out["schema"] = "skerry.run-state/1";
        print_json(out);
        return {};
    }
    std::printf("run %s: %s at step %s%s%s\n", words(*done, "run").c_str(), words(*done, "state").c_str(), words(*done, "head").c_str(),
                words(*done, "next").empty() ? "" : " · ", words(*done, "next").c_str());
    return {};
}

Result<void> run_list_command(const Context& context) {
    auto answer = ask(context, "runs", Json::object());
    if (!answer) return fail(answer.error());
    if (context.json) {
        print_json(*answer);
        return {};
    }
    std::vector<std::vector<std::string>> rows{{"RUN", "STATE", "STEP", "TOKENS", "OF", "NODES"}};
    for (const Json& run : (*answer)["runs"]) {
        rows.push_back({words(run, "run"), words(run, "state"), words(run, "head"), to_count_text(static_cast<double>(number(run, "tokens"))),
                        to_count_text(static_cast<double>(number(run, "tokens_total"))), words(run, "nodes")});
    }
    std::printf("%s", to_table(rows).c_str());
    return {};
}

// ---------------------------------------------------------------------------------------------- tokens

Result<void> token_create_command(const Context& context, const TokenCommand& command) {
    Json args = with_run(context);
    args["uses"] = command.uses;
    args["role"] = command.role;
    args["label"] = command.label;
    if (command.ttl != "0") {
        auto ttl = parse_duration(command.ttl);
        if (!ttl) return fail(ttl.error());
        args["ttl_ms"] = static_cast<std::uint64_t>(ttl->count());
    }
    auto made = ask(context, "token.create", args);
    if (!made) return fail(made.error());
    if (context.json) {
        Json out = *made;
        out["schema"] = "skerry.token/1";
        print_json(out);
        return {};
    }
    std::printf("%s\n", words(*made, "token").c_str());
    // The token alone on stdout where a script reads it.
    std::FILE* where = ::isatty(STDOUT_FILENO) != 0 ? stdout : stderr;
    bool admin = command.role == "admin";
    std::string life = command.ttl == "0" ? "without end" : "for " + command.ttl;
    std::string uses = admin ? "administers this coordinator" : std::to_string(command.uses) + (command.uses == 1 ? " use" : " uses");
    std::fprintf(where, "%s, %s · revoke with  skerry token revoke %s\n", uses.c_str(), life.c_str(), words(*made, "id").c_str());
    return {};
}

Result<void> token_revoke_command(const Context& context, const std::string& id) {
    auto done = ask(context, "token.revoke", {{"id", id}});
    if (!done) return fail(done.error());
    if (context.json) {
        print_json(*done);
    } else {
        std::printf("revoked %s; nodes that joined with it stay (skerry nodes revoke)\n", id.c_str());
    }
    return {};
}

Result<void> token_list_command(const Context& context) {
    auto list = ask(context, "token.ls", with_run(context));
    if (!list) return fail(list.error());
    if (context.json) {
        print_json(*list);
        return {};
    }
    std::vector<std::vector<std::string>> rows{{"ID", "RUN", "ROLE", "USES LEFT", "EXPIRES", "LABEL"}};
    for (const Json& token : (*list)["tokens"]) {
        std::string expires = "never";
        if (std::int64_t end = token.value("not_after", std::int64_t{0}); end != 0) {
            expires = to_date_text(end);
        }
        if (token.value("revoked", false)) expires = "revoked";
        bool admin = words(token, "role") == "admin";
        rows.push_back({words(token, "id"), words(token, "run"), words(token, "role"), admin ? "-" : words(token, "uses_left"), expires,
                        words(token, "label")});
    }
    std::printf("%s", to_table(rows).c_str());
    return {};
}

// ----------------------------------------------------------------------------------------------- nodes

namespace {

std::string decimals(double value, int digits) {
    char out[32];
    std::snprintf(out, sizeof out, "%.*f", digits, value);
    return out;
}

/// The ledger: one line for each node that ever was there to train, most tokens first.
void print_csv(Json nodes) {
    std::sort(nodes.begin(), nodes.end(), [](const Json& a, const Json& b) { return number(a, "credited_tokens") > number(b, "credited_tokens"); });
    std::string out = to_csv_line({"node", "node_id", "site", "state", "rank", "tokens", "share", "steps_accepted", "steps_here", "sent_bytes",
                                   "received_bytes", "hours", "since"});
    for (const Json& node : nodes) {
        const Json given = node.value("contribution", Json());
        if (!given.is_object()) continue;  // it only follows
        const double hours = static_cast<double>(number(given, "active_ms")) / 3'600'000.0;
        const std::uint64_t since = number(given, "since_unix_s");
        out += to_csv_line({words(node, "name"), words(node, "node_id"), words(node, "site"), words(node, "state"), words(given, "rank"),
                            words(given, "tokens"), decimals(given.value("share", 0.0), 6), words(given, "steps"), words(given, "steps_here"),
                            words(given, "sent_bytes"), words(given, "received_bytes"), decimals(hours, 3),
                            since == 0 ? "" : to_date_text(static_cast<std::int64_t>(since))});
    }
    std::printf("%s", out.c_str());
}

/// What it said of its machine: cores, memory, disk, upload.
std::vector<std::string> machine_words(const Json& node) {
    const Json machine = node.contains("machine") && node["machine"].is_object() ? node["machine"] : Json::object();
    if (machine.empty()) return {"-", "-", "-", "-"};
    const Rate up = means_of(node, 0, 0).up();
    return {words(machine, "cores"), to_size_text(number(machine, "memory_free_bytes")) + " of " + to_size_text(number(machine, "memory_bytes")),
            to_size_text(number(machine, "disk_free_bytes")), up.bytes_per_s > 0 ? to_size_text(static_cast<std::uint64_t>(up.bytes_per_s)) + "/s" + (up.by_limit ? " (limit)" : "") : "-"};
}

}  // namespace

Result<void> nodes_command(const Context& context, bool csv) {
    auto list = ask(context, "nodes", with_run(context));
    if (!list) return fail(list.error());
    if (csv) {
        print_csv((*list)["nodes"]);
        return {};
    }
    if (context.json) {
        print_json(*list);
        return {};
    }
    std::vector<std::vector<std::string>> rows{
        {"NODE", "ID", "SITE", "STATE", "PHASE", "STEP", "TOKENS/S", "CORES", "MEMORY FREE", "DISK FREE", "UP", "SENT", "SEEN"}};
    for (const Json& node : (*list)["nodes"]) {
        std::string state = words(node, "state");
        if (!words(node, "reason").empty()) state += " (" + words(node, "reason") + ")";
        const auto machine = machine_words(node);
        rows.push_back({words(node, "name"), words(node, "node_id").substr(0, 8), words(node, "site"), state, words(node, "phase"), words(node, "head"),
                        to_count_text(node.value("tokens_per_s", 0.0)), machine[0], machine[1], machine[2], machine[3], to_size_text(number(node, "sent_bytes")),
                        node.value("connected", false) ? to_duration_text(Millis(number(node, "seen_ms"))) : "-"});
    }
    std::printf("%s", to_table(rows).c_str());
    return {};
}

Result<void> nodes_verb_command(const Context& context, const std::string& verb, const std::string& node, const std::string& reason) {
    Json args = with_run(context);
    args["node"] = node;
    if (!reason.empty()) args["reason"] = reason;
    auto done = ask(context, "node." + verb, args);
    if (!done) return fail(done.error());
    if (context.json) {
        print_json(*done);
    } else {
        std::printf("%s %s (%s)\n", words(*done, "state").c_str(), words(*done, "name").c_str(), words(*done, "node_id").substr(0, 8).c_str());
    }
    return {};
}

}  // namespace skerry::node
