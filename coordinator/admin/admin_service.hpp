#pragma once
// Administration: verbs with JSON arguments and answers (docs/admin.md).

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "coordinator/admin/admin_tokens.hpp"
#include "coordinator/admin/status_json.hpp"
#include "coordinator/shards/shard_desk.hpp"
#include "coordinator/shards/shard_store.hpp"
#include "protocol/base/task.hpp"
#include "protocol/observe/bundle.hpp"

namespace skerry::coordinator {

/// The runs of this process, as administration needs them.
class Runs {
  public:
    virtual ~Runs() = default;
    virtual std::vector<std::string> names() const = 0;
    /// Feeds the verb to the run's core; the answer comes when it is durable. `name` exists.
    virtual Task<AdminAnswer> command(std::string name, AdminVerb verb) = 0;
    virtual Task<Result<void>> create(std::string name, RunRow row, std::string settings) = 0;
    virtual std::optional<std::pair<Step, double>> first_evaluation(const std::string& name) const = 0;
    virtual CoordinatorInfo info() const = 0;
    virtual WatchdogFacts watchdog(const std::string& name) const = 0;
    virtual ShardFacts shards_of(const std::string& name) const = 0;
    virtual std::int64_t wall_unix_s() const = 0;
    /// Runs it on the thread for files.
    virtual Task<Result<ShardPresence>> on_files(std::function<Result<ShardPresence>()> work) = 0;
};

/// Belongs to the io thread.
class AdminService {
  public:
    AdminService(Runs& runs, AdminTokens& tokens, ShardStore& shards) : runs_(runs), tokens_(tokens), shards_(shards) {}

    /// One verb. Whoever calls has checked that the asker may ask.
    Task<AdminReply> handle(AdminRequest request);

  private:
    using Json = nlohmann::json;
    Task<Result<Json>> dispatch(const AdminRequest& request, const Json& args);
    Task<Result<Json>> status(const Json& args);
    Task<Result<Json>> runs();
    Task<Result<Json>> nodes(const Json& args);
    Task<Result<Json>> create_run(const Json& args, const Bytes& manifest);
    Task<Result<Json>> change_run(const Json& args, const std::string& verb);
    Task<Result<Json>> roll_back(const Json& args);
    Task<Result<Json>> configure(const Json& args);
    Task<Result<Json>> create_token(const Json& args);
    Task<Result<Json>> revoke_token(const Json& args);
    Task<Result<Json>> list_tokens(const Json& args);
    Task<Result<Json>> change_node(const Json& args, bool revoke);
    Result<ShardPresence> find_base(const Digest& id, std::uint64_t elements) const;
    Task<Result<Json>> have_shards(const Json& args);
    Task<Result<Json>> put_shard(const Json& args, const Bytes& block);
    Task<Result<RunStatus>> status_of(std::string name);
    Result<std::string> pick_run(const Json& args) const;

    Runs& runs_;
    AdminTokens& tokens_;
    ShardStore& shards_;
};

}  // namespace skerry::coordinator
