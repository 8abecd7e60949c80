#pragma once
// The agent's status document (docs/status-json.md, section 2).

#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "node/core/node_core.hpp"
#include "protocol/observe/bundle.hpp"

namespace skerry::node {

/// Bytes of data shards, since the process started.
struct ShardTotals {
    std::uint64_t fetched = 0;
    std::uint64_t from_peers = 0;  ///< of them
    std::uint64_t given = 0;       ///< to other nodes
};

/// A follower's model folder.
struct MirrorFacts {
    std::filesystem::path folder;
    Step step;                  ///< of the newest one written
    std::uint64_t written = 0;  ///< since the process started
    std::optional<Error> error; ///< why the newest state is not there
};

struct PeerStatus {
    std::string name;
    NodeId node;
    NodeState state = NodeState::joining;
    std::string address;
    bool connected = false;
    std::uint64_t sent_bytes = 0;
    std::uint64_t received_bytes = 0;
};

/// What is not in the core's view: filled by the shell just before the document is made.
struct StatusFacts {
    std::string run_name;
    std::string node_name;
    std::string site;
    NodeId self;
    RunId run;
    std::string coordinator;
    bool connected = false;
    int trainer_pid = 0;
    std::uint64_t trainer_restarts = 0;
    std::string setup_json = "null";  ///< what the trainer works with
    std::uint64_t target_tokens = 0;
    std::uint16_t data_port = 0;
    std::uint16_t metrics_port = 0;
    std::uint64_t sessions = 0;  ///< with the coordinator, since the process started
    WatchdogFacts watchdog;
    std::uint64_t disk_bytes = 0;
    bool disk_full = false;
    bool paused = false;
    bool follow = false;
    std::string pause_json = "null";  ///< why and until when
    std::string limits_json = "null";
    NodeState member_state = NodeState::joining;
    std::vector<PeerStatus> peers;
    std::vector<Step> snapshots;
    Step oldest_entry;
    std::uint64_t refetched_entries = 0;
    std::uint64_t refetched_blocks = 0;
    std::uint64_t refetched_shards = 0;
    std::uint64_t refused_zap = 0;
    std::uint64_t refused_roster = 0;
    std::uint64_t refused_too_large = 0;
    ShardTotals shards;
    std::optional<MirrorFacts> mirror;  ///< of a follower
    std::optional<Error> error;
};

/// Remembers what goes by: digests of states, the newest losses.
class StatusBook {
  public:
    void note_digest(Step step, const Digest& digest);
    void note_heldout(Step step, double loss);
    void note_trainer(const TrainerAlive& alive) { alive_ = alive; }
    void note_traffic(std::uint64_t sent, std::uint64_t received);

    std::string to_json(const NodeView& view, const StatusFacts& facts) const;

    const TrainerAlive& alive() const { return alive_; }
    const std::optional<std::pair<Step, double>>& heldout() const { return heldout_; }
    std::uint64_t sent_bytes() const { return sent_bytes_; }
    std::uint64_t received_bytes() const { return received_bytes_; }

  private:
    std::deque<StateDigest> digests_;  ///< the newest 1000, ascending
    std::optional<std::pair<Step, double>> heldout_;
    TrainerAlive alive_;
    std::uint64_t sent_bytes_ = 0;
    std::uint64_t received_bytes_ = 0;
};

/// The word of the status document for where the node is.
std::string_view phase_text(const NodeView& view, const StatusFacts& facts);

}  // namespace skerry::node
