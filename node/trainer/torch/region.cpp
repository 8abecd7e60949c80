#include "node/trainer/torch/region.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace skerry::node {

Result<Region> Region::map(int descriptor, std::uint64_t elements, bool writable) {
    struct stat info {};
    if (::fstat(descriptor, &info) != 0) return fail(Errc::io_error, std::strerror(errno));
    const auto bytes = elements * sizeof(float);
    if (elements == 0 || static_cast<std::uint64_t>(info.st_size) < bytes)
        return fail(Errc::bad_shape, "region of " + std::to_string(info.st_size) + " bytes, " +
                                         std::to_string(bytes) + " needed");
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void* p = ::mmap(nullptr, bytes, protection, MAP_SHARED, descriptor, 0);
    if (p == MAP_FAILED) return fail(Errc::io_error, std::string("mmap: ") + std::strerror(errno));
    Region out;
    out.data_ = static_cast<float*>(p);
    out.elements_ = elements;
    return out;
}

Region::Region(Region&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), elements_(std::exchange(other.elements_, 0)) {}

Region& Region::operator=(Region&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(elements_, other.elements_);
    return *this;
}

Region::~Region() {
    if (data_) ::munmap(data_, elements_ * sizeof(float));
}

}  // namespace skerry::node
