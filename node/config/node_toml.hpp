#pragma once
// A node's folder and its node.toml: `skerry join` writes it, skerry-node reads it.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "protocol/base/result.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

inline constexpr std::uint16_t kDataPort = 7610;
inline constexpr std::uint16_t kMetricsPort = 7611;

/// The folder that `skerry join --dir` makes. All paths of a node follow from it.
struct NodeFolder {
    std::filesystem::path root;
    std::filesystem::path config() const { return root / "node.toml"; }
    std::filesystem::path token() const { return root / "token"; }
    std::filesystem::path key() const { return root / "identity" / "key"; }
    std::filesystem::path run() const { return root / "run"; }
    std::filesystem::path shards() const { return root / "shards"; }
    std::filesystem::path socket() const { return root / "agent.sock"; }
    std::filesystem::path bundles() const { return root / "bundles"; }
    std::filesystem::path model() const { return root / "model"; }  ///< of a follower
    /// What the owner said last and what was transferred today.
    std::filesystem::path owner() const { return root / "owner.json"; }
};

/// What the owner of the machine decides, as it is written.
struct NodeToml {
    std::string name;
    std::string site;
    std::string listen = "0.0.0.0:7610";  ///< HOST:PORT of the data plane, or "none": this machine only dials
    std::vector<std::string> advertise;   ///< HOST:PORT each; empty: the address the coordinator sees
    int threads = 0;                      ///< of the trainer; 0: cores divided by trainers on this machine
    std::string trainer;                  ///< program; empty: skerry-trainer
    std::string path = "auto";            ///< what a step is computed with: auto, fast, autograd, cuda
    std::string precision = "auto";       ///< auto (the run's, or the trainer's own choice), fp32, bf16
    int micro_batch = 0;                  ///< sequences at a time at most; 0: as many as fit
    std::string recompute = "auto";       ///< auto, none, attention, layers
    std::string save_every;               ///< duration, of local progress; empty: 30s
    std::string silent_after;             ///< duration, of the trainer; empty: 30s
    std::string up;                       ///< rate, of all bulk data together; empty: no limit
    std::string down;                     ///< likewise
    std::string daily_transfer;           ///< size, both ways; empty: no limit
    std::string memory;                   ///< size, of the trainer; empty: no limit
    std::string disk;                     ///< size, of log and data shards; empty: the run's quota alone
    std::vector<std::string> hours;       ///< see week_hours.hpp; empty: always
    std::string scrub_every;              ///< duration, from one reading of the whole log to the next; empty: 24h
    bool follow = false;                  ///< reads the log only
    std::string export_folder;            ///< of a follower's model folders; empty: NODEDIR/model
    std::string export_every;             ///< duration, between two of them; empty: after each step
    std::string metrics;                  ///< HOST:PORT, or "none"; empty: 127.0.0.1:7611, or any free port
};

/// Errors: not_found, config_invalid with file and line.
Result<NodeToml> load_node_toml(const std::filesystem::path& file);
/// `name` stands in errors.
Result<NodeToml> parse_node_toml(const std::string& text, const std::string& name);
/// The same checks for values that a command line gave. Errors: usage.
Result<void> check(const NodeToml& config);
std::string to_text(const NodeToml& config);
/// Of a file that was checked.
MachineLimits to_machine_limits(const NodeToml& config);

}  // namespace skerry::node
