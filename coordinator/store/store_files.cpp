#include "coordinator/store/store_files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace skerry::coordinator {

namespace fs = std::filesystem;

namespace {

Fail os_error(const std::string& what, const fs::path& path) {
    const int code = errno;
    if (code == EEXIST) return fail(Errc::already_exists, path.string() + " exists");
    return fail(code == ENOSPC || code == EDQUOT ? Errc::disk_full : Errc::io_error,
                what + " " + path.string() + ": " + std::strerror(code),
                code == ENOSPC || code == EDQUOT ? "free space on the coordinator's disk" : "");
}

/// Owns a descriptor.
class Descriptor {
  public:
    Descriptor(const fs::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    bool is_open() const { return fd_ >= 0; }
    int get() const { return fd_; }

  private:
    int fd_;
};

Result<void> sync_path(const fs::path& path, int flags) {
    Descriptor opened(path, flags);
    if (!opened.is_open()) return os_error("open", path);
    if (::fsync(opened.get()) != 0) return os_error("fsync", path);
    return {};
}

Result<void> write_all(int fd, const char* data, std::size_t bytes, const fs::path& path) {
    while (bytes > 0) {
        const ssize_t n = ::write(fd, data, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("write", path);
        data += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return {};
}

class OsFiles final : public StoreFiles {
  public:
    const char* vfs() const override { return nullptr; }

    bool exists(const fs::path& file) override {
        std::error_code ignored;
        return fs::exists(file, ignored);
    }
    Result<void> create_private(const fs::path& file) override {
        Descriptor made(file, O_CREAT | O_EXCL | O_RDWR);
        if (!made.is_open()) return os_error("create", file);
        return {};
    }
    Result<void> copy_durably(const fs::path& from, const fs::path& to) override {
        Descriptor source(from, O_RDONLY);
        if (!source.is_open()) return os_error("open", from);
        if (auto gone = remove(to); !gone) return gone;
        Descriptor target(to, O_CREAT | O_EXCL | O_WRONLY);
        if (!target.is_open()) return os_error("create", to);
        std::vector<char> buffer(1 << 20);
        for (;;) {
            const ssize_t n = ::read(source.get(), buffer.data(), buffer.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return os_error("read", from);
            if (n == 0) break;
            if (auto done = write_all(target.get(), buffer.data(), static_cast<std::size_t>(n), to); !done) return done;
        }
        if (::fsync(target.get()) != 0) return os_error("fsync", to);
        return {};
    }
    Result<void> link(const fs::path& from, const fs::path& to) override {
        if (::link(from.c_str(), to.c_str()) != 0) return os_error("link", to);
        return {};
    }
    Result<void> rename(const fs::path& from, const fs::path& to) override {
        if (::rename(from.c_str(), to.c_str()) != 0) return os_error("rename", from);
        return {};
    }
    Result<void> remove(const fs::path& file) override {
        if (::unlink(file.c_str()) != 0 && errno != ENOENT) return os_error("remove", file);
        return {};
    }
    Result<void> sync(const fs::path& file) override { return sync_path(file, O_RDONLY); }
    Result<void> sync_folder(const fs::path& folder) override {
        return sync_path(folder.empty() ? fs::path(".") : folder, O_RDONLY | O_DIRECTORY);
    }
};

}  // namespace

StoreFiles& os_files() {
    static OsFiles files;
    return files;
}

}  // namespace skerry::coordinator
