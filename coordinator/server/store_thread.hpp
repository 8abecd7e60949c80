#pragma once
// The thread that owns every SQLite connection of the process.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <utility>

#include "protocol/base/run_on.hpp"
#include "protocol/base/thread_name.hpp"

namespace skerry::coordinator {

/// `work` runs on the store thread, in order; `done(its result)` on the io thread. What both capture must live
/// until then. Calls come from the io thread.
class StoreThread {
  public:
    explicit StoreThread(asio::any_io_executor io) : io_(std::move(io)), pool_(1) { name_thread(pool_, "store"); }
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

    /// The same for coroutines of the io thread.
    template <class Work>
    auto run(Work work) -> Task<decltype(work())> {
        return run_on(pool_.get_executor(), std::move(work));
    }

  private:
    asio::any_io_executor io_;
    asio::thread_pool pool_;
};

}  // namespace skerry::coordinator
