#include "coordinator/app/rebuild_app.hpp"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "coordinator/app/rebuild_folder.hpp"
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
constexpr Millis kReturnPatience{30'000};    ///< for nodes that were looked at, to answer once they are confirmed
constexpr Millis kProgressPatience{60'000};  ///< while somebody is asked, and nothing comes of it

Mono now() { return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now()); }

Signing make_signing(const KeyPair& service) {
    Signing out;
    out.sign = [service](ByteSpan body) { return service.sign(body); };
    out.verify_vote = [](const PublicKey& key, const Digest& h, const Signature& s) { return verify_vote(key, h, s); };
    return out;
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
    Task<> talk(Link& link, SessionId id);
    Task<> read_all(Link& link, SessionId id);
    Task<> write_all(Link& link);
    Task<> wait_for_answers();
    Task<> settle(Mono end, Millis for_unheard);
    std::set<NodeId> listed();
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
            co_await talk(link, id);
            links_.erase(id);
            carry_out(desk_.closed(id));
        }
        stream.frames().close();
    }
    gate_.leave(address);
}

Task<> Drill::talk(Link& link, SessionId id) {
    using namespace asio::experimental::awaitable_operators;
    auto in = read_all(link, id);
    auto out = write_all(link);
    co_await (std::move(in) || std::move(out));
}

Task<> Drill::read_all(Link& link, SessionId id) {
    for (;;) {
        auto message = co_await link.stream->receive();
        if (!message) co_return;
        // The limit of a stranger, but for the answer to a question.
        link.stream->frames().set_receive_limit(kMaxFrameBeforeWelcome);
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
        if (send && std::holds_alternative<RebuildAsk>(send->message.body)) link->second->stream->frames().set_receive_limit(kMaxFrame);
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
                (node.member ? "" : "not in the newest roster  ") +
                (node.answered ? "knows " + std::to_string(node.known.value) + " decisions" + (node.prepared ? ", holds a prepared entry" : "")
                               : node.empty ? "holds nothing of the run" : "has not answered") +
                "\n";
    }
    text += std::to_string(status.answered) + " of " + std::to_string(status.members) + " members answered, " +
            std::to_string(status.needed) + " are needed";
    text += desk_.confirmed() ? "; head " + std::to_string(status.head.value) + "\n" : "\n";
    if (!status.fork.empty()) text += "TWO CHAINS: " + status.fork + "\n";
    if (!status.unproven.empty()) text += "NOT PROVEN: " + status.unproven + "\n";
    if (text == shown_) return;
    shown_ = text;
    std::printf("%s", text.c_str());
    std::fflush(stdout);
}

/// Reads a line from standard input.
Task<bool> Drill::confirmed() {
    std::printf("Are these your nodes, and shall the run go on from them? Whoever is not in the newest roster is left "
                "out.\nType yes: ");
    std::fflush(stdout);
    asio::posix::stream_descriptor in(io_, ::dup(STDIN_FILENO));
    asio::streambuf buffer;
    auto [ec, bytes] = co_await asio::async_read_until(in, buffer, '\n', no_throw);
    std::istream text(&buffer);
    std::string line;
    std::getline(text, line);
    co_return !ec && line == "yes";
}

/// Until all have answered, or it is late. `for_unheard`: how much longer nodes are waited for that were named and have
/// not answered.
Task<> Drill::settle(Mono end, Millis for_unheard) {
    asio::steady_timer pause(io_);
    Step head;
    Mono moved = now();
    for (;;) {
        carry_out(desk_.tick(now()));
        const RebuildStatus status = desk_.status();
        const bool looked_at = !desk_.confirmed() && status.members > 0 && status.answered == status.members;
        if (!status.fork.empty() || status.all() || looked_at) co_return;
        if (status.head > head) moved = now();
        head = status.head;
        const Mono last = status.asking ? std::max(end, moved) + kProgressPatience : status.unheard > 0 ? end + for_unheard : end;
        if (now() >= last) co_return;
        pause.expires_after(kLookEvery);
        co_await pause.async_wait(no_throw);
    }
}

/// Whom the list shows as a member, here or not: one that is away now may have a vote, and is heard when it comes.
std::set<NodeId> Drill::listed() {
    std::set<NodeId> out;
    for (const RebuildNode& node : desk_.status().nodes)
        if (node.member) out.insert(node.node);
    return out;
}

Task<> Drill::wait_for_answers() {
    const Mono end = now() + options_.patience;
    co_await settle(end, Millis(0));
    if (!desk_.confirmed()) {
        const std::set<NodeId> nodes = listed();
        if (desk_.status().answered == 0) {
            outcome_ = fail(Errc::bad_state, "no node answered that the newest roster names", "start the nodes, or name them with --confirm");
            co_return;
        }
        bool good = options_.yes;
        if (!good) good = co_await confirmed();
        if (!good) {
            outcome_ = fail(Errc::bad_state, "not confirmed: nothing was written", "name your nodes with --confirm");
            co_return;
        }
        carry_out(desk_.confirm(nodes));
        co_await settle(std::max(end, now()), kReturnPatience);
    }
    outcome_ = conclude();
}

Result<void> Drill::conclude() {
    auto rebuilt = desk_.finish(options_.accept_loss, options_.paused);
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
