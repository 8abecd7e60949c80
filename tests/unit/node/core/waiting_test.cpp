// A node says at any moment what it waits for.

#include <gtest/gtest.h>

#include <deque>

#include "node/core/node_core.hpp"
#include "protocol/rules/chain.hpp"
#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::numbered;
using testing::peer_entry;

/// A node of one piece whose shell does what it is asked at once, apart from what is held back.
struct WaitingTest : ::testing::Test {
    Mono now{Millis(1000)};
    std::uint64_t seq = 0;
    Manifest manifest;
    NodeConfig config;
    std::optional<NodeCore> core;
    std::deque<Done> later;  ///< of operations that take their time
    bool hold_load = false;
    std::optional<Error> load_error;
    int loads = 0;

    WaitingTest() {
        manifest.run = numbered<RunId>(3);
        manifest.name = "reef";
        manifest.elements = 4096;
        manifest.piece_elements = 4096;
        manifest.tensors = {{"w", {4096}, 0, 4096, 0}};
        manifest.model_json = manifest.train_json = "{}";
        manifest.sequences = 100;
        manifest.sequence_tokens = 10;
        manifest.target_tokens = 4000;
        manifest.local_steps = 5;
        manifest.round_ms = 10'000;
        config.self = peer_entry(0).node;
        core.emplace(config, NodeImage{}, now);
        carry_out(core->start(now));
    }
    void feed(Event event) { carry_out(core->step(now, event)); }
    void carry_out(Actions actions) {
        for (Action& action : actions) {
            const Answer state = StateAnswer{numbered<Digest>(1), true};
            if (auto* seen = std::get_if<PersistSeen>(&action)) feed(Done{seen->op, {}, {}});
            if (auto* adopt = std::get_if<AdoptManifest>(&action)) feed(Done{adopt->op, {}, {}});
            if (auto* load = std::get_if<LoadState>(&action)) {
                ++loads;
                answer({load->op, load_error, state}, hold_load);
            }
            if (auto* digest = std::get_if<ComputeDigest>(&action)) feed(Done{digest->op, {}, state});
            if (auto* start = std::get_if<StartTrainer>(&action)) answer({start->op, {}, {}}, true);
            if (auto* fresh = std::get_if<TrainerLoad>(&action)) answer({fresh->op, {}, {}}, false);
        }
    }
    void answer(Done done, bool held) {
        if (held) later.push_back(std::move(done));
        else feed(std::move(done));
    }
    void let_go() {
        Done done = std::move(later.front());
        later.pop_front();
        feed(std::move(done));
    }
    void say(ControlBody body) { feed(ControlIn{{manifest.run, Term{1}, Incarnation{1}, ++seq, std::move(body)}}); }
    SignedBody roster(NodeState mine) const {
        Roster body{manifest.run, Epoch{static_cast<std::uint64_t>(mine) + 1}, {}};
        for (std::uint8_t n = 0; n < 2; ++n) body.nodes.push_back(peer_entry(n));
        body.nodes[0].state = mine;
        std::sort(body.nodes.begin(), body.nodes.end(), [](const auto& x, const auto& y) { return x.node < y.node; });
        return {to_bytes(body), {}};
    }
    void welcome() {
        seq = 0;
        feed(SessionUp{});
        Welcome w;
        w.run = manifest.run;
        w.term = Term{1};
        w.incarnation = Incarnation{1};
        w.manifest = to_bytes(manifest);
        w.roster = roster(NodeState::joining);
        say(std::move(w));
    }
    Orders orders(RunState state) const {
        Orders o;
        o.run_state = state;
        o.h_head = chain_start(body_digest(to_bytes(manifest)));
        o.epoch = Epoch{static_cast<std::uint64_t>(NodeState::current) + 1};
        o.roster = roster(NodeState::current);
        o.round_remaining_ms = 10'000;
        return o;
    }
    std::string waits() const { return core->view().waiting_for; }
};

TEST_F(WaitingTest, FromTheFirstWordToTheTrainer) {
    EXPECT_EQ(waits(), "the first answer of the coordinator");
    now += Millis(2000);
    feed(Tick{});
    EXPECT_EQ(core->view().waiting, Millis(2000));
    hold_load = true;
    welcome();
    Orders joining = orders(RunState::created);
    joining.roster.reset();
    say(joining);
    EXPECT_EQ(waits(), "the state from disk");
    EXPECT_EQ(core->view().waiting, Millis(0));
    let_go();
    EXPECT_EQ(waits(), "the coordinator to count this node in");
    say(orders(RunState::created));
    EXPECT_EQ(waits(), "the run to be started");
    say(orders(RunState::running));
    EXPECT_EQ(waits(), "data to train on");
    Orders leased = orders(RunState::running);
    leased.leases = {{LeaseId{1}, 0, 10, 0, false}};
    say(leased);
    EXPECT_EQ(waits(), "the trainer to start");
    let_go();
    EXPECT_EQ(waits(), "the trainer: inner step 0");
    feed(TrainerGone{Errc::trainer_failed, "killed"});
    EXPECT_EQ(waits(), "the trainer, which ended: started again in 1 s");
}

TEST_F(WaitingTest, AForkWaitsForItsFirstStateAndAsksNowAndThen) {
    manifest.initial_root = numbered<Digest>(7);
    manifest.parent_run = numbered<RunId>(8);
    load_error = Error{Errc::not_found, "no shard 07 here", ""};
    welcome();
    say(orders(RunState::running));
    EXPECT_EQ(loads, 1) << "no busy loop";
    EXPECT_EQ(waits(), "the state that this fork begins with, from disk or the coordinator: no shard 07 here");
    now += Millis(1999);
    feed(Tick{});
    EXPECT_EQ(loads, 1);
    now += Millis(1);
    feed(Tick{});
    EXPECT_EQ(loads, 2);
    load_error.reset();
    now += Millis(2000);
    feed(Tick{});
    EXPECT_EQ(loads, 3);
    EXPECT_EQ(waits(), "data to train on");
}

TEST_F(WaitingTest, WhatPeopleDidIsNamed) {
    welcome();
    say(orders(RunState::running));
    feed(UserPause{});
    EXPECT_EQ(waits(), "the owner of this machine, who has paused it");
    feed(UserResume{});
    say(orders(RunState::paused));
    EXPECT_EQ(waits(), "the run to be resumed");
    say(orders(RunState::stopped));
    EXPECT_EQ(waits(), "nothing: the run has ended");
}

TEST_F(WaitingTest, ALostSessionAndALogThatIsAnotherOne) {
    welcome();
    say(orders(RunState::running));
    feed(SessionDown{});
    EXPECT_EQ(waits(), "the coordinator, which cannot be reached");
    welcome();
    Orders other = orders(RunState::running);
    other.h_head = numbered<Digest>(99);
    say(other);
    EXPECT_EQ(waits(), "the operator: the coordinator's log is not the one this node has");
}

TEST_F(WaitingTest, ANodeThatIsBehindSaysUpToWhere) {
    welcome();
    Orders ahead = orders(RunState::running);
    ahead.head = Step{7};
    say(ahead);
    EXPECT_EQ(waits(), "entries up to step 7");
    EXPECT_EQ(core->view().phase, Phase::behind);
}

}  // namespace
}  // namespace skerry::node
