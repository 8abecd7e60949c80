#pragma once
// `data prepare` on instruction data: examples to packed sequences with loss masks.

#include "node/data/examples.hpp"
#include "node/data/prepare.hpp"

namespace skerry::node {

/// Which members of the files' lines are examples; none: the files are texts. Errors: those of detect_examples; data_invalid: one file
/// is of examples, another is not.
Result<std::optional<ExampleFields>> example_fields(const PrepareOptions& options);

/// Every line of all files to rows. Of every 20 examples the tenth is held out (of fewer than ten the last), unless there is a
/// file of held-out ones. Errors: as prepare_data; a bad line is named.
Result<void> prepare_examples(const PrepareOptions& options, const ExampleFields& fields, const Tokenizer* tokenizer, Prepared& out);

}  // namespace skerry::node
