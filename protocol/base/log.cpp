#include "protocol/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <ctime>
#include <deque>
#include <mutex>

namespace skerry {
namespace {

constexpr std::size_t kMaxValue = 4096;  // a line stays readable, and the kept ones small

thread_local const LogScope* t_scope = nullptr;

spdlog::logger& logger() {
    static auto instance = [] {
        auto made = spdlog::stderr_logger_mt("skerry");
        made->set_pattern("%v");
        made->flush_on(spdlog::level::info);
        return made;
    }();
    return *instance;
}

/// Lines come from every thread: one lock, held for a copy.
struct Shared {
    std::mutex mutex;
    std::string tag;
    LogFormat format = LogFormat::text;
    LogContext context;
    std::deque<std::string> recent;
    std::array<std::uint64_t, 4> counts{};
};

Shared& shared() {
    static Shared one;
    return one;
}

spdlog::level::level_enum to_spd(LogLevel level) {
    switch (level) {
        case LogLevel::debug: return spdlog::level::debug;
        case LogLevel::info: return spdlog::level::info;
        case LogLevel::warn: return spdlog::level::warn;
        case LogLevel::error: return spdlog::level::err;
    }
    return spdlog::level::err;
}

std::string_view to_word(LogLevel level) {
    constexpr std::string_view kWords[] = {"debug", "info", "warning", "error"};
    return kWords[static_cast<std::size_t>(level)];
}

std::string time_text() {
    using namespace std::chrono;
    const auto now = system_clock::now();
    const std::time_t seconds = system_clock::to_time_t(now);
    const auto ms = static_cast<int>(duration_cast<milliseconds>(now.time_since_epoch()).count() % 1000);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    char text[40];
    const std::size_t n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    std::snprintf(text + n, sizeof text - n, ".%03dZ", ms);
    return text;
}

// Values with spaces or quotes are quoted, control characters blanked: a line stays a line.
std::string quoted(const std::string& value, bool always) {
    if (!always && value.find_first_of(" \"=\n\r\t") == std::string::npos && !value.empty()) return value;
    std::string out = "\"";
    for (char c : value) {
        if (c == '"' || c == '\\') out.push_back('\\');
        out.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
    }
    return out + "\"";
}

/// The fields of one line: its own, then what the contexts add, the nearest first.
class Line {
  public:
    explicit Line(std::span<const LogField> own) {
        for (const LogField& field : own) fields_.push_back({field.key, field.value.substr(0, kMaxValue)});
    }

    void add(const LogContext& context) {
        add("run", context.run);
        add("step", context.step);
        add("attempt", context.attempt);
        add("peer", context.peer);
    }

    std::string to_text(LogLevel level, std::string_view tag, std::string_view event) const {
        std::string out = time_text() + " " + std::string(to_word(level)) + " ";
        if (!tag.empty()) out += std::string(tag) + " ";
        out += event;
        for (const LogField& field : fields_) out += " " + std::string(field.key) + "=" + quoted(field.value, false);
        return out;
    }

    std::string to_json(LogLevel level, std::string_view tag, std::string_view event) const {
        auto text = [](std::string_view value) { return quoted(std::string(value), true); };
        std::string out = "{\"time\":" + text(time_text()) + ",\"level\":" + text(to_word(level)) +
                          ",\"program\":" + text(tag) + ",\"event\":" + text(event);
        for (const LogField& field : fields_) out += "," + text(field.key) + ":" + text(field.value);
        return out + "}";
    }

  private:
    void add(std::string_view key, const std::string& value) {
        if (value.empty()) return;
        for (const LogField& field : fields_)
            if (field.key == key) return;
        fields_.push_back({key, value});
    }
    std::vector<LogField> fields_;
};

}  // namespace

void configure_log(LogLevel least, std::string_view tag, LogFormat format) {
    logger().set_level(to_spd(least));
    Shared& s = shared();
    std::lock_guard lock(s.mutex);
    s.tag = tag;
    s.format = format;
}

void set_log_context(LogContext context) {
    Shared& s = shared();
    std::lock_guard lock(s.mutex);
    s.context = std::move(context);
}

LogScope::LogScope(LogContext context) : context_(std::move(context)), outer_(t_scope) { t_scope = this; }
LogScope::~LogScope() { t_scope = outer_; }

void log(LogLevel level, std::string_view event, std::span<const LogField> fields) {
    if (!logger().should_log(to_spd(level))) return;
    Line line(fields);
    for (const LogScope* scope = t_scope; scope != nullptr; scope = scope->outer_) line.add(scope->context_);
    std::string text;
    {
        Shared& s = shared();
        std::lock_guard lock(s.mutex);
        line.add(s.context);
        text = s.format == LogFormat::json ? line.to_json(level, s.tag, event) : line.to_text(level, s.tag, event);
        s.recent.push_back(text);
        if (s.recent.size() > kRecentLogLines) s.recent.pop_front();
        ++s.counts[static_cast<std::size_t>(level)];
    }
    logger().log(to_spd(level), spdlog::string_view_t(text.data(), text.size()));
}

std::vector<std::string> recent_log_lines() {
    Shared& s = shared();
    std::lock_guard lock(s.mutex);
    return {s.recent.begin(), s.recent.end()};
}

std::array<std::uint64_t, 4> log_counts() {
    Shared& s = shared();
    std::lock_guard lock(s.mutex);
    return s.counts;
}

}  // namespace skerry
