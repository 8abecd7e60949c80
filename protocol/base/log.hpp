#pragma once
// One line per event on stderr: time, level, program, event, key=value fields. Any thread.
//
// This is the one place that knows what a line is about: `run`, `step`, `attempt` and `peer` stand in every line for
// which they exist. A line's own field comes first, then the scope's of this thread, then the process's.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skerry {

enum class LogLevel { debug, info, warn, error };
enum class LogFormat { text, json };

struct LogField {
    std::string_view key;
    std::string value;
};

/// What goes on. An empty text, and a step or attempt that is not set, is left out.
struct LogContext {
    std::string run;      ///< its name
    std::string step;     ///< the open one
    std::string attempt;  ///< of the plan in force
    std::string peer;     ///< first digits of the other node's id
};

/// Sets the least level written and a tag (program or node name) that opens each line.
/// As JSON a line is one object: time, level, program, event, then the fields, all texts.
void configure_log(LogLevel least, std::string_view tag, LogFormat format = LogFormat::text);
void log(LogLevel level, std::string_view event, std::span<const LogField> fields);
inline void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {}) {
    log(level, event, std::span<const LogField>(fields.begin(), fields.size()));
}

/// For a process with one run: what goes on in it now. Replaces what was set before.
void set_log_context(LogContext context);

/// The context of this thread's lines until the end of the block; scopes nest. Never across a co_await: another
/// coroutine of this thread would log under it.
class LogScope {
  public:
    explicit LogScope(LogContext context);
    ~LogScope();
    LogScope(const LogScope&) = delete;
    LogScope& operator=(const LogScope&) = delete;

  private:
    friend void log(LogLevel, std::string_view, std::span<const LogField>);
    LogContext context_;
    const LogScope* outer_;
};

/// The newest lines that were written (at most kRecentLogLines), oldest first.
std::vector<std::string> recent_log_lines();
inline constexpr std::size_t kRecentLogLines = 400;

/// Lines written since the start, by level (index: LogLevel).
std::array<std::uint64_t, 4> log_counts();

inline void log_debug(std::string_view e, std::initializer_list<LogField> f = {}) { log(LogLevel::debug, e, f); }
inline void log_info(std::string_view e, std::initializer_list<LogField> f = {}) { log(LogLevel::info, e, f); }
inline void log_warn(std::string_view e, std::initializer_list<LogField> f = {}) { log(LogLevel::warn, e, f); }
inline void log_error(std::string_view e, std::initializer_list<LogField> f = {}) { log(LogLevel::error, e, f); }

}  // namespace skerry
