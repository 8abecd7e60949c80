#include "node/tokenizer/tokenizer_parts.hpp"

#include <vector>

#include "node/tokenizer/limits.hpp"
#include "node/tokenizer/pattern_rules.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

bool absent(const Json* part) { return !part || part->is_null(); }

/// A part as a list: itself, the members of a Sequence (Sequences inside are refused later, as of no type known), or none.
Result<std::vector<const Json*>> members_of(const Json* part, const char* members, const char* name) {
    std::vector<const Json*> out;
    if (absent(part)) return out;
    if (!part->is_object()) return invalid_tokenizer(std::string(name) + " is no object");
    if (text_of(*part, "type") != "Sequence") return std::vector{part};
    const Json* list = member(*part, members);
    if (!list || !list->is_array()) return invalid_tokenizer(std::string(name) + ": a Sequence without " + members);
    for (const Json& one : *list) out.push_back(&one);
    return out;
}

Result<void> read_normalizer(const Json& json, TokenizerFile& out) {
    auto parts = members_of(member(json, "normalizer"), "normalizers", "normalizer");
    if (!parts) return fail(parts.error());
    for (const Json* part : *parts) {
        if (text_of(*part, "type") != "NFC") return unsupported_tokenizer("normalizer " + text_of(*part, "type"));
        out.nfc = true;
    }
    return {};
}

Result<void> read_split(const Json& json, TokenizerFile& out) {
    if (text_of(json, "behavior") != "Isolated") return unsupported_tokenizer("pre_tokenizer Split with behavior " + text_of(json, "behavior"));
    if (flag_of(json, "invert", false)) return unsupported_tokenizer("pre_tokenizer Split with invert");
    if (out.patterns.size() == kMaxPatterns) return fail(Errc::too_large, "tokenizer.json: over " + std::to_string(kMaxPatterns) + " split patterns");
    const Json* pattern = member(json, "pattern");
    const std::string regex = pattern ? text_of(*pattern, "Regex") : "", literal = pattern ? text_of(*pattern, "String") : "";
    if (regex.empty() && literal.empty()) return invalid_tokenizer("pre_tokenizer Split has neither pattern.Regex nor pattern.String");
    out.patterns.push_back(regex.empty() ? quote_pattern(literal) : regex);
    return {};
}

Result<void> read_pre_tokenizer(const Json& json, TokenizerFile& out) {
    auto parts = members_of(member(json, "pre_tokenizer"), "pretokenizers", "pre_tokenizer");
    if (!parts) return fail(parts.error());
    for (std::size_t i = 0; i < parts->size(); ++i) {
        const Json& part = *(*parts)[i];
        const std::string type = text_of(part, "type");
        const bool last = i + 1 == parts->size();
        if (last && type != "ByteLevel") return unsupported_tokenizer("pre_tokenizer " + type + " in the last place, where only ByteLevel");
        if (!last && type != "Split") return unsupported_tokenizer("pre_tokenizer " + type + " before the last");
        if (!last) {
            auto split = read_split(part, out);
            if (!split) return split;
            continue;
        }
        out.prefix_space = flag_of(part, "add_prefix_space", true);
        if (out.prefix_space && i > 0) return unsupported_tokenizer("add_prefix_space behind a Split");
        if (flag_of(part, "use_regex", true)) out.patterns.push_back(kGpt2Pattern);
    }
    if (parts->empty()) return unsupported_tokenizer("no pre_tokenizer: without ByteLevel it");
    return {};
}

/// The ids of one special token of a template.
Result<std::vector<std::uint32_t>> template_ids(const Json& part, const std::string& name, const TokenizerFile& file) {
    const Json* all = member(part, "special_tokens");
    const Json* one = all ? member(*all, name.c_str()) : nullptr;
    const Json* ids = one ? member(*one, "ids") : nullptr;
    if (!ids || !ids->is_array() || ids->size() > kMaxTemplateTokens) return invalid_tokenizer("the template has no ids for '" + name + "'");
    std::vector<std::uint32_t> out;
    for (const Json& id : *ids) {
        if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= file.tokens.size())
            return invalid_tokenizer("the template's '" + name + "' has an id that is no token's");
        out.push_back(id.get<std::uint32_t>());
    }
    return out;
}

Result<void> read_template(const Json& part, TokenizerFile& out) {
    const Json* single = member(part, "single");
    if (!single || !single->is_array()) return invalid_tokenizer("the template has no list 'single'");
    bool behind = false;
    for (const Json& step : *single) {
        if (const Json* sequence = member(step, "Sequence")) {
            if (behind || text_of(*sequence, "id") != "A") return unsupported_tokenizer("a template with more than one sequence");
            behind = true;
            continue;
        }
        const Json* special = member(step, "SpecialToken");
        if (!special) return invalid_tokenizer("the template has a part that is neither Sequence nor SpecialToken");
        auto ids = template_ids(part, text_of(*special, "id"), out);
        if (!ids) return fail(ids.error());
        auto& side = behind ? out.after : out.before;
        side.insert(side.end(), ids->begin(), ids->end());
        if (side.size() > kMaxTemplateTokens) return fail(Errc::too_large, "tokenizer.json: a template of over " + std::to_string(kMaxTemplateTokens) + " tokens");
    }
    if (!behind) return unsupported_tokenizer("a template without the text");
    return {};
}

Result<void> read_post_processor(const Json& json, TokenizerFile& out) {
    auto parts = members_of(member(json, "post_processor"), "processors", "post_processor");
    if (!parts) return fail(parts.error());
    bool has_template = false;
    for (const Json* part : *parts) {
        const std::string type = text_of(*part, "type");
        if (type == "ByteLevel") continue;  // offsets only
        if (type != "TemplateProcessing" || has_template) return unsupported_tokenizer("post_processor " + type + (has_template ? " behind a template" : ""));
        has_template = true;
        auto read = read_template(*part, out);
        if (!read) return read;
    }
    return {};
}

}  // namespace

Fail unsupported_tokenizer(const std::string& what) {
    return fail(Errc::data_invalid, "tokenizer.json: " + what + " is not supported",
                "a byte-level BPE tokenizer of the GPT-2, Llama-3 or Qwen kind");
}
Fail invalid_tokenizer(const std::string& what) {
    return fail(Errc::data_invalid, "tokenizer.json: " + what, "take the file anew from the model's folder");
}

const Json* member(const Json& json, const char* key) {
    if (!json.is_object()) return nullptr;
    const auto found = json.find(key);
    return found == json.end() ? nullptr : &*found;
}
std::string text_of(const Json& json, const char* key) {
    const Json* found = member(json, key);
    return found && found->is_string() ? found->get<std::string>() : std::string();
}
bool flag_of(const Json& json, const char* key, bool otherwise) {
    const Json* found = member(json, key);
    return found && found->is_boolean() ? found->get<bool>() : otherwise;
}

Result<void> read_parts(const Json& json, TokenizerFile& out) {
    for (auto* read : {read_normalizer, read_pre_tokenizer, read_post_processor}) {
        auto done = read(json, out);
        if (!done) return done;
    }
    const Json* decoder = member(json, "decoder");
    const std::string type = absent(decoder) ? "none" : text_of(*decoder, "type");
    if (type != "ByteLevel") return unsupported_tokenizer("decoder " + type);
    return {};
}

}  // namespace skerry::node
