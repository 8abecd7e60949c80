#pragma once
// The files that a rebuild makes: the coordinator's folder, and the run's database in it.

#include "coordinator/app/rebuild_app.hpp"
#include "coordinator/app/service_keys.hpp"
#include "coordinator/core/rebuild.hpp"

namespace skerry::coordinator {

/// Keys and coordinator.toml of a new folder; a service key that is there stays.
/// Errors: usage; wrong_coordinator; those of the files.
Result<ServiceKeys> prepare_folder(const RebuildOptions& options, const Places& places);

/// The database, complete before it has its name. Errors: those of the settings and of the files.
Result<void> write_run(const Places& places, const RebuildOptions& options, const Rebuilt& rebuilt);

}  // namespace skerry::coordinator
