#include "node/trainer/torch/session.hpp"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace skerry::node {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kProtocolVersion = 1;

Json counters(const DeltaCounters& d) {
    return {{"steps", d.steps}, {"sequences", d.sequences}, {"tokens", d.tokens}, {"loss", d.loss}};
}

Result<WeightSource> weight_source(Fields& f) {
    const std::string name = f.text("weights");
    if (name == "theta") return WeightSource::theta;
    if (name == "local") return WeightSource::local;
    f.bad("weights", "expected theta or local");
    return WeightSource::theta;
}

}  // namespace

void Session::send(const std::string& verb, const Json& object) {
    std::lock_guard lock(sending_);
    // A send that fails means that the agent is gone; the next receive says so.
    (void)channel_.send(verb + " " + object.dump(-1, ' ', false, Json::error_handler_t::replace));
}

const char* Session::phase() const {
    if (!loop_) return "new";
    if (training_) return "train";
    return loop_->held() ? "held" : "idle";
}

void Session::alive(const char* what) {
    if (Clock::now() - last_progress_ < 900ms) return;
    last_progress_ = Clock::now();
    send("alive", {{"phase", what}});
}

void Session::report(Errc code, const std::string& detail) {
    send("failed", {{"code", to_name(code)}, {"detail", detail.substr(0, 2048)}});
}

ExitStatus Session::run() {
    send("trainer", {{"version", kProtocolVersion}, {"name", "skerry-trainer " SKERRY_VERSION}, {"threads", threads_}});
    for (;;) {
        auto line = channel_.receive(training_ ? 0ms : 1000ms);
        if (!line) {
            if (line.error().code == Errc::closed) return ExitStatus::asked;
            report(line.error().code, line.error().detail);
            return ExitStatus::protocol;
        }
        std::optional<ExitStatus> end;
        if (*line)
            end = handle(**line);
        else if (training_)
            end = train_some();
        else
            alive(phase());
        if (end) return *end;
    }
}

std::optional<ExitStatus> Session::handle(const std::string& line) {
    const auto space = line.find(' ');
    const std::string verb = line.substr(0, space);
    const Json object = space == std::string::npos ? Json() : Json::parse(line.substr(space + 1), nullptr, false);
    if (verb.empty() || !object.is_object()) {
        report(Errc::malformed, "expected: verb {json}");
        return ExitStatus::protocol;
    }
    auto answer = dispatch(verb, object);
    if (!answer) {
        send("error", {{"verb", verb}, {"code", to_name(answer.error().code)}, {"detail", answer.error().detail}});
        // Weights or losses that are not finite cannot be trained on: the agent starts again from theta.
        if (answer.error().code == Errc::not_finite) {
            report(Errc::not_finite, answer.error().detail);
            return ExitStatus::not_finite;
        }
        return std::nullopt;
    }
    (*answer)["verb"] = verb;
    send("ok", *answer);
    if (quit_) return ExitStatus::asked;
    return std::nullopt;
}

Session::Answer Session::dispatch(const std::string& verb, const Json& object) {
    Fields f(object);
    if (verb == "config") return configure(f);
    if (verb == "quit") {
        quit_ = true;
        return Json::object();
    }
    if (!loop_) return fail(Errc::bad_state, "config comes first");
    return with_model(verb, f);
}

Result<void> Session::need(bool allowed_in_training, bool allowed_held) {
    if (training_ && !allowed_in_training) return fail(Errc::bad_state, "not while training");
    if (loop_->held() && !allowed_held) return fail(Errc::bad_state, "not while held");
    return {};
}

