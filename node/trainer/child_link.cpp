#include "node/trainer/child_link.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>
#include <cstring>

#include "node/trainer/trainer_fields.hpp"

extern char** environ;

namespace skerry::node {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxLine = 65536;
constexpr int kChildDescriptor = 3;

Fail system_error(const std::string& what, int number) {
    return fail(number == ENOENT ? Errc::not_found : Errc::io_error, what + ": " + std::strerror(number));
}

/// Starts `argv` with `socket` as descriptor 3, standard output joined to standard error, and nothing else open.
Result<pid_t> start(std::vector<std::string> arguments, int socket) {
    std::vector<char*> argv;
    for (auto& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 2, 1);
    posix_spawn_file_actions_adddup2(&actions, socket, kChildDescriptor);
    posix_spawn_file_actions_addclosefrom_np(&actions, kChildDescriptor + 1);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);  // a Ctrl-C of the terminal is the agent's business
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);

    pid_t pid = -1;
    const int failed = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (failed != 0) return system_error(arguments[0], failed);
    return pid;
}

/// Python's json writes NaN and Infinity, which are not JSON: a loss or a rate that is not finite.
bool names_not_finite(const std::string& line) {
    for (const char* word : {": NaN", ":NaN", ": Infinity", ":Infinity", ": -Infinity", ":-Infinity"})
        if (line.find(word) != std::string::npos) return true;
    return false;
}

}  // namespace

ChildProcess::Link::Link(asio::any_io_executor executor, ChildOptions options)
    : executor_(executor),
      options_(std::move(options)),
      socket_(executor),
      out_wake_(executor, asio::steady_timer::time_point::max()),
      event_wake_(executor, asio::steady_timer::time_point::max()),
      ready_wake_(executor, asio::steady_timer::time_point::max()),
      saved_wake_(executor, asio::steady_timer::time_point::max()) {}

ChildProcess::Link::~Link() {
    kill();
    if (pid_ > 0) {
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {}
    }
    if (window_data_) ::munmap(window_data_, options_.window_elements * sizeof(float));
}

Result<void> ChildProcess::Link::make_window() {
    const auto bytes = options_.window_elements * sizeof(float);
    window_ = OwnedDescriptor(::memfd_create("skerry-weights", MFD_CLOEXEC));
    if (!window_ || ::ftruncate(window_.get(), static_cast<off_t>(bytes)) != 0)
        return system_error("weights window", errno);
    void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, window_.get(), 0);
    if (p == MAP_FAILED) return system_error("weights window", errno);
    window_data_ = static_cast<float*>(p);
    return {};
}

Result<void> ChildProcess::Link::spawn() {
    auto window = make_window();
    if (!window) return window;
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return system_error("socketpair", errno);
    OwnedDescriptor mine(pair[0]), theirs(pair[1]);

    auto arguments = options_.command;
    for (const auto& more : {std::string("--fd"), std::to_string(kChildDescriptor), std::string("--threads"),
                             std::to_string(options_.threads)})
        arguments.push_back(more);
    if (options_.path != TrainerPath::automatic) arguments.insert(arguments.end(), {"--path", to_name(options_.path)});
    if (options_.memory_bytes > 0) arguments.insert(arguments.end(), {"--memory", std::to_string(options_.memory_bytes)});
    auto pid = start(std::move(arguments), theirs.get());
    if (!pid) return fail(pid.error());
    pid_ = *pid;
    socket_.assign(asio::local::stream_protocol(), mine.release());
    socket_.native_non_blocking(true);
    status_.last_line = std::chrono::steady_clock::now();
    return {};
}

void ChildProcess::Link::kill() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
}

Task<> ChildProcess::Link::run() {
    using namespace asio::experimental::awaitable_operators;
    auto reading = read_lines();
    auto writing = write_lines();
    co_await (std::move(reading) || std::move(writing));
    gone_ = true;
    status_.phase = "gone";
    boost::system::error_code ignored;
    socket_.close(ignored);
    co_await reap();
    wake_everybody();
}

void ChildProcess::Link::wake_everybody() {
    // What the dynamic loader says when a library is not there.
    if (!greeted_ && exit_status_ == 127)
        lost(Errc::no_libtorch, options_.command[0] + " could not load its libraries (libtorch)");
    const std::string detail = failure_detail_.empty() ? "the trainer is gone" : failure_detail_;
    events_.push_back(TrainerExit{exit_status_, failure_, detail});
    for (auto& p : pending_) {
        p->answer = fail(failure_, detail);
        p->wake.cancel();
    }
    pending_.clear();
    event_wake_.cancel();
    ready_wake_.cancel();
    saved_wake_.cancel();
}

