#include "node/trainer/train_config.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace skerry::node {
namespace {

using Json = nlohmann::json;

Fail invalid(const std::string& key, const std::string& what) {
    return fail(Errc::config_invalid, "train." + key + ": " + what);
}

struct NumberKey {
    const char* name;
    double TrainConfig::*field;
    double low, high;
};
constexpr NumberKey kNumbers[] = {
    {"lr", &TrainConfig::lr, 0, 100},
    {"min_lr", &TrainConfig::min_lr, 0, 100},
    {"beta1", &TrainConfig::beta1, 0, 0.999999},
    {"beta2", &TrainConfig::beta2, 0, 0.999999},
    {"eps", &TrainConfig::eps, 1e-20, 1},
    {"weight_decay", &TrainConfig::weight_decay, 0, 100},
    {"clip", &TrainConfig::clip, 0, 1e9},
    {"muon_lr", &TrainConfig::muon_lr, 0, 100},
    {"muon_momentum", &TrainConfig::muon_momentum, 0, 0.999999},
};

struct CountKey {
    const char* name;
    std::uint64_t TrainConfig::*field;
};
constexpr std::uint64_t kMaxCount = std::uint64_t{1} << 53;
constexpr CountKey kCounts[] = {
    {"warmup_tokens", &TrainConfig::warmup_tokens},
    {"decay_tokens", &TrainConfig::decay_tokens},
    {"total_tokens", &TrainConfig::total_tokens},
    {"seed", &TrainConfig::seed},
};

struct SizeKey {
    const char* name;
    std::uint32_t TrainConfig::*field;
    std::uint32_t least, limit;
};
constexpr SizeKey kSizes[] = {
    {"batch", &TrainConfig::batch, 1, 1U << 16},
    {"seq", &TrainConfig::seq, 1, 1U << 20},
    {"micro_batch", &TrainConfig::micro_batch, 0, 1U << 16},
};

constexpr const char* kSchedules[] = {"wsd", "cosine", "constant"};
constexpr const char* kPrecisions[] = {"fp32", "bf16", "auto"};
constexpr const char* kOptimizers[] = {"adamw", "muon"};
constexpr const char* kRecompute[] = {"auto", "none", "attention", "layers"};
constexpr const char* kPaths[] = {"auto", "fast", "autograd", "cuda"};

template <class Enum, std::size_t N>
Result<Enum> named(std::string_view name, const char* const (&names)[N]) {
    std::string known;
    for (std::size_t i = 0; i < N; ++i) {
        if (name == names[i]) return static_cast<Enum>(i);
        known += std::string(i == 0 ? "" : i + 1 < N ? ", " : " or ") + names[i];
    }
    return fail(Errc::usage, "expected " + known);
}

template <class Enum, std::size_t N>
Result<void> choose(Enum& out, const std::string& key, const Json& value, const char* const (&names)[N]) {
    auto chosen = named<Enum>(value.is_string() ? value.get_ref<const std::string&>() : "", names);
    if (!chosen) return invalid(key, chosen.error().detail);
    out = *chosen;
    return {};
}

Result<bool> number_key(TrainConfig& out, const std::string& key, const Json& value) {
    for (const auto& k : kNumbers) {
        if (key != k.name) continue;
        if (!value.is_number()) return invalid(key, "expected a number");
        out.*k.field = value.get<double>();
        return true;
    }
    for (const auto& k : kCounts) {
        if (key != k.name) continue;
        if (!value.is_number_integer() || value < 0 || value > kMaxCount)
            return invalid(key, "expected a count below 2^53");
        out.*k.field = value.get<std::uint64_t>();
        return true;
    }
    for (const auto& k : kSizes) {
        if (key != k.name) continue;
        if (!value.is_number_integer() || value < k.least || value > k.limit)
            return invalid(key, "expected an integer from " + std::to_string(k.least) + " to " + std::to_string(k.limit));
        out.*k.field = value.get<std::uint32_t>();
        return true;
    }
    return false;
}

Result<void> set_key(TrainConfig& out, const std::string& key, const Json& value) {
    if (key == "schedule") return choose(out.schedule, key, value, kSchedules);
    if (key == "precision") return choose(out.precision, key, value, kPrecisions);
    if (key == "optimizer") return choose(out.optimizer, key, value, kOptimizers);
    if (key == "recompute") return choose(out.recompute, key, value, kRecompute);
    auto known = number_key(out, key, value);
    if (!known) return fail(known.error());
    if (!*known) return invalid(key, "unknown key");
    return {};
}

}  // namespace

