#include "node/tokenizer/tokenizer.hpp"

#include "node/tokenizer/limits.hpp"
#include "node/tokenizer/nfc.hpp"
#include "node/tokenizer/utf8.hpp"
#include "protocol/config/files.hpp"

namespace skerry::node {

Tokenizer::Tokenizer(TokenizerFile file, std::vector<SplitPattern> patterns)
    : file_(std::move(file)), patterns_(std::move(patterns)), special_(file_.tokens.size()), bpe_(std::make_unique<BpeTable>(file_)) {
    // Special ones first: where two are equal once they are normalised, `tokenizers` takes the first it was told.
    for (bool special : {true, false}) {
        for (const AddedToken& token : file_.added) {
            if (token.special != special) continue;
            special_[token.id] = special;
            if (token.normalized && file_.nfc) {
                auto content = to_nfc(token.content);  // 512 bytes are never too many marks
                normalized_.add(content ? *content : token.content, token);
            } else {
                (token.normalized ? normalized_ : raw_).add(token.content, token);
            }
        }
    }
    file_.merges = {};  // are in the table now
}

Result<Tokenizer> Tokenizer::parse(ByteSpan json) {
    auto file = parse_tokenizer_file(json);
    if (!file) return fail(file.error());
    std::vector<SplitPattern> patterns;
    for (const std::string& pattern : file->patterns) {
        auto compiled = SplitPattern::compile(pattern);
        if (!compiled) return fail(compiled.error());
        patterns.push_back(std::move(*compiled));
    }
    return Tokenizer(std::move(*file), std::move(patterns));
}

std::optional<std::uint32_t> Tokenizer::added_token(std::string_view content) const {
    for (const AddedToken& token : file_.added)
        if (token.content == content) return token.id;
    return std::nullopt;
}

Result<std::string> Tokenizer::decode(std::span<const std::uint32_t> ids, bool skip_special) const {
    std::string out;
    for (std::uint32_t id : ids) {
        if (id >= file_.tokens.size() || !file_.tokens[id].known)
            return fail(Errc::data_invalid, "token " + std::to_string(id) + " is not in the vocabulary", "the tokenizer that made the tokens");
        if (!skip_special || !special_[id]) out += file_.tokens[id].bytes;
    }
    return out;
}

Result<std::string> read_tokenizer_json(const std::filesystem::path& folder_or_file) {
    std::error_code none;
    const bool folder = std::filesystem::is_directory(folder_or_file, none);
    return read_small_file(folder ? folder_or_file / "tokenizer.json" : folder_or_file, kMaxTokenizerBytes);
}

}  // namespace skerry::node
