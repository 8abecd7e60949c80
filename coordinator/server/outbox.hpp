#pragma once
// Carries out the core's actions strictly in order: nothing passes a transaction before it is durable.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>

#include "coordinator/core/events.hpp"
#include "protocol/base/task.hpp"
#include "protocol/base/thread_home.hpp"

namespace skerry::coordinator {

/// Where actions go. Calls come on the io thread and must not call back into the core before they return.
class ActionSink {
  public:
    virtual ~ActionSink() = default;
    /// Makes it durable, then calls `done` on the io thread.
    virtual void persist(std::shared_ptr<const Tx> tx, std::function<void(Result<void>)> done) = 0;
    virtual void send(SessionId session, ControlMessage message) = 0;
    virtual void close(SessionId session) = 0;
    virtual void dial_back(DialBack action) = 0;
    virtual void load_decisions(LoadDecisions action) = 0;
    virtual void answer(AdminAnswer answer) = 0;
    virtual void note(const Note& note) = 0;
    /// A transaction began, or ceased, to wait for disk space.
    virtual void disk_full(bool full) = 0;
    /// The journal cannot go on (I/O error, another process took over, a check failed). Nothing more is carried
    /// out; the process is to end.
    virtual void stopped_by(const Error& why) = 0;
};

/// A full disk holds everything behind the transaction; it is tried again every `retry_after` and said once. While
/// that lasts, older Orders to a session give way to newer ones, so the queue stays bounded.
class Outbox {
  public:
    Outbox(asio::any_io_executor io, ActionSink& sink,
           std::chrono::milliseconds retry_after = std::chrono::milliseconds(1000));

    /// Queues behind what is there, carries out what can be.
    void push(Actions actions);
    bool empty() const { return queue_.empty(); }
    /// A transaction waits for disk space.
    bool disk_is_full() const { return disk_full_; }
    std::size_t size() const { return queue_.size(); }

  private:
    void pump();
    void carry_out(Action action);
    void persist_front();
    void persisted(const Result<void>& result);
    void shed_old_orders();

    ActionSink& sink_;
    std::chrono::milliseconds retry_after_;
    asio::steady_timer retry_;
    std::deque<Action> queue_;
    std::shared_ptr<const Tx> in_flight_;
    std::size_t shed_at_;
    bool pumping_ = false;
    bool disk_full_ = false;
    bool dead_ = false;
    ThreadHome home_;
};

}  // namespace skerry::coordinator
