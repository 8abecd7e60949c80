#include "node/tokenizer/encoder.hpp"

#include <algorithm>

#include "node/tokenizer/limits.hpp"
#include "node/tokenizer/nfc.hpp"
#include "node/tokenizer/utf8.hpp"

namespace skerry::node {
namespace {

Fail too_long() {
    return fail(Errc::data_invalid, "the text has more than " + std::to_string(kMaxPieceBytes >> 20) + " MiB without a place where the tokenizer splits it",
                "break such runs of characters, or take them out");
}

/// The last place at or before `at` that no character spans.
std::size_t character_border(std::string_view text, std::size_t at) {
    while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    return at;
}

}  // namespace

Encoder::Encoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer), bpe_(*tokenizer.bpe_) {
    for (const SplitPattern& pattern : tokenizer.patterns_) matchers_.emplace_back(pattern);
}

void Encoder::reset() {
    for (Stage* stage : {&characters_, &raw_, &to_normalize_, &normalized_, &to_split_}) *stage = {};
    bytes_ = 0;
}

template <class Use>
Result<void> Encoder::run(Stage& stage, std::string_view part, bool last, Use use) {
    const bool joined = !stage.held.empty();
    if (joined) stage.held.append(part);
    const std::string_view text = joined ? std::string_view(stage.held) : part;
    Result<std::size_t> used = use(text, last);
    if (!used) return fail(used.error());
    if (text.size() - *used > kMaxPieceBytes) return too_long();
    if (joined) {
        stage.held.erase(0, *used);
    } else {
        stage.held.assign(part.substr(*used));
    }
    stage.open = !last;
    return {};
}

Result<void> Encoder::feed(std::string_view part, bool last, TokenIds& out) {
    out_ = &out;
    auto done = run(characters_, part, last, [&](std::string_view text, bool end) -> Result<std::size_t> {
        const Utf8Prefix good = check_utf8(text);
        if (good.state == Utf8State::wrong || (end && good.state == Utf8State::cut_off))
            return fail(Errc::data_invalid, "the text is not UTF-8 at byte " + std::to_string(bytes_ + good.bytes),
                        "convert it: iconv -f LATIN1 -t UTF-8");
        bytes_ += good.bytes;
        auto taken = take_raw(text.substr(0, good.bytes), end);
        if (!taken) return fail(taken.error());
        return good.bytes;
    });
    if (!done || last) reset();
    return done;
}

Result<TokenIds> Encoder::encode(std::string_view text) {
    TokenIds out;
    auto done = feed(text, true, out);
    if (!done) return fail(done.error());
    return out;
}

Result<void> Encoder::take_raw(std::string_view part, bool last) {
    if (tokenizer_.raw_.empty()) return take_to_normalize(part, last);
    return run(raw_, part, last, [&](std::string_view text, bool end) {
        return scan(tokenizer_.raw_, to_normalize_, &Encoder::take_to_normalize, text, end);
    });
}

Result<void> Encoder::take_to_normalize(std::string_view part, bool last) {
    if (!tokenizer_.file_.nfc) {
        to_normalize_.open = !last;
        return take_normalized(part, last);
    }
    return run(to_normalize_, part, last, [&](std::string_view text, bool end) -> Result<std::size_t> {
        const std::size_t sure = end ? text.size() : last_nfc_seam(text);
        const std::string_view now = text.substr(0, sure);
        if (is_surely_nfc(now)) {
            auto taken = take_normalized(now, end);
            if (!taken) return fail(taken.error());
            return sure;
        }
        auto normal = to_nfc(now);
        if (!normal) return fail(normal.error());
        auto taken = take_normalized(*normal, end);
        if (!taken) return fail(taken.error());
        return sure;
    });
}

Result<void> Encoder::take_normalized(std::string_view part, bool last) {
    if (tokenizer_.normalized_.empty()) return take_to_split(part, last);
    return run(normalized_, part, last, [&](std::string_view text, bool end) {
        return scan(tokenizer_.normalized_, to_split_, &Encoder::take_to_split, text, end);
    });
}

Result<std::size_t> Encoder::scan(const AddedTrie& trie, Stage& after, Next next, std::string_view text, bool last) {
    std::size_t done = 0, from = 0;
    // A token that begins before here is whole in `text`, and so is any longer one.
    const std::size_t sure = last ? text.size() : text.size() - std::min(text.size(), trie.longest() - 1);
    for (;;) {
        const auto hit = trie.find(text, from);
        if (!hit || hit->begin >= sure) break;
        const std::size_t end = hit->rstrip ? hit->end + white_space_at_start(text.substr(hit->end)) : hit->end;
        if (!last && hit->rstrip && end >= sure) return done;
        std::size_t begin = hit->begin;
        if (hit->lstrip) begin = std::max(done, white_space_at_end(text.substr(0, begin)));
        if (done < begin || after.open) {
            auto handed = (this->*next)(text.substr(done, begin > done ? begin - done : 0), true);
            if (!handed) return fail(handed.error());
        }
        out_->push_back(hit->id);
        // White space that a token took is looked at again, as `tokenizers` does.
        done = end;
        from = hit->end;
    }
    std::size_t stop = character_border(text, sure);
    if (!last && trie.strips_left()) stop = white_space_at_end(text.substr(0, stop));
    stop = std::max(stop, done);
    if (done < stop || (last && after.open)) {
        auto handed = (this->*next)(text.substr(done, stop - done), last);
        if (!handed) return fail(handed.error());
    }
    return stop;
}

Result<void> Encoder::take_to_split(std::string_view part, bool last) {
    const bool begins = !to_split_.open && to_split_.held.empty();
    if (begins && tokenizer_.file_.prefix_space && !part.empty() && part[0] != ' ') to_split_.held = " ";
    // Nothing of the segment has come yet: its begin is still to come.
    if (begins && part.empty()) return {};
    return run(to_split_, part, last, [&](std::string_view text, bool end) { return split_open(text, end); });
}

Result<std::size_t> Encoder::split_open(std::string_view text, bool last) {
    std::size_t done = 0;
    while (!matchers_.empty() && done < text.size()) {
        auto match = matchers_[0].find(text, done, last);
        if (!match) return fail(match.error());
        if (match->kind != Match::found) break;
        for (std::string_view part : {text.substr(done, match->begin - done), text.substr(match->begin, match->end - match->begin)}) {
            auto taken = part.empty() ? Result<void>{} : split(part, 1);
            if (!taken) return fail(taken.error());
        }
        done = match->end;
    }
    if (!last) return done;
    auto rest = done < text.size() ? split(text.substr(done), 1) : Result<void>{};
    if (!rest) return fail(rest.error());
    return text.size();
}

Result<void> Encoder::split(std::string_view text, std::size_t level) {
    if (level >= matchers_.size()) return piece(text);
    std::size_t done = 0;
    while (done < text.size()) {
        auto match = matchers_[level].find(text, done, true);
        if (!match) return fail(match.error());
        if (match->kind != Match::found) break;
        for (std::string_view part : {text.substr(done, match->begin - done), text.substr(match->begin, match->end - match->begin)}) {
            auto taken = part.empty() ? Result<void>{} : split(part, level + 1);
            if (!taken) return taken;
        }
        done = match->end;
    }
    return done < text.size() ? split(text.substr(done), level + 1) : Result<void>{};
}

Result<void> Encoder::piece(std::string_view text) {
    if (text.size() > kMaxPieceBytes) return too_long();
    bpe_.encode(text, *out_);
    return {};
}

}  // namespace skerry::node
