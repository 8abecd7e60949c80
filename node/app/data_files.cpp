#include "node/app/data_files.hpp"

#include <algorithm>

#include "node/data/data_manifest.hpp"
#include "node/data/token_shard.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {

Result<DataFiles> DataFiles::open(const Manifest& manifest, ByteSpan data_manifest, Fetch fetch) {
    auto model = parse_model_config(manifest.model_json);
    if (!model) return fail(model.error());
    auto train = parse_train_config(manifest.train_json);
    if (!train) return fail(train.error());
    auto data = parse_data_manifest(data_manifest);
    if (!data) return fail(data.error());
    DataFiles out(*model, *train, DataOrder(manifest.seed, manifest.sequences), std::move(fetch));
    std::uint64_t next = 0;
    for (const DataShard& shard : data->shards) {
        Shard row{{shard.sha256, shard.bytes}, sequences_in(shard.tokens, manifest.sequence_tokens), next};
        if (!shard.held_out) {
            next += row.sequences;
            ++out.training_;
        }
        out.shards_.push_back(row);
    }
    if (next != manifest.sequences)
        return fail(Errc::data_invalid, "the data manifest holds " + std::to_string(next) + " sequences, the run " +
                                            std::to_string(manifest.sequences));
    out.data_ = std::move(*data);
    return out;
}

SequenceRef DataFiles::sequence_at(std::uint64_t position) {
    const std::uint64_t sequence = order_.sequence_at(position);
    auto end = shards_.begin() + static_cast<std::ptrdiff_t>(training_);
    auto after = std::upper_bound(shards_.begin(), end, sequence,
                                  [](std::uint64_t value, const Shard& shard) { return value < shard.first_sequence; });
    SKERRY_ASSERT(after != shards_.begin());
    auto at = std::prev(after);
    return {static_cast<std::uint32_t>(at - shards_.begin()), (sequence - at->first_sequence) * train_.seq};
}

std::vector<EvalSpan> DataFiles::heldout_spans(std::uint32_t sequences) const {
    std::uint64_t all = 0;
    for (std::size_t i = training_; i < shards_.size(); ++i) all += shards_[i].sequences;
    std::vector<EvalSpan> spans;
    if (all == 0 || sequences == 0) return spans;
    const std::uint64_t stride = std::max<std::uint64_t>(1, all / sequences);
    std::uint64_t skip = 0;  // sequences of this shard before the next one that is taken
    for (std::size_t i = training_; i < shards_.size(); ++i) {
        const std::uint64_t here = shards_[i].sequences;
        if (skip >= here) {
            skip -= here;
            continue;
        }
        const std::uint64_t count = (here - skip - 1) / stride + 1;
        spans.push_back({static_cast<std::uint32_t>(i), skip * train_.seq, stride * train_.seq, count});
        skip = skip + count * stride - here;
    }
    return spans;
}

std::vector<ShardInfo> DataFiles::files() const {
    std::vector<ShardInfo> out;
    for (const Shard& shard : shards_) out.push_back(shard.info);
    return out;
}

Task<Result<std::filesystem::path>> DataFiles::local_path(std::uint32_t file) {
    if (file >= shards_.size()) co_return fail(Errc::no_data, "no shard " + std::to_string(file));
    co_return co_await fetch_(shards_[file].info);
}

}  // namespace skerry::node
