#include "node/exchange/piece_files.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "protocol/identity/merkle.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/chunk_codec.hpp"
#include "protocol/wire/limits.hpp"
#include "protocol/wire/signatures.hpp"
#include "tests/support/store_run.hpp"

namespace skerry::node {
namespace {

std::shared_ptr<RunStore> borrowed(RunStore& store) { return {std::shared_ptr<void>(), &store}; }

class PieceFilesTest : public ::testing::Test {
  protected:
    PieceFilesTest() : run(2) {
        step = run.head();
        plan = run.make_plan(step, run.contribute(step));
        digest = body_digest(to_bytes(plan));
        EXPECT_TRUE(files.follow(to_bytes(plan)));
    }
    VerifyChunk of_contribution(const Digest& id, PieceIndex piece) {
        VerifyChunk what;
        what.object = {ObjectKind::contribution, step, id};
        what.piece = piece;
        return what;
    }
    VerifyChunk of_result(PieceIndex piece, std::size_t owner) {
        VerifyChunk what;
        what.object = {ObjectKind::result, step, digest};
        what.piece = piece;
        what.purpose = ChunkPurpose::result;
        what.owner = run.key(owner).public_key();
        return what;
    }
    /// A piece of node 1's contribution, as it would arrive.
    PieceBytes of_node_1(PieceIndex piece) {
        auto read = others.read({ObjectKind::contribution, step, plan.participants[1].contribution}, piece);
        EXPECT_TRUE(read);
        return *read;
    }

