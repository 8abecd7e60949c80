#include "node/app/node_config.hpp"

#include "node/trainer/trainer_choice.hpp"
#include "protocol/config/address.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

Result<Token> load_token(const std::filesystem::path& path) {
    auto text = read_small_file(path, 4096);
    if (!text)
        return fail(Errc::not_found, "no token in " + path.string(),
                    "skerry join TOKEN --dir " + path.parent_path().string());
    return parse_token(text->substr(0, text->find_last_not_of(" \r\n") + 1));
}

// Each text was checked when the file was read.
Address address_of(const std::string& text) { return parse_address(text, kDataPort).value(); }

}  // namespace

Limits to_limits(const NodeToml& toml) {
    Limits out;
    static_cast<MachineLimits&>(out) = to_machine_limits(toml);
    out.threads = static_cast<std::uint32_t>(toml.threads);
    out.hours = WeekHours::parse(toml.hours).value();
    out.toml = toml;
    return out;
}

Result<NodeSettings> load_settings(const NodeFolder& folder) {
    auto toml = load_node_toml(folder.config());
    if (!toml) return fail(toml.error());
    NodeSettings out;
    out.name = toml->name;
    out.site = toml->site;
    out.listen = toml->listen != "none";
    if (out.listen) {
        Address address = address_of(toml->listen);
        out.listen_host = address.host;
        out.listen_port = address.port;
    }
    for (const std::string& one : toml->advertise) out.advertise.push_back(address_of(one));
    out.limits = to_limits(*toml);
    if (!toml->trainer.empty()) out.trainer_program = toml->trainer;
    out.trainer_choice = to_trainer_choice(*toml);
    if (!toml->save_every.empty()) out.save_every = parse_duration(toml->save_every).value();
    if (!toml->scrub_every.empty()) out.scrub_every = parse_duration(toml->scrub_every).value();
    if (!toml->silent_after.empty()) out.trainer_silence = parse_duration(toml->silent_after).value();
    out.follow = toml->follow;
    out.model_folder = toml->export_folder;
    if (!toml->export_every.empty()) out.model_every = parse_duration(toml->export_every).value();
    out.metrics.address = Address{"127.0.0.1", kMetricsPort};
    if (!toml->metrics.empty()) {
        auto where = parse_metrics_listen(toml->metrics, kMetricsPort);
        if (!where) return fail(where.error());
        out.metrics = *where;
    }
    auto token = load_token(folder.token());
    if (!token) return fail(token.error());
    out.token = *token;
    return out;
}

}  // namespace skerry::node
