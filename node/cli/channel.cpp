#include "node/cli/channel.hpp"

#include <iostream>
#include <nlohmann/json.hpp>

#include "node/cli/wait_for.hpp"
#include "protocol/admin/admin_client.hpp"
#include "protocol/config/address.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/socket_path.hpp"
#include "protocol/identity/token.hpp"
#include "protocol/session/local.hpp"
#include "protocol/session/tls.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
constexpr auto kDialPatience = std::chrono::milliseconds(10'000);
constexpr std::size_t kMaxTokenFile = 4096;

}  // namespace

struct Channel::Impl {
    asio::io_context io;
    std::unique_ptr<ControlStream> stream;
    Bytes token_id;
    Bytes token_secret;
    std::uint64_t next_id = 1;
};

Channel::Channel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Channel::~Channel() = default;
Channel::Channel(Channel&&) noexcept = default;
Channel& Channel::operator=(Channel&&) noexcept = default;

Result<std::string> read_token_text(const std::string& argument, const std::string& file) {
    std::string text = argument;
    if (!file.empty()) {
        auto read = read_small_file(file, kMaxTokenFile);
        if (!read) return fail(read.error());
        text = *read;
    } else if (argument == "-") {
        std::getline(std::cin, text);
    }
    auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string::npos) return fail(Errc::usage, "no token was given", "skerry join 'skerry://...'");
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

namespace {

Result<std::unique_ptr<FrameStream>> open_local(asio::io_context& io, const std::filesystem::path& socket) {
    auto name = SocketPath::make(socket);
    if (!name) return fail(name.error());
    return wait_for(io, dial_local(name->text()));
}

}  // namespace

Result<Channel> Channel::to_agent(const std::string& dir) {
    auto impl = std::make_unique<Impl>();
    auto opened = open_local(impl->io, std::filesystem::path(dir) / "agent.sock");
    if (!opened) {
        bool folder = std::filesystem::exists(std::filesystem::path(dir) / "node.toml");
        if (!folder) return fail(Errc::not_found, "there is no node in " + dir, "skerry join TOKEN --dir " + dir);
        return fail(Errc::unreachable, "the node in " + dir + " is not running", "skerry-node run --dir " + dir);
    }
    impl->stream = std::make_unique<ControlStream>(std::move(*opened));
    impl->stream->frames().set_receive_limit(kMaxFrame);
    return Channel(std::move(impl));
}

Result<Channel> Channel::to_coordinator(const Context& context) {
    auto impl = std::make_unique<Impl>();
    if (!context.coordinator_dir.empty()) {
        auto opened = open_local(impl->io, std::filesystem::path(context.coordinator_dir) / "admin.sock");
        if (!opened) {
            bool there = std::filesystem::exists(std::filesystem::path(context.coordinator_dir) / "coordinator.toml");
            if (!there) return fail(Errc::not_found, "there is no coordinator in " + context.coordinator_dir, "skerry-coordinator init");
            return fail(Errc::unreachable, "the coordinator in " + context.coordinator_dir + " is not running",
                        "skerry-coordinator run --dir " + context.coordinator_dir);
        }
        impl->stream = std::make_unique<ControlStream>(std::move(*opened));
        impl->stream->frames().set_receive_limit(kMaxFrame);
        return Channel(std::move(impl));
    }
    if (context.token_file.empty())
        return fail(Errc::usage, "which coordinator?", "--coordinator-dir DIR, or --token-file ADMIN-TOKEN [--coordinator HOST:PORT]");
    auto text = read_token_text("", context.token_file);
    if (!text) return fail(text.error());
    auto token = parse_token(*text);
    if (!token) return fail(token.error());
    if (token->kind != TokenKind::admin)
        return fail(Errc::usage, "this token joins nodes, it does not administer", "skerry token create --role admin");
    Address address{token->host, token->port};
    if (!context.coordinator.empty()) {
        auto given = parse_address(context.coordinator, kDefaultPort);
        if (!given) return fail(given.error());
        address = *given;
    }
    auto tls = TlsContext::make_client(KeyPair::generate());
    auto dialled = wait_for(impl->io, dial_tls(address.host, address.port, tls, token->root, kDialPatience));
    if (!dialled) return fail(dialled.error());
    impl->stream = std::make_unique<ControlStream>(std::move(*dialled));
    impl->stream->frames().set_receive_limit(kMaxFrame);
    impl->token_id.assign(token->id.bytes.begin(), token->id.bytes.end());
    impl->token_secret.assign(token->secret.bytes.begin(), token->secret.bytes.end());
    Channel channel(std::move(impl));
    // The first request is taken under the limit for strangers: it only shows the token.
    auto welcome = channel.call("ping", Json::object());
    if (!welcome) return fail(welcome.error());
    return channel;
}

Result<Json> Channel::call(const std::string& verb, const Json& args, Bytes data, std::chrono::milliseconds patience) {
    AdminRequest request;
    request.id = impl_->next_id++;
    request.verb = verb;
    request.json = args.dump(-1, ' ', false, Json::error_handler_t::replace);
    request.data = std::move(data);
    request.token_id = impl_->token_id;
    request.token_secret = impl_->token_secret;
    auto reply = wait_for(impl_->io, ask_admin(*impl_->stream, std::move(request), patience));
    if (!reply) return fail(reply.error());
    Json json = Json::parse(reply->json, nullptr, false);
    if (json.is_discarded()) return fail(Errc::malformed, "the answer to " + verb + " is no JSON");
    return json;
}

}  // namespace skerry::node
