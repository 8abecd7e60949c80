#include "node/app/owner_rules.hpp"

#include <ctime>
#include <nlohmann/json.hpp>

namespace skerry::node {
namespace {

using nlohmann::json;
constexpr const char* kSchema = "skerry.owner/1";

std::tm local(Wall at) {
    const std::time_t seconds = at.time_since_epoch().count();
    std::tm out{};
    ::localtime_r(&seconds, &out);
    return out;
}

/// Of local wall-clock fields that may be out of their ranges; daylight saving is looked up.
Wall from_local(std::tm fields) {
    fields.tm_isdst = -1;
    return Wall(std::chrono::seconds(::mktime(&fields)));
}

std::string format(Wall at, const char* how) {
    const std::tm fields = local(at);
    char out[64];
    return {out, std::strftime(out, sizeof out, how, &fields)};
}

std::string day_of(Wall at) { return format(at, "%Y-%m-%d"); }

Wall next_midnight(Wall now) {
    std::tm fields = local(now);
    fields.tm_hour = fields.tm_min = fields.tm_sec = 0;
    ++fields.tm_mday;
    return from_local(fields);
}

}  // namespace

std::string_view to_word(PauseReason reason) {
    switch (reason) {
        case PauseReason::user: return "user";
        case PauseReason::schedule: return "schedule";
        case PauseReason::transfer: return "transfer";
        case PauseReason::none: break;
    }
    return "";
}

std::string to_iso_text(Wall at) { return format(at, "%Y-%m-%dT%H:%M:%S%z"); }

std::string to_text(const PauseState& state, Wall now) {
    std::string out = "paused(" + std::string(to_word(state.reason)) + ")";
    if (!state.until) return out;
    const bool soon = *state.until - now < std::chrono::hours(24);
    return out + " until " + format(*state.until, soon ? "%H:%M" : "%Y-%m-%d %H:%M");
}

void OwnerRules::restore(const std::string& text) {
    const json saved = json::parse(text, nullptr, false);
    if (!saved.is_object() || saved.value("schema", json()) != kSchema) return;
    auto number = [&](const char* key) {
        auto at = saved.find(key);
        return at != saved.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : std::uint64_t{0};
    };
    paused_ = saved.value("paused", json()) == true;
    if (auto until = number("paused_until"); until > 0 && until < (1ULL << 40)) paused_until_ = Wall(std::chrono::seconds(until));
    if (auto day = saved.find("day"); day != saved.end() && day->is_string()) day_ = day->get<std::string>();
    bytes_ = number("bytes");
}

std::string OwnerRules::to_json() const {
    json out = {{"schema", kSchema}, {"paused", paused_}, {"day", day_}, {"bytes", bytes_}};
    if (paused_ && paused_until_) out["paused_until"] = static_cast<std::uint64_t>(paused_until_->time_since_epoch().count());
    return out.dump() + "\n";
}

void OwnerRules::set(WeekHours hours, std::uint64_t daily_bytes) {
    hours_ = hours;
    daily_bytes_ = daily_bytes;
}

void OwnerRules::pause(std::optional<Wall> until) {
    paused_ = true;
    paused_until_ = until;
}

void OwnerRules::resume() {
    paused_ = false;
    paused_until_.reset();
}

void OwnerRules::note_transfer(std::uint64_t bytes, Wall now) {
    bytes_ = transferred(now) + bytes;
    day_ = day_of(now);
}

std::uint64_t OwnerRules::transferred(Wall now) const { return day_ == day_of(now) ? bytes_ : 0; }

PauseState OwnerRules::look(Wall now) const {
    if (paused_ && (!paused_until_ || now < *paused_until_)) return {PauseReason::user, paused_until_};
    if (daily_bytes_ > 0 && transferred(now) >= daily_bytes_) return {PauseReason::transfer, next_midnight(now)};
    std::tm fields = local(now);
    const int minute = ((fields.tm_wday + 6) % 7 * 24 + fields.tm_hour) * 60 + fields.tm_min;
    if (hours_.open(minute)) return {};
    PauseState out{PauseReason::schedule, std::nullopt};
    if (auto wait = hours_.until_change(minute)) {
        fields.tm_min += *wait;
        fields.tm_sec = 0;
        out.until = from_local(fields);
    }
    return out;
}

}  // namespace skerry::node
