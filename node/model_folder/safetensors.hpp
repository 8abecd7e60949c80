#pragma once
// The safetensors format: u64 length of a JSON header, the header, then the tensors' bytes without holes.
// Parsing is pure and safe on foreign bytes.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "protocol/base/bytes.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

enum class TensorType { f32, f16, bf16 };

inline std::uint64_t bytes_of(TensorType type) { return type == TensorType::f32 ? 4 : 2; }

struct StoredTensor {
    std::string name;
    TensorType type = TensorType::f32;
    std::vector<std::uint64_t> shape;
    std::uint64_t begin = 0;  ///< of its bytes, from the start of the file
    std::uint64_t elements = 0;
};

/// Length of the header that the first 8 bytes name, checked against the file's size. Errors: data_invalid.
Result<std::uint64_t> safetensors_header_bytes(ByteSpan first8, std::uint64_t file_bytes);

/// Tensors in the order of their bytes. `header` is the JSON without the length.
///
/// Errors, all data_invalid: not JSON, nested too deep, a key twice, an unknown type, a size that does not fit the shape,
/// an overlap, a hole, or data that does not end where the file ends.
Result<std::vector<StoredTensor>> parse_safetensors_header(ByteSpan header, std::uint64_t file_bytes);

/// A JSON object of at most four levels without a key twice in one object. Errors: data_invalid.
Result<nlohmann::ordered_json> parse_json_without_repeats(ByteSpan text);

/// The bytes before the tensors: length, header (padded with spaces to a multiple of 8). The tensors are laid out in
/// the order given; `begin` is ignored.
Bytes make_safetensors_header(const std::vector<StoredTensor>& tensors);

}  // namespace skerry::node
