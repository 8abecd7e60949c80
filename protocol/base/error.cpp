#include "protocol/base/error.hpp"

#include <iterator>

namespace skerry {
namespace {

struct Row {
    Errc code;
    std::string_view name;
    int exit;
    bool retryable;
};

// In the order of the enum; the static_assert below keeps the two together.
constexpr Row kRows[] = {
    {Errc::internal, "INTERNAL", 1, false},
    {Errc::cancelled, "CANCELLED", 130, false},
    {Errc::usage, "USAGE", 2, false},
    {Errc::config_invalid, "CONFIG_INVALID", 2, false},
    {Errc::token_incomplete, "TOKEN_INCOMPLETE", 2, false},
    {Errc::token_expired, "TOKEN_EXPIRED", 11, false},
    {Errc::token_used_up, "TOKEN_USED_UP", 11, false},
    {Errc::token_unknown, "TOKEN_UNKNOWN", 11, false},
    {Errc::unreachable, "COORDINATOR_UNREACHABLE", 10, true},
    {Errc::timed_out, "TIMED_OUT", 10, true},
    {Errc::closed, "CONNECTION_CLOSED", 10, true},
    {Errc::refused, "REFUSED", 11, false},
    {Errc::revoked, "REVOKED", 11, false},
    {Errc::replaced, "IDENTITY_IN_USE", 11, false},
    {Errc::wrong_coordinator, "WRONG_COORDINATOR", 16, false},
    {Errc::version_mismatch, "VERSION_MISMATCH", 12, false},
    {Errc::malformed, "MALFORMED", 1, false},
    {Errc::too_large, "TOO_LARGE", 1, false},
    {Errc::rate_limited, "RATE_LIMITED", 75, true},
    {Errc::not_found, "NOT_FOUND", 15, false},
    {Errc::already_exists, "ALREADY_EXISTS", 2, false},
    {Errc::bad_state, "BAD_STATE", 75, true},
    {Errc::stale, "STALE", 75, true},
    {Errc::bad_signature, "BAD_SIGNATURE", 16, false},
    {Errc::digest_mismatch, "DIGEST_MISMATCH", 14, false},
    {Errc::bad_shape, "BAD_SHAPE", 1, false},
    {Errc::not_finite, "NOT_FINITE", 1, false},
    {Errc::disk_full, "DISK_FULL", 13, true},
    {Errc::io_error, "IO_ERROR", 75, true},
    {Errc::out_of_memory, "NOT_ENOUGH_MEMORY", 13, false},
    {Errc::port_in_use, "PORT_IN_USE", 2, false},
    {Errc::no_libtorch, "NO_LIBTORCH", 12, false},
    {Errc::trainer_failed, "TRAINER_FAILED", 1, true},
    {Errc::data_invalid, "DATA_INVALID", 14, false},
    {Errc::no_data, "NO_DATA", 14, false},
    {Errc::no_such_run, "NO_SUCH_RUN", 15, false},
    {Errc::run_ended, "RUN_ENDED", 15, false},
    {Errc::database_behind, "DATABASE_BEHIND", 75, false},
};

constexpr bool in_enum_order() {
    for (std::size_t i = 0; i < std::size(kRows); ++i) {
        if (static_cast<std::size_t>(kRows[i].code) != i) return false;
    }
    return std::size(kRows) == static_cast<std::size_t>(Errc::database_behind) + 1;
}
static_assert(in_enum_order());

const Row& row(Errc code) { return kRows[static_cast<std::size_t>(code)]; }

}  // namespace

std::string_view to_name(Errc code) { return row(code).name; }
std::optional<Errc> parse_errc(std::string_view name) {
    for (const Row& r : kRows)
        if (r.name == name) return r.code;
    return std::nullopt;
}
int exit_code(Errc code) { return row(code).exit; }
bool retryable(Errc code) { return row(code).retryable; }

std::string to_text(const Error& error) {
    std::string out = "error[" + std::string(to_name(error.code)) + "]: " + error.detail;
    if (!error.fix.empty()) out += "\nfix:   " + error.fix;
    return out;
}

}  // namespace skerry
