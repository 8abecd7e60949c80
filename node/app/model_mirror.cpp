#include "node/app/model_mirror.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <vector>

#include "node/data/folder_files.hpp"
#include "node/model_folder/hf_folder.hpp"
#include "node/model_folder/model_config.hpp"
#include "protocol/base/descriptor.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/run_on.hpp"
#include "protocol/config/files.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
constexpr Millis kAgain{5000};  ///< after a disk that refused
constexpr const char* kMark = "run";
constexpr const char* kNewest = "newest";
constexpr const char* kNewestMade = ".newest.tmp";

constexpr std::string_view kPrefix = "step-";

std::string name_of(Step step) { return std::string(kPrefix) + std::to_string(step.value); }

Result<void> sync_folder(const fs::path& folder) {
    OwnedDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) != 0) return fail(file_error("sync", folder, errno));
    return {};
}

/// Makes the folder this run's, or finds that it is.
Result<void> claim(const fs::path& folder, const RunId& run) {
    std::error_code ec;
    auto mark = read_small_file(folder / kMark, 4096);
    if (mark && *mark == run.hex() + "\n") return {};
    if (mark || (fs::exists(folder, ec) && !fs::is_empty(folder, ec)))
        return fail(Errc::already_exists, folder.string() + " holds something else", "name another folder with  skerry join --export DIR");
    fs::create_directories(folder, ec);
    if (ec) return fail(file_error("create", folder, ec.value()));
    return write_small_file(folder / kMark, run.hex() + "\n", 0644);
}

/// The step of a folder written whole; what a kill left has another ending.
std::optional<Step> step_of(const std::string& name) {
    if (!name.starts_with(kPrefix)) return std::nullopt;
    std::uint64_t step = 0;
    const char* end = name.data() + name.size();
    const auto [at, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
    return error == std::errc() && at == end ? std::optional(Step{step}) : std::nullopt;
}

/// All but the newest, and the one before it, that readers may still have.
void remove_older(const fs::path& folder, Step newest) {
    std::error_code ec;
    std::vector<fs::path> old;
    std::optional<Step> before;
    for (const auto& entry : fs::directory_iterator(folder, ec)) {
        const std::string name = entry.path().filename().string();
        const auto step = step_of(name);
        if (step && *step < newest) before = std::max(before.value_or(*step), *step);
        if (step != newest && (name.starts_with(kPrefix) || name == kNewestMade)) old.push_back(entry.path());
    }
    for (const fs::path& path : old)
        if (!before || path.filename() != name_of(*before)) fs::remove_all(path, ec);
}

Result<void> switch_link(const fs::path& folder, Step step) {
    std::error_code ec;
    fs::remove(folder / kNewestMade, ec);
    fs::create_directory_symlink(name_of(step), folder / kNewestMade, ec);
    if (!ec) fs::rename(folder / kNewestMade, folder / kNewest, ec);
    if (ec) return fail(file_error("link", folder / kNewest, ec.value()));
    return sync_folder(folder);
}

}  // namespace

Result<Step> ModelMirror::write(RunStore& store, const DataManifest& data, const fs::path& shards, const fs::path& folder) {
    const auto step = store.state_step();
    if (!step) return fail(Errc::bad_state, "there is no state yet");
    auto claimed = claim(folder, store.manifest().run);
    if (!claimed) return fail(claimed.error());
    std::error_code ec;
    const std::string before = fs::read_symlink(folder / kNewest, ec).string();
    if (before == name_of(*step) && fs::exists(folder / before / "model.safetensors", ec)) {
        remove_older(folder, *step);
        return *step;
    }
    auto model = parse_model_config(store.manifest().model_json);
    if (!model) return fail(model.error());
    auto digest = store.digest_state();
    if (!digest) return fail(digest.error());
    FolderOptions options;
    auto extra = export_files(shards, data, model->max_position_embeddings);
    if (!extra) return fail(extra.error());
    options.files = std::move(*extra);
    options.provenance = "run " + store.manifest().name + " (" + store.manifest().run.hex() + "), step " +
                               std::to_string(step->value) + ", digest " + digest->hex();
    auto written = export_model_folder(folder / name_of(*step), *model, store.theta(), options);
    if (!written) return fail(written.error());
    auto synced = sync_folder(folder / name_of(*step));
    if (!synced) return fail(synced.error());
    auto switched = switch_link(folder, *step);
    if (!switched) return fail(switched.error());
    remove_older(folder, *step);
    return *step;
}

ModelMirror::ModelMirror(asio::any_io_executor io, asio::any_io_executor disk, fs::path folder, Millis every)
    : disk_(disk), folder_(std::move(folder)), every_(every), wake_(io) {
    wake_.expires_at(asio::steady_timer::time_point::max());
}

void ModelMirror::set_store(std::shared_ptr<RunStore> store, DataManifest data, fs::path shards) {
    store_ = std::move(store);
    data_ = std::move(data);
    shards_ = std::move(shards);
}

void ModelMirror::moved() {
    due_ = true;
    wake_.cancel();
}

Task<> ModelMirror::run() {
    using Clock = std::chrono::steady_clock;
    for (;;) {
        while (!due_ || !store_) {
            wake_.expires_at(Clock::time_point::max());
            co_await wake_.async_wait(no_throw);
            auto state = co_await asio::this_coro::cancellation_state;
            if (state.cancelled() != asio::cancellation_type::none) co_return;
        }
        due_ = false;
        const auto begun = Clock::now();
        auto work = [store = store_, data = data_, shards = shards_, folder = folder_] { return write(*store, data, shards, folder); };
        auto done = co_await run_on(disk_, std::move(work));
        Millis pause = std::max(every_, std::chrono::duration_cast<Millis>(Clock::now() - begun));
        if (done) {
            if (written_ == 0) log_info("model.written", {{"folder", (folder_ / kNewest).string()}, {"step", std::to_string(done->value)}});
            step_ = *done;
            ++written_;
            error_.reset();
        } else if (done.error().code != Errc::bad_state) {
            if (!error_) log_warn("model.not_written", {{"code", std::string(to_name(done.error().code))}, {"error", done.error().detail}});
            error_ = done.error();
            due_ = true;
            pause = std::max(pause, kAgain);
        }
        asio::steady_timer rest(wake_.get_executor(), pause);
        auto [ec] = co_await rest.async_wait(no_throw);
        if (ec) co_return;
    }
}

MirrorFacts ModelMirror::facts() const { return {folder_ / kNewest, step_, written_, error_}; }

}  // namespace skerry::node
