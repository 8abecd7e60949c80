#include "node/app/node_app.hpp"

#include <boost/asio/post.hpp>
#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "node/log/node_image.hpp"
#include "node/metrics/node_metrics.hpp"
#include "protocol/base/failpoint.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/thread_name.hpp"
#include "protocol/base/run_on.hpp"
#include "protocol/config/address.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/program.hpp"
#include "protocol/observe/machine.hpp"
#include "protocol/observe/process_metrics.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/chunk_codec.hpp"
#include "protocol/wire/signatures.hpp"

namespace skerry::node {
namespace {

constexpr std::chrono::seconds kDiskEvery{1};
constexpr std::uint64_t kQuotaEvery = 60;  // looks at the disk
constexpr std::chrono::seconds kWatchEvery{1};
constexpr std::chrono::seconds kMachineEvery{5};
constexpr std::size_t kMaxConfig = 256 * 1024;
constexpr auto kFolderFileRetry = std::chrono::seconds(30);
/// A follower asks each node for a piece or two at a time: nobody waits for it.
constexpr std::uint64_t kFollowerWindow = 1U << 20;

Mono now() { return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now()); }

bool is_any(const std::string& host) { return host.empty() || host == "0.0.0.0" || host == "::" || host == "*"; }

}  // namespace

NodeApp::NodeApp(NodeOptions options)
    : options_(std::move(options)),
      io_(1),
      children_(io_.get_executor()),
      boot_(random_fixed<BootId>()),
      curve_(make_curve_keys()),
      timer_(io_) {
    name_thread(disk_, "disk");
    name_thread(codec_, "codec-0");
    name_thread(watch_, "watch");
}

NodeApp::~NodeApp() {
    disk_.join();
    codec_.join();
    watch_.join();
}

// ---- start and end -------------------------------------------------------------------------------------

Error NodeApp::run() {
    auto ready = prepare();
    if (!ready) return ready.error();
    children_.spawn(watch_signals());
    children_.spawn(session_->run());
    children_.spawn(keep_time());
    children_.spawn(watch_disk());
    children_.spawn(watch_machine());
    children_.spawn(engine_->run());
    children_.spawn(socket_->run());
    children_.spawn(metrics_->run());
    children_.spawn(watch_progress());
    if (mirror_) children_.spawn(mirror_->run());
    children_.spawn(owner_->run());
    io_.run();
    return ended_.value_or(Error{Errc::internal, "the node stopped without a reason", ""});
}

Result<void> NodeApp::prepare() {
    auto plane = open_data_plane();
    if (!plane) return plane;
    set_log_context({options_.settings.token.run, "", "", ""});
    auto opened = open_store();
    if (!opened) return opened;
    refresh_log_context();
    auto handler = [this](AdminRequest request) -> Task<AdminReply> { co_return answer(*this, request); };
    signals_.emplace(io_, SIGINT, SIGTERM, SIGHUP);  // from here on there is something to remove at the end
    socket_ = std::make_unique<AdminServer>(io_.get_executor(), options_.folder.socket(), handler);
    auto socket = socket_->listen();
    if (!socket) return socket;
    metrics_ = std::make_unique<MetricsServer>(io_.get_executor(), [this] { return metrics_page(); });
    auto metrics = metrics_->listen(options_.settings.metrics);
    if (!metrics) return metrics;
    session_ = std::make_unique<CoordinatorSession>(io_.get_executor(), coordinator(), CoordinatorSessionConfig{}, *this);
    for (Action& action : core_->start(now())) carry_out(action);
    owner_->begin();
    if (options_.ready_file.empty()) return {};
    nlohmann::json ready = {{"pid", getpid()}, {"port", data_port_}, {"metrics_port", metrics_->port()}, {"socket", options_.folder.socket().string()}};
    return write_small_file(options_.ready_file, ready.dump() + "\n", 0600);
}

CoordinatorPeer NodeApp::coordinator() const {
    const Token& token = options_.settings.token;
    return {token.host, token.port, token.root, options_.key};
}

