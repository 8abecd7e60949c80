#pragma once
// Tokens to shard files, and which of them are held out.

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "node/data/data_manifest.hpp"
#include "protocol/base/descriptor.hpp"

namespace skerry::node {

/// One split's shards, begun and ended as tokens come. Each file is complete or absent.
class ShardWriter {
  public:
    /// `shard_tokens`: of the longest shard. `token_bytes`: 2 or 4. `masked`: tokens may have kNoTarget (4 bytes).
    ShardWriter(std::filesystem::path folder, bool held_out, std::uint64_t shard_tokens, std::uint32_t token_bytes, bool masked = false);
    ~ShardWriter();
    ShardWriter(const ShardWriter&) = delete;
    ShardWriter& operator=(const ShardWriter&) = delete;

    /// Errors: disk_full, io_error.
    Result<void> add(std::span<const std::uint32_t> tokens);
    /// The shards that were made. Errors: as add.
    Result<std::vector<DataShard>> finish();

  private:
    Result<void> begin();
    Result<void> write(std::span<const std::uint32_t> tokens);
    Result<void> end();

    std::filesystem::path folder_, path_;
    bool held_out_;
    std::uint64_t shard_tokens_, tokens_ = 0;
    std::uint32_t token_bytes_;
    bool masked_;
    OwnedDescriptor file_;
    std::vector<std::uint16_t> narrow_;
    std::vector<DataShard> shards_;
};

/// Of every 20 blocks of this many tokens the tenth is held out (of fewer than ten blocks the last twentieth).
inline constexpr std::uint64_t kHeldOutBlock = 64 * 1024;

/// Sends each token to its split by its position. Keeps the first nine blocks until it knows that there are more.
class HeldOutSplit {
  public:
    HeldOutSplit(ShardWriter& train, ShardWriter& held_out) : train_(train), held_out_(held_out) {}
    Result<void> add(std::span<const std::uint32_t> tokens);
    Result<void> finish();

  private:
    Result<void> by_blocks(std::span<const std::uint32_t> tokens);

    static constexpr std::uint64_t kShort = 9 * kHeldOutBlock;
    ShardWriter& train_;
    ShardWriter& held_out_;
    std::vector<std::uint32_t> first_;
    std::uint64_t at_ = 0;
    bool long_ = false;
};

}  // namespace skerry::node
