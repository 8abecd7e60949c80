#include "protocol/session/local.hpp"

#include <sys/socket.h>

#include <boost/asio/this_coro.hpp>

#include "protocol/session/socket_frames.hpp"

namespace skerry {
namespace {

using Local = asio::local::stream_protocol;

class LocalFrameStream : public FrameStream {
  public:
    explicit LocalFrameStream(Local::socket socket) : socket_(std::move(socket)) {}

    Task<Result<void>> send(Bytes frame) override {
        home_.check();
        co_return co_await write_frame(socket_, frame, name_);
    }
    Task<Result<Bytes>> receive() override {
        home_.check();
        co_return co_await read_frame(socket_, receive_limit_, name_);
    }
    void close() override {
        boost::system::error_code ignored;
        socket_.close(ignored);
    }
    Task<> finish(std::chrono::milliseconds) override {
        // A local socket keeps what was sent until the other side has read it.
        close();
        co_return;
    }
    const PublicKey& peer_key() const override { return no_key_; }
    const std::string& peer_name() const override { return name_; }

  private:
    Local::socket socket_;
    PublicKey no_key_;
    std::string name_ = "local";
    ThreadHome home_;
};

}  // namespace

Task<Result<std::unique_ptr<FrameStream>>> dial_local(std::string path) {
    Local::socket socket(co_await asio::this_coro::executor);
    sockaddr_un longest{};
    if (path.size() >= sizeof longest.sun_path)
        co_return fail(Errc::usage, "the path of a socket is too long: " + path);
    auto [ec] = co_await socket.async_connect(Local::endpoint(path), no_throw);
    if (ec == asio::error::operation_aborted) co_return fail(Errc::cancelled, "");
    if (ec) co_return fail(Errc::unreachable, "nobody listens at " + path + ": " + ec.message());
    co_return make_local_stream(std::move(socket));
}

std::unique_ptr<FrameStream> make_local_stream(Local::socket socket) {
    return std::make_unique<LocalFrameStream>(std::move(socket));
}

Result<uid_t> local_peer_user(Local::socket& socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return fail(Errc::io_error, "no credentials of the other side");
    return peer.uid;
}

}  // namespace skerry