Result<void> NodeApp::open_data_plane() {
    auto zap = ZapHandler::start(zmq_);
    if (!zap) return fail(zap.error());
    zap_ = std::move(*zap);
    auto proven = prove_admission(zmq_, *zap_);
    if (!proven) return proven;
    PeerLinksConfig links;
    links.listen = options_.settings.listen;
    links.listen_host = is_any(options_.settings.listen_host) ? "*" : options_.settings.listen_host;
    links.listen_port = options_.settings.listen_port;
    Engine::Parts parts{io_.get_executor(), disk_.get_executor(), codec_.get_executor(), &zmq_, zap_.get(), curve_,
                        links, options_.key, [this](Event e) { feed(std::move(e)); }};
    engine_ = std::make_unique<Engine>(std::move(parts));
    shard_exchange_ = std::make_unique<ShardExchange>(io_.get_executor(), codec_.get_executor(), *engine_);
    auto port = engine_->bind();
    if (!port) return fail(port.error());
    data_port_ = *port;
    return {};
}

Result<void> NodeApp::open_store() {
    auto opened = open_run(options_.folder.run());
    if (!opened) return fail(opened.error());
    ticket_ = std::move(opened->ticket);
    store_ = std::move(opened->store);
    Bytes data_manifest = std::move(opened->data_manifest);
    make_hosts();
    core_config_.self = options_.key.id();
    core_config_.progress_every = options_.settings.save_every;
    core_config_.scrub_every = options_.settings.scrub_every;
    core_config_.trainer_silence = options_.settings.trainer_silence;
    core_config_.follow = options_.settings.follow;
    core_config_.train = !options_.settings.follow;
    if (core_config_.follow) core_config_.window_bytes = kFollowerWindow;
    core_config_.data_manifest = data_manifest;
    core_.emplace(core_config_, std::move(opened->image), now());
    return store_ ? adopt(store_, std::move(data_manifest)) : Result<void>{};
}

void NodeApp::make_hosts() {
    const NodeSettings& settings = options_.settings;
    if (settings.follow)
        mirror_ = std::make_unique<ModelMirror>(io_.get_executor(), disk_.get_executor(),
                                                settings.model_folder.empty() ? options_.folder.model() : settings.model_folder, settings.model_every);
    auto report = [this](Event e) { feed(std::move(e)); };
    trainer_ = std::make_unique<TrainerHost>(TrainerHost::Parts{io_.get_executor(), disk_.get_executor(),
                                                                codec_.get_executor(), report,
                                                                [this] { return running_ = trainer_options(); },
                                                                [this](Error why) { end(std::move(why)); },
                                                                [this](const TrainerSetup& setup) { trainer_ready(setup); }});
    auto bytes = [this] {
        charge_downloads();
        const PeerTraffic all = engine_->links().total_traffic();
        return all.sent_bytes + all.received_bytes + (shard_fetch_ ? shard_fetch_->fetched_bytes() - shard_fetch_->from_peers_bytes() : 0);
    };
    auto pause = [this](bool paused) {
        renewing_ = false;
        if (stop_signals_ == 0) feed(paused ? Event(UserPause{}) : Event(UserResume{}));
    };
    auto limits = [this](bool spent) { apply(spent); };
    owner_ = std::make_unique<OwnerControl>(
        OwnerControl::Parts{io_.get_executor(), disk_.get_executor(), options_.folder, pause, bytes, limits}, options_.settings.limits);
    auto adopted = [this](std::shared_ptr<RunStore> made, Bytes data) { return adopt(std::move(made), std::move(data)); };
    auto fetch = [this](Digest sha256, std::uint64_t bytes) { return shard_fetch_->fetch({sha256, bytes}); };
    auto spawn = [this](Task<> task) { children_.spawn(std::move(task)); };
    store_actions_ = std::make_unique<StoreActions>(
        StoreActions::Parts{io_.get_executor(), disk_.get_executor(), options_.folder.run(), report, adopted, fetch, spawn}, store_);
}

