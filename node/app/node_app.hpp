#pragma once
// One node: builds every part, turns what happens into events for the core and carries out its actions.

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "node/app/agent_commands.hpp"
#include "node/app/data_files.hpp"
#include "node/app/model_mirror.hpp"
#include "node/app/node_config.hpp"
#include "node/app/node_watch.hpp"
#include "node/app/owner_control.hpp"
#include "node/app/store_actions.hpp"
#include "node/app/trainer_host.hpp"
#include "node/control/coordinator_session.hpp"
#include "node/core/node_core.hpp"
#include "node/exchange/engine.hpp"
#include "node/exchange/shard_exchange.hpp"
#include "node/metrics/node_status.hpp"
#include "node/transport/zap_handler.hpp"
#include "protocol/admin/admin_server.hpp"
#include "protocol/base/task_group.hpp"

namespace skerry::node {

struct NodeOptions {
    NodeFolder folder;
    NodeSettings settings;
    KeyPair key;
    std::filesystem::path ready_file;  ///< empty: none
    bool says = false;                 ///< a line for people on standard error when the trainer is ready
};

/// Everything runs on the io thread but for what is posted to `disk_` (one thread, in order) and `codec_`.
class NodeApp final : public CoordinatorEvents, public AgentCommands {
  public:
    explicit NodeApp(NodeOptions options);
    ~NodeApp() override;

    /// Loads the disk's state, opens sockets and runs until the node ends. Returns why, `cancelled` for an
    /// orderly end.
    Error run();

  private:
    Result<void> prepare();
    Result<void> open_store();
    void make_hosts();
    CoordinatorPeer coordinator() const;
    Result<void> open_data_plane();
    Task<> fetch_folder_files(std::vector<FolderFile> files);
    Result<void> adopt(std::shared_ptr<RunStore> store, Bytes data_manifest);
    void share_shards();
    ChildOptions trainer_options() const;
    void trainer_ready(const TrainerSetup& setup);

    Task<> end_in_order();
    Task<> keep_session();
    Task<> keep_time();
    Task<> watch_disk();
    Task<> watch_machine();
    Task<> watch_signals();
    Task<> finish_step(int signal);
    Task<> leave_soon();
    bool step_under_way(Step since) const;
    void apply(bool spent);
    void apply_rates();
    void charge_downloads();
    void apply_quota();
    void renew_trainer();
    Task<> watch_progress();
    Task<> write_bundle_of(NodeWatch::Stuck stuck);
    Task<std::string> metrics_page();
    void refresh_log_context() const;

    void feed(Event event);
    void note(const Event& event);
    void carry_out(Action& action);
    void perform(const Send& action);
    void perform(const Redial& action);
    void perform(const Note& action);
    void perform(const Exit& action);
    void end(Error why);

    // CoordinatorEvents
    void on_session(const PublicKey& service) override;
    void on_message(ControlMessage message) override;
    void on_lost(const Error& why, std::chrono::milliseconds retry_in, bool was_open) override;
    void complete(Hello& hello) const;
    void on_welcome(const Welcome& welcome);
    bool signed_by_service(const ControlBody& body) const;
    std::vector<Address> own_addresses() const;
    StatusFacts status_facts() const;
    void take_roster(const SignedBody& body);
    Task<> pass(std::string failpoint_name);

    // AgentCommands
    std::string status_json() override;
    void command(UserCommand command) override;
    void pause(std::optional<Millis> length) override;
    std::string pause_json() override;
    std::string limits_json() override;
    Result<void> reload_limits() override;

    NodeOptions options_;
    ZmqContext zmq_;  // outlives the io_context, whose coroutines hold sockets
    asio::io_context io_;
    asio::thread_pool disk_{1};
    asio::thread_pool codec_{1};
    asio::thread_pool watch_{1};  ///< writes bundles while the others may be stuck
    TaskGroup children_;

    BootId boot_;
    CurveKeyPair curve_;
    std::unique_ptr<ZapHandler> zap_;
    std::shared_ptr<RunStore> store_;
    std::optional<DataFiles> data_;
    std::unique_ptr<ShardExchange> shard_exchange_;
    std::unique_ptr<ShardFetch> shard_fetch_;
    std::unique_ptr<StoreActions> store_actions_;
    std::unique_ptr<TrainerHost> trainer_;
    std::unique_ptr<ModelMirror> mirror_;  ///< of a follower
    std::unique_ptr<Engine> engine_;
    std::unique_ptr<CoordinatorSession> session_;
    std::unique_ptr<OwnerControl> owner_;
    std::unique_ptr<AdminServer> socket_;
    std::unique_ptr<MetricsServer> metrics_;
    NodeConfig core_config_;
    std::optional<NodeCore> core_;

    std::deque<Event> events_;
    bool feeding_ = false;
    asio::steady_timer timer_;
    std::optional<asio::signal_set> signals_;
    Bytes ticket_;
    PublicKey service_;
    Roster roster_;  ///< as last heard, for `status`
    std::uint16_t data_port_ = 0;
    StatusBook book_;
    NodeWatch node_watch_;
    WatchdogFacts watchdog_;
    std::uint64_t sessions_ = 0;
    double measured_tokens_per_s_ = 0;  ///< while it trained last
    std::optional<Report> last_report_;  ///< for bundles
    int stop_signals_ = 0;
    bool spent_ = false;         ///< the day's bytes; the data plane closes once no step is under way
    bool closed_ = false;
    std::uint64_t seen_pieces_ = 0;  ///< bytes, when the two downloads were last told of each other
    std::uint64_t seen_shards_ = 0;
    ChildOptions running_;       ///< what the newest trainer was started with
    TrainerSetup said_;      ///< to people
    bool renewing_ = false;      ///< it is ended for other options
    int waited_ = 0;             ///< seconds, for its round to end
    bool disk_full_ = false;
    bool leaving_ = false;
    std::optional<Error> lost_;   ///< why there is no session
    std::map<OpId, Step> digests_under_way_;
    std::map<OpId, Step> evaluations_under_way_;
    std::set<OpId> changes_under_way_;  ///< of the state
    std::optional<Error> ended_;
};

}  // namespace skerry::node
