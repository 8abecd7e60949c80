#include "coordinator/admin/admin_tokens.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "protocol/config/files.hpp"

namespace skerry::coordinator {
namespace {

using Json = nlohmann::json;
constexpr std::size_t kMaxFile = 1024 * 1024;

Result<TokenRow> parse_row(const Json& json) {
    auto wrong = [] { return fail(Errc::malformed, "admin-tokens.json: a token that cannot be read"); };
    if (!json.is_object()) return wrong();
    TokenRow row;
    auto id = parse_fixed_hex<TokenId>(json.value("id", ""));
    auto hash = parse_fixed_hex<Digest>(json.value("hash", ""));
    if (!id || !hash) return wrong();
    row.id = *id;
    row.hash = *hash;
    row.kind = TokenKind::admin;
    row.not_after = json.value("not_after", std::int64_t{0});
    row.revoked = json.value("revoked", false);
    row.label = json.value("label", "");
    return row;
}

}  // namespace

Result<AdminTokens> AdminTokens::load(std::filesystem::path file) {
    AdminTokens out;
    out.file_ = std::move(file);
    auto text = read_small_file(out.file_, kMaxFile);
    if (!text && text.error().code == Errc::not_found) return out;
    if (!text) return fail(text.error());
    Json json = Json::parse(*text, nullptr, false);
    if (!json.is_array()) return fail(Errc::malformed, out.file_.string() + " is no JSON list");
    try {
        for (const Json& one : json) {
            auto row = parse_row(one);
            if (!row) return fail(row.error());
            out.rows_.push_back(*row);
        }
    } catch (const Json::exception&) {
        return fail(Errc::malformed, out.file_.string() + ": a value of the wrong kind");
    }
    return out;
}

Result<void> AdminTokens::save(const std::vector<TokenRow>& rows) const {
    Json json = Json::array();
    for (const TokenRow& row : rows) {
        json.push_back({{"id", row.id.hex()}, {"hash", row.hash.hex()}, {"not_after", row.not_after},
                        {"revoked", row.revoked}, {"label", row.label}});
    }
    return write_small_file(file_, json.dump(1), 0600);
}

Result<void> AdminTokens::add(const TokenRow& row) {
    auto rows = rows_;
    rows.push_back(row);
    auto saved = save(rows);
    if (saved) rows_ = std::move(rows);
    return saved;
}

Result<bool> AdminTokens::revoke(const TokenId& id) {
    auto rows = rows_;
    auto row = std::find_if(rows.begin(), rows.end(), [&](const TokenRow& one) { return one.id == id; });
    if (row == rows.end()) return false;
    row->revoked = true;
    auto saved = save(rows);
    if (!saved) return fail(saved.error());
    rows_ = std::move(rows);
    return true;
}

Result<void> AdminTokens::check(ByteSpan id, ByteSpan secret, std::int64_t now_unix_s) const {
    Digest hash = token_hash(id, secret);
    for (const TokenRow& row : rows_) {
        if (row.revoked || row.hash != hash) continue;
        if (row.not_after != 0 && row.not_after <= now_unix_s)
            return fail(Errc::token_expired, "this administrator's token has expired", "skerry token create --role admin");
        return {};
    }
    return fail(Errc::token_unknown, "this is no administrator's token of this coordinator",
                "skerry token create --role admin --coordinator-dir DIR  on the coordinator's machine");
}

}  // namespace skerry::coordinator
