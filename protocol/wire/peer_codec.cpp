#include "protocol/wire/peer_codec.hpp"

#include "protocol/wire/frame_rules.hpp"
#include "protocol/wire/limits.hpp"
#include "protocol/wire/proto_fields.hpp"
#include "skerry/v1/peer.pb.h"

namespace skerry {
namespace {

void put(const ObjectRef& v, v1::ObjectRef& out) {
    out.set_kind(static_cast<std::uint32_t>(v.kind));
    out.set_step(v.step.value);
    out.set_id(to_field(v.id));
}

template <class Message>
void put_pieces(const std::vector<PieceIndex>& pieces, Message& out) {
    out.mutable_pieces()->Reserve(static_cast<int>(pieces.size()));
    for (PieceIndex p : pieces) out.add_pieces(p.value);
}

void put(const Get& v, v1::PeerEnvelope& out) {
    put(v.object, *out.mutable_get()->mutable_object());
    put_pieces(v.pieces, *out.mutable_get());
}
void put(const Later& v, v1::PeerEnvelope& out) {
    put(v.object, *out.mutable_later()->mutable_object());
    put_pieces(v.pieces, *out.mutable_later());
}
void put(const Gone& v, v1::PeerEnvelope& out) {
    auto& m = *out.mutable_gone();
    put(v.object, *m.mutable_object());
    put_pieces(v.pieces, m);
    m.set_reason(static_cast<std::uint32_t>(v.reason));
}
void put(const Data& v, v1::PeerEnvelope& out) {
    auto& m = *out.mutable_data();
    put(v.object, *m.mutable_object());
    m.set_piece(v.piece.value);
    for (const Digest& d : v.proof) m.add_proof(bytes_field(d.bytes));
    m.set_leaf(to_field(v.leaf));
    m.set_owner_signature(to_field(v.owner_signature));
    m.set_bytes(v.bytes);
}
void put(const Have& v, v1::PeerEnvelope& out) {
    put(v.object, *out.mutable_have()->mutable_object());
    out.mutable_have()->set_bitmap(bytes_field(v.bitmap));
}

ObjectRef read(FieldReader& in, const v1::ObjectRef& m) {
    ObjectRef v;
    v.kind = in.choice(m.kind(), ObjectKind::contribution, ObjectKind::shard);
    v.step = Step{m.step()};
    v.id = in.fixed<Digest>(m.id());
    return v;
}

PieceIndex read_piece(FieldReader& in, std::uint32_t piece) {
    in.check(piece < kMaxPieces, "a piece beyond the limit");
    return PieceIndex{piece};
}

template <class Message>
std::vector<PieceIndex> read_pieces(FieldReader& in, const Message& m) {
    std::vector<PieceIndex> out;
    out.reserve(static_cast<std::size_t>(m.pieces_size()));
    for (std::uint32_t p : m.pieces()) out.push_back(read_piece(in, p));
    in.check(!out.empty() && out.size() <= kMaxPiecesPerEnvelope, "no pieces, or too many");
    return out;
}

Data read(FieldReader& in, const v1::Data& m) {
    Data v;
    v.object = read(in, m.object());
    v.piece = read_piece(in, m.piece());
    for (const std::string& d : m.proof()) {
        in.check(d.size() == Digest::size(), "bytes of the wrong size");
        v.proof.push_back(in.fixed<Digest>(d));
    }
    v.leaf = in.fixed<Digest>(m.leaf());
    v.owner_signature = in.fixed<Signature>(m.owner_signature());
    v.bytes = m.bytes();
    in.check(v.bytes >= 1 && v.bytes <= kMaxBlockBytes, "a size beyond the limit");
    return v;
}

PeerBody read_body(FieldReader& in, const v1::PeerEnvelope& m) {
    switch (m.body_case()) {
        case v1::PeerEnvelope::kGet: return Get{read(in, m.get().object()), read_pieces(in, m.get())};
        case v1::PeerEnvelope::kLater: return Later{read(in, m.later().object()), read_pieces(in, m.later())};
        case v1::PeerEnvelope::kGone:
            return Gone{read(in, m.gone().object()), read_pieces(in, m.gone()),
                        in.choice(m.gone().reason(), GoneReason::superseded, GoneReason::unknown)};
        case v1::PeerEnvelope::kData: return read(in, m.data());
        case v1::PeerEnvelope::kHave:
            return Have{read(in, m.have().object()), in.bytes(m.have().bitmap(), kMaxPieces / 8)};
        case v1::PeerEnvelope::BODY_NOT_SET: break;
    }
    in.reject("a message of no known kind");
    return Get{};
}

}  // namespace

Result<Bytes> to_envelope(const PeerMessage& message) {
    v1::PeerEnvelope out;
    out.set_run(to_field(message.run));
    std::visit([&](const auto& body) { put(body, out); }, message.body);
    std::size_t size = out.ByteSizeLong();
    if (size > kMaxEnvelopeBytes) return fail(Errc::too_large, "envelope of " + std::to_string(size) + " bytes");
    Bytes frame(size);
    out.SerializeWithCachedSizesToArray(frame.data());
    return frame;
}

Result<PeerMessage> parse_envelope(ByteSpan frame) {
    if (frame.size() > kMaxEnvelopeBytes) return fail(Errc::too_large, "envelope of " + std::to_string(frame.size()) + " bytes");
    silence_protobuf();
    auto scanned = scan_message(frame, kPeerEnvelopeRule);
    if (!scanned) return fail(scanned.error());
    v1::PeerEnvelope in;
    if (!in.ParseFromArray(frame.data(), static_cast<int>(frame.size()))) return fail(Errc::malformed, "no envelope");
    FieldReader reader;
    PeerMessage out;
    out.run = reader.fixed<RunId>(in.run());
    out.body = read_body(reader, in);
    if (reader.why() != nullptr) return fail(Errc::malformed, std::string("envelope with ") + reader.why());
    return out;
}

std::vector<ByteSpan> to_data_frames(ByteSpan chunk) {
    std::vector<ByteSpan> frames;
    frames.reserve(data_frame_count(chunk.size()));
    while (!chunk.empty()) {
        frames.push_back(chunk.first(std::min(chunk.size(), kMaxDataFrame)));
        chunk = chunk.subspan(frames.back().size());
    }
    return frames;
}

std::size_t data_frame_count(std::size_t bytes) { return bytes / kMaxDataFrame + (bytes % kMaxDataFrame != 0); }

bool has_piece(const Have& have, PieceIndex piece) {
    std::size_t byte = piece.value / 8;
    return byte < have.bitmap.size() && (have.bitmap[byte] >> (piece.value % 8) & 1) != 0;
}

}  // namespace skerry
