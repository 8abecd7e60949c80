// Strangers and a revoked node against a listening data plane: nothing is delivered, under 2 MiB each.

#include <csignal>
#include <fstream>
#include <iostream>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/node/transport/links_fixture.hpp"

namespace skerry::node::testing {
namespace {

// Under a sanitizer freed memory is kept and every block has a fence: there only a claimed gibibyte would be seen.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kBarKib = 65536;
#else
constexpr std::size_t kBarKib = 2048;
#endif

std::size_t rss_kib() {
    std::ifstream status("/proc/self/status");
    std::string word;
    std::size_t value = 0;
    while (status >> word) {
        if (word == "VmRSS:") status >> value;
    }
    return value;
}

class Strangers : public LinksTest {
  protected:
    ~Strangers() override { stop(); }

    void attack(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), SKERRY_STRANGER);
        std::vector<char*> raw;
        for (auto& argument : arguments) raw.push_back(argument.data());
        raw.push_back(nullptr);
        attacker = ::fork();
        ASSERT_GE(attacker, 0);
        if (attacker == 0) {
            ::execv(raw[0], raw.data());
            ::_exit(127);
        }
    }
    void stop() {
        if (attacker <= 0) return;
        ::kill(attacker, SIGKILL);
        ::waitpid(attacker, nullptr, 0);
        attacker = -1;
    }
    /// Lets the attack go on for a while; the most that memory grew above `before`.
    std::size_t growth(std::size_t before, std::chrono::milliseconds span = 2s) {
        std::size_t most = 0;
        auto end = std::chrono::steady_clock::now() + span;
        while (std::chrono::steady_clock::now() < end) {
            io.run_for(10ms);
            std::size_t now = rss_kib();
            if (now > before) most = std::max(most, now - before);
        }
        return most;
    }
    void show(const char* what, std::size_t kib) {
        std::cout << what << ": grew by " << kib << " KiB, bar " << kBarKib << " KiB\n";
        EXPECT_LT(kib, kBarKib);
    }

    pid_t attacker = -1;
};

TEST_F(Strangers, AForeignCurveKeyDeliversNothing) {
    auto& victim = add(1);
    auto& friendly = add(2);
    victim.links->set_targets({friendly.target(false)});
    until([] { return false; }, 200ms);
    std::size_t before = rss_kib();
    attack({"foreign", std::to_string(victim.port), victim.keys.public_key.hex()});
    std::size_t grown = growth(before);
    EXPECT_TRUE(until([&] { return (*victim.zap)->refused() > 0; }));
    EXPECT_TRUE(victim.received.empty());
    EXPECT_TRUE(victim.ups.empty());
    show("foreign key", grown);
}

TEST_F(Strangers, AClaimedGibibyteIsNotHeld) {
    auto& victim = add(1);
    until([] { return false; }, 200ms);
    std::size_t before = rss_kib();
    attack({"gibibyte", std::to_string(victim.port), "-"});
    std::size_t grown = growth(before);
    EXPECT_GT(victim.links->counters().accepted, 2U) << "it was not cut off";
    EXPECT_TRUE(victim.received.empty());
    show("1 GiB frame", grown);
}

TEST_F(Strangers, ARevokedNodeIsNotHeardOnItsLiveConnection) {
    auto& victim = add(1);
    auto keys = make_curve_keys();
    PeerTarget peer{node_id(7), keys.public_key, {}, false};
    victim.links->set_targets({peer});
    attack({"known", std::to_string(victim.port), victim.keys.public_key.hex(), keys.public_key.hex(),
            to_hex(keys.secret)});
    ASSERT_TRUE(until([&] {
        bool heard = victim.received.size() >= 8;
        return victim.links->traffic(peer.node).received_messages + victim.links->counters().dropped_malformed >= 50 || heard;
    }));
    victim.received.clear();
    std::size_t before = rss_kib();
    victim.links->set_targets({});
    std::size_t grown = growth(before);
    EXPECT_TRUE(victim.received.empty());
    EXPECT_GE(victim.links->counters().connections_cut, 1U);
    EXPECT_TRUE(until([&] { return (*victim.zap)->refused() > 0; })) << "it was not refused when it came back";
    show("revoked node", grown);
}

// An admitted peer may waste its own round, not the others' memory: libzmq itself would hold all of it.
TEST_F(Strangers, AMessageOfTooManyPartsIsCutOff) {
    auto& victim = add(1);
    auto keys = make_curve_keys();
    victim.links->set_targets({PeerTarget{node_id(7), keys.public_key, {}, false}});
    std::size_t before = rss_kib();
    attack({"endless", std::to_string(victim.port), victim.keys.public_key.hex(), keys.public_key.hex(),
            to_hex(keys.secret)});
    std::size_t most = 0;
    ASSERT_TRUE(until([&] {
        most = std::max(most, rss_kib());
        return victim.links->counters().connections_cut >= 2;
    }, 60s));
    EXPECT_TRUE(victim.received.empty());
    EXPECT_LT(most - std::min(most, before), 280U * 1024) << "KiB";
}

}  // namespace
}  // namespace skerry::node::testing
