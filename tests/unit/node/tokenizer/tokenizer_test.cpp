#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "node/tokenizer/encoder.hpp"
#include "node/tokenizer/limits.hpp"
#include "node/tokenizer/nfc.hpp"
#include "node/tokenizer/pattern_rules.hpp"
#include "tests/support/sample_tokenizer.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

Result<Tokenizer> parse(const Json& json) { return Tokenizer::parse(as_bytes(json.dump())); }

Tokenizer make(const Json& json = test::sample_tokenizer()) {
    auto out = parse(json);
    if (!out) throw std::runtime_error(out.error().detail);
    return std::move(*out);
}

TokenIds encode(const Tokenizer& tokenizer, std::string_view text) {
    Encoder encoder(tokenizer);
    auto ids = encoder.encode(text);
    EXPECT_TRUE(ids) << ids.error().detail;
    return ids ? *ids : TokenIds{};
}

/// The sample without normalizer, added tokens, template and split patterns: merges alone.
Json merges_only() {
    Json json = test::sample_tokenizer();
    json["normalizer"] = nullptr;
    json["added_tokens"] = Json::array();
    json["post_processor"] = nullptr;
    json["pre_tokenizer"] = json["decoder"];
    return json;
}

TEST(ByteLevel, EachByteHasItsOwnCharacterAndComesBack) {
    std::string all, symbols;
    for (int byte = 0; byte < 256; ++byte) {
        all.push_back(static_cast<char>(byte));
        append_character(byte_characters()[static_cast<std::size_t>(byte)], symbols);
    }
    EXPECT_EQ(byte_characters()[' '], 0x120U);
    EXPECT_EQ(byte_characters()['\n'], 0x10AU);
    EXPECT_EQ(to_bytes_of_symbols(symbols), all);
    EXPECT_EQ(to_bytes_of_symbols("a b"), std::nullopt);
}

TEST(Bpe, TheEarliestMergeIsMadeFirstAndOfEqualOnesTheLeftmost) {
    const Tokenizer tokenizer = make(merges_only());
    EXPECT_THAT(encode(tokenizer, " the"), ElementsAre(258));
    EXPECT_THAT(encode(tokenizer, "he"), ElementsAre(261));
    EXPECT_THAT(encode(tokenizer, "aaaaa"), ElementsAre(259, 260));  // aa aa a, then aa aaa
    EXPECT_THAT(encode(tokenizer, ""), ElementsAre());
}

/// The rule itself, slowly.
TokenIds merge_slowly(const TokenizerFile& file, std::string_view piece) {
    TokenIds ids;
    for (char c : piece) ids.push_back(static_cast<std::uint8_t>(c));
    for (std::size_t rank = 0; rank < file.merges.size();) {
        const Merge& merge = file.merges[rank];
        std::size_t at = 0;
        while (at + 1 < ids.size() && (ids[at] != merge.left || ids[at + 1] != merge.right)) ++at;
        if (at + 1 >= ids.size()) {
            ++rank;
            continue;
        }
        ids[at] = merge.made;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
        rank = 0;
    }
    return ids;
}

TEST(Bpe, ShortAndLongPiecesFollowTheSameRule) {
    const auto file = parse_tokenizer_file(as_bytes(merges_only().dump()));
    ASSERT_TRUE(file) << file.error().detail;
    const BpeTable table(*file);
    std::uint64_t state = 7;
    for (std::size_t size = 1; size < 200; ++size) {
        std::string piece;
        for (std::size_t i = 0; i < size; ++i) piece += "athe "[(state = state * 6364136223846793005ULL + 1442695040888963407ULL) >> 61 & 3];
        TokenIds ids;
        BpeEncoder encoder(table);
        encoder.encode(piece, ids);
        encoder.encode(piece, ids);  // now from the cache
        TokenIds expected = merge_slowly(*file, piece);
        expected.insert(expected.end(), expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(ids.size() / 2));
        ASSERT_EQ(ids, expected) << piece;
    }
}

TEST(Bpe, IgnoreMergesTakesAPieceThatIsATokenAsAWhole) {
    Json json = merges_only();
    json["model"]["vocab"]["xyz"] = 262;
    EXPECT_THAT(encode(make(json), "xyz"), ElementsAre('x', 'y', 'z'));
    json["model"]["ignore_merges"] = true;
    EXPECT_THAT(encode(make(json), "xyz"), ElementsAre(262));
    EXPECT_THAT(encode(make(json), "xyzx"), ElementsAre('x', 'y', 'z', 'x'));
}

TEST(Encoder, AddedTokensTakeTheirWhiteSpaceAlong) {
    const Tokenizer tokenizer = make();
    EXPECT_THAT(encode(tokenizer, "a \t<pad> b"), ElementsAre('a', 263, ' ', 'b'));
    EXPECT_THAT(encode(tokenizer, "a <r>\u3000 b"), ElementsAre('a', ' ', 264, 'b'));
    EXPECT_THAT(encode(tokenizer, "<bos><bos"), ElementsAre(262, '<', 'b', 'o', 's'));
    EXPECT_THAT(encode(tokenizer, "A\u030a"), ElementsAre(265)) << "found in the normalised text, its own text normalised, too";
}

