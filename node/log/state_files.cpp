#include "node/log/state_files.hpp"

#include <algorithm>
#include <cstring>

#include "protocol/rules/chain.hpp"
#include "protocol/rules/initial_state.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kStateTag = "skerry/state/1";
constexpr std::string_view kMarkTag = "skerry/file/mark/1";
constexpr std::size_t kStateBlockBytes = 14 + 1 + 8 + 2 * Digest::size();

std::span<float> as_floats(std::span<std::uint8_t> bytes) {
    return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

}  // namespace

Bytes to_bytes(const StateRoots& roots) {
    ByteWriter w;
    w.bytes(as_bytes(kStateTag));
    w.u8(0);
    w.u64(roots.tokens);
    w.id(roots.theta_root);
    w.id(roots.m_root);
    return w.take();
}

Result<StateRoots> parse_state_roots(ByteSpan block) {
    ByteReader r(block);
    StateRoots roots;
    ByteSpan tag = r.bytes(kStateTag.size());
    bool form = r.ok() && as_text(tag) == kStateTag && r.u8() == 0;
    roots.tokens = r.u64();
    roots.theta_root = r.fixed<Digest>();
    roots.m_root = r.fixed<Digest>();
    if (!form || block.size() != kStateBlockBytes || !r.ok())
        return fail(Errc::malformed, "not a state's roots");
    return roots;
}

Digest digest_of(const StateRoots& roots) {
    return state_digest(roots.tokens, roots.theta_root, roots.m_root);
}

StateRoots StateLeaves::roots(std::uint64_t tokens) const {
    return {tokens, merkle_root(theta), merkle_root(m)};
}

Result<StateFiles> StateFiles::open(const DiskPath& folder, const PieceGrid& grid) {
    auto made = make_folder(folder);
    if (!made) return fail(made.error());
    StateFiles files;
    files.folder_ = folder;
    files.grid_ = grid;
    auto theta = MappedFile::open(folder / "theta", grid.elements * sizeof(float));
    if (!theta) return fail(theta.error());
    files.theta_ = std::move(*theta);
    auto momentum = MappedFile::open(folder / "m", grid.elements * sizeof(float));
    if (!momentum) return fail(momentum.error());
    files.momentum_ = std::move(*momentum);
    auto descriptor = File::open_read(folder / "theta");
    if (!descriptor) return fail(descriptor.error());
    files.theta_descriptor_ = std::move(*descriptor);
    return files;
}

std::span<float> StateFiles::theta() const { return as_floats(theta_.bytes()); }
std::span<float> StateFiles::momentum() const { return as_floats(momentum_.bytes()); }

std::string StateFiles::identity() const {
    const std::string theta = theta_.identity();
    const std::string momentum = momentum_.identity();
    return theta.empty() || momentum.empty() ? std::string() : theta + " " + momentum;
}

StateLeaves StateFiles::leaves() const {
    StateLeaves out;
    out.theta.reserve(grid_.count());
    out.m.reserve(grid_.count());
    for (std::uint32_t p = 0; p < grid_.count(); ++p) {
        PieceIndex piece{p};
        out.theta.push_back(float_leaf(theta().subspan(grid_.first(piece), grid_.size(piece))));
        out.m.push_back(float_leaf(momentum().subspan(grid_.first(piece), grid_.size(piece))));
    }
    return out;
}

std::optional<StateMark> StateFiles::mark() const {
    auto payload = read_sealed(folder_ / "mark", kMarkTag, 4096);
    if (!payload) return std::nullopt;
    ByteReader r(*payload);
    StateMark mark;
    mark.step = r.strong<Step>();
    auto roots = parse_state_roots(r.bytes(r.remaining()));
    if (!r.ok() || !roots) return std::nullopt;
    mark.roots = *roots;
    return mark;
}

Result<void> StateFiles::write_mark(const StateMark& mark) {
    ByteWriter w;
    w.id(mark.step);
    w.bytes(to_bytes(mark.roots));
    return write_sealed(folder_ / "mark", kMarkTag, w.view());
}

Result<void> StateFiles::clear_mark() {
    auto removed = remove_tree(folder_ / "mark");
    if (!removed) return removed;
    return sync_folder(folder_);
}

void fill_initial_state(const Manifest& manifest, const PieceGrid& grid, const StateFiles& files) {
    for (const TensorRow& tensor : manifest.tensors) {
        std::uint64_t stream = init_stream(manifest.seed, tensor.name);
        for (std::uint64_t done = 0; done < tensor.elements;) {
            std::uint64_t count =
                std::min<std::uint64_t>(grid.piece_elements, tensor.elements - done);
            const auto part = files.theta().subspan(tensor.first_element + done, count);
            if (starts_as_zero(tensor.name, tensor.init_scale)) std::fill(part.begin(), part.end(), 0.0F);
            else fill_initial(stream, tensor.init_scale, done, part);
            done += count;
        }
    }
    std::span<float> m = files.momentum();
    std::memset(m.data(), 0, m.size_bytes());
}

}  // namespace skerry::node
