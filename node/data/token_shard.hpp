#pragma once
// A file of tokens: 256 int32 (magic, version, number of tokens, zeros), then the tokens. llm.c's two layouts have them as uint16
// (20240520, 1) or, for a vocabulary over 65536, as uint32 (20240801, 7). A third one, ours, has uint32 whose highest bit says that
// the token is no target (20261127, 1): it is read by the model, but that it comes is not learnt.

#include <cstdint>
#include <span>
#include <string>

#include "protocol/base/bytes.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

inline constexpr std::size_t kShardHeaderBytes = 1024;
/// llm.c's header has 31 bits for the count.
inline constexpr std::uint64_t kMaxShardTokens = (std::uint64_t{1} << 31) - 1;

/// In a masked shard: the token is no target. The other bits are its id.
inline constexpr std::uint32_t kNoTarget = std::uint32_t{1} << 31;

/// The 1024 bytes that open a shard of `tokens` tokens of 2 or 4 bytes; a masked one has 4.
Bytes make_shard_header(std::uint64_t tokens, std::uint32_t token_bytes = 2, bool masked = false);

struct ShardHeader {
    std::uint64_t tokens = 0;
    std::uint32_t token_bytes = 2;
    bool masked = false;
    std::uint64_t file_bytes() const { return kShardHeaderBytes + token_bytes * tokens; }
};
/// Errors: data_invalid.
Result<ShardHeader> parse_shard_header(ByteSpan header);

/// An open shard. Reads with pread, so that a file that shrinks is an error and not a signal.
class TokenShard {
  public:
    /// Errors: not_found, io_error, data_invalid (header, or file size other than the header says).
    static Result<TokenShard> open(const std::string& path);

    TokenShard(TokenShard&& other) noexcept;
    TokenShard& operator=(TokenShard&& other) noexcept;
    ~TokenShard();

    std::uint64_t tokens() const { return header_.tokens; }

    /// Whether kNoTarget in a token means something; else a token with that bit is none of any vocabulary.
    bool masked() const { return header_.masked; }

    /// Fills `out` with the tokens from `offset` on, as they are in the file. Errors: data_invalid (beyond the end), io_error.
    Result<void> read(std::uint64_t offset, std::span<std::uint32_t> out) const;

  private:
    explicit TokenShard(int descriptor) : descriptor_(descriptor) {}
    int descriptor_ = -1;
    ShardHeader header_;
};

/// Sequences of `seq` tokens (and one target more) that a shard holds: 0, seq, 2 seq, ... as offsets.
inline std::uint64_t sequences_in(std::uint64_t tokens, std::uint32_t seq) {
    return tokens == 0 ? 0 : (tokens - 1) / seq;
}

}  // namespace skerry::node
