#include "coordinator/app/rebuild_app.hpp"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "coordinator/app/service_keys.hpp"
#include "coordinator/core/rebuild_base.hpp"
#include "coordinator/server/connection_gate.hpp"
#include "coordinator/server/run_host.hpp"
#include "coordinator/store/sqlite_journal.hpp"
#include "protocol/base/task_group.hpp"
#include "protocol/base/within.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/session/tls.hpp"
#include "protocol/wire/signatures.hpp"

namespace skerry::coordinator {
namespace {

namespace fs = std::filesystem;
using Tcp = asio::ip::tcp;
constexpr auto kSendPatience = std::chrono::seconds(20);
constexpr auto kHandshakeWait = std::chrono::seconds(10);
constexpr auto kLookEvery = std::chrono::milliseconds(200);
constexpr auto kFinishPatience = std::chrono::seconds(2);
constexpr std::size_t kMaxSettings = 64 * 1024;

std::int64_t wall() { return static_cast<std::int64_t>(std::time(nullptr)); }
Mono now() { return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now()); }

Result<void> keep_or_write(const fs::path& file, const std::string& text, ::mode_t mode) {
    if (fs::exists(file)) return {};
    return write_small_file(file, text, mode);
}

/// Keys and coordinator.toml of a new folder; a service key that is there stays.
Result<ServiceKeys> prepare_folder(const RebuildOptions& options, const Places& places) {
    // A restored coordinator has its keys: the root key may stay where it is.
    const bool complete = fs::exists(places.config()) && fs::exists(places.service_key()) && fs::exists(places.service_certificate());
    if (options.root_key.empty() && complete) return load_service_keys(places, wall());
    if (options.root_key.empty())
        return fail(Errc::usage, places.dir.string() + " has no service key and certificate", "give --root-key FILE: it signs new ones");
    auto root = KeyPair::load(options.root_key);
    if (!root) return fail(root.error());
    for (const auto& folder : {places.dir, places.shards(), places.runs()})
        if (auto made = make_private_folder(folder); !made) return fail(made.error());
    if (!fs::exists(places.config()) && !is_name(options.name))
        return fail(Errc::usage, "there is no coordinator.toml in " + places.dir.string(), "give --name, --public and --port as they were");
    auto done = keep_or_write(places.config(), make_config_text(options.name, options.public_host, options.port), 0644);
    if (done) done = keep_or_write(places.root_certificate(), make_root_certificate(*root), 0644);
    if (done && !fs::exists(places.service_key())) done = KeyPair::generate().save(places.service_key());
    if (done) done = renew_service_certificate(places, options.root_key, wall());
    if (!done) return fail(done.error());
    return load_service_keys(places, wall());
}

Signing make_signing(const KeyPair& service) {
    Signing out;
    out.sign = [service](ByteSpan body) { return service.sign(body); };
    out.verify_vote = [](const PublicKey& key, const Digest& h, const Signature& s) { return verify_vote(key, h, s); };
    return out;
}

Result<void> write_run(const Places& places, const RebuildOptions& options, const Rebuilt& rebuilt) {
    const fs::path folder = places.run(options.run);
    std::string settings = "{}";
    fs::path settings_from = options.settings;
    if (settings_from.empty() && fs::exists(folder / "settings.json")) settings_from = folder / "settings.json";
    if (!settings_from.empty()) {
        auto text = read_small_file(settings_from, kMaxSettings);
        if (!text) return fail(text.error());
        settings = *text;
    }
    if (auto parsed = parse_run_settings(settings); !parsed) return fail(parsed.error());
    if (auto made = make_private_folder(folder); !made) return made;
    if (auto wrote = write_small_file(folder / "settings.json", settings, 0600); !wrote) return wrote;
    // Complete under another name first: a run that is there is whole.
    const fs::path fresh = folder / "rebuild.db";
    std::error_code ignored;
    for (const char* ending : {"", "-wal", "-shm", "-journal"}) fs::remove(fresh.string() + ending, ignored);
    {
        auto journal = SqliteJournal::create(fresh, rebuilt.run);
        if (!journal) return fail(journal.error());
        if (auto applied = (*journal)->apply(rebuilt.tx); !applied) return applied;
    }
    fs::rename(fresh, folder / "run.db", ignored);
    if (ignored) return fail(Errc::io_error, "cannot rename " + fresh.string() + ": " + ignored.message());
    // Known to be no older than what the nodes hold.
    fs::remove(folder / kRestoredMark, ignored);
    return {};
}

/// The database that a restore put there.
Result<Image> load_base(const fs::path& database) {
    auto journal = SqliteJournal::open(database);
    if (!journal) return fail(journal.error());
    return (*journal)->load();
}

/// Listens, keeps the desk's sessions, asks the operator.
class Drill {
  public:
    Drill(const RebuildOptions& options, Places places, ServiceKeys keys, std::optional<Image> base)
        : options_(options), places_(std::move(places)), keys_(std::move(keys)), base_(std::move(base)),
          desk_(options.run, options.confirm, make_signing(keys_.service)), acceptor_(io_), children_(io_.get_executor()) {}

