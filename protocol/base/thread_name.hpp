#pragma once
// The name by which debuggers and `top -H` know a thread (docs/threads.md).

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <pthread.h>

namespace skerry {

/// Names the one thread of a pool; at most 15 characters.
inline void name_thread(boost::asio::thread_pool& pool, const char* name) {
    boost::asio::post(pool, [name] { ::pthread_setname_np(::pthread_self(), name); });
}

}  // namespace skerry
