#pragma once
// What went wrong, in a form a test can compare and a person can act on.

#include <optional>
#include <string>
#include <string_view>

namespace skerry {

/// One list for code, command line and JSON. The name printed to users is `to_name`; the process exit code
/// is `exit_code` (docs/errors.md).
enum class Errc {
    internal,             // our own bug or an unclassified failure
    cancelled,            // we were asked to stop; never shown
    usage,                // bad command line
    config_invalid,       // unknown key, bad value
    token_incomplete,     // not copied whole
    token_expired,
    token_used_up,
    token_unknown,        // foreign or revoked
    unreachable,          // no TCP answer
    timed_out,
    closed,               // peer closed the connection
    refused,              // the other side said no
    revoked,
    replaced,             // another process has this identity
    wrong_coordinator,    // key does not match the token's root
    version_mismatch,     // no common protocol version
    malformed,            // bytes that are not what they claim
    too_large,
    rate_limited,
    not_found,
    already_exists,
    bad_state,            // not now
    stale,                // of an older term, epoch, plan
    bad_signature,
    digest_mismatch,
    bad_shape,
    not_finite,           // NaN or Inf
    disk_full,
    io_error,
    out_of_memory,
    port_in_use,
    no_libtorch,
    trainer_failed,
    data_invalid,         // empty, binary or missing text; bad shard
    no_data,
    no_such_run,
    run_ended,
    database_behind,      // peers know more than our database: rebuild drill
};

struct Error {
    Errc code = Errc::internal;
    std::string detail;  ///< what happened, with the values that matter
    std::string fix;     ///< a command or an action; empty where none exists
};

std::string_view to_name(Errc code);  ///< e.g. "TOKEN_EXPIRED"
/// The code of a name, as it travels between programs; empty for a name of a later version.
std::optional<Errc> parse_errc(std::string_view name);
int exit_code(Errc code);             ///< see docs/errors.md
bool retryable(Errc code);
/// `error[CODE]: ... / cause / fix` for stderr.
std::string to_text(const Error& error);

}  // namespace skerry
