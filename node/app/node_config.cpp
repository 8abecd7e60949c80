#include "node/app/node_config.hpp"

#include "protocol/config/address.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/strict_toml.hpp"

namespace skerry::node {
namespace {

Result<Token> load_token(const std::filesystem::path& path) {
    auto text = read_small_file(path, 4096);
    if (!text)
        return fail(Errc::not_found, "no token in " + path.string(),
                    "skerry join TOKEN --dir " + path.parent_path().string());
    return parse_token(text->substr(0, text->find_last_not_of(" \r\n") + 1));
}

void read_listen(TomlSection& root, NodeSettings& out) {
    std::string text = root.text("listen", "0.0.0.0:7610");
    if (text == "none") {
        out.listen = false;
        return;
    }
    auto address = parse_address(text, 7610);
    if (!address) {
        root.complain("listen", address.error().detail);
        return;
    }
    out.listen_host = address->host;
    out.listen_port = address->port;
}

void read_advertise(TomlSection& root, NodeSettings& out) {
    for (const std::string& text : root.texts("advertise")) {
        auto address = parse_address(text, 7610);
        if (!address) {
            root.complain("advertise", address.error().detail);
            return;
        }
        out.advertise.push_back(*address);
    }
}

Millis bounded(TomlSection& section, const char* key, Millis fallback) {
    constexpr Millis kLeast{1000}, kMost{24 * 3600 * 1000};
    const Millis value = section.duration(key, fallback);
    if (value < kLeast || value > kMost) section.complain(key, "between 1s and 24h");
    return value;
}

}  // namespace

Result<NodeSettings> load_settings(const NodeFolder& folder) {
    auto toml = StrictToml::load(folder.config());
    if (!toml) return fail(toml.error());
    toml->expect_schema("skerry.node/1");
    NodeSettings out;
    TomlSection root = toml->root();
    out.name = root.required_text("name");
    if (!out.name.empty() && !is_name(out.name)) root.complain("name", "not a node name");
    out.site = root.text("site", "");
    read_listen(root, out);
    read_advertise(root, out);
    TomlSection trainer = toml->section("trainer");
    out.trainer_threads = static_cast<std::uint32_t>(trainer.integer("threads", 0, 0, 1024));
    out.trainer_program = trainer.text("program", "skerry-trainer");
    out.save_every = bounded(trainer, "save_every", out.save_every);
    out.trainer_silence = bounded(trainer, "silent_after", out.trainer_silence);
    TomlSection limits = toml->section("limits");
    out.disk_bytes = limits.size("disk", 0);
    auto ok = toml->finish();
    if (!ok) return fail(ok.error());
    auto token = load_token(folder.token());
    if (!token) return fail(token.error());
    out.token = *token;
    return out;
}

}  // namespace skerry::node
