#pragma once
// What is signed, and by whom: the service key signs bodies; nodes sign votes and result leaves.

#include "protocol/identity/keys.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry {

SignedBody sign_body(const KeyPair& service, Bytes body);
bool verify_body(const PublicKey& service, const SignedBody& body);

/// A vote: my disk holds the entry that makes the chain h_{k+1}. Tag "skerry/vote/1".
Signature sign_vote(const KeyPair& node, const Digest& h_after);
bool verify_vote(const PublicKey& node, const Digest& h_after, const Signature& signature);

/// An owner's word for one result piece. Tag "skerry/result/1".
Signature sign_result(const KeyPair& owner, const Digest& plan_digest, PieceIndex piece, const Digest& leaf);
bool verify_result(const PublicKey& owner, const Digest& plan_digest, PieceIndex piece, const Digest& leaf,
                   const Signature& signature);

}  // namespace skerry
