#pragma once
// The exchange of the open step: the plan followed, the owner machines (GATHER, SERVE), the results received.
//
// Contributions belong to the step and survive a change of plan; results belong to a plan and do not.

#include <map>
#include <memory>
#include <set>

#include "node/core/asker.hpp"
#include "node/core/giver.hpp"

namespace skerry::node {

class Exchange {
  public:
    Exchange(Context& context, const RosterBook& roster, Asker& asker)
        : context_(context), roster_(roster), asker_(asker) {}

    /// Rank of plans of one step: (term of writing, attempt).
    using Rank = std::pair<Term, Attempt>;
    static Rank rank(const Plan& plan) { return {plan.term, plan.attempt}; }

    /// Follows another plan of the open step, whose turn it is (the caller has checked). Drops the results of the one
    /// followed, keeps contributions.
    void follow(std::shared_ptr<const Plan> plan, const Digest& digest, Bytes body);
    /// A prepared entry found at the start: all results are there.
    void restore(const PreparedImage& image, std::shared_ptr<const Plan> plan, const Digest& digest);
    /// The step is over (decided and in the log, or jumped over): forgets everything of it.
    void end_step(Step step);

    /// Contributions on this disk.
    void add_own(Step step, const Digest& id);
    /// A newly frozen one: its file takes the place of any other.
    void replace_own(Step step, const Digest& id) {
        own_.clear();
        add_own(step, id);
    }
    void add_gathered(Step step, const Digest& id, const std::vector<PieceIndex>& pieces);
    /// My contribution is lost: it is reported, and never offered again.
    void lose_own(const Digest& id);
    /// Their files were deleted: mine are lost, gathered ones are gathered again.
    void forget_contributions();
    bool has_own(const Digest& id) const { return own_.contains(id); }

    bool following() const { return plan_ != nullptr; }
    /// Its results were found prepared on this disk at the start.
    bool restored() const { return plan_ != nullptr && restored_; }
    const Plan& plan() const { return *plan_; }
    const Digest& digest() const { return digest_; }
    bool follows(const Digest& plan_digest) const { return plan_ != nullptr && digest_ == plan_digest; }
    bool complete() const { return plan_ != nullptr && results_have_ == results_.size(); }
    /// Merkle root of the result's leaves; complete() only.
    Digest root() const;
    bool member(const NodeId& node) const;
    /// Whether the plan binds this contribution of mine.
    bool binds(const NodeId& node, const Digest& contribution) const;
    /// Whether it binds one of mine that is here.
    bool binds_own(const NodeId& self) const;

    /// The plan was decided without me: my own pieces, too, come from who has the entry; contributions are over.
    void fetch_decided();
    void on_have(const NodeId& from, const Have& message);
    void on_gone(const NodeId& from, const Want& want);
    void on_fetched(const Fetched& fetched);
    bool owns(OpId op) const { return reducing_.contains(op); }
    /// The own contribution, if it turned out to be damaged.
    std::optional<Digest> on_done(const Done& done);
    /// A fresh connection has not heard our HAVE.
    void peer_up() { have_changed_ = plan_ != nullptr && results_have_ > 0; }
    /// Starts what can be started; HAVE at most once a second, and when all is here.
    void pump();
    Mono next_wake() const;

    /// Of whom a contribution or a result may be asked.
    std::vector<NodeId> sources(const Want& want, const std::vector<NodeId>& entry_holders) const;
    Availability look_contribution(const NodeId& asker, const ObjectRef& object, PieceIndex piece, Step head);
    /// Of the open step only; entries are the log's.
    Availability look_result(const ObjectRef& object, PieceIndex piece) const;

    ExchangeState state() const;
    /// Something may be served that could not be before.
    bool take_changed() { return std::exchange(changed_, false); }

  private:
    struct Result {
        bool have = false;
        bool reducing = false;
        bool mine = false;
        Digest leaf;
        Signature signature;
    };
    std::uint32_t chunk_size(PieceIndex piece) const;
    bool contribution_here(const Digest& id, PieceIndex piece) const;
    void want_contribution(const Participant& participant, PieceIndex piece, bool relayed);
    void want_missing();
    void want_result(PieceIndex piece);
    void try_reduce(PieceIndex piece);
    void use_have(const NodeId& from, const Have& message);
    void take_result(PieceIndex piece, const Digest& leaf, const Signature& signature);
    void on_contribution(const Fetched& fetched);
    void send_have();

    Context& context_;
    const RosterBook& roster_;
    Asker& asker_;

    Step step_;  ///< that the contributions below belong to
    std::shared_ptr<const Plan> plan_;
    Digest digest_;
    std::set<Digest> lower_;  ///< plans of this step that were superseded
    std::vector<Result> results_;
    std::size_t results_have_ = 0;
    std::map<OpId, PieceIndex> reducing_;
    std::set<Digest> own_;
    std::map<Digest, std::set<PieceIndex>> gathered_;
    std::set<NodeId> gone_;
    std::map<NodeId, std::vector<std::uint8_t>> peers_have_;
    std::map<NodeId, Have> heard_;  ///< the last of each peer, whatever it was about
    Mono have_sent_at_ = Mono::min();
    Mono disk_again_ = Mono::min();  ///< a reduction met a disk that refused: none before then
    bool have_changed_ = false;
    bool decided_ = false;
    bool restored_ = false;
    bool changed_ = false;
};

}  // namespace skerry::node
