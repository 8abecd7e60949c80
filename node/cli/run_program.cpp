#include "node/cli/run_program.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "protocol/base/descriptor.hpp"

namespace skerry::node {

namespace {
constexpr int kNoProgram = 127;
constexpr std::size_t kMostText = 1U << 20;
}  // namespace

Result<ProgramOutput> run_program(const std::vector<std::string>& command) {
    int pair[2];
    if (::pipe2(pair, O_CLOEXEC) != 0) return fail(Errc::io_error, std::strerror(errno));
    OwnedDescriptor out(pair[0]), in(pair[1]);
    std::vector<char*> words;
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    const pid_t child = ::fork();
    if (child < 0) return fail(Errc::io_error, std::strerror(errno));
    if (child == 0) {
        ::dup2(in.get(), STDOUT_FILENO);
        ::dup2(in.get(), STDERR_FILENO);
        ::execvp(words[0], words.data());
        ::_exit(kNoProgram);
    }
    in = OwnedDescriptor();
    ProgramOutput result;
    char block[4096];
    for (ssize_t n; (n = ::read(out.get(), block, sizeof block)) > 0 || (n < 0 && errno == EINTR);)
        if (n > 0 && result.text.size() < kMostText) result.text.append(block, static_cast<std::size_t>(n));
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (result.status == kNoProgram) return fail(Errc::not_found, command[0] + " is not there", "install " + command[0]);
    return result;
}

}  // namespace skerry::node
