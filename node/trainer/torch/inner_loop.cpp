#include "node/trainer/torch/inner_loop.hpp"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "node/trainer/torch/sampler.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {

namespace {

/// ATen and oneDNN say "not enough memory" by exceptions of their own; oneDNN sometimes only that it could not make its primitive.
bool is_out_of_memory(const std::exception& e) {
    if (dynamic_cast<const std::bad_alloc*>(&e)) return true;
    const std::string_view text = e.what();
    if (text.find("could not create a primitive") != text.npos) return true;
    return text.find("memory") != text.npos && (text.find("alloc") != text.npos || text.find("out of") != text.npos);
}

/// Weights are read and changed so many at a time.
constexpr std::size_t kChunk = std::size_t{1} << 18;

/// Throws NotEnoughMemory if there is none for weights and optimizer.
std::unique_ptr<Path> make_path(const ModelConfig& model, const TrainConfig& train, const Resources& resources) {
    try {
        if (resources.path == TrainerPath::fast) return make_fast_path(model, train, resources.bf16);
        return make_autograd_path(model, train, resources.bf16, resources.path == TrainerPath::cuda);
    } catch (const std::exception& e) {
        if (!is_out_of_memory(e)) throw;
        throw NotEnoughMemory("no memory for the weights and the optimizer's state, " + std::to_string(make_tensor_table(model).elements) + " elements");
    }
}

/// An exponent of all ones is an infinity or a NaN; the bits are looked at because this must hold under any flags.
bool all_finite(std::span<const float> values) {
    bool good = true;
    for (const float value : values) {
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        good &= (bits & 0x7f800000U) != 0x7f800000U;
    }
    return good;
}

std::string mebibytes(std::uint64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

InnerLoop::InnerLoop(const ModelConfig& model, const TrainConfig& train, const Resources& resources)
    : model_config_(model), train_(train), table_(make_tensor_table(model)), resources_(resources) {
    WorkspacePlan base;
    base.autograd = resources.path != TrainerPath::fast;
    base.bf16 = resources.bf16;
    base.in_float = resources.bf16_in_float;
    base.threads = resources.threads;
    plans_ = workspace_plans(train, base);
    const std::uint64_t most = available();
    plan_ = first_that_fits(model, train, plans_, most);
    if (plan_ == plans_.size())
        throw NotEnoughMemory("the trainer needs " + mebibytes(trainer_memory(model, train, plans_.back()).total) +
                              " at least (micro-batch 1, layers computed again) and has " + mebibytes(most));
    path_ = make_path(model, train, resources);
    plan_that_fits();
    const std::size_t n = std::size_t{train.batch} * train.seq;
    raw_.resize(train.seq + 1);
    inputs_.resize(n);
    targets_.resize(n);
}

/// Where the weights are going to lie. A tenth of what is free stays free.
std::uint64_t InnerLoop::available() const {
    if (resources_.path == TrainerPath::cuda) {
        const std::uint64_t free = cuda_memory_available();
        return free == 0 ? UINT64_MAX : free / 10 * 9;
    }
    const std::uint64_t free = memory_available() / 10 * 9;
    return resources_.memory == 0 ? free : std::min(free, resources_.memory);
}

void InnerLoop::plan_that_fits() {
    for (;; ++plan_) {
        if (plan_ == plans_.size()) {
            plan_ = plans_.size() - 1;
            const bool cuda = resources_.path == TrainerPath::cuda;
            throw NotEnoughMemory("the trainer needs " + mebibytes(memory().total) + " at least (micro-batch 1, layers computed again) and " +
                                  mebibytes(cuda ? cuda_memory_available() : memory_available()) +
                                  (cuda ? " are free on the GPU" : " are free on this machine; its own limit may be lower"));
        }
        try {
            path_->replan(plans_[plan_]);
            return;
        } catch (const std::exception& e) {
            if (!is_out_of_memory(e)) throw;
        }
    }
}

/// `work` computes from weights and tokens and changes neither, so after running out of memory it can be done again.
template <class Work>
double InnerLoop::in_less_memory(const Work& work) {
    for (;;) {
        try {
            return work();
        } catch (const std::exception& e) {
            if (!is_out_of_memory(e) || dynamic_cast<const NotEnoughMemory*>(&e)) throw;
        }
        const std::uint64_t now = memory().workspace;
        path_->release();
        ::malloc_trim(0);  // what the heap keeps is not there for oneDNN, which maps its code itself
        do ++plan_;
        while (plan_ < plans_.size() && memory().workspace >= now);
        plan_that_fits();
    }
}

Result<void> InnerLoop::attach_theta(Region region) {
    if (region.elements() != table_.elements)
        return fail(Errc::bad_shape, "theta has " + std::to_string(region.elements()) + " elements, the model " +
                                         std::to_string(table_.elements));
    theta_ = std::move(region);
    return {};
}

Result<std::uint64_t> InnerLoop::open_file(std::uint32_t id, const std::string& path) {
    auto shard = TokenShard::open(path);
    if (!shard) return fail(shard.error());
    const std::uint64_t count = shard->tokens();
    files_.insert_or_assign(id, std::move(*shard));
    return count;
}

Result<std::vector<std::uint32_t>> InnerLoop::read_tokens(std::uint32_t file, std::uint64_t count) const {
    const auto found = files_.find(file);
    if (found == files_.end()) return fail(Errc::not_found, "file " + std::to_string(file) + " is not known");
    if (count > found->second.tokens()) return fail(Errc::data_invalid, "file " + std::to_string(file) + " has fewer tokens");
    std::vector<std::uint32_t> out(count);
    auto read = found->second.read(0, out);
    if (!read) return fail(read.error());
    return out;
}

Result<void> InnerLoop::need_theta() const {
    if (!theta_.data()) return fail(Errc::bad_state, "theta is not attached");
    return {};
}

/// new weights = change(old ones, theta), element by element.
template <class Change>
void InnerLoop::change_weights(const Change& change) {
    chunk_.resize(kChunk);
    for (std::uint64_t lo = 0; lo < table_.elements; lo += kChunk) {
        const std::span<float> some = std::span(chunk_).first(std::min<std::uint64_t>(kChunk, table_.elements - lo));
        path_->read(Vector::weights, lo, some);
        for (std::size_t i = 0; i < some.size(); ++i) some[i] = change(some[i], theta_.data()[lo + i]);
        path_->write(Vector::weights, lo, some);
    }
}

Result<void> InnerLoop::load(bool reset_optimizer) {
    auto ready = need_theta();
    if (!ready) return ready;
    path_->write(Vector::weights, 0, {theta_.data(), table_.elements});
    path_->weights_written();
    if (reset_optimizer) path_->reset_optimizer();
    steps_ = sequences_ = tokens_ = targets_seen_ = 0;
    loss_sum_ = 0;
    loaded_ = true;
    held_ = false;
    return {};
}

Result<void> InnerLoop::hold() {
    if (!loaded_ || held_) return fail(Errc::bad_state, "hold needs loaded weights");
    change_weights([](float local, float theta) { return local - theta; });
    held_ = true;
    return {};
}

Result<void> InnerLoop::carry() {
    if (!held_) return fail(Errc::bad_state, "carry without hold");
    change_weights([](float delta, float theta) { return theta + delta; });
    path_->weights_written();
    held_ = false;
    return {};
}

Result<void> InnerLoop::feed(const std::vector<SequenceRef>& sequences) {
    for (const auto& s : sequences) {
        const auto file = files_.find(s.file);
        if (file == files_.end()) return fail(Errc::not_found, "file " + std::to_string(s.file) + " is not known");
        const std::uint64_t end = s.offset + train_.seq;
        if (s.offset > kMaxShardTokens || end >= file->second.tokens())
            return fail(Errc::data_invalid, "sequence at " + std::to_string(s.offset) + " is beyond file " +
                                                std::to_string(s.file));
    }
    queue_.insert(queue_.end(), sequences.begin(), sequences.end());
    return {};
}

Result<void> InnerLoop::read_sequence(const SequenceRef& ref, std::size_t row) {
    const auto file = files_.find(ref.file);
    if (file == files_.end()) return fail(Errc::not_found, "file " + std::to_string(ref.file) + " is not known");
    auto read = file->second.read(ref.offset, raw_);
    if (!read) return read;
    std::int32_t* in = inputs_.data() + row * train_.seq;
    std::int32_t* out = targets_.data() + row * train_.seq;
    const std::uint32_t mark = file->second.masked() ? kNoTarget : 0;
    for (std::size_t i = 0; i < raw_.size(); ++i) {
        const bool target = (raw_[i] & mark) == 0;
        raw_[i] &= ~mark;
        if (raw_[i] >= model_config_.vocab_size)
            return fail(Errc::data_invalid, "token " + std::to_string(raw_[i]) + " at " +
                                                std::to_string(ref.offset + i) + " of file " +
                                                std::to_string(ref.file) + ": vocabulary has " +
                                                std::to_string(model_config_.vocab_size));
        if (i < train_.seq) in[i] = static_cast<std::int32_t>(raw_[i]);
        if (i == 0) continue;
        out[i - 1] = target ? static_cast<std::int32_t>(raw_[i]) : -1;
        target_count_ += target;
    }
    return {};
}

Result<void> InnerLoop::read_batch(const std::vector<SequenceRef>& batch) {
    target_count_ = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) {
        auto read = read_sequence(batch[i], i);
        if (!read) return read;
    }
    return {};
}

TokenBatch InnerLoop::tokens(std::size_t batch) const {
    const std::size_t n = batch * train_.seq;
    return {{inputs_.data(), n}, {targets_.data(), n}, static_cast<std::uint32_t>(batch), target_count_};
}

Result<StepReport> InnerLoop::step(double lr) {
    SKERRY_ASSERT(loaded_ && !held_ && !queue_.empty());
    const std::size_t count = std::min<std::size_t>(train_.batch, queue_.size());
    const std::vector<SequenceRef> batch(queue_.begin(), queue_.begin() + static_cast<long>(count));
    auto read = read_batch(batch);
    if (!read) return fail(read.error());

    double sum = 0, norm = 0;
    if (target_count_ > 0) {
        sum = in_less_memory([&] { return path_->loss_and_gradient(tokens(count)); });
        norm = path_->gradient_norm();
    }
    if (!std::isfinite(sum) || !std::isfinite(norm))
        return fail(Errc::not_finite, "loss " + std::to_string(sum) + ", gradient norm " + std::to_string(norm) +
                                          " at inner step " + std::to_string(steps_ + 1));
    if (target_count_ > 0) path_->update(lr, norm);
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<long>(count));
    steps_ += 1;
    sequences_ += count;
    tokens_ += count * train_.seq;
    targets_seen_ += target_count_;
    loss_sum_ += sum;
    return StepReport{target_count_ ? sum / static_cast<double>(target_count_) : delta().loss, norm, lr};
}

