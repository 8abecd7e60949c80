#include "protocol/config/address.hpp"

#include <charconv>

#include "protocol/wire/limits.hpp"

namespace skerry {

Result<Address> parse_address(std::string_view text, std::uint16_t default_port) {
    auto wrong = [&] {
        return fail(Errc::usage, "'" + std::string(text) + "' is no host:port", "write it like 192.0.2.7:7600 or [::1]:7600");
    };
    std::string_view host = text;
    std::string_view port;
    if (text.starts_with('[')) {
        auto close = text.find(']');
        if (close == std::string_view::npos) return wrong();
        host = text.substr(1, close - 1);
        auto rest = text.substr(close + 1);
        if (!rest.empty() && rest.front() != ':') return wrong();
        if (!rest.empty()) port = rest.substr(1);
        if (!rest.empty() && port.empty()) return wrong();
    } else if (auto colon = text.rfind(':'); colon != std::string_view::npos) {
        host = text.substr(0, colon);
        port = text.substr(colon + 1);
        if (host.find(':') != std::string_view::npos || port.empty()) return wrong();
    }
    Address out{std::string(host), default_port};
    if (out.host.empty()) out.host = text.starts_with(':') ? "0.0.0.0" : "";
    if (out.host.empty() || out.host.size() > kMaxHost || out.host.find_first_of(" /#@") != std::string::npos) return wrong();
    if (!port.empty()) {
        unsigned number = 0;
        auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), number);
        if (ec != std::errc{} || end != port.data() + port.size() || number > 65535) return wrong();
        out.port = static_cast<std::uint16_t>(number);
    }
    return out;
}

std::string to_text(const Address& address) {
    bool v6 = address.host.find(':') != std::string::npos;
    return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

}  // namespace skerry
