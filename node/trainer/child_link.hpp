#pragma once
// The agent's end of the socket: lines, answers in order, events, and the process behind it.
// Internal to child_process; brings in the JSON library.

#include <sys/types.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "node/trainer/child_process.hpp"
#include "protocol/base/descriptor.hpp"

namespace skerry::node {

class ChildProcess::Link {
  public:
    using Json = nlohmann::json;

    Link(asio::any_io_executor executor, ChildOptions options);
    ~Link();

    Result<void> spawn();
    Task<> run();
    Task<Result<void>> ready();
    /// Sends a line and waits for its answer.
    Task<Result<Json>> request(std::string verb, Json object, OwnedDescriptor descriptor = {});
    Task<Result<TrainerEvent>> next_event();
    /// The `saved` event of the save that was answered as pending.
    Task<Result<void>> written();
    void on_generated(std::function<void(const std::vector<std::uint32_t>&)> take) { generated_ = std::move(take); }
    bool wants_generated() const { return generated_ != nullptr; }
    void forget_saved() { saved_.reset(); }
    void kill();
    pid_t pid() const { return pid_; }

    const ChildOptions& options() const { return options_; }
    TrainerStatus& status() { return status_; }
    /// The weights window: its descriptor and its elements, mapped here.
    int window_descriptor() const { return window_.get(); }
    const float* window() const { return window_data_; }

  private:
    struct Pending {
        explicit Pending(asio::any_io_executor executor, std::string v)
            : verb(std::move(v)), wake(executor, asio::steady_timer::time_point::max()) {}
        std::string verb;
        asio::steady_timer wake;
        std::optional<Result<Json>> answer;
    };
    struct Outgoing {
        std::string line;
        OwnedDescriptor descriptor;
    };

    Result<void> make_window();
    Task<> read_lines();
    Task<> write_lines();
    Task<Result<void>> write_one(Outgoing& out);
    Task<> reap();
    bool try_reap();
    bool take_line(const std::string& line);
    bool take_answer(const std::string& kind, const Json& object);
    bool take_event(const std::string& kind, const Json& object);
    void set_progress(const Json& object);
    void lost(Errc code, std::string detail);
    void wake_everybody();

    asio::any_io_executor executor_;
    ChildOptions options_;
    asio::local::stream_protocol::socket socket_;
    asio::steady_timer out_wake_, event_wake_, ready_wake_, saved_wake_;
    pid_t pid_ = -1;
    int exit_status_ = 0;
    OwnedDescriptor window_;
    float* window_data_ = nullptr;

    std::deque<Outgoing> outgoing_;
    std::deque<std::shared_ptr<Pending>> pending_;
    std::deque<TrainerEvent> events_;
    std::function<void(const std::vector<std::uint32_t>&)> generated_;
    std::optional<Json> saved_;  ///< the event of the newest save
    TrainerStatus status_;
    bool greeted_ = false, gone_ = false, gone_told_ = false;
    Errc failure_ = Errc::trainer_failed;
    std::string failure_detail_;
};

}  // namespace skerry::node
