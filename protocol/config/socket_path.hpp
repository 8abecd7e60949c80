#pragma once
// Local sockets in deep folders: the kernel takes names of at most 107 bytes.

#include <filesystem>
#include <string>

#include "protocol/base/result.hpp"

namespace skerry {

/// A name for `path` that fits a socket address as long as this object lives: the path itself if it is short enough, else
/// one through a descriptor of its folder (/proc/self/fd/N/name), good in this process only.
class SocketPath {
  public:
    /// Errors: not_found if the folder is not there; usage if even the file's own name is too long.
    static Result<SocketPath> make(const std::filesystem::path& path);
    ~SocketPath();
    SocketPath(SocketPath&& other) noexcept;
    SocketPath& operator=(SocketPath&& other) noexcept;

    const std::string& text() const { return text_; }

  private:
    SocketPath(std::string text, int folder) : text_(std::move(text)), folder_(folder) {}
    std::string text_;
    int folder_ = -1;
};

}  // namespace skerry
