#pragma once
// What the coordinator keeps: the rows of the journal, one transaction of it, and the image loaded at a start.
// Plain values; the core speaks these, store/ turns them into SQL.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "protocol/identity/token.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::coordinator {

/// The one row of `meta`, without `term` (which only ClaimTerm raises).
struct MetaRow {
    Epoch epoch;
    LeaseId next_lease{1};       ///< the next id to give out; never falls
    std::uint64_t tail = 0;      ///< positions from here on were never leased
    std::uint64_t void_sequences = 0;  ///< credited to steps that a rollback undid, and not fed again
    RunState run_state = RunState::created;
    std::string end_reason;      ///< why the run is stopped; for people
    bool loss_to_record = false; ///< rebuilt from too few nodes: the chain has to say so before anything else
    friend bool operator==(const MetaRow&, const MetaRow&) = default;
};

/// A join token. The secret itself is known to its bearer only.
struct TokenRow {
    TokenId id;
    Digest hash;  ///< token_hash(id, secret)
    TokenKind kind = TokenKind::join;
    std::uint32_t uses_left = 1;
    std::int64_t not_after = 0;  ///< Unix seconds; 0: never
    bool revoked = false;
    std::string label;
    friend bool operator==(const TokenRow&, const TokenRow&) = default;
};

/// What a node has given besides tokens. Its processes count bytes from zero each: `sent` and `received` are of the
/// present one, what earlier ones reached is in `_before`.
struct Given {
    std::uint64_t steps = 0;       ///< decided steps that its data is in
    std::uint64_t steps_here = 0;  ///< decided while it was here, those included
    std::uint64_t active_ms = 0;   ///< that those took
    std::int64_t since_unix_s = 0; ///< first admitted; 0: not known (after a rebuild)
    std::uint64_t sent_before = 0;
    std::uint64_t sent = 0;
    std::uint64_t received_before = 0;
    std::uint64_t received = 0;
    /// Counters of a new process follow.
    void new_process() {
        sent_before += std::exchange(sent, 0);
        received_before += std::exchange(received, 0);
    }
    friend bool operator==(const Given&, const Given&) = default;
};

struct NodeRow {
    NodeId node;
    PublicKey key;
    std::string name;
    std::string site;
    NodeState state = NodeState::joining;
    Incarnation incarnation;
    BootId boot;   ///< of the process that has this incarnation; zero: not known (after a rebuild)
    Bytes ticket;  ///< empty: none given (after a rebuild)
    CurveKey curve;
    std::vector<Address> addresses;
    bool reachable = false;
    Epoch since_epoch;
    std::string reason;          ///< of the state; for people
    std::uint32_t diverged = 0;  ///< times its state differed from the agreed one
    std::uint64_t credited_tokens = 0;
    Given given;
    friend bool operator==(const NodeRow&, const NodeRow&) = default;
};

/// An open lease: positions [done, hi) are out with the holder, [lo, done) are credited.
struct LeaseRow {
    LeaseId id;
    std::uint64_t lo = 0;
    std::uint64_t hi = 0;
    std::uint64_t done = 0;
    NodeId holder;
    Step granted_at;
    friend bool operator==(const LeaseRow&, const LeaseRow&) = default;
};

/// The plan in force; `body` is canonical.
struct PlanRow {
    Step step;
    Term term;
    Attempt attempt;
    Epoch epoch;
    Digest digest;
    Bytes body;
    /// Found prepared at a rebuild: it may have been decided already, so nothing but its decision ends it.
    bool must_end_decided = false;
    friend bool operator==(const PlanRow&, const PlanRow&) = default;
};

enum class PlanEnd : std::uint8_t { decided = 1, superseded, withdrawn };

struct DecisionRow {
    Step step;
    EntryKind kind = EntryKind::commit;
    Term term;        ///< of the plan's writing
    Attempt attempt;
    Digest plan_digest;
    std::uint64_t tokens_after = 0;
    Digest h_after;
    SignedDecision record;
    friend bool operator==(const DecisionRow&, const DecisionRow&) = default;
};

/// The row of a record; none if it does not parse.
std::optional<DecisionRow> to_row(SignedDecision record);

