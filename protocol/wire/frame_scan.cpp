#include "protocol/wire/frame_scan.hpp"

#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <array>

#include "protocol/base/assert.hpp"

namespace skerry {
namespace {

constexpr std::uint32_t kMaxUnknownFields = 16;
constexpr std::uint32_t kMaxNumber = 64;  // of known fields: the highest of ours is below

// Answers false at the end of the bytes or after ten bytes.
bool read_varint(ByteSpan& in, std::uint64_t& value) {
    value = 0;
    for (unsigned i = 0; i < 10 && i < in.size(); ++i) {
        value |= static_cast<std::uint64_t>(in[i] & 0x7F) << (7 * i);
        if ((in[i] & 0x80) == 0) {
            in = in.subspan(i + 1);
            return true;
        }
    }
    return false;
}

struct Field {
    std::uint32_t number = 0;
    bool is_bytes = false;
    ByteSpan content;  ///< of length-delimited fields
};

bool skip(ByteSpan& in, std::size_t n) {
    if (n > in.size()) return false;
    in = in.subspan(n);
    return true;
}

bool read_field(ByteSpan& in, Field& field) {
    std::uint64_t tag = 0;
    std::uint64_t value = 0;
    if (!read_varint(in, tag) || tag >> 3 == 0 || tag >> 3 >= (1U << 29)) return false;
    field.number = static_cast<std::uint32_t>(tag >> 3);
    field.is_bytes = (tag & 7) == 2;
    switch (tag & 7) {
        case 0: return read_varint(in, value);
        case 1: return skip(in, 8);
        case 5: return skip(in, 4);
        case 2:
            if (!read_varint(in, value) || value > in.size()) return false;
            field.content = in.first(value);
            return skip(in, value);
        default: return false;  // groups: never ours
    }
}

const FieldRule* find(const MessageRule& rule, std::uint32_t number) {
    for (const FieldRule& f : rule.fields)
        if (f.number == number) return &f;
    return nullptr;
}

// Varints in a packed list: each ends with a byte below 0x80.
std::size_t packed_items(ByteSpan content) {
    return static_cast<std::size_t>(
        std::count_if(content.begin(), content.end(), [](std::uint8_t b) { return b < 0x80; }));
}

Fail beyond(std::uint32_t number) {
    return fail(Errc::too_large, "field " + std::to_string(number) + " has more items than its limit");
}

}  // namespace

Result<void> scan_message(ByteSpan bytes, const MessageRule& rule) {
    SKERRY_ASSERT(rule.last_number < kMaxNumber);
    std::array<std::uint32_t, kMaxNumber> seen{};
    std::uint32_t unknown = 0;
    while (!bytes.empty()) {
        Field field;
        if (!read_field(bytes, field)) return fail(Errc::malformed, "no Protobuf message");
        if (field.number > rule.last_number) {
            if (++unknown > kMaxUnknownFields) return fail(Errc::malformed, "too many unknown fields");
            continue;
        }
        const FieldRule* known = find(rule, field.number);
        std::uint32_t limit = known ? known->max_count : 1;
        bool packed = known != nullptr && known->packed && field.is_bytes;
        std::size_t items = packed ? packed_items(field.content) : 1;
        if (items > limit - std::min(limit, seen[field.number])) {
            if (limit == 1) return fail(Errc::malformed, "field " + std::to_string(field.number) + " twice");
            return beyond(field.number);
        }
        seen[field.number] += static_cast<std::uint32_t>(items);
        if (known == nullptr || !field.is_bytes || known->message == nullptr) continue;
        auto inner = scan_message(field.content, *known->message);
        if (!inner) return inner;
    }
    return {};
}

void silence_protobuf() {
    static const bool done = [] {
        google::protobuf::SetLogHandler(nullptr);
        return true;
    }();
    (void)done;
}

}  // namespace skerry