bool ChildProcess::Link::try_reap() {
    int status = 0;
    const pid_t got = ::waitpid(pid_, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR)) return false;
    if (got == pid_) exit_status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    pid_ = -1;
    return true;
}

/// The socket is closed; the process normally ends at once. It is not waited for longer than two seconds.
Task<> ChildProcess::Link::reap() {
    asio::steady_timer timer(executor_);
    for (int i = 0; pid_ > 0; ++i) {
        if (try_reap()) break;
        if (i == 100) kill();
        timer.expires_after(20ms);
        co_await timer.async_wait(no_throw);
    }
}

Task<> ChildProcess::Link::read_lines() {
    std::string buffer;
    std::array<char, 16384> data;
    for (;;) {
        auto [ec, n] = co_await socket_.async_read_some(asio::buffer(data), no_throw);
        if (ec) co_return;
        buffer.append(data.data(), n);
        std::size_t begin = 0;
        for (auto end = buffer.find('\n'); end != std::string::npos; end = buffer.find('\n', begin)) {
            const bool good = take_line(buffer.substr(begin, end - begin));
            if (!good) {
                kill();
                co_return;
            }
            begin = end + 1;
        }
        buffer.erase(0, begin);
        if (buffer.size() < kMaxLine) continue;
        lost(Errc::malformed, "the trainer sent a line without end");
        kill();
        co_return;
    }
}

Task<> ChildProcess::Link::write_lines() {
    for (;;) {
        while (!outgoing_.empty()) {
            Outgoing out = std::move(outgoing_.front());
            outgoing_.pop_front();
            auto wrote = co_await write_one(out);
            if (!wrote) co_await out_wake_.async_wait(no_throw);  // the reader sees the end and says so
        }
        co_await out_wake_.async_wait(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return;
    }
}

Task<Result<void>> ChildProcess::Link::write_one(Outgoing& out) {
    std::size_t done = 0;
    while (done < out.line.size()) {
        iovec part{out.line.data() + done, out.line.size() - done};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        if (out.descriptor) {
            message.msg_control = control;
            message.msg_controllen = sizeof control;
            cmsghdr* c = CMSG_FIRSTHDR(&message);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int));
            const int descriptor = out.descriptor.get();
            std::memcpy(CMSG_DATA(c), &descriptor, sizeof descriptor);
        }
        const ssize_t n = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            done += static_cast<std::size_t>(n);
            out.descriptor.reset();
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) co_return fail(Errc::closed, "the trainer is gone");
        auto [ec] = co_await socket_.async_wait(asio::local::stream_protocol::socket::wait_write, no_throw);
        if (ec) co_return fail(Errc::closed, "the trainer is gone");
    }
    co_return Result<void>();
}

Task<Result<nlohmann::json>> ChildProcess::Link::request(std::string verb, Json object, OwnedDescriptor descriptor) {
    if (gone_ || pid_ <= 0) co_return fail(failure_, "the trainer is gone");
    std::string line = verb + " " + object.dump() + "\n";
    if (line.size() > kMaxLine) co_return fail(Errc::too_large, verb + ": does not fit a line");
    auto pending = std::make_shared<Pending>(executor_, std::move(verb));
    pending_.push_back(pending);
    outgoing_.push_back({std::move(line), std::move(descriptor)});
    out_wake_.cancel();
    if (!pending->answer) co_await pending->wake.async_wait(no_throw);
    if (!pending->answer) co_return fail(Errc::cancelled, "request cancelled");
    co_return std::move(*pending->answer);
}