Session::Answer Session::with_model(const std::string& verb, Fields& f) {
    if (verb == "attach") return attach(f);
    if (verb == "feed") return feed(f);
    if (verb == "train") return start_round(f);
    if (verb == "freeze") return freeze(f);
    if (verb == "save") return save(f);
    if (verb == "restore") return restore(f);
    if (verb == "eval") return eval(f);
    if (verb == "generate") return generate(f);

    // The short ones: fields, phase, act.
    const auto short_verb = [&](bool held_ok, auto act) -> Answer {
        auto good = f.finish();
        if (good) good = need(false, held_ok);
        if (!good) return fail(good.error());
        return act();
    };
    const auto nothing = [](Result<void> done) -> Answer {
        if (!done) return fail(done.error());
        return Json::object();
    };
    if (verb == "file") {
        const auto id = static_cast<std::uint32_t>(f.count("file", 65535));
        const std::string path = f.text("path");
        auto good = f.finish();  // in every phase: a lease that arrives during a round may need another shard
        if (!good) return fail(good.error());
        auto tokens = loop_->open_file(id, path);
        if (!tokens) return fail(tokens.error());
        return Json{{"tokens", *tokens}};
    }
    if (verb == "load") {
        const std::string optimizer = f.text("optimizer");
        if (optimizer != "keep" && optimizer != "reset") f.bad("optimizer", "expected keep or reset");
        return short_verb(true, [&] { return nothing(loop_->load(optimizer == "reset")); });
    }
    if (verb == "clear") {
        return short_verb(true, [&]() -> Answer {
            loop_->clear();
            return Json{{"queued", 0}};
        });
    }
    if (verb == "weights") {
        const auto lo = f.count("lo");
        const auto hi = f.count("hi");
        return short_verb(false, [&]() -> Answer {
            auto copied = loop_->copy_weights(lo, hi);
            if (!copied) return fail(copied.error());
            return Json{{"lo", lo}, {"hi", hi}};
        });
    }
    if (verb == "hold") return short_verb(false, [&] { return nothing(loop_->hold()); });
    if (verb == "carry") return short_verb(true, [&] { return nothing(loop_->carry()); });
    return fail(Errc::usage, "unknown verb");
}

Session::Answer Session::configure(Fields& f) {
    const auto version = f.count("version");
    const Json model_json = f.object("model");
    const Json train_json = f.object("train");
    auto good = f.finish();
    if (!good) return fail(good.error());
    if (loop_) return fail(Errc::bad_state, "configured already");
    if (version != kProtocolVersion) return fail(Errc::version_mismatch, "this trainer speaks version 1");
    auto model = parse_model_config(model_json.dump());
    if (!model) return fail(model.error());
    auto train = parse_train_config(train_json.dump());
    if (!train) return fail(train.error());
    if (!setup_) return fail(setup_.error());
    const bool bf16 = setup_->bf16(train->precision);
    const Resources resources{setup_->path, bf16, setup_->bf16_in_float, threads_, memory_};
    loop_ = std::make_unique<InnerLoop>(*model, *train, resources);
    // What is allocated from now on beyond the limit fails and leads to a smaller plan, instead of taking the machine's memory.
    // (CUDA's driver maps more than it uses.)
    if (memory_ != 0 && setup_->path != TrainerPath::cuda) {
        const rlimit most{memory_, memory_};
        ::setrlimit(RLIMIT_DATA, &most);
    }
    told_plan_ = loop_->plan();
    Json out = plan();
    out["elements"] = loop_->elements();
    out["path"] = to_name(setup_->path);
    out["device"] = setup_->device();
    out["precision"] = bf16 ? "bf16" : "fp32";
    out["products"] = setup_->products(bf16);
    out["gflops"] = static_cast<std::uint64_t>(setup_->gflops(bf16));
    out["kernels"] = setup_->path == TrainerPath::fast ? kernels().isa : "libtorch";
    out["threads"] = threads_;
    return out;
}

/// How the work of a step is cut, and what that takes.
Json Session::plan() const {
    const WorkspacePlan& p = loop_->plan();
    return {{"micro_batch", p.micro_batch}, {"recompute", to_name(p.recompute)}, {"memory_bytes", loop_->memory().total}};
}

void Session::tell_smaller_plan() {
    if (loop_->plan() == told_plan_) return;
    told_plan_ = loop_->plan();
    Json notice = plan();
    notice["code"] = to_name(Errc::out_of_memory);
    notice["detail"] = "memory ran out: the batch is now trained " + std::to_string(told_plan_.micro_batch) +
                       (told_plan_.micro_batch == 1 ? " sequence at a time" : " sequences at a time") +
                       (told_plan_.recompute == Recompute::none ? "" : std::string(", computing ") + to_name(told_plan_.recompute) + " again");
    send("notice", notice);
}

