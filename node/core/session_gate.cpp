#include "node/core/session_gate.hpp"

#include <algorithm>

namespace skerry::node {

void SessionGate::begin(const NodeImage& image) {
    term_ = image.term;
    on_disk_ = image.incarnation;
    stored_ = true;
    if (context_.manifest) run_ = context_.manifest->run;
}

void SessionGate::up(Step head, const Digest& h_head) {
    state_ = State::hello;
    sent_ = received_ = 0;
    seen_op_.reset();
    rebuild_.reset();
    Hello hello;
    hello.incarnation_in_memory = incarnation_;
    hello.incarnation_on_disk = on_disk_;
    hello.seen_term = term_;
    hello.seen_epoch = roster_.epoch();
    hello.head = head;
    hello.h_head = h_head;
    ControlMessage message;
    message.body = std::move(hello);
    context_.emit(Send{std::move(message)});
}

void SessionGate::down() {
    state_ = State::down;
    seen_op_.reset();
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
    const bool older = welcome.term < term_ || welcome.incarnation < std::max(on_disk_, incarnation_);
    if (older || (!run_.bytes.empty() && run_ != RunId{} && welcome.run != run_)) {
        context_.note("the coordinator is of an older term, or of another run", true);
        context_.emit(Redial{"older term or another run"});
        state_ = State::down;
        return Greeting::refused;
    }
    run_ = welcome.run;
    const bool same = stored_ && welcome.term == term_ && welcome.incarnation == on_disk_ && welcome.ticket.empty();
    term_ = welcome.term;
    incarnation_ = on_disk_ = welcome.incarnation;
    const bool newer = roster_.adopt(welcome.roster);
    state_ = State::persisting;
    if (same && !newer) state_ = State::open;
    else {
        stored_ = false;
        persist(seen_op_, welcome.ticket);
    }
    return welcome.disk_is_behind ? Greeting::disk_is_behind : Greeting::accepted;
}

void SessionGate::on_rebuild(const RebuildAsk& ask) {
    state_ = State::rebuilding;
    rebuild_ = ask;
    if (ask.term == term_ && stored_) return;
    term_ = ask.term;
    stored_ = false;
    seen_op_ = context_.new_op();
    context_.emit(PersistSeen{*seen_op_, term_, roster_.epoch(), last_incarnation(), roster_.body(), {}});
}

std::optional<RebuildAsk> SessionGate::take_rebuild() {
    if (state_ != State::rebuilding || seen_op_) return std::nullopt;
    return std::exchange(rebuild_, std::nullopt);
}

void SessionGate::roster_changed() { persist(later_op_, {}); }

void SessionGate::persist(std::optional<OpId>& op, const Bytes& ticket) {
    op = context_.new_op();
    context_.emit(PersistSeen{*op, term_, roster_.epoch(), incarnation_, roster_.body(), ticket});
}

bool SessionGate::on_done(const Done& done) {
    if (done.op == later_op_) {
        later_op_.reset();
        return false;
    }
    seen_op_.reset();
    if (state_ != State::persisting && state_ != State::rebuilding) return false;
    if (done.error) {
        // Not on disk, so nothing may be said in this term.
        context_.emit(Redial{"the disk refuses: " + done.error->detail});
        state_ = State::down;
        return false;
    }
    stored_ = true;
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
