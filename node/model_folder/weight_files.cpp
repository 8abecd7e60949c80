#include "node/model_folder/weight_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "node/model_folder/finite.hpp"
#include "protocol/base/descriptor.hpp"
#include "protocol/config/files.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";
constexpr std::size_t kMostRead = 64U << 20;
constexpr std::size_t kWindow = 1 << 20;  // elements

Fail invalid(const std::string& what) { return fail(Errc::data_invalid, what); }

float from_bf16(std::uint16_t v) {
    const auto bits = static_cast<std::uint32_t>(v) << 16;
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
}

float from_f16(std::uint16_t v) {
    const int exponent = (v >> 10) & 31;
    const int mantissa = v & 1023;
    const float sign = (v & 0x8000) ? -1.F : 1.F;
    if (exponent == 31) return mantissa ? std::nanf("") : sign * HUGE_VALF;
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
    return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

/// One open safetensors file.
class StoredFile {
  public:
    static Result<StoredFile> open(const fs::path& path) {
        StoredFile out;
        out.path_ = path;
        out.file_ = OwnedDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!out.file_) return fail(errno == ENOENT ? Error{Errc::not_found, path.string() + " is not there", ""}
                                                    : file_error("open", path, errno));
        return out;
    }

    /// Errors: data_invalid, io_error.
    Result<std::vector<StoredTensor>> tensors() const {
        struct stat info {};
        if (::fstat(file_.get(), &info) != 0) return fail(file_error("stat", path_, errno));
        const auto size = static_cast<std::uint64_t>(info.st_size);
        Bytes first(8);
        auto got = size < 8 ? Result<void>(invalid("shorter than 8 bytes")) : read(0, first.data(), first.size());
        auto length = got ? safetensors_header_bytes(first, size) : Result<std::uint64_t>(fail(got.error()));
        if (!length) return named(length.error());
        Bytes header(*length);
        got = read(8, header.data(), header.size());
        if (!got) return fail(got.error());
        auto out = parse_safetensors_header(header, size);
        if (!out) return named(out.error());
        return out;
    }

    /// Elements [from, from + out.size()) of a tensor.
    Result<void> read_floats(const StoredTensor& tensor, std::uint64_t from, std::span<float> out) const {
        const std::uint64_t at = tensor.begin + from * bytes_of(tensor.type);
        if (tensor.type == TensorType::f32) return read(at, out.data(), out.size_bytes());
        std::vector<std::uint16_t> half(out.size());
        auto got = read(at, half.data(), half.size() * sizeof(half[0]));
        if (!got) return got;
        const auto convert = tensor.type == TensorType::bf16 ? from_bf16 : from_f16;
        std::transform(half.begin(), half.end(), out.begin(), convert);
        return {};
    }

  private:
    Fail named(const Error& why) const { return fail(why.code, path_.string() + ": " + why.detail, why.fix); }
    Result<void> read(std::uint64_t at, void* data, std::size_t bytes) const {
        auto* p = static_cast<char*>(data);
        while (bytes > 0) {
            const ssize_t n = ::pread(file_.get(), p, std::min(bytes, kMostRead), static_cast<off_t>(at));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return fail(file_error("read", path_, errno));
            if (n == 0) return invalid(path_.string() + " ends early");
            p += n;
            at += static_cast<std::uint64_t>(n);
            bytes -= static_cast<std::size_t>(n);
        }
        return {};
    }
    fs::path path_;
    OwnedDescriptor file_;
};

/// "a, b, c and 7 more"
std::string listed(const std::vector<std::string>& names) {
    std::string out;
    for (std::size_t i = 0; i < names.size() && i < 3; ++i) out += (i > 0 ? ", " : "") + names[i];
    return names.size() > 3 ? out + " and " + std::to_string(names.size() - 3) + " more" : out;
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
    std::string out = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) out += (i > 0 ? ", " : "") + std::to_string(shape[i]);
    return out + "]";
}

/// Kept by old versions of transformers beside the weights; computed, not learned.
bool computed_buffer(const std::string& name) { return name.ends_with(".rotary_emb.inv_freq"); }