void InnerLoop::start_from(std::span<const float> weights) {
    path_->write(Vector::weights, 0, weights);
    path_->weights_written();
    loaded_ = true;
}

Result<double> InnerLoop::gradient(const std::vector<SequenceRef>& batch, std::span<float> out) {
    SKERRY_ASSERT(batch.size() <= train_.batch && !batch.empty());
    auto read = read_batch(batch);
    if (!read) return fail(read.error());
    const double sum = in_less_memory([&] { return path_->loss_and_gradient(tokens(batch.size())); });
    path_->copy_gradient(out);
    return sum / static_cast<double>(std::max<std::uint64_t>(1, target_count_));
}

DeltaCounters InnerLoop::delta() const {
    return {steps_, sequences_, tokens_, targets_seen_ ? loss_sum_ / static_cast<double>(targets_seen_) : 0};
}

Result<void> InnerLoop::copy_weights(std::uint64_t lo, std::uint64_t hi) {
    if (!loaded_ || held_) return fail(Errc::bad_state, "no weights to give");
    if (lo >= hi || hi > table_.elements || hi - lo > window_.elements())
        return fail(Errc::bad_shape, "range does not fit the model or the window");
    // Through a copy: what is not finite does not get into the window.
    chunk_.resize(kChunk);
    for (std::uint64_t at = lo; at < hi; at += kChunk) {
        const std::span<float> some = std::span(chunk_).first(std::min<std::uint64_t>(kChunk, hi - at));
        path_->read(Vector::weights, at, some);
        if (!all_finite(some)) return fail(Errc::not_finite, "weights hold NaN or Inf");
        std::memcpy(window_.data() + (at - lo), some.data(), some.size_bytes());
    }
    return {};
}

