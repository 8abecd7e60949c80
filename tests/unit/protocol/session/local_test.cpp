#include "protocol/session/local.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>

#include "tests/support/samples.hpp"

namespace skerry {
namespace {

using namespace std::chrono_literals;
using Local = asio::local::stream_protocol;

class LocalStream : public testing::Test {
  public:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "skerry-local-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    void run(Task<> task) {
        asio::co_spawn(io_, std::move(task), [](std::exception_ptr error) {
            if (error) std::rethrow_exception(error);
        });
        io_.run_for(20s);
        EXPECT_TRUE(io_.stopped());
    }
    std::filesystem::path folder_;
    asio::io_context io_{1};
};

TEST_F(LocalStream, MessagesPassBothWays) {
    run([](LocalStream& t) -> Task<> {
        Local::acceptor acceptor(t.io_, Local::endpoint((t.folder_ / "s").string()));
        auto dialled = co_await dial_local((t.folder_ / "s").string());
        EXPECT_TRUE(dialled);
        auto [ec, socket] = co_await acceptor.async_accept(no_throw);
        EXPECT_FALSE(ec);
        EXPECT_EQ(*local_peer_user(socket), ::geteuid());
        ControlStream a(make_local_stream(std::move(socket)));
        ControlStream b(std::move(*dialled));
        ControlMessage message{{}, {}, {}, 1, AdminRequest{1, "status", "{}", {}, {}, {}}};
        auto sent = co_await b.send(message);
        EXPECT_TRUE(sent);
        auto got = co_await a.receive();
        EXPECT_TRUE(got && *got == message);
        a.frames().close();
        auto end = co_await b.receive();
        EXPECT_TRUE(!end && end.error().code == Errc::closed);
    }(*this));
}

TEST_F(LocalStream, NobodyThereIsUnreachable) {
    run([](LocalStream& t) -> Task<> {
        auto dialled = co_await dial_local((t.folder_ / "none").string());
        EXPECT_TRUE(!dialled && dialled.error().code == Errc::unreachable);
        auto longer = co_await dial_local(std::string(200, 'x'));
        EXPECT_TRUE(!longer && longer.error().code == Errc::usage);
    }(*this));
}

}  // namespace
}  // namespace skerry