TEST(Encoder, ATextInPartsGivesTheSameTokens) {
    const Tokenizer tokenizer = make();
    const std::string text = "the  the\u3000\n <pad>aaaa<r> \t\n x\u212b e\u0301\u0323 <bos>the \u6f22\u5b57<pa <r>  <r>";
    const TokenIds whole = encode(tokenizer, text);
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
        Encoder encoder(tokenizer);
        TokenIds ids;
        for (std::size_t at = 0; at < text.size(); at += cut)
            ASSERT_TRUE(encoder.feed(std::string_view(text).substr(at, cut), at + cut >= text.size(), ids));
        ASSERT_EQ(ids, whole) << cut;
    }
}

TEST(Encoder, AfterAnErrorTheNextTextIsEncodedAsEver) {
    const Tokenizer tokenizer = make();
    Encoder encoder(tokenizer);
    TokenIds ids;
    ASSERT_TRUE(encoder.feed("the \xE2\x82", false, ids));
    const auto broken = encoder.feed("x", false, ids);
    ASSERT_FALSE(broken);
    EXPECT_EQ(broken.error().code, Errc::data_invalid);
    EXPECT_THAT(broken.error().detail, HasSubstr("at byte 4"));
    EXPECT_EQ(encoder.encode("the"), encode(tokenizer, "the"));
    const auto cut_off = encoder.encode("the\xE2");
    ASSERT_FALSE(cut_off);
    EXPECT_THAT(cut_off.error().detail, HasSubstr("at byte 3"));
}

TEST(Encoder, WhatCannotBeSplitWithinTheLimitIsRefused) {
    const Tokenizer tokenizer = make();
    Encoder encoder(tokenizer);
    EXPECT_TRUE(encoder.encode(std::string(kMaxPieceBytes, 'a')));
    const auto whole = encoder.encode(std::string(kMaxPieceBytes + 1, 'a'));
    ASSERT_FALSE(whole);
    EXPECT_EQ(whole.error().code, Errc::data_invalid);
    TokenIds ids;
    Result<void> fed;
    for (std::size_t i = 0; i < 40 && fed; ++i) fed = encoder.feed(std::string(kMaxPieceBytes / 16, ' '), false, ids);
    ASSERT_FALSE(fed);
    EXPECT_EQ(fed.error().code, Errc::data_invalid);
    EXPECT_TRUE(ids.empty());
}

TEST(Encoder, MarksThatWouldTakeForEverToSortAreRefused) {
    std::string marks = "a";
    for (std::size_t i = 0; i < 2 * kMaxMarksInARow; ++i) marks += "\u0323\u0301";
    const auto made = to_nfc(marks);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Errc::data_invalid);
}

TEST(Encoder, AHostilePatternEndsWithAnError) {
    Json json = test::sample_tokenizer();
    json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a+)+[bc]";
    const Tokenizer tokenizer = make(json);
    Encoder encoder(tokenizer);
    const auto begin = std::chrono::steady_clock::now();
    const auto ids = encoder.encode(std::string(5000, 'a'));
    ASSERT_FALSE(ids);
    EXPECT_EQ(ids.error().code, Errc::data_invalid);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(Tokenizer, DecodesToBytesWithOrWithoutSpecialTokens) {
    const Tokenizer tokenizer = make();
    EXPECT_EQ(tokenizer.vocab_size(), 266U);
    EXPECT_THAT(tokenizer.before(), ElementsAre(262));
    EXPECT_THAT(tokenizer.after(), ElementsAre());
    const TokenIds ids = {262, 258, 264, 0xE2};
    EXPECT_EQ(*tokenizer.decode(ids, false), "<bos> the<r>\xE2");
    EXPECT_EQ(*tokenizer.decode(ids, true), " the<r>\xE2");
    const auto beyond = tokenizer.decode(TokenIds{266}, false);
    ASSERT_FALSE(beyond);
    EXPECT_EQ(beyond.error().code, Errc::data_invalid);
}