    Result<void> run();

  private:
    struct Link {
        ControlStream* stream = nullptr;
        std::deque<ControlMessage> outbox;
        bool closing = false;
        std::unique_ptr<asio::steady_timer> wake;
    };
    Result<void> listen();
    Task<> life();
    Task<> accept_all();
    Task<> serve(Tcp::socket socket);
    Task<> talk(ControlStream& stream, SessionId id);
    Task<> read_all(ControlStream& stream, SessionId id);
    Task<> write_all(Link& link);
    Task<> wait_for_answers();
    Task<bool> confirmed();
    void carry_out(Actions actions);
    void show(const RebuildStatus& status);
    Result<void> conclude();

    const RebuildOptions& options_;
    Places places_;
    ServiceKeys keys_;
    std::optional<Image> base_;  ///< of a backup
    asio::io_context io_{1};
    RebuildDesk desk_;
    std::optional<TlsContext> tls_;
    Tcp::acceptor acceptor_;
    TaskGroup children_;
    ConnectionGate gate_{GateLimits{256, 128, 50}};
    std::map<SessionId, Link*> links_;
    SessionId next_{1};
    std::string shown_;
    Result<void> outcome_;
};

Result<void> Drill::listen() {
    auto config = load_config(places_.dir);
    if (!config) return fail(config.error());
    const Address address = options_.listen.value_or(config->listen);
    auto tls = TlsContext::make_server(keys_.service, keys_.service_pem, keys_.root_pem);
    if (!tls) return fail(tls.error());
    tls_ = *tls;
    boost::system::error_code ec;
    Tcp::resolver resolver(io_);
    auto found = resolver.resolve(address.host, std::to_string(address.port), ec);
    if (ec || found.empty()) return fail(Errc::config_invalid, "cannot listen on " + to_text(address) + ": " + ec.message());
    Tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), ec);
    if (!ec) acceptor_.set_option(Tcp::acceptor::reuse_address(true), ec);
    if (!ec) acceptor_.bind(endpoint, ec);
    if (!ec) acceptor_.listen(64, ec);
    if (ec) return fail(ec == asio::error::address_in_use ? Errc::port_in_use : Errc::io_error,
                        "cannot listen on " + to_text(address) + ": " + ec.message());
    std::printf("Listening on %s as the coordinator of run %s: nodes that keep dialling are heard.\n", to_text(address).c_str(),
                options_.run.c_str());
    std::fflush(stdout);
    if (options_.ready_file.empty()) return {};
    nlohmann::json json{{"port", acceptor_.local_endpoint(ec).port()}, {"pid", ::getpid()}};
    return write_small_file(options_.ready_file, json.dump() + "\n", 0644);
}

Result<void> Drill::run() {
    auto listening = listen();
    if (!listening) return listening;
    auto rethrow = [](const std::exception_ptr& error) {
        if (error) std::rethrow_exception(error);
    };
    asio::co_spawn(io_, life(), rethrow);
    io_.run();
    return outcome_;
}

