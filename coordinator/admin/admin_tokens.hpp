#pragma once
// Administrators' tokens: of the whole coordinator, so they lie beside the runs, in one small file.

#include <filesystem>
#include <vector>

#include "coordinator/core/rows.hpp"

namespace skerry::coordinator {

/// Loaded once; each change is on disk (atomically) before it holds.
class AdminTokens {
  public:
    /// A missing file is an empty list. Errors: malformed, io_error.
    static Result<AdminTokens> load(std::filesystem::path file);

    Result<void> add(const TokenRow& row);
    /// False if there is no such token.
    Result<bool> revoke(const TokenId& id);
    const std::vector<TokenRow>& rows() const { return rows_; }

    /// Whether the bearer may administer. Errors: token_unknown, token_expired.
    Result<void> check(ByteSpan id, ByteSpan secret, std::int64_t now_unix_s) const;

  private:
    Result<void> save(const std::vector<TokenRow>& rows) const;
    std::filesystem::path file_;
    std::vector<TokenRow> rows_;
};

}  // namespace skerry::coordinator
