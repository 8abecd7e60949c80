// The agent's side against real trainer programs: the Python one (synthetic, no torch), and skerry-trainer where it is built.

#include "node/trainer/child_process.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>

#include "node/data/token_shard.hpp"
#include "node/model_folder/tensor_table.hpp"
#include "protocol/base/descriptor.hpp"
#include "protocol/base/within.hpp"

namespace skerry::node {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr auto kPatience = 60s;

ModelConfig small_model() {
    ModelConfig m;
    m.hidden_size = 32;
    m.intermediate_size = 48;
    m.num_hidden_layers = 2;
    m.num_attention_heads = 4;
    m.num_key_value_heads = 2;
    m.head_dim = 8;
    return m;
}

TrainConfig small_train() {
    TrainConfig t;
    t.batch = 2;
    t.seq = 16;
    t.schedule = Schedule::constant;
    t.precision = Precision::fp32;
    return t;
}

/// theta in a memfd, a token shard, and a scratch folder.
class Bench {
  public:
    explicit Bench(std::vector<std::string> argv) : command(std::move(argv)) {
        std::string name = (fs::temp_directory_path() / "skerry-child-XXXXXX").string();
        folder = ::mkdtemp(name.data());
        elements = make_tensor_table(small_model()).elements;
        descriptor = OwnedDescriptor(::memfd_create("theta", MFD_CLOEXEC));
        EXPECT_EQ(::ftruncate(descriptor.get(), static_cast<off_t>(4 * elements)), 0);
        void* p = ::mmap(nullptr, 4 * elements, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.get(), 0);
        theta = static_cast<float*>(p);
        fill(0.02F);
        std::ofstream shard(folder / "shard.bin", std::ios::binary);
        const Bytes header = make_shard_header(4000);
        shard.write(reinterpret_cast<const char*>(header.data()), static_cast<long>(header.size()));
        for (std::uint32_t i = 0; i < 4000; ++i) {
            const auto token = static_cast<std::uint16_t>((i * i / 7) % 256);
            shard.write(reinterpret_cast<const char*>(&token), 2);
        }
    }
    ~Bench() {
        ::munmap(theta, 4 * elements);
        fs::remove_all(folder);
    }
    void fill(float size) {
        for (std::uint64_t i = 0; i < elements; ++i) theta[i] = size * static_cast<float>(static_cast<int>(i % 13) - 6);
    }

