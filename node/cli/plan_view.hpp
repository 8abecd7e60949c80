#pragma once
// A plan as people and programs read it.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "node/cli/run_plan.hpp"

namespace skerry::node {

/// `assumed`: what the plan takes for granted, a sentence each.
std::vector<std::string> to_lines(const RunPlan& plan, const Manifest& manifest, const DataManifest& data, const std::vector<std::string>& assumed);
/// `skerry.plan/1` without `schema`.
nlohmann::json to_json(const RunPlan& plan, const Manifest& manifest, const DataManifest& data, const std::vector<std::string>& assumed);

/// `warn  NODE: WHAT` and, if there is one, `      fix: FIX`.
std::vector<std::string> to_lines(const Concern& concern);

/// `up binds: 7.20 MiB of a step at 244.1 KiB/s take 30 s`.
std::string to_text(const LimitUse& use);

/// Of a node of `skerry nodes --json`: what it reported of its machine. `elements`: of the run that it is in, whose speed is
/// converted to a model of `wanted` elements.
Means means_of(const nlohmann::json& node, std::uint64_t elements, std::uint64_t wanted);

}  // namespace skerry::node
