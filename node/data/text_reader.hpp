#pragma once
// Texts as `data prepare` reads them: plain files, or JSON lines with a text each.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

#include "protocol/base/result.hpp"

namespace skerry::node {

/// Longest line of a JSONL file.
inline constexpr std::size_t kMaxJsonLine = std::size_t{16} << 20;

/// A part of a document; `last`: the document ends with it (it may be empty then).
using TakePart = std::function<Result<void>(std::string_view part, bool last)>;

/// A plain text file, one document, in windows: memory does not grow with it. Errors: not_found; data_invalid (empty, a folder, or
/// binary: NUL bytes or more than 1 % control characters); io_error; what `take` answers.
Result<void> read_text(const std::filesystem::path& path, const TakePart& take);

/// A line that is not blank, without its end, and its number from 1. False: enough, the rest is not read.
using TakeLine = std::function<Result<bool>(std::string_view line, std::uint64_t number)>;

/// The lines of a file; `blank` counts those of white space only. Errors: not_found; too_large, with the line; io_error; what `take` answers.
Result<void> read_lines(const std::filesystem::path& path, std::uint64_t& blank, const TakeLine& take);

/// JSON objects, one a line, each a document: its member `field`, a text. `empty` counts lines without or with an empty text and
/// blank ones. Errors: not_found; data_invalid, too_large, each with the line; io_error; what `take` answers.
Result<void> read_jsonl(const std::filesystem::path& path, const std::string& field, std::uint64_t& empty, const TakePart& take);

/// Bytes of a file. Errors: not_found, io_error.
Result<std::uint64_t> file_bytes(const std::filesystem::path& path);

}  // namespace skerry::node
