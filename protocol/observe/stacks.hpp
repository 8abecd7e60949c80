#pragma once
// The stacks of all threads of this process, as text: where each one is right now.

#include <chrono>
#include <string>

namespace skerry {

/// Once, before threads are started: the handler of the signal that asks a thread for its stack (SIGRTMIN + 5).
void prepare_stacks();

/// Asks every thread in turn; one that does not answer within `patience` (its signals are blocked, or it is stuck in
/// the kernel) is shown with what /proc knows of it. Lines: module, function and offset, for addr2line and people.
/// One caller at a time; not from a signal handler. Without prepare_stacks: names and states only.
std::string stacks_of_all_threads(std::chrono::milliseconds patience = std::chrono::milliseconds(200));

}  // namespace skerry
