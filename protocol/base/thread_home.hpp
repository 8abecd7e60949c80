#pragma once
// Objects that belong to one thread check it first in every public call.

#include <thread>

#include "protocol/base/assert.hpp"

namespace skerry {

class ThreadHome {
  public:
    void check() {
        if (home_ == std::thread::id{}) home_ = std::this_thread::get_id();
        SKERRY_ASSERT(home_ == std::this_thread::get_id());
    }

  private:
    std::thread::id home_;
};

}  // namespace skerry
