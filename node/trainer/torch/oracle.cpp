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

void write_logits(InnerLoop& loop, std::uint32_t vocab, const std::string& data, std::uint64_t offset, const std::string& out) {
    std::vector<std::uint32_t> raw(loop.config().seq);
    must(must(TokenShard::open(data)).read(offset, raw));
    std::vector<std::int32_t> ids;
    for (std::uint32_t token : raw) ids.push_back(static_cast<std::int32_t>(token & ~kNoTarget));
    std::vector<float> all(ids.size() * vocab);
    loop.path().reader(nullptr)->logits(ids, all);
    write_floats(out + "/logits.f32", all);
}

}  // namespace

int run_oracle(const std::string& path, std::uint32_t threads, const Setup& setup) {
    const Json order = read_order(path);
    const auto model = must(parse_model_config(order.at("model").dump()));
    const auto train = must(parse_train_config(order.at("train").dump()));
    const bool bf16 = setup.bf16(train.precision);
    const auto data = order.at("data").get<std::string>();
    const auto out = order.at("out").get<std::string>();
    InnerLoop loop(model, train, {setup.path, bf16, setup.bf16_in_float, threads, 0});
    std::vector<float> weights(loop.elements());
    read_floats(order.at("theta").get<std::string>(), weights);
    loop.start_from(weights);
    must(loop.open_file(0, data));
    std::vector<SequenceRef> batch;
    for (const auto& offset : order.at("sequences")) batch.push_back({0, offset.get<std::uint64_t>()});
    write_logits(loop, model.vocab_size, data, batch.at(0).offset, out);

    std::vector<float> gradient(loop.elements());
    Json losses = Json::array();
    for (int i = 1; i <= order.at("steps").get<int>(); ++i) {
        must(loop.gradient(batch, gradient));
        must(loop.feed(batch));
        losses.push_back(must(loop.step(order.at("lr").get<double>())).loss);
        const std::string suffix = "." + std::to_string(i) + ".f32";
        write_floats(out + "/gradient" + suffix, gradient);
        loop.path().read(Vector::weights, 0, weights);
        write_floats(out + "/weights" + suffix, weights);
    }
    std::cout << Json{{"losses", losses}, {"path", to_name(setup.path)}, {"device", setup.device()}, {"precision", bf16 ? "bf16" : "fp32"},
                      {"kernels", kernels().isa},
                      {"onednn_fp32", setup.onednn_fp32}}.dump() << std::endl;
    return 0;
}

}  // namespace skerry::node
