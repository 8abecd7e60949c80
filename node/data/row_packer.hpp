#pragma once
// Examples into sequences of one length.

#include <cstdint>
#include <functional>
#include <vector>

#include "node/data/shard_writer.hpp"
#include "node/tokenizer/bpe.hpp"

namespace skerry::node {

/// Puts each example whole into the fullest of the open rows that has room for it (best fit over at most kOpenRows), so that none is
/// cut at a row's end. What is left of a row is padding, which is no target. Memory: kOpenRows rows. Order is a function of the input.
class RowPacker {
  public:
    static constexpr std::size_t kOpenRows = 64;

    /// Rows of `length` tokens go to `sink`; `pad` fills them.
    RowPacker(ShardWriter& sink, std::uint32_t length, std::uint64_t rows_per_shard, std::uint32_t pad);

    /// 1 to `length` tokens. Errors: those of ShardWriter.
    Result<void> add(const TokenIds& example);
    Result<void> finish();

    std::uint64_t rows() const { return rows_; }
    std::uint64_t padding() const { return padding_; }  ///< tokens

  private:
    Result<void> emit(std::size_t row);

    ShardWriter& sink_;
    std::uint32_t length_;
    std::uint64_t rows_per_shard_;
    std::uint32_t pad_;
    std::vector<TokenIds> open_;
    std::uint64_t rows_ = 0, in_shard_ = 0, padding_ = 0;
};

}  // namespace skerry::node
