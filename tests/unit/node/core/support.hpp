#pragma once
// What the tests of the node's core share: ids by number, a context with a small run, a roster of connected peers.

#include "node/core/chain.hpp"
#include "node/core/roster_book.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node::testing {

template <class Fixed>
Fixed numbered(std::uint8_t number) {
    Fixed out;
    out.bytes.fill(number);
    return out;
}

inline RosterEntry peer_entry(std::uint8_t number) {
    RosterEntry entry;
    entry.key = numbered<PublicKey>(number);
    entry.node = node_id_of(entry.key);
    entry.state = NodeState::current;
    entry.incarnation = Incarnation{1};
    entry.reachable = true;
    return entry;
}
inline NodeId peer_id(std::uint8_t number) { return peer_entry(number).node; }

inline Digest plan_of(std::uint8_t step) { return numbered<Digest>(static_cast<std::uint8_t>(50 + step)); }
inline Digest root_of(std::uint8_t step) { return numbered<Digest>(static_cast<std::uint8_t>(60 + step)); }

/// The decision that step `k` was committed, valid after those that the chain knows.
inline Decision committed(const Context& context, const Chain& chain, std::uint8_t k) {
    Decision decision;
    decision.run = context.manifest->run;
    decision.step = Step{k};
    decision.term = Term{1};
    decision.attempt = Attempt{1};
    decision.plan_digest = plan_of(k);
    decision.roots = {root_of(k)};
    decision.tokens_after = 10U * (k + 1U);
    decision.h_after = chain_next(chain.h(Step{k}), decision);
    return decision;
}

struct Bench {
    Context context;
    RosterBook roster{context};

    /// Peer 0 is ourselves; 1 .. peers are connected.
    explicit Bench(std::uint8_t peers = 3) {
        context.config.self = peer_id(0);
        context.config.window_bytes = 100;
        context.config.window_total_bytes = 1000;
        context.now = Mono(Millis(1000));
        Manifest manifest;
        manifest.elements = 8192;
        manifest.piece_elements = 4096;
        context.grid = {manifest.elements, manifest.piece_elements};
        context.manifest = manifest;
        adopt(peers, Epoch{1});
        for (std::uint8_t p = 1; p <= peers; ++p) roster.peer_up(peer_id(p));
        context.out.clear();
    }
    void adopt(std::uint8_t peers, Epoch epoch) {
        Roster body;
        body.epoch = epoch;
        for (std::uint8_t p = 0; p <= peers; ++p) body.nodes.push_back(peer_entry(p));
        std::sort(body.nodes.begin(), body.nodes.end(), [](const auto& a, const auto& b) { return a.node < b.node; });
        roster.adopt({to_bytes(body), {}});
    }
    /// Actions of one type since the last call, in order.
    template <class A>
    std::vector<A> take() {
        std::vector<A> out;
        for (Action& action : context.out)
            if (auto* a = std::get_if<A>(&action)) out.push_back(*a);
        context.out.clear();
        return out;
    }
    void pass(Millis time) { context.now += time; }
};

}  // namespace skerry::node::testing
