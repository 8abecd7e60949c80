#include "node/cli/send_base.hpp"

#include <stdlib.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "node/cli/kept_files.hpp"
#include "node/log/base_state.hpp"
#include "protocol/config/files.hpp"
#include "protocol/rules/base_file.hpp"

namespace skerry::node {

namespace fs = std::filesystem;

Result<Scratch> Scratch::make() {
    std::string pattern = (fs::temp_directory_path() / "skerry-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return fail(file_error("cannot make", pattern, errno));
    return Scratch(pattern);
}

Scratch::~Scratch() {
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

Result<Digest> send_base(Channel& channel, std::span<const float> theta, std::span<const float> momentum) {
    auto scratch = Scratch::make();
    if (!scratch) return fail(scratch.error());
    const fs::path path = scratch->folder() / kBaseState;
    auto sha256 = write_base_state(path, theta, momentum);
    if (!sha256) return sha256;
    auto here = ask_files(channel, {*sha256});
    if (!here) return fail(here.error());
    auto sent = send_file(channel, path, {*sha256, base_file_bytes(theta.size())}, here->front());
    if (!sent) return fail(sent.error());
    return sha256;
}

}  // namespace skerry::node
