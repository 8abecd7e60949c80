#pragma once
// Weights that a trainer is asked about outside of a run's rounds: for generate and eval.

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "node/cli/model_choice.hpp"
#include "node/cli/state_at.hpp"
#include "node/data/data_manifest.hpp"
#include "node/data/example_tokens.hpp"
#include "node/trainer/child_process.hpp"
#include "protocol/base/descriptor.hpp"

namespace skerry::node {

/// A state of a run or a model folder, and what its tokens mean.
class AskedModel {
  public:
    /// Errors: those of StateAt::rebuild, import_model_folder and Tokenizer::parse; usage (no folder, or a tokenizer missing or too
    /// many); data_invalid: another tokenizer than the run's data was made with.
    static Result<AskedModel> open(const ModelChoice& choice);

    const ModelConfig& config() const { return config_; }
    /// As the run trains; of a model folder: fp32.
    const TrainConfig& train() const { return train_; }
    const Tokenizer* tokenizer() const { return tokenizer_.get(); }  ///< null: tokens are bytes
    const std::optional<DataManifest>& data() const { return data_; }  ///< of a run
    std::filesystem::path shards() const { return shards_; }
    /// run, step and digest, or the folder.
    const nlohmann::json& identity() const { return identity_; }

    int theta_descriptor() const { return state_ ? state_->theta_descriptor() : theta_.get(); }
    std::uint64_t elements() const { return elements_; }

    /// The templates of the run's data; else those that fit the tokenizer. Errors: usage.
    Result<ExampleTokens> examples(const TemplateChoice& choice) const;
    /// Where an answer ends.
    std::vector<std::uint32_t> stops() const;
    /// A model may break a character in two, or make a token that there is not: that is shown as '?'.
    std::string text(std::span<const std::uint32_t> tokens) const { return to_text(bytes(tokens)); }
    std::string bytes(std::span<const std::uint32_t> tokens) const;
    static std::string to_text(const std::string& bytes);

  private:
    Result<void> open_run(const ModelChoice& choice);
    Result<void> open_folder(const ModelChoice& choice);
    Result<void> open_tokenizer(const ModelChoice& choice);

    std::optional<StateAt> state_;
    OwnedDescriptor theta_;
    std::uint64_t elements_ = 0;
    ModelConfig config_;
    TrainConfig train_;
    std::optional<DataManifest> data_;
    std::filesystem::path shards_;
    std::unique_ptr<const Tokenizer> tokenizer_;
    nlohmann::json identity_;
};

/// The node's own trainer and threads, unless told otherwise.
ChildOptions trainer_options(const ModelChoice& choice);

/// Starts one trainer that sees the model, lets `ask` talk to it, ends it. Errors: those of the trainer and of `ask`.
using Ask = std::function<Task<Result<void>>(ChildProcess&)>;
Result<void> ask_trainer(const ChildOptions& options, const AskedModel& model, const TrainConfig& train, const Ask& ask);

}  // namespace skerry::node
