#include "node/tokenizer/tokenizer_file.hpp"

#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "node/tokenizer/byte_level.hpp"
#include "node/tokenizer/limits.hpp"
#include "node/tokenizer/pattern_rules.hpp"
#include "node/tokenizer/tokenizer_parts.hpp"
#include "node/tokenizer/utf8.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
using Ids = std::unordered_map<std::string_view, std::uint32_t>;  ///< views into the parsed JSON

/// No more values than commas and opening brackets: what parsing will allocate, known before it does.
std::size_t count_values(std::string_view json) {
    std::size_t out = 1;
    bool inside = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        const char c = json[i];
        if (inside) {
            if (c == '\\') ++i;
            else if (c == '"') inside = false;
        } else if (c == '"') {
            inside = true;
        } else {
            out += c == ',' || c == '[' || c == '{';
        }
    }
    return out;
}

Result<std::uint32_t> read_id(const Json& json, const char* kind, const std::string& text) {
    const auto name = [&] { return std::string(kind) + " '" + text.substr(0, 40) + "'"; };
    if (!json.is_number_unsigned()) return invalid_tokenizer(name() + " has no id");
    const auto id = json.get<std::uint64_t>();
    if (id >= kMaxVocab)
        return fail(Errc::too_large, "tokenizer.json: " + name() + " has id " + std::to_string(id) + ", the largest supported is " +
                                         std::to_string(kMaxVocab - 1));
    return static_cast<std::uint32_t>(id);
}

TokenizerFile::Token& slot(TokenizerFile& out, std::uint32_t id) {
    if (out.tokens.size() <= id) out.tokens.resize(id + 1);
    return out.tokens[id];
}

Result<Ids> read_vocab(const Json& model, TokenizerFile& out) {
    const Json* vocab = member(model, "vocab");
    if (!vocab || !vocab->is_object() || vocab->empty()) return invalid_tokenizer("model.vocab is no object with tokens");
    if (vocab->size() > kMaxVocab) return fail(Errc::too_large, "tokenizer.json: over " + std::to_string(kMaxVocab) + " tokens");
    Ids ids;
    ids.reserve(vocab->size());
    for (auto it = vocab->begin(); it != vocab->end(); ++it) {
        const std::string& text = it.key();
        auto id = read_id(*it, "token", text);
        if (!id) return fail(id.error());
        if (text.empty() || text.size() > kMaxTokenBytes) return invalid_tokenizer("token " + std::to_string(*id) + " is empty or over 4096 bytes");
        auto& token = slot(out, *id);
        if (token.known)
            return invalid_tokenizer("token '" + text.substr(0, 40) + "' has the id " + std::to_string(*id) + " of another token");
        auto bytes = to_bytes_of_symbols(text);
        token = {bytes ? *bytes : text, true, bytes.has_value()};
        ids.emplace(text, *id);
    }
    return ids;
}

Result<void> check_byte_symbols(const Ids& ids) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
        std::string symbol;
        append_character(byte_characters()[byte], symbol);
        if (!ids.contains(symbol))
            return unsupported_tokenizer("a vocabulary without the symbol of byte " + std::to_string(byte) + " ('" + symbol +
                                         "'), so not byte-level or not whole,");
    }
    return {};
}

/// The two halves of a merge, in either spelling.
std::optional<std::pair<std::string_view, std::string_view>> halves(const Json& merge) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
        return std::pair<std::string_view, std::string_view>(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    if (!merge.is_string()) return std::nullopt;
    const std::string_view text = merge.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) return std::nullopt;
    return std::pair(text.substr(0, space), text.substr(space + 1));
}

Result<void> read_merges(const Json& model, const Ids& ids, TokenizerFile& out) {
    const Json* merges = member(model, "merges");
    if (!merges || !merges->is_array()) return invalid_tokenizer("model.merges is no list");
    if (merges->size() > kMaxMerges) return fail(Errc::too_large, "tokenizer.json: over " + std::to_string(kMaxMerges) + " merges");
    out.merges.reserve(merges->size());
    std::string made;
    for (std::size_t i = 0; i < merges->size(); ++i) {
        const Json& merge = (*merges)[i];
        if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) continue;
        const auto pair = halves(merge);
        const std::string place = "merge " + std::to_string(i);
        if (!pair) return invalid_tokenizer(place + R"( is neither "a b" nor ["a", "b"])");
        made.assign(pair->first).append(pair->second);
        const auto left = ids.find(pair->first), right = ids.find(pair->second), both = ids.find(made);
        if (left == ids.end() || right == ids.end() || both == ids.end())
            return invalid_tokenizer(place + " is of tokens that are not in the vocabulary: '" + made.substr(0, 40) + "'");
        out.merges.push_back({left->second, right->second, both->second});
    }
    return {};
}

