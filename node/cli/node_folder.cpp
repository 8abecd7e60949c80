#include "node/cli/node_folder.hpp"

#include <unistd.h>

#include "protocol/config/address.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/config/strict_toml.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMaxTokenFile = 4096;
constexpr std::uint16_t kDataPort = 7610;

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

Result<void> check(const NodeToml& config) {
    if (!is_name(config.name))
        return fail(Errc::usage, "'" + config.name + "' is no name for a node", "--name: 1 to 64 letters, digits, '.', '_' or '-'");
    if (config.listen != "none") {
        auto listen = parse_address(config.listen, kDataPort);
        if (!listen) return fail(listen.error());
    }
    for (const std::string& one : config.advertise) {
        auto address = parse_address(one, kDataPort);
        if (!address) return fail(address.error());
    }
    if (!config.disk.empty()) {
        auto disk = parse_size(config.disk);
        if (!disk) return fail(disk.error());
    }
    return {};
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
    if (command.disk) config.disk = *command.disk;
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

std::string to_text(const NodeToml& config) {
    std::string out = "# What the owner of this machine decides. Edit it and restart the node. Unknown keys are errors.\n"
                      "schema = \"skerry.node/1\"\n";
    out += "name = " + quoted(config.name) + "\n";
    if (!config.site.empty()) out += "site = " + quoted(config.site) + "\n";
    out += "listen = " + quoted(config.listen) + "   # data plane; \"none\": this machine only dials\n";
    out += "advertise = " + quoted_list(config.advertise) + "   # empty: where the coordinator sees this node\n";
    out += "\n[trainer]\nthreads = " + std::to_string(config.threads) + "   # 0: cores divided by trainers on this machine\n";
    if (!config.trainer.empty()) out += "program = " + quoted(config.trainer) + "\n";
    if (!config.save_every.empty()) out += "save_every = " + quoted(config.save_every) + "   # local progress; a kill costs no more\n";
    if (!config.silent_after.empty()) out += "silent_after = " + quoted(config.silent_after) + "   # a trainer that says nothing is killed\n";
    if (!config.disk.empty()) out += "\n[limits]\ndisk = " + quoted(config.disk) + "   # log, snapshots and cached data shards\n";
    return out;
}

Result<NodeToml> load_node_toml(const fs::path& file) {
    auto toml = StrictToml::load(file);
    if (!toml) return fail(toml.error());
    toml->expect_schema("skerry.node/1");
    NodeToml out;
    auto root = toml->root();
    out.name = root.required_text("name");
    out.site = root.text("site", "");
    out.listen = root.text("listen", out.listen);
    out.advertise = root.texts("advertise");
    auto trainer = toml->section("trainer");
    out.threads = static_cast<int>(trainer.integer("threads", 0, 0, 1024));
    out.trainer = trainer.text("program", "");
    out.save_every = trainer.text("save_every", "");
    out.silent_after = trainer.text("silent_after", "");
    auto limits = toml->section("limits");
    if (limits.has("disk")) out.disk = std::to_string(limits.size("disk", 0));
    auto done = toml->finish();
    if (!done) return fail(done.error());
    return out;
}

Result<NodeToml> make_node_folder(const fs::path& dir, const Token& token, const std::string& token_text, const JoinCommand& command) {
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
    return config;
}

}  // namespace skerry::node