Task<Result<void>> ChildProcess::Link::ready() {
    while (!greeted_ && !gone_) {
        co_await ready_wake_.async_wait(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return fail(Errc::cancelled, "cancelled");
    }
    if (greeted_) co_return Result<void>();
    const std::string detail = failure_detail_.empty() ? "the trainer ended before its first line" : failure_detail_;
    co_return fail(failure_, detail, failure_ == Errc::no_libtorch ? "install PyTorch's CPU wheel: deploy/setup.sh" : "");
}

Task<Result<TrainerEvent>> ChildProcess::Link::next_event() {
    while (events_.empty()) {
        if (gone_told_) co_return fail(Errc::closed, "the trainer is gone");
        co_await event_wake_.async_wait(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return fail(Errc::cancelled, "cancelled");
    }
    TrainerEvent event = std::move(events_.front());
    events_.pop_front();
    gone_told_ = std::holds_alternative<TrainerExit>(event);
    co_return event;
}

Task<Result<void>> ChildProcess::Link::written() {
    while (!saved_) {
        if (gone_) co_return fail(failure_, "the trainer is gone");
        co_await saved_wake_.async_wait(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return fail(Errc::cancelled, "cancelled");
    }
    const Json event = *std::exchange(saved_, std::nullopt);
    if (event.contains("code")) co_return fail(errc_of(text_or(event, "code")), "save: " + text_or(event, "detail"));
    co_return Result<void>();
}

void ChildProcess::Link::lost(Errc code, std::string detail) {
    failure_ = code;
    failure_detail_ = std::move(detail);
}

/// False: the line makes no sense, the trainer is not one.
bool ChildProcess::Link::take_line(const std::string& line) {
    const auto space = line.find(' ');
    const std::string kind = line.substr(0, space);
    const Json object = space == std::string::npos ? Json() : Json::parse(line.substr(space + 1), nullptr, false);
    if (!object.is_object()) {
        if (names_not_finite(line)) lost(Errc::not_finite, "the trainer sent a number that is not finite: " + line.substr(0, 80));
        else lost(Errc::malformed, "the trainer sent: " + line.substr(0, 80));
        return false;
    }
    status_.last_line = std::chrono::steady_clock::now();
    if (!greeted_) {
        if (kind != "trainer" || count_or(object, "version", 0) != 1) {
            lost(Errc::version_mismatch, "the trainer does not speak version 1 of the trainer protocol");
            return false;
        }
        greeted_ = true;
        status_.phase = "idle";
        ready_wake_.cancel();
        return true;
    }
    const bool known = kind == "ok" || kind == "error" ? take_answer(kind, object) : take_event(kind, object);
    if (!known) lost(Errc::malformed, "the trainer sent: " + line.substr(0, 80));
    return known;
}

bool ChildProcess::Link::take_answer(const std::string& kind, const Json& object) {
    if (pending_.empty() || text_or(object, "verb") != pending_.front()->verb) return false;
    auto pending = std::move(pending_.front());
    pending_.pop_front();
    if (kind == "ok")
        pending->answer = object;
    else
        pending->answer = fail(errc_of(text_or(object, "code")), pending->verb + ": " + text_or(object, "detail"));
    if (kind == "ok" && pending->verb == "train") status_.phase = "train";
    pending->wake.cancel();
    return true;
}

void ChildProcess::Link::set_progress(const Json& object) {
    status_.round = count_or(object, "round", 0);
    status_.step = count_or(object, "step", 0);
    status_.delta = counters_of(object);
    status_.last_loss = number_or(object, "last_loss", 0);
    status_.lr = number_or(object, "lr", 0);
    status_.median_step = Millis(static_cast<long>(number_or(object, "step_ms", 0) + 0.999));
    status_.tokens_per_s = number_or(object, "tokens_per_s", 0);
}

bool ChildProcess::Link::take_event(const std::string& kind, const Json& object) {
    if (kind == "alive") return true;
    if (kind == "progress") {
        set_progress(object);
        return true;
    }
    if (kind == "saved") {
        saved_ = object;
        saved_wake_.cancel();
        return true;
    }
    if (kind == "generated") {
        const auto tokens = tokens_of(object);
        if (tokens && generated_) generated_(*tokens);
        return tokens.has_value();
    }
    if (kind == "notice") {
        take(status_.setup, object.dump(-1, ' ', false, Json::error_handler_t::replace));
        events_.push_back(TrainerNotice{errc_of(text_or(object, "code")), text_or(object, "detail").substr(0, 2048)});
        event_wake_.cancel();
        return true;
    }
    if (kind == "done") {
        status_.phase = "idle";
        status_.delta = counters_of(object);
        events_.push_back(RoundDone{count_or(object, "round", 0), text_or(object, "why"), status_.delta});
        event_wake_.cancel();
        return true;
    }
    if (kind == "failed") {
        lost(errc_of(text_or(object, "code")), text_or(object, "detail"));
        return true;
    }
    return false;
}

}  // namespace skerry::node
