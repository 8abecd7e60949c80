// skerry: the command of people who join, run and watch training runs.

#include <CLI/CLI.hpp>
#include <cstdio>

#include "node/cli/commands.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

using Action = std::function<Result<void>()>;

/// The command line: options into values, the command named into `action`.
class CommandLine {
  public:
    CommandLine() {
        app_.set_version_flag("--version", SKERRY_VERSION);
        app_.require_subcommand(1);
        app_.fallthrough();
        app_.add_flag("--json", context_.json, "answers and errors as JSON");
        app_.add_option("--dir", context_.dir, "a node's folder on this machine");
        app_.add_option("--coordinator-dir", context_.coordinator_dir, "a coordinator's folder on this machine");
        app_.add_option("--coordinator", context_.coordinator, "HOST:PORT of a coordinator, instead of the token's");
        app_.add_option("--token-file", context_.token_file, "a token in a file; for a coordinator far away, an administrator's");
        app_.add_option("--run", context_.run, "the run, where a coordinator has several");
        add_data();
        add_runs();
        add_tokens();
        add_nodes();
        add_join();
        add_agent();
        add_models();
        add_help();
    }

    int run(int argc, char** argv) {
        try {
            app_.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            if (error.get_exit_code() == 0) return app_.exit(error);
            return report(context_, Error{Errc::usage, error.what(), "skerry " + path_of(app_) + "--help"});
        }
        return report(context_, action_());
    }

  private:
    CLI::App* command(CLI::App& parent, const char* name, const char* what, Action action) {
        auto* made = parent.add_subcommand(name, what);
        made->callback([this, action = std::move(action)] {
            // The innermost command is asked first and wins.
            if (!action_) action_ = action;
        });
        return made;
    }

    static std::string path_of(CLI::App& app) {
        for (CLI::App* sub : app.get_subcommands()) return sub->get_name() + " " + path_of(*sub);
        return "";
    }

    void add_data() {
        auto* data = app_.add_subcommand("data", "prepare text, push it to the coordinator");
        data->require_subcommand(1);
        auto* prepare = command(*data, "prepare", "text files to token shards", [this] { return prepare_command(context_, prepare_); });
        prepare->add_option("texts", prepare_.texts, "plain text files; with --field JSON lines")->required();
        prepare->add_option("-o,--out", prepare_.out, "the folder to make")->required();
        prepare->add_option("--val", prepare_.held_out, "held-out text; without it a twentieth is held out");
        prepare->add_option("--tokenizer", prepare_.tokenizer, "a model folder's (or a tokenizer.json); without it tokens are bytes");
        prepare->add_option("--separator", prepare_.separator, "an added token to put behind each document, e.g. '<|endoftext|>'");
        prepare->add_option("--field", prepare_.field, "the files are JSON lines: the member that holds a document's text");
        prepare->add_option("--prompt-field", prepare_.prompt_field, "the files are JSON lines of examples: the member that holds the prompt");
        prepare->add_option("--completion-field", prepare_.completion_field, "and the one that holds its completion, which is what is learnt");
        prepare->add_option("--pack", prepare_.pack, "examples: the length of the run's sequences (sequence_length), which they are packed into");
        prepare->add_option("--template", prepare_.chat_template, "of messages: chatml, llama3 or plain; left out: by the tokenizer's added tokens")
            ->check(CLI::IsMember({"chatml", "llama3", "plain"}));
        prepare->add_option("--train-on", prepare_.train_on, "completions, or all: no loss mask inside an example")->check(CLI::IsMember({"completions", "all"}));
        prepare->add_option("--too-long", prepare_.too_long, "an example longer than a sequence: cut (default), skip or refuse")->check(CLI::IsMember({"cut", "skip", "refuse"}));
        prepare->add_option("--shard-size", prepare_.shard_size, "e.g. 64MiB");
        auto* push = command(*data, "push", "send shards to the coordinator; goes on where it ended", [this] { return push_command(context_, folder_); });
        push->add_option("folder", folder_, "what data prepare made; or a node's folder: the state that a fork began with")->required();
    }

