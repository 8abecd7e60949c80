// What the agent shows of itself, and what it shares with others.

#include "node/app/node_app.hpp"
#include "node/log/base_state.hpp"
#include "protocol/config/address.hpp"
#include "protocol/rules/base_file.hpp"

namespace skerry::node {

StatusFacts NodeApp::status_facts() const {
    StatusFacts facts;
    const Token& token = options_.settings.token;
    facts.run_name = token.run;
    facts.node_name = options_.settings.name;
    facts.site = options_.settings.site;
    facts.self = options_.key.id();
    facts.coordinator = to_text(Address{token.host, token.port});
    facts.connected = session_->is_open();
    facts.trainer_pid = trainer_->pid();
    facts.trainer_restarts = trainer_->restarts();
    if (const TrainerSetup* setup = trainer_->setup()) facts.setup_json = to_json(*setup);
    facts.data_port = data_port_;
    facts.metrics_port = metrics_ ? metrics_->port() : std::uint16_t{0};
    facts.sessions = sessions_;
    facts.watchdog = watchdog_;
    facts.paused = owner_->state().reason != PauseReason::none;
    facts.pause_json = owner_->pause_json();
    facts.limits_json = owner_->limits_json();
    facts.disk_full = disk_full_;
    facts.error = facts.connected ? std::nullopt : lost_;
    facts.refused_zap = zap_->refused();
    facts.refused_roster = engine_->links().counters().dropped_unknown + engine_->links().counters().connections_cut;
    facts.refused_too_large = engine_->links().counters().dropped_malformed + engine_->counters().dropped_malformed;
    facts.refetched_entries = engine_->counters().chunks_bad;
    facts.refetched_shards = shard_fetch_ ? shard_fetch_->corrupted() : 0;
    if (shard_fetch_) facts.shards = {shard_fetch_->fetched_bytes(), shard_fetch_->from_peers_bytes(), shard_exchange_->counters().served_bytes};
    facts.follow = options_.settings.follow;
    if (mirror_) facts.mirror = mirror_->facts();
    if (store_) {
        facts.run = store_->manifest().run;
        facts.target_tokens = store_->manifest().target_tokens;
        facts.disk_bytes = store_->disk_bytes();
        for (const SnapshotInfo& snapshot : store_->snapshots()) facts.snapshots.push_back(snapshot.step);
        facts.oldest_entry = store_->oldest_entry().value_or(Step{});
    }
    for (const RosterEntry& entry : roster_.nodes) {
        if (entry.node == facts.self) facts.member_state = leaving_ ? NodeState::leaving : entry.state;
        PeerTraffic traffic = engine_->links().traffic(entry.node);
        std::string address = entry.addresses.empty() ? "" : to_text(entry.addresses.front());
        facts.peers.push_back({entry.name, entry.node, entry.state, address, engine_->links().is_up(entry.node),
                               traffic.sent_bytes, traffic.received_bytes});
    }
    return facts;
}

/// What other nodes may have of this one, and whom it asks itself.
void NodeApp::share_shards() {
    auto files = data_->files();
    const Manifest& manifest = store_->manifest();
    std::filesystem::path base;
    if (!manifest.initial_root.is_zero()) {
        files.push_back({manifest.initial_root, base_file_bytes(manifest.elements)});
        base = options_.folder.run() / kBaseState;
    }
    shard_fetch_->set_files(std::move(files), std::move(base));
    shard_fetch_->set_peers(shard_exchange_.get());
    shard_exchange_->set_look([this](const Digest& shard) { return shard_fetch_->look(shard); });
}

}  // namespace skerry::node
