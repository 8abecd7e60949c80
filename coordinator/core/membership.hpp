#pragma once
// Where each node stands: joining, current, silent, away, leaving, left, revoked; and whether its state is right.

#include "coordinator/core/context.hpp"

namespace skerry::coordinator {

/// Turns Reports, silence and administration into node states. Each change of the roster is a new epoch in the
/// same transaction. Plans are the step machine's matter: it looks at the states afterwards.
class Membership {
  public:
    explicit Membership(Context& context) : c_(context) {}

    void report(Node& node, const Report& report);
    void session_closed(SessionId session);
    void dial_back_done(const DialBackDone& event);
    void leaving(Node& node, const Leaving& message);
    std::optional<Error> revoke(const NodeId& id, const std::string& reason);
    std::optional<Error> clear(const NodeId& id);

    /// What time alone brings: away, left, joining too long.
    void settle();

    /// The value that enough nodes reported for S_step, and by how many.
    std::optional<std::pair<Digest, std::uint32_t>> agreed(Step step) const;
    /// Nodes whose states differ with nobody to say who is right, although they loaded them again.
    std::vector<NodeId> tied() const;

    /// What a process that starts cannot remember: a diverged node has to show a state of now.
    void started();

  private:
    bool caught_up(const Node& node) const;
    void note_digests(Node& node, const Report& report);
    void check_follower(Node& node, const Report& report);
    bool all_reported(Step step) const;
    void compare_digests(Step step);
    void diverged(Node& node, Step step);
    void update_floor();
    bool may_leave(const Node& node) const;
    bool handed_over(const Node& leaver) const;
    void leave(Node& node);
    Millis away_after() const;

    Context& c_;
};

/// Reason of a node that must load its state again before it counts.
inline constexpr const char* kDiverged = "diverged";

}  // namespace skerry::coordinator
