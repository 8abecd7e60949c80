#include "node/cli/asked_model.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <cstring>
#include <thread>

#include "node/cli/context.hpp"
#include "node/cli/node_folder.hpp"
#include "node/data/folder_files.hpp"
#include "node/data/token_shard.hpp"
#include "node/log/node_files.hpp"
#include "node/model_folder/hf_folder.hpp"
#include "protocol/base/task_group.hpp"
#include "protocol/base/within.hpp"
#include "protocol/config/program.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
constexpr auto kStartPatience = std::chrono::seconds(60);

/// An anonymous file of float32, mapped for as long as `fill` writes it.
Result<OwnedDescriptor> make_theta(std::uint64_t elements, const std::function<Result<void>(std::span<float>)>& fill) {
    const std::uint64_t bytes = elements * sizeof(float);
    OwnedDescriptor file(::memfd_create("skerry-model", MFD_CLOEXEC));
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return fail(Errc::io_error, std::string("memory for the model: ") + std::strerror(errno));
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (at == MAP_FAILED) return fail(Errc::out_of_memory, "the model needs " + std::to_string(bytes >> 20) + " MiB of memory");
    auto filled = fill({static_cast<float*>(at), elements});
    ::munmap(at, bytes);
    if (!filled) return fail(filled.error());
    return file;
}

Task<Result<void>> serve(ChildProcess& trainer, const AskedModel& model, TrainConfig train, const Ask& ask) {
    auto ready = co_await within(kStartPatience, trainer.ready());
    if (!ready) co_return ready;
    auto elements = co_await trainer.configure(model.config(), train);
    if (!elements) co_return fail(elements.error());
    auto shown = co_await trainer.show_theta(model.theta_descriptor(), model.elements());
    if (!shown) co_return shown;
    auto done = co_await ask(trainer);
    if (!done) co_return done;
    auto asked = co_await trainer.quit();
    static_cast<void>(asked);
    co_return Result<void>();
}

}  // namespace

Result<AskedModel> AskedModel::open(const ModelChoice& choice) {
    if (choice.dir.empty() == choice.model.empty()) return fail(Errc::usage, "which model?", "--dir NODEDIR, or --model FOLDER");
    AskedModel out;
    auto opened = choice.model.empty() ? out.open_run(choice) : out.open_folder(choice);
    if (opened) opened = out.open_tokenizer(choice);
    if (!opened) return fail(opened.error());
    if (choice.precision == "fp32") out.train_.precision = Precision::fp32;
    if (choice.precision == "bf16") out.train_.precision = Precision::bf16;
    if (choice.precision == "auto") out.train_.precision = Precision::automatic;
    return out;
}

Result<void> AskedModel::open_run(const ModelChoice& choice) {
    const fs::path folder = run_folder_of(choice.dir);
    const auto step = choice.step ? std::optional(Step{*choice.step}) : std::nullopt;
    auto state = StateAt::rebuild(folder, step, fs::temp_directory_path());
    if (!state) return fail(state.error());
    const Manifest& m = state->manifest();
    auto config = parse_model_config(m.model_json);
    if (!config) return fail(config.error());
    auto train = parse_train_config(m.train_json);
    if (!train) return fail(train.error());
    auto bytes = NodeFiles(DiskPath(folder)).read_data_manifest();
    if (!bytes) return fail(bytes.error());
    auto data = parse_data_manifest(*bytes);
    if (!data) return fail(data.error());
    identity_ = {{"run", m.name}, {"step", state->step().value}, {"digest", state->digest().hex()}};
    elements_ = m.elements;
    config_ = *config;
    train_ = *train;
    data_ = std::move(*data);
    shards_ = shards_beside(run_folder_of(choice.dir));
    state_ = std::move(*state);
    return {};
}

Result<void> AskedModel::open_folder(const ModelChoice& choice) {
    if (choice.step) return fail(Errc::usage, "a model folder has no steps", "--dir NODEDIR --step N");
    auto config = read_model_folder_config(choice.model);
    if (!config) return fail(config.error());
    config_ = *config;
    elements_ = make_tensor_table(config_).elements;
    auto theta = make_theta(elements_, [&](std::span<float> out) { return import_model_folder(choice.model, config_, out); });
    if (!theta) return fail(theta.error());
    theta_ = std::move(*theta);
    train_.precision = Precision::fp32;
    train_.schedule = Schedule::constant;
    train_.seq = std::min(256U, config_.max_position_embeddings);
    identity_ = {{"model", choice.model}};
    return {};
}

