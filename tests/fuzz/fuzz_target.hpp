#pragma once
// One fuzz target: what tests/fuzz/*_fuzz.cpp define. Under clang's fuzz preset libFuzzer drives it, elsewhere
// fuzz_main.cpp does.

#include <vector>

#include "protocol/base/bytes.hpp"

namespace skerry::test {

/// Valid inputs to start from.
std::vector<Bytes> fuzz_samples();
/// Must neither crash nor allocate much, whatever the input; aborts where a promise is broken.
void fuzz_one(ByteSpan input);

}  // namespace skerry::test

#ifdef SKERRY_LIBFUZZER
extern "C" inline int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    skerry::test::fuzz_one({data, size});
    return 0;
}
#endif
