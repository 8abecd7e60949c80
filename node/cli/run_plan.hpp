#pragma once
// What a run costs and what a node needs for it, computed from what is known before it begins. Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "node/data/data_manifest.hpp"
#include "node/trainer/train_config.hpp"
#include "protocol/base/units.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// Bytes a second of a link, and whether the owner's limit makes it so. Zero: not known.
struct Rate {
    double bytes_per_s = 0;
    bool by_limit = false;
};

/// What a machine has to give to a run. Zero: not known.
struct Means {
    std::string name;
    std::uint32_t cores = 0;
    std::uint64_t memory_bytes = 0;       ///< in all, or what its control group may use
    std::uint64_t memory_free_bytes = 0;
    std::uint64_t disk_free_bytes = 0;
    double tokens_per_s = 0;              ///< with this run's model
    double up_bytes_per_s = 0;            ///< of the link, whatever the owner allows
    double down_bytes_per_s = 0;
    MachineLimits limits;
    /// The lesser of link and limit.
    Rate up() const;
    Rate down() const;
    friend bool operator==(const Means&, const Means&) = default;
};

/// Application bytes of the data plane in one outer step: envelopes and chunks, as agents count them in
/// `sent_bytes`. CURVE, TCP and IP are not in it.
struct StepBytes {
    std::uint64_t encoded = 0;        ///< one contribution, or one result
    std::vector<std::uint64_t> up;    ///< [nodes], in the order of the members
    std::vector<std::uint64_t> down;  ///< [nodes]
    std::uint64_t all = 0;            ///< sum of `up`
    std::uint64_t most_up() const;
    std::uint64_t most_down() const;
};

/// A step in which `nodes` members all contribute, all own pieces and no message is lost: each owner gathers its pieces
/// of every other contribution and gives each result to every other member. `manifest` has its piece grid.
StepBytes step_bytes(const Manifest& manifest, std::size_t nodes);

/// What one node needs. Bytes.
struct Needs {
    std::uint64_t trainer = 0;        ///< memory of skerry-trainer, without theta and m; none of a follower
    std::uint64_t trainer_least = 0;  ///< with one sequence at a time and layers computed again: slower
    std::uint64_t agent = 0;        ///< memory of skerry-node
    std::uint64_t shared = 0;       ///< theta and m, mapped by both: page cache
    std::uint64_t disk = 0;         ///< at the end of the run, pruned to the quota
    std::uint64_t disk_least = 0;   ///< state, two snapshots and entries, work, data: what is never pruned
    std::uint64_t work = 0;         ///< part of both: contributions and two saves of the trainer while it trains; a follower's model folders
    std::uint64_t data = 0;         ///< shards; part of both
    std::uint64_t memory() const { return trainer + agent + shared; }
    std::uint64_t memory_least() const { return trainer_least + agent + shared; }
};
Needs node_needs(const Manifest& manifest, const DataManifest& data, std::uint64_t steps, std::size_t nodes);

/// Disk at the end of the run where [limits] disk is `limit` (0: none): it holds log, snapshots and data down to what is
/// never pruned.
std::uint64_t disk_within(const Needs& needs, std::uint64_t limit);

/// Of a node that replays the log and writes model folders (`skerry join --follow`): no trainer, no data.
Needs follower_needs(const Manifest& manifest, std::uint64_t steps, std::size_t nodes);

/// Memory of a trainer of ours, without theta and m that it shares with the agent.
struct TrainerNeeds {
    std::uint64_t usual = 0;  ///< as it cuts its steps where it may use `most` bytes
    std::uint64_t least = 0;
};
/// `most`: theta counts in it, as in the trainer's own limit; 0: no limit. Zeros if this version cannot read the settings.
/// `own`: what the machine's owner chose of it. Counted is the path `fast`.
TrainerNeeds trainer_needs(const Manifest& manifest, std::uint64_t most, const TrainerChoice& own = {});

/// What a follower receives with a step.
std::uint64_t follower_bytes(const Manifest& manifest);

/// How long a node is busy in a step.
struct Pace {
    std::string name;
    std::uint64_t sequences = 0;   ///< that it trains on
    std::optional<double> train_s;     ///< none: its speed is not known
    std::optional<double> exchange_s;  ///< none: neither rate is known
    bool cut_short = false;            ///< by round_deadline: fewer inner steps than local_steps
};

/// What a node moves with each step. Bytes.
struct Load {
    std::uint64_t up = 0;
    std::uint64_t down = 0;
    std::optional<double> step_s;  ///< that a step takes; none: not known
};

/// One of the owner's limits against what the run would take of the machine without it.
struct LimitUse {
    std::string key;     ///< of [limits] in node.toml
    bool binds = false;  ///< the node would be faster, keep more or pause less without it
    std::string what;    ///< with both numbers
};
/// Of the limits that are set, in the order of node.toml.
std::vector<LimitUse> limit_uses(const Means& node, const Needs& needs, const Load& load);

struct Concern {
    enum class Kind : std::uint8_t { warn, too_small };
    enum class About : std::uint8_t { memory, disk, link, pace, data };
    Kind kind = Kind::warn;
    About about = About::memory;
    std::string node;  ///< empty: the run itself
    std::string what;  ///< with the numbers
    std::string fix;
};

struct RunPlan {
    std::uint64_t nodes = 0;
    std::uint64_t steps = 0;
    std::uint64_t tokens_per_step = 0;
    double epochs = 0;               ///< passes over the training data
    StepBytes bytes;
    Needs needs;
    std::vector<Pace> paces;         ///< [nodes]
    std::vector<std::vector<LimitUse>> limits;  ///< [nodes]
    std::optional<double> step_s;    ///< none: no speed is known
    double train_s = 0;              ///< of a step: the slowest node
    double exchange_s = 0;           ///< of a step: the slowest node, and writing
    std::optional<Millis> duration;
    std::vector<Concern> concerns;
    bool too_small(const std::string& node) const;
};

/// `nodes`: at least one. `exchange_deadline`: of run.toml.
RunPlan make_plan(const Manifest& manifest, const DataManifest& data, const std::vector<Means>& nodes, Millis exchange_deadline);

/// What speaks against running it on this machine: memory, disk, link, with the owner's limits. `here` bytes of the
/// disk's needs are there already.
std::vector<Concern> concerns_of(const Means& node, const Needs& needs, const Load& load, std::uint64_t here = 0);
/// How long the machine takes to move what a step takes; none: neither rate is known.
std::optional<double> exchange_time(const Means& node, const Load& load);

/// Arithmetic of one training token in proportion: parameters that are multiplied with, so that a speed measured with
/// one model says something about another.
double work_per_token(std::uint64_t elements);

}  // namespace skerry::node
