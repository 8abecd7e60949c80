#pragma once
// tokenizer.json for a model whose tokens are bytes: byte-level BPE without merges, id = byte.

#include <string>

namespace skerry::node {

std::string byte_tokenizer_json();
std::string byte_tokenizer_config_json(unsigned max_positions);

}  // namespace skerry::node
