#pragma once
// Data-plane messages <-> the envelope frame. The chunk of a Data message follows in frames of its own:
// none of it passes through here. Pure, any thread.

#include "protocol/wire/messages.hpp"

namespace skerry {

/// Errors: too_large beyond 64 KiB or limits.hpp's counts (split the pieces over several messages).
Result<Bytes> to_envelope(const PeerMessage& message);

/// Errors: too_large, malformed. Pieces are below kMaxPieces, a Data's size is at most kMaxBlockBytes.
Result<PeerMessage> parse_envelope(ByteSpan frame);

/// How the bytes of a chunk are cut: all frames kMaxDataFrame but the last.
std::vector<ByteSpan> to_data_frames(ByteSpan chunk);
std::size_t data_frame_count(std::size_t bytes);

/// Bit p of byte p/8.
bool has_piece(const Have& have, PieceIndex piece);

}  // namespace skerry
