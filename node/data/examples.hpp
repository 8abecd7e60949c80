#pragma once
// Instruction data: JSON lines with a prompt and its completion, or with the messages of a conversation.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/base/result.hpp"

namespace skerry::node {

struct Message {
    std::string role, content;
};

/// What one line says: messages, or where there are none a prompt and its completion.
struct ExampleText {
    std::vector<Message> messages;
    std::string prompt, completion;
};

/// Which members of a line hold it.
struct ExampleFields {
    bool messages = false;  ///< "messages"; else the two below
    std::string prompt = "prompt", completion = "completion";
};

inline constexpr std::size_t kMaxMessages = 4096;  ///< of one line

/// One line. Errors: data_invalid, saying `place`, what is wrong with it and the fix.
Result<ExampleText> parse_example(std::string_view line, const ExampleFields& fields, const std::string& place);

/// By its name: .jsonl or .ndjson.
bool is_json_lines(const std::filesystem::path& path);

/// By the first line of a file of JSON lines: its members say what it is. None: not instruction data.
/// Errors: not_found, io_error, too_large.
Result<std::optional<ExampleFields>> detect_examples(const std::filesystem::path& path);

}  // namespace skerry::node
