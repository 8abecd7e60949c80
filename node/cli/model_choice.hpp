#pragma once
// Which model a command is about.

#include <cstdint>
#include <optional>
#include <string>

namespace skerry::node {

/// What generate and eval have in common on the command line.
struct ModelChoice {
    std::string dir;    ///< a node's folder
    std::string model;  ///< or a Hugging Face folder
    std::optional<std::uint64_t> step;
    std::string tokenizer;  ///< folder or tokenizer.json
    bool tokens_only = false;  ///< it does without one
    std::string trainer;
    std::uint32_t threads = 0;
    std::string precision;  ///< fp32, bf16, auto; empty: as it trains
};

}  // namespace skerry::node
