#pragma once
// Builds the parts of skerry-coordinator, runs them, ends them in order.

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <memory>
#include <optional>

#include "coordinator/admin/admin_service.hpp"
#include "coordinator/app/config.hpp"
#include "coordinator/app/service_keys.hpp"
#include "coordinator/server/listener.hpp"
#include "protocol/admin/admin_server.hpp"

namespace skerry::coordinator {

struct RunOptions {
    std::filesystem::path dir;
    std::optional<Address> listen;      ///< instead of the config's
    std::filesystem::path ready_file;   ///< empty: none
};

/// One process. Belongs to the main thread, which is the io thread.
class CoordinatorApp final : private Backend, private Runs {
  public:
    explicit CoordinatorApp(RunOptions options);
    ~CoordinatorApp() override;

    /// Until SIGTERM or SIGINT (ok), or until it cannot go on.
    Result<void> run();

  private:
    // Backend
    RunHost* find_run(const std::string& name) override;
    RunHost* find_run(const RunId& id) override;
    Task<Result<Bytes>> read_shard(Digest shard, std::uint64_t offset, std::uint32_t bytes) override;
    Task<Result<Bytes>> block_hashes(Digest shard) override;
    Task<Result<LookAnswer>> look(NodeId node, Look look) override;
    Result<void> check_admin(ByteSpan token_id, ByteSpan token_secret) override;
    Task<AdminReply> handle_admin(AdminRequest request) override;
    std::int64_t wall_unix_s() const override;
    // Runs
    std::vector<std::string> names() const override;
    Task<AdminAnswer> command(std::string name, AdminVerb verb) override;
    Task<Result<void>> create(std::string name, RunRow row, std::string settings) override;
    std::optional<std::pair<Step, double>> first_evaluation(const std::string& name) const override;
    CoordinatorInfo info() const override;
    WatchdogFacts watchdog(const std::string& name) const override;
    ShardFacts shards_of(const std::string& name) const override;
    Task<Result<ShardPresence>> on_files(std::function<Result<ShardPresence>()> work) override;

    Result<void> prepare();
    Result<void> lock_folder();
    Result<void> write_ready_file() const;
    Task<Result<void>> open_runs();
    Task<Result<void>> open_run(std::string name);
    Task<> life();
    Task<> wait_for_signal();
    Task<> stop_runs();
    Task<AdminReply> handle_local(AdminRequest request);
    Task<Result<std::filesystem::path>> copy_journals();
    void remove_copies(std::chrono::seconds older_than);
    Task<std::string> metrics_page();
    Task<> watch_runs();
    Task<> write_bundle_of(RunHost& run, RunWatch::Stuck stuck);
    void on_fatal(const Error& why);

    RunOptions options_;
    Places places_;
    CoordinatorConfig config_;
    std::optional<ServiceKeys> keys_;
    AdminTokens admin_tokens_;
    int lock_ = -1;
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
    std::optional<Error> fatal_;
    bool copying_ = false;  ///< a backup is being made
    Result<void> outcome_;

    // Order matters: what is declared later is destroyed first; the threads end before the context they post to.
    asio::io_context io_;
    asio::thread_pool files_{1};
    asio::thread_pool watch_{1};  ///< writes bundles while the others may be stuck
    StoreThread store_;
    std::optional<ShardStore> shards_;
    std::optional<AdminService> admin_;
    std::map<std::string, std::unique_ptr<RunHost>> runs_;
    std::optional<Listener> listener_;
    std::optional<AdminServer> admin_server_;
    std::optional<MetricsServer> metrics_;
    asio::steady_timer ended_;
};

}  // namespace skerry::coordinator
