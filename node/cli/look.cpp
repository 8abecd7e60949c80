#include "node/cli/look.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "node/cli/plan_view.hpp"
#include "node/cli/wait_for.hpp"
#include "node/trainer/trainer_choice.hpp"
#include "protocol/base/within.hpp"
#include "protocol/config/address.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/observe/machine.hpp"
#include "protocol/session/tls.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"
#include "protocol/wire/words.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

Task<Result<std::optional<LookAnswer>>> ask(Token token, TlsContext tls, Millis patience) {
    auto dialled = co_await dial_tls(token.host, token.port, std::move(tls), token.root, patience);
    if (!dialled) co_return fail(dialled.error());
    (*dialled)->set_receive_limit(kMaxFrame);
    ControlStream stream(std::move(*dialled));
    ControlMessage message;
    message.seq = 1;
    message.body = Look{{}, token.run, Bytes(token.id.bytes.begin(), token.id.bytes.end()), Bytes(token.secret.bytes.begin(), token.secret.bytes.end())};
    auto sent = co_await within(patience, stream.send(std::move(message)));
    if (!sent) co_return fail(sent.error());
    auto answer = co_await within(patience, stream.receive());
    stream.frames().close();
    if (!answer && answer.error().code == Errc::closed) co_return std::nullopt;
    if (!answer) co_return fail(answer.error());
    if (auto* refusal = std::get_if<Refusal>(&answer->body)) co_return fail(refusal->code, refusal->reason, refusal->fix);
    if (auto* look = std::get_if<LookAnswer>(&answer->body)) co_return std::move(*look);
    co_return fail(Errc::malformed, "the coordinator answered something else");
}

std::uint64_t bytes_in(const fs::path& folder) {
    std::uint64_t out = 0;
    std::error_code ec;
    for (fs::recursive_directory_iterator at(folder, ec), end; !ec && at != end; at.increment(ec)) {
        std::error_code gone;
        if (at->is_regular_file(gone)) out += at->file_size(gone);
        if (gone) continue;
    }
    return out;
}

std::string per_hour(std::uint64_t bytes_per_step, std::uint64_t step_ms) {
    return to_size_text(static_cast<std::uint64_t>(static_cast<double>(bytes_per_step) * 3'600'000.0 / static_cast<double>(step_ms)));
}

std::string share_done(const Prospect& p) {
    char out[64];
    const double all = static_cast<double>(p.manifest.target_tokens);
    std::snprintf(out, sizeof out, "%.1f %% of %s tokens", all > 0 ? 100 * static_cast<double>(p.run.tokens_committed) / all : 0.0,
                  to_count_text(all).c_str());
    return out;
}

std::string traffic(const Prospect& p) {
    const Load& load = p.load;
    if (!load.step_s) {
        const std::string up = p.follows ? "" : to_size_text(load.up) + " up and ";
        return up + to_size_text(load.down) + " down with each step (how long one takes is not known yet)";
    }
    // A link that the owner holds below what the run's steps leave time for makes them longer.
    const double step_s = std::max(*load.step_s, exchange_time(p.machine, load).value_or(0));
    const auto step_ms = static_cast<std::uint64_t>(std::llround(step_s * 1000));
    const std::string up = p.follows ? "" : per_hour(load.up, step_ms) + " up and ";
    return "about " + up + per_hour(load.down, step_ms) + " down an hour (a step of " + to_size_text(load.down) + " takes " +
           to_duration_text(Millis(step_ms)) + ")";
}

/// What the trainer cuts its steps to: it may use nine tenths of the free memory, or what the owner says.
void fit_trainer(Prospect& p, const TrainerChoice& own) {
    const std::uint64_t limit = p.machine.limits.memory_bytes;
    std::uint64_t most = p.machine.memory_free_bytes / 10 * 9;  // as the trainer reckons
    if (limit != 0) most = most == 0 ? limit : std::min(most, limit);
    p.plan.needs.trainer = trainer_needs(p.manifest, most, own).usual;
}

std::string threads_text(std::uint32_t cores, const NodeToml& config) {
    if (config.threads == 0) return "all " + std::to_string(cores) + " cores";
    return std::to_string(config.threads) + (config.threads == 1 ? " thread" : " threads");
}

}  // namespace

Result<std::optional<LookAnswer>> look_at_run(const Token& token, const KeyPair& key, Millis patience) {
    asio::io_context io;
    return wait_for(io, ask(token, TlsContext::make_client(key), patience));
}

