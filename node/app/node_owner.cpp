// The agent's dealings with the owner of the machine: signals, pauses, limits that change while it runs.

#include <algorithm>
#include <boost/asio/post.hpp>
#include <csignal>
#include <cstdio>

#include <unistd.h>

#include "node/app/node_app.hpp"
#include "protocol/base/log.hpp"

namespace skerry::node {
namespace {

constexpr auto kOrderlyEnd = std::chrono::seconds(20);
constexpr auto kFinishStep = std::chrono::seconds(30);
constexpr auto kStepLook = std::chrono::milliseconds(200);
/// So long new options for the trainer wait for the end of a round.
constexpr int kRoundSeconds = 30;

}  // namespace

// The first asks to end after the step under way, the second now, the third kills.
Task<> NodeApp::watch_signals() {
    for (;;) {
        auto [ec, signal] = co_await signals_->async_wait(no_throw);
        if (ec) co_return;
        if (signal == SIGHUP) {
            (void)owner_->reload();  // it has said what is wrong
            continue;
        }
        ++stop_signals_;
        if (stop_signals_ == 1) children_.spawn(finish_step(signal));
        if (stop_signals_ == 2) children_.spawn(leave_soon());
        if (ended_) co_return;
        if (stop_signals_ < 3) continue;
        std::fprintf(stderr, "killed; what was not saved is lost\n");
        if (trainer_->pid() > 0) ::kill(trainer_->pid(), SIGKILL);
        std::error_code ignored;
        std::filesystem::remove(options_.folder.socket(), ignored);
        std::_Exit(128 + signal);
    }
}

// Training ends as by a pause: what was done goes into the step. It counts once the step is decided.
Task<> NodeApp::finish_step(int signal) {
    const Step head = core_->view().head;
    const auto begun = std::chrono::steady_clock::now();
    const bool terminal = signal == SIGINT && ::isatty(STDERR_FILENO) != 0;
    if (step_under_way(head))
        std::fprintf(stderr, "finishing the step under way, for %d s at most; again: leave now, once more: kill\n", static_cast<int>(kFinishStep.count()));
    feed(UserPause{});
    asio::steady_timer timer(io_);
    while (stop_signals_ == 1 && step_under_way(head)) {
        const auto left = std::chrono::ceil<std::chrono::seconds>(begun + kFinishStep - std::chrono::steady_clock::now());
        if (left.count() <= 0) break;
        if (terminal) std::fprintf(stderr, "\r%2d s ", static_cast<int>(left.count()));
        timer.expires_after(kStepLook);
        auto [ec] = co_await timer.async_wait(no_throw);
        if (ec || ended_) co_return;
    }
    if (stop_signals_ == 1) co_await leave_soon();
}

/// Work of this node that the open step can still count.
bool NodeApp::step_under_way(Step since) const {
    if (options_.settings.follow) return false;
    const NodeView view = core_->view();
    if (!session_->is_open() || view.run_state != RunState::running || view.head != since || view.phase == Phase::behind) return false;
    const bool ready = view.ready && !view.ready->segments.empty();
    return ready || view.prepared || view.plan || view.local.delta.sequences > 0;
}

// Orderly: the core saves progress and says Exit; if it does not, it is ended.
Task<> NodeApp::leave_soon() {
    // A coroutine that is cancelled before it has waited for the first time ends in an exception of Asio's.
    co_await asio::post(io_.get_executor(), asio::use_awaitable);
    feed(UserStop{});
    if (ended_) co_return;
    asio::steady_timer patience(io_, kOrderlyEnd);
    auto [ec] = co_await patience.async_wait(no_throw);
    if (!ec) end(Error{Errc::cancelled, "asked to end", ""});
}

// ---- what was said at the socket -----------------------------------------------------------------------

void NodeApp::pause(std::optional<Millis> length) { owner_->pause(length); }
std::string NodeApp::pause_json() { return owner_->pause_json(); }
std::string NodeApp::limits_json() { return owner_->limits_json(); }
Result<void> NodeApp::reload_limits() { return owner_->reload(); }

// ---- limits --------------------------------------------------------------------------------------------

void NodeApp::apply(bool spent) {
    spent_ = spent;
    apply_rates();
    apply_quota();
}

// Where the day's bytes are used up the step under way is finished, then nothing big moves.
void NodeApp::apply_rates() {
    const Limits& limits = owner_->limits();
    const Phase phase = core_->phase();
    closed_ = spent_ && (closed_ || (phase != Phase::exchange && phase != Phase::prepared));
    engine_->limit_upload(limits.up_bytes_per_s, closed_);
    feed(DownloadLimit{limits.down_bytes_per_s, closed_});
    if (shard_fetch_) shard_fetch_->limit(limits.down_bytes_per_s, closed_);
}

// Peers and the coordinator share the limit: each download owes what came by the other. Data shards of peers come over
// their links, but ShardFetch has counted them itself.
void NodeApp::charge_downloads() {
    if (!shard_fetch_) return;
    const std::uint64_t shards = shard_fetch_->fetched_bytes(), received = engine_->links().total_traffic().received_bytes;
    const std::uint64_t pieces = received - std::min(received, shard_fetch_->from_peers_bytes());
    if (pieces > seen_pieces_) shard_fetch_->charge(pieces - seen_pieces_);
    if (shards > seen_shards_) feed(OtherDownload{shards - seen_shards_});
    seen_pieces_ = std::max(seen_pieces_, pieces);
    seen_shards_ = shards;
}

// The quota covers the data shards, which stay; the log gets the rest.
void NodeApp::apply_quota() {
    if (!store_) return;
    asio::post(disk_, [store = store_, folder = options_.folder.shards(), limit = owner_->limits().disk_bytes] {
        std::uint64_t shards = 0;
        std::error_code none;
        for (std::filesystem::directory_iterator file(folder, none), end; !none && file != end; file.increment(none)) {
            std::error_code gone;
            const auto bytes = file->file_size(gone);
            if (!gone) shards += bytes;
        }
        store->set_quota(limit == 0 ? 0 : std::max<std::uint64_t>(1, limit - std::min(limit, shards)));
    });
}

// Other threads or memory: the trainer is started anew once its round is over, or after half a minute.
void NodeApp::renew_trainer() {
    if (renewing_ && trainer_->pid() == 0) {
        renewing_ = false;
        if (owner_->state().reason == PauseReason::none) feed(UserResume{});
        return;
    }
    const ChildOptions now = trainer_options();
    const bool other = trainer_->pid() != 0 && (now.threads != running_.threads || now.memory_bytes != running_.memory_bytes);
    if (renewing_ || stop_signals_ > 0) return;
    waited_ = other ? waited_ + 1 : 0;
    if (!other || (core_->view().trainer != TrainerPhase::waiting && waited_ < kRoundSeconds)) return;
    renewing_ = true;
    log_info("trainer.renew", {{"threads", std::to_string(now.threads)}, {"memory_bytes", std::to_string(now.memory_bytes)}});
    feed(UserPause{});
}

}  // namespace skerry::node
