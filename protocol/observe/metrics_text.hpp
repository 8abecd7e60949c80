#pragma once
// Prometheus' text format, version 0.0.4: what /metrics answers. Pure.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skerry {

enum class MetricKind { counter, gauge, histogram };

/// A family as docs/metrics.md lists it. Names: `skerry_`, base units, a unit suffix, `_total` for counters.
struct MetricFamily {
    std::string_view name;
    MetricKind kind = MetricKind::gauge;
    std::string_view help;
};

using MetricLabels = std::vector<std::pair<std::string_view, std::string>>;

/// Counts of observations by upper bound, in seconds. Not thread-safe.
class SecondsHistogram {
  public:
    static constexpr std::array<double, 14> kBounds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 1800};
    void observe(double seconds);
    std::uint64_t count() const { return count_; }

  private:
    friend class MetricsText;
    std::array<std::uint64_t, kBounds.size()> buckets_{};  ///< of this bound alone
    std::uint64_t count_ = 0;
    double sum_ = 0;
};

/// Builds a page, family by family: `family` first, then its samples.
class MetricsText {
  public:
    void family(const MetricFamily& family);
    void sample(double value, const MetricLabels& labels = {});
    void sample(std::uint64_t value, const MetricLabels& labels = {});
    void sample(const SecondsHistogram& histogram, const MetricLabels& labels = {});
    /// One sample of 0 or 1 for every word: a state set.
    void states(std::string_view label, const std::vector<std::string_view>& words, std::string_view now, const MetricLabels& labels = {});
    /// A family with one sample.
    template <class Value>
    void single(const MetricFamily& one, const Value& value, const MetricLabels& labels = {}) {
        family(one);
        sample(value, labels);
    }

    const std::string& text() const { return text_; }

  private:
    void line(std::string_view name, std::string_view suffix, const MetricLabels& labels, const std::string& value);
    std::string text_;
    std::string name_;
};

}  // namespace skerry
