#include "node/model_folder/hf_folder.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "node/model_folder/finite.hpp"
#include "node/model_folder/hf_config.hpp"
#include "node/model_folder/weight_files.hpp"
#include "protocol/base/descriptor.hpp"
#include "protocol/config/files.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = "Exported by skerry";
constexpr std::size_t kMostWrite = 64U << 20;
constexpr std::size_t kMostConfig = 1U << 20;
constexpr std::size_t kWindow = 1 << 20;  // elements

Result<void> write_all(int descriptor, const void* data, std::size_t bytes, const fs::path& path) {
    auto* p = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t n = ::write(descriptor, p, std::min(bytes, kMostWrite));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("write", path, errno));
        p += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return {};
}

/// To nearest even.
std::uint16_t to_bf16(float v) {
    std::uint32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    bits += 0x7fffU + ((bits >> 16) & 1U);
    return static_cast<std::uint16_t>(bits >> 16);
}

Result<void> write_elements(int descriptor, std::span<const float> theta, bool bf16, const fs::path& path) {
    std::vector<std::uint16_t> half;
    for (std::size_t lo = 0; lo < theta.size(); lo += kWindow) {
        const auto part = theta.subspan(lo, std::min(kWindow, theta.size() - lo));
        if (!all_finite(part)) return fail(Errc::not_finite, "the weights hold NaN or Inf");
        half.resize(bf16 ? part.size() : 0);
        std::transform(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(half.size()), half.begin(), to_bf16);
        const bool rounds_up = std::any_of(half.begin(), half.end(), [](std::uint16_t v) { return (v & 0x7f80U) == 0x7f80U; });
        if (rounds_up) return fail(Errc::not_finite, "a weight is larger than bf16 can say", "--dtype fp32");
        auto wrote = bf16 ? write_all(descriptor, half.data(), 2 * half.size(), path) : write_all(descriptor, part.data(), part.size_bytes(), path);
        if (!wrote) return wrote;
    }
    return {};
}

/// The tensors from `first` to before `last` as one file.
Result<void> write_weights(const fs::path& path, const TensorTable& table, std::size_t first, std::size_t last, std::span<const float> theta, bool bf16) {
    std::vector<StoredTensor> tensors;
    std::uint64_t elements = 0;
    for (std::size_t i = first; i < last; ++i) {
        const auto& t = table.tensors[i];
        tensors.push_back({t.name, bf16 ? TensorType::bf16 : TensorType::f32, t.shape, 0, t.elements});
        elements += t.elements;
    }
    const Bytes header = make_safetensors_header(tensors);
    OwnedDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file) return fail(file_error("create", path, errno));
    auto wrote = write_all(file.get(), header.data(), header.size(), path);
    if (wrote) wrote = write_elements(file.get(), theta.subspan(table.tensors[first].offset, elements), bf16, path);
    if (!wrote) return wrote;
    if (::fsync(file.get()) != 0) return fail(file_error("fsync", path, errno));
    return {};
}

/// Where each weight file begins in the table, and its end.
std::vector<std::size_t> cut(const TensorTable& table, std::uint64_t element_bytes, std::uint64_t file_bytes) {
    std::vector<std::size_t> out{0};
    std::uint64_t here = 0;
    for (std::size_t i = 0; i < table.tensors.size(); ++i) {
        const std::uint64_t bytes = table.tensors[i].elements * element_bytes;
        if (here > 0 && here + bytes > file_bytes) {
            out.push_back(i);
            here = 0;
        }
        here += bytes;
    }
    out.push_back(table.tensors.size());
    return out;
}

Result<void> write_all_weights(const fs::path& folder, const TensorTable& table, std::span<const float> theta, const FolderOptions& options) {
    const std::uint64_t element_bytes = options.bf16 ? 2 : 4;
    const auto cuts = cut(table, element_bytes, options.file_bytes);
    const std::size_t count = cuts.size() - 1;
    if (count == 1) return write_weights(folder / "model.safetensors", table, 0, cuts[1], theta, options.bf16);
    nlohmann::ordered_json index;
    index["metadata"] = {{"total_size", table.elements * element_bytes}};
    for (std::size_t i = 0; i < count; ++i) {
        char name[64];
        std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, count);
        auto wrote = write_weights(folder / name, table, cuts[i], cuts[i + 1], theta, options.bf16);
        if (!wrote) return wrote;
        for (std::size_t t = cuts[i]; t < cuts[i + 1]; ++t) index["weight_map"][table.tensors[t].name] = name;
    }
    return write_small_file(folder / "model.safetensors.index.json", index.dump(2) + "\n", 0644);
}

Result<void> write_folder(const fs::path& folder, const ModelConfig& config, std::span<const float> theta, const FolderOptions& options) {
    auto wrote = write_all_weights(folder, make_tensor_table(config), theta, options);
    if (!wrote) return wrote;
    std::map<std::string, std::string> files = options.files;
    files.try_emplace("generation_config.json", generation_json(config, {}));
    files["config.json"] = hf_config_json(config, files["generation_config.json"], options.bf16 ? "bfloat16" : "float32");
    files["README.md"] = std::string(kMark) + ".\n\n" + options.provenance + "\n";
    for (const auto& [name, text] : files) {
        wrote = write_small_file(folder / name, text, 0644);
        if (!wrote) return wrote;
    }
    return {};
}

/// Whether `folder` may be replaced: absent, empty, or our own work.
Result<void> may_replace(const fs::path& folder) {
    std::error_code ec;
    if (!fs::exists(folder, ec) || fs::is_empty(folder, ec)) return {};
    auto readme = read_small_file(folder / "README.md", 1 << 20);
    if (readme && readme->starts_with(kMark)) return {};
    return fail(Errc::already_exists, folder.string() + " is there and was not written by an export",
                "choose another folder with -o");
}

}  // namespace

Result<void> export_model_folder(const fs::path& given, const ModelConfig& config, std::span<const float> theta,
                                 const FolderOptions& options) {
    fs::path folder = fs::absolute(given).lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();  // "model/" is "model"
    if (theta.size() != make_tensor_table(config).elements)
        return fail(Errc::bad_shape, "the weights have " + std::to_string(theta.size()) + " elements, the model others");
    auto allowed = may_replace(folder);
    if (!allowed) return allowed;

    std::error_code ec;
    const fs::path fresh = folder.string() + ".tmp" + std::to_string(::getpid());
    fs::remove_all(fresh, ec);
    fs::create_directories(fresh, ec);
    if (ec) return fail(file_error("create", fresh, ec.value()));
    auto written = write_folder(fresh, config, theta, options);
    if (written) {
        fs::remove_all(folder, ec);
        fs::rename(fresh, folder, ec);
        if (ec) written = fail(file_error("rename", folder, ec.value()));
    }
    if (!written) fs::remove_all(fresh, ec);
    return written;
}

Result<ModelConfig> read_model_folder_config(const fs::path& folder) {
    auto text = read_small_file(folder / "config.json", kMostConfig);
    if (!text) return fail(text.error());
    return parse_hf_config(*text);
}

Result<void> import_model_folder(const fs::path& folder, const ModelConfig& config, std::span<float> theta) {
    const TensorTable table = make_tensor_table(config);
    auto weights = FolderWeights::open(folder, table);
    if (!weights) return fail(weights.error());
    return weights->read(theta);
}

}  // namespace skerry::node
