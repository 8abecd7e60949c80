#pragma once
// A coordinator's core, its journal and nodes that do what the protocol says, driven by hand.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/coordinator_core.hpp"
#include "coordinator/store/journal.hpp"

namespace skerry::test {

namespace co = coordinator;

Manifest small_manifest();
co::RunRow run_row(const Manifest& manifest);
Signature vote_signature(const PublicKey& key, const Digest& h_after);
Signature result_signature(const PublicKey& key, const Digest& plan, PieceIndex piece, const Digest& leaf);
co::Signing cheap_signing();
Digest digest_of(std::uint64_t n);

/// What a node process holds and says.
struct FakeNode {
    std::string name;
    NodeId id;
    PublicKey key;
    BootId boot;
    VersionRange versions;
    bool follow = false;
    Bytes ticket;
    Incarnation in_memory;
    Incarnation on_disk;
    Term term;
    co::SessionId session{};  ///< 0: none
    std::uint64_t seq = 0;
    std::optional<Welcome> welcome;
    std::optional<Refusal> refusal;
    std::optional<Orders> orders;  ///< the last
    std::optional<LeaseGrant> grant;
    Bytes plan_body;  ///< the last that was sent
    bool replaced = false;
    bool left = false;
    bool closed = false;
    Report report;
};

/// Carries out actions as a shell does: transactions first. Asserts that an event yields at most one.
class Rig {
  public:
    explicit Rig(std::unique_ptr<co::Journal> journal, co::CoreConfig config = {});
    /// With a journal in memory.
    explicit Rig(const Manifest& manifest = small_manifest(), co::CoreConfig config = {});

    /// Feeds an event and carries out what comes back.
    co::Actions feed(co::Event event);
    /// Lets time pass in ticks; nodes named keep reporting each second.
    void pass(Millis time, const std::vector<FakeNode*>& reporting = {});
    /// The process dies and a new one starts; nodes notice nothing yet.
    void restart();

    co::TokenRow make_token(std::uint8_t n, std::uint32_t uses = 100, std::int64_t not_after = 0);
    FakeNode& make_node(const std::string& name);
    /// Opens a session and says Hello, with the token of make_token(1) unless it has a ticket.
    void hello(FakeNode& node, std::int64_t wall = 1000);
    void hello_with(FakeNode& node, Bytes token_id, Bytes token_secret, std::int64_t wall = 1000);
    void send(FakeNode& node, ControlBody body);
    void report(FakeNode& node) { send(node, node.report); }
    void drop(FakeNode& node);

    /// Hello and Report: the node is current.
    FakeNode& join(const std::string& name);
    std::vector<LeaseInfo> lease(FakeNode& node, std::uint64_t sequences);
    /// Takes a lease if it has none, and reports READY with all of it.
    void ready(FakeNode& node, std::uint64_t contribution);
    void ready_idle(FakeNode& node);
    /// Votes for the plan in its Orders.
    void vote(FakeNode& node, std::uint64_t root, bool durable = true);
    /// Has applied what was decided: its head is the run's.
    void apply(FakeNode& node);
    std::optional<Error> admin(co::AdminVerb verb);

    Plan plan() const;  ///< in force; must exist
    bool has_plan() const;
    co::RunStatus status() const { return core->status(now); }
    const co::NodeStatus& node_status(const FakeNode& node);
    co::Image image();

    Mono now{Millis(1'000'000)};
    std::unique_ptr<co::Journal> journal;
    co::CoreConfig config;
    std::unique_ptr<co::CoordinatorCore> core;
    std::map<co::SessionId, FakeNode*> sessions;
    std::vector<co::DialBack> dials;
    std::vector<co::AdminAnswer> answers;
    std::deque<FakeNode> nodes;

  private:
    void carry_out(const co::Action& action);
    std::uint64_t next_session_ = 1;
    std::uint64_t next_request_ = 1;
    std::uint8_t next_node_ = 1;
    co::RunStatus last_status_;
};

}  // namespace skerry::test
