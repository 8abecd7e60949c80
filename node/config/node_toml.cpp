#include "node/config/node_toml.hpp"

#include "node/config/week_hours.hpp"
#include "protocol/config/address.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/config/strict_toml.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::node {
namespace {

/// TOML basic string.
std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') out.push_back('\\');
        out.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
    }
    return out + "\"";
}

std::string quoted_list(const std::vector<std::string>& list) {
    std::string out = "[";
    for (const std::string& one : list) out += (out.size() == 1 ? "" : ", ") + quoted(one);
    return out + "]";
}

/// Where something listens; "none" is an answer too.
Result<void> check_listen(const std::string& text, std::uint16_t default_port) {
    if (text == "none") return {};
    auto address = parse_address(text, default_port);
    if (!address) return fail(address.error());
    return {};
}

/// A duration as it is written; empty if it is not there.
std::string bounded(TomlSection& section, const char* key) {
    constexpr Millis kLeast{1000}, kMost{24 * 3600 * 1000};
    if (!section.has(key)) return {};
    const Millis value = section.duration(key, kLeast);
    if (value < kLeast || value > kMost) section.complain(key, "between 1s and 24h");
    return section.text(key, "");
}

/// A quantity as it is written, if `parse` takes it; empty if it is not there.
template <class Parse>
std::string quantity(TomlSection& section, const char* key, Parse parse) {
    if (!section.has(key)) return {};
    std::string text = section.text(key, "");
    auto value = parse(text);
    if (!text.empty() && !value) section.complain(key, value.error().detail + "; " + value.error().fix);
    return text;
}

/// One of `words`; the first if it is not there.
std::string word(TomlSection& section, const char* key, const std::vector<std::string_view>& words) {
    return std::string(words[section.choice(key, words, 0)]);
}

constexpr std::size_t kMaxFile = 256 * 1024;

}  // namespace

Result<void> check(const NodeToml& config) {
    if (!is_name(config.name))
        return fail(Errc::usage, "'" + config.name + "' is no name for a node", "--name: 1 to 64 letters, digits, '.', '_' or '-'");
    auto listen = check_listen(config.listen, kDataPort);
    if (!listen) return listen;
    for (const std::string& one : config.advertise) {
        auto address = parse_address(one, kDataPort);
        if (!address) return fail(address.error());
    }
    if (!config.metrics.empty()) {
        auto metrics = check_listen(config.metrics, kMetricsPort);
        if (!metrics) return metrics;
    }
    if (!config.export_every.empty()) {
        auto every = parse_duration(config.export_every);
        if (!every || *every < Millis(1000) || *every > Millis(24 * 3600 * 1000)) return fail(Errc::usage, "--export-every: from 1s to 24h");
    }
    if (!config.follow && (!config.export_folder.empty() || !config.export_every.empty()))
        return fail(Errc::usage, "--export and --export-every are of a follower", "add --follow");
    if (!config.disk.empty()) {
        auto disk = parse_size(config.disk);
        if (!disk) return fail(disk.error());
    }
    return {};
}

Result<NodeToml> load_node_toml(const std::filesystem::path& file) {
    auto text = read_small_file(file, kMaxFile);
    if (!text) return fail(text.error());
    return parse_node_toml(*text, file.filename().string());
}

Result<NodeToml> parse_node_toml(const std::string& text, const std::string& name) {
    auto toml = StrictToml::parse(text, name);
    if (!toml) return fail(toml.error());
    toml->expect_schema("skerry.node/1");
    NodeToml out;
    auto root = toml->root();
    out.name = root.required_text("name");
    if (!out.name.empty() && !is_name(out.name)) root.complain("name", "not a node name");
    out.site = root.text("site", "");
    out.listen = root.text("listen", out.listen);
    auto listen = check_listen(out.listen, kDataPort);
    if (!listen) root.complain("listen", listen.error().detail);
    out.advertise = root.texts("advertise");
    for (const std::string& one : out.advertise) {
        auto address = parse_address(one, kDataPort);
        if (!address) root.complain("advertise", address.error().detail);
    }
    auto trainer = toml->section("trainer");
    out.threads = static_cast<int>(trainer.integer("threads", 0, 0, 1024));
    out.trainer = trainer.text("program", "");
    out.path = word(trainer, "path", {"auto", "fast", "autograd", "cuda"});
    out.precision = word(trainer, "precision", {"auto", "fp32", "bf16"});
    out.micro_batch = static_cast<int>(trainer.integer("micro_batch", 0, 0, 65536));
    out.recompute = word(trainer, "recompute", {"auto", "none", "attention", "layers"});
    out.save_every = bounded(trainer, "save_every");
    out.silent_after = bounded(trainer, "silent_after");
    auto limits = toml->section("limits");
    out.threads = static_cast<int>(limits.integer("threads", out.threads, 0, 1024));
    out.up = quantity(limits, "up", parse_rate);
    out.down = quantity(limits, "down", parse_rate);
    out.daily_transfer = quantity(limits, "daily_transfer", parse_size);
    out.memory = quantity(limits, "memory", parse_size);
    out.disk = quantity(limits, "disk", parse_size);
    out.scrub_every = bounded(limits, "scrub_every");
    auto follow = toml->section("follow");
    out.follow = follow.boolean("enabled", false);
    out.export_folder = follow.text("export", "");
    out.export_every = bounded(follow, "every");
    auto schedule = toml->section("schedule");
    out.hours = schedule.texts("hours");
    if (auto hours = WeekHours::parse(out.hours); !hours) schedule.complain("hours", hours.error().detail + "; " + hours.error().fix);
    auto metrics = toml->section("metrics");
    out.metrics = metrics.text("listen", "");
    if (!out.metrics.empty()) {
        auto where = check_listen(out.metrics, kMetricsPort);
        if (!where) metrics.complain("listen", where.error().detail);
    }
    auto done = toml->finish();
    if (!done) return fail(done.error());
    return out;
}

