// skerry limits: what the owner of this machine gives, changed while the node runs.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/cli/channel.hpp"
#include "node/cli/commands.hpp"
#include "node/config/node_toml.hpp"
#include "node/config/toml_edit.hpp"
#include "node/config/week_hours.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;
constexpr std::size_t kMaxFile = 256 * 1024;

Result<fs::path> config_of(const Context& context) {
    if (context.dir.empty()) return fail(Errc::usage, "which node?", "--dir NODEDIR");
    fs::path file = NodeFolder{context.dir}.config();
    if (!fs::exists(file)) return fail(Errc::not_found, "there is no node in " + context.dir, "skerry join TOKEN --dir " + context.dir);
    return file;
}

Json to_json(const NodeToml& config) {
    return {{"up", config.up},           {"down", config.down},     {"daily_transfer", config.daily_transfer}, {"threads", config.threads},
            {"memory", config.memory},   {"disk", config.disk},     {"hours", config.hours},                   {"transferred_today", nullptr}};
}

/// As the agent has them; if there is none, as they are written.
Result<Json> limits_of(const Context& context) {
    auto file = config_of(context);
    if (!file) return fail(file.error());
    if (auto channel = Channel::to_agent(context.dir)) return channel->call("limits", Json::object());
    auto config = load_node_toml(*file);
    if (!config) return fail(config.error());
    return to_json(*config);
}

std::string word(const Json& limits, const char* key) {
    const std::string value = limits.value(key, "");
    return value.empty() ? "none" : value;
}

void print(const Context& context, Json limits) {
    if (context.json) {
        limits["schema"] = "skerry.limits/1";
        print_json(limits);
        return;
    }
    std::string hours;
    for (const Json& one : limits["hours"]) hours += (hours.empty() ? "" : " and ") + one.get<std::string>();
    std::string day = word(limits, "daily_transfer");
    const Json today = limits["transferred_today"];
    if (today.is_number_unsigned()) day += " (today " + to_size_text(today.get<std::uint64_t>()) + ")";
    const int threads = limits.value("threads", 0);
    std::printf("%s", to_table({{"up", word(limits, "up")},
                                {"down", word(limits, "down")},
                                {"per day", day},
                                {"threads", threads == 0 ? "cores divided by trainers here" : std::to_string(threads)},
                                {"memory", word(limits, "memory")},
                                {"disk", word(limits, "disk")},
                                {"hours", hours.empty() ? "always" : hours}}).c_str());
}

using Check = Result<void> (*)(const std::string&);
template <auto Parse>
Result<void> takes(const std::string& text) {
    auto value = Parse(text);
    return value ? Result<void>{} : Result<void>(fail(value.error()));
}

Result<void> is_thread_count(const std::string& text) {
    const bool digits = !text.empty() && text.size() <= 4 && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (digits && std::stoi(text) <= 1024) return {};
    return fail(Errc::usage, "'" + text + "' threads", "from 0 to 1024; 0: cores divided by trainers on this machine");
}

/// The file's text with the command's values in it.
Result<std::string> edited(std::string text, const LimitsCommand& command) {
    struct Row {
        const std::optional<std::string>* given;
        const char* key;
        Check check;
    };
    const Row rows[] = {{&command.up, "up", takes<parse_rate>},           {&command.down, "down", takes<parse_rate>},
                        {&command.per_day, "daily_transfer", takes<parse_size>}, {&command.memory, "memory", takes<parse_size>},
                        {&command.disk, "disk", takes<parse_size>}};
    for (const Row& row : rows) {
        if (!*row.given) continue;
        const std::string& value = **row.given;
        if (value != "none")
            if (auto ok = row.check(value); !ok) return fail(ok.error());
        text = with_toml_value(text, "limits", row.key, value == "none" ? "" : toml_text(value));
    }
    if (command.threads) {
        if (auto ok = is_thread_count(*command.threads); !ok) return fail(ok.error());
        text = with_toml_value(with_toml_value(text, "trainer", "threads", ""), "limits", "threads", *command.threads);
    }
    if (command.hours.empty()) return text;
    if (command.hours == std::vector<std::string>{"none"}) return with_toml_value(text, "schedule", "hours", "");
    if (auto ok = WeekHours::parse(command.hours); !ok) return fail(ok.error());
    std::string list;
    for (const std::string& one : command.hours) list += (list.empty() ? "" : ", ") + toml_text(one);
    return with_toml_value(text, "schedule", "hours", "[" + list + "]");
}

bool empty(const LimitsCommand& c) {
    return !c.up && !c.down && !c.per_day && !c.threads && !c.memory && !c.disk && c.hours.empty();
}

}  // namespace

Result<void> limits_show_command(const Context& context) {
    auto limits = limits_of(context);
    if (!limits) return fail(limits.error());
    print(context, std::move(*limits));
    return {};
}

Result<void> limits_set_command(const Context& context, const LimitsCommand& command) {
    if (empty(command)) return fail(Errc::usage, "which limit?", "skerry limits set --up 2Mbit --hours 22:00-07:00");
    auto file = config_of(context);
    if (!file) return fail(file.error());
    auto old = read_small_file(*file, kMaxFile);
    if (!old) return fail(old.error());
    auto before = parse_node_toml(*old, file->filename().string());
    if (!before) return fail(before.error());
    auto text = edited(*old, command);
    if (!text) return fail(text.error());
    auto after = parse_node_toml(*text, file->filename().string());
    if (!after) return fail(after.error());
    auto written = write_small_file(*file, *text, 0600);
    if (!written) return written;
    auto channel = Channel::to_agent(context.dir);
    if (!channel) {
        if (!context.json) std::printf("saved; the node is not running, it begins with them\n");
        print(context, to_json(*after));
        return {};
    }
    auto limits = channel->call("limits.reload", Json::object());
    if (!limits) return fail(limits.error());
    if (!context.json) std::printf("saved, and applied without a restart\n");
    print(context, std::move(*limits));
    return {};
}

Result<void> limits_reload_command(const Context& context) {
    auto channel = Channel::to_agent(context.dir);
    if (!channel) return fail(channel.error());
    auto limits = channel->call("limits.reload", Json::object());
    if (!limits) return fail(limits.error());
    print(context, std::move(*limits));
    return {};
}

}  // namespace skerry::node
