#include "coordinator/server/dial_back.hpp"

#include <boost/asio/ip/tcp.hpp>

#include "protocol/base/within.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {
namespace {

using Tcp = asio::ip::tcp;

/// No test of a peer's: everybody's, nobody's.
bool is_fit(const asio::ip::address& ip) { return !ip.is_multicast() && !ip.is_unspecified(); }

Task<Result<bool>> try_connect(Address address) {
    auto executor = co_await asio::this_coro::executor;
    Tcp::resolver resolver(executor);
    std::string port = std::to_string(address.port);
    auto [ec, found] = co_await resolver.async_resolve(address.host, port, no_throw);
    if (ec) co_return false;
    for (const auto& entry : found) {
        Tcp::endpoint endpoint = entry.endpoint();
        if (!is_fit(endpoint.address())) continue;
        Tcp::socket socket(executor);
        auto [refused] = co_await socket.async_connect(endpoint, no_throw);
        if (!refused) co_return true;
    }
    co_return false;
}

}  // namespace

Task<bool> can_reach(std::vector<Address> addresses, std::chrono::milliseconds patience) {
    if (addresses.size() > kMaxAddresses) addresses.resize(kMaxAddresses);
    for (const Address& address : addresses) {
        if (address.port == 0) continue;
        auto attempt = try_connect(address);
        auto reached = co_await within(patience, std::move(attempt));
        if (reached && *reached) co_return true;
    }
    co_return false;
}

}  // namespace skerry::coordinator