Result<Prospect> make_prospect(LookAnswer run, const fs::path& dir, const NodeToml& config) {
    Prospect out;
    auto manifest = parse_manifest(run.manifest);
    if (!manifest) return fail(manifest.error());
    auto data = parse_data_manifest(run.data_manifest);
    if (!data) return fail(data.error());
    out.run = std::move(run);
    out.manifest = std::move(*manifest);
    const MachineState machine = read_machine(dir);
    out.machine = {config.name, machine.cores, machine.memory_bytes, machine.memory_free_bytes, machine.disk_free_bytes, 0, 0, 0, to_machine_limits(config)};
    out.here = bytes_in(dir / "run") + bytes_in(dir / "shards");
    out.follows = config.follow;
    std::vector<Means> nodes(out.run.nodes + (out.run.counted || out.follows ? 0 : 1));
    if (nodes.empty()) nodes.resize(1);
    nodes.resize(std::max<std::size_t>(nodes.size(), out.manifest.min_nodes));
    out.plan = make_plan(out.manifest, *data, nodes, Millis(0));
    out.load = {out.plan.bytes.most_up(), out.plan.bytes.most_down(), {}};
    if (out.run.step_ms != 0) out.load.step_s = static_cast<double>(out.run.step_ms) / 1000;
    if (out.follows) {
        out.plan.needs = follower_needs(out.manifest, out.plan.steps, nodes.size());
        out.load.up = 0;  // to other followers, if there are any
        out.load.down = follower_bytes(out.manifest);
        out.here += bytes_in(dir / "model");
    } else {
        const TrainerNeeds trainer = trainer_needs(out.manifest, 0, to_trainer_choice(config));
        out.plan.needs.trainer = trainer.usual;
        out.plan.needs.trainer_least = trainer.least;
    }
    out.limits = limit_uses(out.machine, out.plan.needs, out.load);
    out.concerns = concerns_of(out.machine, out.plan.needs, out.load, out.here);
    out.plan.needs.disk = disk_within(out.plan.needs, out.machine.limits.disk_bytes);
    if (!out.follows) fit_trainer(out, to_trainer_choice(config));
    return out;
}

namespace {

std::string run_text(const Token& token) { return "Run        " + token.run + " at " + to_text(Address{token.host, token.port}); }
std::string operator_text(const Token& token) {
    return "Operator   key " + to_fingerprint_text(ByteSpan(token.root.bytes)) + ", checked against your token";
}

void add_rest(std::vector<std::string>& out, const fs::path& dir, const NodeToml& config) {
    out.push_back(std::string("Will run   ") + (config.follow ? "no trainer: it follows" : "the trainer of this machine only") +
                  "; no code is downloaded. Others see: name, site, address, key, throughput; the operator");
    out.push_back("           also cores, free memory and disk, and [limits].");
    out.push_back("Name       " + config.name + " (change: --name)      Folder  " + dir.string());
}

}  // namespace

std::vector<std::string> to_lines(const Prospect& p, const Token& token, const fs::path& dir, const NodeToml& config) {
    const Needs& n = p.plan.needs;
    std::vector<std::string> out;
    out.push_back(run_text(token) + " · " + std::string(to_word(p.run.run_state)) + ", step " + std::to_string(p.run.head.value) + ", " + share_done(p) +
                  " · " + std::to_string(p.run.nodes) + (p.run.nodes == 1 ? " node" : " nodes") + " · " +
                  to_count_text(static_cast<double>(p.manifest.elements)) + " parameters");
    out.push_back(operator_text(token));
    out.push_back("Will use   memory " + to_size_text(n.memory()) + " (of " + to_size_text(p.machine.memory_bytes) + ", " +
                  to_size_text(p.machine.memory_free_bytes) + " free) · disk " + to_size_text(n.disk) + " by the end (" +
                  to_size_text(p.machine.disk_free_bytes) + " free)" + (p.follows ? "" : " · " + threads_text(p.machine.cores, config)));
    out.push_back("           " + traffic(p) + " · first " + to_size_text(n.data + n.shared) + (p.follows ? " of weights" : " of data and weights"));
    for (const LimitUse& one : p.limits) out.push_back("Limit      " + to_text(one));
    add_rest(out, dir, config);
    for (const Concern& one : p.concerns) {
        for (std::string& line : to_lines(one)) out.push_back(std::move(line));
    }
    return out;
}

std::vector<std::string> to_lines(const Token& token, const fs::path& dir, const NodeToml& config) {
    std::vector<std::string> out{run_text(token), operator_text(token)};
    out.push_back("Will use   not known: this coordinator is older than protocol 1.3 and does not say what its run takes");
    if (!config.follow) out.push_back("           " + threads_text(read_machine(dir).cores, config));
    add_rest(out, dir, config);
    return out;
}

std::optional<Error> refusal_of(const Prospect& p) {
    for (const Concern& one : p.concerns) {
        const bool memory = one.about == Concern::About::memory;
        if (one.kind != Concern::Kind::too_small || (!memory && one.about != Concern::About::disk)) continue;
        return Error{memory ? Errc::out_of_memory : Errc::disk_full, "this machine is too small for run " + p.manifest.name + ": " + one.what,
                     one.fix + "; --force joins all the same"};
    }
    return std::nullopt;
}

}  // namespace skerry::node