struct Refusal {
    const char* change;  ///< a JSON merge patch (RFC 7386)
    const char* names;
    Errc code = Errc::data_invalid;
};
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.change; }
class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, ByName) {
    Json json = test::sample_tokenizer();
    json.merge_patch(Json::parse(GetParam().change));
    const auto tokenizer = parse(json);
    ASSERT_FALSE(tokenizer);
    EXPECT_EQ(to_name(tokenizer.error().code), to_name(GetParam().code));
    EXPECT_THAT(tokenizer.error().detail, HasSubstr(GetParam().names));
    EXPECT_TRUE(tokenizer.error().code == Errc::too_large || !tokenizer.error().fix.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Parts, Refused,
    testing::Values(
        Refusal{R"({"model": {"type": "WordPiece"}})", "model WordPiece"},
        Refusal{R"({"model": {"byte_fallback": true}})", "byte_fallback"},
        Refusal{R"({"model": {"end_of_word_suffix": "</w>"}})", "end_of_word_suffix"},
        Refusal{R"({"model": {"dropout": 0.1}})", "dropout"},
        Refusal{R"({"model": {"vocab": {"a": null}}})", "the symbol of byte 97 ('a')"},
        Refusal{R"({"model": {"vocab": {"zz": 5}}})", "the id 5 of another token"},
        Refusal{R"({"model": {"vocab": {"zz": 4000000000}}})", "4000000000", Errc::too_large},
        Refusal{R"({"model": {"vocab": {"zz": -1}}})", "'zz' has no id"},
        Refusal{R"({"model": {"merges": ["a q"]}})", "merge 0 is of tokens that are not in the vocabulary: 'aq'"},
        Refusal{R"({"model": {"merges": ["a", "b"]}})", "merge 0 is neither"},
        Refusal{R"({"model": {"merges": ["a a a"]}})", "merge 0 is neither"},
        Refusal{R"({"model": null})", "no model"},
        Refusal{R"({"normalizer": {"type": "NFKC"}})", "normalizer NFKC"},
        Refusal{R"({"pre_tokenizer": {"type": "Metaspace"}})", "pre_tokenizer Metaspace"},
        Refusal{R"({"pre_tokenizer": null})", "no pre_tokenizer"},
        Refusal{R"({"pre_tokenizer": {"pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel"}]}})", "pre_tokenizer Digits"},
        Refusal{R"({"pre_tokenizer": {"pretokenizers": [{"type": "Split", "behavior": "Removed"}, {"type": "ByteLevel"}]}})",
                "behavior Removed"},
        Refusal{R"({"post_processor": {"type": "RobertaProcessing"}})", "post_processor RobertaProcessing"},
        Refusal{R"({"post_processor": {"special_tokens": {"<bos>": {"ids": [9999]}}}})", "an id that is no token's"},
        Refusal{R"({"decoder": null})", "decoder none"},
        Refusal{R"({"added_tokens": [{"id": 262, "content": "<x>", "single_word": true}]})", "single_word of the added token '<x>'"},
        Refusal{R"({"added_tokens": [{"id": 300, "content": "<x>"}]})", "id 300, not 262"},
        Refusal{R"({"added_tokens": [{"id": 262, "content": ""}]})", "added token 0 is empty"}));

TEST(Tokenizer, ForeignBytesAreRefusedBeforeTheyCostMemory) {
    const auto code_of = [](std::string_view text) {
        const auto made = Tokenizer::parse(as_bytes(text));
        return made ? Errc::internal : made.error().code;
    };
    EXPECT_EQ(code_of(""), Errc::data_invalid);
    EXPECT_EQ(code_of("[1]"), Errc::data_invalid);
    EXPECT_EQ(code_of(std::string(kMaxTokenizerBytes + 1, ' ')), Errc::too_large);
    EXPECT_EQ(code_of(std::string(kMaxTokenizerValues + 1, '[')), Errc::too_large);
    const std::string good = test::sample_tokenizer().dump();
    for (std::size_t cut = 0; cut < good.size(); cut += 97) EXPECT_EQ(code_of(std::string_view(good).substr(0, cut)), Errc::data_invalid);
}

TEST(PatternRules, WhatRubyAndPerlReadDifferentlyIsRefused) {
    for (const char* pattern : {R"(\w+)", R"(\bx)", R"(^x)", R"(x$)", R"((?<=a)b)", R"((?<n>a))", R"((*FAIL))", R"([[:alpha:]])", R"([a&&b])", R"(\p{Han})",
                                R"(\pL)", R"(\p{^L})", R"([^\S])", R"(a{,3})", R"(a{2}+)", R"(a{2}?)", R"(\h)", R"(\v)", R"(\x41)", R"([a-\d])", R"((?i:ss))",
                                R"((?i:é))", R"([])", R"([a)", R"(\)", R"((?m:.))", R"(\1)", R"(\p{L)"}) {
        const auto made = to_pcre2(pattern);
        ASSERT_FALSE(made) << pattern;
        EXPECT_EQ(made.error().code, Errc::data_invalid);
        EXPECT_THAT(made.error().detail, HasSubstr(pattern));
    }
    for (const char* pattern : {R"(a*?b++c??)", R"([\]\-a-z.*]{1,3}?)", R"((?i:'s|'re)|(a|b)(?>c)(?=d)(?!e).)", R"([\d\s_-]+)"}) {
        const auto made = to_pcre2(pattern);
        EXPECT_TRUE(made) << made.error().detail;
    }
    const auto empty = SplitPattern::compile("a*");
    ASSERT_FALSE(empty);
    EXPECT_THAT(empty.error().detail, HasSubstr("empty"));
    const auto broken = SplitPattern::compile("(a");
    ASSERT_FALSE(broken);
    EXPECT_EQ(broken.error().code, Errc::data_invalid);
}

}  // namespace
}  // namespace skerry::node
