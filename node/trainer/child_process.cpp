#include "node/trainer/child_process.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "node/data/token_shard.hpp"
#include "node/trainer/child_link.hpp"
#include "node/trainer/trainer_fields.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

Result<void> nothing(Result<Json> answer) {
    if (!answer) return fail(answer.error());
    return {};
}

const char* name_of(WeightSource source) { return source == WeightSource::theta ? "theta" : "local"; }

/// A descriptor of the same file that cannot be written through, so that a foreign trainer cannot either.
OwnedDescriptor read_only(int descriptor) {
    const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
    OwnedDescriptor out(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!out) out = OwnedDescriptor(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
    return out;
}

constexpr std::size_t kPromptInLine = 6000;  ///< of up to eight characters each
constexpr std::uint32_t kPromptFile = 65535;

/// A token shard of four bytes a token. None: no memory.
OwnedDescriptor shard_in_memory(const std::vector<std::uint32_t>& tokens) {
    OwnedDescriptor out(::memfd_create("skerry-prompt", MFD_CLOEXEC));
    const Bytes header = make_shard_header(tokens.size(), sizeof(std::uint32_t));
    const auto put = [&](const void* data, std::size_t bytes) { return ::write(out.get(), data, bytes) == static_cast<ssize_t>(bytes); };
    if (out && (!put(header.data(), header.size()) || !put(tokens.data(), tokens.size() * sizeof(std::uint32_t)))) out.reset();
    return out;
}

}  // namespace

ChildProcess::ChildProcess(asio::any_io_executor executor, ChildOptions options)
    : link_(std::make_unique<Link>(executor, std::move(options))) {}

ChildProcess::~ChildProcess() = default;

Result<void> ChildProcess::spawn() { return link_->spawn(); }
Task<> ChildProcess::run() { return link_->run(); }
Task<Result<void>> ChildProcess::ready() { return link_->ready(); }
void ChildProcess::kill() { link_->kill(); }
int ChildProcess::pid() const { return link_->pid(); }
std::uint64_t ChildProcess::window_elements() const { return link_->options().window_elements; }
Task<Result<TrainerEvent>> ChildProcess::next_event() { return link_->next_event(); }
const TrainerStatus& ChildProcess::status() const { return link_->status(); }

Task<Result<void>> ChildProcess::quit() {
    auto answer = co_await link_->request("quit", Json::object());
    co_return nothing(std::move(answer));
}

Task<Result<std::uint64_t>> ChildProcess::configure(ModelConfig model, TrainConfig train) {
    Json object = {{"version", 1}, {"model", Json::parse(to_json(model))}, {"train", Json::parse(to_json(train))}};
    auto configured = co_await link_->request("config", std::move(object));
    if (!configured) co_return fail(configured.error());

    take(link_->status().setup, configured->dump(-1, ' ', false, Json::error_handler_t::replace));

    OwnedDescriptor window(::fcntl(link_->window_descriptor(), F_DUPFD_CLOEXEC, 0));
    if (!window) co_return fail(Errc::io_error, std::strerror(errno));
    Json region = {{"region", "weights"}, {"elements", window_elements()}};
    auto attached = co_await link_->request("attach", std::move(region), std::move(window));
    if (!attached) co_return fail(attached.error());
    co_return count_or(*configured, "elements", 0);
}

Task<Result<void>> ChildProcess::show_theta(int descriptor, std::uint64_t elements) {
    OwnedDescriptor theta = read_only(descriptor);
    if (!theta) co_return fail(Errc::io_error, std::strerror(errno));
    Json region = {{"region", "theta"}, {"elements", elements}};
    auto answer = co_await link_->request("attach", std::move(region), std::move(theta));
    co_return nothing(std::move(answer));
}

Task<Result<std::uint64_t>> ChildProcess::file(std::uint32_t id, std::string path) {
    Json object = {{"file", id}, {"path", std::move(path)}};
    auto answer = co_await link_->request("file", std::move(object));
    if (!answer) co_return fail(answer.error());
    co_return count_or(*answer, "tokens", 0);
}

Task<Result<void>> ChildProcess::load(bool reset_optimizer) {
    Json object = {{"optimizer", reset_optimizer ? "reset" : "keep"}};
    auto answer = co_await link_->request("load", std::move(object));
    co_return nothing(std::move(answer));
}

Task<Result<void>> ChildProcess::feed(std::vector<SequenceRef> sequences) {
    constexpr std::size_t kPerLine = 2000;  // 20 characters each at most: well inside a line
    for (std::size_t i = 0; i < sequences.size(); i += kPerLine) {
        Json list = Json::array();
        for (std::size_t j = i; j < std::min(i + kPerLine, sequences.size()); ++j)
            list.push_back({sequences[j].file, sequences[j].offset});
        Json object = {{"sequences", std::move(list)}};
        auto answer = co_await link_->request("feed", std::move(object));
        if (!answer) co_return fail(answer.error());
    }
    co_return Result<void>();
}

