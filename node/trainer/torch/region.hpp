#pragma once
// Memory that the agent and the trainer share.

#include <cstdint>

#include "protocol/base/result.hpp"

namespace skerry::node {

/// A mapped descriptor of float32 that another process owns.
class Region {
  public:
    /// Errors: bad_shape (file smaller than `elements`), io_error. The descriptor may be closed afterwards.
    static Result<Region> map(int descriptor, std::uint64_t elements, bool writable);
    Region() = default;
    Region(Region&& other) noexcept;
    Region& operator=(Region&& other) noexcept;
    ~Region();
    float* data() const { return data_; }
    std::uint64_t elements() const { return elements_; }

  private:
    float* data_ = nullptr;
    std::uint64_t elements_ = 0;
};

}  // namespace skerry::node