    void add_runs() {
        auto* run = app_.add_subcommand("run", "create, start, pause, stop, list runs");
        run->require_subcommand(1);
        auto* create = command(*run, "create", "make a run of a run.toml", [this] { return run_create_command(context_, create_); });
        create->add_option("file", create_.file, "run.toml")->required();
        create->add_flag("--start", create_.start, "start it at once");
        create->add_flag("--dry-run", create_.dry_run, "print what it would cost and need; create nothing");
        create->add_option("--nodes", create_.nodes, "plan for so many (default: those that are connected, or min_nodes)");
        create->add_option("--node-speed", create_.node_speed, "tokens/s of nodes that were not measured, e.g. 20k");
        create->add_option("--up", create_.up, "upload of nodes that were not measured, e.g. 20Mbit");
        create->add_option("--down", create_.down, "download of nodes that were not measured");
        create->add_flag("--yes,-y,--no-input", create_.yes, "ask nothing");
        auto* fork = command(*run, "fork", "make a run that begins with a state of another one", [this] {
            return run_fork_command(context_, file_, step_, start_);
        });
        fork->add_option("file", file_, "run.toml of the new run")->required();
        fork->add_option("--step", step_, "S of this step of the other run; left out: the newest");
        fork->add_flag("--start", start_, "start it at once");
        for (const char* verb : {"start", "pause", "stop"}) {
            auto* one = command(*run, verb, "the run, after the step under way", [this, verb] { return run_verb_command(context_, verb, name_, now_); });
            one->add_option("name", name_, "the run's name");
            if (std::string_view(verb) == "stop") one->add_flag("--now", now_, "do not finish the step under way");
        }
        auto* back = command(*run, "rollback", "go back to the state of an older step, by a vote", [this] {
            auto patience = parse_duration(vote_patience_);
            return patience ? rollback_command(context_, name_, *step_, refeed_, *patience) : Result<void>(fail(patience.error()));
        });
        back->add_option("name", name_, "the run's name");
        back->add_option("--to-step", step_, "S of this step becomes the state")->required();
        back->add_flag("--refeed", refeed_, "train on the data of the undone steps again");
        back->add_option("--patience", vote_patience_, "how long to wait for the vote")->capture_default_str();
        auto* config = command(*run, "config", "change outer.lr and outer.momentum, by a vote", [this] {
            auto patience = parse_duration(vote_patience_);
            return patience ? run_config_command(context_, name_, changes_, *patience) : Result<void>(fail(patience.error()));
        });
        config->add_option("name", name_, "the run's name")->required();
        config->add_option("changes", changes_, "key=value: outer.lr=0.5 outer.momentum=0.8")->required();
        config->add_option("--patience", vote_patience_, "how long to wait for the vote")->capture_default_str();
        auto* list = command(*run, "ls", "all runs", [this] { return run_list_command(context_); });
        list->alias("list");
    }

    void add_tokens() {
        auto* token = app_.add_subcommand("token", "let nodes or administrators in");
        token->require_subcommand(1);
        auto* create = command(*token, "create", "a new token, printed once", [this] { return token_create_command(context_, token_); });
        create->add_option("--uses", token_.uses, "how many nodes it admits")->capture_default_str();
        create->add_option("--ttl", token_.ttl, "how long it holds: 1h, 7d; 0: for ever")->capture_default_str();
        create->add_option("--role", token_.role, "node or admin")->check(CLI::IsMember({"node", "admin"}))->capture_default_str();
        create->add_option("--label", token_.label, "for the list");
        auto* revoke = command(*token, "revoke", "end a token", [this] { return token_revoke_command(context_, id_); });
        revoke->add_option("id", id_, "16 hex digits, see token ls")->required();
        command(*token, "ls", "all tokens", [this] { return token_list_command(context_); })->alias("list");
    }

    void add_nodes() {
        auto* nodes = command(app_, "nodes", "the nodes of a run", [this] { return nodes_command(context_, csv_); });
        nodes->add_flag("--csv", csv_, "the ledger: what each node has given, as CSV");
        for (const char* verb : {"revoke", "clear"}) {
            bool revoke = std::string_view(verb) == "revoke";
            auto* one = command(*nodes, verb, revoke ? "put a node out at once" : "let a revoked node in again",
                                [this, verb] { return nodes_verb_command(context_, verb, id_, reason_); });
            one->add_option("node", id_, "name, or id (8 hex digits or more)")->required();
            if (revoke) one->add_option("--reason", reason_, "told to the node");
        }
    }

