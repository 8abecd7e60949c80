#include "node/tokenizer/bpe.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>

namespace skerry::node {
namespace {

constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15ULL;

/// The low bits depend on all.
std::uint64_t mix(std::uint64_t v) {
    v = (v ^ kOdd) * 0xD6E8FEB86659FD93ULL;
    return v ^ v >> 32;
}

std::uint64_t hash_of(std::string_view bytes) {
    std::uint64_t out = bytes.size();
    while (bytes.size() >= 8) {
        std::uint64_t word;
        std::memcpy(&word, bytes.data(), 8);
        out = mix(out ^ word);
        bytes.remove_prefix(8);
    }
    std::uint64_t rest = 0;
    std::memcpy(&rest, bytes.data(), bytes.size());
    return mix(out ^ rest);
}

std::uint64_t pair_of(std::uint32_t left, std::uint32_t right) { return std::uint64_t{left} << 32 | right; }

std::size_t slots_for(std::size_t entries) { return std::bit_ceil(2 * entries + 2); }

}  // namespace

BpeTable::BpeTable(const TokenizerFile& file) : rules_(slots_for(file.merges.size())), whole_first_(file.ignore_merges) {
    std::uint32_t rank = 0;
    for (const Merge& merge : file.merges) {
        const std::uint64_t pair = pair_of(merge.left, merge.right);
        std::size_t at = mix(pair) & (rules_.size() - 1);
        while (rules_[at].pair != kFree && rules_[at].pair != pair) at = (at + 1) & (rules_.size() - 1);
        rules_[at] = {pair, {rank++, merge.made}};  // of two equal ones the later counts, as in `tokenizers`
    }
    if (whole_first_) {
        whole_.assign(slots_for(file.tokens.size()), kNoToken);
        bytes_.resize(file.tokens.size());
    }
    for (std::uint32_t id = 0; id < file.tokens.size(); ++id) {
        const auto& token = file.tokens[id];
        if (!token.of_bytes) continue;
        if (token.bytes.size() == 1) of_byte_[static_cast<std::uint8_t>(token.bytes[0])] = id;
        if (!whole_first_) continue;
        bytes_[id] = token.bytes;
        std::size_t at = hash_of(token.bytes) & (whole_.size() - 1);
        while (whole_[at] != kNoToken) at = (at + 1) & (whole_.size() - 1);
        whole_[at] = id;
    }
}

BpeTable::Rule BpeTable::rule(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t pair = pair_of(left, right);
    std::size_t at = mix(pair) & (rules_.size() - 1);
    while (rules_[at].pair != kFree) {
        if (rules_[at].pair == pair) return rules_[at].rule;
        at = (at + 1) & (rules_.size() - 1);
    }
    return {kNoRank, 0};
}

std::uint32_t BpeTable::token_of(std::string_view bytes) const {
    if (whole_.empty()) return kNoToken;
    std::size_t at = hash_of(bytes) & (whole_.size() - 1);
    while (whole_[at] != kNoToken) {
        if (bytes_[whole_[at]] == bytes) return whole_[at];
        at = (at + 1) & (whole_.size() - 1);
    }
    return kNoToken;
}

BpeEncoder::BpeEncoder(const BpeTable& table) : table_(table), cache_(kCacheSlots) {
    static_assert(sizeof(Cached) == 64);
}

void BpeEncoder::encode(std::string_view piece, TokenIds& out) {
    if (piece.size() == 1) return out.push_back(table_.token_of(static_cast<std::uint8_t>(piece[0])));
    if (piece.size() > kCachedBytes) return merge(piece, out);
    Cached& slot = cache_[hash_of(piece) & (kCacheSlots - 1)];
    if (slot.bytes == piece.size() && std::memcmp(slot.text, piece.data(), piece.size()) == 0) {
        out.insert(out.end(), slot.id, slot.id + slot.ids);
        return;
    }
    const std::size_t before = out.size();
    merge(piece, out);
    const std::size_t made = out.size() - before;
    if (made > kCachedIds) return;
    slot.bytes = static_cast<std::uint8_t>(piece.size());
    slot.ids = static_cast<std::uint8_t>(made);
    std::memcpy(slot.text, piece.data(), piece.size());
    std::copy_n(out.begin() + static_cast<std::ptrdiff_t>(before), made, slot.id);
}

void BpeEncoder::merge(std::string_view piece, TokenIds& out) {
    if (table_.whole_first()) {
        const std::uint32_t whole = table_.token_of(piece);
        if (whole != BpeTable::kNoToken) return out.push_back(whole);
    }
    if (piece.size() <= kShort) return merge_short(piece, out);
    merge_long(piece, out);
}

void BpeEncoder::merge_short(std::string_view piece, TokenIds& out) {
    std::array<std::uint32_t, kShort> id;
    std::array<BpeTable::Rule, kShort> rule;  // of a symbol with the one behind it
    std::size_t n = piece.size();
    for (std::size_t i = 0; i < n; ++i) id[i] = table_.token_of(static_cast<std::uint8_t>(piece[i]));
    for (std::size_t i = 0; i + 1 < n; ++i) rule[i] = table_.rule(id[i], id[i + 1]);
    while (n > 1) {
        std::size_t best = 0;
        for (std::size_t i = 1; i + 1 < n; ++i)
            if (rule[i].rank < rule[best].rank) best = i;
        if (rule[best].rank == BpeTable::kNoRank) break;
        id[best] = rule[best].made;
        --n;
        for (std::size_t i = best + 1; i < n; ++i) {
            id[i] = id[i + 1];
            rule[i] = rule[i + 1];
        }
        if (best > 0) rule[best - 1] = table_.rule(id[best - 1], id[best]);
        if (best + 1 < n) rule[best] = table_.rule(id[best], id[best + 1]);
    }
    out.insert(out.end(), id.begin(), id.begin() + static_cast<std::ptrdiff_t>(n));
}

void BpeEncoder::offer(std::uint32_t at) {
    if (at == kNone || symbols_[at].after == kNone) return;
    const std::uint32_t left = symbols_[at].id, right = symbols_[symbols_[at].after].id;
    const auto rule = table_.rule(left, right);
    if (rule.rank == BpeTable::kNoRank) return;
    heap_.push_back({rule.rank, at, left, right});
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void BpeEncoder::merge_long(std::string_view piece, TokenIds& out) {
    const auto n = static_cast<std::uint32_t>(piece.size());
    symbols_.resize(n);
    for (std::uint32_t i = 0; i < n; ++i)
        symbols_[i] = {table_.token_of(static_cast<std::uint8_t>(piece[i])), i == 0 ? kNone : i - 1, i + 1 == n ? kNone : i + 1};
    heap_.clear();
    for (std::uint32_t i = 0; i < n; ++i) offer(i);
    while (!heap_.empty()) {
        std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
        const Candidate best = heap_.back();
        heap_.pop_back();
        // What was merged since is not what was offered.
        Symbol& symbol = symbols_[best.at];
        if (symbol.id != best.left || symbol.after == kNone || symbols_[symbol.after].id != best.right) continue;
        Symbol& gone = symbols_[symbol.after];
        symbol.id = table_.rule(best.left, best.right).made;
        gone.id = kNone;
        symbol.after = gone.after;
        if (gone.after != kNone) symbols_[gone.after].before = best.at;
        offer(symbol.before);
        offer(best.at);
    }
    for (std::uint32_t i = 0; i != kNone; i = symbols_[i].after) out.push_back(symbols_[i].id);
    if (symbols_.capacity() > (1U << 16)) {  // one long piece need not be paid for ever after
        std::vector<Symbol>().swap(symbols_);
        std::vector<Candidate>().swap(heap_);
    }
}

}  // namespace skerry::node
