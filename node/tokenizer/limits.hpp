#pragma once
// What a stranger's tokenizer.json, and a text, may make us allocate.

#include <cstddef>
#include <cstdint>

namespace skerry::node {

inline constexpr std::size_t kMaxTokenizerBytes = std::size_t{64} << 20;  ///< of tokenizer.json
/// Of its JSON values, counted before they are parsed; the largest known files have under a million.
inline constexpr std::size_t kMaxTokenizerValues = std::size_t{4} << 20;
inline constexpr std::uint32_t kMaxVocab = 1U << 20;  ///< ids are below
inline constexpr std::size_t kMaxMerges = std::size_t{1} << 20;
inline constexpr std::size_t kMaxTokenBytes = 4096;  ///< of one token of the vocabulary
inline constexpr std::size_t kMaxAddedTokens = 16384;
inline constexpr std::size_t kMaxAddedBytes = 512;  ///< of one added token
inline constexpr std::size_t kMaxPatterns = 8;
inline constexpr std::size_t kMaxPatternBytes = 4096;
inline constexpr std::size_t kMaxTemplateTokens = 64;  ///< around a text, each side

/// The longest text that is merged as one: what the split patterns leave in one piece.
inline constexpr std::size_t kMaxPieceBytes = std::size_t{1} << 20;
/// Combining marks in a row; sorting them takes quadratic time. Unicode's own stream-safe format allows 30.
inline constexpr std::size_t kMaxMarksInARow = 1024;
/// Steps of one search for a split; real patterns need some tens for each character of a piece.
inline constexpr std::uint32_t kMaxMatchSteps = 10'000'000;
inline constexpr std::size_t kMaxMatchStackBytes = std::size_t{4} << 20;

}  // namespace skerry::node
