#include "node/model_folder/hf_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "node/model_folder/byte_tokenizer.hpp"
#include "node/model_folder/safetensors.hpp"
#include "protocol/base/descriptor.hpp"
#include "protocol/config/files.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kMark = "Exported by skerry";
constexpr std::size_t kSmallFile = 64U << 20;
constexpr std::size_t kWindow = 1 << 20;

/// An exponent of all ones, by the bits: this must hold under any floating-point flags.
bool finite(std::span<const float> values) {
    std::uint32_t bad = 0;
    for (const float& v : values) {
        std::uint32_t bits;
        std::memcpy(&bits, &v, sizeof bits);
        bad |= static_cast<std::uint32_t>((bits & 0x7f800000U) == 0x7f800000U);
    }
    return bad == 0;
}

std::string config_json(const ModelConfig& c) {
    Json json = Json::parse(to_json(c));
    json["architectures"] = {"LlamaForCausalLM"};
    json["hidden_act"] = "silu";
    json["attention_bias"] = false;
    json["attention_dropout"] = 0.0;
    json["mlp_bias"] = false;
    json["rope_scaling"] = nullptr;
    json["dtype"] = "float32";
    json["torch_dtype"] = "float32";  // the name before transformers 4.56
    json["use_cache"] = true;
    // Bytes have no special tokens; left out, these would default to the bytes 1 and 2.
    json["bos_token_id"] = nullptr;
    json["eos_token_id"] = nullptr;
    json["pad_token_id"] = nullptr;
    return json.dump(2) + "\n";
}

std::string generation_json(const ModelConfig& c) {
    Json json;
    json["do_sample"] = true;
    json["temperature"] = 0.8;
    json["max_length"] = c.max_position_embeddings;
    json["bos_token_id"] = nullptr;
    json["eos_token_id"] = nullptr;
    json["pad_token_id"] = nullptr;
    return json.dump(2) + "\n";
}

Result<void> write_all(int descriptor, const void* data, std::size_t bytes, const fs::path& path) {
    auto* p = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t n = ::write(descriptor, p, std::min(bytes, kSmallFile));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("write", path, errno));
        p += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return {};
}

Result<void> write_weights(const fs::path& path, const TensorTable& table, std::span<const float> theta) {
    std::vector<StoredTensor> tensors;
    for (const auto& t : table.tensors) tensors.push_back({t.name, TensorType::f32, t.shape, 0, t.elements});
    const Bytes header = make_safetensors_header(tensors);
    OwnedDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file) return fail(file_error("create", path, errno));
    auto wrote = write_all(file.get(), header.data(), header.size(), path);
    for (std::size_t lo = 0; wrote && lo < theta.size(); lo += kWindow) {
        const auto part = theta.subspan(lo, std::min(kWindow, theta.size() - lo));
        if (!finite(part)) return fail(Errc::not_finite, "the weights hold NaN or Inf");
        wrote = write_all(file.get(), part.data(), part.size_bytes(), path);
    }
    if (!wrote) return wrote;
    if (::fsync(file.get()) != 0) return fail(file_error("fsync", path, errno));
    return {};
}

Result<void> write_folder(const fs::path& folder, const ModelConfig& config, std::span<const float> theta,
                          const std::string& provenance) {
    auto wrote = write_weights(folder / "model.safetensors", make_tensor_table(config), theta);
    if (!wrote) return wrote;
    std::vector<std::pair<std::string, std::string>> files = {
        {"config.json", config_json(config)},
        {"generation_config.json", generation_json(config)},
        {"README.md", std::string(kMark) + ".\n\n" + provenance + "\n"}};
    if (config.vocab_size == 256) {
        files.emplace_back("tokenizer.json", byte_tokenizer_json());
        files.emplace_back("tokenizer_config.json", byte_tokenizer_config_json(config.max_position_embeddings));
    }
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
                                 const std::string& provenance) {
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
    auto written = write_folder(fresh, config, theta, provenance);
    if (written) {
        fs::remove_all(folder, ec);
        fs::rename(fresh, folder, ec);
        if (ec) written = fail(file_error("rename", folder, ec.value()));
    }
    if (!written) fs::remove_all(fresh, ec);
    return written;
}

