#include "node/model_folder/safetensors.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

namespace skerry::node {
namespace {

using Json = nlohmann::ordered_json;

Fail invalid(const std::string& what) { return fail(Errc::data_invalid, "safetensors: " + what); }

const char* name_of(TensorType type) { return type == TensorType::f32 ? "F32" : type == TensorType::f16 ? "F16" : "BF16"; }

std::optional<TensorType> type_of(const std::string& name) {
    if (name == "F32") return TensorType::f32;
    if (name == "F16") return TensorType::f16;
    if (name == "BF16") return TensorType::bf16;
    return std::nullopt;
}

/// Product of the dimensions; nothing above 2^56.
std::optional<std::uint64_t> elements_of(const std::vector<std::uint64_t>& shape) {
    constexpr std::uint64_t kLimit = std::uint64_t{1} << 56;
    std::uint64_t n = 1;
    for (auto d : shape) {
        if (d > kLimit || (d != 0 && n > kLimit / d)) return std::nullopt;
        n *= d;
    }
    return n;
}

Result<std::vector<std::uint64_t>> counts(const Json& object, const char* key, const std::string& name) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_array() || found->size() > 16) return invalid(name + ": bad " + key);
    std::vector<std::uint64_t> out;
    for (const auto& v : *found) {
        if (!v.is_number_unsigned()) return invalid(name + ": bad " + key);
        out.push_back(v.get<std::uint64_t>());
    }
    return out;
}

/// One tensor; `begin` is still relative to the data. Returns it with the end of its bytes.
Result<std::pair<StoredTensor, std::uint64_t>> parse_tensor(const std::string& name, const Json& json) {
    if (!json.is_object()) return invalid(name + ": not an object");
    const auto dtype = json.find("dtype");
    const auto type = dtype != json.end() && dtype->is_string() ? type_of(dtype->get<std::string>()) : std::nullopt;
    if (!type) return invalid(name + ": dtype is not F32, F16 or BF16");
    auto shape = counts(json, "shape", name);
    if (!shape) return fail(shape.error());
    auto range = counts(json, "data_offsets", name);
    if (!range) return fail(range.error());
    const auto elements = elements_of(*shape);
    if (!elements) return invalid(name + ": shape is too large");
    if (range->size() != 2 || (*range)[0] > (*range)[1] || (*range)[1] - (*range)[0] != *elements * bytes_of(*type))
        return invalid(name + ": data_offsets do not fit the shape");
    return std::pair(StoredTensor{name, *type, std::move(*shape), (*range)[0], *elements}, (*range)[1]);
}

}  // namespace

Result<Json> parse_json_without_repeats(ByteSpan header) {
    std::vector<std::set<std::string>> keys;
    const char* problem = nullptr;
    const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
        if (depth > 4) problem = "nested too deep";
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        if (event == Json::parse_event_t::object_end) keys.pop_back();
        if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
            problem = "a key occurs twice";
        return problem == nullptr;
    };
    Json json = Json::parse(as_text(header), watch, false);
    if (problem) return fail(Errc::data_invalid, problem);
    if (!json.is_object()) return fail(Errc::data_invalid, "not a JSON object");
    return json;
}

Result<std::uint64_t> safetensors_header_bytes(ByteSpan first8, std::uint64_t file_bytes) {
    ByteReader reader(first8);
    const std::uint64_t size = reader.u64();
    if (!reader.ok() || file_bytes < 8) return invalid("shorter than 8 bytes");
    if (size > kMaxSafetensorsHeader) return invalid("header over 100 MB");
    if (size > file_bytes - 8) return invalid("header is cut off");
    return size;
}

Result<std::vector<StoredTensor>> parse_safetensors_header(ByteSpan header, std::uint64_t file_bytes) {
    auto json = parse_json_without_repeats(header);
    if (!json) return invalid(json.error().detail);
    std::vector<std::pair<StoredTensor, std::uint64_t>> found;
    for (const auto& [name, value] : json->items()) {
        if (name == "__metadata__") continue;
        auto tensor = parse_tensor(name, value);
        if (!tensor) return fail(tensor.error());
        found.push_back(std::move(*tensor));
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
        return std::pair(a.first.begin, a.second) < std::pair(b.first.begin, b.second);
    });
    const std::uint64_t data = 8 + header.size();
    std::uint64_t at = 0;
    std::vector<StoredTensor> out;
    for (auto& [tensor, end] : found) {
        if (tensor.begin != at) return invalid(tensor.name + ": overlap or hole before it");
        at = end;
        tensor.begin += data;
        out.push_back(std::move(tensor));
    }
    if (file_bytes < data || file_bytes - data != at) return invalid("data does not end where the file ends");
    return out;
}

Bytes make_safetensors_header(const std::vector<StoredTensor>& tensors) {
    Json json;
    json["__metadata__"] = {{"format", "pt"}};
    std::uint64_t at = 0;
    for (const auto& t : tensors) {
        Json entry;
        const std::uint64_t end = at + bytes_of(t.type) * t.elements;
        entry["dtype"] = name_of(t.type);
        entry["shape"] = t.shape;
        entry["data_offsets"] = {at, end};
        json[t.name] = std::move(entry);
        at = end;
    }
    std::string text = json.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    ByteWriter out;
    out.u64(text.size());
    out.bytes(as_bytes(text));
    return out.take();
}

}  // namespace skerry::node
