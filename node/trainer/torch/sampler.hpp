#pragma once
// Which token comes next, by its logits. No torch.

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace skerry::node {

struct Sampling {
    double temperature = 0.8;   ///< 0: always the likeliest
    std::uint32_t top_k = 0;    ///< only so many of the likeliest; 0: all
    double top_p = 1;           ///< only the likeliest whose probabilities reach this together; 1: all
};

/// Equal seeds give equal draws. Ties go to the smaller id.
class Sampler {
  public:
    Sampler(const Sampling& how, std::uint64_t seed) : how_(how), random_(seed) {}
    std::uint32_t choose(std::span<const float> logits);

  private:
    double uniform();
    /// The likeliest in falling order, as many as top_k and top_p leave. Their weights are not normalised.
    void candidates(std::span<const float> logits, float top);

    Sampling how_;
    std::uint64_t random_;
    std::vector<std::pair<double, std::uint32_t>> left_;  ///< weight, id
};

}  // namespace skerry::node
