#include "protocol/observe/metrics_text.hpp"

#include <gtest/gtest.h>

namespace skerry {
namespace {

constexpr MetricFamily kCount{"skerry_x_total", MetricKind::counter, "Things, by \"kind\"."};
constexpr MetricFamily kTime{"skerry_x_seconds", MetricKind::histogram, "Time."};

TEST(MetricsText, AFamilyHasItsHelpItsTypeAndItsSamples) {
    MetricsText page;
    page.family(kCount);
    page.sample(std::uint64_t{3}, {{"run", "reef"}, {"kind", "a"}});
    page.sample(0.5);
    EXPECT_EQ(page.text(),
              "# HELP skerry_x_total Things, by \"kind\".\n# TYPE skerry_x_total counter\n"
              "skerry_x_total{run=\"reef\",kind=\"a\"} 3\nskerry_x_total 0.5\n");
}

TEST(MetricsText, LabelsOfAStrangerStayLabels) {
    MetricsText page;
    page.single(kCount, std::uint64_t{1}, {{"node", "a\"} 1\nevil 2\\"}});
    EXPECT_NE(page.text().find("{node=\"a\\\"} 1\\nevil 2\\\\\"} 1\n"), std::string::npos) << page.text();
}

TEST(MetricsText, NumbersKeepTheirValue) {
    MetricsText page;
    page.single(kCount, 1764201600.125);
    EXPECT_NE(page.text().find(" 1764201600.125\n"), std::string::npos) << page.text();
    MetricsText large;
    large.single(kCount, std::uint64_t{18'446'744'073'709'551'615U});
    EXPECT_NE(large.text().find(" 18446744073709551615\n"), std::string::npos) << large.text();
}

TEST(MetricsText, BucketsOfAHistogramAddUp) {
    SecondsHistogram times;
    for (double t : {0.0004, 0.002, 0.002, 7.0, 1e6}) times.observe(t);
    MetricsText page;
    page.single(kTime, times, {{"run", "reef"}});
    for (const char* line : {"skerry_x_seconds_bucket{run=\"reef\",le=\"0.0005\"} 1\n", "skerry_x_seconds_bucket{run=\"reef\",le=\"0.0025\"} 3\n",
                             "skerry_x_seconds_bucket{run=\"reef\",le=\"15\"} 4\n", "skerry_x_seconds_bucket{run=\"reef\",le=\"1800\"} 4\n",
                             "skerry_x_seconds_bucket{run=\"reef\",le=\"+Inf\"} 5\n", "skerry_x_seconds_count{run=\"reef\"} 5\n"})
        EXPECT_NE(page.text().find(line), std::string::npos) << line << page.text();
}

TEST(MetricsText, AStateSetIsOneOnce) {
    MetricsText page;
    page.family(kCount);
    page.states("state", {"a", "b"}, "b");
    EXPECT_TRUE(page.text().ends_with("{state=\"a\"} 0\nskerry_x_total{state=\"b\"} 1\n")) << page.text();
}

}  // namespace
}  // namespace skerry
