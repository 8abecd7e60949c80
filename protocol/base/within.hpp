#pragma once
// within(patience, task): a bounded wait. On time-out the task is cancelled and the answer is Errc::timed_out.

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <variant>

#include "protocol/base/result.hpp"
#include "protocol/base/task.hpp"

namespace skerry {

namespace detail {
inline Task<> sleep_for(std::chrono::steady_clock::duration patience) {
    asio::steady_timer timer(co_await asio::this_coro::executor, patience);
    co_await timer.async_wait(no_throw);
}
}  // namespace detail

template <class T>
Task<Result<T>> within(std::chrono::steady_clock::duration patience, Task<Result<T>> task) {
    using namespace asio::experimental::awaitable_operators;
    auto timer = detail::sleep_for(patience);
    auto first = co_await (std::move(task) || std::move(timer));
    if (first.index() == 1) {
        auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
        co_return fail(Errc::timed_out, "no answer in " + std::to_string(ms) + " ms");
    }
    co_return std::get<0>(std::move(first));
}

}  // namespace skerry
