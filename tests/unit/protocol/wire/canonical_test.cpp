#include "protocol/wire/canonical.hpp"

#include <gtest/gtest.h>

#include "protocol/identity/hash.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/signatures.hpp"
#include "tests/support/samples.hpp"

namespace skerry {
namespace {

using namespace skerry::test;

TEST(Canonical, BodiesRoundTrip) {
    EXPECT_EQ(*parse_manifest(to_bytes(sample_manifest())), sample_manifest());
    EXPECT_EQ(*parse_roster(to_bytes(sample_roster())), sample_roster());
    EXPECT_EQ(*parse_plan(to_bytes(sample_plan())), sample_plan());
    EXPECT_EQ(*parse_decision(to_bytes(sample_decision())), sample_decision());
}

TEST(Canonical, DigestIsTheTaggedHash) {
    Bytes body = to_bytes(sample_plan());
    std::string tag = "skerry/plan/1";
    EXPECT_EQ(body_digest(body), tagged_hash(tag, ByteSpan(body).subspan(tag.size() + 1)));
}

template <class Parse>
void every_truncation_is_refused(const Bytes& body, Parse parse) {
    for (std::size_t n = 0; n < body.size(); ++n) EXPECT_FALSE(parse(ByteSpan(body).first(n))) << n;
    Bytes longer = body;
    longer.push_back(0);
    EXPECT_FALSE(parse(longer));
}

TEST(Canonical, EveryTruncationIsRefused) {
    every_truncation_is_refused(to_bytes(sample_manifest()), parse_manifest);
    every_truncation_is_refused(to_bytes(sample_roster()), parse_roster);
    every_truncation_is_refused(to_bytes(sample_plan()), parse_plan);
    every_truncation_is_refused(to_bytes(sample_decision()), parse_decision);
}

// What is accepted is written back byte for byte: there are no two spellings of one body.
template <class Parse>
void flips_are_refused_or_faithful(const Bytes& body, Parse parse) {
    for (std::size_t i = 0; i < body.size(); ++i) {
        for (unsigned mask : {0x01U, 0x80U, 0xFFU}) {
            Bytes changed = body;
            changed[i] = static_cast<std::uint8_t>(changed[i] ^ mask);
            auto value = parse(changed);
            if (value) {
                EXPECT_EQ(to_bytes(*value), changed) << i;
            }
        }
    }
}

TEST(Canonical, WhatIsAcceptedIsWrittenBackByteForByte) {
    flips_are_refused_or_faithful(to_bytes(sample_manifest()), parse_manifest);
    flips_are_refused_or_faithful(to_bytes(sample_roster()), parse_roster);
    flips_are_refused_or_faithful(to_bytes(sample_plan()), parse_plan);
    flips_are_refused_or_faithful(to_bytes(sample_decision()), parse_decision);
}

TEST(Canonical, AnotherKindOrVersionSaysSo) {
    Bytes body = to_bytes(sample_plan());
    EXPECT_EQ(parse_roster(body).error().code, Errc::malformed);
    body[std::string("skerry/plan/").size()] = '2';
    EXPECT_EQ(parse_plan(body).error().code, Errc::version_mismatch);
}

template <class Change>
Errc plan_error(Change change) {
    Plan p = sample_plan();
    change(p);
    auto parsed = parse_plan(to_bytes(p));
    return parsed ? Errc::cancelled : parsed.error().code;  // cancelled: no error
}

TEST(Canonical, PlansThatNobodyCouldFollowAreRefused) {
    EXPECT_EQ(plan_error([](Plan&) {}), Errc::cancelled);
    EXPECT_EQ(plan_error([](Plan& p) { std::swap(p.participants[0], p.participants[1]); }), Errc::malformed);
    EXPECT_EQ(plan_error([](Plan& p) { p.participants[1] = p.participants[0]; }), Errc::malformed);
    EXPECT_EQ(plan_error([](Plan& p) { p.members.erase(p.members.begin()); }), Errc::malformed);
    EXPECT_EQ(plan_error([](Plan& p) { p.piece_owner[0] = 3; }), Errc::malformed);
    EXPECT_EQ(plan_error([](Plan& p) { p.participants[0].weight_tokens = 0; }), Errc::malformed);
    EXPECT_EQ(plan_error([](Plan& p) { p.kind = EntryKind::rollback; }), Errc::malformed);
    EXPECT_EQ(plan_error([](Plan& p) { p.durable_copies = 4; }), Errc::malformed);
    EXPECT_EQ(plan_error([](Plan& p) { p.outer.eta = std::numeric_limits<float>::infinity(); }), Errc::malformed);
    EXPECT_EQ(plan_error([](Plan& p) {
                  p.kind = EntryKind::rollback;
                  p.participants.clear();
                  p.piece_owner.clear();
              }),
              Errc::cancelled);
}

template <class Change>
bool manifest_parses(Change change) {
    Manifest m = sample_manifest();
    change(m);
    return parse_manifest(to_bytes(m)).has_value();
}

TEST(Canonical, ManifestsMustTileTheVector) {
    EXPECT_FALSE(manifest_parses([](Manifest& m) { m.tensors[1].first_element = 8999; }));
    EXPECT_FALSE(manifest_parses([](Manifest& m) { m.tensors.pop_back(); }));
    EXPECT_FALSE(manifest_parses([](Manifest& m) { m.tensors[0].shape = {90, 101}; }));
    EXPECT_FALSE(manifest_parses([](Manifest& m) { m.tensors[0].shape = {1ULL << 32, 1ULL << 32, 9000}; }));
    EXPECT_FALSE(manifest_parses([](Manifest& m) { m.piece_elements = 8192; }));
}

TEST(Canonical, AForkNamesItsBaseStateAndTheRunItComesFrom) {
    EXPECT_FALSE(manifest_parses([](Manifest& m) { m.initial_root = {}; }));
    EXPECT_FALSE(manifest_parses([](Manifest& m) { m.parent_run = {}; }));
    EXPECT_TRUE(manifest_parses([](Manifest& m) {  // a model folder's state
        m.parent_h = {};
        m.parent_run = {};
        m.parent_step = {};
    }));
    EXPECT_TRUE(manifest_parses([](Manifest& m) {
        m.initial_root = m.parent_h = {};
        m.parent_run = {};
        m.parent_step = {};
    }));
}

TEST(Canonical, PieceSizeIsTheRuleOfTheGrid) {
    for (std::uint64_t elements : {1ULL, 4096ULL, 256ULL * 4096, 256ULL * 4096 + 1, 16'000'000ULL, 1ULL << 28, 1ULL << 33}) {
        Manifest m = sample_manifest();
        m.elements = elements;
        m.piece_elements = piece_elements_for(elements);
        m.tensors = {{"w", {elements}, 0, elements, 0}};
        EXPECT_TRUE(parse_manifest(to_bytes(m))) << elements;
    }
}

TEST(Canonical, HugeCountsAllocateNothing) {
    Bytes body = to_bytes(sample_roster());
    std::size_t count_at = std::string("skerry/roster/1").size() + 1 + 16 + 8;
    body[count_at + 3] = 0x7F;
    EXPECT_EQ(parse_roster(body).error().code, Errc::malformed);
}

TEST(Canonical, RosterIdsAreFingerprints) {
    Roster r = sample_roster();
    r.nodes[0].node.bytes[31] ^= 1;
    EXPECT_FALSE(parse_roster(to_bytes(r)));
}

TEST(Signatures, HoldForWhatWasSigned) {
    auto keys = sample_keys();
    auto body = sign_body(keys[0], to_bytes(sample_plan()));
    EXPECT_TRUE(verify_body(keys[0].public_key(), body));
    EXPECT_FALSE(verify_body(keys[1].public_key(), body));
    body.body.back() ^= 1;
    EXPECT_FALSE(verify_body(keys[0].public_key(), body));

    Digest h = counting<Digest>(5);
    EXPECT_TRUE(verify_vote(keys[0].public_key(), h, sign_vote(keys[0], h)));
    EXPECT_FALSE(verify_vote(keys[0].public_key(), Digest{}, sign_vote(keys[0], h)));

    auto result = sign_result(keys[0], h, PieceIndex{3}, h);
    EXPECT_TRUE(verify_result(keys[0].public_key(), h, PieceIndex{3}, h, result));
    EXPECT_FALSE(verify_result(keys[0].public_key(), h, PieceIndex{4}, h, result));
}

}  // namespace
}  // namespace skerry
