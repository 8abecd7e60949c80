// A process is killed in the middle of an apply, at every block. The next one goes on from there: the same state, and no
// replay, since the entries are gone before it is asked for.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "tests/support/store_run.hpp"

namespace skerry::node {
namespace {

using test::StoreRun;
namespace fs = std::filesystem;

constexpr int kBlocks = 5;  // of a state: 2 in each whole piece, 1 in the last
constexpr int kSteps = 2;

Manifest manifest() {
    Manifest m = test::small_manifest(CodecId::a8, 300'000);
    m.piece_elements = 131'072;
    return m;
}

/// What `act` wrote, in a process of its own, and how that ended. Failpoints are armed once in a process.
template <class Act>
std::pair<std::string, int> in_child(Act act) {
    int pair[2];
    EXPECT_EQ(::pipe(pair), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(pair[0]);
        act([&](const std::string& text) { return ::write(pair[1], text.data(), text.size()) > 0; });
        ::_exit(testing::Test::HasFailure() ? 1 : 0);
    }
    ::close(pair[1]);
    std::string out;
    char data[256];
    for (ssize_t n; (n = ::read(pair[0], data, sizeof data)) > 0;) out.append(data, static_cast<std::size_t>(n));
    ::close(pair[0]);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return {out, status};
}

TEST(KilledInApply, TheNextProcessGoesOn) {
    std::map<std::string, std::string> digests;
    for (int count = 1; count <= kSteps * kBlocks; ++count) {
        SCOPED_TRACE("block " + std::to_string(count));
        auto [folder, killed] = in_child([&](auto say) {
            ::setenv("SKERRY_FAILPOINT", ("node.mid_apply:" + std::to_string(count)).c_str(), 1);
            StoreRun run(1, manifest());
            EXPECT_TRUE(say(run.folder(0).string()));
            for (int i = 0; i < kSteps; ++i) run.run_step();
        });
        ASSERT_TRUE(WIFSIGNALED(killed) && WTERMSIG(killed) == SIGKILL);

        auto [answer, status] = in_child([&](auto say) {
            auto store = RunStore::open(fs::path(folder), manifest());
            ASSERT_TRUE(store);
            fs::remove_all(fs::path(folder) / "entries");
            const auto step = (*store)->marked_state();
            ASSERT_TRUE(step);
            ASSERT_TRUE((*store)->load_state(*step));
            EXPECT_TRUE(say(std::to_string(step->value) + " " + (*store)->digest_state()->hex()));
        });
        EXPECT_EQ(status, 0);
        const auto space = answer.find(' ');
        EXPECT_EQ(answer.substr(0, space), std::to_string((count + kBlocks - 1) / kBlocks));
        digests.emplace(answer.substr(0, space), answer.substr(space + 1));
        EXPECT_EQ(digests.at(answer.substr(0, space)), answer.substr(space + 1));
        fs::remove_all(fs::path(folder).parent_path());
    }
    StoreRun run(1, manifest());
    for (int i = 1; i <= kSteps; ++i) EXPECT_EQ(digests[std::to_string(i)], run.run_step().hex());
}

/// Files that are not those of the record: whoever copied the folder may have done so in the middle of an apply.
TEST(KilledInApply, ACopyOfTheFolderIsNotBelieved) {
    StoreRun run(1, manifest());
    run.run_step();
    run.close(0);
    const fs::path folder = run.folder(0);
    fs::remove(folder / "state" / "mark");
    fs::copy_file(folder / "state" / "theta", folder / "state" / "copy");
    {
        auto same = RunStore::open(folder, manifest());
        ASSERT_TRUE(same);
        EXPECT_EQ((*same)->marked_state(), Step{1});
    }
    fs::rename(folder / "state" / "copy", folder / "state" / "theta");
    auto store = RunStore::open(folder, manifest());
    ASSERT_TRUE(store);
    EXPECT_FALSE((*store)->marked_state());
    ASSERT_TRUE((*store)->load_state(Step{1}));
}

}  // namespace
}  // namespace skerry::node
