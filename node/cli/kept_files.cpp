#include "node/cli/kept_files.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "protocol/config/quantity.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {

using Json = nlohmann::json;

Result<Json> ask_files(Channel& channel, const std::vector<Digest>& files) {
    Json names = Json::array();
    for (const Digest& file : files) names.push_back(file.hex());
    auto have = channel.call("data.have", {{"shards", names}});
    if (!have) return have;
    if (!have->contains("shards") || (*have)["shards"].size() != files.size())
        return fail(Errc::malformed, "the coordinator answered for other files");
    return (*have)["shards"];
}

Result<std::uint64_t> send_file(Channel& channel, const std::filesystem::path& path, const KeptFile& file, const Json& here) {
    if (here.value("complete", false)) return std::uint64_t{0};
    const std::uint64_t from = here.value("bytes", std::uint64_t{0});
    std::ifstream in(path, std::ios::binary);
    if (!in) return fail(Errc::not_found, "there is no " + path.string(), "skerry data prepare");
    in.seekg(static_cast<std::streamoff>(from));
    for (std::uint64_t offset = from; offset < file.bytes;) {
        Bytes block(static_cast<std::size_t>(std::min<std::uint64_t>(kMaxAdminBlockBytes, file.bytes - offset)));
        in.read(reinterpret_cast<char*>(block.data()), static_cast<std::streamsize>(block.size()));
        if (in.gcount() != static_cast<std::streamsize>(block.size()))
            return fail(Errc::data_invalid, path.string() + " is shorter than its manifest says", "skerry data prepare");
        const std::uint64_t next = offset + block.size();
        auto put = channel.call("data.put", {{"sha256", file.sha256.hex()}, {"offset", offset}, {"bytes", file.bytes}}, std::move(block));
        if (!put) return fail(put.error());
        offset = next;
    }
    return file.bytes - std::min(from, file.bytes);
}

Result<void> has_data(Channel& channel, const DataManifest& data) {
    std::vector<Digest> shards;
    for (const DataShard& shard : data.shards) shards.push_back(shard.sha256);
    auto have = ask_files(channel, shards);
    if (!have) return fail(have.error());
    const bool all = std::all_of(have->begin(), have->end(), [](const Json& shard) { return shard.value("complete", false); });
    if (all) return {};
    return fail(Errc::no_data, "the coordinator does not have all shards of this run's data", "skerry data push DIR");
}

Result<void> name_is_free(Channel& channel, const std::string& name) {
    auto runs = channel.call("runs", Json::object());
    if (!runs) return fail(runs.error());
    for (const Json& run : runs->value("runs", Json::array())) {
        if (run.value("run", "") == name)
            return fail(Errc::already_exists, "this coordinator has a run '" + name + "' already", "give it another name in its run.toml");
    }
    return {};
}

Result<void> send_texts(Channel& channel, const std::vector<std::string>& texts) {
    std::vector<Digest> names;
    for (const std::string& text : texts) names.push_back(sha256(as_bytes(text)));
    if (names.empty()) return {};
    auto have = ask_files(channel, names);
    if (!have) return fail(have.error());
    for (std::size_t i = 0; i < names.size(); ++i) {
        const Json& here = (*have)[i];
        if (here.value("complete", false)) continue;
        const ByteSpan text = as_bytes(texts[i]);
        for (std::size_t at = here.value("bytes", std::size_t{0}); at < text.size();) {
            const ByteSpan block = text.subspan(at, std::min<std::size_t>(kMaxAdminBlockBytes, text.size() - at));
            auto put = channel.call("data.put", {{"sha256", names[i].hex()}, {"offset", at}, {"bytes", text.size()}}, Bytes(block.begin(), block.end()));
            if (!put) return fail(put.error());
            at += block.size();
        }
    }
    return {};
}

Result<Json> create_run(const Context& context, Channel& channel, const RunDraft& draft, bool start) {
    auto sent = send_texts(channel, draft.file_texts);
    if (!sent) return fail(sent.error());
    Json args{{"data_manifest", draft.data_manifest}, {"settings", Json::parse(draft.settings)}, {"start", start}};
    auto made = channel.call("run.create", args, to_bytes(draft.manifest));
    if (!made || context.json) return made;
    const Manifest& m = draft.manifest;
    std::printf("run %s: %s parameters, %s tokens in rounds of %u steps x %u x %u tokens a node, %s\n", m.name.c_str(),
                to_count_text(static_cast<double>(m.elements)).c_str(), to_count_text(static_cast<double>(m.target_tokens)).c_str(),
                m.local_steps, m.batch_sequences, m.sequence_tokens, start ? "started" : "created");
    return made;
}

void print_next(const Manifest& made) { std::printf("next:  skerry token create --run %s\n", made.name.c_str()); }

}  // namespace skerry::node
