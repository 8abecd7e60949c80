#pragma once
// coordinator.toml, and what lies where in the coordinator's folder.

#include <filesystem>
#include <string>

#include "protocol/base/units.hpp"
#include "protocol/config/address.hpp"
#include "protocol/observe/http_server.hpp"

namespace skerry::coordinator {

inline constexpr std::uint16_t kMetricsPort = 7602;

/// Limits that hold before anybody has proved anything, and the total.
struct ListenLimits {
    std::size_t connections = 256;              ///< at once, all together
    std::size_t connections_per_address = 128;  ///< of one IP address
    double new_per_address_per_s = 50;          ///< of one IP address; bursts of twice that
    Millis handshake_timeout{10'000};           ///< TLS and the first message together
};

struct CoordinatorConfig {
    std::string name;
    Address public_address;  ///< written into tokens; port 0: the one that is listened on
    Address listen{"0.0.0.0", 7600};
    std::filesystem::path data_dir;  ///< absolute
    ListenLimits limits;
    MetricsListen metrics;
};

/// Errors: not_found, config_invalid with file and line.
Result<CoordinatorConfig> load_config(const std::filesystem::path& dir);

/// The commented file that `init` writes.
std::string make_config_text(const std::string& name, const std::string& public_host, std::uint16_t port);

/// Names of the files in the folder.
struct Places {
    std::filesystem::path dir;
    std::filesystem::path config() const { return dir / "coordinator.toml"; }
    std::filesystem::path root_key() const { return dir / "root-key.pem"; }
    std::filesystem::path root_certificate() const { return dir / "root.pem"; }
    std::filesystem::path service_key() const { return dir / "service-key.pem"; }
    std::filesystem::path service_certificate() const { return dir / "service.pem"; }
    std::filesystem::path admin_tokens() const { return dir / "admin-tokens.json"; }
    std::filesystem::path admin_socket() const { return dir / "admin.sock"; }
    std::filesystem::path shards() const { return dir / "shards"; }
    std::filesystem::path runs() const { return dir / "runs"; }
    std::filesystem::path bundles(const std::string& name) const { return run(name) / "bundles"; }
    std::filesystem::path run(const std::string& name) const { return runs() / name; }
};

}  // namespace skerry::coordinator
