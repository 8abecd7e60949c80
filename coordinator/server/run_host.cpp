#include "coordinator/server/run_host.hpp"

#include <nlohmann/json.hpp>

#include "coordinator/server/dial_back.hpp"
#include "coordinator/server/run_shards.hpp"
#include "protocol/base/failpoint.hpp"
#include "protocol/base/log.hpp"
#include "protocol/config/files.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"
#include "protocol/wire/signatures.hpp"

namespace skerry::coordinator {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;
constexpr std::size_t kMaxSettings = 64 * 1024;
constexpr std::uint64_t kMostGrace = 100;
constexpr auto kDialPatience = std::chrono::milliseconds(3000);
const Error kStopping{Errc::bad_state, "the coordinator is stopping", ""};
constexpr auto kStatusEvery = std::chrono::milliseconds(1000);
constexpr int kPagesPerStep = 64;  // 256 KiB: a decision behind it waits for less than a millisecond
constexpr auto kLeastTick = std::chrono::milliseconds(2);

Mono mono_now() { return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now()); }

Signing make_signing(const KeyPair& service) {
    Signing out;
    out.sign = [service](ByteSpan body) { return service.sign(body); };
    out.verify_vote = [](const PublicKey& key, const Digest& h, const Signature& s) { return verify_vote(key, h, s); };
    out.verify_result = [](const PublicKey& key, const Digest& plan, PieceIndex piece, const Digest& leaf, const Signature& s) {
        return verify_result(key, plan, piece, leaf, s);
    };
    return out;
}

bool decides(const Tx& tx) {
    for (const Op& op : tx.ops) {
        if (std::holds_alternative<op::PutDecision>(op)) return true;
    }
    return false;
}

fs::path database(const fs::path& folder) { return folder / "run.db"; }
fs::path settings_file(const fs::path& folder) { return folder / "settings.json"; }
fs::path evaluation_file(const fs::path& folder) { return folder / "first-evaluation.json"; }

std::optional<FirstEvaluation> load_first_evaluation(const fs::path& folder) {
    auto text = read_small_file(evaluation_file(folder), kMaxSettings);
    if (!text) return std::nullopt;
    Json json = Json::parse(*text, nullptr, false);
    if (!json.is_object() || !json.contains("step") || !json.contains("loss")) return std::nullopt;
    if (!json["step"].is_number_unsigned() || !json["loss"].is_number()) return std::nullopt;
    return FirstEvaluation{Step{json["step"].get<std::uint64_t>()}, json["loss"].get<double>()};
}

/// What one visit to the store thread brings back.
struct Opened {
    std::unique_ptr<SqliteJournal> journal;
    Image image;
    CoreConfig config;
};

Result<Opened> open_files(const fs::path& folder) {
    auto settings = read_small_file(settings_file(folder), kMaxSettings);
    if (!settings) return fail(settings.error());
    auto config = parse_run_settings(*settings);
    if (!config) return fail(config.error());
    config->restored = fs::exists(folder / kRestoredMark);
    auto journal = SqliteJournal::open(database(folder));
    if (!journal) return fail(journal.error());
    auto image = (*journal)->load();
    if (!image) return fail(image.error());
    auto manifest = parse_manifest(image->run.manifest);
    if (!manifest) return fail(manifest.error());
    return Opened{std::move(*journal), std::move(*image), *config};
}

Result<void> create_files(const fs::path& folder, const RunRow& row, const std::string& settings) {
    if (fs::exists(database(folder)))
        return fail(Errc::already_exists, "there is a run named " + folder.filename().string() + " already",
                    "choose another name in run.toml");
    auto made = make_private_folder(folder);
    if (!made) return made;
    made = write_small_file(settings_file(folder), settings, 0600);
    if (!made) return made;
    auto journal = SqliteJournal::create(database(folder), row);
    if (!journal) return fail(journal.error());
    return {};
}

}  // namespace

