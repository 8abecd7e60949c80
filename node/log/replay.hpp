#pragma once
// One entry applied to a state: the same for a running node and for whoever recomputes the log.

#include "node/log/apply_record.hpp"
#include "node/log/contribution_file.hpp"
#include "node/log/entry_file.hpp"
#include "node/log/state_files.hpp"

namespace skerry::node {

/// S_k -> S_{k+1} in the mapped files, piece by piece: decode, m = mu * m + mean, theta = theta -
/// eta * (mean + mu * m). Holds one chunk and one piece in float32. After an error the files are no
/// known state. errors  digest_mismatch, io_error, and those of Codec::validate.
/// With a record of which the apply has begun: from where that says, so that a kill does not lose the state.
Result<void> apply_entry(const EntryReader& entry, const ContributionForm& form,
                         const OuterHyper& hyper, const StateFiles& files, ApplyRecord* record = nullptr);

}  // namespace skerry::node
