#pragma once
// Every size that the outside can make us allocate.

#include <cstddef>
#include <cstdint>

namespace skerry {

// Control frames (node and coordinator, command line and agent).
inline constexpr std::size_t kMaxFrameBeforeWelcome = 16 * 1024;
inline constexpr std::size_t kMaxFrame = 1024 * 1024;
inline constexpr std::size_t kMaxShardBlockBytes = 512 * 1024;
inline constexpr std::size_t kMaxAdminBlockBytes = 512 * 1024;
inline constexpr std::size_t kMaxFrameHeader = 4;
inline constexpr std::size_t kMaxCertificateList = 16 * 1024;

// Data plane.
inline constexpr std::size_t kMaxEnvelopeBytes = 64 * 1024;
inline constexpr std::size_t kMaxDataFrame = 1024 * 1024;
inline constexpr std::size_t kMaxZmqMessage = kMaxDataFrame + 4096;  ///< transport limit, before authentication
inline constexpr std::size_t kMaxChunkBytes = 64 + 4 * (std::size_t{1} << 20);  ///< F32 chunk of a full piece
inline constexpr std::size_t kMaxBlockBytes = 8 * 1024 * 1024;  ///< leaf lists, plan bodies, snapshot pieces
inline constexpr std::uint32_t kMaxPiecesPerEnvelope = 8192;
inline constexpr std::uint32_t kMaxProof = 40;

// Counts in bodies and messages.
inline constexpr std::uint32_t kMaxNodes = 1024;       ///< roster, members, participants, voters
inline constexpr std::uint32_t kMaxAddresses = 8;
inline constexpr std::uint32_t kMaxSegments = 256;     ///< of one participant
inline constexpr std::uint32_t kMaxLeases = 1024;      ///< of one node
inline constexpr std::uint32_t kMaxPieces = 1U << 17;  ///< 2^37 elements at full pieces
inline constexpr std::uint32_t kMaxTensors = 16384;
inline constexpr std::uint32_t kMaxDimensions = 8;
inline constexpr std::uint32_t kMaxStages = 256;
inline constexpr std::uint32_t kMaxDecisionsPerFrame = 64;
inline constexpr std::uint32_t kMaxDigestsPerReport = 4;
inline constexpr std::uint32_t kMaxSnapshotsPerReport = 16;
inline constexpr std::uint32_t kMaxRequests = 64;
inline constexpr std::uint32_t kMaxAgreedDigests = 256;
inline constexpr std::uint32_t kMaxHeldPlans = 4;
inline constexpr std::uint32_t kMaxShardSources = 16;
inline constexpr std::size_t kMaxShardBitmap = 1024;  ///< more files than a data manifest has room for
inline constexpr std::size_t kMaxShardBlockHashes = 32 * 16384;  ///< bytes: of shards up to 8 GiB

// Texts and small byte strings.
inline constexpr std::size_t kMaxName = 64;
inline constexpr std::size_t kMaxTensorName = 256;
inline constexpr std::size_t kMaxHost = 255;
inline constexpr std::size_t kMaxReason = 1024;
inline constexpr std::size_t kMaxTicket = 4096;
inline constexpr std::size_t kMaxModelJson = 64 * 1024;
inline constexpr std::size_t kMaxManifestBytes = 512 * 1024;
inline constexpr std::size_t kMaxDataManifest = 256 * 1024;
inline constexpr std::size_t kMaxEvidence = 64 * 1024;
inline constexpr std::size_t kMaxAdminJson = 768 * 1024;

}  // namespace skerry
