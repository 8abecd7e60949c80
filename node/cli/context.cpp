#include "node/cli/context.hpp"

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include <unistd.h>

namespace skerry::node {
namespace {

using Json = nlohmann::json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

int report(const Context& context, const Error& error) {
    int status = exit_code(error.code);
    if (context.json) {
        Json fix = Json::array();
        if (!error.fix.empty()) fix.push_back(error.fix);
        Json out{{"schema", "skerry.error/1"}, {"code", to_name(error.code)}, {"exit", status},
                 {"retryable", retryable(error.code)}, {"message", error.detail}, {"fix", fix}};
        std::fprintf(stderr, "%s\n", dump(out).c_str());
    } else {
        std::fprintf(stderr, "%s\nmore:  skerry help errors %s\n", to_text(error).c_str(), std::string(to_name(error.code)).c_str());
    }
    return status;
}

int report(const Context& context, const Result<void>& result) {
    return result ? 0 : report(context, result.error());
}

void print_json(const Json& document) { std::printf("%s\n", dump(document).c_str()); }

std::string to_table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> width;
    for (const auto& row : rows) {
        if (row.size() > width.size()) width.resize(row.size());
        for (std::size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
    }
    std::string out;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += row[i];
            line.append(width[i] - row[i].size() + 2, ' ');
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    }
    return out;
}

namespace {

/// Bytes of the character that begins `text`; 0 if none does.
std::size_t character_bytes(std::string_view text) {
    auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    unsigned lead = byte(0);
    std::size_t length = lead < 0x80 ? 1 : lead >= 0xC2 && lead < 0xE0 ? 2 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return 0;
    }
    // Overlong forms, surrogates, beyond U+10FFFF.
    bool odd = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) || (lead == 0xF0 && byte(1) < 0x90) ||
               (lead == 0xF4 && byte(1) > 0x8F);
    return odd ? 0 : length;
}

}  // namespace

std::string to_utf8(std::string_view raw) {
    std::string out;
    while (!raw.empty()) {
        std::size_t length = character_bytes(raw);
        out += length == 0 ? "?" : std::string(raw.substr(0, length));
        raw.remove_prefix(std::max<std::size_t>(1, length));
    }
    return out;
}

std::string to_date_text(std::int64_t unix_s) {
    const std::time_t when = unix_s;
    std::tm local{};
    ::localtime_r(&when, &local);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local);
    return text;
}

std::string to_csv_line(const std::vector<std::string>& fields) {
    std::string out;
    for (const std::string& field : fields) {
        if (&field != &fields.front()) out += ',';
        const bool formula = !field.empty() && std::string_view("=+-@").find(field.front()) != std::string_view::npos;
        const std::string text = (formula ? "'" : "") + field;
        if (text.find_first_of(",\"\r\n") == std::string::npos) {
            out += text;
            continue;
        }
        out += '"';
        for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
        out += '"';
    }
    return out + "\n";
}

}  // namespace skerry::node
