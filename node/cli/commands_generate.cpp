#include <cstdio>

#include "node/cli/asked_model.hpp"
#include "node/cli/commands.hpp"
#include "node/tokenizer/utf8.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
constexpr std::uint32_t kMostTokens = 4096;

/// Bytes as they come, shown once their characters are whole.
class TextStream {
  public:
    explicit TextStream(const AskedModel& model) : model_(model) {}
    void add(std::span<const std::uint32_t> tokens) {
        held_ += model_.bytes(tokens);
        std::size_t whole = held_.size();
        // A character has at most four bytes: a beginning of one may stand at the end.
        for (std::size_t back = 1; back <= std::min<std::size_t>(3, held_.size()); ++back) {
            const auto byte = static_cast<unsigned char>(held_[held_.size() - back]);
            if ((byte & 0xC0) == 0x80) continue;
            const std::size_t needs = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
            if (needs > back) whole = held_.size() - back;
            break;
        }
        show(whole);
    }
    void finish() { show(held_.size()); }

  private:
    void show(std::size_t bytes) {
        std::fputs(AskedModel::to_text(held_.substr(0, bytes)).c_str(), stdout);
        std::fflush(stdout);
        held_.erase(0, bytes);
    }
    const AskedModel& model_;
    std::string held_;
};

Result<void> check(const GenerateCommand& command) {
    if (command.prompt.empty()) return fail(Errc::usage, "--prompt is empty", "--prompt 'It was'");
    if (command.tokens == 0 || command.tokens > kMostTokens) return fail(Errc::usage, "--tokens: from 1 to " + std::to_string(kMostTokens));
    return {};
}

Result<GenerateOrder> make_order(const GenerateCommand& command, const AskedModel& model) {
    GenerateOrder order;
    if (command.chat || model.tokenizer()) {
        // A bare prompt needs no end of a completion, which a tokenizer may not have.
        auto examples = command.chat ? model.examples({}) : Result<ExampleTokens>(ExampleTokens::for_prompts(model.tokenizer()));
        if (!examples) return fail(examples.error());
        auto prompt = examples->prompt(command.prompt, command.chat);
        if (!prompt) return fail(prompt.error());
        order.prompt = std::move(*prompt);
    } else {
        const ByteSpan bytes = as_bytes(command.prompt);
        order.prompt.assign(bytes.begin(), bytes.end());
    }
    order.count = command.tokens;
    order.temperature = command.temperature;
    order.seed = command.seed;
    order.top_k = command.top_k;
    order.top_p = command.top_p;
    order.cache = !command.no_cache;
    if (!command.no_stop) order.stop = model.stops();
    return order;
}

}  // namespace

Result<void> generate_command(const Context& context, const GenerateCommand& command) {
    auto good = check(command);
    if (!good) return good;
    ModelChoice choice = command.model;
    choice.dir = command.model.model.empty() ? context.dir : "";
    auto model = AskedModel::open(choice);
    if (!model) return fail(model.error());
    auto order = make_order(command, *model);
    if (!order) return fail(order.error());
    Generated made;
    TextStream stream(*model);
    const Ask ask = [&](ChildProcess& trainer) -> Task<Result<void>> {
        if (!context.json) trainer.on_generated([&](const std::vector<std::uint32_t>& tokens) { stream.add(tokens); });
        auto answer = co_await trainer.generate(WeightSource::theta, *order);
        if (!answer) co_return fail(answer.error());
        made = std::move(*answer);
        co_return Result<void>();
    };
    if (!context.json && !command.chat) std::fputs(command.prompt.c_str(), stdout);
    auto asked = ask_trainer(trainer_options(choice), *model, model->train(), ask);
    if (!context.json) {
        stream.finish();
        std::fputs("\n", stdout);
    }
    if (!asked) return asked;
    if (context.json) {
        Json out = model->identity();
        const double seconds = static_cast<double>(made.spent.count()) / 1e3;
        out.update({{"schema", "skerry.generated/1"}, {"prompt", command.prompt}, {"prompt_tokens", order->prompt.size()}, {"tokens", made.tokens},
                    {"text", model->text(made.tokens)}, {"stopped", made.stopped}, {"seconds", seconds}});
        print_json(out);
    }
    return {};
}

}  // namespace skerry::node