Task<> Drill::life() {
    children_.spawn(accept_all());
    co_await wait_for_answers();
    acceptor_.close();
    children_.cancel();
    co_await children_.join();
    io_.stop();
}

Task<> Drill::accept_all() {
    for (;;) {
        auto [ec, socket] = co_await acceptor_.async_accept(no_throw);
        if (ec) co_return;
        boost::system::error_code gone;
        const auto remote = socket.remote_endpoint(gone);
        if (gone || !gate_.enter(remote.address().to_string(), now())) continue;
        children_.spawn(serve(std::move(socket)));
    }
}

Task<> Drill::serve(Tcp::socket socket) {
    boost::system::error_code gone;
    const std::string address = socket.remote_endpoint(gone).address().to_string();
    auto accepted = co_await accept_tls(std::move(socket), *tls_, kHandshakeWait);
    if (accepted) {
        ControlStream stream(std::move(*accepted));
        auto first = co_await within(kHandshakeWait, stream.receive());
        if (first && std::holds_alternative<Hello>(first->body)) {
            const SessionId id = next_;
            next_ = next_.next();
            Link link{&stream, {}, false, std::make_unique<asio::steady_timer>(io_)};
            links_[id] = &link;
            HelloReceived event;
            event.session = id;
            event.key = stream.frames().peer_key();
            event.node = node_id_of(event.key);
            event.hello = std::get<Hello>(first->body);
            event.remote = address;
            carry_out(desk_.hello(event));
            co_await talk(stream, id);
            links_.erase(id);
            carry_out(desk_.closed(id));
        }
        stream.frames().close();
    }
    gate_.leave(address);
}

Task<> Drill::talk(ControlStream& stream, SessionId id) {
    using namespace asio::experimental::awaitable_operators;
    stream.frames().set_receive_limit(kMaxFrame);
    auto in = read_all(stream, id);
    auto out = write_all(*links_.at(id));
    co_await (std::move(in) || std::move(out));
}

Task<> Drill::read_all(ControlStream& stream, SessionId id) {
    for (;;) {
        auto message = co_await stream.receive();
        if (!message) co_return;
        carry_out(desk_.message({id, std::move(*message)}));
    }
}

