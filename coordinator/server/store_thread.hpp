#pragma once
// The thread that owns every SQLite connection of the process.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <utility>

#include "protocol/base/task.hpp"

namespace skerry::coordinator {

/// `work` runs on the store thread, in order; `done(its result)` on the io thread. What both capture must live
/// until then. Calls come from the io thread.
class StoreThread {
  public:
    explicit StoreThread(asio::any_io_executor io) : io_(std::move(io)), pool_(1) {}
    /// Runs what is queued, then ends the thread.
    ~StoreThread() { pool_.join(); }

    template <class Work, class Done>
    void post(Work work, Done done) {
        asio::post(pool_, [io = io_, work = std::move(work), done = std::move(done)]() mutable {
            // shared: Asio may copy handlers of post, results need only move
            auto result = std::make_shared<decltype(work())>(work());
            asio::post(io, [result, done = std::move(done)]() mutable { done(std::move(*result)); });
        });
    }

    /// The same for coroutines.
    template <class Work>
    auto run(Work work) -> Task<decltype(work())> {
        using Value = decltype(work());
        auto start = [this, work = std::move(work)](auto handler) mutable {
            auto shared = std::make_shared<decltype(handler)>(std::move(handler));
            post(std::move(work), [shared](Value value) mutable { std::move (*shared)(std::move(value)); });
        };
        co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Value)>(std::move(start),
                                                                                         asio::use_awaitable);
    }

  private:
    asio::any_io_executor io_;
    asio::thread_pool pool_;
};

}  // namespace skerry::coordinator
