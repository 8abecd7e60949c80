// A fork: S_0 is a file that the manifest names by its hash.

#include "node/log/base_state.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

#include "node/log/verify.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/rules/base_file.hpp"
#include "tests/support/store_run.hpp"
#include "tests/support/synthetic.hpp"

namespace skerry::node {
namespace {

using test::flip_byte;
using test::small_manifest;
using test::StoreRun;
namespace fs = std::filesystem;

Bytes bytes_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    return {text.begin(), text.end()};
}

bool mentions(const VerifyReport& report, const std::string& text) {
    return std::any_of(report.problems.begin(), report.problems.end(),
                       [&](const std::string& problem) { return problem.find(text) != std::string::npos; });
}

struct BaseState : ::testing::Test {
    Manifest manifest = small_manifest();
    std::vector<float> theta = test::synthetic(1, manifest.elements, -3, true);
    std::vector<float> m = test::synthetic(2, manifest.elements, -6, true);

    BaseState() {
        test::TemporaryFolder scratch;
        manifest.initial_root = put(scratch.path());
        manifest.parent_run.bytes[0] = 9;
        manifest.parent_step = Step{12};
    }
    Digest put(const DiskPath& folder) const {
        auto written = write_base_state(folder / kBaseState, theta, m);
        EXPECT_TRUE(written);
        return written ? *written : Digest{};
    }
    StoreRun make_run(std::size_t nodes) {
        return StoreRun(nodes, manifest, {}, [this](const DiskPath& folder) { put(folder); });
    }
    /// What the mapped files hold is gone, too.
    static void forget_state(StoreRun& run) {
        run.close(0);
        fs::remove_all(run.folder(0) / "state");
        ASSERT_TRUE(run.reopen(0));
    }
};

TEST_F(BaseState, TheFileHasTheDocumentedFormAndItsOwnHash) {
    test::TemporaryFolder folder;
    const Digest named = put(folder.path());
    Bytes wanted;
    for (char c : std::string("skerry/file/base/1")) wanted.push_back(static_cast<std::uint8_t>(c));
    wanted.push_back(0);
    for (int i = 0; i < 8; ++i) wanted.push_back(static_cast<std::uint8_t>(manifest.elements >> (8 * i)));
    for (const auto* part : {&theta, &m}) {
        const auto* raw = reinterpret_cast<const std::uint8_t*>(part->data());
        wanted.insert(wanted.end(), raw, raw + 4 * part->size());
    }
    EXPECT_EQ(bytes_of(folder.path() / kBaseState), wanted);
    EXPECT_EQ(wanted.size(), base_file_bytes(manifest.elements));
    EXPECT_EQ(named, sha256(wanted));
    EXPECT_EQ(*base_state_sha256(folder.path() / kBaseState), named);
}

TEST_F(BaseState, WhatIsNotFiniteIsNotWritten) {
    test::TemporaryFolder folder;
    m[77] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(write_base_state(folder.path() / kBaseState, theta, m).error().code, Errc::not_finite);
}

TEST_F(BaseState, AForkBeginsWithItBitForBitAndGoesOn) {
    StoreRun run = make_run(2);
    for (std::size_t node = 0; node < 2; ++node) {
        EXPECT_EQ(std::memcmp(run.store(node).theta().data(), theta.data(), 4 * theta.size()), 0);
        EXPECT_EQ(std::memcmp(run.store(node).momentum().data(), m.data(), 4 * m.size()), 0);
        EXPECT_EQ(run.store(node).tokens(), 0U);
    }
    const Digest first = *run.store(0).digest_state();
    run.run_step();
    const Digest last = run.run_step();
    auto report = verify_run(run.folder(1), {});
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->problems.empty()) << report->problems.front();
    ASSERT_EQ(report->states.size(), 3U);
    EXPECT_EQ(report->states[0].digest, first);
    EXPECT_EQ(report->states[2].digest, last);
    forget_state(run);
    ASSERT_TRUE(run.store(0).load_state(Step{2}));
    EXPECT_EQ(*run.store(0).digest_state(), last);
}

TEST_F(BaseState, ADamagedOneIsRemovedAndMissing) {
    StoreRun run = make_run(1);
    const Digest first = *run.store(0).digest_state();
    flip_byte(run.folder(0) / kBaseState, 40'000);
    forget_state(run);
    EXPECT_FALSE(run.store(0).missing_for(Step{0}).base);
    EXPECT_EQ(run.store(0).load_state(Step{0}).error().code, Errc::not_found);
    EXPECT_FALSE(fs::exists(run.folder(0) / kBaseState));
    EXPECT_TRUE(run.store(0).missing_for(Step{0}).base);
    put(run.folder(0));
    ASSERT_TRUE(run.store(0).load_state(Step{0}));
    EXPECT_EQ(*run.store(0).digest_state(), first);
}

TEST_F(BaseState, OneOfAnotherSizeIsNotRead) {
    StoreRun run = make_run(1);
    fs::resize_file(run.folder(0) / kBaseState, base_file_bytes(manifest.elements) + 4);
    forget_state(run);
    EXPECT_EQ(run.store(0).load_state(Step{0}).error().code, Errc::not_found);
}

TEST_F(BaseState, VerifySaysThatItIsMissingOrDamaged) {
    StoreRun run = make_run(1);
    run.run_step();
    flip_byte(run.folder(0) / kBaseState, 10);
    auto damaged = verify_run(run.folder(0), {});
    ASSERT_TRUE(damaged);
    EXPECT_TRUE(mentions(*damaged, "base: not the state that this fork begins with"));
    EXPECT_TRUE(mentions(*damaged, manifest.initial_root.hex()));
    fs::remove(run.folder(0) / kBaseState);
    auto missing = verify_run(run.folder(0), {});
    ASSERT_TRUE(missing);
    ASSERT_EQ(missing->problems.size(), 1U);
    EXPECT_TRUE(mentions(*missing, manifest.initial_root.hex() + ") is not here"));
}

TEST_F(BaseState, WithASnapshotItIsNotNeeded) {
    StoreRun run = make_run(1);
    run.run_step();
    ASSERT_TRUE(run.store(0).write_snapshot());
    const Digest last = run.run_step();
    fs::remove(run.folder(0) / kBaseState);
    auto report = verify_run(run.folder(0), {});
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->problems.empty()) << report->problems.front();
    EXPECT_EQ(report->replayed_from, Step{1});
    forget_state(run);
    EXPECT_TRUE(run.store(0).missing_for(Step{0}).base);
    ASSERT_TRUE(run.store(0).load_state(Step{2}));
    EXPECT_EQ(*run.store(0).digest_state(), last);
}

}  // namespace
}  // namespace skerry::node
