#include "node/core/scrub.hpp"

#include <algorithm>

#include "node/core/disk_errors.hpp"
#include "protocol/wire/chunk_codec.hpp"

namespace skerry::node {

namespace {
/// Read in one go, so long the disk thread has nothing else: milliseconds.
constexpr std::uint64_t kStepBytes = 256U << 10;
}  // namespace

/// A piece of a snapshot is one of theta and one of m.
std::uint64_t Scrub::piece_bytes() const {
    const std::uint32_t elements = context_.grid.size(PieceIndex{0});
    return at_.snapshot ? 8 * std::uint64_t{elements} : chunk_bytes(context_.manifest->codec, elements);
}

void Scrub::pump() {
    if (op_ || context_.now < next_at_) return;
    if (at_ == Kept{} && piece_ == 0) round_due_ = context_.now + context_.config.scrub_every;
    if (piece_ == 0) {
        auto next = log_.next_kept(at_);
        if (!next) {
            at_ = {};
            ++rounds_;
            next_at_ = std::max(round_due_, context_.now + Millis(1));
            return;
        }
        at_ = *next;
    }
    const std::uint64_t fit = std::max<std::uint64_t>(1, kStepBytes / piece_bytes());
    const auto pieces = static_cast<std::uint32_t>(std::min<std::uint64_t>(fit, context_.grid.count() - piece_));
    const std::uint64_t bytes = pieces * piece_bytes();
    op_ = context_.new_op();
    context_.emit(VerifyKept{*op_, at_, PieceIndex{piece_}, pieces});
    piece_ += pieces;
    read_bytes_ += bytes;
    next_at_ = context_.now + Millis(bytes * 1000 / context_.config.scrub_bytes_per_s);
}

void Scrub::next_object() {
    piece_ = 0;
    at_ = at_.snapshot ? Kept{at_.step.next(), false} : Kept{at_.step, true};
}

std::optional<Kept> Scrub::on_done(const Done& done) {
    op_.reset();
    const Kept what = at_;
    if (done.error || piece_ >= context_.grid.count()) next_object();
    if (!done.error) return std::nullopt;
    const Errc why = done.error->code;
    const bool damaged = is_damage(why) || why == Errc::not_found;
    return damaged ? std::optional(what) : std::nullopt;  // else the disk refused: next time
}

}  // namespace skerry::node
