#pragma once
// Where the programs of one installation lie: beside each other, then in PATH.

#include <filesystem>
#include <string>

namespace skerry {

/// The folder of the running program (/proc/self/exe); empty if it cannot be told.
std::filesystem::path own_folder();

/// The path of a program that lies beside this one, else its bare name for a search in PATH. A name with a slash is
/// what it is.
std::string find_program(const std::string& name);

}  // namespace skerry
