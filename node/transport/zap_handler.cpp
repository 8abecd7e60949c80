#include "node/transport/zap_handler.hpp"

#include <pthread.h>
#include <zmq.h>

#include <array>
#include <optional>
#include <vector>

namespace skerry::node {
namespace {

constexpr std::size_t kMaxZapFrame = 256;

/// All frames of one message, each cut at kMaxZapFrame; nothing on a time-out.
std::vector<std::string> receive_frames(void* socket) {
    std::vector<std::string> frames;
    for (int more = 1; more != 0;) {
        std::array<char, kMaxZapFrame> buffer;
        int size = zmq_recv(socket, buffer.data(), buffer.size(), 0);
        if (size < 0) return {};
        frames.emplace_back(buffer.data(), std::min(static_cast<std::size_t>(size), buffer.size()));
        std::size_t length = sizeof more;
        if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &length) != 0) return {};
    }
    return frames;
}

void send_frames(void* socket, const std::vector<std::string>& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i)
        zmq_send(socket, frames[i].data(), frames[i].size(), i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
}

/// The client's key if the request is one that can be granted at all.
std::optional<CurveKey> requested_key(const std::vector<std::string>& request) {
    // version, request id, domain, address, identity, mechanism, credentials
    if (request.size() != 7 || request[0] != "1.0") return {};
    if (request[2] != kZapDomain || request[5] != "CURVE") return {};
    CurveKey key;
    if (request[6].size() != key.bytes.size()) return {};
    std::memcpy(key.bytes.data(), request[6].data(), key.bytes.size());
    return key;
}

}  // namespace

Result<std::unique_ptr<ZapHandler>> ZapHandler::start(ZmqContext& context) {
    auto socket = make_zap_socket(context);
    if (!socket) return fail(socket.error());
    std::unique_ptr<ZapHandler> handler(new ZapHandler);
    handler->thread_ = std::thread([raw = handler.get(), owned = std::move(*socket)]() mutable {
        pthread_setname_np(pthread_self(), "zap");
        raw->serve(std::move(owned));
    });
    return handler;
}

ZapHandler::~ZapHandler() {
    stopping_ = true;
    thread_.join();
}

void ZapHandler::set_allowed(std::map<CurveKey, NodeId> allowed) {
    std::lock_guard lock(mutex_);
    allowed_.swap(allowed);
}

void ZapHandler::serve(ZmqSocket socket) {
    while (!stopping_) {
        auto request = receive_frames(socket.native());
        if (request.empty()) continue;
        std::string user;
        if (auto key = requested_key(request)) {
            std::lock_guard lock(mutex_);
            if (auto found = allowed_.find(*key); found != allowed_.end()) user = found->second.hex();
        }
        ++(user.empty() ? refused_ : accepted_);
        std::string id = request.size() > 1 ? request[1] : std::string();
        send_frames(socket.native(),
                    {"1.0", id, user.empty() ? "400" : "200", user.empty() ? "not in the roster" : "OK", user, ""});
    }
}

}  // namespace skerry::node
