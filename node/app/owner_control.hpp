#pragma once
// What the owner of this machine wants, while the agent runs: pauses with their reasons, limits read anew.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>

#include "node/app/node_config.hpp"
#include "node/app/owner_rules.hpp"
#include "protocol/base/task.hpp"

namespace skerry::node {

/// Belongs to the io thread; its file is written on `disk`.
class OwnerControl {
  public:
    struct Parts {
        asio::any_io_executor io;
        asio::any_io_executor disk;
        NodeFolder folder;
        std::function<void(bool paused)> pause;          ///< called when it changes
        std::function<std::uint64_t()> transferred;      ///< bytes both ways since the process began; called once a second
        /// Called when they are read anew, and when the day's bytes run out or are there again.
        std::function<void(bool spent)> apply;
    };
    OwnerControl(Parts parts, Limits limits);

    /// Takes up what was said before the process ended; tells `pause` if it holds. Before anything else.
    void begin();
    /// Looks once a second; saves what must outlive the process. Until cancelled.
    Task<> run();

    void pause(std::optional<Millis> length);
    void resume();
    /// Reads node.toml. Errors: those of load_node_toml, and the old limits hold.
    Result<void> reload();

    const PauseState& state() const { return state_; }
    const Limits& limits() const { return limits_; }
    /// For a person: "paused(user) until 16:31"; empty if it is not.
    std::string text() const;
    /// {"reason", "until", "text"}, or null.
    std::string pause_json() const;
    /// The limits as they hold now, with what was transferred today.
    std::string limits_json() const;

  private:
    void look();
    void save();
    void apply() { parts_.apply(state_.reason == PauseReason::transfer); }

    Parts parts_;
    Limits limits_;
    OwnerRules rules_;
    PauseState state_;
    asio::steady_timer timer_;
    std::uint64_t counted_ = 0;    ///< of `transferred`
    std::uint64_t saved_bytes_ = 0;
    std::string saved_;
};

}  // namespace skerry::node