Result<void> NodeApp::adopt(std::shared_ptr<RunStore> store, Bytes data_manifest) {
    store_ = std::move(store);
    shard_fetch_ = std::make_unique<ShardFetch>(io_.get_executor(), disk_.get_executor(), coordinator(),
                                                options_.folder.shards(), store_->manifest().run);
    auto fetch = [this](ShardInfo shard) { return shard_fetch_->fetch(shard); };
    auto data = DataFiles::open(store_->manifest(), data_manifest, fetch);
    if (!data) return fail(data.error());
    auto train = with_choice(data->train(), options_.settings.trainer_choice);
    if (!train) return fail(train.error());
    data_.emplace(std::move(*data));
    share_shards();
    children_.spawn(fetch_folder_files(data_->data().files));
    trainer_->set_run(store_, &*data_, *train);
    if (mirror_) mirror_->set_store(store_, data_->data(), options_.folder.shards());
    engine_->set_store(store_);
    shard_fetch_->limit(owner_->limits().down_bytes_per_s, closed_);
    apply_quota();
    return {};
}

// What only exports need: beside everything else, and never a reason to stop.
Task<> NodeApp::fetch_folder_files(std::vector<FolderFile> files) {
    asio::steady_timer pause(io_);
    for (const FolderFile& file : files) {
        const ShardInfo info{file.sha256, file.bytes};
        for (;;) {
            auto fetched = co_await shard_fetch_->fetch(info);
            if (fetched) break;
            log_warn("export.file_missing", {{"file", file.file}, {"why", fetched.error().detail}});
            pause.expires_after(kFolderFileRetry);
            auto [ec] = co_await pause.async_wait(no_throw);
            if (ec) co_return;
        }
    }
}

ChildOptions NodeApp::trainer_options() const {
    ChildOptions child;
    child.command = {find_program(options_.settings.trainer_program)};
    unsigned cores = std::max(1U, std::thread::hardware_concurrency());
    child.threads = owner_->limits().threads != 0 ? owner_->limits().threads : cores;
    child.memory_bytes = owner_->limits().memory_bytes;
    child.path = options_.settings.trainer_choice.path;
    return child;
}

void NodeApp::trainer_ready(const TrainerSetup& setup) {
    log_info("trainer.ready", {{"setup", to_text(setup)}});
    if (!options_.says || setup == said_) return;
    std::fprintf(stderr, "trains with: %s\n", to_text(setup).c_str());
    said_ = setup;
}

void NodeApp::end(Error why) {
    if (ended_) return;
    ended_ = std::move(why);
    asio::co_spawn(io_, end_in_order(), [this](std::exception_ptr) { io_.stop(); });
}

// Children first: they use what this object owns.
Task<> NodeApp::end_in_order() {
    co_await trainer_->stop();
    children_.cancel();
    co_await children_.join();
}


// ---- events and actions --------------------------------------------------------------------------------

// Actions may report at once; their events wait until the actions of this one are carried out.
void NodeApp::feed(Event event) {
    events_.push_back(std::move(event));
    if (feeding_) return;
    feeding_ = true;
    while (!events_.empty() && !ended_) {
        Event next = std::move(events_.front());
        events_.pop_front();
        note(next);
        for (Action& action : core_->step(now(), next)) carry_out(action);
    }
    feeding_ = false;
    timer_.cancel();
}

Task<> NodeApp::keep_time() {
    for (;;) {
        timer_.expires_at(core_->next_wake());
        co_await timer_.async_wait(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) co_return;
        if (now() >= core_->next_wake()) feed(Tick{});
    }
}

