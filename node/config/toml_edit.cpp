#include "node/config/toml_edit.hpp"

#include <optional>
#include <vector>

namespace skerry::node {
namespace {

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const auto end = text.find('\n');
        out.emplace_back(text.substr(0, end));
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    }
    return out;
}

/// "[limits]" of a line that begins a table.
std::optional<std::string_view> header_of(std::string_view line) {
    line = trimmed(line);
    if (line.empty() || line.front() != '[') return std::nullopt;
    const auto close = line.find(']');
    return close == std::string_view::npos ? std::nullopt : std::optional(trimmed(line.substr(1, close - 1)));
}

bool sets(std::string_view line, std::string_view key) {
    const auto equals = line.find('=');
    return equals != std::string_view::npos && trimmed(line.substr(0, equals)) == key;
}

/// How deep in arrays a text ends, and where its comment begins.
struct Scan {
    int depth = 0;
    std::size_t comment = std::string_view::npos;
};
Scan scan(std::string_view text) {
    Scan out;
    char quote = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote != 0) {
            if (c == '\\' && quote == '"') ++i;
            else if (c == quote) quote = 0;
        } else if (c == '"' || c == '\'') quote = c;
        else if (c == '[') ++out.depth;
        else if (c == ']') --out.depth;
        else if (c == '#') {
            out.comment = i;
            break;
        }
    }
    return out;
}

}  // namespace

std::string with_toml_value(std::string_view text, std::string_view section, std::string_view key, std::string_view value) {
    std::vector<std::string> lines = lines_of(text);
    const std::string line = std::string(key) + " = " + std::string(value);
    bool inside = section.empty(), done = value.empty();
    std::optional<std::size_t> last;  // line of the section that holds something
    bool there = inside;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (auto header = header_of(lines[i])) inside = *header == section;
        if (!inside) continue;
        there = true;
        if (!trimmed(lines[i]).empty()) last = i;
        if (!sets(lines[i], key)) continue;
        std::size_t end = i;
        Scan found = scan(std::string_view(lines[i]).substr(lines[i].find('=') + 1));
        for (int depth = found.depth; depth > 0 && end + 1 < lines.size();) depth += scan(lines[++end]).depth;
        const bool one_line = end == i && found.comment != std::string_view::npos;
        const std::string comment = one_line ? "   " + lines[i].substr(lines[i].find('=') + 1 + found.comment) : "";
        auto at = lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(i), lines.begin() + static_cast<std::ptrdiff_t>(end) + 1);
        if (!value.empty()) lines.insert(at, line + comment);
        done = true;
        break;
    }
    if (!done && there) {
        lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(last ? *last + 1 : 0), line);
    } else if (!done) {
        if (!lines.empty()) lines.emplace_back();
        lines.push_back("[" + std::string(section) + "]");
        lines.push_back(line);
    }
    std::string out;
    for (const std::string& one : lines) out += one + "\n";
    return out;
}

std::string toml_text(std::string_view text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') out.push_back('\\');
        out.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
    }
    return out + "\"";
}

}  // namespace skerry::node
