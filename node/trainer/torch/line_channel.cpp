#include "node/trainer/torch/line_channel.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace skerry::node {

Result<void> LineChannel::fill() {
    char data[16384];
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    iovec part{data, sizeof data};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) return {};
    if (n < 0 && errno == ECONNRESET) return fail(Errc::closed, "the agent is gone");
    if (n < 0) return fail(Errc::io_error, std::string("recvmsg: ") + std::strerror(errno));
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int descriptor = -1;
            std::memcpy(&descriptor, CMSG_DATA(c) + i * sizeof(int), sizeof descriptor);
            descriptors_.emplace_back(descriptor);
        }
    }
    if (n == 0) return fail(Errc::closed, "the agent is gone");
    buffer_.append(data, static_cast<std::size_t>(n));
    return {};
}

Result<std::optional<std::string>> LineChannel::receive(std::chrono::milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
        const auto end = buffer_.find('\n');
        if (end != std::string::npos && end < kMaxTrainerLine) {
            std::string line = buffer_.substr(0, end);
            buffer_.erase(0, end + 1);
            return std::optional(std::move(line));
        }
        if (buffer_.size() >= kMaxTrainerLine) return fail(Errc::too_large, "line longer than 65536 bytes");

        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        pollfd wait{socket_.get(), POLLIN, 0};
        const int ready = ::poll(&wait, 1, static_cast<int>(std::max<long>(0, left.count())));
        if (ready < 0 && errno != EINTR) return fail(Errc::io_error, std::strerror(errno));
        if (ready == 0) return std::optional<std::string>();
        if (ready > 0) {
            auto filled = fill();
            if (!filled) return fail(filled.error());
        }
    }
}

Result<void> LineChannel::send(std::string_view line) {
    if (line.size() >= kMaxTrainerLine) return fail(Errc::too_large, "answer does not fit a line");
    std::string out(line);
    out.push_back('\n');
    std::string_view rest = out;
    while (!rest.empty()) {
        const ssize_t n = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(Errc::closed, std::string("send: ") + std::strerror(errno));
        rest.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

std::optional<OwnedDescriptor> LineChannel::take_descriptor() {
    if (descriptors_.empty()) return std::nullopt;
    OwnedDescriptor first = std::move(descriptors_.front());
    descriptors_.pop_front();
    return first;
}

}  // namespace skerry::node
