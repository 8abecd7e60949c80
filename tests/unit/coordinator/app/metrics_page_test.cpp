#include "coordinator/admin/metrics_page.hpp"

#include <gtest/gtest.h>

namespace skerry::coordinator {
namespace {

TEST(CoordinatorMetrics, ShowWhatTheStatusSays) {
    RunMetrics run;
    run.status.name = "reef";
    run.status.run_state = RunState::running;
    run.status.phase = "hold";
    run.status.head = Step{12};
    run.status.tokens_committed = 368'640;
    run.status.superseded = 2;
    NodeStatus node;
    node.name = "kestrel";
    node.state = NodeState::current;
    node.heard_ms = 1'500;
    run.status.nodes.push_back(node);
    run.journal.decisions = 12;
    MetricsText page;
    add_coordinator_metrics(page, {run}, CoordinatorInfo{}, 1'000);
    for (const char* line : {"skerry_run_step{run=\"reef\"} 12\n", "skerry_run_tokens_total{run=\"reef\"} 368640\n",
                             "skerry_run_phase{run=\"reef\",phase=\"hold\"} 1\n", "skerry_rounds_total{run=\"reef\",outcome=\"superseded\"} 2\n",
                             "skerry_nodes{run=\"reef\",state=\"current\"} 1\n",
                             "skerry_node_last_seen_timestamp_seconds{run=\"reef\",node=\"kestrel\",node_id=\"00000000\"} 998.5\n"})
        EXPECT_NE(page.text().find(line), std::string::npos) << line << "in\n" << page.text();
    EXPECT_EQ(page.text().find("skerry_run_train_loss{"), std::string::npos) << "not known yet: left out";
}

TEST(CoordinatorMetrics, AFinishedRunIsFinished) {
    RunMetrics run;
    run.status.name = "reef";
    run.status.run_state = RunState::stopped;
    run.status.target_tokens = run.status.tokens_committed = 100;
    MetricsText page;
    add_coordinator_metrics(page, {run}, CoordinatorInfo{}, 0);
    EXPECT_NE(page.text().find("skerry_run_state{run=\"reef\",state=\"finished\"} 1\n"), std::string::npos);
    EXPECT_NE(page.text().find("skerry_run_state{run=\"reef\",state=\"stopped\"} 0\n"), std::string::npos);
}

}  // namespace
}  // namespace skerry::coordinator