Task<> Drill::write_all(Link& link) {
    for (;;) {
        while (!link.outbox.empty()) {
            ControlMessage next = std::move(link.outbox.front());
            link.outbox.pop_front();
            auto sent = co_await within(kSendPatience, link.stream->send(std::move(next)));
            if (!sent) co_return;
        }
        if (link.closing) {
            co_await link.stream->frames().finish(kFinishPatience);
            co_return;
        }
        link.wake->expires_at(asio::steady_timer::time_point::max());
        co_await link.wake->async_wait(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return;
    }
}

void Drill::carry_out(Actions actions) {
    for (Action& action : actions) {
        auto* send = std::get_if<Send>(&action);
        auto* close = std::get_if<Close>(&action);
        const SessionId id = send ? send->session : close ? close->session : SessionId{};
        auto link = links_.find(id);
        if (link == links_.end()) continue;
        if (send) link->second->outbox.push_back(std::move(send->message));
        else link->second->closing = true;
        link->second->wake->cancel();
    }
    show(desk_.status());
}

void Drill::show(const RebuildStatus& status) {
    std::string text;
    for (const RebuildNode& node : status.nodes) {
        text += "  " + node.node.hex().substr(0, 16) + "  " + (node.name.empty() ? "?" : node.name) + "  " +
                (node.member ? "" : "in no roster  ") +
                (node.answered ? "knows " + std::to_string(node.known.value) + " decisions" + (node.prepared ? ", holds a prepared entry" : "")
                               : "has not answered") +
                "\n";
    }
    text += std::to_string(status.answered) + " of " + std::to_string(status.members) + " members answered, " +
            std::to_string(status.needed) + " are needed; head " + std::to_string(status.head.value) + "\n";
    if (!status.fork.empty()) text += "TWO CHAINS: " + status.fork + "\n";
    if (text == shown_) return;
    shown_ = text;
    std::printf("%s", text.c_str());
    std::fflush(stdout);
}

/// Reads a line from standard input.
Task<bool> Drill::confirmed() {
    std::printf("Are these your nodes, and shall the run go on from them? Type yes: ");
    std::fflush(stdout);
    asio::posix::stream_descriptor in(io_, ::dup(STDIN_FILENO));
    asio::streambuf buffer;
    auto [ec, bytes] = co_await asio::async_read_until(in, buffer, '\n', no_throw);
    std::istream text(&buffer);
    std::string line;
    std::getline(text, line);
    co_return !ec && line == "yes";
}

Task<> Drill::wait_for_answers() {
    asio::steady_timer pause(io_);
    const Mono end = now() + options_.patience;
    for (;;) {
        const RebuildStatus status = desk_.status();
        const bool late = now() >= end;
        const bool may_lose = options_.accept_loss && late && status.whole && status.answered > 0;
        if (!status.fork.empty() || status.all() || late || may_lose) break;
        pause.expires_after(kLookEvery);
        co_await pause.async_wait(no_throw);
    }
    const bool ask = !options_.yes && options_.confirm.empty();
    if (ask && desk_.status().fork.empty()) {
        const bool good = co_await confirmed();
        if (!good) {
            outcome_ = fail(Errc::bad_state, "not confirmed: nothing was written", "name your nodes with --confirm");
            co_return;
        }
    }
    outcome_ = conclude();
}

Result<void> Drill::conclude() {
    std::set<NodeId> nodes = options_.confirm;
    if (nodes.empty())
        for (const RebuildNode& node : desk_.status().nodes) nodes.insert(node.node);
    auto rebuilt = desk_.finish(nodes, options_.accept_loss);
    if (!rebuilt) return fail(rebuilt.error());
    if (base_) {
        auto kept = keep_base(*rebuilt, *base_);
        if (!kept) return kept;
        std::printf("The backup ends at step %llu.\n", static_cast<unsigned long long>(base_->head.value));
    }
    auto written = write_run(places_, options_, *rebuilt);
    if (!written) return written;
    std::printf("Run %s is rebuilt at step %llu, term %llu%s.\n", options_.run.c_str(),
                static_cast<unsigned long long>(rebuilt->head.value), static_cast<unsigned long long>(rebuilt->tx.term.value),
                rebuilt->adopted ? "; a prepared entry was found, it is decided next" : "");
    std::printf("Next:  skerry-coordinator run --dir %s\n", options_.dir.c_str());
    if (base_) std::printf("Then:  skerry data push DIR (new nodes fetch data from here); tokens are those of the backup\n");
    else std::printf("Then:  skerry data push DIR (new nodes fetch data from here), skerry token create (old tokens are gone)\n");
    std::fflush(stdout);
    return {};
}

}  // namespace

Result<void> rebuild(const RebuildOptions& options) {
    Places places{fs::absolute(options.dir)};
    if (!is_name(options.run)) return fail(Errc::usage, "--run: the run's name, as in its nodes' tokens");
    const fs::path database = places.run(options.run) / "run.db";
    const bool restored = fs::exists(places.run(options.run) / kRestoredMark) && fs::exists(database);
    if (!restored && fs::exists(database))
        return fail(Errc::already_exists, "there is a database of run " + options.run + " in " + options.dir.string(),
                    "move it away if it is to be made anew of what the nodes hold");
    auto keys = prepare_folder(options, places);
    if (!keys) return fail(keys.error());
    std::optional<Image> base;
    if (restored) {
        auto loaded = load_base(database);
        if (!loaded) return fail(loaded.error());
        base = std::move(*loaded);
    }
    Drill drill(options, std::move(places), std::move(*keys), std::move(base));
    return drill.run();
}

}  // namespace skerry::coordinator
