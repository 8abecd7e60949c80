#pragma once
// What all parts of the node's core share: the time of the event being handled, the actions it led to so far, the
// run's fixed facts and the coordinator's last word.

#include <optional>
#include <string>
#include <utility>

#include "node/core/node_core.hpp"
#include "protocol/rules/piece_grid.hpp"

namespace skerry::node {

struct Context {
    NodeConfig config;
    Mono now;
    Actions out;

    std::optional<Manifest> manifest;
    Digest manifest_digest;
    PieceGrid grid;

    /// As last heard (without roster, plan and decisions), and when.
    Orders orders;
    Mono orders_at;
    bool heard_orders = false;

    OpId new_op() { return OpId{++last_op_}; }

    template <class A>
    void emit(A action) {
        out.emplace_back(std::move(action));
    }
    void note(std::string text, bool warning = false) { emit(Note{std::move(text), warning}); }

    Millis edge_patience() const {
        return orders.edge_patience_ms > 0 ? Millis(orders.edge_patience_ms) : config.default_edge_patience;
    }
    const NodeId& self() const { return config.self; }

  private:
    std::uint64_t last_op_ = 0;
};

}  // namespace skerry::node
