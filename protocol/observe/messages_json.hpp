#pragma once
// Messages for people: what a bundle or a status shows of the last ones. Nothing in them is secret.

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "protocol/wire/messages.hpp"

namespace skerry {

nlohmann::json to_json(const Orders& orders);
nlohmann::json to_json(const Report& report);
/// Null where there is none; docs/status-json.md.
nlohmann::json to_json(const std::optional<Contribution>& contribution);

}  // namespace skerry
