#pragma once
// Bodies <-> canonical bytes. A body is its tag, a zero byte and its fields, so SHA-256 of the bytes is
// H(tag, fields), and a signature over the bytes is one over the same form. Bodies travel, are stored, hashed and
// signed as these bytes, never re-serialised.
//
// Parsing checks counts against limits.hpp, enum values, order and uniqueness of nodes, and that nothing is left
// over; what it accepts is written back byte for byte. Errors: malformed, too_large; version_mismatch for another
// version of the same kind of body.

#include "protocol/wire/messages.hpp"

namespace skerry {

Bytes to_bytes(const Manifest& manifest);
Bytes to_bytes(const Roster& roster);
Bytes to_bytes(const Plan& plan);
Bytes to_bytes(const Decision& decision);

/// Also: tensors tile the flat vector in order, shapes multiply to the elements, the piece size is the rule's.
Result<Manifest> parse_manifest(ByteSpan body);
/// Also: nodes ascend by id and each id is the fingerprint of its key.
Result<Roster> parse_roster(ByteSpan body);
/// Also: participants and members ascend, participants are members, every piece has an owner among the members,
/// weights are positive, only a plan of kind commit has participants and pieces.
Result<Plan> parse_plan(ByteSpan body);
Result<Decision> parse_decision(ByteSpan body);

/// Plan digest, manifest digest, ...: SHA-256 of the body.
Digest body_digest(ByteSpan body);

}  // namespace skerry