/// The answer to a lease request, kept so that a repeated request gets the same one.
struct RequestRow {
    NodeId node;
    Incarnation incarnation;
    std::uint64_t request_id = 0;
    std::vector<LeaseInfo> leases;
    friend bool operator==(const RequestRow&, const RequestRow&) = default;
};

struct DigestRow {
    Step step;  ///< of S_step
    NodeId node;
    Digest value;
    friend bool operator==(const DigestRow&, const DigestRow&) = default;
};

/// One typed row operation. The comment says what the journal checks inside the transaction.
namespace op {
/// First transaction of a process; the only one not checked by `term = mine`. Check: value above the stored term.
struct ClaimTerm { Term term; };
struct PutMeta { MetaRow meta; };          ///< check: epoch, next_lease, tail never fall
struct PutToken { TokenRow token; };
struct PutNode { NodeRow node; };          ///< check: incarnation never falls
struct PutRoster { SignedBody roster; Epoch epoch; };  ///< check: epoch rises
struct PutLease { LeaseRow lease; };       ///< a new lease; check: the id was never used
/// Credits [from, to): check: lease exists, is `holder`'s, `done` = from, to <= hi. done := to.
struct CreditLease { LeaseId id; NodeId holder; std::uint64_t from = 0; std::uint64_t to = 0; };
struct DropLease { LeaseId id; };          ///< check: exists
struct PutFree { std::uint64_t lo = 0; std::uint64_t hi = 0; };
struct DropFree { std::uint64_t lo = 0; };  ///< check: exists
/// The plan in force. Check: step has no decision and is head; no other plan row (EndPlan first);
/// (term, attempt) above all of this step in plan_log.
struct PutPlan { PlanRow plan; };
/// Ends the plan in force. Check: it is the one in force. `decided` comes after PutDecision.
struct EndPlan { Digest digest; PlanEnd end = PlanEnd::superseded; std::string reason; };
/// Check: step = head, plan row in force has this step, term, attempt and digest; primary key.
struct PutDecision { DecisionRow decision; };
struct PutDigest { DigestRow digest; };    ///< replaces
struct PutRequest { RequestRow request; }; ///< the last 64 of a node are kept
struct DropRequests { NodeId node; };
}  // namespace op

using Op = std::variant<op::ClaimTerm, op::PutMeta, op::PutToken, op::PutNode, op::PutRoster, op::PutLease,
                        op::CreditLease, op::DropLease, op::PutFree, op::DropFree, op::PutPlan, op::EndPlan,
                        op::PutDecision, op::PutDigest, op::PutRequest, op::DropRequests>;

/// One transaction: all of `ops` in order, or none. Checked against `term = mine`.
struct Tx {
    Term term;
    std::vector<Op> ops;
};

/// What a run is born with.
struct RunRow {
    Bytes manifest;       ///< canonical body
    Bytes data_manifest;  ///< the JSON file
    friend bool operator==(const RunRow&, const RunRow&) = default;
};

/// Everything a core starts from. Lists are sorted by their keys.
struct Image {
    RunRow run;
    Term term;  ///< of the last process; the core claims the next one
    MetaRow meta;
    std::vector<TokenRow> tokens;
    std::vector<NodeRow> nodes;
    std::vector<LeaseRow> leases;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> free_ranges;
    std::optional<PlanRow> plan;
    Attempt last_attempt;                ///< highest of step `head` in plan_log; 0: none
    Step head;                           ///< decisions recorded
    /// The newest kImageDecisions, oldest first; with a rollback in force all that it would undo, and the one before.
    std::vector<DecisionRow> decisions;
    std::vector<std::pair<Step, Step>> rollbacks;  ///< all: (step that it went back to, its own), ascending
    std::optional<Step> first_change;    ///< the first decision of another kind than commit
    std::vector<DigestRow> digests;      ///< of the newest kImageDigestSteps states
    std::vector<RequestRow> requests;    ///< oldest first
    friend bool operator==(const Image&, const Image&) = default;
};

inline constexpr std::size_t kImageDecisions = 64;
inline constexpr std::size_t kImageDigestSteps = 4096;
inline constexpr std::size_t kRequestsPerNode = 64;

/// Of `Image::decisions`.
Step first_decision_needed(Step head, const std::optional<PlanRow>& plan);

}  // namespace skerry::coordinator
