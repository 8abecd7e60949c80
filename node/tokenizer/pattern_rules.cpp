#include "node/tokenizer/pattern_rules.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "node/tokenizer/limits.hpp"

namespace skerry::node {
namespace {

// Insides of a class.
constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kLaterLetters =
    R"(\x{1c89}\x{1c8a}\x{a7cb}-\x{a7cd}\x{a7da}-\x{a7dc}\x{105c0}-\x{105f3}\x{10d4a}-\x{10d65}\x{10d6f}-\x{10d85})"
    R"(\x{10ec2}-\x{10ec4}\x{1123f}\x{11240}\x{11380}-\x{11389}\x{1138b}\x{1138e}\x{11390}-\x{113b5}\x{113b7}\x{113d1})"
    R"(\x{113d3}\x{11bc0}-\x{11be0}\x{11f02}\x{11f04}-\x{11f10}\x{11f12}-\x{11f33}\x{1342f}\x{13441}-\x{13446})"
    R"(\x{13460}-\x{143fa}\x{16100}-\x{1611d}\x{16d40}-\x{16d6c}\x{18cff}\x{1b132}\x{1b155}\x{1df25}-\x{1df2a})"
    R"(\x{1e030}-\x{1e06d}\x{1e4d0}-\x{1e4eb}\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})";
constexpr std::string_view kLaterNumbers =
    R"(\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}\x{11f50}-\x{11f59}\x{16130}-\x{16139}\x{16d70}-\x{16d79})"
    R"(\x{1ccf0}-\x{1ccf9}\x{1d2c0}-\x{1d2d3}\x{1e4f0}-\x{1e4f9}\x{1e5f1}-\x{1e5fa})";

constexpr std::array<std::string_view, 31> kCategories = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",
                                                          "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
                                                          "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};
// Two letters that Oniguruma, ignoring case, also finds in one character (ß, ﬁ and the like).
constexpr std::array<std::string_view, 5> kFoldedPairs = {"ss", "st", "ff", "fi", "fl"};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_ascii(char c) { return static_cast<signed char>(c) >= 0; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// One pass over a pattern.
class Rewriter {
  public:
    explicit Rewriter(std::string_view pattern) : in_(pattern) {}

    Result<std::string> run() {
        while (at_ < in_.size()) {
            auto done = element();
            if (!done) return fail(done.error());
        }
        return std::move(out_);
    }

  private:
    Fail refused(const std::string& what) const {
        return fail(Errc::data_invalid,
                    "a split pattern has " + what + " at byte " + std::to_string(at_) + ", which is not supported: " + std::string(in_),
                    "a byte-level BPE tokenizer of the GPT-2, Llama-3 or Qwen kind");
    }
    char peek(std::size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
    bool starts(std::string_view text) const { return in_.substr(at_).starts_with(text); }
    void copy(std::size_t n) {
        out_ += in_.substr(at_, n);
        at_ += n;
    }

    Result<void> element() {
        const char c = peek();
        if (c != '\\' && !is_letter(c)) last_letter_ = '\0';
        switch (c) {
            case '\\': return escape();
            case '[': return char_class();
            case '(': return open();
            case ')':
                if (!ignoring_case_.empty()) ignoring_case_.pop_back();
                copy(1);
                return {};
            case '*':
            case '+':
            case '?':
                copy(1);
                if (peek() == '?' || peek() == '+') copy(1);
                return {};
            case '{': return counted();
            case '^':
            case '$': return refused("an anchor");
            case '\0': return refused("a NUL");
            default: return literal(c);
        }
    }

    Result<void> literal(char c) {
        if (ignores_case()) {
            if (!is_ascii(c)) return refused("a character beyond ASCII in (?i:");
            const std::array<char, 2> pair = {lower(last_letter_), lower(c)};
            if (std::ranges::find(kFoldedPairs, std::string_view(pair.data(), 2)) != kFoldedPairs.end())
                return refused("'" + std::string(pair.data(), 2) + "' in (?i:");
            last_letter_ = is_letter(c) ? c : '\0';
        }
        copy(1);
        return {};
    }

    Result<void> open() {
        bool ignores = ignores_case();
        std::size_t size = 1;
        if (peek(1) == '*') return refused("(*");
        if (peek(1) == '?') {
            if (starts("(?i:")) {
                ignores = true;
                size = 4;
            } else if (starts("(?:") || starts("(?=") || starts("(?!") || starts("(?>")) {
                size = 3;
            } else {
                return refused(std::string(in_.substr(at_, 4)));
            }
        }
        ignoring_case_.push_back(ignores);
        if (size == 1) {
            out_ += "(?:";  // nobody asks for what a group caught
            ++at_;
        } else {
            copy(size);
        }
        return {};
    }

    /// {n}, {n,} and {n,m}; the last two also reluctant. Ruby reads {,m}, {n}? and {n}+ its own way.
    Result<void> counted() {
        std::size_t n = 1;
        while (is_digit(peek(n))) ++n;
        const bool has_least = n > 1;
        const bool comma = peek(n) == ',';
        if (comma) ++n;
        while (is_digit(peek(n))) ++n;
        if (!has_least || peek(n) != '}') return refused("a brace that is no quantifier");
        ++n;
        if (peek(n) == '+' || (peek(n) == '?' && !comma)) return refused("a quantifier of a quantifier");
        if (peek(n) == '?') ++n;
        copy(n);
        return {};
    }

    /// \p{..} or \P{..}: the category.
    Result<std::string_view> property() const {
        const std::size_t end = in_.find('}', at_);
        if (peek(2) != '{' || end == std::string_view::npos) return refused("\\p without {..}");
        const std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
        if (std::ranges::find(kCategories, name) == kCategories.end())
            return refused("\\p{" + std::string(name) + "}, no general category,");
        return name;
    }

    static std::string inside_of(std::string_view category) {
        std::string out = "\\p{" + std::string(category) + "}";
        if (category == "L") out += kLaterLetters;
        if (category == "N") out += kLaterNumbers;
        return out;
    }

    Result<void> escape() {
        last_letter_ = '\0';
        const char c = peek(1);
        if (c == 's' || c == 'S') {
            out_ += (c == 's' ? "[" : "[^") + std::string(kWhiteSpace) + "]";
            at_ += 2;
            return {};
        }
        if (c == 'p' || c == 'P') {
            auto category = property();
            if (!category) return fail(category.error());
            out_ += (c == 'p' ? "[" : "[^") + inside_of(*category) + "]";
            at_ += 4 + category->size();
            return {};
        }
        return plain_escape();
    }

    Result<void> plain_escape() {
        const char c = peek(1);
        const bool known = c == 'r' || c == 'n' || c == 't' || c == 'f' || c == 'd' || c == 'D';
        if (!known && (c == '\0' || is_letter(c) || is_digit(c) || !is_ascii(c)))
            return refused("\\" + (c == '\0' ? std::string() : std::string(1, c)));
        copy(2);
        return {};
    }

    Result<void> char_class() {
        copy(1);
        if (peek() == '^') copy(1);
        if (peek() == ']') return refused("a class that begins with ]");
        bool after_set = false, first = true;
        while (peek() != ']') {
            if (at_ >= in_.size()) return refused("a class without end");
            auto item = class_item(after_set, first);
            if (!item) return fail(item.error());
            after_set = *item;
            first = false;
        }
        copy(1);
        return {};
    }

    /// Returns whether the item was a set of its own, which is no end of a range.
    Result<bool> class_item(bool after_set, bool first) {
        if (peek() == '[') return refused("[ in a class");
        if (starts("&&")) return refused("&& in a class");
        if (peek() == '-' && !first && peek(1) != ']') {
            const bool before_set = peek(1) == '\\' && std::string_view("sSdDpP").find(peek(2)) != std::string_view::npos;
            if (after_set || before_set) return refused("a range with a set at its end");
        }
        if (ignores_case() && !is_ascii(peek())) return refused("a character beyond ASCII in (?i:");
        if (peek() != '\\') {
            copy(1);
            return false;
        }
        switch (peek(1)) {
            case 's':
                out_ += kWhiteSpace;
                at_ += 2;
                return true;
            case 'p': {
                auto category = property();
                if (!category) return fail(category.error());
                out_ += inside_of(*category);
                at_ += 4 + category->size();
                return true;
            }
            case 'S':
            case 'P': return refused("a negated set in a class");
            default: {
                const bool set = peek(1) == 'd' || peek(1) == 'D';
                auto plain = plain_escape();
                if (!plain) return fail(plain.error());
                return set;
            }
        }
    }

    bool ignores_case() const { return !ignoring_case_.empty() && ignoring_case_.back(); }

    std::string_view in_;
    std::string out_;
    std::size_t at_ = 0;
    std::vector<bool> ignoring_case_;  ///< of each open group
    char last_letter_ = '\0';          ///< the literal before this one
};

}  // namespace

Result<std::string> to_pcre2(std::string_view pattern) {
    if (pattern.size() > kMaxPatternBytes)
        return fail(Errc::too_large, "a split pattern of " + std::to_string(pattern.size()) + " bytes, more than " +
                                         std::to_string(kMaxPatternBytes));
    return Rewriter(pattern).run();
}

std::string quote_pattern(std::string_view text) {
    std::string out;
    for (char c : text) {
        if (is_ascii(c) && !is_letter(c) && !is_digit(c) && static_cast<unsigned char>(c) > 32) out += '\\';
        out += c;
    }
    return out;
}

}  // namespace skerry::node