Session::Answer Session::attach(Fields& f) {
    const std::string name = f.text("region");
    const auto elements = f.count("elements");
    auto descriptor = channel_.take_descriptor();
    if (name != "theta" && name != "weights") f.bad("region", "expected theta or weights");
    auto good = f.finish();
    if (good) good = need(false, true);
    if (!good) return fail(good.error());
    if (!descriptor) return fail(Errc::usage, "attach came without a descriptor");
    auto region = Region::map(descriptor->get(), elements, name == "weights");
    if (!region) return fail(region.error());
    if (name == "weights") {
        loop_->attach_window(std::move(*region));
        return Json::object();
    }
    auto attached = loop_->attach_theta(std::move(*region));
    if (!attached) return fail(attached.error());
    return Json::object();
}

Session::Answer Session::feed(Fields& f) {
    auto rows = parse_tuples<2>(f.list("sequences"));
    auto good = f.finish();
    if (!good) return fail(good.error());
    if (!rows) return fail(rows.error());
    std::vector<SequenceRef> sequences;
    for (const auto& r : *rows) sequences.push_back({static_cast<std::uint32_t>(std::min<std::uint64_t>(r[0], 65536)), r[1]});
    auto fed = loop_->feed(sequences);
    if (!fed) return fail(fed.error());
    return Json{{"queued", loop_->queued()}};
}

Session::Answer Session::start_round(Fields& f) {
    RoundOrder order;
    order.round = f.count("round");
    order.committed_tokens = f.count("tokens");
    order.participants = static_cast<std::uint32_t>(f.count("participants", 1U << 20));
    order.first_step = f.count("first_step");
    order.max_steps = f.count("max_steps");
    order.deadline = Millis(f.count("deadline_ms"));
    auto good = f.finish();
    if (good) good = need(false, false);
    if (!good) return fail(good.error());
    if (!loop_->loaded()) return fail(Errc::bad_state, "load or restore comes first");
    order_ = order;
    round_start_ = Clock::now();
    round_step_ = round_tokens_ = 0;
    training_ = true;
    return Json::object();
}

Session::Answer Session::freeze(Fields& f) {
    auto good = f.finish();
    if (!good) return fail(good.error());
    if (training_) end_round("freeze");
    Json out = counters(loop_->delta());
    out["round"] = order_.round;
    return out;
}

Session::Answer Session::save(Fields& f) {
    const std::string path = f.text("path");
    const std::string note = f.text("note", 16384);
    auto good = f.finish();
    if (!good) return fail(good.error());
    join_writer();
    const auto begun = Clock::now();
    auto copy = loop_->copy_progress(note);
    if (!copy) return fail(copy.error());
    if (copy->elements) {
        writer_ = std::thread([this, path, copied = std::move(*copy)] {
            ::pthread_setname_np(::pthread_self(), "save");
            auto written = write_progress(path, copied);
            if (written) send("saved", Json::object());
            else send("saved", {{"code", to_name(written.error().code)}, {"detail", written.error().detail}});
        });
        Json out = counters(loop_->delta());
        out["pending"] = true;
        out["stall_ms"] = std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
        return out;
    }
    const char* what = phase();
    auto saved = loop_->save(path, note, [&] { alive(what); });
    if (!saved) return fail(saved.error());
    return counters(loop_->delta());
}

void Session::join_writer() {
    if (writer_.joinable()) writer_.join();
}

Session::Answer Session::restore(Fields& f) {
    const std::string path = f.text("path");
    auto good = f.finish();
    if (good) good = need(false, true);
    if (!good) return fail(good.error());
    join_writer();
    auto restored = loop_->restore(path);
    if (!restored) return fail(restored.error());
    Json out = counters(restored->delta);
    out["note"] = restored->note;
    return out;
}

Session::Answer Session::eval(Fields& f) {
    auto source = weight_source(f);
    auto rows = parse_tuples<4>(f.list("spans"));
    auto good = f.finish();
    if (good) good = need(false, false);
    if (!good) return fail(good.error());
    if (!rows) return fail(rows.error());
    std::vector<EvalSpan> spans;
    for (const auto& r : *rows)
        spans.push_back({static_cast<std::uint32_t>(std::min<std::uint64_t>(r[0], 65536)), r[1], r[2], r[3]});
    auto result = loop_->eval(*source, spans, [this] { alive("eval"); });
    tell_smaller_plan();
    if (!result) return fail(result.error());
    return Json{{"loss", result->loss}, {"tokens", result->tokens}};
}

