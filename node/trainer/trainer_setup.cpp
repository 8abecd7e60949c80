#include "node/trainer/trainer_setup.hpp"

#include "node/trainer/trainer_fields.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

struct TextKey {
    const char* name;
    std::string TrainerSetup::*field;
};
constexpr TextKey kTexts[] = {{"path", &TrainerSetup::path},         {"device", &TrainerSetup::device},   {"precision", &TrainerSetup::precision},
                              {"products", &TrainerSetup::products}, {"kernels", &TrainerSetup::kernels}, {"recompute", &TrainerSetup::recompute}};

struct CountKey {
    const char* name;
    std::uint64_t TrainerSetup::*field;
};
constexpr CountKey kCounts[] = {{"gflops", &TrainerSetup::gflops},
                                {"threads", &TrainerSetup::threads},
                                {"micro_batch", &TrainerSetup::micro_batch},
                                {"memory_bytes", &TrainerSetup::memory_bytes}};

constexpr std::size_t kLongest = 64;  // a foreign trainer's words

}  // namespace

void take(TrainerSetup& setup, std::string_view json) {
    const Json object = Json::parse(json, nullptr, false);
    if (!object.is_object()) return;
    for (const TextKey& key : kTexts)
        if (object.contains(key.name)) setup.*key.field = text_or(object, key.name).substr(0, kLongest);
    for (const CountKey& key : kCounts) setup.*key.field = count_or(object, key.name, setup.*key.field);
}

std::string to_json(const TrainerSetup& setup) {
    Json out;
    for (const TextKey& key : kTexts) out[key.name] = setup.*key.field;
    for (const CountKey& key : kCounts) out[key.name] = setup.*key.field;
    return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_text(const TrainerSetup& s) {
    std::string out;
    const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
    if (!s.path.empty()) add(s.path + " path" + (s.device.empty() ? "" : " on " + s.device));
    if (!s.precision.empty()) add(s.precision);
    if (!s.products.empty()) add(s.products + " products at " + std::to_string(s.gflops) + " GFLOP/s");
    if (!s.kernels.empty()) add(s.kernels + " kernels");
    if (s.threads > 0) add(std::to_string(s.threads) + (s.threads == 1 ? " thread" : " threads"));
    if (s.micro_batch > 0) add("micro-batch " + std::to_string(s.micro_batch));
    if (!s.recompute.empty() && s.recompute != "none") add(s.recompute + " computed again");
    if (s.memory_bytes > 0) add("about " + std::to_string(s.memory_bytes >> 20) + " MiB");
    return out;
}

}  // namespace skerry::node
