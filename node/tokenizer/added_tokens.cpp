#include "node/tokenizer/added_tokens.hpp"

#include <algorithm>

namespace skerry::node {

const AddedTrie::Node* AddedTrie::step(const Node& node, char c) const {
    for (const auto& [byte, target] : node.next)
        if (byte == c) return &nodes_[target];
    return nullptr;
}

void AddedTrie::add(std::string_view content, const AddedToken& token) {
    std::uint32_t at = 0;
    for (char c : content) {
        const Node* known = step(nodes_[at], c);
        if (known) {
            at = static_cast<std::uint32_t>(known - nodes_.data());
            continue;
        }
        const auto made = static_cast<std::uint32_t>(nodes_.size());
        nodes_[at].next.emplace_back(c, made);
        nodes_.emplace_back();
        at = made;
    }
    // Of two tokens of one text the first counts.
    if (nodes_[at].token < 0) {
        nodes_[at].token = static_cast<std::int64_t>(tokens_.size());
        tokens_.push_back({token.id, token.lstrip, token.rstrip});
    }
    first_[static_cast<unsigned char>(content.front())] = true;
    longest_ = std::max(longest_, content.size());
    strips_left_ = strips_left_ || token.lstrip;
}

std::optional<AddedTrie::Hit> AddedTrie::find(std::string_view text, std::size_t from) const {
    if (empty()) return std::nullopt;
    for (std::size_t begin = from; begin < text.size(); ++begin) {
        if (!first_[static_cast<unsigned char>(text[begin])]) continue;
        const Node* node = &nodes_[0];
        std::optional<Hit> best;
        for (std::size_t at = begin; at < text.size(); ++at) {
            node = step(*node, text[at]);
            if (!node) break;
            if (node->token < 0) continue;
            const Token& token = tokens_[static_cast<std::size_t>(node->token)];
            best = Hit{begin, at + 1, token.id, token.lstrip, token.rstrip};
        }
        if (best) return best;
    }
    return std::nullopt;
}

}  // namespace skerry::node
