#include "protocol/wire/signatures.hpp"

namespace skerry {
namespace {

constexpr std::string_view kVoteTag = "skerry/vote/1";
constexpr std::string_view kResultTag = "skerry/result/1";

Bytes result_fields(const Digest& plan_digest, PieceIndex piece, const Digest& leaf) {
    ByteWriter fields;
    fields.id(plan_digest);
    fields.id(piece);
    fields.id(leaf);
    return fields.take();
}

}  // namespace

SignedBody sign_body(const KeyPair& service, Bytes body) {
    Signature signature = service.sign(body);
    return {std::move(body), signature};
}

bool verify_body(const PublicKey& service, const SignedBody& body) {
    return verify(service, body.body, body.signature);
}

Signature sign_vote(const KeyPair& node, const Digest& h_after) { return node.sign(kVoteTag, h_after.bytes); }

bool verify_vote(const PublicKey& node, const Digest& h_after, const Signature& signature) {
    return verify(node, kVoteTag, h_after.bytes, signature);
}

Signature sign_result(const KeyPair& owner, const Digest& plan_digest, PieceIndex piece, const Digest& leaf) {
    return owner.sign(kResultTag, result_fields(plan_digest, piece, leaf));
}

bool verify_result(const PublicKey& owner, const Digest& plan_digest, PieceIndex piece, const Digest& leaf,
                   const Signature& signature) {
    return verify(owner, kResultTag, result_fields(plan_digest, piece, leaf), signature);
}

}  // namespace skerry
