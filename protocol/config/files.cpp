#include "protocol/config/files.hpp"

#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry {
namespace fs = std::filesystem;
namespace {

class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }

  private:
    int fd_;
};

bool write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

}  // namespace

Error file_error(const std::string& doing, const fs::path& file, int error_number) {
    bool full = error_number == ENOSPC || error_number == EDQUOT;
    return {full ? Errc::disk_full : Errc::io_error, doing + " " + file.string() + ": " + std::strerror(error_number),
            full ? "free some space on that disk" : ""};
}

Result<std::string> read_small_file(const fs::path& file, std::size_t limit) {
    Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) {
        if (errno == ENOENT || errno == ENOTDIR) return fail(Errc::not_found, "there is no " + file.string());
        return fail(file_error("cannot read", file, errno));
    }
    std::string out;
    std::array<char, 16384> block{};
    for (;;) {
        ssize_t n = ::read(fd.get(), block.data(), block.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("cannot read", file, errno));
        if (n == 0) return out;
        out.append(block.data(), static_cast<std::size_t>(n));
        if (out.size() > limit) return fail(Errc::too_large, file.string() + " has more than " + std::to_string(limit) + " bytes");
    }
}

Result<void> write_small_file(const fs::path& file, std::string_view bytes, mode_t mode) {
    std::string pattern = file.string() + ".XXXXXX";
    Descriptor fd(::mkostemp(pattern.data(), O_CLOEXEC));
    if (fd.get() < 0) return fail(file_error("cannot write", file, errno));
    bool ok = ::fchmod(fd.get(), mode) == 0 && write_all(fd.get(), bytes) && ::fsync(fd.get()) == 0 &&
              ::rename(pattern.c_str(), file.c_str()) == 0;
    if (!ok) {
        int why = errno;
        ::unlink(pattern.c_str());
        return fail(file_error("cannot write", file, why));
    }
    fs::path parent = file.has_parent_path() ? file.parent_path() : fs::path(".");
    Descriptor folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() < 0 || ::fsync(folder.get()) != 0) return fail(file_error("cannot write", parent, errno));
    return {};
}

Result<void> make_private_folder(const fs::path& folder) {
    if (folder.empty() || fs::is_directory(folder)) return {};
    auto parent = make_private_folder(folder.parent_path());
    if (!parent) return parent;
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail(file_error("cannot make", folder, errno));
    if (!fs::is_directory(folder)) return fail(Errc::io_error, folder.string() + " is no folder");
    return {};
}

}  // namespace skerry
