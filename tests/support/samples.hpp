#pragma once
// One valid value of every body and message, with every field set: for golden bytes, codecs and fuzz corpora.

#include <string>
#include <utility>
#include <vector>

#include "protocol/identity/keys.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::test {

/// Bytes that count up from `first`.
template <class Fixed>
Fixed counting(std::uint8_t first) {
    Fixed out;
    for (auto& b : out.bytes) b = first++;
    return out;
}

/// Three keys of fixed seeds, ascending by id.
std::vector<KeyPair> sample_keys();

Manifest sample_manifest();
Roster sample_roster();
Plan sample_plan();
Decision sample_decision();

/// One of each alternative of ControlBody and PeerBody, by name.
std::vector<std::pair<std::string, ControlMessage>> sample_control_messages();
std::vector<std::pair<std::string, PeerMessage>> sample_peer_messages();

}  // namespace skerry::test
