#pragma once
// What `skerry doctor` looks at. Each finding that is not ok comes with its cure, a command where there is one.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "node/cli/context.hpp"
#include "node/config/node_toml.hpp"
#include "protocol/base/error.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::node {

enum class Health : std::uint8_t { ok, warn, fail };

struct Finding {
    std::string check;  ///< a word or two
    Health health = Health::ok;
    std::string text;
    std::string fix;          ///< empty where all is well
    Errc code = Errc::internal;  ///< of a failure: the exit status of the command
};

/// Collects findings; what one check learnt the next may use.
class Doctor {
  public:
    explicit Doctor(Context context) : context_(std::move(context)) {}

    /// All of them, in an order in which causes come before their effects. Takes some seconds.
    void examine();
    const std::vector<Finding>& findings() const { return findings_; }
    /// The agent's status document, if one answered.
    const std::string& agent_status() const { return status_; }
    std::string to_json() const;

  private:
    void ok(std::string check, std::string text) { findings_.push_back({std::move(check), Health::ok, std::move(text), "", {}}); }
    void warn(std::string check, std::string text, std::string fix) {
        findings_.push_back({std::move(check), Health::warn, std::move(text), std::move(fix), {}});
    }
    void bad(std::string check, Errc code, std::string text, std::string fix) {
        findings_.push_back({std::move(check), Health::fail, std::move(text), std::move(fix), code});
    }

    // doctor_machine.cpp
    void look_at_processor();
    void look_at_memory();
    void look_at_disk();
    void look_at_descriptors();
    void look_at_clock();
    // doctor_folder.cpp
    void look_at_folder();
    void look_at_config();
    void look_at_token();
    void look_at_agent();
    void look_at_identity();
    void look_at_trainer();
    void look_at_log();
    void look_at_leftovers();
    // doctor_network.cpp
    void look_at_ports();
    void look_at_coordinator();

    std::string dir() const { return context_.dir; }
    NodeFolder folder() const { return {context_.dir}; }
    bool has_folder() const { return !context_.dir.empty() && std::filesystem::exists(folder().config()); }

    Context context_;
    std::vector<Finding> findings_;
    std::optional<NodeToml> config_;
    std::optional<Token> token_;
    bool agent_runs_ = false;
    std::string status_;
};

/// Processes of this machine that run the node of this folder, by their command lines.
std::vector<int> agents_of(const std::filesystem::path& folder);
/// All running skerry-node processes with their folders.
std::vector<std::pair<int, std::filesystem::path>> running_agents();

/// What a bug report needs, as a .tar.gz: versions, configuration, the end of the log, the newest bundle of the watchdog,
/// status and findings. Without tokens and keys. Errors: io_error, disk_full, not_found (no tar).
Result<void> write_doctor_bundle(const Doctor& doctor, const std::filesystem::path& folder, const std::filesystem::path& file);
/// A text without what opens something: tokens and private keys.
std::string without_secrets(const std::string& text);

}  // namespace skerry::node
