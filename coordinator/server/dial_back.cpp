#include "coordinator/server/dial_back.hpp"

#include <boost/asio/ip/tcp.hpp>

#include "protocol/base/within.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {
namespace {

using Tcp = asio::ip::tcp;

Task<Result<bool>> try_connect(Tcp::endpoint endpoint) {
    Tcp::socket socket(co_await asio::this_coro::executor);
    auto [ec] = co_await socket.async_connect(endpoint, no_throw);
    co_return !ec;
}

}  // namespace

Task<bool> can_reach(std::vector<Address> addresses, std::chrono::milliseconds patience) {
    if (addresses.size() > kMaxAddresses) addresses.resize(kMaxAddresses);
    for (const Address& address : addresses) {
        boost::system::error_code ec;
        auto ip = asio::ip::make_address(address.host, ec);
        if (ec || ip.is_multicast() || ip.is_unspecified() || address.port == 0) continue;
        auto reached = co_await within(patience, try_connect(Tcp::endpoint(ip, address.port)));
        if (reached && *reached) co_return true;
    }
    co_return false;
}

}  // namespace skerry::coordinator
