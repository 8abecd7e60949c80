// skerry run rollback, skerry run config: asked for, then followed until it is decided.

#include <nlohmann/json.hpp>

#include <cstdio>
#include <thread>

#include "node/cli/channel.hpp"
#include "node/cli/commands.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
constexpr auto kLookEvery = std::chrono::milliseconds(300);

/// Asks for the change and waits until its step is decided, or given up.
Result<Json> decide(const Context& context, const std::string& verb, const Json& args, Millis patience) {
    auto channel = Channel::to_coordinator(context);
    if (!channel) return fail(channel.error());
    auto asked = channel->call(verb, args);
    if (!asked) return asked;
    const auto step = asked->value("step", std::uint64_t{0});
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
        auto status = channel->call("status", {{"run", asked->value("run", "")}});
        if (!status) return status;
        if (status->value("head", std::uint64_t{0}) > step) {
            const bool kept = verb == "run.rollback"
                                  ? (*status)["rolled_back"].is_object() && (*status)["rolled_back"].value("step", std::uint64_t{0}) == step
                                  : (*status)["outer"] == (*asked)["outer"];
            if (!kept) return fail(Errc::bad_state, "too few nodes voted for it in time: it was withdrawn", "skerry status; then try again");
            return *asked;
        }
        const bool open = status->value("members", std::uint64_t{0}) > 0;
        if (!open) return fail(Errc::bad_state, "too few nodes voted for it in time: it was withdrawn", "skerry status; then try again");
        if (std::chrono::steady_clock::now() >= end)
            return fail(Errc::timed_out, "step " + std::to_string(step) + " is not decided yet: " + status->value("hold_reason", "") +
                                             " " + status->value("next", ""),
                        "skerry status shows whether it still comes");
        std::this_thread::sleep_for(kLookEvery);
    }
}

Json with_name(const Context& context, const std::string& name) {
    Json args = Json::object();
    if (!context.run.empty()) args["run"] = context.run;
    if (!name.empty()) args["run"] = name;
    return args;
}

}  // namespace

Result<void> rollback_command(const Context& context, const std::string& name, std::uint64_t to_step, bool refeed, Millis patience) {
    Json args = with_name(context, name);
    args["to_step"] = to_step;
    args["refeed"] = refeed;
    auto done = decide(context, "run.rollback", args, patience);
    if (!done) return fail(done.error());
    if (context.json) {
        Json out{{"schema", "skerry.rolled-back/1"}, {"run", (*done)["run"]}, {"step", (*done)["step"]}, {"to", to_step}, {"refeed", refeed}};
        print_json(out);
        return {};
    }
    const auto step = done->value("step", std::uint64_t{0});
    std::printf("run %s: step %llu is decided: S_%llu := S_%llu; the data of steps %llu to %llu is %s\n", done->value("run", "").c_str(),
                static_cast<unsigned long long>(step), static_cast<unsigned long long>(step + 1), static_cast<unsigned long long>(to_step),
                static_cast<unsigned long long>(to_step), static_cast<unsigned long long>(step > 0 ? step - 1 : 0),
                refeed ? "fed again" : "not fed again");
    return {};
}

Result<void> run_config_command(const Context& context, const std::string& name, const std::vector<std::string>& changes, Millis patience) {
    Json args = with_name(context, name);
    for (const std::string& change : changes) {
        auto equals = change.find('=');
        Json value = equals == std::string::npos ? Json() : Json::parse(change.substr(equals + 1), nullptr, false);
        if (equals == std::string::npos || !value.is_number())
            return fail(Errc::usage, "'" + change + "': expected key=number", "e.g. outer.lr=0.5");
        args[change.substr(0, equals)] = value;
    }
    auto done = decide(context, "run.config", args, patience);
    if (!done) return fail(done.error());
    if (context.json) {
        Json out = *done;
        out["schema"] = "skerry.run-config/1";
        out.erase("next");
        print_json(out);
        return {};
    }
    std::printf("run %s: decided in step %llu: outer.lr %.6g, outer.momentum %.6g\n", done->value("run", "").c_str(),
                static_cast<unsigned long long>(done->value("step", std::uint64_t{0})), (*done)["outer"].value("lr", 0.0),
                (*done)["outer"].value("momentum", 0.0));
    return {};
}

}  // namespace skerry::node