Result<CoreConfig> parse_run_settings(std::string_view text) {
    CoreConfig config;
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return fail(Errc::config_invalid, "settings.json is no JSON object");
    for (const auto& [key, value] : json.items()) {
        if (key == "grace_percent" && value.is_number_unsigned() && value.get<std::uint64_t>() <= kMostGrace) {
            config.grace_percent = value.get<std::uint32_t>();
            continue;
        }
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() == 0 || value.get<std::uint64_t>() > 1'000'000'000)
            return fail(Errc::config_invalid, "settings.json: '" + key + "': expected milliseconds");
        Millis ms(value.get<Millis::rep>());
        if (key == "exchange_deadline_ms") config.exchange_deadline = ms;
        else if (key == "exchange_least_ms") config.exchange_least = ms;
        else if (key == "exchange_most_ms") config.exchange_most = ms;
        else if (key == "collect_most_ms") config.collect_most = ms;
        else if (key == "silent_after_ms") config.silent_after = ms;
        else if (key == "away_after_ms") config.away_after = ms;
        else if (key == "vote_deadline_ms") config.vote_deadline = ms;
        else return fail(Errc::config_invalid, "settings.json: unknown key '" + key + "'");
    }
    return config;
}

Task<Result<void>> RunHost::create(StoreThread& store, fs::path folder, RunRow row, std::string settings) {
    auto parsed = parse_run_settings(settings);
    if (!parsed) co_return fail(parsed.error());
    // Operands are named: g++ 12 destroys temporaries of a co_await expression twice.
    auto work = [folder, row, settings] { return create_files(folder, row, settings); };
    co_return co_await store.run(std::move(work));
}

Task<Result<std::unique_ptr<RunHost>>> RunHost::open(asio::any_io_executor io, StoreThread& store, fs::path folder,
                                                     KeyPair service, std::function<void(const Error&)> on_fatal) {
    auto work = [folder] { return open_files(folder); };
    auto opened = co_await store.run(std::move(work));
    if (!opened) co_return fail(opened.error());
    co_return std::unique_ptr<RunHost>(new RunHost(std::move(io), store, std::move(folder), std::move(opened->journal),
                                                   std::move(opened->image), opened->config, service, std::move(on_fatal)));
}

RunHost::RunHost(asio::any_io_executor io, StoreThread& store, fs::path folder, std::unique_ptr<SqliteJournal> journal,
                 Image image, CoreConfig config, const KeyPair& service, std::function<void(const Error&)> on_fatal)
    : io_(io),
      store_(store),
      folder_(std::move(folder)),
      journal_(std::move(journal)),
      row_(image.run),
      shard_desk_(shards_of(image.run)),
      core_(std::move(image), config, make_signing(service)),
      outbox_(io, *this),
      clock_(io),
      children_(io),
      first_evaluation_(load_first_evaluation(folder_)),
      on_fatal_(std::move(on_fatal)) {}

RunHost::~RunHost() {
    // The connection belongs to the store thread, so it ends there.
    store_.post([journal = std::shared_ptr<SqliteJournal>(std::move(journal_))]() mutable {
        journal.reset();
        return true;
    }, [](bool) {});
}

void RunHost::start() {
    running_ = true;
    feed(Started{});
}

void RunHost::close_intake() {
    running_ = false;
    clock_.cancel();
    auto questions = std::exchange(questions_, {});
    for (auto& [id, question] : questions) question.done(AdminAnswer{id, kStopping, {}});
}

Task<> RunHost::stop(std::chrono::milliseconds patience) {
    close_intake();
    children_.cancel();
    co_await children_.join();
    auto deadline = std::chrono::steady_clock::now() + patience;
    asio::steady_timer pause(io_);
    while (!outbox_.empty() && std::chrono::steady_clock::now() < deadline) {
        pause.expires_after(std::chrono::milliseconds(5));
        co_await pause.async_wait(no_throw);
    }
}

void RunHost::feed(Event event) {
    if (!running_) return;
    outbox_.push(core_.step(mono_now(), event));
    arm_clock();
}

void RunHost::arm_clock() {
    auto due = std::max(core_.next_wake(), mono_now() + kLeastTick);
    clock_.expires_at(due);
    clock_.async_wait([this](const boost::system::error_code& ec) {
        if (ec) return;
        feed(Tick{});
        refresh_status();
    });
}

void RunHost::hello(SessionLink& link, HelloReceived event) {
    links_[event.session] = &link;
    peers_[event.session] = event.node;
    feed(std::move(event));
}

void RunHost::message(SessionId session, ControlMessage message) {
    notice_evaluation(message);
    if (const auto* report = std::get_if<Report>(&message.body)) {
        last_messages_[peers_[session]].report = *report;
        if (is_member(peers_[session])) shard_desk_.report(peers_[session], report->shards);
    }
    feed(MessageReceived{session, std::move(message)});
}

void RunHost::closed(SessionId session) {
    if (auto peer = peers_.find(session); peer != peers_.end()) shard_desk_.gone(peer->second);
    peers_.erase(session);
    if (links_.erase(session) != 0) feed(SessionClosed{session});
}

