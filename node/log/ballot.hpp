#pragma once
// A prepared plan without chunks (rollback, CONFIG): prepared/<step>.<term>.<attempt>.ballot, a sealed file whose payload is
// the plan's body.

#include <string_view>

namespace skerry::node {

inline constexpr std::string_view kBallot = ".ballot";
inline constexpr std::string_view kBallotTag = "skerry/file/ballot/1";

}  // namespace skerry::node
