#include "coordinator/app/coordinator_app.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <ctime>
#include <exception>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "coordinator/admin/metrics_page.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/run_on.hpp"
#include "protocol/base/thread_name.hpp"
#include "protocol/config/files.hpp"
#include "protocol/observe/process_metrics.hpp"

namespace skerry::coordinator {
namespace {

constexpr auto kStopPatience = std::chrono::seconds(5);
constexpr auto kWatchEvery = std::chrono::seconds(1);
constexpr std::size_t kMaxConfig = 256 * 1024;
constexpr auto kForgottenCopies = std::chrono::hours(1);

}  // namespace

CoordinatorApp::CoordinatorApp(RunOptions options)
    : options_(std::move(options)),
      places_{std::filesystem::absolute(options_.dir)},
      store_(io_.get_executor()),
      ended_(io_) {
    name_thread(files_, "files");
    name_thread(watch_, "watch");
}

CoordinatorApp::~CoordinatorApp() {
    files_.join();
    watch_.join();
    if (lock_ >= 0) ::close(lock_);
}

Result<void> CoordinatorApp::lock_folder() {
    auto file = places_.dir / "lock";
    lock_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock_ < 0) return fail(file_error("cannot open", file, errno));
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0)
        return fail(Errc::bad_state, "another coordinator runs in " + places_.dir.string(), "stop it first");
    return {};
}

Result<void> CoordinatorApp::prepare() {
    auto config = load_config(places_.dir);
    if (!config) return fail(config.error());
    config_ = *config;
    places_.dir = config_.data_dir;
    if (options_.listen) config_.listen = *options_.listen;
    auto locked = lock_folder();
    if (!locked) return locked;
    remove_copies(std::chrono::seconds(0));
    auto keys = load_service_keys(places_, wall_unix_s());
    if (!keys) return fail(keys.error());
    keys_ = std::move(*keys);
    auto tokens = AdminTokens::load(places_.admin_tokens());
    if (!tokens) return fail(tokens.error());
    admin_tokens_ = std::move(*tokens);
    shards_.emplace(places_.shards());
    Runs& runs = *this;
    Backend& backend = *this;
    admin_.emplace(runs, admin_tokens_, *shards_);
    auto tls = TlsContext::make_server(keys_->service, keys_->service_pem, keys_->root_pem);
    if (!tls) return fail(tls.error());
    GateLimits gate{config_.limits.connections, config_.limits.connections_per_address, config_.limits.new_per_address_per_s};
    listener_.emplace(io_.get_executor(), ListenerConfig{config_.listen, gate, config_.limits.handshake_timeout}, *tls, backend);
    auto handler = [this](AdminRequest request) { return handle_local(std::move(request)); };
    admin_server_.emplace(io_.get_executor(), places_.admin_socket(), handler);
    metrics_.emplace(io_.get_executor(), [this] { return metrics_page(); });
    return {};
}

Result<void> CoordinatorApp::run() {
    auto ready = prepare();
    if (!ready) return ready;
    auto rethrow = [](const std::exception_ptr& error) {
        if (error) std::rethrow_exception(error);
    };
    asio::co_spawn(io_, life(), rethrow);
    io_.run();
    return outcome_;
}

Task<> CoordinatorApp::life() {
    using namespace asio::experimental::awaitable_operators;
    // The term of every run is durable before the port is open.
    outcome_ = co_await open_runs();
    if (outcome_) outcome_ = listener_->listen();
    if (outcome_) outcome_ = admin_server_->listen();
    if (outcome_) outcome_ = metrics_->listen(config_.metrics);
    if (outcome_) outcome_ = write_ready_file();
    if (outcome_) {
        log_info("listening", {{"port", std::to_string(listener_->port())}, {"runs", std::to_string(runs_.size())}});
        co_await (listener_->run() || admin_server_->run() || metrics_->run() || watch_runs() || wait_for_signal());
        if (fatal_) outcome_ = fail(*fatal_);
    }
    co_await stop_runs();
    io_.stop();
}

