// `skerry run create`: what it would cost, then the run.

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include <unistd.h>

#include "node/cli/base_folder.hpp"
#include "node/cli/channel.hpp"
#include "node/cli/commands.hpp"
#include "node/cli/kept_files.hpp"
#include "node/cli/plan_view.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
constexpr std::uint64_t kMostNodes = 1024;

/// What the command line says about nodes that nobody has measured.
struct Stated {
    std::optional<double> tokens_per_s, up, down;
};

/// `20k`, `1.5M`, `800`.
Result<double> parse_speed(const std::string& text) {
    double value = 0;
    auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string_view unit(end, text.data() + text.size());
    const double factor = unit.empty() ? 1 : unit == "k" ? 1e3 : unit == "M" ? 1e6 : 0;
    if (ec != std::errc{} || factor == 0 || value <= 0) return fail(Errc::usage, "'" + text + "' is no number of tokens per second", "--node-speed 20k");
    return value * factor;
}

Result<Stated> stated_by(const CreateCommand& command) {
    Stated out;
    if (!command.node_speed.empty()) {
        auto speed = parse_speed(command.node_speed);
        if (!speed) return fail(speed.error());
        out.tokens_per_s = *speed;
    }
    for (auto [text, to] : {std::pair{&command.up, &out.up}, std::pair{&command.down, &out.down}}) {
        if (text->empty()) continue;
        auto rate = parse_rate(*text);
        if (!rate) return fail(rate.error());
        *to = static_cast<double>(*rate);
    }
    return out;
}

/// Nodes of all runs of this coordinator, each once.
struct Known {
    std::vector<Means> here;
    std::vector<Means> away;  ///< not connected, with what they reported last
};

Result<Known> nodes_known(Channel& channel, std::uint64_t elements) {
    auto runs = channel.call("runs", Json::object());
    if (!runs) return fail(runs.error());
    Known out;
    std::map<std::string, Means> away;
    std::set<std::string> here;
    for (const Json& run : runs->value("runs", Json::array())) {
        auto answer = channel.call("nodes", {{"run", run.value("run", "")}});
        if (!answer) return fail(answer.error());
        for (const Json& node : answer->value("nodes", Json::array())) {
            const std::string state = node.value("state", ""), id = node.value("node_id", "");
            if (state == "following" || state == "revoked") continue;  // it takes no part in a step
            Means means = means_of(node, answer->value("elements", std::uint64_t{0}), elements);
            if (!node.value("connected", false)) {
                // Of several runs that it was in: where it trained last is not known, any speed is better than none.
                if (node.value("machine", Json()).is_object() && (!away.contains(id) || away[id].tokens_per_s <= 0)) away[id] = std::move(means);
            } else if (here.insert(id).second) {
                out.here.push_back(std::move(means));
            }
        }
    }
    for (auto& [id, means] : away)
        if (!here.contains(id)) out.away.push_back(std::move(means));
    return out;
}

/// As many nodes as wanted: those that are here, then those that are away, then unknown ones. Says so.
std::vector<Means> take(const Known& known, std::size_t wanted, std::vector<std::string>& assumed) {
    std::vector<Means> nodes(known.here.begin(), known.here.begin() + static_cast<std::ptrdiff_t>(std::min(wanted, known.here.size())));
    std::string away;
    for (const Means& node : known.away) {
        if (nodes.size() == wanted) break;
        away += (away.empty() ? "" : ", ") + node.name;
        nodes.push_back(node);
    }
    if (!away.empty()) assumed.push_back("nodes that are not connected, as they were last: " + away);
    const std::size_t there = nodes.size();
    for (std::size_t i = there; i < wanted; ++i) nodes.emplace_back().name = "node-" + std::to_string(i + 1);
    if (there == 0) assumed.push_back(std::to_string(wanted) + (wanted == 1 ? " node" : " nodes") + ", all alike (--nodes)");
    else if (there < wanted) assumed.push_back(std::to_string(wanted - there) + " more than the " + std::to_string(there) + " that are known (--nodes)");
    return nodes;
}

/// Fills what is not measured with what was stated; says so.
void complete(std::vector<Means>& nodes, const Stated& stated, std::vector<std::string>& assumed) {
    std::size_t slow = 0, speeds = 0, ups = 0, unknown_ups = 0;
    for (Means& node : nodes) {
        if (node.tokens_per_s <= 0 && stated.tokens_per_s) ++speeds, node.tokens_per_s = *stated.tokens_per_s;
        if (node.up_bytes_per_s <= 0 && stated.up) ++ups, node.up_bytes_per_s = *stated.up;
        if (node.down_bytes_per_s <= 0 && stated.down) node.down_bytes_per_s = *stated.down;
        slow += node.tokens_per_s <= 0;
        unknown_ups += node.up().bytes_per_s <= 0;
    }
    const auto of = [&](std::size_t n) { return n == nodes.size() ? std::string("every node") : std::to_string(n) + " of the nodes"; };
    if (speeds > 0) assumed.push_back(to_count_text(*stated.tokens_per_s) + " tokens/s on " + of(speeds) + " (--node-speed)");
    if (ups > 0) assumed.push_back(to_size_text(static_cast<std::uint64_t>(*stated.up)) + "/s up from " + of(ups) + " (--up)");
    if (unknown_ups > 0 && slow == 0) assumed.push_back("upload takes no time on " + of(unknown_ups) + ": not measured, and no --up");
}

