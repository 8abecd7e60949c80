#include "node/transport/zmq_context.hpp"

#include <zmq.h>

#include "protocol/base/assert.hpp"

namespace skerry::node {

ZmqContext::ZmqContext(int io_threads) : context_(zmq_ctx_new()) {
    SKERRY_ASSERT(context_ != nullptr);
    zmq_ctx_set(context_, ZMQ_IO_THREADS, io_threads);
}

ZmqContext::~ZmqContext() { zmq_ctx_term(context_); }

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

}  // namespace skerry::node
