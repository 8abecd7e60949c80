#include "coordinator/app/config.hpp"

#include "protocol/config/strict_toml.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::coordinator {
namespace {

Address address_of(TomlSection& section, std::string_view key, std::string_view fallback, std::uint16_t port) {
    auto parsed = parse_address(section.text(key, fallback), port);
    if (parsed) return *parsed;
    section.complain(key, parsed.error().detail);
    return {};
}

}  // namespace

Result<CoordinatorConfig> load_config(const std::filesystem::path& dir) {
    Places places{dir};
    auto toml = StrictToml::load(places.config());
    if (!toml) {
        if (toml.error().code != Errc::not_found) return fail(toml.error());
        return fail(Errc::not_found, "there is no coordinator in " + dir.string(),
                    "skerry-coordinator init --dir " + dir.string() + " --name NAME");
    }
    toml->expect_schema("skerry.coordinator/1");
    CoordinatorConfig config;
    auto root = toml->root();
    config.name = root.required_text("name");
    config.public_address = address_of(root, "public", "127.0.0.1", 0);
    config.listen = address_of(root, "listen", "0.0.0.0:7600", kDefaultPort);
    config.data_dir = std::filesystem::absolute(dir / root.text("data_dir", ".")).lexically_normal();
    if (!config.data_dir.has_filename()) config.data_dir = config.data_dir.parent_path();  // "x/." is "x"
    auto limits = toml->section("limits");
    auto count = [&](std::string_view key, std::size_t fallback) {
        return static_cast<std::size_t>(limits.integer(key, static_cast<std::int64_t>(fallback), 1, 100'000));
    };
    config.limits.connections = count("connections", config.limits.connections);
    config.limits.connections_per_address = count("connections_per_address", config.limits.connections_per_address);
    config.limits.new_per_address_per_s =
        limits.number("new_per_address_per_s", config.limits.new_per_address_per_s, 0.1, 1e6);
    config.limits.handshake_timeout = limits.duration("handshake_timeout", config.limits.handshake_timeout);
    config.metrics.address = Address{"127.0.0.1", kMetricsPort};
    auto metrics = toml->section("metrics");
    if (metrics.has("listen")) {
        auto where = parse_metrics_listen(metrics.text("listen", ""), kMetricsPort);
        if (where) config.metrics = *where;
        else metrics.complain("listen", where.error().detail);
    }
    auto done = toml->finish();
    if (!done) return fail(done.error());
    if (config.name.empty()) return fail(Errc::config_invalid, "coordinator.toml: 'name' is empty");
    return config;
}

std::string make_config_text(const std::string& name, const std::string& public_host, std::uint16_t port) {
    std::string listen = ":" + std::to_string(port);
    return R"(# Written by `skerry-coordinator init`. Unknown keys are errors; keys left out have the values shown.
schema = "skerry.coordinator/1"
name = ")" + name + R"("
public = ")" + public_host + R"("               # host[:port] that nodes use; it is written into tokens
listen = "0.0.0.0)" + listen + R"("        # control connections of nodes, TLS 1.3
data_dir = "."                      # database, keys, data shards; relative to this file

[limits]
connections = 256                   # at once, all together
connections_per_address = 128       # of one IP address
new_per_address_per_s = 50.0        # of one IP address
handshake_timeout = "10s"           # before a stranger is let go

# [metrics]
# listen = "127.0.0.1:7602"         # /metrics and /healthz; "none": off. Left out: this port, or any free one
)";
}

}  // namespace skerry::coordinator
