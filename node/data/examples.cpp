#include "node/data/examples.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "node/data/text_reader.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

const std::string* text_in(const Json& object, const std::string& key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get_ptr<const std::string*>() : nullptr;
}

Fail no_text(const std::string& place, const std::string& key, const std::string& fix) {
    return fail(Errc::data_invalid, place + ": there is no text \"" + key + "\"", fix);
}

/// A role stands in the template's header; it must not be able to end it.
bool good_role(const std::string& role) {
    return !role.empty() && role.size() <= 32 &&
           role.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
}

Result<std::vector<Message>> parse_messages(const Json& object, const std::string& place) {
    constexpr const char* kFix = "{\"messages\": [{\"role\": \"user\", \"content\": \"...\"}, {\"role\": \"assistant\", \"content\": \"...\"}]}";
    const auto list = object.find("messages");
    if (list == object.end() || !list->is_array() || list->empty())
        return fail(Errc::data_invalid, place + ": \"messages\" is not a list with something in it", kFix);
    if (list->size() > kMaxMessages)
        return fail(Errc::data_invalid, place + ": more than " + std::to_string(kMaxMessages) + " messages", "split the conversation");
    std::vector<Message> out;
    for (const Json& one : *list) {
        const std::string here = place + ": message " + std::to_string(out.size() + 1);
        if (!one.is_object()) return fail(Errc::data_invalid, here + " is not an object", kFix);
        const std::string* role = text_in(one, "role");
        const std::string* content = text_in(one, "content");
        if (!role || !good_role(*role)) return fail(Errc::data_invalid, here + " has no role of letters, digits, '_' and '-'", kFix);
        if (!content) return no_text(here, "content", kFix);
        out.push_back({*role, *content});
    }
    return out;
}

}  // namespace

Result<ExampleText> parse_example(std::string_view line, const ExampleFields& fields, const std::string& place) {
    const Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) return fail(Errc::data_invalid, place + " is not a JSON object", "one JSON object a line, in UTF-8");
    ExampleText out;
    if (fields.messages) {
        auto messages = parse_messages(object, place);
        if (!messages) return fail(messages.error());
        out.messages = std::move(*messages);
        return out;
    }
    const std::string* prompt = text_in(object, fields.prompt);
    const std::string* completion = text_in(object, fields.completion);
    if (!prompt) return no_text(place, fields.prompt, "--prompt-field with the member that holds it");
    if (!completion) return no_text(place, fields.completion, "--completion-field with the member that holds it");
    out.prompt = *prompt;
    out.completion = *completion;
    return out;
}

bool is_json_lines(const std::filesystem::path& path) { return path.extension() == ".jsonl" || path.extension() == ".ndjson"; }

Result<std::optional<ExampleFields>> detect_examples(const std::filesystem::path& path) {
    if (!is_json_lines(path)) return std::nullopt;
    std::optional<ExampleFields> out;
    const auto look = [&](std::string_view line, std::uint64_t) -> Result<bool> {
        const Json object = Json::parse(line, nullptr, false);
        if (!object.is_object()) return false;
        const auto messages = object.find("messages");
        ExampleFields fields;
        fields.messages = messages != object.end() && messages->is_array();
        if (fields.messages || (text_in(object, fields.prompt) && text_in(object, fields.completion))) out = fields;
        return false;
    };
    std::uint64_t blank = 0;
    auto read = read_lines(path, blank, look);
    if (!read) return fail(read.error());
    return out;
}

}  // namespace skerry::node
