#include "node/app/data_files.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "node/data/data_manifest.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {

constexpr std::uint32_t kSeq = 16;

DataShard shard(const std::string& file, bool held_out, std::uint64_t sequences) {
    DataShard out;
    out.file = file;
    out.held_out = held_out;
    out.tokens = sequences * kSeq + 1;
    out.bytes = 1024 + 2 * out.tokens;
    return out;
}

struct Given {
    Manifest manifest;
    std::string data;
};

Given given(const std::vector<std::uint64_t>& training, const std::vector<std::uint64_t>& held_out) {
    DataManifest data;
    Given out;
    for (std::uint64_t n : training) data.shards.push_back(shard("train-" + std::to_string(data.shards.size()) + ".bin", false, n));
    for (std::uint64_t n : held_out) data.shards.push_back(shard("held-" + std::to_string(data.shards.size()) + ".bin", true, n));
    for (std::uint64_t n : training) out.manifest.sequences += n;
    out.manifest.seed = 7;
    out.manifest.sequence_tokens = kSeq;
    out.manifest.model_json = to_json(ModelConfig{});
    TrainConfig train;
    train.seq = kSeq;
    train.total_tokens = 1000;
    out.manifest.train_json = to_json(train);
    out.data = to_json(data);
    return out;
}

DataFiles open(const Given& from) {
    auto opened = DataFiles::open(from.manifest, as_bytes(from.data), nullptr);
    EXPECT_TRUE(opened) << opened.error().detail;
    return std::move(*opened);
}

TEST(DataFiles, EachPassReadsEverySequenceOnce) {
    DataFiles files = open(given({5, 9, 3}, {}));
    for (std::uint64_t pass = 0; pass < 3; ++pass) {
        std::set<std::pair<std::uint32_t, std::uint64_t>> seen;
        for (std::uint64_t x = 0; x < 17; ++x) {
            SequenceRef at = files.sequence_at(pass * 17 + x);
            seen.insert({at.file, at.offset});
        }
        EXPECT_EQ(seen.size(), 17U);
        std::map<std::uint32_t, std::uint64_t> most;
        for (auto [file, offset] : seen) most[file] = std::max(most[file], offset);
        EXPECT_EQ(most, (std::map<std::uint32_t, std::uint64_t>{{0, 4 * kSeq}, {1, 8 * kSeq}, {2, 2 * kSeq}}));
    }
}

TEST(DataFiles, HeldOutSequencesAreSpreadEvenlyOverTheShards) {
    DataFiles files = open(given({4}, {10, 7, 13}));
    for (std::uint32_t wanted : {1U, 4U, 7U, 30U, 100U}) {
        std::vector<std::uint64_t> taken;  // numbers in the joined held-out shards
        const std::uint64_t first[] = {0, 0, 10, 17};
        for (const EvalSpan& span : files.heldout_spans(wanted)) {
            ASSERT_GE(span.file, 1U);
            for (std::uint64_t i = 0; i < span.count; ++i) {
                std::uint64_t number = (span.first + i * span.stride) / kSeq;
                taken.push_back(first[span.file] + number);
            }
        }
        const std::uint64_t stride = std::max<std::uint64_t>(1, 30 / wanted);
        ASSERT_FALSE(taken.empty());
        EXPECT_EQ(taken.size(), (30 + stride - 1) / stride) << wanted;
        for (std::size_t i = 0; i < taken.size(); ++i) EXPECT_EQ(taken[i], i * stride) << wanted;
    }
}

TEST(DataFiles, RefusesDataThatIsNotTheRuns) {
    Given from = given({5, 9}, {});
    from.manifest.sequences = 13;
    auto opened = DataFiles::open(from.manifest, as_bytes(from.data), nullptr);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::data_invalid);
}

}  // namespace
}  // namespace skerry::node