void RunHost::admin(AdminVerb verb, std::function<void(AdminAnswer)> done) {
    if (!running_) {
        done(AdminAnswer{0, kStopping, {}});
        return;
    }
    if (auto* back = std::get_if<admin::Rollback>(&verb); back && back->history.empty() && back->to < core_.head()) {
        roll_back(std::move(*back), std::move(done));
        return;
    }
    bool status = std::holds_alternative<admin::GetStatus>(verb);
    if (status && outbox_.disk_is_full() && last_status_) {
        done(status_on_full_disk());
        return;
    }
    std::uint64_t id = next_question_++;
    questions_.emplace(id, Question{status, std::move(done)});
    feed(AdminCommand{id, std::move(verb)});
}

/// The core remembers the newest decisions; of a rollback it needs all that are undone, and the one before.
void RunHost::roll_back(admin::Rollback verb, std::function<void(AdminAnswer)> done) {
    const Step from{verb.to.value - std::min<std::uint64_t>(verb.to.value, 1)};
    auto work = [journal = journal_.get(), from]() -> Result<std::vector<SignedDecision>> {
        std::vector<SignedDecision> all;
        for (Step at = from;; at.value = from.value + all.size()) {
            auto some = journal->decisions(at, kMaxDecisionsPerFrame);
            if (!some) return some;
            if (some->empty()) return all;
            std::move(some->begin(), some->end(), std::back_inserter(all));
        }
    };
    auto then = [this, verb = std::move(verb), done = std::move(done)](Result<std::vector<SignedDecision>> records) mutable {
        if (!records) return done(AdminAnswer{0, records.error(), {}});
        verb.history = std::move(*records);
        admin(std::move(verb), std::move(done));
    };
    store_.post(std::move(work), std::move(then));
}

// The answer travels behind transactions like everything else; so what is kept is durable.
void RunHost::refresh_status() {
    Mono now = mono_now();
    if (now - status_asked_ < kStatusEvery || outbox_.disk_is_full()) return;
    status_asked_ = now;
    admin(admin::GetStatus{}, [](const AdminAnswer&) {});
}

AdminAnswer RunHost::status_on_full_disk() const {
    RunStatus status = *last_status_;
    status.phase = "hold";
    status.hold_reason = "the coordinator's disk is full";
    status.next = "goes on by itself when there is space";
    return AdminAnswer{0, std::nullopt, std::move(status)};
}

void RunHost::disk_full(bool full) {
    if (!full || !last_status_) return;
    std::vector<std::function<void(AdminAnswer)>> waiting;
    for (auto it = questions_.begin(); it != questions_.end();) {
        if (it->second.status) {
            waiting.push_back(std::move(it->second.done));
            it = questions_.erase(it);
        } else {
            ++it;
        }
    }
    for (auto& done : waiting) done(status_on_full_disk());
}

bool RunHost::is_member(const NodeId& node) const {
    const auto state = core_.state_of(node);
    return state == NodeState::joining || state == NodeState::current || state == NodeState::leaving || state == NodeState::following;
}

// --------------------------------------------------------------------------------------------- actions

void RunHost::persist(std::shared_ptr<const Tx> tx, std::function<void(Result<void>)> done) {
    auto work = [journal = journal_.get(), tx] {
        bool decision = decides(*tx);
        if (decision) failpoint("coordinator.before_decision");
        auto applied = journal->apply(*tx);
        if (decision && applied) failpoint("coordinator.after_decision");
        return applied;
    };
    auto durable = [this, tx, done = std::move(done), begun = std::chrono::steady_clock::now()](Result<void> result) {
        count(*tx, result.has_value(), begun);
        LogScope scope(log_context());
        done(std::move(result));
    };
    store_.post(std::move(work), std::move(durable));
}

void RunHost::count(const Tx& tx, bool durable, std::chrono::steady_clock::time_point begun) {
    const auto now = std::chrono::steady_clock::now();
    auto seconds = [](auto span) { return std::chrono::duration<double>(span).count(); };
    if (!durable) {
        ++counters_.failed;
        return;
    }
    ++counters_.transactions;
    counters_.seconds.observe(seconds(now - begun));
    if (!decides(tx)) return;
    ++counters_.decisions;
    if (counters_.last_decision) counters_.rounds.observe(seconds(now - *counters_.last_decision));
    counters_.last_decision = now;
}