Task<> CoordinatorApp::wait_for_signal() {
    using namespace asio::experimental::awaitable_operators;
    asio::signal_set signals(io_, SIGTERM, SIGINT);
    ended_.expires_at(fatal_ ? asio::steady_timer::time_point::min() : asio::steady_timer::time_point::max());
    auto signalled = signals.async_wait(no_throw);
    auto ended = ended_.async_wait(no_throw);
    co_await (std::move(signalled) || std::move(ended));
    for (auto& [name, run] : runs_) run->close_intake();
}

void CoordinatorApp::on_fatal(const Error& why) {
    log_error("journal_failed", {{"code", std::string(to_name(why.code))}, {"detail", why.detail}});
    if (!fatal_) fatal_ = why;
    ended_.expires_at(asio::steady_timer::time_point::min());
}

Task<> CoordinatorApp::stop_runs() {
    for (auto& [name, run] : runs_) co_await run->stop(kStopPatience);
}

Task<Result<void>> CoordinatorApp::open_runs() {
    auto made = make_private_folder(places_.runs());
    if (!made) co_return made;
    std::vector<std::string> found;
    std::error_code ec;
    for (const auto& entry : std::filesystem::directory_iterator(places_.runs(), ec)) {
        if (std::filesystem::exists(entry.path() / "run.db", ec)) found.push_back(entry.path().filename().string());
    }
    for (const std::string& name : found) {
        auto opened = co_await open_run(name);
        if (!opened) co_return opened;
    }
    co_return Result<void>{};
}

Task<Result<void>> CoordinatorApp::open_run(std::string name) {
    auto fatal = [this](const Error& why) { on_fatal(why); };
    auto opened = co_await RunHost::open(io_.get_executor(), store_, places_.run(name), keys_->service, fatal);
    if (!opened) {
        Error why = opened.error();
        why.detail = "run " + name + ": " + why.detail;
        co_return fail(std::move(why));
    }
    (*opened)->start();
    runs_[name] = std::move(*opened);
    co_return Result<void>{};
}

Result<void> CoordinatorApp::write_ready_file() const {
    if (options_.ready_file.empty()) return {};
    nlohmann::json json{{"port", listener_->port()}, {"metrics_port", metrics_->port()},
                        {"admin_socket", places_.admin_socket().string()}, {"pid", ::getpid()}};
    return write_small_file(options_.ready_file, json.dump() + "\n", 0644);
}

// --------------------------------------------------------------------------------------------- backend

RunHost* CoordinatorApp::find_run(const std::string& name) {
    auto found = runs_.find(name);
    return found == runs_.end() ? nullptr : found->second.get();
}

RunHost* CoordinatorApp::find_run(const RunId& id) {
    for (auto& [name, run] : runs_) {
        if (run->manifest().run == id) return run.get();
    }
    return nullptr;
}

Task<Result<Bytes>> CoordinatorApp::read_shard(Digest shard, std::uint64_t offset, std::uint32_t bytes) {
    auto work = [this, shard, offset, bytes] { return shards_->read(shard, offset, bytes); };
    asio::any_io_executor files = files_.get_executor();
    co_return co_await run_on(files, std::move(work));
}

Task<Result<Bytes>> CoordinatorApp::block_hashes(Digest shard) {
    auto work = [this, shard] { return shards_->block_hashes(shard); };
    asio::any_io_executor files = files_.get_executor();
    co_return co_await run_on(files, std::move(work));
}

Task<Result<LookAnswer>> CoordinatorApp::look(NodeId node, Look look) {
    std::string name = look.run_name;
    if (find_run(name) == nullptr)
        co_return fail(Errc::no_such_run, "this coordinator has no run '" + name + "'", "ask its operator for a new token");
    AdminVerb verb = admin::LookAt{node, std::move(look), wall_unix_s()};
    auto answer = co_await command(std::move(name), std::move(verb));
    if (answer.error) co_return fail(*answer.error);
    co_return std::get<LookAnswer>(std::move(answer.value));
}

