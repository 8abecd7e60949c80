#pragma once
// Added tokens: texts such as <|endoftext|> that are one token wherever they stand.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::node {

struct AddedToken {
    std::uint32_t id = 0;
    std::string content;      ///< UTF-8
    bool lstrip = false;      ///< takes the white space before it along
    bool rstrip = false;      ///< and behind it
    bool normalized = false;  ///< is looked for in the normalised text
    bool special = false;     ///< may be left out when decoding
};

/// Finds added tokens: the leftmost, and of those the longest. Immutable.
class AddedTrie {
  public:
    /// `content` is not empty.
    void add(std::string_view content, const AddedToken& token);

    struct Hit {
        std::size_t begin = 0, end = 0;
        std::uint32_t id = 0;
        bool lstrip = false, rstrip = false;
    };
    /// The first token in `text` at or after `from`.
    std::optional<Hit> find(std::string_view text, std::size_t from) const;

    bool empty() const { return longest_ == 0; }
    std::size_t longest() const { return longest_; }  ///< bytes
    bool strips_left() const { return strips_left_; }

  private:
    struct Node {
        std::vector<std::pair<char, std::uint32_t>> next;
        std::int64_t token = -1;  ///< index into `tokens_`
    };
    struct Token {
        std::uint32_t id;
        bool lstrip, rstrip;
    };
    const Node* step(const Node& node, char c) const;

    std::vector<Node> nodes_{1};
    std::vector<Token> tokens_;
    std::array<bool, 256> first_{};
    std::size_t longest_ = 0;
    bool strips_left_ = false;
};

}  // namespace skerry::node
