#pragma once
// The string that an operator hands out: skerry://host[:port]/run#skr1_<base32>.
//
// The part after skr1_ is base32 (RFC 4648, lower case, no padding) of: u8 kind << 4 | version, token id (8),
// root fingerprint (16), secret (16), u32 expiry (Unix seconds; 0: none), u32 CRC-32 of all before it. Whether a
// token is expired or used up is the coordinator's to say, by its own clock.

#include <string>
#include <string_view>

#include "protocol/identity/certificate.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry {

inline constexpr std::uint16_t kDefaultPort = 7600;

using TokenId = FixedBytes<struct TokenIdTag, 8>;
using TokenSecret = FixedBytes<struct TokenSecretTag, 16>;

/// What a token opens: join a run, or administer the coordinator (its run may be empty).
enum class TokenKind : std::uint8_t { join = 0, admin = 1 };

struct Token {
    std::string host;  ///< name, IPv4, or IPv6 without brackets
    std::uint16_t port = kDefaultPort;
    std::string run;
    TokenKind kind = TokenKind::join;
    TokenId id;
    RootPin root;
    TokenSecret secret;
    std::uint32_t expires_at = 0;  ///< Unix seconds; 0: never
    friend bool operator==(const Token&, const Token&) = default;
};

/// Fills id and secret with random bytes.
Token make_token(std::string host, std::uint16_t port, std::string run, TokenKind kind, const RootPin& root,
                 std::uint32_t expires_at);

/// The port is left out if it is 7600.
std::string to_text(const Token& token);

/// Errors: token_incomplete if the checksum or the length differs; version_mismatch if it is of a later version;
/// usage if it is no token at all, or its host, port or run name are not such.
Result<Token> parse_token(std::string_view text);

/// What the coordinator stores instead of the secret: H("skerry/token/1", id, secret).
Digest token_hash(ByteSpan id, ByteSpan secret);

/// Run and node names: 1 to 64 of a-z A-Z 0-9 . _ -, not starting with '.' or '-'.
bool is_name(std::string_view text);

}  // namespace skerry