Session::Answer Session::generate(Fields& f) {
    auto source = weight_source(f);
    GenerateOrder order;
    const bool from_file = f.any("prompt").is_object();
    if (!from_file) order.prompt = f.tokens("prompt");
    order.count = static_cast<std::uint32_t>(f.count("count", 4096));
    order.temperature = f.number("temperature");
    order.seed = f.count("seed");
    order.top_k = static_cast<std::uint32_t>(f.count("top_k", 1U << 22));
    order.top_p = f.number("top_p");
    if (!(order.top_p > 0 && order.top_p <= 1)) f.bad("top_p", "expected more than 0, at most 1");
    order.stop = f.tokens("stop");
    order.cache = f.flag("cache");
    const bool stream = f.flag("stream");
    auto good = f.finish();
    if (good) good = need(false, false);
    if (!good) return fail(good.error());
    if (from_file) {
        Fields where(f.any("prompt"));
        const auto file = static_cast<std::uint32_t>(where.count("file", 65535));
        const auto count = where.count("tokens", 1U << 22);
        good = where.finish();
        auto prompt = good ? loop_->read_tokens(file, count) : fail(good.error());
        if (!prompt) return fail(prompt.error());
        order.prompt = std::move(*prompt);
    }
    const auto begin = Clock::now();
    auto told = begin;
    std::vector<std::uint32_t> untold;
    const auto tell = [&](bool all) {
        if (untold.empty() || (!all && Clock::now() - told < 50ms)) return;
        told = Clock::now();
        send("generated", {{"tokens", untold}});
        untold.clear();
    };
    auto made = loop_->generate(*source, order, [&](std::uint32_t token) {
        alive("generate");
        if (stream) untold.push_back(token);
        tell(false);
    });
    if (!made) return fail(made.error());
    tell(true);
    const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
    return Json{{"tokens", made->tokens}, {"stopped", made->stopped}, {"ms", spent.count()}};
}

Session::Clock::duration Session::median_step() const {
    if (recent_.empty()) return {};
    std::vector<Clock::duration> sorted(recent_.begin(), recent_.end());
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<long>(sorted.size() / 2), sorted.end());
    return sorted[sorted.size() / 2];
}

bool Session::past_deadline() const {
    if (order_.deadline.count() == 0 || round_step_ == 0) return false;
    return Clock::now() + median_step() > round_start_ + order_.deadline;
}

void Session::end_round(const char* why) {
    training_ = false;
    Json done = counters(loop_->delta());
    done["round"] = order_.round;
    done["why"] = why;
    send("done", done);
}

std::optional<ExitStatus> Session::train_some() {
    if (order_.max_steps != 0 && round_step_ == order_.max_steps) return end_round("steps"), std::nullopt;
    if (loop_->queued() == 0) return end_round("data"), std::nullopt;
    if (past_deadline()) return end_round("deadline"), std::nullopt;

    const auto begin = Clock::now();
    const TrainConfig& c = loop_->config();
    const std::uint64_t pace = std::uint64_t{c.batch} * c.seq * order_.participants;
    const double lr = learning_rate(c, order_.committed_tokens + (order_.first_step + round_step_ + 1) * pace);
    const std::uint64_t before = loop_->delta().tokens;
    auto step = loop_->step(lr);
    tell_smaller_plan();
    if (!step) {
        report(step.error().code, step.error().detail);
        return step.error().code == Errc::not_finite ? ExitStatus::not_finite : ExitStatus::data;
    }
    ++round_step_;
    round_tokens_ += loop_->delta().tokens - before;
    const auto now = Clock::now();
    recent_.push_back(now - begin);
    if (recent_.size() > 31) recent_.pop_front();
    if (now - last_progress_ < 250ms) return std::nullopt;

    last_progress_ = now;
    const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
    Json progress = counters(loop_->delta());
    progress["round"] = order_.round;
    progress["step"] = round_step_;
    progress["last_loss"] = step->loss;
    progress["lr"] = step->lr;
    progress["step_ms"] = 1e3 * seconds(median_step());
    progress["tokens_per_s"] = static_cast<double>(round_tokens_) / std::max(1e-9, seconds(now - round_start_));
    send("progress", progress);
    return std::nullopt;
}

}  // namespace skerry::node
