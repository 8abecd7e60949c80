#include "protocol/base/failpoint.hpp"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <string>

#include <unistd.h>

namespace skerry {
namespace {

struct Armed {
    std::string name;
    std::atomic<long> left{1};
    bool stop = false;  ///< SIGSTOP instead of SIGKILL
};

// Parsed once, before the first failpoint returns; the list never changes after that.
std::deque<Armed>& armed() {
    static std::deque<Armed> list = [] {
        std::deque<Armed> out;
        const char* env = std::getenv("SKERRY_FAILPOINT");
        std::string_view rest = env != nullptr ? env : "";
        while (!rest.empty()) {
            auto comma = rest.find(',');
            auto item = rest.substr(0, comma);
            rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
            constexpr std::string_view kStop = ":stop";
            const bool stop = item.ends_with(kStop);
            if (stop) item.remove_suffix(kStop.size());
            auto colon = item.find(':');
            auto& entry = out.emplace_back();
            entry.name = std::string(item.substr(0, colon));
            entry.stop = stop;
            if (colon == std::string_view::npos) continue;
            auto digits = item.substr(colon + 1);
            long count = 1;
            std::from_chars(digits.data(), digits.data() + digits.size(), count);
            entry.left = count;
        }
        return out;
    }();
    return list;
}

}  // namespace

void failpoint(std::string_view name) {
    for (Armed& entry : armed()) {
        if (entry.name != name) continue;
        if (entry.left.fetch_sub(1) != 1) continue;
        if (entry.stop) {
            ::kill(::getpid(), SIGSTOP);
        } else {
            ::kill(::getpid(), SIGKILL);
            ::pause();
        }
    }
}

}  // namespace skerry
