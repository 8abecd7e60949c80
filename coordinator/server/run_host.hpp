#pragma once
// One run of this coordinator: its core, its journal, its outbox, its clock.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "coordinator/core/coordinator_core.hpp"
#include "coordinator/server/outbox.hpp"
#include "coordinator/server/run_watch.hpp"
#include "coordinator/server/store_thread.hpp"
#include "coordinator/shards/shard_desk.hpp"
#include "coordinator/store/journal_counters.hpp"
#include "coordinator/store/sqlite_journal.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/task_group.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::coordinator {

/// A session as its run sees it. Calls come on the io thread.
class SessionLink {
  public:
    virtual ~SessionLink() = default;
    virtual void send(ControlMessage message) = 0;
    /// After what was sent before.
    virtual void close() = 0;
};

/// First evaluation of a run: kept, because the newest one replaces it in the nodes' reports.
struct FirstEvaluation {
    Step step;
    double loss = 0;
};

/// What `run.toml` says about time; lies beside the journal, may be edited while the coordinator is down.
/// JSON keys: exchange_deadline_ms, exchange_least_ms, exchange_most_ms, collect_most_ms, vote_deadline_ms,
/// silent_after_ms, away_after_ms, grace_percent (0 to 100).
Result<CoreConfig> parse_run_settings(std::string_view json);

/// Beside a journal that came from a backup, until it is known to be no older than what nodes hold.
inline constexpr const char* kRestoredMark = "restored.json";

/// Belongs to the io thread; the journal to the store thread.
class RunHost final : private ActionSink {
  public:
    /// `<folder>/run.db` and `<folder>/settings.json`. Errors: as SqliteJournal::create, and already_exists.
    static Task<Result<void>> create(StoreThread& store, std::filesystem::path folder, RunRow row, std::string settings);
    /// Opens the journal and builds the core. `on_fatal` is told once if the journal cannot go on.
    static Task<Result<std::unique_ptr<RunHost>>> open(asio::any_io_executor io, StoreThread& store, std::filesystem::path folder,
                                                       KeyPair service, std::function<void(const Error&)> on_fatal);
    ~RunHost() override;

    /// Claims the term and starts the clock.
    void start();
    /// Nothing is fed any more; whoever waits for an answer gets an error.
    void close_intake();
    /// After close_intake: until the last action is carried out, or `patience` is over.
    Task<> stop(std::chrono::milliseconds patience);

    // Events. A session is known from `hello` to `closed`; `link` must live as long.
    void hello(SessionLink& link, HelloReceived event);
    void message(SessionId session, ControlMessage message);
    void closed(SessionId session);
    /// Answers when it is durable. Status is answered on a full disk too: as it was before, with that as the reason to hold.
    void admin(AdminVerb verb, std::function<void(AdminAnswer)> done);

    asio::any_io_executor executor() const { return io_; }
    const Manifest& manifest() const { return core_.manifest(); }
    const RunRow& row() const { return row_; }
    /// Whether the node is joining or current: it may fetch data shards.
    bool is_member(const NodeId& node) const;
    /// Who gets its data shards from here, who from others.
    ShardDesk& shard_desk() { return shard_desk_; }
    const ShardDesk& shard_desk() const { return shard_desk_; }
    std::size_t sessions() const { return core_.sessions(); }
    const std::optional<FirstEvaluation>& first_evaluation() const { return first_evaluation_; }

    /// Copies the live journal into a new file, some pages at a time between transactions. Errors: as JournalCopy.
    Task<Result<void>> copy_journal(std::filesystem::path file);

    const std::filesystem::path& folder() const { return folder_; }
    const JournalCounters& counters() const { return counters_; }
    /// What lines about this run carry.
    LogContext log_context() const;
    /// Asked once a second: whether the open step has been open too long. Its parts: run_parts.
    std::optional<RunWatch::Stuck> watch();
    const std::map<NodeId, LastMessages>& last_messages() const { return last_messages_; }
    /// A bundle of this run was written.
    void note_bundle(const std::filesystem::path& folder, const std::string& reason);
    const WatchdogFacts& watchdog() const { return watchdog_; }

  private:
    RunHost(asio::any_io_executor io, StoreThread& store, std::filesystem::path folder, std::unique_ptr<SqliteJournal> journal,
            Image image, CoreConfig config, const KeyPair& service, std::function<void(const Error&)> on_fatal);

    void persist(std::shared_ptr<const Tx> tx, std::function<void(Result<void>)> done) override;
    void send(SessionId session, ControlMessage message) override;
    void close(SessionId session) override;
    void dial_back(DialBack action) override;
    void load_decisions(LoadDecisions action) override;
    void answer(AdminAnswer answer) override;
    void note(const Note& note) override;
    void disk_full(bool full) override;
    void stopped_by(const Error& why) override;

    void feed(Event event);
    void refresh_status();
    void roll_back(admin::Rollback verb, std::function<void(AdminAnswer)> done);
    AdminAnswer status_on_full_disk() const;
    void arm_clock();
    void count(const Tx& tx, bool durable, std::chrono::steady_clock::time_point begun);
    void remember(SessionId session, const ControlMessage& message);
    void notice_evaluation(const ControlMessage& message);
    Task<> dial(DialBack action);

    asio::any_io_executor io_;
    StoreThread& store_;
    std::filesystem::path folder_;
    std::unique_ptr<SqliteJournal> journal_;  ///< used and destroyed on the store thread
    RunRow row_;
    ShardDesk shard_desk_;
    CoordinatorCore core_;
    Outbox outbox_;
    asio::steady_timer clock_;
    TaskGroup children_;
    std::map<SessionId, SessionLink*> links_;
    std::map<SessionId, NodeId> peers_;
    std::map<NodeId, LastMessages> last_messages_;
    JournalCounters counters_;
    RunWatch run_watch_;
    WatchdogFacts watchdog_;
    struct Question {
        bool status = false;  ///< answered from `last_status_` while the disk is full
        std::function<void(AdminAnswer)> done;
    };
    std::map<std::uint64_t, Question> questions_;
    std::optional<RunStatus> last_status_;  ///< the newest that was durable when it was told
    Mono status_asked_{};
    std::uint64_t next_question_ = 1;
    std::optional<FirstEvaluation> first_evaluation_;
    std::function<void(const Error&)> on_fatal_;
    bool running_ = false;
};

}  // namespace skerry::coordinator
