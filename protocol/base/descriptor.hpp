#pragma once
// A file descriptor that is closed when it goes away.

#include <unistd.h>

#include <utility>

namespace skerry {

class OwnedDescriptor {
  public:
    OwnedDescriptor() = default;
    explicit OwnedDescriptor(int value) : value_(value) {}
    OwnedDescriptor(OwnedDescriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
    OwnedDescriptor& operator=(OwnedDescriptor&& other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    ~OwnedDescriptor() { reset(); }

    int get() const { return value_; }
    int release() { return std::exchange(value_, -1); }
    void reset() {
        if (value_ >= 0) ::close(std::exchange(value_, -1));
    }
    explicit operator bool() const { return value_ >= 0; }

  private:
    int value_ = -1;
};

}  // namespace skerry
