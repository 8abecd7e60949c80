#include "protocol/base/failpoint.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

namespace skerry {
namespace {

TEST(FailpointDeathTest, KillsAtTheCountNamed) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    EXPECT_EXIT(
        {
            ::setenv("SKERRY_FAILPOINT", "other,here:2", 1);
            failpoint("elsewhere");
            failpoint("here");
            failpoint("here");
            std::_Exit(0);
        },
        testing::KilledBySignal(SIGKILL), "");
    EXPECT_EXIT(
        {
            ::setenv("SKERRY_FAILPOINT", "here:2", 1);
            failpoint("here");
            std::_Exit(0);
        },
        testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace skerry