    std::vector<std::string> command;
    fs::path folder;
    std::uint64_t elements = 0;
    OwnedDescriptor descriptor;
    float* theta = nullptr;
};

#define CO_ASSERT(cond)                                             \
    if (!(cond)) {                                                  \
        ADD_FAILURE() << #cond << " at line " << __LINE__;          \
        child.kill();                                               \
        co_return;                                                  \
    }
#define CO_GOOD(result)                                                                      \
    if (!(result)) {                                                                         \
        ADD_FAILURE() << "line " << __LINE__ << ": " << (result).error().detail;             \
        child.kill();                                                                        \
        co_return;                                                                           \
    }

using Scenario = Task<> (*)(ChildProcess&, Bench&);

void play(Bench& bench, Scenario scenario, std::uint64_t window = 1000) {
    asio::io_context io;
    ChildProcess child(io.get_executor(), {bench.command, 1, window});
    auto spawned = child.spawn();
    ASSERT_TRUE(spawned) << spawned.error().detail;
    bool finished = false;
    auto all = [&]() -> Task<> {
        using namespace asio::experimental::awaitable_operators;
        auto running = child.run();
        auto acting = scenario(child, bench);
        co_await (std::move(running) && std::move(acting));
        finished = true;
    };
    asio::co_spawn(io, all(), [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
    });
    io.run();
    EXPECT_TRUE(finished);
}

Task<Result<void>> prepare(ChildProcess& child, Bench& bench) {
    auto ready = co_await within(kPatience, child.ready());
    if (!ready) co_return ready;
    auto configured = co_await child.configure(small_model(), small_train());
    if (!configured) co_return fail(configured.error());
    EXPECT_EQ(*configured, bench.elements);
    auto shown = co_await child.show_theta(bench.descriptor.get(), bench.elements);
    if (!shown) co_return shown;
    auto tokens = co_await child.file(7, (bench.folder / "shard.bin").string());
    if (!tokens) co_return fail(tokens.error());
    EXPECT_EQ(*tokens, 4000U);
    auto loaded = co_await child.load(true);
    co_return loaded;
}

std::vector<SequenceRef> sequences(std::uint64_t count) {
    std::vector<SequenceRef> out;
    for (std::uint64_t i = 0; i < count; ++i) out.push_back({7, 16 * i});
    return out;
}

Task<Result<std::vector<float>>> all_weights(ChildProcess& child, Bench& bench) {
    std::vector<float> out;
    for (std::uint64_t lo = 0; lo < bench.elements; lo += child.window_elements()) {
        const auto hi = std::min(lo + child.window_elements(), bench.elements);
        auto part = co_await child.weights(lo, hi);
        if (!part) co_return fail(part.error());
        out.insert(out.end(), part->begin(), part->end());
    }
    co_return out;
}

Task<Result<RoundDone>> round(ChildProcess& child, std::uint64_t steps) {
    RoundOrder order;
    order.round = 5;
    order.max_steps = steps;
    auto started = co_await child.train(order);
    if (!started) co_return fail(started.error());
    auto event = co_await within(kPatience, child.next_event());
    if (!event) co_return fail(event.error());
    if (auto* done = std::get_if<RoundDone>(&*event)) co_return *done;
    const auto& gone = std::get<TrainerExit>(*event);
    co_return fail(gone.code, gone.detail);
}

Task<> a_round(ChildProcess& child, Bench& bench) {
    auto prepared = co_await prepare(child, bench);
    CO_GOOD(prepared);
    auto fed = co_await child.feed(sequences(9));
    CO_GOOD(fed);
    auto done = co_await round(child, 3);
    CO_GOOD(done);
    EXPECT_EQ(done->round, 5U);
    EXPECT_EQ(done->why, "steps");
    EXPECT_EQ(done->delta.steps, 3U);
    EXPECT_EQ(done->delta.sequences, 6U);
    EXPECT_EQ(done->delta.tokens, 96U);
    EXPECT_GT(done->delta.loss, 0.0);

    auto rest = co_await round(child, 0);  // two more steps: of two sequences, and of one
    CO_GOOD(rest);
    EXPECT_EQ(rest->why, "data");
    EXPECT_EQ(rest->delta.steps, 5U);
    EXPECT_EQ(rest->delta.sequences, 9U);
    auto frozen = co_await child.freeze();
    CO_GOOD(frozen);
    EXPECT_EQ(*frozen, rest->delta);

    auto local = co_await all_weights(child, bench);
    CO_GOOD(local);
    std::size_t moved = 0;
    for (std::uint64_t i = 0; i < bench.elements; ++i) moved += (*local)[i] != bench.theta[i];
    EXPECT_GT(moved, 20U);

    auto loaded = co_await child.load(false);
    CO_GOOD(loaded);
    local = co_await all_weights(child, bench);
    CO_GOOD(local);
    EXPECT_TRUE(std::equal(local->begin(), local->end(), bench.theta));
    auto quit = co_await child.quit();
    CO_GOOD(quit);
    auto end = co_await within(kPatience, child.next_event());
    CO_GOOD(end);
    CO_ASSERT(std::holds_alternative<TrainerExit>(*end));
    EXPECT_EQ(std::get<TrainerExit>(*end).exit_status, 0);
}

Task<> carry_and_progress(ChildProcess& child, Bench& bench) {
    auto prepared = co_await prepare(child, bench);
    CO_GOOD(prepared);
    auto fed = co_await child.feed(sequences(8));
    CO_GOOD(fed);
    auto done = co_await round(child, 2);
    CO_GOOD(done);
    auto before = co_await all_weights(child, bench);
    CO_GOOD(before);
    const std::string path = (bench.folder / "progress").string();
    auto saved = co_await child.save(path, "base 3");
    CO_GOOD(saved);
    EXPECT_EQ(saved->delta, done->delta);
    if (!saved->written) {
        auto written = co_await within(kPatience, child.written());
        CO_GOOD(written);
    }
    EXPECT_TRUE(std::filesystem::exists(path));

    const std::vector<float> old(bench.theta, bench.theta + bench.elements);
    auto held = co_await child.hold();
    CO_GOOD(held);
    auto refused = co_await child.weights(0, 1);
    CO_ASSERT(!refused);
    EXPECT_EQ(refused.error().code, Errc::bad_state);
    bench.fill(0.03F);
    auto carried = co_await child.carry();
    CO_GOOD(carried);
    auto after = co_await all_weights(child, bench);
    CO_GOOD(after);
    for (std::uint64_t i = 0; i < bench.elements; ++i) {
        const float delta = (*before)[i] - old[i];
        EXPECT_FLOAT_EQ((*after)[i], bench.theta[i] + delta);
    }
    auto restored = co_await child.restore(path);
    CO_GOOD(restored);
    EXPECT_EQ(restored->note, "base 3");
    EXPECT_EQ(restored->delta, done->delta);
    auto again = co_await all_weights(child, bench);
    CO_GOOD(again);
    EXPECT_EQ(*again, *after);
    auto missing = co_await child.restore(path + "x");
    CO_ASSERT(!missing);
    EXPECT_EQ(missing.error().code, Errc::not_found);
    child.kill();
}

Task<> freeze_and_death(ChildProcess& child, Bench& bench) {
    auto prepared = co_await prepare(child, bench);
    CO_GOOD(prepared);
    std::vector<SequenceRef> many;
    for (int i = 0; i < 300; ++i) {
        auto more = sequences(240);
        many.insert(many.end(), more.begin(), more.end());
    }
    auto fed = co_await child.feed(std::move(many));
    CO_GOOD(fed);
    RoundOrder order;
    order.round = 9;
    auto started = co_await child.train(order);
    CO_GOOD(started);
    EXPECT_EQ(child.status().phase, "train");
    auto another = co_await child.file(8, (bench.folder / "shard.bin").string());
    CO_GOOD(another);
    fed = co_await child.feed(sequences(2));
    CO_GOOD(fed);
    auto no_change = co_await child.load(false);
    CO_ASSERT(!no_change);
    EXPECT_EQ(no_change.error().code, Errc::bad_state);
    auto frozen = co_await child.freeze();
    CO_GOOD(frozen);
    auto event = co_await within(kPatience, child.next_event());
    CO_GOOD(event);
    CO_ASSERT(std::holds_alternative<RoundDone>(*event));
    EXPECT_EQ(std::get<RoundDone>(*event).why, "freeze");
    EXPECT_EQ(std::get<RoundDone>(*event).delta, *frozen);

    started = co_await child.train(order);
    CO_GOOD(started);
    child.kill();
    event = co_await within(kPatience, child.next_event());
    CO_GOOD(event);
    CO_ASSERT(std::holds_alternative<TrainerExit>(*event));
    EXPECT_EQ(std::get<TrainerExit>(*event).exit_status, 128 + 9);
    auto late = co_await child.freeze();
    CO_ASSERT(!late);
    EXPECT_EQ(late.error().code, Errc::trainer_failed);
}

Task<> answers(ChildProcess& child, Bench& bench) {
    auto prepared = co_await prepare(child, bench);
    CO_GOOD(prepared);
    // Named: g++ 12 cannot keep an initializer list across a co_await.
    const std::vector<EvalSpan> spans(1, EvalSpan{7, 0, 64, 10});
    auto loss = co_await child.eval(WeightSource::theta, spans);
    CO_GOOD(loss);
    EXPECT_EQ(loss->tokens, 160U);
    EXPECT_GT(loss->loss, 0.0);
    GenerateOrder order;
    order.prompt.assign(3, 65);
    order.count = 20;
    std::vector<std::uint32_t> streamed;
    child.on_generated([&](const std::vector<std::uint32_t>& tokens) { streamed.insert(streamed.end(), tokens.begin(), tokens.end()); });
    auto text = co_await child.generate(WeightSource::theta, order);
    CO_GOOD(text);
    EXPECT_EQ(text->tokens.size(), 20U);
    EXPECT_FALSE(text->stopped);
    EXPECT_EQ(streamed, text->tokens);
    GenerateOrder huge = order;
    huge.prompt.assign(20'000, 65);  // more than a line holds; the model reads 64
    auto refused = co_await child.generate(WeightSource::theta, huge);
    EXPECT_TRUE(refused || refused.error().code == Errc::usage) << "the prompt came another way";
    order.stop.assign(1, text->tokens[5]);
    auto again = co_await child.generate(WeightSource::theta, order);
    CO_GOOD(again);
    EXPECT_TRUE(again->stopped);
    const auto first = std::find(text->tokens.begin(), text->tokens.end(), text->tokens[5]);
    EXPECT_EQ(again->tokens, std::vector<std::uint32_t>(text->tokens.begin(), first));
    const std::vector<SequenceRef> past(1, SequenceRef{7, 3990});
    auto beyond = co_await child.feed(past);
    CO_ASSERT(!beyond);
    EXPECT_EQ(beyond.error().code, Errc::data_invalid);
    auto early = co_await child.carry();
    CO_ASSERT(!early);
    EXPECT_EQ(early.error().code, Errc::bad_state);
    child.kill();
}

Task<> not_finite(ChildProcess& child, Bench& bench) {
    auto prepared = co_await prepare(child, bench);
    CO_GOOD(prepared);
    auto fed = co_await child.feed(sequences(8));
    CO_GOOD(fed);
    auto done = co_await round(child, 0);
    EXPECT_TRUE(!done && done.error().code == Errc::not_finite);
    EXPECT_EQ(child.status().phase, "gone");
}

std::vector<std::string> python_trainer(std::vector<std::string> more = {}) {
    std::vector<std::string> command = {"python3", SKERRY_SOURCE_DIR "/tests/support/py_trainer.py", "--synthetic"};
    command.insert(command.end(), more.begin(), more.end());
    return command;
}

class EveryTrainer : public testing::TestWithParam<std::vector<std::string>> {};

TEST_P(EveryTrainer, TrainsARoundAndReturnsToTheta) {
    Bench bench(GetParam());
    play(bench, a_round);
}

TEST_P(EveryTrainer, CarriesItsDeltaAndRestoresItFromTheFile) {
    Bench bench(GetParam());
    play(bench, carry_and_progress, std::uint64_t{1} << 20);
}

TEST_P(EveryTrainer, FreezesAtOnceAndItsDeathIsAnEvent) {
    Bench bench(GetParam());
    play(bench, freeze_and_death);
}

TEST_P(EveryTrainer, EvaluatesGeneratesAndRefusesNonsense) {
    Bench bench(GetParam());
    play(bench, answers);
}

INSTANTIATE_TEST_SUITE_P(Python, EveryTrainer, testing::Values(python_trainer()));
#ifdef SKERRY_TRAINER
INSTANTIATE_TEST_SUITE_P(Torch, EveryTrainer, testing::Values(std::vector<std::string>{SKERRY_TRAINER}));
INSTANTIATE_TEST_SUITE_P(Autograd, EveryTrainer, testing::Values(std::vector<std::string>{SKERRY_TRAINER, "--path", "autograd"}));
#endif

TEST(ChildProcessTest, NotFiniteEndsTheTrainerWithItsReason) {
    Bench bench(python_trainer({"--nan-at", "2"}));
    play(bench, not_finite);
}

TEST(ChildProcessTest, ALossThatIsNotFiniteEndsTheTrainerThatSaysIt) {
    Bench bench(python_trainer({"--loss-nan-at", "2"}));
    play(bench, not_finite);
}

TEST(ChildProcessTest, AMissingProgramIsSaidAtOnce) {
    asio::io_context io;
    ChildProcess child(io.get_executor(), {{"/nonexistent/skerry-trainer"}, 1, 16});
    auto spawned = child.spawn();
    ASSERT_FALSE(spawned);
    EXPECT_EQ(spawned.error().code, Errc::not_found);
}

Task<> stranger(ChildProcess& child, Bench&) {
    auto ready = co_await within(kPatience, child.ready());
    EXPECT_FALSE(ready);
    auto event = co_await within(kPatience, child.next_event());
    EXPECT_TRUE(event && std::holds_alternative<TrainerExit>(*event));
}

TEST(ChildProcessTest, AProgramThatIsNoTrainerIsNotWaitedFor) {
    Bench bench({"python3", "-c", "import os,sys; os.write(3, b'hello\\n'); sys.stdin.read(); import time; time.sleep(60)"});
    play(bench, stranger);
}

}  // namespace
}  // namespace skerry::node
