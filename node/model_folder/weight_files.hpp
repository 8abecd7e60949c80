#pragma once
// The weights of a Hugging Face folder: one safetensors file, or several with an index. Reads in windows.

#include <filesystem>
#include <map>
#include <span>

#include "node/model_folder/safetensors.hpp"
#include "node/model_folder/tensor_table.hpp"

namespace skerry::node {

inline constexpr std::size_t kMaxWeightIndex = 64U << 20;
inline constexpr std::size_t kMaxWeightFiles = 4096;

/// Tensor name to file name, of a model.safetensors.index.json. Pure.
/// Errors: data_invalid: no JSON, a tensor twice, a file name that leads elsewhere, too many files.
Result<std::map<std::string, std::string>> parse_weight_index(ByteSpan json);

/// The weights of a folder, found and checked but not yet read.
class FolderWeights {
  public:
    /// Reads the files' headers only. `table` outlives it.
    /// Errors: not_found; data_invalid: damaged; tensors missing, left over, twice, or of another shape or type (by name).
    static Result<FolderWeights> open(const std::filesystem::path& folder, const TensorTable& table);

    /// Fills `theta` [P]. Errors: data_invalid (also a stored head that is not the embedding it is tied to), not_finite (by
    /// name), io_error. `theta` is partly written then.
    Result<void> read(std::span<float> theta) const;

  private:
    struct Part {
        const TensorInfo* info;  ///< null: a tied head, to be compared with the embedding
        StoredTensor stored;
    };
    FolderWeights(std::filesystem::path folder, const TensorTable& table) : folder_(std::move(folder)), table_(&table) {}
    Result<void> take_file(const std::string& file, const std::map<std::string, std::string>& index, std::map<std::string, const TensorInfo*>& wanted);

    std::filesystem::path folder_;
    const TensorTable* table_;
    std::map<std::string, std::vector<Part>> files_;  ///< by file name
};

}  // namespace skerry::node
