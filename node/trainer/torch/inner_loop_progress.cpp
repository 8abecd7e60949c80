// Saving and restoring what a trainer has done that is not yet committed.

#include <algorithm>
#include <new>
#include <utility>

#include "node/trainer/torch/inner_loop.hpp"

namespace skerry::node {

/// Elements [lo, lo + out.size()) of delta, m, v, one behind the other.
void InnerLoop::read_delta(std::uint64_t lo, std::span<float> out) const {
    const std::uint64_t p = table_.elements;
    while (!out.empty()) {
        const std::uint64_t in = lo % p;
        const std::span<float> some = out.first(std::min<std::uint64_t>(out.size(), p - in));
        const Vector what = lo < p ? Vector::weights : lo < 2 * p ? Vector::m : Vector::v;
        path_->read(what, in, some);
        if (what == Vector::weights && !held_)
            for (std::size_t i = 0; i < some.size(); ++i) some[i] -= theta_.data()[in + i];
        lo += some.size();
        out = out.subspan(some.size());
    }
}

Result<void> InnerLoop::save(const std::string& path, const std::string& note, const Tick& tick) {
    if (!loaded_) return fail(Errc::bad_state, "nothing to save");
    const std::uint64_t p = table_.elements;
    const ReadElements read = [&](std::uint64_t lo, std::span<float> out) { read_delta(lo, out); };
    return write_progress(path, {p, path_->optimizer_steps(), delta(), targets_seen_, loss_sum_, note}, read, tick);
}

Result<ProgressCopy> InnerLoop::copy_progress(const std::string& note) const {
    if (!loaded_) return fail(Errc::bad_state, "nothing to save");
    const std::uint64_t p = table_.elements;
    ProgressCopy out{{p, path_->optimizer_steps(), delta(), targets_seen_, loss_sum_, note}, nullptr};
    if (3 * p * sizeof(float) > memory_available() / 4) return out;
    out.elements.reset(new (std::nothrow) float[3 * p]);
    if (!out.elements) return out;
    read_delta(0, {out.elements.get(), 3 * p});
    return out;
}

Result<Restored> InnerLoop::restore(const std::string& path) {
    auto ready = need_theta();
    if (!ready) return fail(ready.error());
    const std::uint64_t p = table_.elements;
    const TakeElements take = [&](std::uint64_t lo, std::span<const float> in) {
        while (!in.empty()) {
            const std::uint64_t at = lo % p;
            const auto some = in.first(std::min<std::uint64_t>(in.size(), p - at));
            if (lo < p) {
                chunk_.assign(some.begin(), some.end());
                for (std::size_t i = 0; i < some.size(); ++i) chunk_[i] = theta_.data()[at + i] + some[i];
                path_->write(Vector::weights, at, chunk_);
            } else {
                path_->write(lo < 2 * p ? Vector::m : Vector::v, at, some);
            }
            lo += some.size();
            in = in.subspan(some.size());
        }
    };
    auto header = read_progress(path, p, take);
    if (!header) return fail(header.error());
    path_->weights_written();
    path_->set_optimizer_steps(header->optimizer_step);
    steps_ = header->delta.steps;
    sequences_ = header->delta.sequences;
    tokens_ = header->delta.tokens;
    targets_seen_ = header->targets;
    loss_sum_ = header->loss_sum;
    loaded_ = true;
    held_ = false;
    return Restored{header->note, delta()};
}

}  // namespace skerry::node
