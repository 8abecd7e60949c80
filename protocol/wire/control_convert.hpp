#pragma once
// The two halves of the control codec. Includes Protobuf: for control_*.cpp only.

#include "protocol/wire/messages.hpp"
#include "protocol/wire/proto_fields.hpp"
#include "skerry/v1/control.pb.h"

namespace skerry {
void put_body(const ControlBody& body, v1::ControlFrame& out);
ControlBody read_body(FieldReader& in, const v1::ControlFrame& frame);
}  // namespace skerry
