#pragma once
// The lists in our Protobuf messages and how long each may be: what scan_message checks before parsing.

#include "protocol/wire/frame_scan.hpp"

namespace skerry {
extern const MessageRule kControlFrameRule;
extern const MessageRule kPeerEnvelopeRule;
}  // namespace skerry
