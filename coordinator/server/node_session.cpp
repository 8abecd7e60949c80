#include "coordinator/server/node_session.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "protocol/base/log.hpp"
#include "protocol/base/within.hpp"

namespace skerry::coordinator {
namespace {

constexpr auto kSendPatience = std::chrono::seconds(20);
constexpr auto kWelcomePatience = std::chrono::seconds(30);  // a full disk may hold the answer
constexpr auto kFinishPatience = std::chrono::seconds(2);
constexpr std::size_t kMaxOutbox = 256;
constexpr double kMessagesPerS = 100;
constexpr double kMessageBurst = 400;

Mono mono_now() { return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now()); }

/// Tells the run that the session ended, however it ends.
class AtEnd {
  public:
    AtEnd(RunHost& run, SessionId id) : run_(run), id_(id) {}
    ~AtEnd() { run_.closed(id_); }
    AtEnd(const AtEnd&) = delete;
    AtEnd& operator=(const AtEnd&) = delete;

  private:
    RunHost& run_;
    SessionId id_;
};

}  // namespace

void inherit_bodies(const Orders& older, Orders& newer) {
    if (!newer.roster && older.roster && older.epoch == newer.epoch) newer.roster = older.roster;
    bool same_plan = newer.plan && older.plan && newer.plan->digest == older.plan->digest;
    if (same_plan && newer.plan->body.empty()) newer.plan->body = older.plan->body;
    if (newer.decisions.empty() && older.head == newer.head) newer.decisions = older.decisions;
}

NodeSession::NodeSession(SessionId id, ControlStream& stream, RunHost& run)
    : id_(id), stream_(stream), run_(run), rate_(kMessagesPerS, kMessageBurst), wake_(run.executor()), welcome_(run.executor(), kWelcomePatience) {
    wake_.expires_at(asio::steady_timer::time_point::max());
}

Task<> NodeSession::run(HelloReceived hello) {
    using namespace asio::experimental::awaitable_operators;
    AtEnd at_end(run_, id_);
    run_.hello(*this, std::move(hello));
    co_await (read_loop() || write_loop());
}

void NodeSession::send(ControlMessage message) {
    if (closing_) return;
    if (std::holds_alternative<Welcome>(message.body)) {
        welcomed_ = true;
        welcome_.cancel();
        stream_.frames().set_receive_limit(kMaxFrame);
    }
    if (auto* orders = std::get_if<Orders>(&message.body)) {
        for (auto it = outbox_.begin(); it != outbox_.end(); ++it) {
            const auto* older = std::get_if<Orders>(&it->body);
            if (older == nullptr) continue;
            inherit_bodies(*older, *orders);
            outbox_.erase(it);
            break;
        }
    }
    outbox_.push_back(std::move(message));
    if (outbox_.size() > kMaxOutbox) {
        LogScope scope(run_.log_context());
        log_warn("session_too_slow", {{"peer", stream_.frames().peer_name()}});
        outbox_.clear();
        closing_ = true;
    }
    changed();
}

void NodeSession::close() {
    closing_ = true;
    welcome_.cancel();
    changed();
}

void NodeSession::changed() {
    wake_.expires_at(asio::steady_timer::time_point::min());
}

Task<> NodeSession::wait_for_change() {
    co_await wake_.async_wait(no_throw);
    wake_.expires_at(asio::steady_timer::time_point::max());
}

Task<> NodeSession::read_loop() {
    // Until it is welcomed a stranger has said what it may say; the limit on its frames rises with the Welcome.
    if (!welcomed_) co_await welcome_.async_wait(no_throw);
    if (!welcomed_ && !closing_) co_return;
    asio::steady_timer pause(run_.executor());
    for (;;) {
        auto message = co_await stream_.receive();
        if (!message) {
            LogScope scope(run_.log_context());
            if (message.error().code != Errc::closed && message.error().code != Errc::cancelled)
                log_warn("session_dropped", {{"peer", stream_.frames().peer_name()}, {"why", message.error().detail}});
            co_return;
        }
        auto wait = rate_.take(1, mono_now());
        if (wait.count() > 0) {
            pause.expires_after(wait);
            co_await pause.async_wait(no_throw);
        }
        run_.message(id_, std::move(*message));
    }
}

Task<> NodeSession::write_loop() {
    for (;;) {
        while (!outbox_.empty()) {
            ControlMessage message = std::move(outbox_.front());
            outbox_.pop_front();
            auto sent = co_await within(kSendPatience, stream_.send(std::move(message)));
            if (!sent) co_return;
        }
        if (closing_) {
            co_await stream_.frames().finish(kFinishPatience);
            co_return;
        }
        co_await wait_for_change();
    }
}

}  // namespace skerry::coordinator
