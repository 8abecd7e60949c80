#include "node/log/progress_files.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace skerry::node {
namespace {

class ProgressFilesTest : public testing::Test {
  protected:
    ProgressFilesTest() {
        char name[] = "/tmp/skerry-progress-XXXXXX";
        folder = ::mkdtemp(name);
    }
    ~ProgressFilesTest() override { fs::remove_all(folder); }

    void save(ProgressFiles& files, std::uint32_t slot, std::uint64_t steps) {
        ASSERT_TRUE(files.void_slot(slot));
        std::ofstream(files.trainer_file(slot).path()) << "state";
        ProgressNote note{Step{3}, Step{4}, {{LeaseId{9}, 10, 20}}, 7};
        ASSERT_TRUE(files.commit(slot, note, TrainedSoFar{steps, 10, 160, 2.5}));
    }

    fs::path folder;
};

TEST_F(ProgressFilesTest, TheNewestWholeSlotComesLast) {
    ProgressFiles files(folder);
    EXPECT_TRUE(files.read().empty());
    save(files, 0, 1);
    save(files, 1, 2);
    save(files, 0, 3);
    auto found = files.read();
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found.back().slot, 0U);
    EXPECT_EQ(found.back().delta, (TrainedSoFar{3, 10, 160, 2.5}));
    EXPECT_EQ(found.back().note, (ProgressNote{Step{3}, Step{4}, {{LeaseId{9}, 10, 20}}, 7}));
}

TEST_F(ProgressFilesTest, ASlotUnderWayDoesNotCount) {
    ProgressFiles files(folder);
    save(files, 0, 1);
    save(files, 1, 2);
    ASSERT_TRUE(files.void_slot(1));  // the process dies while the trainer writes
    auto found = files.read();
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found.back().slot, 0U);
}

TEST_F(ProgressFilesTest, ADamagedNoteIsNotRead) {
    ProgressFiles files(folder);
    save(files, 0, 1);
    fs::path note = folder / "progress" / "0.note";
    for (std::uintmax_t at = 0; at < fs::file_size(note); ++at) {
        std::fstream file(note, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(static_cast<std::streamoff>(at));
        int byte = file.get();
        file.seekp(static_cast<std::streamoff>(at));
        file.put(static_cast<char>(byte ^ 0x10));
        file.close();
        EXPECT_TRUE(files.read().empty()) << at;
        std::fstream mend(note, std::ios::in | std::ios::out | std::ios::binary);
        mend.seekp(static_cast<std::streamoff>(at));
        mend.put(static_cast<char>(byte));
    }
    EXPECT_EQ(files.read().size(), 1U);
}

}  // namespace
}  // namespace skerry::node
