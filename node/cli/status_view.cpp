#include "node/cli/status_view.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/cli/context.hpp"
#include "node/trainer/trainer_setup.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

std::string text(const Json& json, const char* key) {
    auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double number(const Json& json, const char* key) {
    auto found = json.find(key);
    return found != json.end() && found->is_number() ? found->get<double>() : 0.0;
}

std::uint64_t count(const Json& json, const char* key) {
    auto found = json.find(key);
    bool whole = found != json.end() && found->is_number_integer() && *found >= 0;
    return whole ? found->get<std::uint64_t>() : 0;
}

bool flag(const Json& json, const char* key) {
    auto found = json.find(key);
    return found != json.end() && found->is_boolean() && found->get<bool>();
}

std::string decimals(double value, int digits) {
    char out[32];
    std::snprintf(out, sizeof out, "%.*f", digits, value);
    return out;
}

std::string loss_text(const Json& json, const char* key) {
    auto found = json.find(key);
    return found != json.end() && found->is_number() && *found != 0 ? decimals(found->get<double>(), 3) : "-";
}

std::string heldout_text(const Json& status) {
    auto found = status.find("heldout");
    if (found == status.end() || !found->is_object() || found->empty()) return "";
    return " · held-out " + loss_text(*found, "loss") + " at step " + std::to_string(count(*found, "step"));
}

/// Who is waited for, or what holds the run.
std::string waiting_text(const Json& status) {
    std::string hold;
    if (!text(status, "hold_reason").empty()) {
        hold = "HOLD: " + text(status, "hold_reason");
        if (count(status, "phase_ms") > 0) hold += " (" + to_duration_text(Millis(count(status, "phase_ms"))) + ")";
    }
    auto list = status.find("waiting_for");
    if (list == status.end() || !list->is_array() || list->empty()) return hold.empty() ? "waiting for nobody" : hold;
    std::string out = hold + (hold.empty() ? "" : " · ") + "waiting for ";
    std::size_t shown = 0;
    for (const Json& one : *list) {
        if (shown == 3) {
            out += ", and " + std::to_string(list->size() - shown) + " more";
            break;
        }
        std::string who = text(one, "node");
        out += (shown == 0 ? "" : ", ") + (who.empty() ? "the run" : who) + " (" + text(one, "phase") + ", " +
               to_duration_text(Millis(count(one, "since_ms"))) + ")";
        ++shown;
    }
    return out;
}

std::string progress_text(const Json& status) {
    auto done = static_cast<double>(count(status, "tokens"));
    auto all = static_cast<double>(count(status, "tokens_total"));
    std::string share = all > 0 ? " (" + decimals(100 * done / all, 1) + " %)" : "";
    return "step " + std::to_string(count(status, "head")) + " · " + to_count_text(done) + " of " + to_count_text(all) + " tokens" + share;
}

std::string eta_text(const Json& status) {
    auto found = status.find("eta_ms");
    if (found == status.end() || !found->is_number_integer()) return "";
    return " · " + to_duration_text(Millis(found->get<Millis::rep>())) + " left";
}

std::string traffic_text(const Json& status) {
    return "sent " + to_size_text(count(status, "sent_bytes")) + ", received " + to_size_text(count(status, "received_bytes"));
}

std::string next_text(const Json& status) { return text(status, "next").empty() ? "" : " · next: " + text(status, "next"); }

std::string node_line(const Json& node) {
    std::string out = "  " + text(node, "name") + "  " + text(node, "state");
    bool gone = text(node, "state") != "current" && text(node, "state") != "joining" && text(node, "state") != "leaving" && text(node, "state") != "following";
    if (!text(node, "reason").empty()) out += " (" + text(node, "reason") + ")";
    if (gone) return out;
    if (!flag(node, "connected")) return out + " · not connected";
    out += " · " + text(node, "phase") + " · step " + std::to_string(count(node, "head"));
    if (text(node, "state") == "following") return out + " · received " + to_size_text(count(node, "received_bytes"));
    out += " · " + to_count_text(number(node, "tokens_per_s")) +
           " tokens/s · loss " + loss_text(node, "loss") + " · sent " + to_size_text(count(node, "sent_bytes"));
    if (flag(node, "paused")) out += " · paused";
    if (flag(node, "disk_full")) out += " · disk full";
    return out;
}

/// Where a bundle lies, if the watchdog wrote one.
void add_watchdog(std::vector<std::string>& out, const Json& status) {
    auto watchdog = status.find("watchdog");
    if (watchdog == status.end() || !watchdog->is_object() || count(*watchdog, "bundles") == 0) return;
    out.push_back("watchdog: " + text(*watchdog, "reason") + " · bundle " + text(*watchdog, "last"));
}

std::vector<std::string> run_lines(const Json& status) {
    std::vector<std::string> out;
    out.push_back("run " + text(status, "run") + " · " + text(status, "state") + " · " + progress_text(status));
    out.push_back(to_count_text(number(status, "tokens_per_s")) + " tokens/s · loss " + loss_text(status, "loss") + heldout_text(status) + eta_text(status));
    out.push_back(waiting_text(status) + next_text(status));
    out.push_back(traffic_text(status));
    auto nodes = status.find("nodes");
    if (nodes != status.end() && nodes->is_array()) {
        for (const Json& node : *nodes) out.push_back(node_line(node));
    }
    add_watchdog(out, status);
    return out;
}

/// What a kill would cost now, and why there is no trainer if there should be one.
void add_local_work(std::vector<std::string>& out, const Json& status) {
    auto delta = status.find("delta"), saved = status.find("progress");
    const bool known = delta != status.end() && delta->is_object() && saved != status.end() && saved->is_object();
    if (known && count(*delta, "steps") > 0)
        out.push_back("since the last step: " + std::to_string(count(*delta, "steps")) + " inner steps, " +
                      std::to_string(count(*saved, "steps")) + " of them saved · last save or start " +
                      to_duration_text(Millis(count(*saved, "age_ms"))) + " ago, every " +
                      to_duration_text(Millis(count(*saved, "every_ms"))));
    if (count(status, "trainer_failures") == 0) return;
    std::string failed = "trainer failures in a row: " + std::to_string(count(status, "trainer_failures")) + ", the last " +
                         text(status, "trainer_error");
    if (count(status, "trainer_retry_ms") > 0)
        failed += " · next start in " + to_duration_text(Millis(count(status, "trainer_retry_ms")));
    out.push_back(failed);
}

/// Damage of this disk, while it is being mended.
void add_log_care(std::vector<std::string>& out, const Json& status) {
    auto log = status.find("log");
    if (log == status.end() || !log->is_object() || count(*log, "missing") == 0) return;
    out.push_back("the log: " + std::to_string(count(*log, "missing")) + " damaged entries are being fetched again · found damaged since the start: " +
                  std::to_string(count(*log, "damaged")));
}

/// What the coordinator's books say of this node.
void add_contribution(std::vector<std::string>& out, const Json& status) {
    auto given = status.find("contribution");
    if (given == status.end() || !given->is_object()) return;
    std::string line = "you: " + to_count_text(number(*given, "tokens")) + " tokens accepted (" + decimals(100 * number(*given, "share"), 1) +
                       " % of all nodes')";
    if (count(*given, "rank") > 0) line += " · rank " + std::to_string(count(*given, "rank")) + " of " + std::to_string(count(*given, "ranked"));
    line += " · " + std::to_string(count(*given, "steps")) + " of " + std::to_string(count(*given, "steps_here")) + " steps · " + traffic_text(*given) +
            " · " + to_duration_text(Millis(count(*given, "active_ms")));
    if (count(*given, "since_unix_s") > 0) line += " since " + to_date_text(static_cast<std::int64_t>(count(*given, "since_unix_s")));
    out.push_back(std::move(line));
}

std::vector<std::string> node_lines(const Json& status) {
    std::vector<std::string> out;
    auto model = status.find("model");
    const bool follows = model != status.end() && model->is_object();
    // A pause ends training; a follower does none, but the day's bytes hold it up, too.
    auto pause = status.find("pause");
    const bool paused = pause != status.end() && pause->is_object() && (!follows || text(*pause, "reason") == "transfer");
    out.push_back(text(status, "name") + " · " + (paused ? text(*pause, "text") : text(status, "phase")) + " · run " + text(status, "run") + " · " + progress_text(status));
    if (follows)
        out.push_back("follows · " + text(*model, "folder") + " is step " + std::to_string(count(*model, "step")) +
                      (text(*model, "error").empty() ? "" : " · not newer: " + text(*model, "error")));
    else
        out.push_back("trainer " + text(status, "trainer") + ", inner step " + std::to_string(count(status, "inner_step")) + " · " +
                  to_count_text(number(status, "tokens_per_s")) + " tokens/s · loss " + loss_text(status, "loss") + heldout_text(status));
    if (auto setup = status.find("trainer_setup"); setup != status.end() && setup->is_object()) {
        TrainerSetup with;
        take(with, setup->dump());
        out.push_back("trains with " + to_text(with));
    }
    if (!text(status, "waiting").empty())
        out.push_back("waits for " + text(status, "waiting") + " (" + to_duration_text(Millis(count(status, "waiting_ms"))) + ")");
    out.push_back("the run: " + waiting_text(status) + next_text(status));
    std::size_t peers = status.contains("peers") && status["peers"].is_array() ? status["peers"].size() : 0;
    out.push_back(traffic_text(status) + " · " + std::to_string(peers) + " peers · disk " + to_size_text(count(status, "disk_bytes")));
    add_contribution(out, status);
    add_local_work(out, status);
    add_log_care(out, status);
    if (!flag(status, "connected")) out.push_back("not connected to the coordinator " + text(status, "coordinator"));
    auto error = status.find("error");
    if (error != status.end() && error->is_object()) out.push_back("error[" + text(*error, "code") + "]: " + text(*error, "message"));
    add_watchdog(out, status);
    return out;
}

bool is_node(const Json& status) { return text(status, "schema") == "skerry.node-status/1"; }

}  // namespace

std::vector<std::string> to_lines(const Json& status) {
    if (is_node(status)) return node_lines(status);
    if (text(status, "schema") != "skerry.runs/1") return run_lines(status);
    std::vector<std::string> out;
    auto runs = status.find("runs");
    if (runs != status.end() && runs->is_array()) {
        for (const Json& run : *runs) out.push_back("run " + text(run, "run") + " · " + text(run, "state") + " · " + progress_text(run));
    }
    if (out.empty()) out.push_back("no run yet · skerry run create run.toml");
    return out;
}

std::string to_line(const Json& status) {
    auto lines = to_lines(status);
    std::string out;
    for (std::size_t i = 0; i < lines.size() && i < 4; ++i) out += (i == 0 ? "" : " · ") + lines[i];
    return out;
}

bool is_over(const Json& status) {
    if (is_node(status)) return text(status, "phase") == "left";
    return text(status, "state") == "finished" || text(status, "state") == "stopped";
}

}  // namespace skerry::node
