#pragma once
// Which parts of two images differ, for messages of tests.

#include <string>

#include "coordinator/core/rows.hpp"

namespace skerry::sim {

/// Empty: equal.
inline std::string difference(const coordinator::Image& a, const coordinator::Image& b) {
    if (a == b) return {};
    std::string out = "differ in:";
    if (a.run != b.run) out += " run";
    if (a.term != b.term) out += " term " + std::to_string(a.term.value) + "/" + std::to_string(b.term.value);
    if (a.meta != b.meta) out += " meta";
    if (a.tokens != b.tokens) out += " tokens";
    if (a.nodes != b.nodes) out += " nodes";
    if (a.leases != b.leases) out += " leases";
    if (a.free_ranges != b.free_ranges) out += " free_ranges";
    if (a.plan != b.plan) out += " plan";
    if (a.last_attempt != b.last_attempt) out += " last_attempt";
    if (a.head != b.head) out += " head " + std::to_string(a.head.value) + "/" + std::to_string(b.head.value);
    if (a.decisions != b.decisions) out += " decisions";
    if (a.rollbacks != b.rollbacks || a.first_change != b.first_change) out += " rollbacks";
    if (a.digests != b.digests) out += " digests";
    if (a.requests != b.requests)
        out += " requests " + std::to_string(a.requests.size()) + "/" + std::to_string(b.requests.size());
    return out;
}

}  // namespace skerry::sim
