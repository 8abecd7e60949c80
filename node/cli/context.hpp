#pragma once
// What every command shares: where to send it, how to print.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/base/result.hpp"

namespace skerry::node {

/// Options that several commands have.
struct Context {
    bool json = false;
    std::string dir;              ///< a node's folder
    std::string coordinator_dir;  ///< a coordinator's folder on this machine
    std::string coordinator;      ///< HOST:PORT, with `token_file`
    std::string token_file;       ///< an administrator's token
    std::string run;
};

/// `error[CODE]` on stderr, or `skerry.error/1`. Returns the exit status.
int report(const Context& context, const Error& error);
int report(const Context& context, const Result<void>& result);

/// One JSON document on stdout.
void print_json(const nlohmann::json& document);

/// Text columns: left-aligned, two spaces between, no trailing blanks.
std::string to_table(const std::vector<std::vector<std::string>>& rows);

/// Local time, `2026-11-27 14:03`.
std::string to_date_text(std::int64_t unix_s);

/// One line of RFC 4180. A field that a spreadsheet would take for a formula gets an apostrophe in front.
std::string to_csv_line(const std::vector<std::string>& fields);

/// The text with '?' for every byte that is not part of a UTF-8 character.
std::string to_utf8(std::string_view raw);

}  // namespace skerry::node