Task<Result<void>> ChildProcess::clear() {
    auto answer = co_await link_->request("clear", Json::object());
    co_return nothing(std::move(answer));
}

Task<Result<void>> ChildProcess::train(RoundOrder order) {
    Json object = {{"round", order.round},           {"tokens", order.committed_tokens},
                   {"participants", order.participants}, {"first_step", order.first_step},
                   {"max_steps", order.max_steps},   {"deadline_ms", order.deadline.count()}};
    auto answer = co_await link_->request("train", std::move(object));
    co_return nothing(std::move(answer));
}

Task<Result<DeltaCounters>> ChildProcess::freeze() {
    auto answer = co_await link_->request("freeze", Json::object());
    if (!answer) co_return fail(answer.error());
    co_return counters_of(*answer);
}

Task<Result<std::span<const float>>> ChildProcess::weights(std::uint64_t lo, std::uint64_t hi) {
    if (hi <= lo || hi - lo > window_elements()) co_return fail(Errc::bad_shape, "range does not fit the window");
    Json object = {{"lo", lo}, {"hi", hi}};
    auto answer = co_await link_->request("weights", std::move(object));
    if (!answer) co_return fail(answer.error());
    co_return std::span<const float>(link_->window(), hi - lo);
}

Task<Result<void>> ChildProcess::hold() {
    auto answer = co_await link_->request("hold", Json::object());
    co_return nothing(std::move(answer));
}

Task<Result<void>> ChildProcess::carry() {
    auto answer = co_await link_->request("carry", Json::object());
    co_return nothing(std::move(answer));
}

Task<Result<SaveBegun>> ChildProcess::save(std::string path, std::string note) {
    Json object = {{"path", std::move(path)}, {"note", std::move(note)}};
    link_->forget_saved();
    auto answer = co_await link_->request("save", std::move(object));
    if (!answer) co_return fail(answer.error());
    SaveBegun out{counters_of(*answer), !flag_or(*answer, "pending"), std::nullopt};
    if (answer->contains("stall_ms")) out.stall = Millis(static_cast<long>(number_or(*answer, "stall_ms", 0) + 0.999));
    co_return out;
}

Task<Result<void>> ChildProcess::written() { return link_->written(); }

Task<Result<Restored>> ChildProcess::restore(std::string path) {
    Json object = {{"path", std::move(path)}};
    auto answer = co_await link_->request("restore", std::move(object));
    if (!answer) co_return fail(answer.error());
    co_return Restored{text_or(*answer, "note"), counters_of(*answer)};
}

Task<Result<EvalResult>> ChildProcess::eval(WeightSource source, std::vector<EvalSpan> spans) {
    Json list = Json::array();
    for (const auto& s : spans) list.push_back({s.file, s.first, s.stride, s.count});
    Json object = {{"weights", name_of(source)}, {"spans", std::move(list)}};
    auto answer = co_await link_->request("eval", std::move(object));
    if (!answer) co_return fail(answer.error());
    co_return EvalResult{number_or(*answer, "loss", 0), count_or(*answer, "tokens", 0)};
}

void ChildProcess::on_generated(std::function<void(const std::vector<std::uint32_t>&)> take) { link_->on_generated(std::move(take)); }

Task<Result<Generated>> ChildProcess::generate(WeightSource source, GenerateOrder order) {
    Json prompt = order.prompt;
    OwnedDescriptor kept;  // a prompt that does not fit a line goes as a file
    if (order.prompt.size() > kPromptInLine) {
        kept = shard_in_memory(order.prompt);
        if (!kept) co_return fail(Errc::io_error, "memory for the prompt");
        auto known = co_await file(kPromptFile, "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(kept.get()));
        if (!known) co_return fail(known.error());
        prompt = {{"file", kPromptFile}, {"tokens", order.prompt.size()}};
    }
    Json object = {{"weights", name_of(source)}, {"prompt", std::move(prompt)},           {"count", order.count}, {"seed", order.seed},
                   {"temperature", order.temperature}, {"top_k", order.top_k},       {"top_p", order.top_p}, {"stop", order.stop},
                   {"cache", order.cache},       {"stream", link_->wants_generated()}};
    auto answer = co_await link_->request("generate", std::move(object));
    if (!answer) co_return fail(answer.error());
    auto tokens = tokens_of(*answer);
    if (!tokens) co_return fail(Errc::malformed, "generate: no tokens");
    co_return Generated{std::move(*tokens), flag_or(*answer, "stopped"), Millis(count_or(*answer, "ms", 0))};
}

}  // namespace skerry::node