namespace {

/// What a config may say besides the keys we know, without being another model.
Result<void> refuse_other_models(const Json& json) {
    const auto refuse = [&](const std::string& key, const std::string& why) {
        return fail(Errc::config_invalid, "config.json: " + key + ": " + why);
    };
    const auto set = [&](const char* key) { return json.contains(key) && !json[key].is_null(); };
    if (!set("model_type") || json["model_type"] != "llama") return refuse("model_type", "only llama is supported");
    if (set("hidden_act") && json["hidden_act"] != "silu") return refuse("hidden_act", "only silu is supported");
    for (const char* key : {"attention_bias", "mlp_bias"})
        if (set(key) && json[key] != false) return refuse(key, "biases are not supported");
    if (set("rope_scaling")) return refuse("rope_scaling", "scaled rotary embedding is not supported");
    if (set("rope_parameters")) {
        const Json& rope = json["rope_parameters"];
        if (!rope.is_object() || rope.value("rope_type", "default") != "default")
            return refuse("rope_parameters", "scaled rotary embedding is not supported");
    }
    return {};
}

}  // namespace

Result<ModelConfig> read_model_folder_config(const fs::path& folder) {
    auto text = read_small_file(folder / "config.json", 1 << 20);
    if (!text) return fail(text.error());
    const Json json = Json::parse(*text, nullptr, false);
    if (!json.is_object()) return fail(Errc::config_invalid, "config.json is not a JSON object");
    auto good = refuse_other_models(json);
    if (!good) return fail(good.error());

    Json ours;
    for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                            "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta",
                            "initializer_range", "tie_word_embeddings"})
        if (json.contains(key) && !json[key].is_null()) ours[key] = json[key];
    // Newer versions of transformers keep it in here; LlamaConfig's defaults differ from ours where a key is left out.
    if (json.contains("rope_parameters") && json["rope_parameters"].is_object() && json["rope_parameters"].contains("rope_theta"))
        ours["rope_theta"] = json["rope_parameters"]["rope_theta"];
    if (!ours.contains("tie_word_embeddings")) ours["tie_word_embeddings"] = false;
    if (!ours.contains("rms_norm_eps")) ours["rms_norm_eps"] = 1e-6;
    for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"})
        if (!ours.contains(key)) return fail(Errc::config_invalid, std::string("config.json: ") + key + " is missing");
    return parse_model_config(ours.dump());
}

namespace {

/// One open safetensors file.
class StoredFile {
  public:
    static Result<StoredFile> open(const fs::path& path) {
        StoredFile out;
        out.path_ = path;
        out.file_ = OwnedDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!out.file_) return fail(errno == ENOENT ? Error{Errc::not_found, path.string() + " is not there", ""}
                                                    : file_error("open", path, errno));
        struct stat info {};
        if (::fstat(out.file_.get(), &info) != 0) return fail(file_error("stat", path, errno));
        const auto size = static_cast<std::uint64_t>(info.st_size);
        Bytes first(8);
        auto read = size < 8 ? Result<void>(fail(Errc::data_invalid, path.string() + " is shorter than 8 bytes"))
                             : out.read(0, first.data(), first.size());
        if (!read) return fail(read.error());
        auto length = safetensors_header_bytes(first, size);
        if (!length) return fail(length.error());
        Bytes header(*length);
        read = out.read(8, header.data(), header.size());
        if (!read) return fail(read.error());
        auto tensors = parse_safetensors_header(header, size);
        if (!tensors) return fail(tensors.error());
        out.tensors_ = std::move(*tensors);
        return out;
    }

    const std::vector<StoredTensor>& tensors() const { return tensors_; }

    Result<void> read_floats(const StoredTensor& tensor, std::span<float> out) const {
        if (tensor.type == TensorType::f32) return read(tensor.begin, out.data(), out.size_bytes());
        std::vector<std::uint16_t> half(std::min(kWindow, out.size()));
        for (std::size_t lo = 0; lo < out.size(); lo += kWindow) {
            const std::size_t n = std::min(kWindow, out.size() - lo);
            auto got = read(tensor.begin + 2 * lo, half.data(), 2 * n);
            if (!got) return got;
            for (std::size_t i = 0; i < n; ++i)
                out[lo + i] = tensor.type == TensorType::bf16 ? from_bf16(half[i]) : from_f16(half[i]);
        }
        return {};
    }

