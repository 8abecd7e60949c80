#include "coordinator/core/leases.hpp"

#include <gtest/gtest.h>

namespace skerry::coordinator {
namespace {

NodeId node(std::uint8_t n) {
    NodeId id;
    id.bytes[0] = n;
    return id;
}

struct LeaseLedgerTest : testing::Test {
    LeaseLedger ledger{Image{}, 100};
    Ops ops;
    LeaseRow grant(std::uint8_t n, std::uint64_t positions) {
        auto rows = ledger.grant(node(n), positions, 8, Step{0}, ops);
        EXPECT_EQ(rows.size(), 1U);
        return rows.at(0);
    }
};

TEST_F(LeaseLedgerTest, GrantsTakeTheTailAndNeverReuseAnId) {
    const auto a = grant(1, 10);
    const auto b = grant(2, 10);
    EXPECT_EQ(a.lo, 0U);
    EXPECT_EQ(b.lo, 10U);
    EXPECT_LT(a.id, b.id);
    ledger.release(b.id, ops);
    const auto c = grant(1, 10);
    EXPECT_EQ(c.lo, 10U);
    EXPECT_LT(b.id, c.id);
}

TEST_F(LeaseLedgerTest, ReturnedRangesComeBeforeTheTailAndMerge) {
    const auto a = grant(1, 10);
    const auto b = grant(1, 10);
    const auto c = grant(1, 10);
    ledger.release(a.id, ops);
    ledger.release(c.id, ops);
    ledger.release(b.id, ops);
    const auto all = grant(2, 30);
    EXPECT_EQ(all.lo, 0U);
    EXPECT_EQ(all.hi, 30U);
}

TEST_F(LeaseLedgerTest, NothingIsGrantedBeyondTheLimit) {
    EXPECT_EQ(grant(1, 1000).hi, 100U);
    EXPECT_TRUE(ledger.grant(node(2), 10, 8, Step{0}, ops).empty());
    EXPECT_EQ(ledger.available(), 0U);
}

TEST_F(LeaseLedgerTest, ASegmentFitsOnlyWhereTheLastCreditEnded) {
    const auto a = grant(1, 10);
    EXPECT_TRUE(ledger.fits(node(1), {a.id, 0, 4}));
    EXPECT_FALSE(ledger.fits(node(2), {a.id, 0, 4}));
    EXPECT_FALSE(ledger.fits(node(1), {a.id, 1, 4}));
    EXPECT_FALSE(ledger.fits(node(1), {a.id, 0, 11}));
    EXPECT_FALSE(ledger.fits(node(1), {a.id, 0, 0}));
    ledger.credit(node(1), {a.id, 0, 4}, ops);
    EXPECT_FALSE(ledger.fits(node(1), {a.id, 0, 4}));
    EXPECT_TRUE(ledger.fits(node(1), {a.id, 4, 10}));
    ledger.credit(node(1), {a.id, 4, 10}, ops);
    EXPECT_EQ(ledger.find(a.id), nullptr);
    EXPECT_EQ(ledger.credited(), 10U);
}

TEST_F(LeaseLedgerTest, ReleaseKeepsWhatIsCredited) {
    const auto a = grant(1, 10);
    ledger.credit(node(1), {a.id, 0, 4}, ops);
    ledger.release(a.id, ops);
    const auto b = grant(2, 6);
    EXPECT_EQ(b.lo, 4U);
    EXPECT_EQ(b.hi, 10U);
    ledger.check();
}

TEST_F(LeaseLedgerTest, ACreditThatDoesNotFitStopsTheProcess) {
    const auto a = grant(1, 10);
    EXPECT_DEATH(ledger.credit(node(2), {a.id, 0, 4}, ops), "fits");
}

}  // namespace
}  // namespace skerry::coordinator
