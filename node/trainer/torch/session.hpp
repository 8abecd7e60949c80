#pragma once
// The trainer protocol (docs/trainer-protocol.md) around an InnerLoop.

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "node/trainer/torch/fields.hpp"
#include "node/trainer/torch/inner_loop.hpp"
#include "node/trainer/torch/line_channel.hpp"
#include "node/trainer/torch/setup.hpp"

namespace skerry::node {

enum class ExitStatus { asked = 0, internal = 1, usage = 2, not_finite = 3, protocol = 4, out_of_memory = 5, data = 6 };

class Session {
  public:
    /// memory: bytes the process may use, 0: what is free. setup: if it failed, `config` is answered with its error.
    Session(int socket, std::uint32_t threads, std::uint64_t memory, Result<Setup> setup)
        : channel_(socket), threads_(threads), memory_(memory), setup_(std::move(setup)) {}

    ~Session() { join_writer(); }

    /// Until asked to quit, end of file, or a failure (which was reported in a `failed` line).
    ExitStatus run();
    /// For failures outside of `run`.
    void report(Errc code, const std::string& detail);

  private:
    using Answer = Result<Json>;
    using Clock = std::chrono::steady_clock;

    std::optional<ExitStatus> handle(const std::string& line);
    Answer dispatch(const std::string& verb, const Json& object);
    Answer configure(Fields& f);
    Answer with_model(const std::string& verb, Fields& f);
    Answer attach(Fields& f);
    Answer feed(Fields& f);
    Answer start_round(Fields& f);
    Answer freeze(Fields& f);
    Answer save(Fields& f);
    Answer restore(Fields& f);
    Answer eval(Fields& f);
    Answer generate(Fields& f);
    Result<void> need(bool allowed_in_training, bool allowed_held);

    std::optional<ExitStatus> train_some();
    void end_round(const char* why);
    bool past_deadline() const;
    Clock::duration median_step() const;
    void send(const std::string& verb, const Json& object);
    void alive(const char* phase);
    Json plan() const;
    void tell_smaller_plan();
    void join_writer();
    const char* phase() const;

    LineChannel channel_;
    std::uint32_t threads_;
    std::uint64_t memory_;
    Result<Setup> setup_;
    std::unique_ptr<InnerLoop> loop_;
    WorkspacePlan told_plan_;
    std::thread writer_;  ///< of a save that was copied; sends one line
    std::mutex sending_;

    bool training_ = false, quit_ = false;
    RoundOrder order_;
    Clock::time_point round_start_, last_progress_;
    std::uint64_t round_step_ = 0, round_tokens_ = 0;
    std::deque<Clock::duration> recent_;
};

}  // namespace skerry::node