  private:
    static float from_bf16(std::uint16_t v) {
        const auto bits = static_cast<std::uint32_t>(v) << 16;
        float out;
        std::memcpy(&out, &bits, sizeof out);
        return out;
    }
    static float from_f16(std::uint16_t v) {
        const int exponent = (v >> 10) & 31;
        const int mantissa = v & 1023;
        const float sign = (v & 0x8000) ? -1.F : 1.F;
        if (exponent == 31) return mantissa ? std::nanf("") : sign * HUGE_VALF;
        if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
        return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
    }
    Result<void> read(std::uint64_t at, void* data, std::size_t bytes) const {
        auto* p = static_cast<char*>(data);
        while (bytes > 0) {
            const ssize_t n = ::pread(file_.get(), p, std::min(bytes, kSmallFile), static_cast<off_t>(at));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return fail(file_error("read", path_, errno));
            if (n == 0) return fail(Errc::data_invalid, path_.string() + " ends early");
            p += n;
            at += static_cast<std::uint64_t>(n);
            bytes -= static_cast<std::size_t>(n);
        }
        return {};
    }
    fs::path path_;
    OwnedDescriptor file_;
    std::vector<StoredTensor> tensors_;
};

/// Names of the safetensors files of a folder. They must lie in it.
Result<std::set<std::string>> weight_files(const fs::path& folder) {
    std::error_code ec;
    const fs::path index = folder / "model.safetensors.index.json";
    if (!fs::exists(index, ec)) return std::set<std::string>{"model.safetensors"};
    auto text = read_small_file(index, kSmallFile);
    if (!text) return fail(text.error());
    const Json json = Json::parse(*text, nullptr, false);
    const bool good = json.is_object() && json.contains("weight_map") && json["weight_map"].is_object();
    if (!good) return fail(Errc::data_invalid, "model.safetensors.index.json has no weight_map");
    std::set<std::string> out;
    for (const auto& [tensor, file] : json["weight_map"].items()) {
        const std::string name = file.is_string() ? file.get<std::string>() : "";
        if (name.empty() || name[0] == '.' || name.find('/') != std::string::npos)
            return fail(Errc::data_invalid, "model.safetensors.index.json: bad file name for " + tensor);
        out.insert(name);
    }
    return out;
}

Result<void> take_tensors(const StoredFile& file, std::map<std::string, const TensorInfo*>& wanted, std::span<float> theta) {
    for (const auto& stored : file.tensors()) {
        const auto found = wanted.find(stored.name);
        if (found == wanted.end()) {
            // A tied head is sometimes stored although it is the embedding; buffers of old versions too.
            if (stored.name == "lm_head.weight" || stored.name.ends_with("rotary_emb.inv_freq")) continue;
            return fail(Errc::data_invalid, "unexpected tensor " + stored.name);
        }
        const TensorInfo& info = *found->second;
        if (stored.shape != info.shape) return fail(Errc::data_invalid, stored.name + " has another shape than the config says");
        const auto out = theta.subspan(info.offset, info.elements);
        auto read = file.read_floats(stored, out);
        if (!read) return read;
        if (!finite(out)) return fail(Errc::not_finite, stored.name + " holds NaN or Inf");
        wanted.erase(found);
    }
    return {};
}

}  // namespace

Result<void> import_model_folder(const fs::path& folder, const ModelConfig& config, std::span<float> theta) {
    const TensorTable table = make_tensor_table(config);
    if (theta.size() != table.elements) return fail(Errc::bad_shape, "theta has another length than the model");
    std::map<std::string, const TensorInfo*> wanted;
    for (const auto& t : table.tensors) wanted.emplace(t.name, &t);
    auto names = weight_files(folder);
    if (!names) return fail(names.error());
    for (const auto& name : *names) {
        auto file = StoredFile::open(folder / name);
        if (!file) return fail(file.error());
        auto taken = take_tensors(*file, wanted, theta);
        if (!taken) return taken;
    }
    if (!wanted.empty()) return fail(Errc::data_invalid, "tensor " + wanted.begin()->first + " is missing");
    return {};
}

}  // namespace skerry::node
