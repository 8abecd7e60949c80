#include "protocol/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace skerry {
namespace {

spdlog::logger& logger() {
    static auto instance = [] {
        auto made = spdlog::stderr_logger_mt("skerry");
        made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
        made->flush_on(spdlog::level::info);
        return made;
    }();
    return *instance;
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

// Values with spaces or quotes are quoted, control characters blanked: a line stays a line.
std::string quoted(const std::string& value) {
    if (value.find_first_of(" \"=\n\r\t") == std::string::npos && !value.empty()) return value;
    std::string out = "\"";
    for (char c : value) {
        if (c == '"' || c == '\\') out.push_back('\\');
        out.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
    }
    return out + "\"";
}

}  // namespace

void configure_log(LogLevel least, std::string_view tag) {
    logger().set_level(to_spd(least));
    std::string pattern = "%Y-%m-%dT%H:%M:%S.%eZ %l " + std::string(tag) + " %v";
    logger().set_pattern(pattern, spdlog::pattern_time_type::utc);
}

void log(LogLevel level, std::string_view event, std::span<const LogField> fields) {
    if (!logger().should_log(to_spd(level))) return;
    std::string line(event);
    for (const LogField& field : fields) {
        line += " ";
        line += field.key;
        line += "=";
        line += quoted(field.value);
    }
    logger().log(to_spd(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace skerry
