#include "protocol/wire/control_codec.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "protocol/wire/limits.hpp"
#include "tests/support/samples.hpp"

namespace skerry {
namespace {

using namespace skerry::test;

TEST(ControlCodec, EveryMessageRoundTrips) {
    auto samples = sample_control_messages();
    std::set<std::size_t> kinds;
    for (const auto& [name, message] : samples) kinds.insert(message.body.index());
    ASSERT_EQ(kinds.size(), std::variant_size_v<ControlBody>);
    for (const auto& [name, message] : samples) {
        auto frame = to_frame(message, kMaxFrame);
        ASSERT_TRUE(frame) << name;
        auto back = parse_frame(*frame, kMaxFrame);
        ASSERT_TRUE(back) << name << ": " << back.error().detail;
        EXPECT_EQ(*back, message) << name;
    }
}

TEST(ControlCodec, EmptyMessagesRoundTrip) {
    for (const ControlBody& body : {ControlBody{Report{}}, ControlBody{LeaseReturn{}}, ControlBody{Hello{}}}) {
        ControlMessage message{{}, {}, {}, 0, body};
        auto back = parse_frame(*to_frame(message, kMaxFrame), kMaxFrame);
        ASSERT_TRUE(back) << back.error().detail;
        EXPECT_EQ(*back, message);
    }
}

TEST(ControlCodec, TruncatedFramesNeverCrash) {
    for (const auto& [name, message] : sample_control_messages()) {
        auto frame = *to_frame(message, kMaxFrame);
        for (std::size_t n = 0; n < frame.size(); ++n) (void)parse_frame(ByteSpan(frame).first(n), kMaxFrame);
    }
}

TEST(ControlCodec, LimitHoldsBothWays) {
    ShardBlock block{{}, 0, Bytes(20000)};
    ControlMessage message{{}, {}, {}, 0, block};
    EXPECT_EQ(to_frame(message, kMaxFrameBeforeWelcome).error().code, Errc::too_large);
    auto frame = *to_frame(message, kMaxFrame);
    EXPECT_EQ(parse_frame(frame, kMaxFrameBeforeWelcome).error().code, Errc::too_large);
    EXPECT_TRUE(parse_frame(frame, kMaxFrame));
}

TEST(ControlCodec, AFullShardBlockFitsAFrame) {
    ControlMessage message{{}, {}, {}, 0, ShardBlock{{}, 0, Bytes(kMaxShardBlockBytes)}};
    EXPECT_TRUE(to_frame(message, kMaxFrame));
}

// One field header for a length-delimited field, then the content.
Bytes field(std::uint32_t number, const Bytes& content) {
    Bytes out;
    for (std::uint64_t v : {std::uint64_t{number} << 3 | 2, std::uint64_t{content.size()}}) {
        for (; v >= 0x80; v >>= 7) out.push_back(static_cast<std::uint8_t>(v | 0x80));
        out.push_back(static_cast<std::uint8_t>(v));
    }
    out.insert(out.end(), content.begin(), content.end());
    return out;
}

Bytes repeated(const Bytes& item, std::size_t n) {
    Bytes out;
    for (std::size_t i = 0; i < n; ++i) out.insert(out.end(), item.begin(), item.end());
    return out;
}

TEST(ControlCodec, ListsBeyondTheirLimitNeverReachProtobuf) {
    Bytes leases = field(20, repeated(field(8, {}), kMaxLeases + 1));  // Orders.leases, all empty
    EXPECT_EQ(parse_frame(leases, kMaxFrame).error().code, Errc::too_large);
    Bytes packed = field(23, field(1, Bytes(kMaxLeases + 1, 1)));  // LeaseReturn.leases, packed
    EXPECT_EQ(parse_frame(packed, kMaxFrame).error().code, Errc::too_large);
    EXPECT_TRUE(parse_frame(field(23, field(1, Bytes(kMaxLeases, 1))), kMaxFrame));
    Bytes voters = field(25, field(1, repeated(field(2, {}), kMaxNodes + 1)));  // Decisions.records.voters
    EXPECT_EQ(parse_frame(voters, kMaxFrame).error().code, Errc::too_large);
}

TEST(ControlCodec, DoubledAndUnknownFieldsAreCounted) {
    Bytes plan_request = field(26, field(1, Bytes(32, 1)));
    EXPECT_TRUE(parse_frame(plan_request, kMaxFrame));
    EXPECT_FALSE(parse_frame(field(26, repeated(field(1, Bytes(32, 1)), 2)), kMaxFrame));
    Bytes later_version = plan_request;
    Bytes unknown = field(50, Bytes(3, 1));
    later_version.insert(later_version.end(), unknown.begin(), unknown.end());
    EXPECT_TRUE(parse_frame(later_version, kMaxFrame));
    Bytes flood = repeated(unknown, 1000);
    flood.insert(flood.end(), plan_request.begin(), plan_request.end());
    EXPECT_EQ(parse_frame(flood, kMaxFrame).error().code, Errc::malformed);
}

template <class Body, class Change>
Errc error_of(Body body, Change change) {
    change(body);
    auto frame = to_frame({{}, {}, {}, 0, body}, kMaxFrame);
    auto back = parse_frame(*frame, kMaxFrame);
    return back ? Errc::cancelled : back.error().code;  // cancelled: no error
}

TEST(ControlCodec, ValuesThatNobodyCouldMeanAreRefused) {
    EXPECT_EQ(error_of(Hello{}, [](Hello& h) { h.run_name = std::string(65, 'x'); }), Errc::malformed);
    EXPECT_EQ(error_of(Hello{}, [](Hello& h) { h.addresses = {{"a", 0}}; }), Errc::malformed);
    EXPECT_EQ(error_of(Leaving{}, [](Leaving& l) { l.when = static_cast<LeaveWhen>(9); }), Errc::malformed);
    EXPECT_EQ(error_of(ShardGet{}, [](ShardGet& g) { g.bytes = kMaxShardBlockBytes + 1; }), Errc::malformed);
    EXPECT_EQ(error_of(LeaseGrant{}, [](LeaseGrant& g) { g.leases = {{LeaseId{1}, 5, 4, 5, false}}; }), Errc::malformed);
    EXPECT_FALSE(parse_frame({}, kMaxFrame));
}

TEST(ControlCodec, TextsCannotDriveATerminal) {
    EXPECT_EQ(error_of(Hello{}, [](Hello& h) { h.node_name = "a\x1b[2J"; }), Errc::malformed);
    EXPECT_EQ(error_of(Refusal{}, [](Refusal& r) { r.reason = "two\nlines"; }), Errc::cancelled);
}

TEST(ControlCodec, RefusedInputWritesNoLog) {
    testing::internal::CaptureStderr();
    EXPECT_FALSE(parse_frame(field(18, field(2, Bytes{0xFF, 0xFE})), kMaxFrame));  // Refusal.reason, no UTF-8
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(ControlCodec, NanInAReportReadsAsZero) {
    Report r;
    r.loss = std::numeric_limits<double>::quiet_NaN();
    auto back = parse_frame(*to_frame({{}, {}, {}, 0, r}, kMaxFrame), kMaxFrame);
    ASSERT_TRUE(back);
    EXPECT_EQ(std::get<Report>(back->body).loss, 0);
}

}  // namespace
}  // namespace skerry
