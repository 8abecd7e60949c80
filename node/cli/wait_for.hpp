#pragma once
// A coroutine from a program that has nothing else to do.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "protocol/base/result.hpp"
#include "protocol/base/task.hpp"

namespace skerry::node {

/// Runs one coroutine to its end.
template <class T>
Result<T> wait_for(asio::io_context& io, Task<Result<T>> task) {
    std::optional<Result<T>> out;
    auto keep = [&out](std::exception_ptr error, Result<T> result) {
        if (error) std::rethrow_exception(error);
        out.emplace(std::move(result));
    };
    asio::co_spawn(io, std::move(task), keep);
    io.restart();
    io.run();
    return std::move(*out);
}

}  // namespace skerry::node
