#include "coordinator/admin/metrics_page.hpp"

#include <functional>
#include <map>

namespace skerry::coordinator {
namespace {

constexpr MetricFamily kInfo{"skerry_run_info", MetricKind::gauge, "A run of this coordinator; always 1."};
constexpr MetricFamily kState{"skerry_run_state", MetricKind::gauge, "1 for the state the run is in, 0 for the others."};
constexpr MetricFamily kPhase{"skerry_run_phase", MetricKind::gauge, "1 for the phase the run is in, 0 for the others; hold: it cannot move."};
constexpr MetricFamily kStep{"skerry_run_step", MetricKind::gauge, "Outer steps decided."};
constexpr MetricFamily kTokens{"skerry_run_tokens_total", MetricKind::counter, "Tokens in decided steps."};
constexpr MetricFamily kTarget{"skerry_run_tokens_target", MetricKind::gauge, "Tokens at which the run ends."};
constexpr MetricFamily kLoss{"skerry_run_train_loss", MetricKind::gauge, "Training loss of the newest step, nats per token."};
constexpr MetricFamily kValLoss{"skerry_run_val_loss", MetricKind::gauge, "Newest held-out loss, nats per token."};
constexpr MetricFamily kRate{"skerry_run_tokens_per_second", MetricKind::gauge, "Tokens per second over the last rounds."};
constexpr MetricFamily kEta{"skerry_run_eta_seconds", MetricKind::gauge, "Time until the target at this rate."};
constexpr MetricFamily kTerm{"skerry_run_term", MetricKind::gauge, "Term: rises with each start of the coordinator."};
constexpr MetricFamily kEpoch{"skerry_run_epoch", MetricKind::gauge, "Epoch: rises with each change of the roster."};
constexpr MetricFamily kRounds{"skerry_rounds_total", MetricKind::counter, "Plans of this process by how they ended."};
constexpr MetricFamily kRoundSeconds{"skerry_round_duration_seconds", MetricKind::histogram, "Time between one decision and the next."};
constexpr MetricFamily kParticipants{"skerry_round_participants", MetricKind::gauge, "Nodes whose data the plan in force binds."};
constexpr MetricFamily kNodes{"skerry_nodes", MetricKind::gauge, "Nodes by state."};
constexpr MetricFamily kNodeSeen{"skerry_node_last_seen_timestamp_seconds", MetricKind::gauge, "When the node's last report came, Unix time."};
constexpr MetricFamily kNodeConnected{"skerry_node_connected", MetricKind::gauge, "1: the node is in a session."};
constexpr MetricFamily kNodeStep{"skerry_node_step", MetricKind::gauge, "Outer steps the node has applied."};
constexpr MetricFamily kNodeRate{"skerry_node_tokens_per_second", MetricKind::gauge, "Tokens per second of the node's trainer."};
constexpr MetricFamily kNodeTokens{"skerry_node_credited_tokens_total", MetricKind::counter, "Tokens of the node in decided steps."};
constexpr MetricFamily kBytes{"skerry_net_bytes_total", MetricKind::counter, "Application bytes of the data plane, as the node reports them; restarts with its process."};
constexpr MetricFamily kData{"skerry_data_sequences", MetricKind::gauge, "Training sequences that are free, or leased to a node."};
constexpr MetricFamily kShardBytes{"skerry_data_sent_bytes_total", MetricKind::counter, "Bytes of data shards that the coordinator has sent; nodes give each other the rest."};
constexpr MetricFamily kShardCopies{"skerry_data_copies_sent_max", MetricKind::gauge, "Copies of one shard that the coordinator has sent, of the one that it sent most."};
constexpr MetricFamily kDropped{"skerry_messages_dropped_total", MetricKind::counter, "Messages of another run, term or incarnation."};
constexpr MetricFamily kTransactions{"skerry_store_transactions_total", MetricKind::counter, "Database transactions by result."};
constexpr MetricFamily kTransactionSeconds{"skerry_store_transaction_seconds", MetricKind::histogram, "Time until a transaction was durable."};
constexpr MetricFamily kStoreBytes{"skerry_store_size_bytes", MetricKind::gauge, "Size of the run's database."};
constexpr MetricFamily kBundles{"skerry_watchdog_bundles_total", MetricKind::counter, "Bundles that the watchdog wrote."};
constexpr MetricFamily kConnections{"skerry_control_connections", MetricKind::gauge, "Connections of nodes and administrators."};

using Each = std::function<void(const RunMetrics&, const MetricLabels&)>;

void each_run(MetricsText& page, const std::vector<RunMetrics>& runs, const MetricFamily& family, const Each& add) {
    page.family(family);
    for (const RunMetrics& run : runs) add(run, {{"run", run.status.name}});
}

MetricLabels with(MetricLabels labels, std::string_view key, std::string value) {
    labels.emplace_back(key, std::move(value));
    return labels;
}

void add_run(MetricsText& page, const std::vector<RunMetrics>& runs) {
    auto each = [&](const MetricFamily& family, const Each& add) { each_run(page, runs, family, add); };
    each(kInfo, [&](const auto& r, const auto& l) { page.sample(std::uint64_t{1}, with(l, "run_id", r.status.run.hex())); });
    each(kState, [&](const auto& r, const auto& l) {
        page.states("state", {"created", "running", "paused", "stopped", "finished"}, state_word(r.status), l);
    });
    each(kPhase, [&](const auto& r, const auto& l) {
        page.states("phase", {"created", "collect", "open", "hold", "paused", "stopped", "behind"}, r.status.phase, l);
    });
    each(kStep, [&](const auto& r, const auto& l) { page.sample(r.status.head.value, l); });
    each(kTokens, [&](const auto& r, const auto& l) { page.sample(r.status.tokens_committed, l); });
    each(kTarget, [&](const auto& r, const auto& l) { page.sample(r.status.target_tokens, l); });
    each(kLoss, [&](const auto& r, const auto& l) { if (r.status.loss) page.sample(*r.status.loss, l); });
    each(kValLoss, [&](const auto& r, const auto& l) { if (r.status.heldout_loss) page.sample(*r.status.heldout_loss, l); });
    each(kRate, [&](const auto& r, const auto& l) { page.sample(r.status.tokens_per_s, l); });
    each(kEta, [&](const auto& r, const auto& l) {
        const bool known = r.status.tokens_per_s > 0 && r.status.target_tokens >= r.status.tokens_committed;
        if (known) page.sample(static_cast<double>(r.status.target_tokens - r.status.tokens_committed) / r.status.tokens_per_s, l);
    });
    each(kTerm, [&](const auto& r, const auto& l) { page.sample(r.status.term.value, l); });
    each(kEpoch, [&](const auto& r, const auto& l) { page.sample(r.status.epoch.value, l); });
    each(kRounds, [&](const auto& r, const auto& l) {
        page.sample(r.journal.decisions, with(l, "outcome", "decided"));
        page.sample(r.status.superseded, with(l, "outcome", "superseded"));
        page.sample(r.status.withdrawn, with(l, "outcome", "withdrawn"));
    });
    each(kRoundSeconds, [&](const auto& r, const auto& l) { page.sample(r.journal.rounds, l); });
    each(kParticipants, [&](const auto& r, const auto& l) { page.sample(std::uint64_t{r.status.participants}, l); });
    each(kData, [&](const auto& r, const auto& l) {
        page.sample(r.status.free_sequences, with(l, "state", "free"));
        page.sample(r.status.leased_sequences, with(l, "state", "leased"));
    });
    each(kDropped, [&](const auto& r, const auto& l) { page.sample(r.status.dropped_messages, l); });
    each(kTransactions, [&](const auto& r, const auto& l) {
        page.sample(r.journal.transactions, with(l, "result", "durable"));
        page.sample(r.journal.failed, with(l, "result", "failed"));
    });
    each(kTransactionSeconds, [&](const auto& r, const auto& l) { page.sample(r.journal.seconds, l); });
    each(kStoreBytes, [&](const auto& r, const auto& l) { page.sample(r.store_bytes, l); });
    each(kShardBytes, [&](const auto& r, const auto& l) { page.sample(r.shards.sent_bytes, l); });
    each(kShardCopies, [&](const auto& r, const auto& l) { page.sample(r.shards.most_copies, l); });
    each(kBundles, [&](const auto& r, const auto& l) { page.sample(r.bundles, l); });
}

void add_nodes(MetricsText& page, const std::vector<RunMetrics>& runs, std::int64_t wall_unix_s) {
    each_run(page, runs, kNodes, [&](const auto& r, const auto& l) {
        std::map<std::string_view, std::uint64_t> count;
        for (std::string_view word : {"joining", "current", "away", "leaving", "left", "revoked", "following"}) count[word] = 0;
        for (const NodeStatus& node : r.status.nodes) ++count[to_word(node.state)];
        for (const auto& [word, n] : count) page.sample(n, with(l, "state", std::string(word)));
    });
    auto each = [&](const MetricFamily& family, const std::function<void(const NodeStatus&, const MetricLabels&)>& add) {
        each_run(page, runs, family, [&](const auto& r, const auto& l) {
            for (const NodeStatus& node : r.status.nodes)
                add(node, with(with(l, "node", node.name), "node_id", node.node.short_hex()));
        });
    };
    each(kNodeSeen, [&](const NodeStatus& n, const auto& l) {
        page.sample(static_cast<double>(wall_unix_s) - static_cast<double>(n.heard_ms) / 1000.0, l);
    });
    each(kNodeConnected, [&](const NodeStatus& n, const auto& l) { page.sample(std::uint64_t{n.connected}, l); });
    each(kNodeStep, [&](const NodeStatus& n, const auto& l) { page.sample(n.head.value, l); });
    each(kNodeRate, [&](const NodeStatus& n, const auto& l) { page.sample(n.tokens_per_s, l); });
    each(kNodeTokens, [&](const NodeStatus& n, const auto& l) { page.sample(n.credited_tokens, l); });
    each(kBytes, [&](const NodeStatus& n, const auto& l) {
        page.sample(n.sent_bytes, with(l, "direction", "sent"));
        page.sample(n.received_bytes, with(l, "direction", "received"));
    });
}

}  // namespace

void add_coordinator_metrics(MetricsText& page, const std::vector<RunMetrics>& runs, const CoordinatorInfo& info, std::int64_t wall_unix_s) {
    add_run(page, runs);
    add_nodes(page, runs, wall_unix_s);
    page.single(kConnections, std::uint64_t{info.connections});
}

}  // namespace skerry::coordinator
