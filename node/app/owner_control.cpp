#include "node/app/owner_control.hpp"

#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>

#include "protocol/base/log.hpp"
#include "protocol/config/files.hpp"

namespace skerry::node {
namespace {

using nlohmann::json;
constexpr std::chrono::seconds kLookEvery{1};
constexpr std::size_t kMaxFile = 4096;
/// So much may be forgotten by a process that is killed.
constexpr std::uint64_t kSaveBytes = 4 * kMiB;

Wall wall_now() { return std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now()); }

}  // namespace

OwnerControl::OwnerControl(Parts parts, Limits limits)
    : parts_(std::move(parts)), limits_(std::move(limits)), timer_(parts_.io) {
    rules_.set(limits_.hours, limits_.daily_bytes);
}

void OwnerControl::begin() {
    auto saved = read_small_file(parts_.folder.owner(), kMaxFile);
    if (saved) rules_.restore(*saved);
    saved_bytes_ = rules_.transferred(wall_now());
    look();
    apply();
}

Task<> OwnerControl::run() {
    for (;;) {
        timer_.expires_after(kLookEvery);
        auto [ec] = co_await timer_.async_wait(no_throw);
        if (ec) co_return;
        look();
    }
}

void OwnerControl::look() {
    const Wall now = wall_now();
    const std::uint64_t all = parts_.transferred();
    if (all > counted_) rules_.note_transfer(all - counted_, now);
    counted_ = all;
    const PauseState before = std::exchange(state_, rules_.look(now));
    const std::uint64_t today = rules_.transferred(now);
    if (today >= saved_bytes_ + kSaveBytes || today < saved_bytes_ || state_ != before) save();
    if (state_ == before) return;
    log_info("owner", {{"pause", state_.reason == PauseReason::none ? "none" : text()}});
    if ((before.reason == PauseReason::transfer) != (state_.reason == PauseReason::transfer)) apply();
    if ((before.reason == PauseReason::none) != (state_.reason == PauseReason::none)) parts_.pause(state_.reason != PauseReason::none);
}

void OwnerControl::save() {
    saved_bytes_ = rules_.transferred(wall_now());
    auto write = [file = parts_.folder.owner(), text = rules_.to_json()] {
        auto written = write_small_file(file, text, 0600);
        if (!written) log_warn("owner.not_saved", {{"error", written.error().detail}});
    };
    asio::post(parts_.disk, std::move(write));
}

void OwnerControl::pause(std::optional<Millis> length) {
    std::optional<Wall> until;
    if (length) until = wall_now() + std::chrono::ceil<std::chrono::seconds>(*length);
    rules_.pause(until);
    look();
    save();
}

void OwnerControl::resume() {
    rules_.resume();
    look();
    save();
}

Result<void> OwnerControl::reload() {
    auto toml = load_node_toml(parts_.folder.config());
    if (!toml) {
        log_warn("limits.refused", {{"error", toml.error().detail}});
        return fail(toml.error().code, toml.error().detail + "; the limits that held before still hold", "correct the line, then: skerry limits reload");
    }
    limits_ = to_limits(*toml);
    rules_.set(limits_.hours, limits_.daily_bytes);
    log_info("limits", {{"now", limits_json()}});
    look();
    apply();
    return {};
}

std::string OwnerControl::text() const { return state_.reason == PauseReason::none ? "" : to_text(state_, wall_now()); }

std::string OwnerControl::pause_json() const {
    if (state_.reason == PauseReason::none) return "null";
    json out = {{"reason", to_word(state_.reason)}, {"text", text()}, {"until", nullptr}};
    if (state_.until) out["until"] = to_iso_text(*state_.until);
    return out.dump();
}

std::string OwnerControl::limits_json() const {
    json out = {{"up", limits_.toml.up},         {"down", limits_.toml.down},       {"daily_transfer", limits_.toml.daily_transfer},
                {"threads", limits_.threads},    {"memory", limits_.toml.memory},   {"disk", limits_.toml.disk},
                {"hours", limits_.toml.hours},   {"transferred_today", rules_.transferred(wall_now())}};
    return out.dump();
}

}  // namespace skerry::node