Result<void> CoordinatorApp::check_admin(ByteSpan token_id, ByteSpan token_secret) {
    return admin_tokens_.check(token_id, token_secret, wall_unix_s());
}

Task<AdminReply> CoordinatorApp::handle_admin(AdminRequest request) { return admin_->handle(std::move(request)); }

// Of the local socket alone: the copies lie in the coordinator's folder until whoever asked has packed them.
Task<AdminReply> CoordinatorApp::handle_local(AdminRequest request) {
    if (request.verb != "backup") co_return co_await handle_admin(std::move(request));
    auto copies = co_await copy_journals();
    if (!copies) co_return to_admin_reply(copies.error());
    AdminReply reply;
    reply.ok = true;
    reply.json = nlohmann::json{{"folder", copies->string()}}.dump();
    co_return reply;
}

Task<Result<std::filesystem::path>> CoordinatorApp::copy_journals() {
    if (copying_) co_return fail(Errc::bad_state, "another backup is being made", "try again when it is done");
    struct Busy {
        bool& flag;
        explicit Busy(bool& f) : flag(f) { flag = true; }
        ~Busy() { flag = false; }
    } busy(copying_);
    remove_copies(kForgottenCopies);
    const auto folder = places_.dir / ("backup-" + random_fixed<BootId>().hex().substr(0, 16));
    auto made = make_private_folder(folder);
    if (!made) co_return fail(made.error());
    for (const std::string& name : names()) {
        auto copied = co_await runs_.at(name)->copy_journal(folder / (name + ".db"));
        if (copied) continue;
        Error why = copied.error();
        why.detail = "run " + name + ": " + why.detail;
        std::error_code ec;
        std::filesystem::remove_all(folder, ec);
        co_return fail(std::move(why));
    }
    log_info("backup_copied", {{"folder", folder.string()}, {"runs", std::to_string(runs_.size())}});
    co_return folder;
}

/// Of backups that were not packed: whoever asked for them died.
void CoordinatorApp::remove_copies(std::chrono::seconds older_than) {
    std::error_code ec;
    const auto limit = std::filesystem::file_time_type::clock::now() - older_than;
    for (const auto& entry : std::filesystem::directory_iterator(places_.dir, ec)) {
        const bool copies = entry.path().filename().string().starts_with("backup-") && entry.is_directory(ec);
        if (copies && entry.last_write_time(ec) <= limit) std::filesystem::remove_all(entry.path(), ec);
    }
}

std::int64_t CoordinatorApp::wall_unix_s() const { return static_cast<std::int64_t>(std::time(nullptr)); }

// ------------------------------------------------------------------------------------------------ runs

std::vector<std::string> CoordinatorApp::names() const {
    std::vector<std::string> out;
    for (const auto& [name, run] : runs_) out.push_back(name);
    return out;
}

Task<AdminAnswer> CoordinatorApp::command(std::string name, AdminVerb verb) {
    RunHost* run = runs_.at(name).get();
    auto start = [run, verb = std::move(verb)](auto handler) mutable {
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        run->admin(std::move(verb), [shared, io = run->executor()](AdminAnswer answer) {
            // Not from within the outbox: the asker may feed the core again.
            auto value = std::make_shared<AdminAnswer>(std::move(answer));
            asio::post(io, [shared, value] { std::move (*shared)(std::move(*value)); });
        });
    };
    co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(AdminAnswer)>(std::move(start), asio::use_awaitable);
}

Task<Result<void>> CoordinatorApp::create(std::string name, RunRow row, std::string settings) {
    if (runs_.contains(name))
        co_return fail(Errc::already_exists, "there is a run named " + name + " already", "choose another name in run.toml");
    auto created = co_await RunHost::create(store_, places_.run(name), std::move(row), std::move(settings));
    if (!created) co_return created;
    co_return co_await open_run(name);
}