Result<std::unique_ptr<Reader>> InnerLoop::reader(WeightSource source) {
    if (source == WeightSource::local) {
        if (!loaded_ || held_) return fail(Errc::bad_state, "no local weights");
        return path_->reader(nullptr);
    }
    auto ready = need_theta();
    if (!ready) return fail(ready.error());
    return path_->reader(theta_.data());
}

Result<EvalResult> InnerLoop::eval(WeightSource source, const std::vector<EvalSpan>& spans, const Tick& tick) {
    auto from = reader(source);
    if (!from) return fail(from.error());
    std::vector<SequenceRef> batch;
    double sum = 0;
    EvalResult out;
    const auto flush = [&]() -> Result<void> {
        if (batch.empty()) return {};
        auto read = read_batch(batch);
        if (!read) return read;
        sum += in_less_memory([&] { return (*from)->loss(tokens(batch.size())); });
        out.tokens += target_count_;
        batch.clear();
        if (tick) tick();
        return {};
    };
    for (const auto& span : spans) {
        for (std::uint64_t i = 0; i < span.count; ++i) {
            batch.push_back({span.file, span.first + i * span.stride});
            if (batch.size() < train_.batch) continue;
            auto done = flush();
            if (!done) return fail(done.error());
        }
    }
    auto done = flush();
    if (!done) return fail(done.error());
    if (out.tokens == 0) return fail(Errc::no_data, "nothing to evaluate: no target among the sequences");
    out.loss = sum / static_cast<double>(out.tokens);
    if (!std::isfinite(out.loss)) return fail(Errc::not_finite, "loss of the evaluation");
    return out;
}

