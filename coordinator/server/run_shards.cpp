#include "coordinator/server/run_shards.hpp"

#include "protocol/rules/base_file.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::coordinator {

std::vector<std::pair<Digest, std::uint64_t>> shards_of(const RunRow& run) {
    auto out = files_of(run.data_manifest);
    const auto manifest = parse_manifest(run.manifest);
    if (manifest && !manifest->initial_root.is_zero())
        out.emplace_back(manifest->initial_root, base_file_bytes(manifest->elements));
    return out;
}

}  // namespace skerry::coordinator
