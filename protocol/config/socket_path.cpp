#include "protocol/config/socket_path.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/config/files.hpp"

namespace skerry {
namespace {
constexpr std::size_t kMaxSocketName = sizeof(sockaddr_un{}.sun_path) - 1;
}

Result<SocketPath> SocketPath::make(const std::filesystem::path& path) {
    if (path.native().size() <= kMaxSocketName) return SocketPath(path.native(), -1);
    int folder = ::open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        if (errno == ENOENT) return fail(Errc::not_found, "there is no folder " + path.parent_path().string());
        return fail(file_error("cannot open", path.parent_path(), errno));
    }
    SocketPath made("/proc/self/fd/" + std::to_string(folder) + "/" + path.filename().string(), folder);
    if (made.text_.size() > kMaxSocketName)
        return fail(Errc::usage, path.string() + " is too long for the name of a socket", "choose a folder with a shorter name");
    return made;
}

SocketPath::~SocketPath() {
    if (folder_ >= 0) ::close(folder_);
}
SocketPath::SocketPath(SocketPath&& other) noexcept : text_(std::move(other.text_)), folder_(std::exchange(other.folder_, -1)) {}
SocketPath& SocketPath::operator=(SocketPath&& other) noexcept {
    std::swap(text_, other.text_);
    std::swap(folder_, other.folder_);
    return *this;
}

}  // namespace skerry
