#pragma once
// The control session's envelope: who we are in which term, what is let in, what is let out, and when.
//
// Persist before tell: after a Welcome nothing is sent until term, epoch and incarnation are on disk.

#include "node/core/roster_book.hpp"

namespace skerry::node {

class SessionGate {
  public:
    SessionGate(Context& context, RosterBook& roster) : context_(context), roster_(roster) {}

    void begin(const NodeImage& image);

    void up(Step head, const Digest& h_head);
    void down();
    /// Run, term, incarnation, order: whether a message may be acted upon. Welcome and Refusal pass.
    bool admits(const ControlMessage& message);

    enum class Greeting : std::uint8_t { refused, accepted, disk_is_behind };
    Greeting on_welcome(const Welcome& welcome);
    /// A coordinator that is being rebuilt asks. Its term is stored before it is answered.
    void on_rebuild(const RebuildAsk& ask);
    /// The question that may be answered now, once.
    std::optional<RebuildAsk> take_rebuild();
    /// A roster newer than the stored one came with Orders: store it (nothing waits for that).
    void roster_changed();
    bool owns(OpId op) const { return (greeting_ && greeting_->op == op) || (later_ && later_->op == op); }
    /// Whether the session opened with this completion.
    bool on_done(const Done& done);

    bool connected() const { return state_ != State::down; }
    bool open() const { return state_ == State::open; }
    bool welcomed() const { return state_ == State::open || state_ == State::persisting; }
    Term term() const { return term_; }
    Incarnation incarnation() const { return incarnation_; }
    /// The highest that this node was ever given.
    Incarnation last_incarnation() const { return std::max(on_disk_.incarnation, incarnation_); }
    std::uint64_t dropped() const { return dropped_; }

    /// Completes the envelopes of what this event wants to send, and removes what may not leave now.
    void stamp(Actions& actions);

  private:
    enum class State : std::uint8_t { down, hello, persisting, open, rebuilding };
    struct Seen {
        Term term;
        Incarnation incarnation;
        bool operator==(const Seen&) const = default;
    };
    struct Write {
        OpId op;
        Seen seen;
    };
    void persist(std::optional<Write>& write, const Bytes& ticket);

    Context& context_;
    RosterBook& roster_;
    State state_ = State::down;
    RunId run_;
    Term term_;
    Incarnation incarnation_;  ///< in memory: 0 until the first Welcome of this process
    Seen on_disk_;
    std::uint64_t sent_ = 0;
    std::uint64_t received_ = 0;
    std::optional<Write> greeting_;  ///< what may be said waits for it
    std::optional<Write> later_;
    std::optional<RebuildAsk> rebuild_;
    std::uint64_t dropped_ = 0;
};

}  // namespace skerry::node
