#include "protocol/config/program.hpp"

#include <unistd.h>

namespace skerry {

std::filesystem::path own_folder() {
    std::error_code ec;
    auto self = std::filesystem::read_symlink("/proc/self/exe", ec);
    return ec ? std::filesystem::path() : self.parent_path();
}

std::string find_program(const std::string& name) {
    if (name.find('/') != std::string::npos) return name;
    auto beside = own_folder() / name;
    return ::access(beside.c_str(), X_OK) == 0 ? beside.string() : name;
}

}  // namespace skerry