    void add_join() {
        auto* join = command(app_, "join", "make this machine a node of a run", [this] {
            join_.token_file = context_.token_file;
            return join_command(context_, join_);
        });
        join->add_option("token", join_.token, "what the operator gave you; - reads it from standard input");
        join->add_option("--name", join_.name, "of this node (default: the host's)");
        join->add_option("--site", join_.site, "where it stands");
        join->add_option("--threads", join_.threads, "of the trainer; 0: cores divided by trainers here");
        join->add_option("--listen", join_.listen, "HOST:PORT of the data plane, or none (default 0.0.0.0:7610)");
        join->add_option("--advertise", join_.advertise, "HOST:PORT that others use (may be repeated)");
        join->add_option("--trainer", join_.trainer, "another trainer program");
        join->add_option("--up", join_.up, "upload of bulk data: 2Mbit");
        join->add_option("--down", join_.down, "download of bulk data: 20Mbit");
        join->add_option("--per-day", join_.per_day, "both ways together: 30GiB");
        join->add_option("--memory", join_.memory, "of the trainer: 12GiB");
        join->add_option("--disk", join_.disk, "log and data shards: 20GiB");
        join->add_flag("--follow", join_.follow, "do not train: read the log and keep the newest model folder");
        join->add_option("--export", join_.export_folder, "of a follower: where model folders go; DIR/newest is the newest (default NODEDIR/model)");
        join->add_option("--export-every", join_.export_every, "of a follower: time between two model folders, e.g. 30s (default: each step)");
        join->add_option("--ready-file", join_.ready_file, "written once the node's sockets are open");
        join->add_option("--metrics", join_.metrics, "HOST:PORT of /metrics, or none; default 127.0.0.1:7611 or any free port");
        join->add_option("--log", join_.log_level, "debug, info, warn or error");
        join->add_option("--log-format", join_.log_format, "text or json");
        join->add_flag("--no-input,--yes,-y", join_.no_input, "ask nothing");
        join->add_flag("--force", join_.force, "join also where the machine seems too small");
        join->add_flag("--detach", join_.detach, "run in the background; answers once the node has joined");
    }

    void add_agent() {
        auto* pause = command(app_, "pause", "stop training and free the trainer's memory; stay connected", [this] { return pause_command(context_, length_); });
        pause->add_option("--for", length_, "e.g. 30min, 2h; without it until skerry resume");
        command(app_, "resume", "train again", [this] { return resume_command(context_); });
        auto* limits = app_.add_subcommand("limits", "what this machine gives: rates, bytes a day, threads, memory, disk, hours");
        limits->require_subcommand(1);
        command(*limits, "show", "the limits that hold", [this] { return limits_show_command(context_); });
        command(*limits, "reload", "after node.toml was edited", [this] { return limits_reload_command(context_); });
        auto* set = command(*limits, "set", "change node.toml and the running node; none takes a limit away", [this] { return limits_set_command(context_, limits_); });
        set->add_option("--up", limits_.up, "upload of bulk data: 2Mbit");
        set->add_option("--down", limits_.down, "download of bulk data: 20Mbit");
        set->add_option("--per-day", limits_.per_day, "both ways: 30GiB");
        set->add_option("--threads", limits_.threads, "of the trainer; 0: cores divided by trainers here");
        set->add_option("--memory", limits_.memory, "of the trainer: 12GiB");
        set->add_option("--disk", limits_.disk, "log and data shards: 20GiB");
        set->add_option("--hours", limits_.hours, "when it may work, may be repeated: 22:00-07:00, sat,sun, \"mon-fri 18:00-08:00\"");
        auto* service = app_.add_subcommand("service", "run the node as a systemd service of this user");
        service->require_subcommand(1);
        const std::pair<const char*, const char*> verbs[] = {{"install", "write the unit, enable and start it"}, {"uninstall", "stop it and take the unit away"},
                                                             {"status", "whether it is installed, enabled and running"}};
        for (const auto& [verb, what] : verbs) {
            auto* one = command(*service, verb, what, [this, verb = verb] { return service_command(context_, verb, print_); });
            if (std::string_view(verb) == "install") one->add_flag("--print", print_, "print the unit, change nothing");
        }
        auto* doctor = command(app_, "doctor", "what is wrong with this machine, and what cures it", [this] { return doctor_command(context_, file_); });
        doctor->add_option("--bundle", file_, "also write FILE.tar.gz for a bug report; no token, no key");
        auto* leave = command(app_, "leave", "leave the run after the step under way", [this] { return leave_run(); });
        leave->add_flag("--now", now_, "do not finish the step");
        leave->add_option("--patience", patience_, "how long to wait")->capture_default_str();
        auto* status = command(app_, "status", "what happens, what it waits for, what comes next", [this] { return status_command(context_, watch_); });
        status->add_flag("--watch,-w", watch_, "until Ctrl-C or the end of the run");
    }

