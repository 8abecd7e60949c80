#include "coordinator/admin/admin_service.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "protocol/identity/keys.hpp"
#include "protocol/rules/base_file.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {
namespace {

using Json = nlohmann::json;

Fail usage(std::string what) { return fail(Errc::usage, std::move(what)); }

std::string text_of(const Json& args, const char* key) {
    auto found = args.find(key);
    return found != args.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<std::uint64_t> count_of(const Json& args, const char* key) {
    auto found = args.find(key);
    if (found == args.end() || !found->is_number_unsigned()) return std::nullopt;
    return found->get<std::uint64_t>();
}

bool flag_of(const Json& args, const char* key) {
    auto found = args.find(key);
    return found != args.end() && found->is_boolean() && found->get<bool>();
}

Json token_json(const TokenRow& row, const std::string& run) {
    return {{"id", row.id.hex()},
            {"run", run},
            {"role", row.kind == TokenKind::admin ? "admin" : "node"},
            {"uses_left", row.uses_left},
            {"not_after", row.not_after},
            {"revoked", row.revoked},
            {"label", row.label}};
}

Json error_json(const Error& error) { return {{"message", error.detail}, {"fix", error.fix}}; }

constexpr std::size_t kMaxShardsAsked = 65536;

}  // namespace

Task<AdminReply> AdminService::handle(AdminRequest request) {
    AdminReply reply;
    reply.id = request.id;
    Json args = request.json.empty() ? Json::object() : Json::parse(request.json, nullptr, false);
    Result<Json> result = usage("the arguments are no JSON object");
    if (args.is_object()) result = co_await dispatch(request, args);
    reply.ok = result.has_value();
    reply.code = result ? Errc::internal : result.error().code;
    reply.json = result ? result->dump(-1, ' ', false, Json::error_handler_t::replace)
                        : error_json(result.error()).dump(-1, ' ', false, Json::error_handler_t::replace);
    co_return reply;
}

Task<Result<Json>> AdminService::dispatch(const AdminRequest& request, const Json& args) {
    const std::string& verb = request.verb;
    if (verb == "ping") co_return Json::object();
    if (verb == "status") co_return co_await status(args);
    if (verb == "runs") co_return co_await runs();
    if (verb == "nodes") co_return co_await nodes(args);
    if (verb == "run.create") co_return co_await create_run(args, request.data);
    if (verb == "run.start" || verb == "run.pause" || verb == "run.stop") co_return co_await change_run(args, verb);
    if (verb == "run.rollback") co_return co_await roll_back(args);
    if (verb == "run.config") co_return co_await configure(args);
    if (verb == "token.create") co_return co_await create_token(args);
    if (verb == "token.revoke") co_return co_await revoke_token(args);
    if (verb == "token.ls") co_return co_await list_tokens(args);
    if (verb == "node.revoke") co_return co_await change_node(args, true);
    if (verb == "node.clear") co_return co_await change_node(args, false);
    if (verb == "data.have") co_return co_await have_shards(args);
    if (verb == "data.put") co_return co_await put_shard(args, request.data);
    co_return fail(Errc::usage, "unknown verb '" + verb + "'", "use a skerry of this coordinator's version: " SKERRY_VERSION);
}

Result<std::string> AdminService::pick_run(const Json& args) const {
    std::string wanted = text_of(args, "run");
    auto names = runs_.names();
    if (wanted.empty() && names.size() == 1) return names.front();
    std::string have;
    for (const std::string& name : names) have += (have.empty() ? "" : ", ") + name;
    if (names.empty()) return fail(Errc::no_such_run, "this coordinator has no run", "skerry run create run.toml");
    if (wanted.empty()) return fail(Errc::usage, "this coordinator has several runs: " + have, "name one with --run");
    if (std::find(names.begin(), names.end(), wanted) == names.end())
        return fail(Errc::no_such_run, "there is no run '" + wanted + "' here; there are: " + have);
    return wanted;
}

Task<Result<RunStatus>> AdminService::status_of(std::string name) {
    AdminVerb verb = admin::GetStatus{};
    auto answer = co_await runs_.command(std::move(name), std::move(verb));
    if (answer.error) co_return fail(*answer.error);
    auto* status = std::get_if<RunStatus>(&answer.value);
    if (status == nullptr) co_return fail(Errc::internal, "no status");
    co_return std::move(*status);
}

Task<Result<Json>> AdminService::runs() {
    Json out{{"schema", "skerry.runs/1"}, {"coordinator", to_json(runs_.info())}, {"runs", Json::array()}};
    for (const std::string& name : runs_.names()) {
        auto one = co_await status_of(name);
        if (!one) co_return fail(one.error());
        auto whole = to_json(*one, runs_.first_evaluation(name), runs_.info());
        out["runs"].push_back({{"run", whole["run"]}, {"state", whole["state"]}, {"head", whole["head"]},
                               {"tokens", whole["tokens"]}, {"tokens_total", whole["tokens_total"]},
                               {"nodes", whole["nodes"].size()}});
    }
    co_return out;
}

Task<Result<Json>> AdminService::status(const Json& args) {
    bool several = text_of(args, "run").empty() && runs_.names().size() != 1;
    if (several) co_return co_await runs();
    auto name = pick_run(args);
    if (!name) co_return fail(name.error());
    auto one = co_await status_of(*name);
    if (!one) co_return fail(one.error());
    Json out = to_json(*one, runs_.first_evaluation(*name), runs_.info());
    const WatchdogFacts watchdog = runs_.watchdog(*name);
    out["watchdog"] = {{"bundles", watchdog.bundles}, {"last", watchdog.last}, {"reason", watchdog.reason}};
    const ShardFacts shards = runs_.shards_of(*name);
    out["shards"] = {{"files", shards.files}, {"sent_bytes", shards.sent_bytes}, {"most_copies", shards.most_copies}, {"referred", shards.referred}};
    co_return out;
}

Task<Result<Json>> AdminService::nodes(const Json& args) {
    auto name = pick_run(args);
    if (!name) co_return fail(name.error());
    auto one = co_await status_of(*name);
    if (!one) co_return fail(one.error());
    Json out{{"schema", "skerry.nodes/1"}, {"run", *name}, {"elements", one->elements}, {"nodes", Json::array()}};
    for (const NodeStatus& node : one->nodes) out["nodes"].push_back(to_json(node, *one));
    co_return out;
}

// ------------------------------------------------------------------------------------------------ runs

/// What a fork begins with, judged before there is a run that no node could begin. Its content is its SHA-256.
Result<ShardPresence> AdminService::find_base(const Digest& id, std::uint64_t elements) const {
    auto here = shards_.presence(id);
    if (!here) return here;
    const std::string name = "the state that the run begins with (" + id.short_hex() + "...)";
    if (!here->complete) return fail(Errc::no_data, name + " is not here", "skerry run create or run fork sends it");
    const Bytes header = base_file_header(elements);
    auto begins = shards_.read(id, 0, static_cast<std::uint32_t>(header.size()));
    if (!begins) return fail(begins.error());
    if (here->bytes != base_file_bytes(elements) || *begins != header)
        return fail(Errc::bad_shape, name + " is no state of " + std::to_string(elements) + " parameters: " + std::to_string(here->bytes) + " bytes",
                    "skerry run create or run fork makes and sends the right one");
    return here;
}

Task<Result<Json>> AdminService::create_run(const Json& args, const Bytes& body) {
    auto manifest = parse_manifest(body);
    if (!manifest) co_return fail(Errc::config_invalid, "the manifest is not valid: " + manifest.error().detail);
    std::string data_manifest = text_of(args, "data_manifest");
    if (data_manifest.size() > kMaxDataManifest) co_return fail(Errc::too_large, "the data manifest is too large");
    if (sha256(as_bytes(data_manifest)) != manifest->data_manifest)
        co_return fail(Errc::digest_mismatch, "the data manifest is not the one that the run names");
    Json data = Json::parse(data_manifest, nullptr, false);
    if (!data.is_object()) co_return fail(Errc::data_invalid, "the data manifest is no JSON object", "skerry data prepare");
    if (!is_name(manifest->name)) co_return usage("'" + manifest->name + "' is no name for a run");
    if (!manifest->initial_root.is_zero()) {
        std::function<Result<ShardPresence>()> look = [this, id = manifest->initial_root, p = manifest->elements] { return find_base(id, p); };
        auto here = co_await runs_.on_files(std::move(look));
        if (!here) co_return fail(here.error());
    }
    auto settings = args.find("settings");
    Json chosen = settings != args.end() && settings->is_object() ? *settings : Json::object();
    // Operands are named: g++ 12 destroys temporaries of a co_await expression twice.
    RunRow row{body, Bytes(data_manifest.begin(), data_manifest.end())};
    std::string name = manifest->name;
    std::string times = chosen.dump(1);
    auto created = co_await runs_.create(name, std::move(row), std::move(times));
    if (!created) co_return fail(created.error());
    if (flag_of(args, "start")) {
        AdminVerb verb = admin::StartRun{};
        auto started = co_await runs_.command(name, std::move(verb));
        if (started.error) co_return fail(*started.error);
    }
    co_return Json{{"run", manifest->name}, {"run_id", manifest->run.hex()}, {"state", flag_of(args, "start") ? "running" : "created"}};
}

Task<Result<Json>> AdminService::change_run(const Json& args, const std::string& verb) {
    auto name = pick_run(args);
    if (!name) co_return fail(name.error());
    AdminVerb change = admin::StartRun{};
    if (verb == "run.pause") change = admin::PauseRun{};
    if (verb == "run.stop") change = admin::StopRun{flag_of(args, "now")};
    auto answer = co_await runs_.command(*name, std::move(change));
    if (answer.error) co_return fail(*answer.error);
    auto now = co_await status_of(*name);
    if (!now) co_return fail(now.error());
    co_return Json{{"run", *name}, {"state", to_word(now->run_state)}, {"head", now->head.value}, {"next", now->next}};
}

Task<Result<Json>> AdminService::roll_back(const Json& args) {
    auto name = pick_run(args);
    if (!name) co_return fail(name.error());
    auto to = count_of(args, "to_step");
    if (!to) co_return usage("expected to_step");
    AdminVerb verb = admin::Rollback{Step{*to}, flag_of(args, "refeed"), {}};
    auto answer = co_await runs_.command(*name, std::move(verb));
    if (answer.error) co_return fail(*answer.error);
    auto now = co_await status_of(*name);
    if (!now) co_return fail(now.error());
    co_return Json{{"run", *name}, {"step", now->head.value}, {"to", *to}, {"members", now->members}, {"next", now->next}};
}

Task<Result<Json>> AdminService::configure(const Json& args) {
    auto name = pick_run(args);
    if (!name) co_return fail(name.error());
    auto before = co_await status_of(*name);
    if (!before) co_return fail(before.error());
    OuterHyper outer = before->outer;
    for (const auto& [key, value] : args.items()) {
        if (key == "run") continue;
        bool eta = key == "outer.lr";
        if (!eta && key != "outer.momentum")
            co_return fail(Errc::usage, "'" + key + "' cannot be changed in a run", "outer.lr and outer.momentum can");
        double number = value.is_number() ? value.get<double>() : -1;
        bool fits = eta ? number > 0 && number <= 10 : number >= 0 && number < 1;
        if (!fits) co_return usage(key + (eta ? ": a number above 0, at most 10" : ": a number from 0 to below 1"));
        (eta ? outer.eta : outer.mu) = static_cast<float>(number);
    }
    if (outer == before->outer) co_return usage("these are the run's outer.lr and outer.momentum already");
    AdminVerb verb = admin::Configure{outer};
    auto answer = co_await runs_.command(*name, std::move(verb));
    if (answer.error) co_return fail(*answer.error);
    auto now = co_await status_of(*name);
    if (!now) co_return fail(now.error());
    co_return Json{{"run", *name}, {"step", now->head.value}, {"members", now->members}, {"next", now->next},
                   {"outer", {{"lr", outer.eta}, {"momentum", outer.mu}}}};
}

// ---------------------------------------------------------------------------------------------- tokens

Task<Result<Json>> AdminService::create_token(const Json& args) {
    bool for_admin = text_of(args, "role") == "admin";
    std::string run;
    if (!for_admin) {
        auto name = pick_run(args);
        if (!name) co_return fail(name.error());
        run = *name;
    }
    std::uint64_t uses = count_of(args, "uses").value_or(1);
    if (uses == 0 || uses > 1'000'000) co_return usage("--uses: from 1 to 1000000");
    std::uint64_t ttl_ms = count_of(args, "ttl_ms").value_or(0);
    std::int64_t expires = ttl_ms == 0 ? 0 : runs_.wall_unix_s() + static_cast<std::int64_t>((ttl_ms + 999) / 1000);
    if (expires > 0xFFFFFFFFLL) co_return usage("--ttl: too long");
    auto info = runs_.info();
    auto kind = for_admin ? TokenKind::admin : TokenKind::join;
    std::uint16_t port = info.public_address.port != 0 ? info.public_address.port : info.port;
    auto token = make_token(info.public_address.host, port, run, kind, to_pin(info.root_id), static_cast<std::uint32_t>(expires));
    TokenRow row;
    row.id = token.id;
    row.hash = token_hash(ByteSpan(token.id.bytes), ByteSpan(token.secret.bytes));
    row.kind = kind;
    row.uses_left = for_admin ? 0 : static_cast<std::uint32_t>(uses);
    row.not_after = expires;
    row.label = text_of(args, "label").substr(0, kMaxName);
    if (for_admin) {
        auto added = tokens_.add(row);
        if (!added) co_return fail(added.error());
    } else {
        AdminVerb verb = admin::CreateToken{row};
        auto answer = co_await runs_.command(run, std::move(verb));
        if (answer.error) co_return fail(*answer.error);
    }
    Json out = token_json(row, run);
    out["token"] = to_text(token);
    co_return out;
}

Task<Result<Json>> AdminService::revoke_token(const Json& args) {
    auto id = parse_fixed_hex<TokenId>(text_of(args, "id"));
    if (!id) co_return fail(Errc::usage, "a token's id has 16 hex digits", "skerry token ls");
    auto of_admin = tokens_.revoke(*id);
    if (!of_admin) co_return fail(of_admin.error());
    if (*of_admin) co_return Json{{"id", id->hex()}, {"revoked", true}};
    for (const std::string& name : runs_.names()) {
        AdminVerb verb = admin::RevokeToken{*id};
        auto answer = co_await runs_.command(name, std::move(verb));
        if (!answer.error) co_return Json{{"id", id->hex()}, {"run", name}, {"revoked", true}};
        if (answer.error->code != Errc::not_found && answer.error->code != Errc::token_unknown) co_return fail(*answer.error);
    }
    co_return fail(Errc::not_found, "there is no token " + id->hex(), "skerry token ls");
}

Task<Result<Json>> AdminService::list_tokens(const Json& args) {
    std::string wanted = text_of(args, "run");
    Json out{{"schema", "skerry.tokens/1"}, {"tokens", Json::array()}};
    for (const std::string& name : runs_.names()) {
        if (!wanted.empty() && name != wanted) continue;
        AdminVerb verb = admin::ListTokens{};
        auto answer = co_await runs_.command(name, std::move(verb));
        if (answer.error) co_return fail(*answer.error);
        const auto* rows = std::get_if<std::vector<TokenRow>>(&answer.value);
        if (rows == nullptr) continue;
        for (const TokenRow& row : *rows) out["tokens"].push_back(token_json(row, name));
    }
    for (const TokenRow& row : tokens_.rows()) out["tokens"].push_back(token_json(row, ""));
    co_return out;
}

// ----------------------------------------------------------------------------------------------- nodes

Task<Result<Json>> AdminService::change_node(const Json& args, bool revoke) {
    auto name = pick_run(args);
    if (!name) co_return fail(name.error());
    auto status = co_await status_of(*name);
    if (!status) co_return fail(status.error());
    std::string wanted = text_of(args, "node");
    std::vector<const NodeStatus*> found;
    for (const NodeStatus& node : status->nodes) {
        bool same = node.name == wanted || (wanted.size() >= 8 && node.node.hex().starts_with(wanted));
        if (same) found.push_back(&node);
    }
    if (found.empty()) co_return fail(Errc::not_found, "run " + *name + " has no node '" + wanted + "'", "skerry nodes");
    if (found.size() > 1) co_return fail(Errc::usage, "several nodes are named '" + wanted + "'", "give the node's id");
    NodeId node = found.front()->node;
    std::string reason = text_of(args, "reason").substr(0, kMaxReason);
    if (reason.empty()) reason = "revoked by the operator";
    AdminVerb verb = admin::ClearNode{node};
    if (revoke) verb = admin::RevokeNode{node, reason};
    auto answer = co_await runs_.command(*name, std::move(verb));
    if (answer.error) co_return fail(*answer.error);
    co_return Json{{"node_id", node.hex()}, {"name", found.front()->name}, {"state", revoke ? "revoked" : "cleared"}};
}

// ------------------------------------------------------------------------------------------------ data

Task<Result<Json>> AdminService::have_shards(const Json& args) {
    auto list = args.find("shards");
    if (list == args.end() || !list->is_array() || list->size() > kMaxShardsAsked) co_return usage("expected a list 'shards'");
    Json out{{"shards", Json::array()}};
    for (const Json& one : *list) {
        auto digest = parse_fixed_hex<Digest>(one.is_string() ? one.get<std::string>() : "");
        if (!digest) co_return usage("a shard is named by 64 hex digits");
        std::function<Result<ShardPresence>()> work = [this, id = *digest] { return shards_.presence(id); };
        auto here = co_await runs_.on_files(std::move(work));
        if (!here) co_return fail(here.error());
        out["shards"].push_back({{"sha256", digest->hex()}, {"complete", here->complete}, {"bytes", here->bytes}});
    }
    co_return out;
}

Task<Result<Json>> AdminService::put_shard(const Json& args, const Bytes& block) {
    auto digest = parse_fixed_hex<Digest>(text_of(args, "sha256"));
    auto offset = count_of(args, "offset");
    auto total = count_of(args, "bytes");
    if (!digest || !offset || !total) co_return usage("expected sha256, offset and bytes");
    std::function<Result<ShardPresence>()> work = [this, id = *digest, at = *offset, all = *total, &block] {
        return shards_.append(id, at, block, all);
    };
    auto here = co_await runs_.on_files(std::move(work));
    if (!here) co_return fail(here.error());
    co_return Json{{"sha256", digest->hex()}, {"complete", here->complete}, {"bytes", here->bytes}};
}

}  // namespace skerry::coordinator
