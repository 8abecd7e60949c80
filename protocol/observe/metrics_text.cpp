#include "protocol/observe/metrics_text.hpp"

#include <cmath>
#include <cstdio>

namespace skerry {
namespace {

std::string escaped(std::string_view text, bool label) {
    std::string out;
    for (char c : text) {
        if (c == '\\') out += "\\\\";
        else if (c == '\n') out += "\\n";
        else if (c == '"' && label) out += "\\\"";
        else out.push_back(c);
    }
    return out;
}

std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", value);
    char brief[40];
    std::snprintf(brief, sizeof brief, "%.9g", value);
    double back = 0;
    std::sscanf(brief, "%lf", &back);
    return back == value ? brief : text;
}

}  // namespace

void SecondsHistogram::observe(double seconds) {
    ++count_;
    sum_ += seconds;
    for (std::size_t i = 0; i < kBounds.size(); ++i) {
        if (seconds > kBounds[i]) continue;
        ++buckets_[i];
        return;
    }
}

void MetricsText::family(const MetricFamily& family) {
    constexpr std::string_view kKinds[] = {"counter", "gauge", "histogram"};
    name_ = family.name;
    text_ += "# HELP " + name_ + " " + escaped(family.help, false) + "\n";
    text_ += "# TYPE " + name_ + " " + std::string(kKinds[static_cast<int>(family.kind)]) + "\n";
}

void MetricsText::line(std::string_view name, std::string_view suffix, const MetricLabels& labels, const std::string& value) {
    text_ += std::string(name) + std::string(suffix);
    if (!labels.empty()) {
        text_ += "{";
        bool first = true;
        for (const auto& [key, text] : labels) {
            if (!std::exchange(first, false)) text_ += ",";
            text_ += std::string(key) + "=\"" + escaped(text, true) + "\"";
        }
        text_ += "}";
    }
    text_ += " " + value + "\n";
}

void MetricsText::sample(double value, const MetricLabels& labels) { line(name_, "", labels, number(value)); }
void MetricsText::sample(std::uint64_t value, const MetricLabels& labels) { line(name_, "", labels, std::to_string(value)); }

void MetricsText::sample(const SecondsHistogram& histogram, const MetricLabels& labels) {
    std::uint64_t below = 0;
    MetricLabels with = labels;
    with.emplace_back("le", "");
    for (std::size_t i = 0; i < SecondsHistogram::kBounds.size(); ++i) {
        below += histogram.buckets_[i];
        with.back().second = number(SecondsHistogram::kBounds[i]);
        line(name_, "_bucket", with, std::to_string(below));
    }
    with.back().second = "+Inf";
    line(name_, "_bucket", with, std::to_string(histogram.count_));
    line(name_, "_sum", labels, number(histogram.sum_));
    line(name_, "_count", labels, std::to_string(histogram.count_));
}

void MetricsText::states(std::string_view label, const std::vector<std::string_view>& words, std::string_view now, const MetricLabels& labels) {
    MetricLabels with = labels;
    with.emplace_back(label, "");
    for (std::string_view word : words) {
        with.back().second = word;
        sample(std::uint64_t{word == now}, with);
    }
}

}  // namespace skerry
