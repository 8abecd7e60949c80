#include "node/transport/zmq_context.hpp"

#include <zmq.h>

#include <chrono>
#include <future>
#include <thread>

#include "protocol/base/assert.hpp"
#include "protocol/base/log.hpp"

namespace skerry::node {

ZmqContext::ZmqContext(int io_threads) : context_(zmq_ctx_new()) {
    SKERRY_ASSERT(context_ != nullptr);
    zmq_ctx_set(context_, ZMQ_IO_THREADS, io_threads);
}

/// zmq_ctx_term of 4.3.4 waits for ever now and then, although every socket is closed with linger 0 (a handshake that
/// waits for ZAP races with the socket's end, libzmq issue 2733). What is left behind then holds no data of ours.
ZmqContext::~ZmqContext() {
    std::packaged_task<void()> end([context = context_] {
        while (zmq_ctx_term(context) != 0 && zmq_errno() == EINTR) {}
    });
    auto ended = end.get_future();
    std::thread thread(std::move(end));
    if (ended.wait_for(kEndPatience) == std::future_status::ready) {
        thread.join();
        return;
    }
    log_warn("data_plane.context_left", {{"why", "libzmq did not end it in time"}});
    thread.detach();
}

void ZmqSocket::close() {
    if (socket_ != nullptr) zmq_close(socket_);
    socket_ = nullptr;
}

Error zmq_error(const std::string& what) {
    int code = zmq_errno();
    Errc errc = Errc::io_error;
    if (code == EADDRINUSE) errc = Errc::port_in_use;
    if (code == EADDRNOTAVAIL || code == ENODEV) errc = Errc::unreachable;
    if (code == EINVAL) errc = Errc::config_invalid;
    return {errc, what + ": " + zmq_strerror(code), {}};
}

std::string connection_user(void* message) {
    const char* user = zmq_msg_gets(static_cast<zmq_msg_t*>(message), "User-Id");
    return user != nullptr ? user : "";
}

}  // namespace skerry::node
