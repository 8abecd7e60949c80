#pragma once
// The parts of tokenizer.json around its model. Of use to tokenizer_file.cpp alone.

#include <nlohmann/json.hpp>
#include <string>

#include "node/tokenizer/tokenizer_file.hpp"

namespace skerry::node {

Fail unsupported_tokenizer(const std::string& what);
Fail invalid_tokenizer(const std::string& what);

/// A member of an object; nullptr: absent, or no object.
const nlohmann::json* member(const nlohmann::json& json, const char* key);
/// A member that is a text; else empty.
std::string text_of(const nlohmann::json& json, const char* key);
bool flag_of(const nlohmann::json& json, const char* key, bool otherwise);

/// Normalizer, pre-tokenizer, post-processor and decoder into `out`, whose tokens are read already.
Result<void> read_parts(const nlohmann::json& json, TokenizerFile& out);

}  // namespace skerry::node
