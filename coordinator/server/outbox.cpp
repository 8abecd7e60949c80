#include "coordinator/server/outbox.hpp"

#include <set>
#include <utility>

#include "protocol/base/log.hpp"

namespace skerry::coordinator {
namespace {

constexpr std::size_t kShedAt = 1024;

template <class... Ts>
struct Overloaded : Ts... {
    using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

Outbox::Outbox(asio::any_io_executor io, ActionSink& sink, std::chrono::milliseconds retry_after)
    : sink_(sink), retry_after_(retry_after), retry_(std::move(io)), shed_at_(kShedAt) {}

void Outbox::push(Actions actions) {
    home_.check();
    if (dead_) return;
    for (Action& action : actions) queue_.push_back(std::move(action));
    if (queue_.size() > shed_at_) shed_old_orders();
    pump();
}

void Outbox::pump() {
    if (pumping_) return;
    pumping_ = true;
    while (!queue_.empty() && !in_flight_ && !dead_) {
        if (std::holds_alternative<Persist>(queue_.front())) {
            persist_front();
            break;
        }
        Action action = std::move(queue_.front());
        queue_.pop_front();
        carry_out(std::move(action));
    }
    pumping_ = false;
}

void Outbox::carry_out(Action action) {
    std::visit(Overloaded{
                   [](Persist&) { SKERRY_ASSERT(false); },
                   [this](Send& a) { sink_.send(a.session, std::move(a.message)); },
                   [this](Close& a) { sink_.close(a.session); },
                   [this](DialBack& a) { sink_.dial_back(std::move(a)); },
                   [this](LoadDecisions& a) { sink_.load_decisions(a); },
                   [this](AdminAnswer& a) { sink_.answer(std::move(a)); },
                   [this](Note& a) { sink_.note(a); },
               },
               action);
}

void Outbox::persist_front() {
    if (!in_flight_) in_flight_ = std::make_shared<const Tx>(std::move(std::get<Persist>(queue_.front()).tx));
    sink_.persist(in_flight_, [this](const Result<void>& result) { persisted(result); });
}

void Outbox::persisted(const Result<void>& result) {
    home_.check();
    if (result) {
        bool was_full = std::exchange(disk_full_, false);
        if (was_full) log_info("disk_has_space_again");
        if (was_full) sink_.disk_full(false);
        in_flight_.reset();
        queue_.pop_front();
        pump();
        return;
    }
    if (result.error().code == Errc::disk_full) {
        bool was_full = std::exchange(disk_full_, true);
        if (!was_full) log_error("disk_full", {{"detail", result.error().detail}, {"effect", "the run holds until there is space"}});
        if (!was_full) sink_.disk_full(true);
        retry_.expires_after(retry_after_);
        retry_.async_wait([this](const boost::system::error_code& ec) {
            if (!ec && in_flight_) persist_front();
        });
        return;
    }
    dead_ = true;
    queue_.clear();
    sink_.stopped_by(result.error());
}

// Orders are states: a newer one says all that an older one said, and what it only names is asked for.
void Outbox::shed_old_orders() {
    std::set<SessionId> newer;
    std::deque<Action> kept;
    for (auto it = queue_.rbegin(); it != queue_.rend(); ++it) {
        const auto* send = std::get_if<Send>(&*it);
        bool orders = send != nullptr && std::holds_alternative<Orders>(send->message.body);
        if (orders && !newer.insert(send->session).second) continue;
        kept.push_front(std::move(*it));
    }
    queue_ = std::move(kept);
    // Whatever else there is must stay; look again only after as much again has come.
    shed_at_ = std::max(kShedAt, 2 * queue_.size());
}

}  // namespace skerry::coordinator
