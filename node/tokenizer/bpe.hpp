#pragma once
// Byte-pair encoding of one piece: bytes to token ids.

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "node/tokenizer/tokenizer_file.hpp"

namespace skerry::node {

using TokenIds = std::vector<std::uint32_t>;

/// Vocabulary and merges, ready to be looked up. Immutable.
class BpeTable {
  public:
    explicit BpeTable(const TokenizerFile& file);

    struct Rule {
        std::uint32_t rank, made;
    };
    static constexpr std::uint32_t kNoRank = ~std::uint32_t{0};
    /// What becomes of two neighbours; rank kNoRank: nothing.
    Rule rule(std::uint32_t left, std::uint32_t right) const;
    /// Whether a piece that is a token as a whole is that token.
    bool whole_first() const { return whole_first_; }
    static constexpr std::uint32_t kNoToken = ~std::uint32_t{0};
    std::uint32_t token_of(std::string_view bytes) const;
    std::uint32_t token_of(std::uint8_t byte) const { return of_byte_[byte]; }

  private:
    struct Slot {
        std::uint64_t pair = kFree;
        Rule rule{kNoRank, 0};
    };
    static constexpr std::uint64_t kFree = ~std::uint64_t{0};
    std::vector<Slot> rules_;               ///< open addressing, at most half full
    std::vector<std::uint32_t> whole_;      ///< likewise: ids, by the hash of their bytes
    std::vector<std::string> bytes_;        ///< by id; only where `whole_first_`
    bool whole_first_ = false;
    std::uint32_t of_byte_[256] = {};
};

/// Merges pieces; keeps scratch space and the pieces it met last. Not thread-safe.
///
/// The lowest rank first, of equal ones the leftmost. Up to kShort bytes by looking at all neighbours each time, longer ones
/// with a heap: O(n log n).
class BpeEncoder {
  public:
    explicit BpeEncoder(const BpeTable& table);
    /// Appends the tokens of `piece`, which is not empty.
    void encode(std::string_view piece, TokenIds& out);

  private:
    static constexpr std::size_t kShort = 48;
    static constexpr std::size_t kCachedBytes = 22, kCachedIds = 10;
    /// A cache line: what words are like.
    struct Cached {
        std::uint8_t bytes = 0, ids = 0;
        char text[kCachedBytes] = {};
        std::uint32_t id[kCachedIds] = {};
    };
    static constexpr std::size_t kCacheSlots = 1U << 15;

    void merge(std::string_view piece, TokenIds& out);
    void merge_short(std::string_view piece, TokenIds& out);
    void merge_long(std::string_view piece, TokenIds& out);

    struct Symbol {
        std::uint32_t id, before, after;  ///< neighbours by index; kNone at the ends
    };
    struct Candidate {
        std::uint32_t rank, at, left, right;
        bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
    };
    static constexpr std::uint32_t kNone = ~std::uint32_t{0};
    void offer(std::uint32_t at);

    const BpeTable& table_;
    std::vector<Cached> cache_;
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
};

}  // namespace skerry::node