bool plain_name(const std::string& name) {
    return !name.empty() && name.size() <= 255 && name[0] != '.' && name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

Result<std::map<std::string, std::string>> parse_weight_index(ByteSpan bytes) {
    std::map<std::string, std::string> out;
    const std::string where = std::string(kIndex) + ": ";
    if (bytes.size() > kMaxWeightIndex) return invalid(where + "over 64 MiB");
    auto json = parse_json_without_repeats(bytes);
    if (!json) return invalid(where + json.error().detail);
    const auto map = json->find("weight_map");
    if (map == json->end() || !map->is_object() || map->empty()) return invalid(where + "no weight_map");
    std::set<std::string> files;
    for (const auto& [tensor, file] : map->items()) {
        const std::string name = file.is_string() ? file.get<std::string>() : "";
        if (!plain_name(name)) return invalid(where + "bad file name for " + tensor);
        files.insert(name);
        out.emplace(tensor, name);
    }
    if (files.size() > kMaxWeightFiles) return invalid(where + "more than " + std::to_string(kMaxWeightFiles) + " files");
    return out;
}

Result<FolderWeights> FolderWeights::open(const fs::path& folder, const TensorTable& table) {
    FolderWeights out(folder, table);
    std::map<std::string, std::string> index;
    std::error_code ec;
    std::set<std::string> names = {kSingle};
    // As transformers does: the single file, where it is there.
    if (!fs::exists(folder / kSingle, ec) && fs::exists(folder / kIndex, ec)) {
        auto text = read_small_file(folder / kIndex, kMaxWeightIndex);
        if (!text) return fail(text.error());
        auto parsed = parse_weight_index(as_bytes(*text));
        if (!parsed) return fail(parsed.error());
        index = std::move(*parsed);
        names.clear();
        for (const auto& [tensor, file] : index) names.insert(file);
    }
    std::map<std::string, const TensorInfo*> wanted;
    for (const auto& t : table.tensors) wanted.emplace(t.name, &t);
    for (const auto& name : names) {
        auto taken = out.take_file(name, index, wanted);
        if (!taken) return fail(taken.error());
    }
    std::vector<std::string> missing;
    for (const auto& t : table.tensors)
        if (wanted.contains(t.name)) missing.push_back(t.name);
    if (!missing.empty()) return invalid("tensors are missing in " + folder.string() + ": " + listed(missing));
    return out;
}

Result<void> FolderWeights::take_file(const std::string& name, const std::map<std::string, std::string>& index,
                                      std::map<std::string, const TensorInfo*>& wanted) {
    auto file = StoredFile::open(folder_ / name);
    if (!file) return fail(file.error());
    auto tensors = file->tensors();
    if (!tensors) return fail(tensors.error());
    const auto& embedding = table_->tensors.front();
    const bool tied = table_->tensors.back().name != kHead;
    std::vector<std::string> surplus;
    for (auto& stored : *tensors) {
        if (computed_buffer(stored.name)) continue;
        const auto indexed = index.find(stored.name);
        if (!index.empty() && (indexed == index.end() || indexed->second != name)) return invalid(name + " holds " + stored.name + ", the index says otherwise");
        const auto found = wanted.find(stored.name);
        const bool head = tied && stored.name == kHead;
        if (found == wanted.end() && !head) {
            surplus.push_back(stored.name);
            continue;
        }
        const TensorInfo& info = head ? embedding : *found->second;
        if (stored.shape != info.shape)
            return invalid(stored.name + " in " + name + " is " + shape_text(stored.shape) + ", by config.json it is " + shape_text(info.shape));
        if (!head) wanted.erase(found);
        files_[name].push_back({head ? nullptr : &info, std::move(stored)});
    }
    if (!surplus.empty()) return invalid("tensors in " + name + " that this model does not have: " + listed(surplus));
    return {};
}

Result<void> FolderWeights::read(std::span<float> theta) const {
    if (theta.size() != table_->elements) return fail(Errc::bad_shape, "theta has another length than the model");
    std::vector<float> window;
    for (const bool heads : {false, true}) {  // a tied head last: it is compared with what was read
        for (const auto& [name, parts] : files_) {
            auto file = StoredFile::open(folder_ / name);
            if (!file) return fail(file.error());
            for (const Part& part : parts) {
                if ((part.info == nullptr) != heads) continue;
                const auto out = theta.subspan(heads ? 0 : part.info->offset, part.stored.elements);
                for (std::size_t lo = 0; lo < out.size(); lo += kWindow) {
                    const auto here = out.subspan(lo, std::min(kWindow, out.size() - lo));
                    window.resize(here.size());
                    auto got = file->read_floats(part.stored, lo, window);
                    if (!got) return got;
                    if (!all_finite(window)) return fail(Errc::not_finite, part.stored.name + " holds NaN or Inf");
                    if (!heads) std::copy(window.begin(), window.end(), here.begin());
                    else if (!std::equal(window.begin(), window.end(), here.begin()))
                        return invalid(std::string(kHead) + " is stored and is not " + kEmbedding + ", but tie_word_embeddings is true");
                }
            }
        }
    }
    return {};
}

}  // namespace skerry::node
