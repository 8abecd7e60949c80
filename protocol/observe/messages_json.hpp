#pragma once
// Orders and Reports for people: what a bundle shows of the last ones. Nothing in them is secret.

#include <nlohmann/json_fwd.hpp>

#include "protocol/wire/messages.hpp"

namespace skerry {

nlohmann::json to_json(const Orders& orders);
nlohmann::json to_json(const Report& report);

}  // namespace skerry