// Full: not even one more entry and one more contribution would fit.
Task<> NodeApp::watch_disk() {
    asio::steady_timer timer(io_);
    for (std::uint64_t looks = 0;;) {
        timer.expires_after(kDiskEvery);
        auto [ec] = co_await timer.async_wait(no_throw);
        if (ec) co_return;
        if (++looks % kQuotaEvery == 0) apply_quota();
        std::error_code unknown;
        auto space = std::filesystem::space(options_.folder.root, unknown);
        if (unknown) continue;
        std::uint64_t need = kMiB;
        if (store_) need += 3 * chunk_bytes(store_->codec().id(), store_->grid().piece_elements) * store_->grid().count();
        const bool full = space.available < need;
        if (full == disk_full_) continue;
        disk_full_ = full;
        log(full ? LogLevel::warn : LogLevel::info, full ? "disk.full" : "disk.room",
            {{"code", full ? "DISK_FULL" : ""}, {"available_bytes", std::to_string(space.available)},
             {"needed_bytes", std::to_string(need)}, {"folder", options_.folder.root.string()}});
        feed(DiskState{full});
    }
}

// For the operator's plans: what this machine has, by files that this thread must not wait for.
Task<> NodeApp::watch_machine() {
    asio::steady_timer timer(io_);
    asio::any_io_executor there = watch_.get_executor();
    for (;;) {
        auto read = [folder = options_.folder.root] { return read_machine(folder); };
        MachineState machine = co_await run_on(there, std::move(read));
        machine.tokens_per_s = measured_tokens_per_s_;
        machine.up_bytes_per_s = engine_->rates().up_bytes_per_s;
        machine.down_bytes_per_s = engine_->rates().down_bytes_per_s;
        machine.limits = owner_->limits();
        feed(MachineIs{machine});
        timer.expires_after(kMachineEvery);
        auto [ec] = co_await timer.async_wait(no_throw);
        if (ec) co_return;
    }
}

// What `status` shows beside the core's view.
void NodeApp::note(const Event& event) {
    if (auto* alive = std::get_if<TrainerAlive>(&event)) {
        book_.note_trainer(*alive);
        if (alive->tokens_per_s > 0) {
            double& mean = measured_tokens_per_s_;
            mean = mean == 0 ? alive->tokens_per_s : mean + 0.2 * (alive->tokens_per_s - mean);
        }
    }
    if (auto* traffic = std::get_if<Traffic>(&event)) book_.note_traffic(traffic->sent_bytes, traffic->received_bytes);
    auto* done = std::get_if<Done>(&event);
    if (done == nullptr) return;
    if (changes_under_way_.erase(done->op) > 0 && mirror_) mirror_->moved();
    if (auto at = digests_under_way_.find(done->op); at != digests_under_way_.end()) {
        if (auto* state = std::get_if<StateAnswer>(&done->answer); state && state->digest && !done->error)
            book_.note_digest(at->second, *state->digest);
        digests_under_way_.erase(at);
    }
    if (auto at = evaluations_under_way_.find(done->op); at != evaluations_under_way_.end()) {
        if (auto* loss = std::get_if<EvaluatedAnswer>(&done->answer); loss && !done->error)
            book_.note_heldout(at->second, loss->loss);
        evaluations_under_way_.erase(at);
    }
}

void NodeApp::carry_out(Action& action) {
    if (auto* apply = std::get_if<Apply>(&action)) changes_under_way_.insert(apply->op);
    if (auto* load = std::get_if<LoadState>(&action)) digests_under_way_[load->op] = load->step;
    if (auto* adopt = std::get_if<AdoptSnapshot>(&action)) digests_under_way_[adopt->op] = adopt->step;
    if (auto* digest = std::get_if<ComputeDigest>(&action)) digests_under_way_[digest->op] = digest->step;
    if (auto* adopt = std::get_if<AdoptSnapshot>(&action)) changes_under_way_.insert(adopt->op);
    if (auto* load = std::get_if<LoadState>(&action)) changes_under_way_.insert(load->op);
    if (auto* evaluate = std::get_if<Evaluate>(&action)) evaluations_under_way_[evaluate->op] = evaluate->step;
    std::visit(
        [this](auto& one) {
            if constexpr (requires { perform(one); }) perform(one);
            else if constexpr (requires { engine_->perform(one); }) engine_->perform(one);
            else if constexpr (requires { store_actions_->perform(one); }) store_actions_->perform(one);
            else trainer_->perform(one);
        },
        action);
}

