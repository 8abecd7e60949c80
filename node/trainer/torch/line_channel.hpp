#pragma once
// The trainer's end of the line protocol: blocking socket, bounded lines, descriptors beside them.

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/base/descriptor.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

/// Longest line, newline included (docs/trainer-protocol.md, section 1).
inline constexpr std::size_t kMaxTrainerLine = 65536;

class LineChannel {
  public:
    explicit LineChannel(int socket) : socket_(socket) {}

    /// A line without its newline, or nothing when none is complete after `patience`.
    /// Errors: closed (end of file), too_large, io_error.
    Result<std::optional<std::string>> receive(std::chrono::milliseconds patience);

    /// Writes a whole line (without newline). Errors: closed, too_large.
    Result<void> send(std::string_view line);

    /// The oldest descriptor that came with a line and was not taken.
    std::optional<OwnedDescriptor> take_descriptor();

  private:
    Result<void> fill();
    OwnedDescriptor socket_;
    std::string buffer_;
    std::deque<OwnedDescriptor> descriptors_;
};

}  // namespace skerry::node