    test::StoreRun run;
    Step step;
    Plan plan;
    Digest digest;
    PieceFiles files{borrowed(run.store(0)), signing_with(run.key(0))};
    PieceFiles others{borrowed(run.store(1)), signing_with(run.key(1))};
};

TEST_F(PieceFilesTest, APieceWithItsProofIsStored) {
    auto piece = of_node_1(PieceIndex{1});
    auto answer = files.take_piece(of_contribution(plan.participants[1].contribution, PieceIndex{1}), piece.envelope,
                                   *piece.chunk);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->verdict, ChunkVerdict::stored);
}

TEST_F(PieceFilesTest, AChangedByteOrAnotherPlaceFailsTheProof) {
    auto piece = of_node_1(PieceIndex{1});
    Bytes changed = *piece.chunk;
    changed.back() ^= 1;
    const Digest& id = plan.participants[1].contribution;
    EXPECT_EQ(files.take_piece(of_contribution(id, PieceIndex{1}), piece.envelope, changed)->verdict,
              ChunkVerdict::bad_proof);
    EXPECT_EQ(files.take_piece(of_contribution(id, PieceIndex{0}), piece.envelope, *piece.chunk)->verdict,
              ChunkVerdict::bad_proof);
    EXPECT_EQ(files.take_piece(of_contribution(plan.participants[0].contribution, PieceIndex{1}), piece.envelope,
                               *piece.chunk)
                  ->verdict,
              ChunkVerdict::bad_proof);
}

// The maker froze an Inf: the proof holds, so its id is its word for it.
TEST_F(PieceFilesTest, AProvenPieceThatIsNotFiniteIsEvidence) {
    std::vector<Digest> leaves;
    Bytes bad;
    for (std::uint32_t p = 0; p < plan.piece_owner.size(); ++p) {
        Bytes chunk = *of_node_1(PieceIndex{p}).chunk;
        if (p == 1) {
            chunk[kChunkHeaderBytes + 1] = 0x7C;  // fp16 scale: infinity
            chunk[kChunkHeaderBytes] = 0;
            bad = chunk;
        }
        leaves.push_back(merkle_leaf(chunk));
    }
    Digest id = merkle_root(leaves);
    Data envelope;
    envelope.proof = make_merkle_proof(leaves, 1);
    auto answer = files.take_piece(of_contribution(id, PieceIndex{1}), envelope, bad);
    EXPECT_EQ(answer->verdict, ChunkVerdict::bad_content);
    EXPECT_GT(answer->evidence.size(), envelope.proof.size() * 32);
    EXPECT_LE(answer->evidence.size(), kMaxEvidence);
}

TEST_F(PieceFilesTest, AResultNeedsItsOwnersSignatureAndItsLeaf) {
    run.exchange(plan);
    // Node 1 owns piece 1. Another node's view of it, in a staging that is still empty:
    auto attempt = run.make_plan(step, {*run.store(0).own_contribution(), *run.store(1).own_contribution()}, 2);
    auto piece = others.read({ObjectKind::result, step, digest}, PieceIndex{1});
    ASSERT_TRUE(piece);
    auto what = of_result(PieceIndex{1}, 1);
    EXPECT_EQ(files.take_piece(what, piece->envelope, *piece->chunk)->verdict, ChunkVerdict::stored);
    what.owner = run.key(0).public_key();
    EXPECT_EQ(files.take_piece(what, piece->envelope, *piece->chunk)->verdict, ChunkVerdict::bad_proof);
    Bytes changed = *piece->chunk;
    changed.back() ^= 1;
    EXPECT_EQ(files.take_piece(of_result(PieceIndex{1}, 1), piece->envelope, changed)->verdict,
              ChunkVerdict::bad_proof);
}

TEST_F(PieceFilesTest, TwoResultsForOnePlanAreEvidence) {
    run.exchange(plan);
    auto piece = others.read({ObjectKind::result, step, digest}, PieceIndex{1});
    ASSERT_TRUE(piece);
    Bytes second = *piece->chunk;
    second.back() ^= 1;
    Data envelope = piece->envelope;
    envelope.leaf = merkle_leaf(second);
    envelope.owner_signature = sign_result(run.key(1), digest, PieceIndex{1}, envelope.leaf);
    auto answer = files.take_piece(of_result(PieceIndex{1}, 1), envelope, second);
    EXPECT_EQ(answer->verdict, ChunkVerdict::bad_content);
    EXPECT_EQ(answer->evidence.size(), 2U * (32 + 64));
}

TEST_F(PieceFilesTest, AResultOfAPlanThatIsNotFollowedIsNotKept) {
    auto what = of_result(PieceIndex{1}, 1);
    what.object.id = Digest{};
    EXPECT_EQ(files.take_piece(what, Data{}, Bytes(100))->verdict, ChunkVerdict::disk_error);
    EXPECT_FALSE(files.is_open(Digest{}));
    EXPECT_TRUE(files.is_open(digest));
}

TEST_F(PieceFilesTest, ASupersededPlanTakesNothingMore) {
    auto higher = run.make_plan(step, {*run.store(0).own_contribution(), *run.store(1).own_contribution()}, 2);
    files.drop_staging(step, digest);
    ASSERT_TRUE(files.follow(to_bytes(higher)));
    EXPECT_FALSE(files.is_open(digest));
    EXPECT_TRUE(files.is_open(body_digest(to_bytes(higher))));
}

Bytes content(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

// Of a step far below the head: what was served damaged is fetched again into its place, bit for bit what it was.
TEST(OldEntry, IsSetAsideWhenItIsServedAndComesBack) {
    test::StoreRun run(2);
    for (int k = 0; k < 3; ++k) run.run_step();
    PieceFiles files{borrowed(run.store(0)), signing_with(run.key(0))};
    PieceFiles others{borrowed(run.store(1)), signing_with(run.key(1))};
    const auto path = run.folder(0) / "entries" / "0";
    const Bytes good = content(path);
    const DecisionRow row = *run.store(0).decisions().row(Step{0});
    const ObjectRef chunks{ObjectKind::result, Step{0}, row.plan_digest};
    test::flip_byte(path, std::filesystem::file_size(path) - 10);
    EXPECT_TRUE(files.read(chunks, PieceIndex{0}));
    EXPECT_EQ(files.read(chunks, PieceIndex{2}).error().code, Errc::digest_mismatch);
    EXPECT_FALSE(run.store(0).has_entry(Step{0}));

    VerifyChunk what;
    what.object = {ObjectKind::block, Step{0}, row.plan_digest};
    what.purpose = ChunkPurpose::plan_body;
    EXPECT_EQ(files.take_block(what, *others.read(what.object, PieceIndex{0})->chunk)->verdict, ChunkVerdict::stored);
    for (std::uint32_t p = 0; p < 3; ++p) {
        auto piece = others.read(chunks, PieceIndex{p});
        ASSERT_TRUE(piece);
        what.object = chunks;
        what.purpose = ChunkPurpose::entry;
        what.piece = PieceIndex{p};
        what.expect = piece->envelope.leaf;
        EXPECT_EQ(files.take_piece(what, piece->envelope, *piece->chunk)->verdict, ChunkVerdict::stored);
    }
    AppendEntry append;
    append.step = Step{0};
    append.record = run.decisions()[0];
    append.plan_digest = row.plan_digest;
    append.root = row.root;
    ASSERT_TRUE(files.append(append));
    EXPECT_TRUE(run.store(0).verify_entry(Step{0}));
    EXPECT_EQ(run.store(0).decisions().next(), Step{3});
    EXPECT_EQ(content(path), good);
}

TEST_F(PieceFilesTest, ASnapshotComesBlockByBlock) {
    run.exchange(plan);
    auto entry = run.store(1).prepare(*run.staged(1, plan));
    ASSERT_TRUE(entry);
    auto record = run.decide(plan, entry->root);
    ASSERT_TRUE(run.store(1).append_decision(record));
    ASSERT_TRUE(*run.store(1).adopt_prepared(step));
    ASSERT_TRUE(run.store(1).apply(step));
    auto info = run.store(1).write_snapshot();
    ASSERT_TRUE(info);

    auto fetch = [&](const Digest& hash, ChunkPurpose purpose, PieceIndex place) {
        ObjectRef object{ObjectKind::block, step.next(), hash};
        auto block = others.read(object, PieceIndex{0});
        EXPECT_TRUE(block);
        VerifyChunk what;
        what.object = object;
        what.piece = place;
        what.purpose = purpose;
        auto answer = files.take_block(what, *block->chunk);
        EXPECT_TRUE(answer);
        EXPECT_EQ(answer->verdict, ChunkVerdict::stored);
        return *answer;
    };
    auto preimage = fetch(info->state_digest, ChunkPurpose::state_preimage, PieceIndex{0}).body;
    auto theta = fetch(info->roots.theta_root, ChunkPurpose::leaf_list, PieceIndex{0}).leaves;
    auto m = fetch(info->roots.m_root, ChunkPurpose::leaf_list, PieceIndex{0}).leaves;
    for (std::uint32_t p = 0; p < theta.size(); ++p) {
        fetch(theta[p], ChunkPurpose::theta_piece, PieceIndex{p});
        fetch(m[p], ChunkPurpose::m_piece, PieceIndex{p});
    }
    AdoptSnapshot adopt{{}, step.next(), info->state_digest, preimage, {record}};
    auto adopted = files.adopt_snapshot(adopt);
    ASSERT_TRUE(adopted) << adopted.error().detail;
    EXPECT_EQ(adopted->digest, info->state_digest);
    EXPECT_EQ(run.store(0).state_step(), step.next());
    EXPECT_EQ(*run.store(0).digest_state(), info->state_digest);
}

TEST_F(PieceFilesTest, ABlockThatIsNotItsHashIsRefused) {
    VerifyChunk what;
    what.object = {ObjectKind::block, step, digest};
    for (auto purpose : {ChunkPurpose::plan_body, ChunkPurpose::state_preimage, ChunkPurpose::leaf_list}) {
        what.purpose = purpose;
        EXPECT_EQ(files.take_block(what, Bytes(64))->verdict, ChunkVerdict::bad_proof);
    }
}

}  // namespace
}  // namespace skerry::node