void NodeApp::perform(const Send& action) {
    ControlMessage message = action.message;
    if (auto* hello = std::get_if<Hello>(&message.body)) complete(*hello);
    auto* report = std::get_if<Report>(&message.body);
    if (report != nullptr && shard_fetch_) report->shards = shard_fetch_->bitmap();
    if (report != nullptr) last_report_ = *report;
    const Report* said = std::get_if<Report>(&action.message.body);
    session_->send(std::move(message));
    if (said == nullptr) return;
    if (said->ready && !said->ready->segments.empty()) children_.spawn(pass("node.after_ready"));
    if (said->prepared) children_.spawn(pass("node.after_prepared"));
}

// The failpoint lies behind the sending: let the bytes leave first.
Task<> NodeApp::pass(std::string failpoint_name) {
    asio::steady_timer timer(io_, std::chrono::milliseconds(50));
    auto [ec] = co_await timer.async_wait(no_throw);
    if (!ec) failpoint(failpoint_name);
}

void NodeApp::perform(const Redial& action) {
    session_->redial(action.reason);
}

void NodeApp::perform(const Note& action) {
    refresh_log_context();
    log(action.warning ? LogLevel::warn : LogLevel::info, "node", {{"note", action.text}});
}

void NodeApp::perform(const Exit& action) { end(Error{action.code, action.reason, ""}); }

// ---- session with the coordinator ----------------------------------------------------------------------

std::vector<Address> NodeApp::own_addresses() const {
    if (!options_.settings.listen) return {};
    if (!options_.settings.advertise.empty()) return options_.settings.advertise;
    // An empty host: the address from which the coordinator sees this node.
    std::string host = is_any(options_.settings.listen_host) ? "" : options_.settings.listen_host;
    return {Address{host, data_port_}};
}

void NodeApp::on_session(const PublicKey& service) {
    service_ = service;
    ++sessions_;
    feed(SessionUp{});
}

// The core knows where this node stands; the shell knows who it is.
void NodeApp::complete(Hello& hello) const {
    hello.run_name = options_.settings.token.run;
    hello.node_name = options_.settings.name;
    hello.site = options_.settings.site;
    hello.software = "skerry-node " SKERRY_VERSION;
    hello.curve = curve_.public_key;
    hello.addresses = own_addresses();
    hello.boot = boot_;
    hello.ticket = ticket_;
    // Always along: the coordinator may have been restored from before this node was admitted.
    const Token& token = options_.settings.token;
    hello.token_id.assign(token.id.bytes.begin(), token.id.bytes.end());
    hello.token_secret.assign(token.secret.bytes.begin(), token.secret.bytes.end());
}

void NodeApp::on_welcome(const Welcome& welcome) {
    lost_.reset();
    if (!welcome.ticket.empty()) ticket_ = welcome.ticket;
    take_roster(welcome.roster);
    refresh_log_context();
    log_info("welcome", {{"term", std::to_string(welcome.term.value)}, {"head", std::to_string(welcome.head.value)}});
}

void NodeApp::take_roster(const SignedBody& body) {
    auto roster = parse_roster(body.body);
    if (roster) roster_ = std::move(*roster);
}

bool NodeApp::signed_by_service(const ControlBody& body) const {
    auto all = [&](const std::vector<SignedDecision>& records) {
        return std::all_of(records.begin(), records.end(),
                           [&](const SignedDecision& record) { return verify_body(service_, record.decision); });
    };
    if (auto* welcome = std::get_if<Welcome>(&body)) return verify_body(service_, welcome->roster);
    if (auto* orders = std::get_if<Orders>(&body))
        return (!orders->roster || verify_body(service_, *orders->roster)) && all(orders->decisions);
    if (auto* decisions = std::get_if<Decisions>(&body)) return all(decisions->records);
    return true;
}

