#include "node/trainer/torch/sampler.hpp"

#include <algorithm>
#include <cmath>

namespace skerry::node {

double Sampler::uniform() {
    random_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = random_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

void Sampler::candidates(std::span<const float> logits, float top) {
    left_.clear();
    for (std::size_t i = 0; i < logits.size(); ++i) left_.emplace_back(std::exp((logits[i] - top) / how_.temperature), static_cast<std::uint32_t>(i));
    if (how_.top_k == 0 && how_.top_p >= 1) return;
    const auto likelier = [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; };
    const std::size_t most = how_.top_k == 0 ? left_.size() : std::min<std::size_t>(how_.top_k, left_.size());
    std::partial_sort(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(most), left_.end(), likelier);
    left_.resize(most);
    double sum = 0, reached = 0;
    for (const auto& [weight, id] : left_) sum += weight;
    std::size_t keep = 0;
    while (keep < left_.size() && (keep == 0 || reached < how_.top_p * sum)) reached += left_[keep++].first;
    left_.resize(keep);
}

std::uint32_t Sampler::choose(std::span<const float> logits) {
    const auto top = std::max_element(logits.begin(), logits.end());
    if (how_.temperature <= 0) return static_cast<std::uint32_t>(top - logits.begin());
    candidates(logits, *top);
    double sum = 0;
    for (const auto& [weight, id] : left_) sum += weight;
    double left = uniform() * sum;
    for (const auto& [weight, id] : left_) {
        left -= weight;
        if (left <= 0) return id;
    }
    return left_.back().second;
}

}  // namespace skerry::node
