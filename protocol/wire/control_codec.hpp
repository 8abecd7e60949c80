#pragma once
// Control messages <-> the Protobuf bytes of one frame (without its u32 length). Pure, any thread.

#include "protocol/wire/messages.hpp"

namespace skerry {

/// Errors: too_large if the result is beyond `limit`.
Result<Bytes> to_frame(const ControlMessage& message, std::size_t limit);

/// Size, nesting and the count of every field are checked on the raw bytes before Protobuf sees them (it makes 30
/// bytes of heap of one byte of empty sub-messages), values after. Errors: too_large, malformed.
Result<ControlMessage> parse_frame(ByteSpan frame, std::size_t limit);

}  // namespace skerry
