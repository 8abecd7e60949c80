#include "protocol/config/files.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include "protocol/config/address.hpp"

namespace skerry {
namespace {
namespace fs = std::filesystem;

TEST(Files, AWrittenFileIsReadBackAndReplacesTheOldOneWhole) {
    std::string folder = fs::temp_directory_path() / "skerry-files-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    auto file = fs::path(folder) / "a" / "b" / "x";
    ASSERT_TRUE(make_private_folder(file.parent_path()));
    struct stat st {};
    ASSERT_EQ(::stat(file.parent_path().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0700U);
    ASSERT_TRUE(write_small_file(file, "one", 0600));
    ASSERT_TRUE(write_small_file(file, "two", 0644));
    EXPECT_EQ(*read_small_file(file, 3), "two");
    EXPECT_EQ(read_small_file(file, 2).error().code, Errc::too_large);
    EXPECT_EQ(read_small_file(file.parent_path() / "none", 2).error().code, Errc::not_found);
    EXPECT_EQ(std::distance(fs::directory_iterator(file.parent_path()), {}), 1);
    fs::remove_all(folder);
}

TEST(Address, IsReadAsPeopleWriteIt) {
    EXPECT_EQ(*parse_address("example.org", 7600), (Address{"example.org", 7600}));
    EXPECT_EQ(*parse_address("127.0.0.1:0", 7600), (Address{"127.0.0.1", 0}));
    EXPECT_EQ(*parse_address("[::1]:5", 7600), (Address{"::1", 5}));
    EXPECT_EQ(*parse_address(":5", 7600), (Address{"0.0.0.0", 5}));
    EXPECT_EQ(to_text(Address{"::1", 5}), "[::1]:5");
    for (const char* bad : {"", "a:", "a:70000", "::1", "[::1", "[::1]x", "[::1]:", "a b", "a:5x"})
        EXPECT_EQ(parse_address(bad, 1).error().code, Errc::usage) << bad;
}

}  // namespace
}  // namespace skerry
