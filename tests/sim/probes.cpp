#include "tests/sim/probes.hpp"

#include <cstdio>

namespace skerry::sim {

namespace {
constexpr const char* kStateNames[] = {"COLLECT", "OPEN", "DECIDING", "HOLD", "PAUSED"};
constexpr const char* kPhaseNames[] = {"", "BEHIND", "WORK", "READY", "EXCHANGE", "PREPARED"};

template <class Visit>
void each_pair(std::size_t states, std::size_t phases, Visit visit) {
    for (std::size_t kind = 0; kind < kFaultKinds; ++kind) {
        for (std::size_t s = 0; s < states; ++s) visit(kind, s, false);
        for (std::size_t p = 1; p < phases; ++p) visit(kind, p, true);
    }
}
}  // namespace

void Probes::add(const Probes& other) {
    for (std::size_t kind = 0; kind < kFaultKinds; ++kind) {
        for (std::size_t s = 0; s < kStates; ++s) coordinator_[s][kind] += other.coordinator_[s][kind];
        for (std::size_t p = 0; p < kPhases; ++p) node_[p][kind] += other.node_[p][kind];
    }
}

double Probes::reached(std::uint64_t times) const {
    double all = 0;
    double met = 0;
    each_pair(kStates, kPhases, [&](std::size_t kind, std::size_t at, bool node) {
        all += 1;
        if ((node ? node_[at][kind] : coordinator_[at][kind]) >= times) met += 1;
    });
    return met / all;
}

std::string Probes::missing(std::uint64_t times) const {
    std::string out;
    each_pair(kStates, kPhases, [&](std::size_t kind, std::size_t at, bool node) {
        const auto count = node ? node_[at][kind] : coordinator_[at][kind];
        if (count >= times) return;
        out += std::string(" ") + (node ? kPhaseNames[at] : kStateNames[at]) + "/" +
               std::string(name_of(static_cast<FaultKind>(kind))) + "=" + std::to_string(count);
    });
    return out;
}

std::string Probes::table() const {
    char cell[64];
    std::string out;
    auto put = [&](const char* format, auto value) {
        std::snprintf(cell, sizeof cell, format, value);
        out += cell;
    };
    put("%-20s", "fault");
    for (const char* name : kStateNames) put("%9s", name);
    for (std::size_t p = 1; p < kPhases; ++p) put("%9s", kPhaseNames[p]);
    out += "\n";
    for (std::size_t kind = 0; kind < kFaultKinds; ++kind) {
        put("%-20s", std::string(name_of(static_cast<FaultKind>(kind))).c_str());
        for (std::size_t s = 0; s < kStates; ++s) put("%9llu", static_cast<unsigned long long>(coordinator_[s][kind]));
        for (std::size_t p = 1; p < kPhases; ++p) put("%9llu", static_cast<unsigned long long>(node_[p][kind]));
        out += "\n";
    }
    return out;
}

}  // namespace skerry::sim
