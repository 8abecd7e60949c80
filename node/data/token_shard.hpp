#pragma once
// A file of tokens in llm.c's layout: 256 int32 (20240520, 1, number of tokens, zeros), then uint16 tokens.

#include <cstdint>
#include <span>
#include <string>

#include "protocol/base/bytes.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

inline constexpr std::uint32_t kShardMagic = 20240520;
inline constexpr std::size_t kShardHeaderBytes = 1024;
/// llm.c's header has 31 bits for the count.
inline constexpr std::uint64_t kMaxShardTokens = (std::uint64_t{1} << 31) - 1;

/// The 1024 bytes that open a shard of `tokens` tokens.
Bytes make_shard_header(std::uint64_t tokens);

/// Number of tokens that a header names. Errors: data_invalid.
Result<std::uint64_t> parse_shard_header(ByteSpan header);

/// An open shard. Reads with pread, so that a file that shrinks is an error and not a signal.
class TokenShard {
  public:
    /// Errors: not_found, io_error, data_invalid (header, or file size other than the header says).
    static Result<TokenShard> open(const std::string& path);

    TokenShard(TokenShard&& other) noexcept;
    TokenShard& operator=(TokenShard&& other) noexcept;
    ~TokenShard();

    std::uint64_t tokens() const { return tokens_; }

    /// Fills `out` with the tokens from `offset` on. Errors: data_invalid (beyond the end), io_error.
    Result<void> read(std::uint64_t offset, std::span<std::uint16_t> out) const;

  private:
    TokenShard(int descriptor, std::uint64_t tokens) : descriptor_(descriptor), tokens_(tokens) {}
    int descriptor_ = -1;
    std::uint64_t tokens_ = 0;
};

/// Sequences of `seq` tokens (and one target more) that a shard holds: 0, seq, 2 seq, ... as offsets.
inline std::uint64_t sequences_in(std::uint64_t tokens, std::uint32_t seq) {
    return tokens == 0 ? 0 : (tokens - 1) / seq;
}

}  // namespace skerry::node
