#include "node/trainer/torch/oracle.hpp"

#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

#include "node/trainer/torch/inner_loop.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

/// Bad input to a test tool is said by exception and ends the program in main.
template <class T>
T must(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().detail);
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

Json read_order(const std::string& path) {
    std::ifstream in(path);
    return Json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
}

void read_floats(const std::string& path, std::span<float> out) {
    std::ifstream in(path, std::ios::binary);
    in.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size_bytes()));
    if (!in) throw std::runtime_error(path + ": too short");
}

void write_floats(const std::string& path, std::span<const float> data) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size_bytes()));
    if (!out.flush()) throw std::runtime_error(path + ": cannot write");
}

bool wants_bf16(const TrainConfig& train, const Setup& setup) {
    return train.precision == Precision::bf16 ||
           (train.precision == Precision::automatic && setup.bf16_is_faster);
}

void write_logits(const ModelConfig& model, const TrainConfig& train, bool bf16, bool in_float, const std::string& data,
                  std::uint64_t offset, std::span<float> theta, const std::string& out) {
    WorkspacePlan plan;
    plan.bf16 = bf16;
    plan.in_float = in_float;
    plan.seq = train.seq;
    plan.training = false;
    auto decoder = make_model(model, plan);
    std::vector<Bf16> shadow(theta.size());
    kernel_set<Bf16>().convert(theta.data(), shadow.data(), static_cast<long>(theta.size()));
    std::vector<std::uint32_t> raw(train.seq);
    must(must(TokenShard::open(data)).read(offset, raw));
    std::vector<std::int32_t> ids;
    for (std::uint32_t token : raw) ids.push_back(static_cast<std::int32_t>(token & ~kNoTarget));
    std::vector<float> all(std::size_t{train.seq} * model.vocab_size);
    for (std::uint32_t t = 0; t < train.seq; ++t)
        decoder->logits({theta.data(), shadow.data()}, {ids, ids, 1, train.seq}, t,
                        std::span(all).subspan(std::size_t{t} * model.vocab_size, model.vocab_size));
    write_floats(out + "/logits.f32", all);
}

}  // namespace

int run_oracle(const std::string& path, std::uint32_t threads, const Setup& setup) {
    const Json order = read_order(path);
    const auto model = must(parse_model_config(order.at("model").dump()));
    const auto train = must(parse_train_config(order.at("train").dump()));
    const bool bf16 = wants_bf16(train, setup);
    const auto data = order.at("data").get<std::string>();
    const auto out = order.at("out").get<std::string>();
    InnerLoop loop(model, train, {bf16, setup.bf16_in_float, threads, 0});
    read_floats(order.at("theta").get<std::string>(), {loop.local(), loop.elements()});
    loop.start_from_local();
    must(loop.open_file(0, data));
    std::vector<SequenceRef> batch;
    for (const auto& offset : order.at("sequences")) batch.push_back({0, offset.get<std::uint64_t>()});
    write_logits(model, train, bf16, setup.bf16_in_float, data, batch.at(0).offset, {loop.local(), loop.elements()}, out);

    std::vector<float> gradient(loop.elements());
    Json losses = Json::array();
    for (int i = 1; i <= order.at("steps").get<int>(); ++i) {
        must(loop.gradient(batch, gradient));
        must(loop.feed(batch));
        losses.push_back(must(loop.step(order.at("lr").get<double>())).loss);
        const std::string suffix = "." + std::to_string(i) + ".f32";
        write_floats(out + "/gradient" + suffix, gradient);
        write_floats(out + "/weights" + suffix, {loop.local(), loop.elements()});
    }
    std::cout << Json{{"losses", losses}, {"precision", bf16 ? "bf16" : "fp32"}, {"kernels", kernels().isa},
                      {"onednn_fp32", setup.onednn_fp32}}.dump() << std::endl;
    return 0;
}

}  // namespace skerry::node
