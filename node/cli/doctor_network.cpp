// skerry doctor: ports and the way to the coordinator, each part of it with a verdict of its own.

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include "node/cli/doctor.hpp"
#include "protocol/base/descriptor.hpp"
#include "protocol/config/address.hpp"
#include "protocol/session/tls.hpp"

namespace skerry::node {
namespace {

constexpr int kConnectMs = 5000;
constexpr auto kDialPatience = std::chrono::milliseconds(8000);

struct FreeList {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, FreeList>;

Result<AddressList> resolve(const std::string& host, std::uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* found = nullptr;
    const int failed = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (failed != 0) return fail(Errc::unreachable, ::gai_strerror(failed));
    return AddressList(found);
}

std::string numeric(const addrinfo& address) {
    char host[NI_MAXHOST] = "";
    ::getnameinfo(address.ai_addr, address.ai_addrlen, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
    return host;
}

/// 0, or why not.
int connect_to(const addrinfo& address) {
    OwnedDescriptor fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return errno;
    if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    pollfd wait{fd.get(), POLLOUT, 0};
    if (::poll(&wait, 1, kConnectMs) <= 0) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

bool is_any(const std::string& host) { return host.empty() || host == "0.0.0.0" || host == "::" || host == "*"; }

/// 0, or why nobody can listen there.
int try_to_listen(const Address& where) {
    auto list = resolve(is_any(where.host) ? "" : where.host, where.port, AI_PASSIVE);
    if (!list) return EADDRNOTAVAIL;
    OwnedDescriptor fd(::socket((*list)->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (::bind(fd.get(), (*list)->ai_addr, (*list)->ai_addrlen) != 0) return errno;
    return ::listen(fd.get(), 1) == 0 ? 0 : errno;
}

/// TLS and the coordinator's key; nothing is sent.
Result<void> greet(const Address& where, const RootPin& pin) {
    asio::io_context io;
    Result<void> out = fail(Errc::timed_out, "no answer");
    auto dial = [&]() -> Task<> {
        auto tls = TlsContext::make_client(KeyPair::generate());
        auto dialled = co_await dial_tls(where.host, where.port, tls, pin, kDialPatience);
        if (dialled) out = Result<void>{};
        else out = fail(dialled.error());
    };
    asio::co_spawn(io, dial(), [](std::exception_ptr) {});
    io.run();
    return out;
}

}  // namespace

void Doctor::look_at_ports() {
    if (!config_ || agent_runs_) return;  // what runs holds its ports
    if (config_->listen == "none") return ok("ports", "this machine only dials");
    const Address where = parse_address(config_->listen, kDataPort).value();
    const std::string port = std::to_string(where.port);
    const int why = where.port == 0 ? 0 : try_to_listen(where);
    if (why == EADDRINUSE)
        return bad("ports", Errc::port_in_use, "another program listens on port " + port + " of the data plane",
                   "ss -ltnp 'sport = :" + port + "'  names it; or another port: listen in " + folder().config().string());
    if (why != 0)
        return bad("ports", Errc::port_in_use, "cannot listen on " + config_->listen + ": " + std::strerror(why), "listen = \"0.0.0.0:7610\" in " + folder().config().string());
    ok("ports", config_->listen + " is free");
}

void Doctor::look_at_coordinator() {
    if (!token_ && context_.coordinator.empty()) return;
    Address where = token_ ? Address{token_->host, token_->port} : Address{};
    if (!context_.coordinator.empty()) {
        auto given = parse_address(context_.coordinator, kDefaultPort);
        if (!given) return bad("coordinator", given.error().code, given.error().detail, "--coordinator HOST:PORT");
        where = *given;
    }
    const std::string name = to_text(where);
    auto list = resolve(where.host, where.port, 0);
    if (!list)
        return bad("dns", Errc::unreachable, "the name " + where.host + " has no address: " + list.error().detail, "getent hosts " + where.host + "; is the name right? Ask the operator");
    ok("dns", where.host + " is " + numeric(**list));
    int why = 0;
    for (const addrinfo* one = list->get(); one != nullptr; one = one->ai_next)
        if (why = connect_to(*one); why == 0) break;
    if (why == ECONNREFUSED)
        return bad("tcp", Errc::unreachable, name + " is there, but nobody listens on that port", "ask the operator whether the coordinator runs: skerry-coordinator run --dir DIR");
    if (why != 0)
        return bad("tcp", Errc::unreachable, name + ": " + std::strerror(why), "a firewall or no route: ping " + where.host + "; outgoing TCP to port " + std::to_string(where.port) + " must be allowed");
    ok("tcp", name + " takes connections");
    if (!token_) return warn("tls", "without a token there is no key to compare with", "skerry doctor --dir NODEDIR");
    auto greeted = greet(where, token_->root);
    if (greeted) {
        ok("key", "that of the token, and its certificate is valid by this machine's clock");
        return ok("version", "both speak skerry/1");
    }
    const Error& error = greeted.error();
    if (error.code == Errc::wrong_coordinator)
        return bad("key", error.code, error.detail, "compare fingerprints with the operator; is the clock right? date -u");
    if (error.code == Errc::version_mismatch) {
        return bad("version", error.code, error.detail, "install the version that the operator names");
    }
    bad("tls", error.code, name + " takes connections but does not speak TLS like a coordinator: " + error.detail, "is the port right? Ask the operator");
}

}  // namespace skerry::node
