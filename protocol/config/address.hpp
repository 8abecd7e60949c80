#pragma once
// host:port as people write it.

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/wire/messages.hpp"

namespace skerry {

/// `host`, `host:port`, `1.2.3.4:port`, `[::1]:port`, `:port` (all interfaces). Errors: usage.
Result<Address> parse_address(std::string_view text, std::uint16_t default_port);
/// IPv6 in brackets.
std::string to_text(const Address& address);

}  // namespace skerry
