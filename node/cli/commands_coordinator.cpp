#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include <stdlib.h>
#include <unistd.h>

#include "node/cli/channel.hpp"
#include "node/cli/commands.hpp"
#include "node/cli/run_config.hpp"
#include "node/cli/state_at.hpp"
#include "node/data/prepare.hpp"
#include "node/log/base_state.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

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

Result<void> prepare_command(const Context& context, const PrepareCommand& command) {
    PrepareOptions options;
    for (const std::string& text : command.texts) options.texts.emplace_back(text);
    if (!command.held_out.empty()) options.held_out = command.held_out;
    options.out = command.out;
    if (!command.shard_size.empty()) {
        auto bytes = parse_size(command.shard_size);
        if (!bytes) return fail(bytes.error());
        options.shard_tokens = std::max<std::uint64_t>(1024, *bytes / 2);
    }
    auto made = prepare_data(options);
    if (!made) {
        Error why = made.error();
        // A text that is not there is as bad as an empty one.
        if (why.code == Errc::not_found) why.code = Errc::data_invalid;
        if (why.fix.empty()) why.fix = "name a plain text file (UTF-8)";
        return fail(std::move(why));
    }
    std::size_t held_out = static_cast<std::size_t>(
        std::count_if(made->shards.begin(), made->shards.end(), [](const DataShard& s) { return s.held_out; }));
    fs::path manifest = options.out / "manifest.json";
    if (context.json) {
        print_json({{"schema", "skerry.prepared/1"}, {"manifest", manifest.string()}, {"shards", made->shards.size() - held_out},
                    {"held_out_shards", held_out}, {"tokens", made->tokens(false)}, {"held_out_tokens", made->tokens(true)}});
        return {};
    }
    std::printf("%s tokens in %zu shards, %s held out in %zu · %s\n", to_count_text(static_cast<double>(made->tokens(false))).c_str(),
                made->shards.size() - held_out, to_count_text(static_cast<double>(made->tokens(true))).c_str(), held_out,
                manifest.c_str());
    return {};
}

namespace {

/// A file that the coordinator keeps by its hash.
struct KeptFile {
    Digest sha256;
    std::uint64_t bytes = 0;
};

/// Sends what is missing of it.
Result<void> push_file(Channel& channel, const fs::path& file, const KeptFile& shard, std::uint64_t offset) {
    std::ifstream in(file, std::ios::binary);
    if (!in) return fail(Errc::not_found, "there is no " + file.string(), "skerry data prepare");
    in.seekg(static_cast<std::streamoff>(offset));
    while (offset < shard.bytes) {
        Bytes block(static_cast<std::size_t>(std::min<std::uint64_t>(kMaxAdminBlockBytes, shard.bytes - offset)));
        in.read(reinterpret_cast<char*>(block.data()), static_cast<std::streamsize>(block.size()));
        if (in.gcount() != static_cast<std::streamsize>(block.size()))
            return fail(Errc::data_invalid, file.string() + " is shorter than its manifest says", "skerry data prepare");
        std::uint64_t next = offset + block.size();
        auto put = channel.call("data.put", {{"sha256", shard.sha256.hex()}, {"offset", offset}, {"bytes", shard.bytes}}, std::move(block));
        if (!put) return fail(put.error());
        offset = next;
    }
    return {};
}

Result<Json> ask_shards(Channel& channel, const DataManifest& data) {
    Json names = Json::array();
    for (const DataShard& shard : data.shards) names.push_back(shard.sha256.hex());
    auto have = channel.call("data.have", {{"shards", names}});
    if (!have) return have;
    if (!have->contains("shards") || (*have)["shards"].size() != data.shards.size())
        return fail(Errc::malformed, "the coordinator answered for other shards");
    return (*have)["shards"];
}

}  // namespace

Result<void> push_command(const Context& context, const std::string& folder) {
    auto data = read_data_manifest(folder);
    if (!data) return fail(data.error());
    auto channel = Channel::to_coordinator(context);
    if (!channel) return fail(channel.error());
    auto have = ask_shards(*channel, *data);
    if (!have) return fail(have.error());
    std::uint64_t sent = 0;
    std::size_t pushed = 0;
    for (std::size_t i = 0; i < data->shards.size(); ++i) {
        const DataShard& shard = data->shards[i];
        if ((*have)[i].value("complete", false)) continue;
        std::uint64_t offset = number((*have)[i], "bytes");
        auto done = push_file(*channel, fs::path(folder) / shard.file, {shard.sha256, shard.bytes}, offset);
        if (!done) return done;
        sent += shard.bytes - offset;
        ++pushed;
    }
    if (context.json) {
        print_json({{"schema", "skerry.pushed/1"}, {"shards", data->shards.size()}, {"pushed", pushed}, {"bytes", sent}});
        return {};
    }
    std::printf("%zu shards: %zu pushed (%s), %zu were there\n", data->shards.size(), pushed, to_size_text(sent).c_str(),
                data->shards.size() - pushed);
    return {};
}

// ------------------------------------------------------------------------------------------------ runs