Result<Generated> InnerLoop::generate(WeightSource source, const GenerateOrder& order, const std::function<void(std::uint32_t)>& take) {
    auto from = reader(source);
    if (!from) return fail(from.error());
    const std::uint32_t most = model_config_.max_position_embeddings;
    if (order.prompt.empty()) return fail(Errc::usage, "the prompt is empty");
    if (order.prompt.size() >= most)
        return fail(Errc::usage, "the prompt has " + std::to_string(order.prompt.size()) + " tokens, the model reads " + std::to_string(most - 1) + " and answers");
    for (auto t : order.prompt)
        if (t >= model_config_.vocab_size) return fail(Errc::usage, "token of the prompt is beyond the vocabulary");

    const auto capacity = static_cast<std::uint32_t>(std::min<std::uint64_t>(most, order.prompt.size() + order.count));
    auto decoder = (*from)->decoder(capacity);
    Sampler sampler({order.temperature, order.top_k, order.top_p}, order.seed);
    std::vector<std::uint32_t> context = order.prompt;  // what the decoder has to have read
    std::vector<float> logits(model_config_.vocab_size);
    Generated out;
    while (out.tokens.size() < order.count) {
        if (context.size() > capacity) {
            context.erase(context.begin(), context.end() - capacity / 2);
            decoder->clear();
        }
        if (!order.cache) decoder->clear();
        decoder->feed(std::span(context).subspan(decoder->length()), logits);
        const std::uint32_t next = sampler.choose(logits);
        if (!std::isfinite(logits[next])) return fail(Errc::not_finite, "logits");
        out.stopped = std::ranges::find(order.stop, next) != order.stop.end();
        if (out.stopped) break;
        context.push_back(next);
        out.tokens.push_back(next);
        if (take) take(next);
    }
    return out;
}

}  // namespace skerry::node
