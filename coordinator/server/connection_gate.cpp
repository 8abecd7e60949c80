#include "coordinator/server/connection_gate.hpp"

#include <algorithm>
#include <cmath>

#include "protocol/base/assert.hpp"

namespace skerry::coordinator {
namespace {

double seconds(Mono from, Mono to) { return std::max(0.0, std::chrono::duration<double>(to - from).count()); }

}  // namespace

bool ConnectionGate::enter(const std::string& address, Mono now) {
    if (sources_.size() > kMaxAddresses) forget_quiet(now);
    double burst = std::max(1.0, 2 * limits_.new_per_address_per_s);
    auto [it, fresh] = sources_.try_emplace(address);
    Source& source = it->second;
    source.tokens = fresh ? burst : std::min(burst, source.tokens + limits_.new_per_address_per_s * seconds(source.filled, now));
    source.filled = now;
    bool ok = open_ < limits_.connections && source.open < limits_.per_address && source.tokens >= 1;
    if (!ok) {
        ++refused_;
        return false;
    }
    source.tokens -= 1;
    ++source.open;
    ++open_;
    return true;
}

void ConnectionGate::leave(const std::string& address) {
    auto it = sources_.find(address);
    SKERRY_ASSERT(it != sources_.end() && it->second.open > 0 && open_ > 0);
    --it->second.open;
    --open_;
}

// An address whose bucket is full again tells nothing.
void ConnectionGate::forget_quiet(Mono now) {
    double burst = std::max(1.0, 2 * limits_.new_per_address_per_s);
    std::erase_if(sources_, [&](const auto& item) {
        const Source& source = item.second;
        return source.open == 0 && source.tokens + limits_.new_per_address_per_s * seconds(source.filled, now) >= burst;
    });
    while (sources_.size() > kMaxAddresses) {
        auto quiet = std::find_if(sources_.begin(), sources_.end(), [](const auto& item) { return item.second.open == 0; });
        if (quiet == sources_.end()) return;
        sources_.erase(quiet);
    }
}

void RateLimit::fill(Mono now) {
    if (filled_ != Mono{}) tokens_ = std::min(burst_, tokens_ + per_s_ * seconds(filled_, now));
    filled_ = now;
}

bool RateLimit::try_take(double cost, Mono now) {
    fill(now);
    if (tokens_ < cost) return false;
    tokens_ -= cost;
    return true;
}

Millis RateLimit::take(double cost, Mono now) {
    fill(now);
    tokens_ -= cost;
    if (tokens_ >= 0) return Millis(0);
    return Millis(static_cast<Millis::rep>(std::ceil(-tokens_ / per_s_ * 1000.0)));
}

}  // namespace skerry::coordinator
