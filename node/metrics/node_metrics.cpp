#include "node/metrics/node_metrics.hpp"

#include "protocol/wire/words.hpp"

namespace skerry::node {
namespace {

constexpr MetricFamily kInfo{"skerry_node_info", MetricKind::gauge, "Which node of which run this is; always 1."};
constexpr MetricFamily kConnected{"skerry_node_connected", MetricKind::gauge, "1: in a session with the coordinator."};
constexpr MetricFamily kReconnects{"skerry_node_reconnects_total", MetricKind::counter, "Sessions with the coordinator after the first."};
constexpr MetricFamily kPhase{"skerry_node_phase", MetricKind::gauge, "1 for the phase the node is in, 0 for the others."};
constexpr MetricFamily kState{"skerry_node_member_state", MetricKind::gauge, "1 for the node's state in the roster, 0 for the others."};
constexpr MetricFamily kStep{"skerry_node_step", MetricKind::gauge, "Outer steps applied here."};
constexpr MetricFamily kRunStep{"skerry_run_step", MetricKind::gauge, "Outer steps decided, as last heard."};
constexpr MetricFamily kTokens{"skerry_run_tokens_total", MetricKind::counter, "Tokens in the steps applied here."};
constexpr MetricFamily kTarget{"skerry_run_tokens_target", MetricKind::gauge, "Tokens at which the run ends."};
constexpr MetricFamily kValLoss{"skerry_run_val_loss", MetricKind::gauge, "Held-out loss as this node computed it last, nats per token."};
constexpr MetricFamily kRate{"skerry_trainer_tokens_per_second", MetricKind::gauge, "Tokens per second of the trainer now."};
constexpr MetricFamily kLoss{"skerry_trainer_loss", MetricKind::gauge, "Training loss of the newest inner step, nats per token."};
constexpr MetricFamily kRoundSteps{"skerry_trainer_round_steps", MetricKind::gauge, "Inner steps done in the round under way."};
constexpr MetricFamily kTrainer{"skerry_trainer_state", MetricKind::gauge, "1 for the state the trainer is in, 0 for the others."};
constexpr MetricFamily kRestarts{"skerry_trainer_restarts_total", MetricKind::counter, "Times the trainer was started again."};
constexpr MetricFamily kBytes{"skerry_net_bytes_total", MetricKind::counter, "Application bytes of the data plane."};
constexpr MetricFamily kPeers{"skerry_net_connections", MetricKind::gauge, "Peers in the roster, by whether there is a connection."};
constexpr MetricFamily kRefused{"skerry_net_refused_total", MetricKind::counter, "Connections and messages refused by the data plane."};
constexpr MetricFamily kShards{"skerry_data_fetched_bytes_total", MetricKind::counter, "Bytes of data shards that were fetched, by from whom."};
constexpr MetricFamily kShardsGiven{"skerry_data_given_bytes_total", MetricKind::counter, "Bytes of data shards that this node gave to others."};
constexpr MetricFamily kRefetched{"skerry_data_hash_failures_total", MetricKind::counter, "Pieces that did not fit their hash and were fetched again."};
constexpr MetricFamily kDisk{"skerry_log_size_bytes", MetricKind::gauge, "Disk space of the run's log and snapshots."};
constexpr MetricFamily kFull{"skerry_disk_full", MetricKind::gauge, "1: the node's disk is full."};
constexpr MetricFamily kSnapshot{"skerry_checkpoint_step", MetricKind::gauge, "Step of the newest snapshot on disk."};
constexpr MetricFamily kOldest{"skerry_log_oldest_entry_step", MetricKind::gauge, "Oldest step whose entry is on disk."};
constexpr MetricFamily kScrubbed{"skerry_log_scrubbed_bytes_total", MetricKind::counter, "Bytes of kept entries and snapshots that were read to check them."};
constexpr MetricFamily kDamaged{"skerry_log_damaged_total", MetricKind::counter, "Kept entries and snapshots that turned out to be damaged."};
constexpr MetricFamily kMissing{"skerry_log_missing_entries", MetricKind::gauge, "Damaged entries that are not yet fetched again."};
constexpr MetricFamily kModel{"skerry_model_step", MetricKind::gauge, "Step of a follower's newest model folder."};
constexpr MetricFamily kModelWritten{"skerry_model_folders_total", MetricKind::counter, "Model folders that a follower has written."};
constexpr MetricFamily kBundles{"skerry_watchdog_bundles_total", MetricKind::counter, "Bundles that the watchdog wrote."};

}  // namespace

void add_node_metrics(MetricsText& page, const NodeView& view, const StatusFacts& facts, const StatusBook& book) {
    const MetricLabels run{{"run", facts.run_name}};
    auto with = [&](std::string_view key, std::string value) {
        MetricLabels labels = run;
        labels.emplace_back(key, std::move(value));
        return labels;
    };
    MetricLabels who = with("node", facts.node_name);
    who.emplace_back("node_id", facts.self.hex());
    who.emplace_back("site", facts.site);
    page.single(kInfo, std::uint64_t{1}, who);
    page.single(kConnected, std::uint64_t{facts.connected}, run);
    page.single(kReconnects, facts.sessions > 0 ? facts.sessions - 1 : 0, run);
    page.family(kPhase);
    page.states("phase", {"connecting", "joining", "behind", "work", "ready", "exchange", "prepared", "follow", "paused", "idle", "ended", "leaving"}, phase_text(view, facts), run);
    page.family(kState);
    page.states("state", {"joining", "current", "away", "leaving", "left", "revoked", "following"}, to_word(facts.member_state), run);
    page.single(kStep, view.head.value, run);
    page.single(kRunStep, view.orders.head.value, run);
    page.single(kTokens, view.tokens, run);
    page.single(kTarget, facts.target_tokens, run);
    if (book.heldout()) page.single(kValLoss, book.heldout()->second, run);
    page.single(kRate, book.alive().tokens_per_s, run);
    page.single(kLoss, book.alive().last_loss, run);
    page.single(kRoundSteps, std::uint64_t{book.alive().round_steps}, run);
    page.family(kTrainer);
    page.states("state", {"none", "starting", "training", "waiting", "stopped", "failed"}, to_word(view.trainer), run);
    page.single(kRestarts, facts.trainer_restarts, run);
    page.family(kBytes);
    page.sample(book.sent_bytes(), with("direction", "sent"));
    page.sample(book.received_bytes(), with("direction", "received"));
    std::uint64_t up = 0;
    std::uint64_t down = 0;
    for (const PeerStatus& peer : facts.peers) {
        if (peer.node != facts.self) ++(peer.connected ? up : down);
    }
    page.family(kPeers);
    page.sample(up, with("state", "connected"));
    page.sample(down, with("state", "not_connected"));
    page.family(kRefused);
    page.sample(facts.refused_zap, with("reason", "zap"));
    page.sample(facts.refused_roster, with("reason", "roster"));
    page.sample(facts.refused_too_large, with("reason", "too_large"));
    page.family(kShards);
    page.sample(facts.shards.fetched - facts.shards.from_peers, with("from", "coordinator"));
    page.sample(facts.shards.from_peers, with("from", "peers"));
    page.single(kShardsGiven, facts.shards.given, run);
    page.family(kRefetched);
    page.sample(facts.refetched_entries, with("kind", "entry"));
    page.sample(facts.refetched_shards, with("kind", "shard"));
    page.single(kDisk, facts.disk_bytes, run);
    page.single(kFull, std::uint64_t{facts.disk_full}, run);
    if (!facts.snapshots.empty()) page.single(kSnapshot, facts.snapshots.back().value, run);
    page.single(kOldest, facts.oldest_entry.value, run);
    page.single(kScrubbed, view.care.read_bytes, run);
    page.single(kDamaged, view.care.damaged, run);
    page.single(kMissing, view.care.missing, run);
    if (facts.mirror) {
        page.single(kModel, facts.mirror->step.value, run);
        page.single(kModelWritten, facts.mirror->written, run);
    }
    page.single(kBundles, facts.watchdog.bundles, run);
}

}  // namespace skerry::node