Result<Ids> read_model(const Json& json, TokenizerFile& out) {
    const Json* model = member(json, "model");
    if (!model || !model->is_object()) return invalid_tokenizer("there is no model");
    // Old files have no type; theirs are told by their merges.
    const std::string type = member(*model, "type") ? text_of(*model, "type") : member(*model, "merges") ? "BPE" : "";
    if (type != "BPE") return unsupported_tokenizer("model " + (type.empty() ? "without type" : type));
    if (flag_of(*model, "byte_fallback", false)) return unsupported_tokenizer("model.byte_fallback");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
        if (!text_of(*model, key).empty()) return unsupported_tokenizer("model." + std::string(key));
    const Json* dropout = member(*model, "dropout");
    if (dropout && !dropout->is_null() && *dropout != Json(0.0)) return unsupported_tokenizer("model.dropout");
    out.ignore_merges = flag_of(*model, "ignore_merges", false);
    auto ids = read_vocab(*model, out);
    if (!ids) return ids;
    // With all of them nothing is ever unknown, so unk_token and fuse_unk change nothing.
    auto whole = check_byte_symbols(*ids);
    if (!whole) return fail(whole.error());
    auto merges = read_merges(*model, *ids, out);
    if (!merges) return fail(merges.error());
    return ids;
}

Result<AddedToken> read_added(const Json& json, const std::string& place) {
    AddedToken out;
    out.content = text_of(json, "content");
    if (out.content.empty() || out.content.size() > kMaxAddedBytes) return invalid_tokenizer(place + " is empty or over 512 bytes");
    const Json* id = member(json, "id");
    auto number = read_id(id ? *id : Json(), "the added token", out.content);
    if (!number) return fail(number.error());
    out.id = *number;
    if (flag_of(json, "single_word", false)) return unsupported_tokenizer("single_word of the added token '" + out.content + "'");
    out.special = flag_of(json, "special", false);
    out.lstrip = flag_of(json, "lstrip", false);
    out.rstrip = flag_of(json, "rstrip", false);
    out.normalized = flag_of(json, "normalized", !out.special);
    return out;
}

/// A token of the model's vocabulary keeps its id; others follow the vocabulary one by one, as `tokenizers` numbers them
/// whatever the file says.
Result<void> read_added_tokens(const Json& json, const Ids& ids, TokenizerFile& out) {
    const Json* list = member(json, "added_tokens");
    if (!list || list->is_null()) return {};
    if (!list->is_array()) return invalid_tokenizer("added_tokens is no list");
    if (list->size() > kMaxAddedTokens) return fail(Errc::too_large, "tokenizer.json: over " + std::to_string(kMaxAddedTokens) + " added tokens");
    std::unordered_set<std::string> seen;
    auto next = static_cast<std::uint32_t>(ids.size());
    for (std::size_t i = 0; i < list->size(); ++i) {
        auto token = read_added((*list)[i], "added token " + std::to_string(i));
        if (!token) return fail(token.error());
        const std::string name = "the added token '" + token->content.substr(0, 40) + "'";
        if (!seen.insert(token->content).second) return invalid_tokenizer(name + " is there twice");
        const auto in_model = ids.find(token->content);
        const std::uint32_t expected = in_model != ids.end() ? in_model->second : next;
        if (token->id != expected)
            return invalid_tokenizer(name + " has id " + std::to_string(token->id) + ", not " + std::to_string(expected));
        if (in_model == ids.end()) {
            auto& made = slot(out, next++);
            if (made.known) return invalid_tokenizer(name + " has the id of another token");
            made = {to_bytes_of_symbols(token->content).value_or(token->content), true, false};
        }
        out.added.push_back(std::move(*token));
    }
    return {};
}

}  // namespace

Result<TokenizerFile> parse_tokenizer_file(ByteSpan bytes) {
    if (bytes.size() > kMaxTokenizerBytes)
        return fail(Errc::too_large, "tokenizer.json of " + std::to_string(bytes.size()) + " bytes, more than " + std::to_string(kMaxTokenizerBytes));
    if (count_values(as_text(bytes)) > kMaxTokenizerValues)
        return fail(Errc::too_large, "tokenizer.json has more than " + std::to_string(kMaxTokenizerValues) + " values");
    const Json json = Json::parse(as_text(bytes), nullptr, false);
    if (!json.is_object()) return invalid_tokenizer("it is not a JSON object");
    TokenizerFile out;
    auto ids = read_model(json, out);
    if (!ids) return fail(ids.error());
    auto added = read_added_tokens(json, *ids, out);
    if (!added) return fail(added.error());
    auto parts = read_parts(json, out);
    if (!parts) return fail(parts.error());
    return out;
}

}  // namespace skerry::node
