#include "node/cli/node_folder.hpp"

#include <unistd.h>

#include "protocol/config/files.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMaxTokenFile = 4096;

/// The host's name, as far as it is fit for a node's.
std::string default_name() {
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    std::string out;
    for (const char* c = host; *c != '\0' && *c != '.' && out.size() < 40; ++c) {
        bool plain = std::isalnum(static_cast<unsigned char>(*c)) != 0 || *c == '-' || *c == '_';
        out.push_back(plain ? *c : '-');
    }
    return is_name(out) ? out : "node";
}

/// A program given with a slash must be found from any folder.
std::string absolute_program(const std::string& program) {
    return program.find('/') == std::string::npos ? program : fs::absolute(program).lexically_normal().string();
}

void apply(NodeToml& config, const JoinCommand& command) {
    if (command.name) config.name = *command.name;
    if (command.site) config.site = *command.site;
    if (command.listen) config.listen = *command.listen;
    if (!command.advertise.empty()) config.advertise = command.advertise;
    if (command.threads) config.threads = *command.threads;
    if (command.trainer) config.trainer = absolute_program(*command.trainer);
    if (command.up) config.up = *command.up;
    if (command.down) config.down = *command.down;
    if (command.per_day) config.daily_transfer = *command.per_day;
    if (command.memory) config.memory = *command.memory;
    if (command.disk) config.disk = *command.disk;
    if (command.follow) config.follow = true;
    if (command.export_folder) config.export_folder = fs::absolute(*command.export_folder).lexically_normal().string();
    if (command.export_every) config.export_every = *command.export_every;
    if (command.metrics) config.metrics = *command.metrics;
}

/// A folder serves one run: its log is that run's.
Result<void> check_same_run(const fs::path& dir, const Token& token) {
    auto old_text = read_small_file(dir / "token", kMaxTokenFile);
    if (!old_text) return {};
    auto old = parse_token(old_text->substr(0, old_text->find_last_not_of(" \r\n") + 1));
    bool same = !old || (old->run == token.run && old->root == token.root);
    bool used = fs::exists(dir / "run");
    if (same || !used) return {};
    return fail(Errc::already_exists, dir.string() + " belongs to run " + old->run + " of another token", "choose another --dir");
}

}  // namespace

Result<NodeToml> node_config(const fs::path& dir, const Token& token, const JoinCommand& command) {
    auto same = check_same_run(dir, token);
    if (!same) return fail(same.error());
    NodeToml config;
    config.name = default_name();
    if (fs::exists(dir / "node.toml")) {
        auto old = load_node_toml(dir / "node.toml");
        if (!old) return fail(old.error());
        config = *old;
    }
    apply(config, command);
    auto ok = check(config);
    if (!ok) return fail(ok.error());
    return config;
}

Result<void> make_node_folder(const fs::path& dir, const NodeToml& config, const std::string& token_text) {
    auto made = make_private_folder(dir / "identity");
    if (!made) return fail(made.error());
    made = write_small_file(dir / "node.toml", to_text(config), 0600);
    if (!made) return fail(made.error());
    made = write_small_file(dir / "token", token_text + "\n", 0600);
    if (!made) return fail(made.error());
    if (!fs::exists(dir / "identity" / "key")) {
        made = KeyPair::generate().save(dir / "identity" / "key");
        if (!made) return fail(made.error());
    }
    return {};
}

}  // namespace skerry::node