std::string to_text(const NodeToml& config) {
    std::string out = "# What the owner of this machine decides. Edit it, then: skerry limits reload. Unknown keys are errors.\n"
                      "schema = \"skerry.node/1\"\n";
    out += "name = " + quoted(config.name) + "\n";
    if (!config.site.empty()) out += "site = " + quoted(config.site) + "\n";
    out += "listen = " + quoted(config.listen) + "   # data plane; \"none\": this machine only dials\n";
    out += "advertise = " + quoted_list(config.advertise) + "   # empty: where the coordinator sees this node\n";
    out += "\n[trainer]\n";
    if (!config.trainer.empty()) out += "program = " + quoted(config.trainer) + "\n";
    if (config.path != "auto") out += "path = " + quoted(config.path) + "   # auto: a GPU if there is one, else the CPU\n";
    if (config.precision != "auto") out += "precision = " + quoted(config.precision) + "   # auto: the run's, or the faster one\n";
    if (config.micro_batch != 0) out += "micro_batch = " + std::to_string(config.micro_batch) + "   # sequences at a time at most; 0: as many as fit\n";
    if (config.recompute != "auto") out += "recompute = " + quoted(config.recompute) + "   # what is computed again to save memory\n";
    if (!config.save_every.empty()) out += "save_every = " + quoted(config.save_every) + "   # local progress; a kill costs no more\n";
    if (!config.silent_after.empty()) out += "silent_after = " + quoted(config.silent_after) + "   # a trainer that says nothing is killed\n";
    out += "\n[limits]\nthreads = " + std::to_string(config.threads) + "   # of the trainer; 0: cores divided by trainers on this machine\n";
    if (!config.up.empty()) out += "up = " + quoted(config.up) + "   # all bulk data together\n";
    if (!config.down.empty()) out += "down = " + quoted(config.down) + "\n";
    if (!config.daily_transfer.empty()) out += "daily_transfer = " + quoted(config.daily_transfer) + "   # both ways; then paused until midnight\n";
    if (!config.memory.empty()) out += "memory = " + quoted(config.memory) + "   # what the trainer may use\n";
    if (!config.disk.empty()) out += "disk = " + quoted(config.disk) + "   # log, snapshots and cached data shards\n";
    if (!config.scrub_every.empty()) out += "scrub_every = " + quoted(config.scrub_every) + "   # all of the log is read and checked\n";
    if (config.follow) out += "\n[follow]\nenabled = true   # reads the log and writes model folders; does not train\n";
    if (config.follow && !config.export_folder.empty()) out += "export = " + quoted(config.export_folder) + "   # DIR/newest is the newest model folder\n";
    if (config.follow && !config.export_every.empty()) out += "every = " + quoted(config.export_every) + "   # between two model folders, at least\n";
    if (!config.hours.empty()) out += "\n[schedule]\nhours = " + quoted_list(config.hours) + "   # local time; outside of them the node is paused\n";
    if (!config.metrics.empty()) out += "\n[metrics]\nlisten = " + quoted(config.metrics) + "   # /metrics and /healthz; \"none\": off\n";
    return out;
}

MachineLimits to_machine_limits(const NodeToml& config) {
    const auto value = [](const std::string& text, auto parse) { return text.empty() ? std::uint64_t{0} : parse(text).value(); };
    return {value(config.up, parse_rate), value(config.down, parse_rate), value(config.daily_transfer, parse_size),
            value(config.memory, parse_size), value(config.disk, parse_size)};
}

}  // namespace skerry::node
