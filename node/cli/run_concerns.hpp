#pragma once
// What speaks against a run as it is planned, and against each of its nodes. Pure.

#include "node/cli/run_plan.hpp"

namespace skerry::node {

/// Everything else of `plan` is filled in. `exchange_deadline`: of run.toml.
void add_concerns(RunPlan& plan, const Manifest& manifest, const std::vector<Means>& nodes, Millis exchange_deadline);

}  // namespace skerry::node