namespace {

/// Makes the run of a draft whose data is there already.
Result<Json> create_run(const Context& context, Channel& channel, const RunDraft& draft, bool start) {
    auto have = ask_shards(channel, draft.data);
    if (!have) return have;
    for (const Json& shard : *have) {
        if (!shard.value("complete", false))
            return fail(Errc::no_data, "the coordinator does not have all shards of this run's data", "skerry data push DIR");
    }
    Json args{{"data_manifest", draft.data_manifest}, {"settings", Json::parse(draft.settings)}, {"start", start}};
    auto made = channel.call("run.create", args, to_bytes(draft.manifest));
    if (!made || context.json) return made;
    const Manifest& m = draft.manifest;
    std::printf("run %s: %s parameters, %s tokens in rounds of %u steps x %u x %u tokens a node, %s\n", m.name.c_str(),
                to_count_text(static_cast<double>(m.elements)).c_str(), to_count_text(static_cast<double>(m.target_tokens)).c_str(),
                m.local_steps, m.batch_sequences, m.sequence_tokens, start ? "started" : "created");
    return made;
}

void print_next(const Manifest& m) { std::printf("next:  skerry token create --run %s\n", m.name.c_str()); }

/// The state's file at the coordinator, by its hash.
Result<KeptFile> send_state(Channel& channel, const StateAt& state) {
    std::string pattern = (fs::temp_directory_path() / "skerry-fork-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return fail(file_error("cannot make", pattern, errno));
    struct Scratch {
        fs::path folder;
        ~Scratch() {
            std::error_code ignored;
            fs::remove_all(folder, ignored);
        }
    } scratch{pattern};
    auto sha256 = write_base_state(scratch.folder / kBaseState, state.theta(), state.momentum());
    if (!sha256) return fail(sha256.error());
    KeptFile file{*sha256, base_state_bytes(state.manifest().elements)};
    auto have = channel.call("data.have", {{"shards", {sha256->hex()}}});
    if (!have) return fail(have.error());
    if (!have->contains("shards") || (*have)["shards"].size() != 1) return fail(Errc::malformed, "the coordinator answered for other files");
    const Json& here = (*have)["shards"][0];
    if (!here.value("complete", false)) {
        auto sent = push_file(channel, scratch.folder / kBaseState, file, number(here, "bytes"));
        if (!sent) return fail(sent.error());
    }
    return file;
}

}  // namespace

Result<void> run_create_command(const Context& context, const std::string& file, bool start) {
    auto draft = load_run_draft(file, random_fixed<RunId>());
    if (!draft) return fail(draft.error());
    auto channel = Channel::to_coordinator(context);
    if (!channel) return fail(channel.error());
    auto made = create_run(context, *channel, *draft, start);
    if (!made) return fail(made.error());
    if (!context.json) {
        print_next(draft->manifest);
        return {};
    }
    Json out = *made;
    out["schema"] = "skerry.run-created/1";
    print_json(out);
    return {};
}

Result<void> run_fork_command(const Context& context, const std::string& file, std::optional<std::uint64_t> step, bool start) {
    if (context.dir.empty()) return fail(Errc::usage, "whose state?", "--dir NODEDIR: the folder of a node of the run to fork");
    auto draft = load_run_draft(file, random_fixed<RunId>());
    if (!draft) return fail(draft.error());
    auto at = step ? std::optional(Step{*step}) : std::nullopt;
    auto state = StateAt::rebuild(run_folder_of(context.dir), at, fs::temp_directory_path());
    if (!state) return fail(state.error());
    const Manifest& parent = state->manifest();
    Manifest& m = draft->manifest;
    if (m.elements != parent.elements || m.model_json != parent.model_json)
        return fail(Errc::config_invalid, file + ": [model] is not that of run " + parent.name, "a fork has the shape of the run that it comes from");
    auto channel = Channel::to_coordinator(context);
    if (!channel) return fail(channel.error());
    auto kept = send_state(*channel, *state);
    if (!kept) return fail(kept.error());
    m.initial_root = kept->sha256;
    m.parent_run = parent.run;
    m.parent_step = state->step();
    m.parent_h = state->h();
    auto made = create_run(context, *channel, *draft, start);
    if (!made) return fail(made.error());
    if (!context.json) {
        std::printf("its S_0 is S_%llu of run %s, digest %s\n", static_cast<unsigned long long>(state->step().value), parent.name.c_str(),
                    state->digest().hex().c_str());
        print_next(m);
        return {};
    }
    Json out = *made;
    out["schema"] = "skerry.run-forked/1";
    out["parent"] = {{"run", parent.name}, {"run_id", parent.run.hex()}, {"step", state->step().value}, {"digest", state->digest().hex()},
                     {"h", state->h().hex()}};
    print_json(out);
    return {};
}

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
            std::time_t when = end;
            char text[32];
            std::tm local{};
            ::localtime_r(&when, &local);
            std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local);
            expires = text;
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

Result<void> nodes_command(const Context& context) {
    auto list = ask(context, "nodes", with_run(context));
    if (!list) return fail(list.error());
    if (context.json) {
        print_json(*list);
        return {};
    }
    std::vector<std::vector<std::string>> rows{{"NODE", "ID", "SITE", "STATE", "PHASE", "STEP", "TOKENS/S", "SENT", "SEEN"}};
    for (const Json& node : (*list)["nodes"]) {
        std::string state = words(node, "state");
        if (!words(node, "reason").empty()) state += " (" + words(node, "reason") + ")";
        rows.push_back({words(node, "name"), words(node, "node_id").substr(0, 8), words(node, "site"), state, words(node, "phase"),
                        words(node, "head"), to_count_text(node.value("tokens_per_s", 0.0)), to_size_text(number(node, "sent_bytes")),
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