    void add_models() {
        auto* make = command(app_, "export", "write the model as a Hugging Face folder", [this] { return export_command(context_, export_); });
        make->add_option("-o,--out", export_.out, "the folder to write")->required();
        make->add_option("--step", export_.step, "of an older state");
        make->add_option("--dtype", export_.dtype, "of the weights")->check(CLI::IsMember({"fp32", "bf16"}))->capture_default_str();
        make->add_option("--file-size", export_.file_size, "of the largest weight file (default 5 GB)");
        auto* generate = command(app_, "generate", "continue a text with the newest weights", [this] { return generate_command(context_, generate_); });
        generate->add_option("--prompt", generate_.prompt, "the text to continue")->required();
        generate->add_option("--tokens", generate_.tokens, "how many")->capture_default_str();
        generate->add_option("--temperature", generate_.temperature, "0: always the likeliest")->check(CLI::Range(0.0, 100.0))->capture_default_str();
        generate->add_option("--seed", generate_.seed, "equal seeds give equal texts")->capture_default_str();
        generate->add_option("--top-k", generate_.top_k, "only of the so many likeliest tokens")->check(CLI::Range(0, 1 << 22));
        generate->add_option("--top-p", generate_.top_p, "only of the likeliest tokens that have this probability together")->check(CLI::Range(0.0001, 1.0));
        generate->add_flag("--chat", generate_.chat, "the prompt is what a user says: answer it, by the template of the run's data");
        generate->add_flag("--no-stop", generate_.no_stop, "go on behind an end token");
        generate->add_flag("--no-cache", generate_.no_cache, "read all again for each token: slow, to compare with");
        generate_.model.precision = "fp32";  // reads the weights where they lie; bf16 needs a copy and wins with large models only
        add_model_choice(*generate, generate_.model);
        auto* eval = command(app_, "eval", "the loss of the newest weights on held-out data or on examples of your own", [this] { return eval_command(context_, eval_); });
        eval->add_option("--data", eval_.data, "JSON lines with prompt and completion, or messages; or the run's data folder, for its held-out part; left out: that from the node's disk");
        eval->add_option("--prompt-field", eval_.prompt_field, "the member that holds the prompt");
        eval->add_option("--completion-field", eval_.completion_field, "the member that holds the completion");
        eval->add_option("--template", eval_.chat_template, "of messages; left out: that of the run's data, or by the tokenizer")->check(CLI::IsMember({"chatml", "llama3", "plain"}));
        eval->add_option("--separator", eval_.separator, "the added token that ends a completion");
        eval->add_flag("--match", eval_.match, "also how many answers are given word for word, the likeliest token always");
        eval->add_option("--most", eval_.most, "only so many examples");
        eval_.model.precision = "fp32";
        add_model_choice(*eval, eval_.model);
        auto* verify = command(app_, "verify", "recompute all states from a node's disk", [this] { return verify_command(context_, folder_); });
        verify->add_option("folder", folder_, "a node's folder")->required();
    }

    static void add_model_choice(CLI::App& to, ModelChoice& choice) {
        to.add_option("--model", choice.model, "a Hugging Face folder instead of a node's");
        to.add_option("--step", choice.step, "of an older state");
        to.add_option("--tokenizer", choice.tokenizer, "the tokenizer that the run's data was made with: a model folder or a tokenizer.json");
        to.add_option("--threads", choice.threads, "of the trainer");
        to.add_option("--trainer", choice.trainer, "another trainer program");
        to.add_option("--precision", choice.precision, "fp32, bf16 or auto")->check(CLI::IsMember({"fp32", "bf16", "auto"}));
    }

    void add_help() {
        auto* help = app_.add_subcommand("help", "more about one thing");
        help->require_subcommand(1);
        auto* errors = command(*help, "errors", "error codes, exit statuses, what to do", [this] { return help_errors_command(context_, code_); });
        errors->add_option("code", code_, "e.g. TOKEN_EXPIRED");
    }

    Result<void> leave_run() {
        auto patience = parse_duration(patience_);
        if (!patience) return fail(patience.error());
        return leave_command(context_, now_, *patience);
    }

    CLI::App app_{"Skerry: train one model on machines that do not share a network."};
    Context context_;
    Action action_;
    PrepareCommand prepare_;
    TokenCommand token_;
    CreateCommand create_;
    JoinCommand join_;
    ExportCommand export_;
    LimitsCommand limits_;
    GenerateCommand generate_;
    EvalCommand eval_;
    std::string folder_;
    std::string file_;
    std::string name_;
    std::string id_;
    std::string reason_;
    std::string out_;
    std::string code_;
    std::string patience_ = "10min";
    std::string length_;
    std::string vote_patience_ = "2min";
    std::vector<std::string> changes_;
    bool refeed_ = false;
    bool csv_ = false;
    std::optional<std::uint64_t> step_;
    bool start_ = false;
    bool now_ = false;
    bool print_ = false;
    bool watch_ = false;
};

}  // namespace
}  // namespace skerry::node

int main(int argc, char** argv) {
    try {
        skerry::node::CommandLine line;
        return line.run(argc, argv);
    } catch (const std::bad_alloc&) {
        std::fprintf(stderr, "error[NOT_ENOUGH_MEMORY]: out of memory\n");
        return skerry::exit_code(skerry::Errc::out_of_memory);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error[INTERNAL]: %s\n", error.what());
        return 1;
    }
}
