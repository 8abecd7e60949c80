#pragma once
// A changing set of child coroutines with one parent that outlives them.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <exception>
#include <list>
#include <utility>

#include "protocol/base/task.hpp"

namespace skerry {

/// Belongs to the executor's thread. `join` before destruction: children may use what the parent owns.
class TaskGroup {
  public:
    explicit TaskGroup(asio::any_io_executor executor) : executor_(executor), empty_(executor) {
        empty_.expires_at(asio::steady_timer::time_point::max());
    }
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;

    /// Starts `task`; it ends by itself or by `cancel`. An exception of a child ends the program.
    void spawn(Task<> task) {
        auto child = children_.emplace(children_.end());
        auto ended = [this, child](std::exception_ptr error) {
            children_.erase(child);
            if (children_.empty()) empty_.cancel();
            if (error) rethrow_unless_cancelled(error);
        };
        asio::co_spawn(executor_, std::move(task), asio::bind_cancellation_slot(child->slot(), std::move(ended)));
    }

    /// Asks all children to end. They end at their next wait.
    void cancel() {
        // A child may end within emit(), so the next one is found first.
        for (auto it = children_.begin(); it != children_.end();) (it++)->emit(asio::cancellation_type::terminal);
    }

    std::size_t size() const { return children_.size(); }

    /// Until the last child has ended.
    Task<> join() {
        while (!children_.empty()) co_await empty_.async_wait(no_throw);
    }

  private:
    // A cancelled coroutine that waits once more is ended by Asio with operation_aborted.
    static void rethrow_unless_cancelled(const std::exception_ptr& error) {
        try {
            std::rethrow_exception(error);
        } catch (const boost::system::system_error& why) {
            if (why.code() != asio::error::operation_aborted) throw;
        }
    }

    asio::any_io_executor executor_;
    asio::steady_timer empty_;
    std::list<asio::cancellation_signal> children_;
};

}  // namespace skerry
