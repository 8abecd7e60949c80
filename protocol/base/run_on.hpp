#pragma once
// run_on(pool, work): runs blocking work on another thread and comes back with its result.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <type_traits>
#include <utility>

#include "protocol/base/task.hpp"

namespace skerry {

/// `work` must own, or outlive, all it touches: a cancelled waiter does not stop it. Its result comes back on the
/// executor of the coroutine that waits.
template <class Work>
Task<std::invoke_result_t<Work&>> run_on(asio::any_io_executor pool, Work work) {
    using Value = std::invoke_result_t<Work&>;
    asio::any_io_executor home = co_await asio::this_coro::executor;
    auto initiate = [](auto handler, asio::any_io_executor there, asio::any_io_executor back, Work job) {
        asio::post(there, [handler = std::move(handler), back = std::move(back), job = std::move(job)]() mutable {
            Value value = job();
            asio::post(back, [handler = std::move(handler), value = std::move(value)]() mutable {
                std::move(handler)(std::move(value));
            });
        });
    };
    co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Value)>(
        std::move(initiate), asio::use_awaitable, std::move(pool), std::move(home), std::move(work));
}

}  // namespace skerry