Result<void> AskedModel::open_tokenizer(const ModelChoice& choice) {
    std::string where = choice.tokenizer;
    if (!data_ && where.empty() && fs::exists(fs::path(choice.model) / "tokenizer.json")) where = choice.model;
    if (data_ && where.empty()) {  // the node fetched it with the run
        for (const FolderFile& file : data_->files) {
            const fs::path kept = kept_folder_file(shards_, file);
            if (data_->tokenizer_sha256 && file.file == "tokenizer.json" && fs::exists(kept)) where = kept;
        }
    }
    if (data_ && !data_->tokenizer_sha256) {
        if (where.empty()) return {};
        return fail(Errc::usage, "this run's tokens are bytes, not those of a tokenizer", "leave --tokenizer away");
    }
    const std::string hash = data_ ? data_->tokenizer_sha256->hex() : "";
    if (where.empty() && choice.tokens_only) return {};
    if (where.empty()) {
        if (!data_) return config_.vocab_size == 256 ? Result<void>{} : fail(Errc::usage, choice.model + " has no tokenizer.json", "--tokenizer FOLDER");
        return fail(Errc::usage, "this run's data was made with a tokenizer.json (SHA-256 " + hash + ")", "--tokenizer FOLDER");
    }
    auto json = read_tokenizer_json(where);
    if (!json) return fail(json.error());
    if (data_ && sha256(as_bytes(*json)) != *data_->tokenizer_sha256)
        return fail(Errc::data_invalid, where + " is not the tokenizer of this run's data (SHA-256 " + hash + ")",
                    "the tokenizer.json that data prepare put beside the shards");
    auto parsed = Tokenizer::parse(as_bytes(*json));
    if (!parsed) return fail(parsed.error());
    tokenizer_ = std::make_unique<const Tokenizer>(std::move(*parsed));
    return {};
}

Result<ExampleTokens> AskedModel::examples(const TemplateChoice& choice) const {
    TemplateChoice as = choice;
    const bool packed = data_ && data_->packed;
    if (as.name.empty() && packed && data_->packed->chat_template != "none") as.name = data_->packed->chat_template;
    auto out = ExampleTokens::make(tokenizer(), as);
    if (out && packed && choice.separator.empty()) out->end_with(data_->packed->end_token);
    return out;
}

std::vector<std::uint32_t> AskedModel::stops() const {
    std::vector<std::uint32_t> out = tokenizer_ ? end_tokens(*tokenizer_) : std::vector<std::uint32_t>();
    if (data_ && data_->packed) out.push_back(data_->packed->end_token);
    return out;
}

std::string AskedModel::bytes(std::span<const std::uint32_t> tokens) const {
    std::string out;
    for (const std::uint32_t& token : tokens) {
        if (tokenizer_) {
            auto bytes = tokenizer_->decode({&token, 1}, false);
            out += bytes ? *bytes : "?";
        } else {
            out.push_back(token < 256 ? static_cast<char>(token) : '?');
        }
    }
    return out;
}

std::string AskedModel::to_text(const std::string& bytes) { return to_utf8(bytes); }

ChildOptions trainer_options(const ModelChoice& choice) {
    ChildOptions out;
    std::string program = choice.trainer;
    out.threads = choice.threads;
    auto config = choice.dir.empty() ? Result<NodeToml>(fail(Errc::not_found, "")) : load_node_toml(fs::path(choice.dir) / "node.toml");
    if (config && program.empty()) program = config->trainer;
    if (config) out.path = parse_path(config->path).value();
    if (config && out.threads == 0) out.threads = static_cast<std::uint32_t>(config->threads);
    program = find_program(program.empty() ? "skerry-trainer" : program);
    if (out.threads == 0) out.threads = std::max(1U, std::thread::hardware_concurrency());
    out.command = {program};
    out.window_elements = 4096;
    return out;
}

Result<void> ask_trainer(const ChildOptions& options, const AskedModel& model, const TrainConfig& train, const Ask& ask) {
    asio::io_context io;
    ChildProcess trainer(io.get_executor(), options);
    auto spawned = trainer.spawn();
    if (!spawned) return spawned;
    Result<void> out = fail(Errc::trainer_failed, "the trainer ended without an answer");
    TaskGroup group(io.get_executor());
    group.spawn(trainer.run());
    auto keep = [&](std::exception_ptr error, Result<void> result) {
        if (error) std::rethrow_exception(error);
        out = std::move(result);
        if (!out) trainer.kill();
    };
    asio::co_spawn(io, serve(trainer, model, train, ask), keep);
    io.run();
    return out;
}

}  // namespace skerry::node
