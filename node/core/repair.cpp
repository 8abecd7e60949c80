#include "node/core/repair.hpp"

#include "node/core/disk_errors.hpp"

namespace skerry::node {

void Repair::pump() {
    if (append_) return;
    const auto step = fetch_.step();
    if (step && !log_.misses(*step)) {
        if (*step < log_.applied()) drop_staging(*step);  // pruned, jumped over or undone
        fetch_.end();
    } else if (step && fetch_.complete()) {
        const ChainLink& link = chain_.link(*step);
        append_ = {context_.new_op(), *step};
        fetch_.end();
        context_.emit(AppendEntry{append_->first, *step, *chain_.record(*step), link.plan_digest, link.root, false, false});
        return;
    } else if (step && context_.now - heard_ >= kPatience) {
        fetch_.end();  // what came of it stays staged
        rest();
    }
    if (fetch_.step() || context_.now < again_) return;
    auto next = tried_ ? log_.newest_missing(*tried_) : std::nullopt;
    if (!next) next = log_.newest_missing(chain_.known());
    if (!next) return;
    tried_ = next;
    heard_ = context_.now;
    fetch_.begin(*next, chain_.link(*next).plan_digest, chain_.link(*next).root);
}

void Repair::drop_staging(Step step) { context_.emit(DropStaging{step, chain_.link(step).plan_digest}); }

void Repair::on_fetched(const Fetched& fetched) {
    if (fetched.failed || fetched.answer.verdict != ChunkVerdict::stored) return;
    if (fetch_.on_fetched(fetched)) heard_ = context_.now;
}

void Repair::on_done(const Done& done) {
    const Step step = append_->second;
    append_.reset();
    if (!done.error) {
        log_.restored(step);
        context_.note("the entry of step " + std::to_string(step.value) + " is whole again");
        return;
    }
    if (!is_disk_error(done.error->code)) drop_staging(step);
    rest();
}

Mono Repair::next_wake() const {
    if (append_) return Mono::max();
    if (fetch_.step()) return heard_ + kPatience;
    return again_ > context_.now && log_.newest_missing(chain_.known()) ? again_ : Mono::max();
}

}  // namespace skerry::node
