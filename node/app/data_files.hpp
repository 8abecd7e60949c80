#pragma once
// The run's token shards as this node has them, and where a position of the data order lies.

#include <filesystem>
#include <functional>
#include <vector>

#include "node/control/shard_fetch.hpp"
#include "node/data/data_manifest.hpp"
#include "node/model_folder/model_config.hpp"
#include "node/trainer/round.hpp"
#include "node/trainer/train_config.hpp"
#include "protocol/rules/data_order.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// Belongs to the io thread. File ids are indices into the data manifest: training shards first, then held-out ones.
class DataFiles {
  public:
    using Fetch = std::function<Task<Result<std::filesystem::path>>(ShardInfo)>;

    /// Errors: data_invalid if the data manifest does not fit the run's manifest; config_invalid.
    static Result<DataFiles> open(const Manifest& manifest, ByteSpan data_manifest, Fetch fetch);

    const ModelConfig& model() const { return model_; }
    const TrainConfig& train() const { return train_; }
    const DataManifest& data() const { return data_; }
    /// All files, in the order of the data manifest.
    std::vector<ShardInfo> files() const;

    /// Where a leased position is read: the keyed permutation of the run, then the shard that holds it.
    SequenceRef sequence_at(std::uint64_t position);
    /// At most `sequences` of them, spread evenly over the held-out shards.
    std::vector<EvalSpan> heldout_spans(std::uint32_t sequences) const;
    /// The verified local file; fetched if it is not there.
    Task<Result<std::filesystem::path>> local_path(std::uint32_t file);

  private:
    struct Shard {
        ShardInfo info;
        std::uint64_t sequences = 0;
        std::uint64_t first_sequence = 0;  ///< of the run; training shards only
    };
    DataFiles(ModelConfig model, TrainConfig train, DataOrder order, Fetch fetch)
        : model_(std::move(model)), train_(std::move(train)), order_(std::move(order)), fetch_(std::move(fetch)) {}

    ModelConfig model_;
    TrainConfig train_;
    DataOrder order_;
    Fetch fetch_;
    std::vector<Shard> shards_;
    std::size_t training_ = 0;
    DataManifest data_;
};

}  // namespace skerry::node
