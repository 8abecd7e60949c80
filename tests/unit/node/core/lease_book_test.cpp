#include "node/core/lease_book.hpp"

#include <gtest/gtest.h>

#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::Bench;

LeaseInfo lease(std::uint64_t id, std::uint64_t lo, std::uint64_t hi, std::uint64_t done, bool pinned = false) {
    return {LeaseId{id}, lo, hi, done, pinned};
}
Segment segment(std::uint64_t id, std::uint64_t from, std::uint64_t to) { return {LeaseId{id}, from, to}; }

TEST(LeaseBook, FeedsWhatIsNotCreditedInOrder) {
    Bench bench;
    LeaseBook book(bench.context);
    book.told({lease(2, 20, 30, 20), lease(1, 0, 10, 4)});
    EXPECT_EQ(book.stock(), 16U);
    EXPECT_EQ(book.feed(8), (std::vector{segment(1, 4, 10), segment(2, 20, 22)}));
    EXPECT_EQ(book.stock(), 8U);
}

TEST(LeaseBook, OneContributionHasOneSegmentForEachLease) {
    Bench bench;
    LeaseBook book(bench.context);
    book.told({lease(1, 0, 10, 0), lease(2, 10, 20, 10)});
    book.feed(4);
    book.feed(8);
    EXPECT_EQ(book.consumed(11), (std::vector{segment(1, 0, 10), segment(2, 10, 11)}));
}

TEST(LeaseBook, ASegmentIsCoveredOnlyIfItBeginsWhereCreditEnds) {
    Bench bench;
    LeaseBook book(bench.context);
    book.told({lease(1, 0, 10, 4)});
    EXPECT_TRUE(book.covers({segment(1, 4, 8)}));
    EXPECT_FALSE(book.covers({segment(1, 0, 8)}));
    EXPECT_FALSE(book.covers({segment(1, 4, 11)}));
    EXPECT_FALSE(book.covers({segment(2, 4, 8)}));
}

TEST(LeaseBook, CreditedPositionsAreNotStockAndAUsedUpLeaseIsGone) {
    Bench bench;
    LeaseBook book(bench.context);
    book.told({lease(1, 0, 10, 0, true), lease(2, 10, 20, 10)});
    book.feed(20);
    book.rewind();
    book.credit({segment(1, 0, 10), segment(2, 10, 13)});
    EXPECT_EQ(book.leases(), (std::vector{lease(2, 10, 20, 13)}));
    EXPECT_EQ(book.stock(), 7U);
}

TEST(LeaseBook, NothingToBeHadHoldsForOneEpochOnly) {
    Bench bench;
    LeaseBook book(bench.context);
    book.pump(true, 4);
    ASSERT_EQ(bench.take<Send>().size(), 1U);
    book.granted({1, {}});
    book.pump(true, 4);
    EXPECT_TRUE(book.nothing_to_be_had());
    EXPECT_TRUE(bench.take<Send>().empty());
    book.new_epoch();
    book.pump(true, 4);
    EXPECT_FALSE(book.nothing_to_be_had());
    EXPECT_EQ(bench.take<Send>().size(), 1U);
}

TEST(LeaseBook, ALeasePinnedForAnotherDeltaIsNotTrainedOn) {
    Bench bench;
    LeaseBook book(bench.context);
    book.told({lease(1, 0, 10, 0, true)});
    EXPECT_EQ(book.stock(), 0U);
    EXPECT_TRUE(book.feed(4).empty());
}

TEST(LeaseBook, ReturnsAreRepeatedForAsLongAsTheLedgerListsThem) {
    Bench bench;
    LeaseBook book(bench.context);
    book.told({lease(1, 0, 10, 0)});
    book.give_back({segment(1, 0, 4)});
    book.pump(false, 8);
    EXPECT_EQ(bench.take<Send>().size(), 1U);
    bench.pass(Millis(2100));
    book.pump(false, 8);
    EXPECT_EQ(bench.take<Send>().size(), 1U);
    book.told({});
    bench.pass(Millis(2100));
    book.pump(false, 8);
    EXPECT_TRUE(bench.take<Send>().empty());
}

TEST(LeaseBook, AnUnansweredRequestIsRepeatedWithItsNumber) {
    Bench bench;
    LeaseBook book(bench.context);
    book.pump(true, 8);
    bench.pass(Millis(2100));
    book.pump(true, 8);
    const auto sent = bench.take<Send>();
    ASSERT_EQ(sent.size(), 2U);
    EXPECT_EQ(std::get<LeaseRequest>(sent[0].message.body), std::get<LeaseRequest>(sent[1].message.body));
    EXPECT_EQ(std::get<LeaseRequest>(sent[0].message.body).sequences, 16U);
}

}  // namespace
}  // namespace skerry::node