Result<void> check(const TrainConfig& c) {
    for (const auto& k : kSizes) {
        if (c.*k.field < k.least || c.*k.field > k.limit)
            return invalid(k.name, "expected an integer from " + std::to_string(k.least) + " to " + std::to_string(k.limit));
    }
    for (const auto& k : kNumbers) {
        const double v = c.*k.field;
        if (!std::isfinite(v) || v < k.low || v > k.high) return invalid(k.name, "out of range");
    }
    if (c.schedule != Schedule::constant && c.total_tokens == 0)
        return invalid("total_tokens", "needed by this schedule");
    if (c.schedule == Schedule::wsd && c.warmup_tokens + c.decay_tokens > c.total_tokens)
        return invalid("decay_tokens", "warm-up and decay are longer than the total");
    return {};
}

Result<TrainConfig> parse_train_config(std::string_view text) {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return fail(Errc::config_invalid, "train: not a JSON object");
    TrainConfig out;
    for (const auto& [key, value] : json.items()) {
        auto set = set_key(out, key, value);
        if (!set) return fail(set.error());
    }
    auto good = check(out);
    if (!good) return fail(good.error());
    return out;
}

Result<TrainConfig> with_choice(TrainConfig run, const TrainerChoice& own) {
    if (own.precision != Precision::automatic) {
        if (run.precision != Precision::automatic && run.precision != own.precision)
            return fail(Errc::config_invalid, "[trainer] precision is " + std::string(to_name(own.precision)) + " in node.toml, but the run computes in " +
                                                  to_name(run.precision), "take the line out of node.toml, or join a run whose precision is \"auto\"");
        run.precision = own.precision;
    }
    if (own.micro_batch != 0) run.micro_batch = run.micro_batch == 0 ? own.micro_batch : std::min(run.micro_batch, own.micro_batch);
    if (own.recompute != Recompute::automatic) run.recompute = own.recompute;
    return run;
}

const char* to_name(Recompute value) { return kRecompute[static_cast<int>(value)]; }
const char* to_name(Precision value) { return kPrecisions[static_cast<int>(value)]; }
const char* to_name(TrainerPath value) { return kPaths[static_cast<int>(value)]; }
Result<Recompute> parse_recompute(std::string_view name) { return named<Recompute>(name, kRecompute); }
Result<Precision> parse_precision(std::string_view name) { return named<Precision>(name, kPrecisions); }
Result<TrainerPath> parse_path(std::string_view name) { return named<TrainerPath>(name, kPaths); }

std::string to_json(const TrainConfig& c) {
    nlohmann::ordered_json json;
    for (const auto& k : kSizes) json[k.name] = c.*k.field;
    for (const auto& k : kNumbers) json[k.name] = c.*k.field;
    json["schedule"] = kSchedules[static_cast<int>(c.schedule)];
    for (const auto& k : kCounts) json[k.name] = c.*k.field;
    json["precision"] = kPrecisions[static_cast<int>(c.precision)];
    // These came later: an older trainer reads a run that does not use them.
    if (c.micro_batch == 0) json.erase("micro_batch");
    if (c.recompute != Recompute::automatic) json["recompute"] = kRecompute[static_cast<int>(c.recompute)];
    if (c.optimizer == InnerOptimizer::muon) json["optimizer"] = kOptimizers[1];
    const TrainConfig usual;
    if (c.muon_lr == usual.muon_lr) json.erase("muon_lr");
    if (c.muon_momentum == usual.muon_momentum) json.erase("muon_momentum");
    return json.dump();
}

double learning_rate(const TrainConfig& c, std::uint64_t tokens) {
    const auto t = static_cast<double>(tokens);
    if (tokens < c.warmup_tokens) return c.lr * (t / static_cast<double>(c.warmup_tokens));
    if (c.schedule == Schedule::constant) return c.lr;
    if (tokens >= c.total_tokens) return c.min_lr;

    const double left = static_cast<double>(c.total_tokens) - t;
    if (c.schedule == Schedule::wsd) {
        if (c.decay_tokens == 0) return c.lr;
        const double part = std::min(1.0, left / static_cast<double>(c.decay_tokens));
        return c.min_lr + (c.lr - c.min_lr) * part;
    }
    const double span = static_cast<double>(c.total_tokens - c.warmup_tokens);
    const double angle = (1.0 - left / span) * 3.14159265358979323846;
    return c.min_lr + (c.lr - c.min_lr) * 0.5 * (1.0 + std::cos(angle));
}

}  // namespace skerry::node