void NodeApp::on_message(ControlMessage message) {
    if (!signed_by_service(message.body)) {
        log_error("message.signature", {{"error", "not signed by the coordinator's service key; dropped"}});
        return;
    }
    if (auto* welcome = std::get_if<Welcome>(&message.body)) on_welcome(*welcome);
    if (auto* orders = std::get_if<Orders>(&message.body); orders && orders->roster) take_roster(*orders->roster);
    feed(ControlIn{std::move(message)});
    refresh_log_context();
}

void NodeApp::on_lost(const Error& why, std::chrono::milliseconds retry_in, bool was_open) {
    if (!lost_) log_warn("session.lost", {{"error", why.detail}, {"retry_ms", std::to_string(retry_in.count())}});
    lost_ = why;
    if (was_open) feed(SessionDown{});
    // A key that is wrong stays wrong: say it and end.
    if (why.code == Errc::wrong_coordinator) end(why);
}

// ---- what it shows of itself ---------------------------------------------------------------------------

// Lines of all threads carry this.
void NodeApp::refresh_log_context() const {
    NodeView view = core_->view();
    LogContext context{options_.settings.token.run, std::to_string(view.head.value), "", ""};
    if (view.attempt.value != 0) context.attempt = std::to_string(view.attempt.value);
    set_log_context(std::move(context));
}

Task<std::string> NodeApp::metrics_page() {
    MetricsText page;
    NodeView view = core_->view();
    add_node_metrics(page, view, status_facts(), book_);
    metrics_->add_metrics(page);
    add_process_metrics(page, "skerry-node");
    co_return page.text();
}

Task<> NodeApp::watch_progress() {
    asio::steady_timer timer(io_);
    for (;;) {
        timer.expires_after(kWatchEvery);
        auto [ec] = co_await timer.async_wait(no_throw);
        if (ec) co_return;
        renew_trainer();
        if (spent_ && !closed_) apply_rates();
        auto stuck = node_watch_.look(core_->view(), now());
        if (stuck) co_await write_bundle_of(std::move(*stuck));
    }
}

Task<> NodeApp::write_bundle_of(NodeWatch::Stuck stuck) {
    const std::string why = to_text(stuck);
    auto config = read_small_file(options_.folder.config(), kMaxConfig);
    auto parts = node_parts(stuck, core_->view(), last_report_, status_json(), config ? *config : config.error().detail);
    auto work = [parts = std::move(parts), folder = options_.folder.bundles(), step = stuck.step]() mutable {
        for (BundlePart& part : process_parts()) parts.push_back(std::move(part));
        return write_bundle(folder, bundle_time() + "-step" + std::to_string(step.value), std::move(parts));
    };
    asio::any_io_executor there = watch_.get_executor();
    auto written = co_await run_on(there, std::move(work));
    if (!written) {
        log_error("watchdog.no_bundle", {{"reason", why}, {"error", written.error().detail}});
        co_return;
    }
    ++watchdog_.bundles;
    watchdog_.last = written->string();
    watchdog_.reason = why;
    log_warn("watchdog.bundle", {{"reason", why}, {"folder", watchdog_.last}});
}

// ---- the person in front of the machine ----------------------------------------------------------------

void NodeApp::command(UserCommand command) {
    switch (command) {
        case UserCommand::resume: return owner_->resume();
        case UserCommand::leave_after_step: leaving_ = true; return feed(UserLeave{LeaveWhen::after_step});
        case UserCommand::leave_now: leaving_ = true; return feed(UserLeave{LeaveWhen::now});
        case UserCommand::stop: return feed(UserStop{});
    }
}

std::string NodeApp::status_json() {
    NodeView view = core_->view();
    return book_.to_json(view, status_facts());
}

}  // namespace skerry::node