struct Planned {
    RunPlan plan;
    std::vector<std::string> assumed;
};

Result<Planned> plan_of(const RunDraft& draft, const CreateCommand& command, Channel* channel) {
    auto stated = stated_by(command);
    if (!stated) return fail(stated.error());
    if (command.nodes && (*command.nodes < 1 || *command.nodes > kMostNodes)) return fail(Errc::usage, "--nodes: from 1 to 1024");
    Known known;
    if (channel != nullptr) {
        auto there = nodes_known(*channel, draft.manifest.elements);
        if (!there) return fail(there.error());
        known = std::move(*there);
    }
    const std::size_t fallback = std::max<std::size_t>(draft.manifest.min_nodes, known.here.size());
    Planned out;
    std::vector<Means> nodes = take(known, command.nodes.value_or(fallback), out.assumed);
    complete(nodes, *stated, out.assumed);
    const Json settings = Json::parse(draft.settings);
    Manifest manifest = draft.manifest;
    if (!draft.base_folder.empty()) manifest.initial_root.bytes.fill(1);  // not known yet, but it takes its place on disks
    out.plan = make_plan(manifest, draft.data, nodes, Millis(settings.value("exchange_deadline_ms", Millis::rep{30'000})));
    return out;
}

void print(const Planned& planned, const RunDraft& draft) {
    for (const std::string& line : to_lines(planned.plan, draft.manifest, draft.data, planned.assumed)) std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

Result<void> dry_run(const Context& context, const RunDraft& draft, const Planned& planned, Channel* channel) {
    if (context.json) {
        Json out = to_json(planned.plan, draft.manifest, draft.data, planned.assumed);
        out["schema"] = "skerry.plan/1";
        out["coordinator_asked"] = channel != nullptr;
        print_json(out);
    } else {
        print(planned, draft);
    }
    if (channel == nullptr) {
        if (!context.json) std::printf("nothing was created, no coordinator was asked (--coordinator-dir)\n");
        return {};
    }
    auto fits = name_is_free(*channel, draft.manifest.name);
    if (fits) fits = has_data(*channel, draft.data);
    if (fits && !context.json) std::printf("the coordinator has the data, the name is free; nothing was created\n");
    return fits;
}

bool wanted(const std::string& name) {
    std::printf("Create run %s? [Y/n] ", name.c_str());
    std::fflush(stdout);
    std::string answer;
    return std::getline(std::cin, answer) && (answer.empty() || answer[0] == 'y' || answer[0] == 'Y');
}

}  // namespace

Result<void> run_create_command(const Context& context, const CreateCommand& command) {
    auto draft = load_run_draft(command.file, random_fixed<RunId>());
    if (!draft) return fail(draft.error());
    const bool named = !context.coordinator_dir.empty() || !context.token_file.empty();
    std::optional<Channel> channel;
    if (named || !command.dry_run) {
        auto opened = Channel::to_coordinator(context);
        if (!opened) return fail(opened.error());
        channel.emplace(std::move(*opened));
    }
    auto planned = plan_of(*draft, command, channel ? &*channel : nullptr);
    if (!planned) return fail(planned.error());
    if (command.dry_run) return dry_run(context, *draft, *planned, channel ? &*channel : nullptr);

    auto there = has_data(*channel, draft->data);
    if (there) there = name_is_free(*channel, draft->manifest.name);
    if (!there) return there;
    if (!context.json) print(*planned, *draft);
    const bool ask = !command.yes && !context.json && ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
    if (ask && !wanted(draft->manifest.name)) {
        std::printf("Not created.\n");
        return {};
    }
    if (!draft->base_folder.empty()) {
        auto base = send_folder(*channel, draft->base_folder, draft->model);
        if (!base) return fail(base.error());
        draft->manifest.initial_root = *base;
    }
    auto made = create_run(context, *channel, *draft, command.start);
    if (!made) return fail(made.error());
    const bool has_base = !draft->base_folder.empty();
    if (!context.json) {
        if (has_base) std::printf("its S_0 is the model in %s\n", draft->base_folder.c_str());
        print_next(draft->manifest);
        return {};
    }
    Json out = *made;
    out["schema"] = "skerry.run-created/1";
    if (has_base) out["base"] = draft->manifest.initial_root.hex();
    out["plan"] = to_json(planned->plan, draft->manifest, draft->data, planned->assumed);
    print_json(out);
    return {};
}

}  // namespace skerry::node
