#pragma once
// A look over Protobuf bytes before Protobuf sees them. It allocates up to 30 bytes for a byte of hostile input
// (empty sub-messages); here every field is counted and nothing is allocated.

#include <span>

#include "protocol/base/bytes.hpp"

namespace skerry {

struct MessageRule;

/// A field that may occur more than once, or that holds a message. All others occur once at most.
struct FieldRule {
    std::uint32_t number = 0;
    std::uint32_t max_count = 1;
    const MessageRule* message = nullptr;  ///< what it holds; null: numbers or bytes
    bool packed = false;                   ///< numbers, many of which may lie in one occurrence
};

struct MessageRule {
    std::uint32_t last_number = 0;  ///< fields above are unknown: of a later minor version
    std::span<const FieldRule> fields;
};

/// Errors: malformed for bytes that are no Protobuf message, a singular field given twice, too many unknown fields;
/// too_large for a list beyond its count. Recursion ends where the rules do.
Result<void> scan_message(ByteSpan bytes, const MessageRule& rule);

/// Protobuf prints a line on stderr for some of what it refuses: whoever connects could fill our log. Call before
/// parsing; the first call takes its log away.
void silence_protobuf();

}  // namespace skerry
