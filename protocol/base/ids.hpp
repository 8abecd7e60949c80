#pragma once
// Ids and counters as types of their own, so that two of them cannot be swapped.

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

namespace skerry {

/// A number with a meaning. Ordered and hashable; arithmetic only where a counter needs it.
template <class Tag, class Rep = std::uint64_t>
struct Strong {
    Rep value{};
    friend auto operator<=>(const Strong&, const Strong&) = default;
    Strong next() const { return Strong{static_cast<Rep>(value + 1)}; }
};

using Step = Strong<struct StepTag>;                ///< outer step k; entry k takes S_k to S_{k+1}
using Term = Strong<struct TermTag>;                ///< +1 at each start of the coordinator
using Epoch = Strong<struct EpochTag>;              ///< roster version
using Incarnation = Strong<struct IncarnationTag>;  ///< +1 for each new process of a node
using LeaseId = Strong<struct LeaseTag>;            ///< never reused: it is the fence
using Attempt = Strong<struct AttemptTag, std::uint32_t>;
using PieceIndex = Strong<struct PieceTag, std::uint32_t>;

/// A fixed-size byte string that is compared, ordered and printed as hex.
template <class Tag, std::size_t N>
struct FixedBytes {
    std::array<std::uint8_t, N> bytes{};
    friend auto operator<=>(const FixedBytes&, const FixedBytes&) = default;
    static constexpr std::size_t size() { return N; }
    bool is_zero() const { return *this == FixedBytes{}; }
    std::string hex() const {
        static constexpr char kDigits[] = "0123456789abcdef";
        std::string out;
        out.reserve(2 * N);
        for (std::uint8_t b : bytes) {
            out.push_back(kDigits[b >> 4]);
            out.push_back(kDigits[b & 15]);
        }
        return out;
    }
    /// First eight hex digits, for people.
    std::string short_hex() const { return hex().substr(0, 8); }
};

using Digest = FixedBytes<struct DigestTag, 32>;        ///< SHA-256 or a Merkle root
using NodeId = FixedBytes<struct NodeIdTag, 32>;        ///< SHA-256 of the node's SubjectPublicKeyInfo
using RunId = FixedBytes<struct RunIdTag, 16>;
using BootId = FixedBytes<struct BootIdTag, 16>;        ///< random, one for each process start
using Signature = FixedBytes<struct SignatureTag, 64>;  ///< Ed25519
using CurveKey = FixedBytes<struct CurveKeyTag, 32>;    ///< X25519 public key of the data plane
using PublicKey = FixedBytes<struct PublicKeyTag, 32>;  ///< raw Ed25519 public key

}  // namespace skerry

template <class Tag, class Rep>
struct std::hash<skerry::Strong<Tag, Rep>> {
    std::size_t operator()(const skerry::Strong<Tag, Rep>& v) const noexcept {
        return std::hash<Rep>{}(v.value);
    }
};
template <class Tag, std::size_t N>
struct std::hash<skerry::FixedBytes<Tag, N>> {
    std::size_t operator()(const skerry::FixedBytes<Tag, N>& v) const noexcept {
        std::size_t h = 0;  // the bytes are digests or random: a prefix is a hash
        std::memcpy(&h, v.bytes.data(), sizeof h < N ? sizeof h : N);
        return h;
    }
};
