#include "protocol/rules/base_file.hpp"

#include <string_view>

namespace skerry {

Bytes base_file_header(std::uint64_t elements) {
    ByteWriter w;
    w.bytes(as_bytes(std::string_view("skerry/file/base/1")));
    w.u8(0);
    w.u64(elements);
    return w.take();
}

std::uint64_t base_file_bytes(std::uint64_t elements) { return base_file_header(elements).size() + 2 * elements * sizeof(float); }

}  // namespace skerry
