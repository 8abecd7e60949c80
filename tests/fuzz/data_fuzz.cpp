// Data manifests, shard headers and train settings.

#include "node/data/data_manifest.hpp"
#include "node/data/examples.hpp"
#include "node/data/token_shard.hpp"
#include "node/trainer/train_config.hpp"
#include "protocol/base/assert.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace skerry::test {

std::vector<Bytes> fuzz_samples() {
    node::DataManifest manifest;
    manifest.shards.resize(2);
    manifest.shards[0] = {"train-00000.bin", false, 1000, 3024, {}};
    manifest.shards[1] = {"held-out-00000.bin", true, 10, 1044, {}};
    const std::string json = node::to_json(manifest);
    manifest.tokenizer = "bpe";
    manifest.tokenizer_sha256 = Digest{};
    manifest.vocab_size = 128256;
    for (auto& s : manifest.shards) s.bytes = 1024 + 4 * s.tokens;
    const std::string large = node::to_json(manifest);
    manifest.packed = node::PackedData{512, "chatml", 7};
    manifest.files = {{"tokenizer.json", 77, Digest{}}, {"generation_config.json", 3, Digest{}}};
    const std::string packed = node::to_json(manifest);
    const std::string talk = R"({"messages": [{"role": "user", "content": "a"}], "prompt": "b", "completion": "c"})";
    node::TrainConfig train;
    train.total_tokens = 1000;
    const std::string settings = node::to_json(train);
    return {Bytes(json.begin(), json.end()), Bytes(large.begin(), large.end()), Bytes(settings.begin(), settings.end()), node::make_shard_header(77), node::make_shard_header(78, 4),
            node::make_shard_header(79, 4, true), Bytes(packed.begin(), packed.end()), Bytes(talk.begin(), talk.end())};
}

void fuzz_one(ByteSpan input) {
    auto manifest = node::parse_data_manifest(input);
    if (manifest) {
        const std::string json = node::to_json(*manifest);
        auto again = node::parse_data_manifest(as_bytes(json));
        SKERRY_ASSERT(again && *again == *manifest);
        for (const auto& s : manifest->shards) SKERRY_ASSERT(s.file.find('/') == std::string::npos);
        for (const auto& f : manifest->files) SKERRY_ASSERT(f.file.find('/') == std::string::npos && f.bytes <= node::kMaxFolderFile);
    }
    auto train = node::parse_train_config(as_text(input));
    if (train) {
        auto again = node::parse_train_config(node::to_json(*train));
        SKERRY_ASSERT(again && *again == *train);
        const double lr = node::learning_rate(*train, train->total_tokens / 2);
        SKERRY_ASSERT(lr >= 0 && lr <= 100);
    }
    for (bool messages : {false, true}) {
        auto example = node::parse_example(as_text(input), {messages, "prompt", "completion"}, "line 1");
        if (example) SKERRY_ASSERT(example->messages.empty() != messages && example->messages.size() <= node::kMaxMessages);
    }
    auto tokens = node::parse_shard_header(input);
    if (tokens) SKERRY_ASSERT((!tokens->masked || tokens->token_bytes == 4) && tokens->tokens <= node::kMaxShardTokens && tokens->file_bytes() >= node::kShardHeaderBytes);
}

}  // namespace skerry::test
