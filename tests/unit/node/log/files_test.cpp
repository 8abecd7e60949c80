#include <gtest/gtest.h>

#include "node/log/decision_log.hpp"
#include "node/log/node_files.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/support/store_run.hpp"

namespace skerry::node {
namespace {

using test::StoreRun;
using test::TemporaryFolder;

TEST(Sealed, ATornOrChangedFileIsRefused) {
    const char* tag = "skerry/file/test/1";
    Bytes payload{1, 2, 3, 4};
    Bytes sealed = seal(tag, payload);
    EXPECT_EQ(*unseal(tag, sealed), payload);
    for (std::size_t n = 0; n < sealed.size(); ++n)
        EXPECT_FALSE(unseal(tag, ByteSpan(sealed).first(n))) << n;
    for (std::size_t i = 0; i < sealed.size(); ++i) {
        Bytes changed = sealed;
        changed[i] ^= 1;
        EXPECT_FALSE(unseal(tag, changed)) << i;
    }
    sealed.push_back(0);
    EXPECT_FALSE(unseal(tag, sealed));
}

TEST(NodeFiles, SeenAndLeasesComeBack) {
    TemporaryFolder folder;
    NodeFiles files(folder.path());
    EXPECT_EQ(files.read_seen().error().code, Errc::not_found);
    Seen seen{Term{4}, Epoch{7}, Incarnation{2}, {1, 2}, {{3, 4, 5}, {}}};
    ASSERT_TRUE(files.write_seen(seen));
    EXPECT_EQ(*files.read_seen(), seen);
    std::vector<LeaseInfo> leases{{LeaseId{9}, 10, 20, 15, true}};
    ASSERT_TRUE(files.write_leases(leases));
    EXPECT_EQ(*files.read_leases(), leases);
}

Result<DecisionLog> open_log(const fs::path& folder, const Manifest& manifest) {
    return DecisionLog::open(folder / "decisions", Step{0},
                             chain_start(body_digest(to_bytes(manifest))));
}

/// Three decisions without entries.
std::vector<SignedDecision> three_decisions(StoreRun& run) {
    for (std::uint64_t k = 0; k < 3; ++k) {
        Plan plan;
        plan.step = Step{k};
        plan.kind = EntryKind::config;
        run.decide(plan, Digest{});
    }
    return run.decisions();
}

TEST(DecisionLog, ATornTailIsCutAtEveryLengthAndTheRestIsKept) {
    StoreRun run(1);
    TemporaryFolder folder;
    auto decisions = three_decisions(run);
    std::vector<std::uint64_t> ends;
    {
        auto log = open_log(folder.path(), run.manifest());
        ends.push_back(fs::file_size(folder.path() / "decisions"));
        for (const SignedDecision& decision : decisions) {
            ASSERT_TRUE(log->append(decision));
            ends.push_back(fs::file_size(folder.path() / "decisions"));
        }
    }
    Bytes whole = *read_whole(folder.path() / "decisions", 1 << 20);
    for (std::size_t length = 0; length <= whole.size(); length += 7) {
        ASSERT_TRUE(write_durably(folder.path() / "decisions", ByteSpan(whole).first(length)));
        auto log = open_log(folder.path(), run.manifest());
        ASSERT_TRUE(log) << length;
        std::uint64_t kept = 0;
        while (kept < 3 && ends[kept + 1] <= length) ++kept;
        ASSERT_EQ(log->next(), Step{kept}) << length;
        ASSERT_EQ(fs::file_size(folder.path() / "decisions"), ends[kept]) << length;
        for (std::uint64_t k = kept; k < 3; ++k) ASSERT_TRUE(log->append(decisions[k]));
        ASSERT_EQ(*read_whole(folder.path() / "decisions", 1 << 20), whole);
    }
}

TEST(DecisionLog, OnlyTheNextRecordThatChainsIsTaken) {
    StoreRun run(1);
    TemporaryFolder folder;
    auto decisions = three_decisions(run);
    auto log = open_log(folder.path(), run.manifest());
    EXPECT_EQ(log->append(decisions[1]).error().code, Errc::stale);
    ASSERT_TRUE(log->append(decisions[0]));
    EXPECT_EQ(log->append(decisions[0]).error().code, Errc::stale);
    auto forged = parse_decision(decisions[1].decision.body);
    forged->tokens_after += 1;
    SignedDecision record;
    record.decision.body = to_bytes(*forged);
    EXPECT_EQ(log->append(record).error().code, Errc::digest_mismatch);
    ASSERT_TRUE(log->append(decisions[1]));
    EXPECT_EQ(log->chain(Step{2}), parse_decision(decisions[1].decision.body)->h_after);
    auto read = log->read(Step{0}, 10);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, (std::vector<SignedDecision>{decisions[0], decisions[1]}));
}

}  // namespace
}  // namespace skerry::node
