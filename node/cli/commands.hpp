#pragma once
// The commands of `skerry`. Each prints what it has to say and returns the error, if any; main turns it into an exit status.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "node/cli/context.hpp"
#include "node/cli/model_choice.hpp"
#include "protocol/base/units.hpp"

namespace skerry::node {

// ---- data, runs, tokens, nodes: at a coordinator -------------------------------------------------------

struct PrepareCommand {
    std::vector<std::string> texts;
    std::string held_out;
    std::string out;
    std::string shard_size;
    std::string tokenizer, separator, field;
    std::string prompt_field, completion_field, chat_template, train_on, too_long;
    std::uint32_t pack = 0;
};
Result<void> prepare_command(const Context& context, const PrepareCommand& command);
/// Shards of a data folder; of the folder of a fork's node: the state that the run began with. Resumes where an earlier
/// push ended.
Result<void> push_command(const Context& context, const std::string& folder);
Result<void> push_base(const Context& context, const std::filesystem::path& run_folder);

struct CreateCommand {
    std::string file;
    bool start = false;
    bool dry_run = false;
    bool yes = false;                    ///< no question on a terminal
    std::optional<std::uint32_t> nodes;  ///< none: those that are connected, or min_nodes
    std::string node_speed;              ///< tokens per second of nodes that were not measured
    std::string up, down;                ///< rates of nodes that were not measured
};
/// Prints the plan, then makes the run; with `dry_run` the plan alone, for which no coordinator need be named.
Result<void> run_create_command(const Context& context, const CreateCommand& command);
/// A new run whose S_0 is a state of another one, rebuilt from a node's folder (context.dir); none: the newest.
Result<void> run_fork_command(const Context& context, const std::string& file, std::optional<std::uint64_t> step, bool start);
/// `verb`: start, pause, stop.
Result<void> run_verb_command(const Context& context, const std::string& verb, const std::string& name, bool now);
/// A step that makes the run's state that of `to_step`. Waits until it is decided. Errors: not_found with what is
/// kept; bad_state: too few nodes voted for it; timed_out.
Result<void> rollback_command(const Context& context, const std::string& name, std::uint64_t to_step, bool refeed, Millis patience);
/// A step that changes hyper-parameters of the outer optimizer: "outer.lr=0.5", "outer.momentum=0.8".
Result<void> run_config_command(const Context& context, const std::string& name, const std::vector<std::string>& changes, Millis patience);
Result<void> run_list_command(const Context& context);

struct TokenCommand {
    std::uint64_t uses = 1;
    std::string ttl = "1h";  ///< "0": for ever
    std::string role = "node";
    std::string label;
};
Result<void> token_create_command(const Context& context, const TokenCommand& command);
Result<void> token_revoke_command(const Context& context, const std::string& id);
Result<void> token_list_command(const Context& context);

/// `csv`: the ledger, a line for each node.
Result<void> nodes_command(const Context& context, bool csv);
/// `verb`: revoke, clear.
Result<void> nodes_verb_command(const Context& context, const std::string& verb, const std::string& node, const std::string& reason);

// ---- this machine's node ------------------------------------------------------------------------------

struct JoinCommand {
    std::string token;
    std::string token_file;
    std::optional<std::string> name;
    std::optional<std::string> site;
    std::optional<int> threads;
    std::optional<std::string> listen;
    std::vector<std::string> advertise;
    std::optional<std::string> trainer;
    std::optional<std::string> up, down, per_day, memory, disk;
    std::optional<std::string> metrics;
    bool follow = false;
    std::optional<std::string> export_folder;
    std::optional<std::string> export_every;
    std::string ready_file;
    std::string log_level;
    std::string log_format;
    bool no_input = false;
    bool force = false;  ///< also where the machine is too small
    bool detach = false;
};
/// Makes or completes the node's folder, then becomes skerry-node. Returns only on an error, or with --detach.
Result<void> join_command(const Context& context, const JoinCommand& command);
/// `length`: "2h"; empty: until it is resumed.
Result<void> pause_command(const Context& context, const std::string& length);
Result<void> resume_command(const Context& context);
/// What the owner sets; nothing: as it is. "none" takes a limit away.
struct LimitsCommand {
    std::optional<std::string> up, down, per_day, threads, memory, disk;
    std::vector<std::string> hours;
};
/// Of node.toml, and what of today's bytes is used if the agent runs.
Result<void> limits_show_command(const Context& context);
/// Changes node.toml, its comments stay; the agent takes it up at once. Errors: usage with the value, config_invalid with
/// file and line; the file is as it was then.
Result<void> limits_set_command(const Context& context, const LimitsCommand& command);
/// The agent reads node.toml anew.
Result<void> limits_reload_command(const Context& context);
/// Waits until the agent has left, at most `patience`.
Result<void> leave_command(const Context& context, bool now, Millis patience);

/// `verb`: install, uninstall, status. A systemd user unit for the node of --dir. `print`: the unit only, nothing is written.
Result<void> service_command(const Context& context, const std::string& verb, bool print);
/// Checks machine, folder, agent and the way to the coordinator; prints each with its cure. Errors: that of the first
/// check that failed. `bundle`: also writes what a bug report needs.
Result<void> doctor_command(const Context& context, const std::string& bundle);

// ---- both ---------------------------------------------------------------------------------------------

/// Of the node or the coordinator that the options name. `watch`: until Ctrl-C or the end of the run.
Result<void> status_command(const Context& context, bool watch);

// ---- models -------------------------------------------------------------------------------------------

struct ExportCommand {
    std::string out;
    std::optional<std::uint64_t> step;
    std::string dtype = "fp32";
    std::string file_size;
};
Result<void> export_command(const Context& context, const ExportCommand& command);

struct GenerateCommand {
    ModelChoice model;
    std::string prompt;
    std::uint32_t tokens = 200;
    double temperature = 0.8;
    std::uint64_t seed = 1;
    std::uint32_t top_k = 0;
    double top_p = 1;
    bool chat = false;      ///< the prompt is what a user says
    bool no_stop = false;   ///< go on behind an end token
    bool no_cache = false;  ///< read all again for each token
};
Result<void> generate_command(const Context& context, const GenerateCommand& command);

struct EvalCommand {
    ModelChoice model;
    std::string data;  ///< JSON lines of examples; empty: the run's held-out data
    std::string prompt_field, completion_field, chat_template, separator;
    bool match = false;      ///< and how many answers are given word for word
    std::uint64_t most = 0;  ///< examples; 0: all
};
Result<void> eval_command(const Context& context, const EvalCommand& command);
Result<void> verify_command(const Context& context, const std::string& dir);

Result<void> help_errors_command(const Context& context, const std::string& code);

}  // namespace skerry::node
