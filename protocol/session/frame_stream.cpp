#include "protocol/session/frame_stream.hpp"

#include "protocol/wire/control_codec.hpp"

namespace skerry {

Task<Result<void>> ControlStream::send(ControlMessage message) {
    auto frame = to_frame(message, kMaxFrame);
    if (!frame) co_return fail(frame.error());
    co_return co_await frames_->send(std::move(*frame));
}

Task<Result<ControlMessage>> ControlStream::receive() {
    auto frame = co_await frames_->receive();
    if (!frame) co_return fail(frame.error());
    co_return parse_frame(*frame, frames_->receive_limit());
}

}  // namespace skerry
