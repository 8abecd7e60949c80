#include "node/data/row_packer.hpp"

#include <algorithm>

#include "node/data/token_shard.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {

RowPacker::RowPacker(ShardWriter& sink, std::uint32_t length, std::uint64_t rows_per_shard, std::uint32_t pad)
    : sink_(sink), length_(length), rows_per_shard_(rows_per_shard), pad_(pad | kNoTarget) {}

Result<void> RowPacker::add(const TokenIds& example) {
    SKERRY_ASSERT(!example.empty() && example.size() <= length_);
    std::size_t best = open_.size();
    for (std::size_t i = 0; i < open_.size(); ++i) {
        if (open_[i].size() + example.size() > length_) continue;
        if (best == open_.size() || open_[i].size() > open_[best].size()) best = i;
    }
    if (best == open_.size()) {
        if (open_.size() == kOpenRows) {
            const auto fullest = std::ranges::max_element(open_, {}, &TokenIds::size);
            auto done = emit(static_cast<std::size_t>(fullest - open_.begin()));
            if (!done) return done;
        }
        best = open_.size();
        open_.emplace_back();
    }
    open_[best].insert(open_[best].end(), example.begin(), example.end());
    return open_[best].size() == length_ ? emit(best) : Result<void>{};
}

Result<void> RowPacker::emit(std::size_t row) {
    TokenIds tokens = std::move(open_[row]);
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(row));
    padding_ += length_ - tokens.size();
    tokens.resize(length_, pad_);
    ++rows_;
    // The last row of a shard reads one token more as its last target: padding.
    if (++in_shard_ == rows_per_shard_) {
        tokens.push_back(pad_);
        in_shard_ = 0;
    }
    return sink_.add(tokens);
}

Result<void> RowPacker::finish() {
    while (!open_.empty()) {
        auto done = emit(0);
        if (!done) return done;
    }
    return in_shard_ == 0 ? Result<void>{} : sink_.add(std::span(&pad_, 1));
}

}  // namespace skerry::node
