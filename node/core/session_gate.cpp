#include "node/core/session_gate.hpp"

#include <algorithm>

namespace skerry::node {

void SessionGate::begin(const NodeImage& image) {
    term_ = image.term;
    on_disk_ = {image.term, image.incarnation};
    if (context_.manifest) run_ = context_.manifest->run;
}

void SessionGate::up(Step head, const Digest& h_head) {
    state_ = State::hello;
    sent_ = received_ = 0;
    greeting_.reset();
    rebuild_.reset();
    Hello hello;
    hello.incarnation_in_memory = incarnation_;
    hello.incarnation_on_disk = on_disk_.incarnation;
    hello.seen_term = term_;
    hello.seen_epoch = roster_.epoch();
    hello.head = head;
    hello.h_head = h_head;
    hello.follow = context_.config.follow;
    if (hello.follow) hello.versions.min = kVersionOfFollowers;  // an older coordinator would count on this node
    ControlMessage message;
    message.body = std::move(hello);
    context_.emit(Send{std::move(message)});
}

void SessionGate::down() {
    state_ = State::down;
    greeting_.reset();
}

bool SessionGate::admits(const ControlMessage& message) {
    bool fits = message.seq > received_;
    if (std::holds_alternative<Welcome>(message.body)) {
        fits = fits && state_ == State::hello;
    } else if (const auto* ask = std::get_if<RebuildAsk>(&message.body)) {
        fits = fits && (state_ == State::hello || state_ == State::rebuilding) && ask->term >= term_;
    } else if (std::holds_alternative<Refusal>(message.body) || std::holds_alternative<Replaced>(message.body)) {
        fits = fits && state_ != State::down;
    } else {
        // Of a lower term: a coordinator that does not know it has a successor.
        fits = fits && welcomed() && message.run == run_ && message.term == term_ && message.incarnation == incarnation_;
    }
    if (fits) received_ = message.seq;
    else ++dropped_;
    return fits;
}

SessionGate::Greeting SessionGate::on_welcome(const Welcome& welcome) {
    const bool older = welcome.term < term_ || welcome.incarnation < last_incarnation();
    if (older || (!run_.bytes.empty() && run_ != RunId{} && welcome.run != run_)) {
        context_.note("the coordinator is of an older term, or of another run", true);
        context_.emit(Redial{"older term or another run"});
        state_ = State::down;
        return Greeting::refused;
    }
    run_ = welcome.run;
    const bool same = on_disk_ == Seen{welcome.term, welcome.incarnation} && welcome.ticket.empty();
    term_ = welcome.term;
    incarnation_ = welcome.incarnation;
    const bool newer = roster_.adopt(welcome.roster);
    state_ = State::persisting;
    if (same && !newer) state_ = State::open;
    else persist(greeting_, welcome.ticket);
    return welcome.disk_is_behind ? Greeting::disk_is_behind : Greeting::accepted;
}

void SessionGate::on_rebuild(const RebuildAsk& ask) {
    state_ = State::rebuilding;
    rebuild_ = ask;
    term_ = ask.term;
    if (on_disk_.term == term_) return;
    persist(greeting_, {});
}

std::optional<RebuildAsk> SessionGate::take_rebuild() {
    if (state_ != State::rebuilding || greeting_) return std::nullopt;
    return std::exchange(rebuild_, std::nullopt);
}

void SessionGate::roster_changed() { persist(later_, {}); }

void SessionGate::persist(std::optional<Write>& write, const Bytes& ticket) {
    write = Write{context_.new_op(), {term_, last_incarnation()}};
    context_.emit(PersistSeen{write->op, term_, roster_.epoch(), write->seen.incarnation, roster_.body(), ticket});
}

bool SessionGate::on_done(const Done& done) {
    const bool waited_for = greeting_ && greeting_->op == done.op;
    const Seen written = std::exchange(waited_for ? greeting_ : later_, std::nullopt)->seen;
    if (!done.error) on_disk_ = written;
    if (!waited_for) return false;
    if (state_ != State::persisting && state_ != State::rebuilding) return false;
    if (done.error) {
        // Not on disk, so nothing may be said in this term.
        context_.emit(Redial{"the disk refuses: " + done.error->detail});
        state_ = State::down;
        return false;
    }
    if (state_ == State::rebuilding) return false;
    state_ = State::open;
    return true;
}

void SessionGate::stamp(Actions& actions) {
    std::erase_if(actions, [&](Action& action) {
        auto* send = std::get_if<Send>(&action);
        if (send == nullptr) return false;
        const bool hello = std::holds_alternative<Hello>(send->message.body);
        const bool answer = state_ == State::rebuilding && std::holds_alternative<RebuildAnswer>(send->message.body);
        if (!hello && !answer && state_ != State::open) return true;
        send->message.run = run_;
        send->message.term = term_;
        send->message.incarnation = incarnation_;
        send->message.seq = ++sent_;
        return false;
    });
}

}  // namespace skerry::node
