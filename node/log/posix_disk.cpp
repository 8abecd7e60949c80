// The only file of the log that calls the operating system.

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "node/log/disk.hpp"

namespace skerry::node {
namespace {

int outcome(int code) { return code == 0 ? 0 : errno; }

/// The kernel draws it at each start.
const std::string& boot_id() {
    static const std::string id = [] {
        char text[64] = {};
        int descriptor = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) return std::string();
        ssize_t n = ::read(descriptor, text, sizeof text);
        ::close(descriptor);
        return std::string(text, n > 0 ? static_cast<std::size_t>(n) : 0);
    }();
    return id;
}

class PosixFile final : public DiskFile {
  public:
    explicit PosixFile(int descriptor) : descriptor_(descriptor) {}
    PosixFile(const PosixFile&) = delete;
    PosixFile& operator=(const PosixFile&) = delete;
    ~PosixFile() override {
        if (mapped_ != nullptr) ::munmap(mapped_, mapped_bytes_);
        ::close(descriptor_);
    }

    std::int64_t write(std::uint64_t offset, ByteSpan bytes) override {
        ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        return n < 0 ? -errno : n;
    }
    std::int64_t read(std::uint64_t offset, std::span<std::uint8_t> out) const override {
        ssize_t n = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
        return n < 0 ? -errno : n;
    }
    int size(std::uint64_t& bytes) const override {
        struct stat info {};
        if (::fstat(descriptor_, &info) != 0) return errno;
        bytes = static_cast<std::uint64_t>(info.st_size);
        return 0;
    }
    int resize(std::uint64_t bytes) override {
        return outcome(::ftruncate(descriptor_, static_cast<off_t>(bytes)));
    }
    int reserve(std::uint64_t bytes) override {
        return outcome(::fallocate(descriptor_, 0, 0, static_cast<off_t>(bytes)));
    }
    int sync() override { return outcome(::fdatasync(descriptor_)); }
    int map(std::uint64_t bytes, std::span<std::uint8_t>& out) override {
        void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
        if (data == MAP_FAILED) return errno;
        mapped_ = data;
        mapped_bytes_ = bytes;
        out = {static_cast<std::uint8_t*>(data), bytes};
        return 0;
    }
    int lock() override { return outcome(::flock(descriptor_, LOCK_EX | LOCK_NB)); }
    int descriptor() const override { return descriptor_; }
    std::string identity() const override {
        struct stat info {};
        const std::string& boot = boot_id();
        if (boot.empty() || ::fstat(descriptor_, &info) != 0) return {};
        return boot + " " + std::to_string(info.st_dev) + " " + std::to_string(info.st_ino);
    }

  private:
    int descriptor_;
    void* mapped_ = nullptr;
    std::size_t mapped_bytes_ = 0;
};

class PosixDisk final : public Disk {
  public:
    int open(const fs::path& path, Mode mode, std::unique_ptr<DiskFile>& out) override {
        int flags = mode == Mode::read ? O_RDONLY : O_RDWR | O_CREAT;
        int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
        if (descriptor < 0) return errno;
        out = std::make_unique<PosixFile>(descriptor);
        return 0;
    }
    int make_folder(const fs::path& path) override { return outcome(::mkdir(path.c_str(), 0700)); }
    int sync_folder(const fs::path& path) override {
        const char* place = path.empty() ? "." : path.c_str();
        int descriptor = ::open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (descriptor < 0) return errno;
        int code = outcome(::fsync(descriptor));
        ::close(descriptor);
        return code;
    }
    int rename(const fs::path& from, const fs::path& to) override {
        return outcome(::rename(from.c_str(), to.c_str()));
    }
    int remove(const fs::path& path) override { return outcome(::remove(path.c_str())); }
    int list(const fs::path& path, std::vector<std::string>& names) override {
        std::error_code code;
        for (fs::directory_iterator it(path, code), end; !code && it != end; it.increment(code))
            names.push_back(it->path().filename().string());
        return code.value();
    }
    std::optional<About> about(const fs::path& path) override {
        struct stat info {};
        if (::lstat(path.c_str(), &info) != 0) return std::nullopt;
        bool file = S_ISREG(info.st_mode);
        return About{S_ISDIR(info.st_mode),
                     file ? static_cast<std::uint64_t>(info.st_blocks) * 512 : 0};
    }
};

}  // namespace

Disk& posix_disk() {
    static PosixDisk disk;
    return disk;
}

}  // namespace skerry::node
