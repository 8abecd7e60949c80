#include <gtest/gtest.h>

#include "node/transport/zap_handler.hpp"

namespace skerry::node {
namespace {

TEST(Admission, TheSelfTestPassesAndLeavesNobodyAdmitted) {
    ZmqContext context;
    auto handler = ZapHandler::start(context);
    ASSERT_TRUE(handler) << handler.error().detail;
    auto proved = prove_admission(context, **handler);
    EXPECT_TRUE(proved) << proved.error().detail;
    EXPECT_EQ((*handler)->accepted(), 1U);
    EXPECT_GE((*handler)->refused(), 1U);
}

TEST(Admission, TheSelfTestFailsWhereNobodyAnswersForTheRoster) {
    // libzmq refuses everybody when the domain is enforced and no handler is there: the listed key fails too.
    ZmqContext with_handler;
    auto handler = ZapHandler::start(with_handler);
    ASSERT_TRUE(handler);
    ZmqContext without_handler;
    auto proved = prove_admission(without_handler, **handler);
    ASSERT_FALSE(proved);
    EXPECT_EQ(proved.error().code, Errc::bad_state);
}

TEST(Admission, AContextHasOneHandler) {
    ZmqContext context;
    auto first = ZapHandler::start(context);
    ASSERT_TRUE(first);
    auto second = ZapHandler::start(context);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::already_exists);
}

TEST(Context, ThatLibzmqNeverEndsIsLeftBehind) {
    // An open socket makes libzmq wait for it; its own race, which does the same, cannot be provoked at will.
    auto keys = make_curve_keys();
    ZmqSocket open;
    {
        ZmqContext context;
        auto listener = make_listener(context, keys);
        ASSERT_TRUE(listener);
        open = std::move(*listener);
    }
    open.close();
}

TEST(SocketFactory, APortInUseIsSaidSo) {
    ZmqContext context;
    auto keys = make_curve_keys();
    auto first = make_listener(context, keys);
    auto second = make_listener(context, keys);
    ASSERT_TRUE(first && second);
    auto port = bind_tcp(*first, "127.0.0.1", 0);
    ASSERT_TRUE(port);
    auto again = bind_tcp(*second, "127.0.0.1", *port);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::port_in_use);
}

}  // namespace
}  // namespace skerry::node
