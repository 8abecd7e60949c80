#include "node/cli/context.hpp"

#include <cstdio>
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

std::filesystem::path own_folder() {
    std::error_code ec;
    auto self = std::filesystem::read_symlink("/proc/self/exe", ec);
    return ec ? std::filesystem::path() : self.parent_path();
}

std::string sibling(const std::string& name) {
    auto beside = own_folder() / name;
    return ::access(beside.c_str(), X_OK) == 0 ? beside.string() : name;
}

}  // namespace skerry::node
