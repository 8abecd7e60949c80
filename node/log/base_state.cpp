#include "node/log/base_state.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "protocol/identity/hash.hpp"
#include "protocol/rules/base_file.hpp"

namespace skerry::node {
namespace {

constexpr std::uint64_t kWindow = std::uint64_t{1} << 18;  // elements

}  // namespace

Result<Digest> write_base_state(const DiskPath& path, std::span<const float> theta, std::span<const float> m) {
    auto file = File::create(path);
    if (!file) return fail(file.error());
    Sha256 hash;
    std::uint64_t at = 0;
    auto put = [&](ByteSpan bytes) {
        hash.update(bytes);
        auto written = file->write_at(at, bytes);
        at += bytes.size();
        return written;
    };
    auto done = put(base_file_header(theta.size()));
    for (std::span<const float> part : {theta, m}) {
        for (std::uint64_t from = 0; done && from < part.size(); from += kWindow) {
            auto window = part.subspan(from, std::min<std::uint64_t>(kWindow, part.size() - from));
            if (!std::all_of(window.begin(), window.end(), [](float x) { return std::isfinite(x); }))
                return fail(Errc::not_finite, "the state holds NaN or infinity");
            done = put({reinterpret_cast<const std::uint8_t*>(window.data()), window.size_bytes()});
        }
    }
    const Bytes zeros(m.empty() ? kWindow * sizeof(float) : 0);
    for (std::uint64_t left = zeros.empty() ? 0 : theta.size_bytes(); done && left > 0;) {
        const auto window = std::min<std::uint64_t>(zeros.size(), left);
        done = put(ByteSpan(zeros).first(window));
        left -= window;
    }
    if (done) done = file->sync();
    if (!done) return fail(done.error());
    return hash.finish();
}

Result<Digest> base_state_sha256(const DiskPath& path) {
    auto file = File::open_read(path);
    if (!file) return fail(file.error());
    auto size = file->size();
    if (!size) return fail(size.error());
    Sha256 hash;
    Bytes window(std::size_t{1} << 20);
    for (std::uint64_t at = 0; at < *size; at += window.size()) {
        window.resize(std::min<std::uint64_t>(window.size(), *size - at));
        auto done = file->read_at(at, window);
        if (!done) return fail(done.error());
        hash.update(window);
    }
    return hash.finish();
}

Result<void> read_base_state(const DiskPath& path, const Digest& sha256, const StateFiles& files) {
    auto file = File::open_read(path);
    if (!file) return fail(file.error());
    const std::uint64_t elements = files.theta().size();
    auto size = file->size();
    if (!size) return fail(size.error());
    if (*size != base_file_bytes(elements))
        return fail(Errc::digest_mismatch, path.string() + " is not a base state of " + std::to_string(elements) + " elements");
    Bytes header(base_file_header(elements).size());
    auto done = file->read_at(0, header);
    if (!done) return done;
    Sha256 hash;
    hash.update(header);
    std::uint64_t at = header.size();
    for (std::span<float> part : {files.theta(), files.momentum()}) {
        for (std::uint64_t from = 0; from < part.size(); from += kWindow) {
            auto window = part.subspan(from, std::min<std::uint64_t>(kWindow, part.size() - from));
            std::span<std::uint8_t> bytes(reinterpret_cast<std::uint8_t*>(window.data()), window.size_bytes());
            done = file->read_at(at, bytes);
            if (!done) return done;
            hash.update(bytes);
            at += bytes.size();
        }
    }
    if (hash.finish() != sha256)
        return fail(Errc::digest_mismatch, path.string() + " is not the base state that the run names");
    return {};
}

bool has_first_state(const Manifest& manifest, const DiskPath& run_folder) {
    return manifest.initial_root.is_zero() || is_there(run_folder / kBaseState);
}

Result<void> load_first_state(const Manifest& manifest, const PieceGrid& grid, const DiskPath& run_folder,
                              const StateFiles& files) {
    if (!manifest.initial_root.is_zero()) return read_base_state(run_folder / kBaseState, manifest.initial_root, files);
    fill_initial_state(manifest, grid, files);
    return {};
}

}  // namespace skerry::node
