#include "protocol/identity/token.hpp"

#include <algorithm>
#include <charconv>

namespace skerry {
namespace {

constexpr std::string_view kScheme = "skerry://";
constexpr std::string_view kPrefix = "skr1_";
constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kBodyBytes = 1 + 8 + 16 + 16 + 4;
constexpr std::size_t kTextLength = ((kBodyBytes + 4) * 8 + 4) / 5;

std::string to_base32(ByteSpan bytes) {
    std::string out;
    std::uint32_t pending = 0;
    int bits = 0;
    for (std::uint8_t b : bytes) {
        pending = (pending << 8 | b) & 0xFFFF;
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            out += kAlphabet[(pending >> bits) & 31];
        }
    }
    if (bits > 0) out += kAlphabet[(pending << (5 - bits)) & 31];
    return out;
}

// Upper case is accepted (a QR reader may give it). Empty on a character of another kind or on loose bits.
Bytes parse_base32(std::string_view text) {
    Bytes out;
    std::uint32_t pending = 0;
    int bits = 0;
    for (char c : text) {
        char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        auto value = kAlphabet.find(lower);
        if (value == std::string_view::npos) return {};
        pending = (pending << 5 | static_cast<std::uint32_t>(value)) & 0xFFFF;
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            out.push_back(static_cast<std::uint8_t>(pending >> bits));
        }
    }
    if ((pending & ((1U << bits) - 1)) != 0) return {};
    return out;
}

Fail incomplete(const std::string& why) {
    return fail(Errc::token_incomplete, "this token was not copied whole (" + why + ")",
                "paste it in single quotes, all of it");
}

bool is_host(std::string_view host) {
    if (host.empty() || host.size() > 255) return false;
    return std::all_of(host.begin(), host.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '-' || c == '_' || c == ':';
    });
}

// host, host:port, [v6] or [v6]:port.
bool split_authority(std::string_view text, Token& token) {
    std::string_view host = text;
    std::string_view port;
    if (text.starts_with('[')) {
        auto close = text.find(']');
        if (close == std::string_view::npos) return false;
        host = text.substr(1, close - 1);
        port = text.substr(close + 1);
        if (!port.empty() && port.front() != ':') return false;
    } else if (auto colon = text.find(':'); colon != std::string_view::npos) {
        host = text.substr(0, colon);
        port = text.substr(colon);
        if (port.find(':', 1) != std::string_view::npos) return false;
    }
    if (!is_host(host)) return false;
    token.host = host;
    if (port.empty()) return true;
    port.remove_prefix(1);
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), token.port);
    return error == std::errc{} && end == port.data() + port.size() && token.port != 0;
}

Result<void> read_secret_part(std::string_view text, Token& token) {
    std::string seen = std::to_string(text.size()) + " of " + std::to_string(kTextLength) + " characters";
    Bytes raw = parse_base32(text);
    if (raw.size() != kBodyBytes + 4 || text.size() != kTextLength) return incomplete(seen);
    ByteReader in(raw);
    ByteSpan body = ByteSpan(raw).first(kBodyBytes);
    std::uint8_t first = in.u8();
    token.id = in.fixed<TokenId>();
    token.root = in.fixed<RootPin>();
    token.secret = in.fixed<TokenSecret>();
    token.expires_at = in.u32();
    if (in.u32() != crc32(body)) return incomplete("checksum differs; " + seen);
    if ((first & 15) != kVersion || first >> 4 > 1)
        return fail(Errc::version_mismatch, "this token is of a later version of skerry", "update skerry");
    token.kind = static_cast<TokenKind>(first >> 4);
    return {};
}

}  // namespace

Token make_token(std::string host, std::uint16_t port, std::string run, TokenKind kind, const RootPin& root,
                 std::uint32_t expires_at) {
    return Token{std::move(host), port,       std::move(run), kind, random_fixed<TokenId>(), root,
                 random_fixed<TokenSecret>(), expires_at};
}

std::string to_text(const Token& token) {
    ByteWriter body;
    body.u8(static_cast<std::uint8_t>(static_cast<std::uint8_t>(token.kind) << 4 | kVersion));
    body.id(token.id);
    body.id(token.root);
    body.id(token.secret);
    body.u32(token.expires_at);
    body.u32(crc32(body.view()));
    bool v6 = token.host.find(':') != std::string::npos;
    std::string out = std::string(kScheme) + (v6 ? "[" + token.host + "]" : token.host);
    if (token.port != kDefaultPort) out += ":" + std::to_string(token.port);
    return out + "/" + token.run + "#" + std::string(kPrefix) + to_base32(body.view());
}

Result<Token> parse_token(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    if (!text.starts_with(kScheme))
        return fail(Errc::usage, "a token looks like skerry://host/run#skr1_...", "ask the operator for a token");
    text.remove_prefix(kScheme.size());
    auto hash = text.find('#');
    if (hash == std::string_view::npos) return incomplete("nothing after the run's name");
    std::string_view place = text.substr(0, hash);
    std::string_view secret = text.substr(hash + 1);
    if (secret.size() < kPrefix.size()) return incomplete("it ends after '#'");
    if (!secret.starts_with(kPrefix)) {
        if (secret.starts_with("skr")) return fail(Errc::version_mismatch, "this token is of a later version of skerry", "update skerry");
        return fail(Errc::usage, "the part after '#' should start with skr1_", "ask the operator for a token");
    }
    Token token;
    auto slash = place.find('/');
    if (slash == std::string_view::npos || !split_authority(place.substr(0, slash), token))
        return fail(Errc::usage, "no host and port in skerry://" + std::string(place));
    token.run = place.substr(slash + 1);
    auto read = read_secret_part(secret.substr(kPrefix.size()), token);
    if (!read) return fail(read.error());
    if (!is_name(token.run) && !(token.run.empty() && token.kind == TokenKind::admin))
        return fail(Errc::usage, "'" + token.run + "' is no name of a run");
    return token;
}

Digest token_hash(ByteSpan id, ByteSpan secret) {
    ByteWriter fields;
    fields.blob(id);
    fields.blob(secret);
    return tagged_hash("skerry/token/1", fields);
}

bool is_name(std::string_view text) {
    if (text.empty() || text.size() > 64 || text.front() == '.' || text.front() == '-') return false;
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '-' || c == '_';
    });
}

}  // namespace skerry
