// `skerry run fork`: a run whose first state is a state of another one.

#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/cli/commands.hpp"
#include "node/cli/kept_files.hpp"
#include "node/cli/send_base.hpp"
#include "node/cli/state_at.hpp"
#include "node/data/folder_files.hpp"
#include "node/log/base_state.hpp"
#include "node/log/node_files.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/rules/base_file.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

/// The manifest of the run in a run folder. Errors: not_found, malformed.
Result<Manifest> manifest_of(const fs::path& folder) {
    auto body = NodeFiles(folder).read_manifest();
    if (!body)
        return fail(body.error().code, "no run in " + folder.string() + ": " + body.error().detail, "name the folder that  skerry join --dir  made");
    return parse_manifest(*body);
}

/// Whether the weights of one mean something in the other, by name: which key differs.
Result<void> same_model(const std::string& file, const Manifest& mine, const Manifest& parent) {
    const Json a = Json::parse(mine.model_json, nullptr, false);
    const Json b = Json::parse(parent.model_json, nullptr, false);
    std::string differs;
    for (const auto& [key, value] : a.items()) {
        const Json other = b.is_object() && b.contains(key) ? b[key] : Json();
        if (value != other)
            differs += (differs.empty() ? "" : ", ") + key + " is " + value.dump() + ", there it is " + other.dump();
    }
    const bool same = a == b && mine.elements == parent.elements && mine.tensors == parent.tensors;
    if (same) return {};
    if (differs.empty()) differs = "it has other parts there";
    return fail(Errc::config_invalid, file + ": [model] is not that of run " + parent.name + ": " + differs,
                "a fork has the model of the run that it comes from: copy its [model]");
}

/// What exports of the run contain, as far as this node has it.
Result<void> push_folder_files(Channel& channel, const fs::path& run_folder) {
    auto bytes = NodeFiles(DiskPath(run_folder)).read_data_manifest();
    if (!bytes) return fail(bytes.error());
    auto data = parse_data_manifest(*bytes);
    if (!data) return fail(data.error());
    std::vector<std::string> texts;
    for (const FolderFile& file : data->files) {
        auto text = read_folder_file(shards_beside(run_folder), file);
        if (text) texts.push_back(std::move(*text));
    }
    return send_texts(channel, texts);
}

}  // namespace

Result<void> run_fork_command(const Context& context, const std::string& file, std::optional<std::uint64_t> step, bool start) {
    if (context.dir.empty()) return fail(Errc::usage, "whose state?", "--dir NODEDIR: the folder of a node of the run to fork");
    const fs::path folder = run_folder_of(context.dir);
    auto draft = load_run_draft(file, random_fixed<RunId>());
    if (!draft) return fail(draft.error());
    if (!draft->base_folder.empty())
        return fail(Errc::config_invalid, file + ": [model] from names a folder, a fork begins with a state of another run", "leave from away, or skerry run create");
    auto parent = manifest_of(folder);
    if (!parent) return fail(parent.error());
    auto same = same_model(file, draft->manifest, *parent);
    if (!same) return same;
    auto channel = Channel::to_coordinator(context);
    if (!channel) return fail(channel.error());
    auto free = name_is_free(*channel, draft->manifest.name);
    if (free) free = has_data(*channel, draft->data);
    if (!free) return free;

    auto at = step ? std::optional(Step{*step}) : std::nullopt;
    auto state = StateAt::rebuild(folder, at, fs::temp_directory_path());
    if (!state) return fail(state.error());
    auto base = send_base(*channel, state->theta(), state->momentum());
    if (!base) return fail(base.error());
    Manifest& m = draft->manifest;
    m.initial_root = *base;
    m.parent_run = parent->run;
    m.parent_step = state->step();
    m.parent_h = state->h();
    auto made = create_run(context, *channel, *draft, start);
    if (!made) return fail(made.error());
    if (!context.json) {
        std::printf("its S_0 is S_%llu of run %s, digest %s\n", static_cast<unsigned long long>(state->step().value), parent->name.c_str(),
                    state->digest().hex().c_str());
        print_next(m);
        return {};
    }
    Json out = *made;
    out["schema"] = "skerry.run-forked/1";
    out["base"] = base->hex();
    out["parent"] = {{"run", parent->name}, {"run_id", parent->run.hex()}, {"step", state->step().value}, {"digest", state->digest().hex()},
                     {"h", state->h().hex()}};
    print_json(out);
    return {};
}

Result<void> push_base(const Context& context, const fs::path& run_folder) {
    auto manifest = manifest_of(run_folder);
    if (!manifest) return fail(manifest.error());
    const KeptFile file{manifest->initial_root, base_file_bytes(manifest->elements)};
    auto channel = Channel::to_coordinator(context);
    if (!channel) return fail(channel.error());
    auto here = ask_files(*channel, {file.sha256});
    if (!here) return fail(here.error());
    auto sent = send_file(*channel, run_folder / kBaseState, file, here->front());
    if (!sent) return fail(sent.error());
    auto small = push_folder_files(*channel, run_folder);
    if (!small) return small;
    if (context.json) {
        print_json({{"schema", "skerry.pushed/1"}, {"shards", 1}, {"pushed", *sent > 0 ? 1 : 0}, {"bytes", *sent}});
        return {};
    }
    std::printf("the state that run %s began with: %s\n", manifest->name.c_str(), *sent > 0 ? (to_size_text(*sent) + " pushed").c_str() : "was there");
    return {};
}

}  // namespace skerry::node
