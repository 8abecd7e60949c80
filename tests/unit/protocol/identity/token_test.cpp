#include "protocol/identity/token.hpp"

#include <gtest/gtest.h>

namespace skerry {
namespace {

Token sample() {
    Token t;
    t.host = "swarm.reef.example";
    t.run = "reef-350m";
    t.id.bytes.fill(1);
    t.root.bytes.fill(2);
    t.secret.bytes.fill(3);
    t.expires_at = 1800000000;
    return t;
}

Errc code_of(std::string_view text) {
    auto token = parse_token(text);
    return token ? Errc::cancelled : token.error().code;  // cancelled: no error
}

TEST(Token, TextIsFrozen) {  // from an independent Python implementation
    EXPECT_EQ(to_text(sample()),
              "skerry://swarm.reef.example/reef-350m#skr1_"
              "aeaqcaibaeaqcaicaibaeaqcaibaeaqcaibaeaqcambqgaydambqgaydambqgaydamanesllrwojm6i");
}

TEST(Token, RoundTrips) {
    for (const char* host : {"a", "192.0.2.1", "2001:db8::1", "swarm.reef.example"}) {
        for (std::uint16_t port : {kDefaultPort, std::uint16_t{443}}) {
            Token t = sample();
            t.host = host;
            t.port = port;
            auto back = parse_token(to_text(t));
            ASSERT_TRUE(back) << back.error().detail;
            EXPECT_EQ(*back, t);
        }
    }
}

TEST(Token, AdminTokenNeedsNoRun) {
    Token t = sample();
    t.kind = TokenKind::admin;
    t.run = "";
    auto back = parse_token(to_text(t));
    ASSERT_TRUE(back) << back.error().detail;
    EXPECT_EQ(back->kind, TokenKind::admin);
    t.kind = TokenKind::join;
    EXPECT_EQ(code_of(to_text(t)), Errc::usage);
}

TEST(Token, EveryTruncationIsIncompleteOrNoToken) {
    std::string text = to_text(sample());
    for (std::size_t n = 0; n < text.size(); ++n) {
        Errc code = code_of(std::string_view(text).substr(0, n));
        EXPECT_EQ(code, n < 9 ? Errc::usage : Errc::token_incomplete) << n;
    }
}

TEST(Token, EveryChangedCharacterIsFound) {
    std::string text = to_text(sample());
    for (std::size_t i = text.find("skr1_") + 5; i < text.size(); ++i) {
        std::string changed = text;
        changed[i] = changed[i] == 'q' ? 'r' : 'q';
        EXPECT_EQ(code_of(changed), Errc::token_incomplete) << i;
    }
}

TEST(Token, SurroundingBlanksAndUpperCaseDoNoHarm) {
    std::string text = to_text(sample());
    EXPECT_EQ(code_of(" " + text + " \n"), Errc::cancelled);
    auto start = text.find("skr1_") + 5;
    for (std::size_t i = start; i < text.size(); ++i) text[i] = static_cast<char>(std::toupper(text[i]));
    EXPECT_EQ(code_of(text), Errc::cancelled);
}

TEST(Token, WhatIsNoTokenSaysSo) {
    std::string secret = to_text(sample()).substr(to_text(sample()).find('#'));
    EXPECT_EQ(code_of("https://swarm.reef.example/x"), Errc::usage);
    EXPECT_EQ(code_of("skerry://host:0/run" + secret), Errc::usage);
    EXPECT_EQ(code_of("skerry://host:99999/run" + secret), Errc::usage);
    EXPECT_EQ(code_of("skerry://ho st/run" + secret), Errc::usage);
    EXPECT_EQ(code_of("skerry://host/ru/n" + secret), Errc::usage);
    EXPECT_EQ(code_of("skerry:///run" + secret), Errc::usage);
    EXPECT_EQ(code_of("skerry://host/run#skr2_" + secret.substr(6)), Errc::version_mismatch);
}

TEST(Token, SecretIsStoredHashed) {
    Token t = sample();
    Token other = sample();
    other.secret.bytes[0] ^= 1;
    EXPECT_EQ(token_hash(t.id.bytes, t.secret.bytes), token_hash(t.id.bytes, t.secret.bytes));
    EXPECT_NE(token_hash(t.id.bytes, t.secret.bytes), token_hash(other.id.bytes, other.secret.bytes));
}

TEST(Token, MadeTokensDiffer) {
    auto a = make_token("h", 1, "r", TokenKind::join, RootPin{}, 0);
    auto b = make_token("h", 1, "r", TokenKind::join, RootPin{}, 0);
    EXPECT_NE(a.id, b.id);
    EXPECT_NE(a.secret, b.secret);
}

}  // namespace
}  // namespace skerry
