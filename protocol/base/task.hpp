#pragma once
// The one coroutine type, and the completion token that turns errors into values.

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace skerry {

namespace asio = boost::asio;

template <class T = void>
using Task = asio::awaitable<T>;

inline constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);

}  // namespace skerry
