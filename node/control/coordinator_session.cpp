#include "node/control/coordinator_session.hpp"

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <random>

#include "protocol/base/within.hpp"

namespace skerry::node {

using namespace asio::experimental::awaitable_operators;

CoordinatorSession::CoordinatorSession(asio::any_io_executor executor, CoordinatorPeer peer,
                                       CoordinatorSessionConfig config, CoordinatorEvents& events)
    : executor_(executor),
      peer_(std::move(peer)),
      tls_(TlsContext::make_client(peer_.key)),
      config_(config),
      events_(events),
      wake_(executor),
      pause_(executor) {}

Task<> CoordinatorSession::run() {
    co_await asio::this_coro::throw_if_cancelled(false);
    for (;;) {
        ++dials_;
        Error why = co_await session();
        bool was_open = std::exchange(open_, false);
        outbox_.clear();
        redial_.reset();
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return;

        auto pause = next_pause();
        pause_.expires_after(pause);
        events_.on_lost(why, pause, was_open);
        co_await pause_.async_wait(no_throw);
        state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return;
    }
}

/// One dial and, if it works, one session. Answers why it ended.
Task<Error> CoordinatorSession::session() {
    auto dialled = co_await dial_tls(peer_.host, peer_.port, tls_, peer_.root, config_.dial_patience);
    if (!dialled) co_return dialled.error();
    auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return Error{Errc::cancelled, {}, {}};

    (*dialled)->set_receive_limit(kMaxFrame);
    ControlStream stream(std::move(*dialled));
    open_ = true;
    events_.on_session(stream.frames().peer_key());
    auto in = pump_in(stream);
    auto out = pump_out(stream);
    auto ended = co_await (std::move(in) || std::move(out));
    stream.frames().close();
    auto result = std::visit([](auto& side) { return side; }, ended);
    co_return result ? Error{Errc::closed, "the session ended", {}} : result.error();
}

Task<Result<void>> CoordinatorSession::pump_in(ControlStream& stream) {
    for (;;) {
        auto message = co_await within(config_.silence_patience, stream.receive());
        if (!message) co_return fail(message.error());
        if (std::holds_alternative<Welcome>(message->body)) failures_ = 0;
        events_.on_message(std::move(*message));
    }
}

Task<Result<void>> CoordinatorSession::pump_out(ControlStream& stream) {
    for (;;) {
        while (!outbox_.empty()) {
            ControlMessage next = std::move(outbox_.front());
            outbox_.pop_front();
            auto sent = co_await within(config_.silence_patience, stream.send(std::move(next)));
            if (!sent) co_return fail(sent.error());
        }
        if (redial_) co_return fail(Errc::closed, *redial_);
        wake_.expires_at(asio::steady_timer::time_point::max());
        co_await wake_.async_wait(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return fail(Errc::cancelled, {});
    }
}

bool CoordinatorSession::send(ControlMessage message) {
    home_.check();
    if (!open_ || redial_) return false;
    // Sequence numbers rise along the queue, so the newer Report goes to its end.
    if (std::holds_alternative<Report>(message.body))
        std::erase_if(outbox_, [](const auto& old) { return std::holds_alternative<Report>(old.body); });
    if (outbox_.size() >= config_.outbox_messages) return false;
    outbox_.push_back(std::move(message));
    wake_.cancel();
    return true;
}

void CoordinatorSession::redial(std::string reason) {
    home_.check();
    if (open_) {
        redial_ = std::move(reason);
        wake_.cancel();
    } else {
        pause_.cancel();
    }
}

std::chrono::milliseconds CoordinatorSession::next_pause() {
    static thread_local std::minstd_rand random{std::random_device{}()};
    const auto most = failures_ < config_.soon_dials ? std::min(config_.backoff_soon, config_.backoff_most) : config_.backoff_most;
    const auto whole = std::min(most, config_.backoff_first * (1 << std::min(failures_, 10U)));
    ++failures_;
    std::uniform_int_distribution<std::int64_t> draw(whole.count() / 2, whole.count());
    return std::chrono::milliseconds(draw(random));
}

}  // namespace skerry::node
