#pragma once
// Result<T>: a value or an Error, over tl::expected with the std names, [[nodiscard]].

#include <tl/expected.hpp>
#include <utility>

#include "protocol/base/error.hpp"

namespace skerry {

template <class T>
struct [[nodiscard]] Result : tl::expected<T, Error> {
    using tl::expected<T, Error>::expected;
};

template <>
struct [[nodiscard]] Result<void> : tl::expected<void, Error> {
    using tl::expected<void, Error>::expected;
    Result() = default;
};

using Fail = tl::unexpected<Error>;

inline Fail fail(Errc code, std::string detail, std::string fix = {}) {
    return Fail(Error{code, std::move(detail), std::move(fix)});
}
inline Fail fail(Error error) { return Fail(std::move(error)); }

}  // namespace skerry