LogContext RunHost::log_context() const {
    const Attempt attempt = core_.attempt();
    return {core_.manifest().name, std::to_string(core_.head().value), attempt.value == 0 ? "" : std::to_string(attempt.value), ""};
}

std::optional<RunWatch::Stuck> RunHost::watch() {
    const Mono now = mono_now();
    return run_watch_.look(core_.status(now), now);
}

void RunHost::note_bundle(const fs::path& folder, const std::string& reason) {
    ++watchdog_.bundles;
    watchdog_.last = folder.string();
    watchdog_.reason = reason;
    LogScope scope(log_context());
    log_warn("watchdog.bundle", {{"reason", reason}, {"folder", watchdog_.last}});
}

Task<Result<void>> RunHost::copy_journal(fs::path file) {
    auto begin = [journal = journal_.get(), file] { return journal->begin_copy(file); };
    auto begun = co_await store_.run(std::move(begin));
    if (!begun) co_return fail(begun.error());
    // It ends where it was made, whatever becomes of this coroutine.
    auto end = [&store = store_](JournalCopy* copy) {
        store.post([owned = std::shared_ptr<JournalCopy>(copy)]() mutable {
            owned.reset();
            return true;
        }, [](bool) {});
    };
    std::shared_ptr<JournalCopy> copy(begun->release(), end);
    for (;;) {
        auto work = [copy] { return copy->step(kPagesPerStep); };
        auto done = co_await store_.run(std::move(work));
        if (!done) co_return fail(done.error());
        if (*done) co_return Result<void>{};
    }
}

void RunHost::remember(SessionId session, const ControlMessage& message) {
    const auto* orders = std::get_if<Orders>(&message.body);
    auto peer = peers_.find(session);
    if (orders == nullptr || peer == peers_.end()) return;
    Orders brief = *orders;
    brief.roster.reset();
    brief.decisions.clear();
    if (brief.plan) brief.plan->body.clear();
    last_messages_[peer->second].orders = std::move(brief);
}

void RunHost::send(SessionId session, ControlMessage message) {
    remember(session, message);
    auto link = links_.find(session);
    if (link != links_.end()) link->second->send(std::move(message));
}

void RunHost::close(SessionId session) {
    auto link = links_.find(session);
    if (link != links_.end()) link->second->close();
}

void RunHost::dial_back(DialBack action) { children_.spawn(dial(std::move(action))); }

Task<> RunHost::dial(DialBack action) {
    DialBackDone event{action.node, action.incarnation, false};
    event.reachable = co_await can_reach(std::move(action.addresses), kDialPatience);
    feed(event);
}

void RunHost::load_decisions(LoadDecisions action) {
    auto work = [journal = journal_.get(), action] { return journal->decisions(action.from, action.max); };
    auto done = [this, session = action.session](Result<std::vector<SignedDecision>> records) {
        if (records) {
            feed(DecisionsLoaded{session, std::move(*records)});
        } else {
            LogScope scope(log_context());
            log_error("decisions_not_read", {{"detail", records.error().detail}});
        }
    };
    store_.post(std::move(work), std::move(done));
}

void RunHost::answer(AdminAnswer answer) {
    if (const auto* status = std::get_if<RunStatus>(&answer.value)) last_status_ = *status;
    auto question = questions_.find(answer.id);
    if (question == questions_.end()) return;
    auto done = std::move(question->second.done);
    questions_.erase(question);
    done(std::move(answer));
}

void RunHost::note(const Note& note) {
    LogScope scope(log_context());
    std::vector<LogField> fields;
    for (const auto& [key, value] : note.fields) fields.push_back({key, value});
    log(note.warn ? LogLevel::warn : LogLevel::info, note.event, fields);
}

void RunHost::stopped_by(const Error& why) {
    running_ = false;
    clock_.cancel();
    on_fatal_(why);
}

// The state S_0 is evaluated first; what came first by time need not have the lowest step.
void RunHost::notice_evaluation(const ControlMessage& message) {
    const auto* report = std::get_if<Report>(&message.body);
    if (report == nullptr || !report->heldout_loss) return;
    if (first_evaluation_ && first_evaluation_->step <= report->heldout_step) return;
    first_evaluation_ = FirstEvaluation{report->heldout_step, *report->heldout_loss};
    Json json{{"step", report->heldout_step.value}, {"loss", *report->heldout_loss}};
    store_.post([file = evaluation_file(folder_), text = json.dump()] { return write_small_file(file, text, 0600); },
                [](const Result<void>&) {});
}

}  // namespace skerry::coordinator
