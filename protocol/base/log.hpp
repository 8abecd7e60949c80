#pragma once
// One line per event on stderr: time, level, event, key=value fields. Any thread.

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace skerry {

enum class LogLevel { debug, info, warn, error };

struct LogField {
    std::string_view key;
    std::string value;
};

/// Sets the least level written and a tag (program or node name) that opens each line.
void configure_log(LogLevel least, std::string_view tag);
void log(LogLevel level, std::string_view event, std::span<const LogField> fields);
inline void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {}) {
    log(level, event, std::span<const LogField>(fields.begin(), fields.size()));
}

inline void log_debug(std::string_view e, std::initializer_list<LogField> f = {}) { log(LogLevel::debug, e, f); }
inline void log_info(std::string_view e, std::initializer_list<LogField> f = {}) { log(LogLevel::info, e, f); }
inline void log_warn(std::string_view e, std::initializer_list<LogField> f = {}) { log(LogLevel::warn, e, f); }
inline void log_error(std::string_view e, std::initializer_list<LogField> f = {}) { log(LogLevel::error, e, f); }

}  // namespace skerry
