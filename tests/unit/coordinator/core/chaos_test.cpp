// Nodes that say anything at any time, and a coordinator that dies now and then: what they say never reaches an
// assertion, the journal's checks always hold, and no position is credited twice.

#include <gtest/gtest.h>

#include <random>

#include "protocol/wire/canonical.hpp"
#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

class Chaos {
  public:
    explicit Chaos(std::uint64_t seed) : random_(seed), rig_(manifest()) {
        for (const char* name : {"a", "b", "c", "d"}) rig_.make_node(name);
        rig_.admin(co::admin::StartRun{});
    }

    void run(int events) {
        for (int i = 0; i < events; ++i) {
            rig_.now += Millis(below(400));
            act(rig_.nodes[below(rig_.nodes.size())]);
            check();
        }
    }

  private:
    static Manifest manifest() {
        Manifest m = small_manifest();
        m.target_tokens = 100'000;
        m.round_ms = 3000;
        return m;
    }

    std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
    bool chance(int percent) { return below(100) < static_cast<std::size_t>(percent); }
    const MemoryJournal& journal() { return static_cast<const MemoryJournal&>(*rig_.journal); }

    void act(FakeNode& node) {
        if (node.session == co::SessionId{}) {
            connect(node);
            return;
        }
        switch (below(24)) {
            case 0: rig_.drop(node); break;
            case 1: rig_.feed(co::Tick{}); break;
            case 2: rig_.lease(node, below(40)); break;
            case 3: rig_.send(node, LeaseReturn{{LeaseId{below(50)}}}); break;
            case 4: rig_.send(node, DecisionsRequest{Step{below(1000)}}); break;
            case 5: rig_.send(node, Leaving{chance(50) ? LeaveWhen::now : LeaveWhen::after_step}); break;
            case 6: rig_.send(node, nonsense_blame(node)); break;
            case 7: rig_.feed(co::DialBackDone{node.id, node.in_memory, chance(50)}); break;
            case 8: restart_sometimes(); break;
            case 9: admin(node); break;
            case 10: rig_.send(node, Welcome{}); break;
            case 11: node.report.digests = {{node.report.head, digest_of(chance(90) ? 1 : 2)}}; break;
            case 12: node.report.snapshots = {Step{below(node.report.head.value + 3)}}; break;
            case 13: node.report.disk_full = chance(10); break;
            case 14: node.report.paused = chance(10); break;
            default: behave(node); break;
        }
        if (node.session != co::SessionId{} && chance(70)) rig_.report(node);
    }

    void connect(FakeNode& node) {
        if (chance(30)) {  // a fresh process
            node.boot.bytes[1]++;
            node.in_memory = {};
            if (chance(10)) node.on_disk = Incarnation{random_()};
        }
        if (chance(2)) node.term = Term{random_()};
        else node.term = std::min(node.term, rig_.core->term());
        rig_.hello(node);
        if (node.refusal && node.refusal->code == Errc::database_behind) rig_.admin(co::admin::RevokeNode{node.id, ""});
        if (node.refusal && node.refusal->code == Errc::revoked) rig_.admin(co::admin::ClearNode{node.id});
    }

    void behave(FakeNode& node) {
        const auto s = rig_.status();
        if (node.report.head < s.head) return rig_.apply(node);
        if (!rig_.has_plan()) {
            if (!node.orders) return;
            if (chance(10)) return rig_.ready_idle(node);
            rig_.ready(node, random_());
            if (chance(5) && !node.report.ready->segments.empty()) {
                Segment& s0 = node.report.ready->segments[0];
                (chance(50) ? s0.from : s0.to) += random_() % 3;
                node.report.ready->weight_tokens = random_() % 500;
            }
            return;
        }
        if (!node.orders || !node.orders->plan) return;
        if (chance(10)) {
            node.report.exchange = ExchangeState{};
            node.report.exchange->plan = rig_.image().plan->digest;
            node.report.exchange->results_have = static_cast<std::uint32_t>(below(100));
            if (chance(20)) node.report.exchange->gone = {rig_.nodes[below(4)].id};
            if (chance(20)) node.report.exchange->stalled = {{rig_.nodes[below(4)].id, true, 1}};
            return;
        }
        rig_.vote(node, chance(97) ? 1 : 2, chance(90));
    }

    Blame nonsense_blame(const FakeNode& by) {
        Blame blame;
        if (rig_.has_plan()) blame.plan = rig_.image().plan->digest;
        blame.piece = PieceIndex{static_cast<std::uint32_t>(below(8))};
        blame.kind = chance(50) ? BlameKind::bad_contribution : BlameKind::two_results;
        blame.accused = chance(90) ? rig_.nodes[below(4)].id : by.id;
        blame.evidence = Bytes(below(400), static_cast<std::uint8_t>(below(256)));
        return blame;
    }

    void restart_sometimes() {
        if (chance(30)) rig_.restart();
    }

    void admin(const FakeNode& node) {
        switch (below(12)) {
            case 0: rig_.admin(co::admin::RevokeNode{node.id, "test"}); break;
            case 1: rig_.admin(co::admin::PauseRun{}); break;
            case 2: rig_.admin(co::admin::StopRun{chance(50)}); break;
            default: rig_.admin(co::admin::StartRun{}); break;
        }
        rig_.admin(co::admin::GetStatus{});
    }

    void check() {
        std::uint64_t credited = 0;
        for (; checked_ < journal().all_decisions().size(); ++checked_) {
            const auto decision = parse_decision(journal().all_decisions()[checked_].record.decision.body);
            ASSERT_TRUE(decision);
            for (const Credit& c : decision->credits)
                for (const Segment& s : c.segments)
                    for (std::uint64_t x = s.from; x < s.to; ++x)
                        ASSERT_TRUE(positions_.insert(x).second) << "position " << x << " twice";
        }
        for (const auto& [id, lease] : journal().leases()) {
            for (std::uint64_t x = lease.done; x < lease.hi; ++x) ASSERT_FALSE(positions_.contains(x));
            credited += lease.hi - lease.done;
        }
        for (auto [lo, hi] : journal().free_ranges()) credited += hi - lo;
        ASSERT_EQ(credited + positions_.size(), journal().meta().tail);
    }

    std::mt19937_64 random_;
    Rig rig_;
    std::size_t checked_ = 0;
    std::set<std::uint64_t> positions_;

  public:
    std::size_t steps() { return journal().all_decisions().size(); }
};

TEST(Chaos, NothingThatNodesSayBreaksTheBooks) {
    std::size_t steps = 0;
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Chaos chaos(seed);
        chaos.run(600);
        steps += chaos.steps();
        if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_GT(steps, 500U) << "they got somewhere";
}

}  // namespace
}  // namespace skerry::test
