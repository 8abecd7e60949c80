#include "tests/sim/log_disk.hpp"

#include <cerrno>

namespace skerry::sim {
namespace {

int to_errno(const Error& error) {
    switch (error.code) {
        case Errc::not_found: return ENOENT;
        case Errc::already_exists: return EEXIST;
        case Errc::disk_full: return ENOSPC;
        default: return EIO;
    }
}
template <class T>
int to_errno(const Result<T>& result) {
    return result ? 0 : to_errno(result.error());
}

}  // namespace

class LogDisk::OpenFile final : public node::DiskFile {
  public:
    OpenFile(LogDisk& disk, VirtualDisk::File file) : owner_(disk), file_(std::move(file)) {}
    ~OpenFile() override {
        if (!mapped_.empty()) owner_.disk_.write_back(file_, mapped_);
        if (locked_) owner_.locked_.erase(file_.identity());
    }

    std::int64_t write(std::uint64_t offset, ByteSpan bytes) override {
        auto written = owner_.disk_.write(file_, offset, bytes);
        return written ? static_cast<std::int64_t>(bytes.size()) : -to_errno(written);
    }
    std::int64_t read(std::uint64_t offset, std::span<std::uint8_t> out) const override {
        auto n = owner_.disk_.read(file_, offset, out);
        return n ? static_cast<std::int64_t>(*n) : -to_errno(n);
    }
    int size(std::uint64_t& bytes) const override {
        auto size = owner_.disk_.size(file_);
        if (size) bytes = *size;
        return to_errno(size);
    }
    int resize(std::uint64_t bytes) override { return to_errno(owner_.disk_.resize(file_, bytes)); }
    int reserve(std::uint64_t bytes) override {
        auto size = owner_.disk_.size(file_);
        if (!size || *size >= bytes) return to_errno(size);
        return resize(bytes);
    }
    int sync() override { return to_errno(owner_.disk_.sync(file_)); }
    int map(std::uint64_t bytes, std::span<std::uint8_t>& out) override {
        mapped_.assign(bytes, 0);
        auto read = owner_.disk_.read(file_, 0, mapped_);
        out = mapped_;
        return to_errno(read);
    }
    std::string identity() const override { return "power " + std::to_string(owner_.disk_.power_cuts()); }
    int lock() override {
        locked_ = owner_.locked_.insert(file_.identity()).second;
        return locked_ ? 0 : EWOULDBLOCK;
    }

  private:
    LogDisk& owner_;
    VirtualDisk::File file_;
    Bytes mapped_;
    bool locked_ = false;
};

// Larger than a real one's, and fewer of them to remember.
DiskModel LogDisk::model() { return {4096, true}; }

int LogDisk::open(const node::fs::path& path, Mode mode, std::unique_ptr<node::DiskFile>& out) {
    auto file = mode == Mode::read ? disk_.open(path.native()) : disk_.create(path.native());
    if (!file) return to_errno(file);
    out = std::make_unique<OpenFile>(*this, std::move(*file));
    return 0;
}
int LogDisk::make_folder(const node::fs::path& path) { return to_errno(disk_.make_folder(path.native())); }
int LogDisk::sync_folder(const node::fs::path& path) { return to_errno(disk_.sync_folder(path.native())); }
int LogDisk::rename(const node::fs::path& from, const node::fs::path& to) {
    return to_errno(disk_.rename(from.native(), to.native()));
}
int LogDisk::remove(const node::fs::path& path) { return to_errno(disk_.remove(path.native())); }
int LogDisk::list(const node::fs::path& path, std::vector<std::string>& names) {
    auto found = disk_.list(path.native());
    if (found) names = std::move(*found);
    return to_errno(found);
}
std::optional<node::Disk::About> LogDisk::about(const node::fs::path& path) {
    if (!disk_.exists(path.native())) return std::nullopt;
    if (disk_.is_folder(path.native())) return About{true, 0};
    return About{false, disk_.bytes_under(path.native())};
}

std::vector<std::string> LogDisk::files_under(const std::string& folder) const {
    std::vector<std::string> out;
    auto names = disk_.list(folder);
    if (!names) return out;
    for (const std::string& name : *names) {
        const std::string path = folder + "/" + name;
        if (disk_.is_folder(path)) {
            for (std::string& below : files_under(path)) out.push_back(std::move(below));
        } else {
            out.push_back(path);
        }
    }
    return out;
}

std::optional<std::string> LogDisk::flip_bit(const std::string& folder, Rng& rng) {
    std::vector<std::string> paths;
    for (std::string& path : files_under(folder))
        if (disk_.bytes_under(path) > 0) paths.push_back(std::move(path));
    if (paths.empty()) return std::nullopt;
    const std::string& path = paths[static_cast<std::size_t>(rng.in(0, static_cast<std::int64_t>(paths.size()) - 1))];
    auto file = disk_.open(path);
    if (!file) return std::nullopt;
    const auto size = static_cast<std::int64_t>(disk_.bytes_under(path));
    // Heads and tables are small: as often there as anywhere.
    const auto at = static_cast<std::uint64_t>(rng.in(0, (rng.chance(0.5) ? size : std::min<std::int64_t>(size, 400)) - 1));
    std::uint8_t byte = 0;
    auto read = disk_.read(*file, at, {&byte, 1});
    if (!read) return std::nullopt;
    byte = static_cast<std::uint8_t>(byte ^ (1U << rng.in(0, 7)));
    auto written = disk_.write(*file, at, {&byte, 1});
    if (written) (void)disk_.sync(*file);  // if this fails it is flipped for a while
    return written ? std::optional(path) : std::nullopt;
}

}  // namespace skerry::sim
