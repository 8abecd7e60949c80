#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>

#include <sys/stat.h>
#include <unistd.h>

#include "protocol/admin/admin_client.hpp"
#include "protocol/admin/admin_server.hpp"
#include "protocol/config/files.hpp"
#include "protocol/session/local.hpp"

namespace skerry {
namespace {
namespace fs = std::filesystem;

struct Folder {
    Folder() { EXPECT_NE(::mkdtemp(path.data()), nullptr); }
    ~Folder() { fs::remove_all(path); }
    std::string path = fs::temp_directory_path() / "skerry-admin-XXXXXX";
};

Task<AdminReply> echo(AdminRequest request) {
    AdminReply reply;
    reply.ok = request.verb != "fail";
    reply.code = Errc::no_such_run;
    reply.json = reply.ok ? request.json : R"({"message":"no run","fix":"make one"})";
    co_return reply;
}

struct Answers {
    Result<AdminReply> good = fail(Errc::internal, "not asked");
    Result<AdminReply> bad = fail(Errc::internal, "not asked");
};

Task<> ask_both(asio::io_context& io, fs::path path, Answers& out) {
    auto name = SocketPath::make(path);
    EXPECT_TRUE(name);
    auto dialled = co_await dial_local(name->text());
    EXPECT_TRUE(dialled);
    if (dialled) {
        ControlStream stream(std::move(*dialled));
        AdminRequest request;
        request.id = 7;
        request.verb = "echo";
        request.json = R"({"a":1})";
        request.data = Bytes(200'000, 1);
        out.good = co_await ask_admin(stream, request, std::chrono::seconds(5));
        request.verb = "fail";
        out.bad = co_await ask_admin(stream, request, std::chrono::seconds(5));
    }
    io.stop();
}

void check_round_trip(const fs::path& path) {
    asio::io_context io;
    Answers answers;
    AdminServer server(io.get_executor(), path, echo);
    ASSERT_TRUE(server.listen());
    struct stat st {};
    ASSERT_EQ(::stat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600U);
    AdminServer second(io.get_executor(), path, echo);
    EXPECT_EQ(second.listen().error().code, Errc::bad_state);
    asio::co_spawn(io, server.run(), asio::detached);
    asio::co_spawn(io, ask_both(io, path, answers), asio::detached);
    io.run();
    ASSERT_TRUE(answers.good) << answers.good.error().detail;
    EXPECT_EQ(answers.good->json, R"({"a":1})");
    ASSERT_FALSE(answers.bad);
    EXPECT_EQ(answers.bad.error().code, Errc::no_such_run);
    EXPECT_EQ(answers.bad.error().detail, "no run");
    EXPECT_EQ(answers.bad.error().fix, "make one");
}

TEST(AdminSocket, RequestsAreAnsweredAndErrorsKeepTheirCodeAndFix) {
    Folder folder;
    check_round_trip(fs::path(folder.path) / "a.sock");
    EXPECT_FALSE(fs::exists(fs::path(folder.path) / "a.sock"));
}

TEST(AdminSocket, WorksInAFolderWhoseNameIsTooLongForASocketAddress) {
    Folder folder;
    auto deep = fs::path(folder.path) / std::string(100, 'x') / std::string(100, 'y');
    ASSERT_TRUE(make_private_folder(deep));
    check_round_trip(deep / "a.sock");
}

TEST(AdminSocket, AFileLeftByADeadProcessIsReplaced) {
    Folder folder;
    auto path = fs::path(folder.path) / "a.sock";
    {
        asio::io_context io;
        asio::local::stream_protocol::acceptor dead(io, asio::local::stream_protocol::endpoint(path.string()));
    }
    ASSERT_TRUE(fs::exists(path));
    check_round_trip(path);
}

}  // namespace
}  // namespace skerry