std::optional<std::pair<Step, double>> CoordinatorApp::first_evaluation(const std::string& name) const {
    auto found = runs_.find(name);
    if (found == runs_.end() || !found->second->first_evaluation()) return std::nullopt;
    const auto& first = *found->second->first_evaluation();
    return std::pair(first.step, first.loss);
}

CoordinatorInfo CoordinatorApp::info() const {
    CoordinatorInfo out;
    out.name = config_.name;
    out.root_id = keys_->root_id;
    out.public_address = config_.public_address;
    out.port = listener_->port();
    auto up = std::chrono::steady_clock::now() - begun_;
    out.uptime_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<Millis>(up).count());
    out.connections = listener_->connections();
    out.metrics_port = metrics_->port();
    return out;
}

WatchdogFacts CoordinatorApp::watchdog(const std::string& name) const {
    auto found = runs_.find(name);
    return found == runs_.end() ? WatchdogFacts{} : found->second->watchdog();
}

ShardFacts CoordinatorApp::shards_of(const std::string& name) const {
    auto found = runs_.find(name);
    return found == runs_.end() ? ShardFacts{} : found->second->shard_desk().facts();
}

Task<Result<ShardPresence>> CoordinatorApp::on_files(std::function<Result<ShardPresence>()> work) {
    asio::any_io_executor files = files_.get_executor();
    co_return co_await run_on(files, std::move(work));
}

// ----------------------------------------------------------------------------- what it shows of itself

Task<std::string> CoordinatorApp::metrics_page() {
    std::vector<RunMetrics> all;
    for (const std::string& name : names()) {
        AdminVerb verb = admin::GetStatus{};
        AdminAnswer answer = co_await command(name, std::move(verb));
        auto* status = std::get_if<RunStatus>(&answer.value);
        const RunHost& run = *runs_.at(name);
        if (status == nullptr) continue;
        std::error_code ec;
        RunMetrics one{std::move(*status), run.counters(), 0, run.watchdog().bundles, run.shard_desk().facts()};
        for (const char* file : {"run.db", "run.db-wal"}) {
            auto bytes = std::filesystem::file_size(run.folder() / file, ec);
            if (!ec) one.store_bytes += bytes;
        }
        all.push_back(std::move(one));
    }
    MetricsText page;
    add_coordinator_metrics(page, all, info(), wall_unix_s());
    metrics_->add_metrics(page);
    add_process_metrics(page, "skerry-coordinator");
    co_return page.text();
}

Task<> CoordinatorApp::watch_runs() {
    asio::steady_timer timer(io_);
    for (;;) {
        timer.expires_after(kWatchEvery);
        auto [ec] = co_await timer.async_wait(no_throw);
        if (ec) co_return;
        for (const std::string& name : names()) {
            RunHost& run = *runs_.at(name);
            auto stuck = run.watch();
            if (stuck) co_await write_bundle_of(run, std::move(*stuck));
        }
    }
}

Task<> CoordinatorApp::write_bundle_of(RunHost& run, RunWatch::Stuck stuck) {
    const std::string name = run.manifest().name;
    const std::string why = to_text(stuck);
    AdminRequest ask;
    ask.verb = "status";
    ask.json = nlohmann::json{{"run", name}}.dump();
    AdminReply status = co_await handle_admin(std::move(ask));
    auto config = read_small_file(places_.config(), kMaxConfig);
    auto parts = run_parts(stuck, name, run.last_messages(), status.json, config ? *config : config.error().detail);
    auto work = [parts = std::move(parts), folder = places_.bundles(name), step = stuck.step]() mutable {
        for (BundlePart& part : process_parts()) parts.push_back(std::move(part));
        return write_bundle(folder, bundle_time() + "-step" + std::to_string(step.value), std::move(parts));
    };
    asio::any_io_executor there = watch_.get_executor();
    auto written = co_await run_on(there, std::move(work));
    if (written) run.note_bundle(*written, why);
    else log_error("watchdog.no_bundle", {{"run", name}, {"reason", why}, {"error", written.error().detail}});
}

}  // namespace skerry::coordinator
