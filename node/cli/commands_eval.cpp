#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "node/cli/asked_model.hpp"
#include "node/cli/commands.hpp"
#include "node/data/text_reader.hpp"
#include "node/data/token_shard.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

/// What was measured. Sums, so that parts can be added.
struct Measured {
    double nats = 0;
    std::uint64_t targets = 0, bytes = 0;  ///< bytes that the targets stand for
    std::uint64_t sequences = 0, of_sequences = 0;
};

/// A line on a terminal that is written over; nothing elsewhere.
void show_progress(const char* what, std::uint64_t done, std::uint64_t all) {
    static std::chrono::steady_clock::time_point next;
    const auto now = std::chrono::steady_clock::now();
    if (::isatty(STDERR_FILENO) != 1 || now < next) return;
    next = now + std::chrono::seconds(1);
    std::fprintf(stderr, "\r%s: %llu of %llu\033[K\r", what, static_cast<unsigned long long>(done), static_cast<unsigned long long>(all));
}

/// How many bytes of text each token stands for.
class TokenBytes {
  public:
    explicit TokenBytes(const AskedModel& model) : ends_(model.stops()) {
        if (!model.tokenizer()) return;
        for (std::uint32_t id = 0; id < model.tokenizer()->vocab_size(); ++id) {
            auto bytes = model.tokenizer()->decode({&id, 1}, true);
            bytes_.push_back(bytes ? bytes->size() : 0);
        }
    }
    std::uint64_t of(std::uint32_t token) const {
        if (std::ranges::find(ends_, token) != ends_.end()) return 0;
        return bytes_.empty() ? 1 : token < bytes_.size() ? bytes_[token] : 0;
    }

  private:
    std::vector<std::uint32_t> ends_;
    std::vector<std::size_t> bytes_;
};

/// Bytes of the targets of `count` sequences at 0, stride, ...
Result<std::uint64_t> target_bytes(const fs::path& path, std::uint32_t seq, std::uint64_t stride, std::uint64_t count, const TokenBytes& table) {
    auto shard = TokenShard::open(path.string());
    if (!shard) return fail(shard.error());
    std::uint64_t sum = 0;
    std::vector<std::uint32_t> tokens(seq);
    for (std::uint64_t i = 0; i < count; ++i) {
        auto read = shard->read(i * stride + 1, tokens);
        if (!read) return fail(read.error());
        for (std::uint32_t token : tokens)
            if (!shard->masked() || (token & kNoTarget) == 0) sum += table.of(token);
    }
    return sum;
}

/// The loss of `count` sequences of one file, some at a time.
Task<Result<void>> measure(ChildProcess& trainer, std::uint32_t file, std::uint64_t stride, std::uint64_t count, Measured& out) {
    constexpr std::uint64_t kAtOnce = 64;
    for (std::uint64_t i = 0; i < count; i += kAtOnce) {
        const std::uint64_t n = std::min(kAtOnce, count - i);
        const std::vector<EvalSpan> spans(1, EvalSpan{file, i * stride, stride, n});
        auto part = co_await trainer.eval(WeightSource::theta, spans);
        if (!part && part.error().code != Errc::no_data) co_return fail(part.error());
        if (part) {
            out.nats += part->loss * static_cast<double>(part->tokens);
            out.targets += part->tokens;
        }
        out.sequences += n;
        show_progress("sequences", out.sequences, out.of_sequences);
    }
    co_return Result<void>();
}

/// So many sequences at a time that their logits stay small.
std::uint32_t batch_for(const ModelConfig& config, std::uint32_t seq) {
    const std::uint64_t rows = std::min<std::uint64_t>(4096, (std::uint64_t{1} << 26) / config.vocab_size);
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(rows / seq, 1, 64));
}

// --------------------------------------------------------------------------------- the run's held-out data

struct HeldOut {
    std::uint32_t file;
    fs::path path;
    std::uint64_t sequences;
};

/// Whether a file of a data folder is the run's shard.
Result<void> check_shard(const fs::path& path, const DataShard& shard) {
    std::ifstream in(path, std::ios::binary);
    Sha256 hash;
    Bytes window(1 << 20);
    while (in) {
        in.read(reinterpret_cast<char*>(window.data()), static_cast<std::streamsize>(window.size()));
        hash.update({window.data(), static_cast<std::size_t>(in.gcount())});
    }
    if (hash.finish() == shard.sha256) return {};
    return fail(Errc::data_invalid, path.string() + " is not this run's held-out shard", "the folder that data prepare made for the run");
}

/// On the node, or in `folder` if that is named.
Result<std::vector<HeldOut>> find_held_out(const AskedModel& model, std::uint32_t seq, const fs::path& folder) {
    if (!model.data()) return fail(Errc::usage, "a model folder has no held-out data", "--data FILE.jsonl");
    std::vector<HeldOut> out;
    const auto& shards = model.data()->shards;
    for (std::size_t i = 0; i < shards.size(); ++i) {
        const std::uint64_t sequences = sequences_in(shards[i].tokens, seq);
        if (!shards[i].held_out || sequences == 0) continue;
        const fs::path path = folder.empty() ? model.shards() / (shards[i].sha256.hex() + ".bin") : folder / shards[i].file;
        if (!fs::exists(path))
            return fail(Errc::not_found, "the held-out shard " + shards[i].file + " is not here: " + path.string(),
                        "--data with the folder that data prepare made; or another node: the one that evaluates for the run has it");
        auto same = folder.empty() ? Result<void>{} : check_shard(path, shards[i]);
        if (!same) return fail(same.error());
        out.push_back({static_cast<std::uint32_t>(i), path, sequences});
    }
    if (out.empty()) return fail(Errc::no_data, "the run has no held-out data", "--data FILE.jsonl");
    return out;
}

Result<Measured> eval_held_out(const ModelChoice& choice, const AskedModel& model, const fs::path& folder) {
    TrainConfig train = model.train();
    train.batch = batch_for(model.config(), train.seq);
    auto files = find_held_out(model, train.seq, folder);
    if (!files) return fail(files.error());
    Measured out;
    const bool known = model.tokenizer() || !model.data()->tokenizer_sha256;
    const TokenBytes table(model);
    for (const HeldOut& file : *files) {
        auto bytes = known ? target_bytes(file.path, train.seq, train.seq, file.sequences, table) : Result<std::uint64_t>(0);
        if (!bytes) return fail(bytes.error());
        out.bytes += *bytes;
        out.of_sequences += file.sequences;
    }
    const Ask ask = [&](ChildProcess& trainer) -> Task<Result<void>> {
        for (const HeldOut& file : *files) {
            auto registered = co_await trainer.file(file.file, file.path.string());
            if (!registered) co_return fail(registered.error());
            auto done = co_await measure(trainer, file.file, train.seq, file.sequences, out);
            if (!done) co_return done;
        }
        co_return Result<void>();
    };
    auto asked = ask_trainer(trainer_options(choice), model, train, ask);
    if (!asked) return fail(asked.error());
    return out;
}

// ------------------------------------------------------------------------------------ examples of one's own

/// The last answer of an example, and all before it.
struct Question {
    TokenIds prompt, answer;
};

struct Examples {
    std::vector<TokenIds> rows;  ///< with kNoTarget
    std::vector<Question> questions;
    std::uint64_t cut = 0, without_target = 0;
    std::size_t longest = 0;
};

Question question_of(const TokenIds& row, std::uint32_t end) {
    const auto target = [&](std::size_t i) { return (row[i] & kNoTarget) == 0; };
    std::size_t to = row.size();
    while (to > 0 && !target(to - 1)) --to;
    std::size_t from = to;
    while (from > 0 && target(from - 1)) --from;
    Question out;
    for (std::size_t i = 0; i < from; ++i) out.prompt.push_back(row[i] & ~kNoTarget);
    for (std::size_t i = from; i < to; ++i) out.answer.push_back(row[i]);
    if (!out.answer.empty() && out.answer.back() == end) out.answer.pop_back();
    return out;
}

Result<ExampleFields> fields_of(const EvalCommand& command) {
    ExampleFields out;
    if (!command.prompt_field.empty()) out.prompt = command.prompt_field;
    if (!command.completion_field.empty()) out.completion = command.completion_field;
    if (!command.prompt_field.empty() || !command.completion_field.empty()) return out;
    auto found = detect_examples(command.data);
    if (!found) return fail(found.error());
    if (!*found)
        return fail(Errc::data_invalid, command.data + ": its name does not end in .jsonl, or its first line has neither messages nor prompt and completion",
                    "--prompt-field and --completion-field");
    return **found;
}

Result<Examples> read_examples(const EvalCommand& command, const AskedModel& model, ExampleTokens& tokens) {
    auto fields = fields_of(command);
    if (!fields) return fail(fields.error());
    Examples out;
    std::uint64_t blank = 0;
    const std::size_t most = std::size_t{model.config().max_position_embeddings} + 1;  // the last is only a target
    auto read = read_lines(command.data, blank, [&](std::string_view line, std::uint64_t number) -> Result<bool> {
        const std::string place = command.data + ":" + std::to_string(number);
        auto example = parse_example(line, *fields, place);
        if (!example) return fail(example.error());
        auto row = tokens.encode(*example);
        if (!row) return fail(Error{row.error().code, place + ": " + row.error().detail, row.error().fix});
        if (row->size() > most) ++out.cut;
        row->resize(std::min(most, row->size()));
        if (std::ranges::all_of(*row, [](std::uint32_t token) { return (token & kNoTarget) != 0; })) {
            ++out.without_target;
            return true;
        }
        out.questions.push_back(question_of(*row, tokens.end()));
        out.longest = std::max(out.longest, row->size());
        out.rows.push_back(std::move(*row));
        return command.most == 0 || out.rows.size() < command.most;
    });
    if (!read) return fail(read.error());
    if (out.rows.empty()) return fail(Errc::no_data, command.data + " has no example with a target", "completions, or messages of an assistant");
    return out;
}

/// A folder that goes with the object.
class Scratch {
  public:
    static Result<Scratch> make() {
        std::string pattern = (fs::temp_directory_path() / "skerry-eval-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) return fail(Errc::io_error, "cannot make " + pattern);
        Scratch out;
        out.folder_ = pattern;
        return out;
    }
    Scratch(Scratch&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}
    ~Scratch() {
        std::error_code ignored;
        if (!folder_.empty()) fs::remove_all(folder_, ignored);
    }
    fs::path file() const { return folder_ / "examples.bin"; }

  private:
    Scratch() = default;
    fs::path folder_;
};

/// Each example in a row of its own, of seq + 1 tokens: none sees another one.
Result<void> write_rows(const fs::path& path, const Examples& examples, std::uint32_t seq, std::uint32_t pad) {
    const std::uint64_t tokens = examples.rows.size() * (std::uint64_t{seq} + 1);
    if (tokens > kMaxShardTokens) return fail(Errc::too_large, "the examples are more than a shard holds", "--most 10000");
    std::ofstream out(path, std::ios::binary);
    const Bytes header = make_shard_header(tokens, 4, true);
    out.write(reinterpret_cast<const char*>(header.data()), static_cast<std::streamsize>(header.size()));
    for (TokenIds row : examples.rows) {
        row.resize(std::size_t{seq} + 1, pad | kNoTarget);
        out.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(std::uint32_t)));
    }
    if (!out.flush()) return fail(Errc::io_error, "cannot write " + path.string(), "TMPDIR=FOLDER with room for it");
    return {};
}

std::string trimmed(const std::string& text) {
    constexpr const char* kSpace = " \t\r\n\f\v";
    const auto from = text.find_first_not_of(kSpace);
    return from == std::string::npos ? "" : text.substr(from, text.find_last_not_of(kSpace) - from + 1);
}

/// How many answers the model gives word for word, greedily.
Task<Result<std::uint64_t>> match(ChildProcess& trainer, const AskedModel& model, const Examples& examples, std::uint32_t end) {
    std::uint64_t matched = 0, done = 0;
    for (const Question& question : examples.questions) {
        GenerateOrder order;
        order.prompt = question.prompt;
        order.count = static_cast<std::uint32_t>(std::min<std::size_t>(4096, question.answer.size() * 2 + 8));
        order.temperature = 0;
        order.stop = model.stops();
        order.stop.push_back(end);
        auto made = co_await trainer.generate(WeightSource::theta, std::move(order));
        if (!made) co_return fail(made.error());
        matched += made->stopped && trimmed(model.bytes(made->tokens)) == trimmed(model.bytes(question.answer));
        show_progress("answers", ++done, examples.questions.size());
    }
    co_return matched;
}

struct TaskResult {
    Measured measured;
    std::uint64_t examples = 0, cut = 0, without_target = 0;
    std::optional<std::uint64_t> matched;
};

Result<TaskResult> eval_examples(const EvalCommand& command, const ModelChoice& choice, const AskedModel& model) {
    TemplateChoice as;
    as.name = command.chat_template;
    as.separator = command.separator;
    auto tokens = model.examples(as);
    if (!tokens) return fail(tokens.error());
    auto examples = read_examples(command, model, *tokens);
    if (!examples) return fail(examples.error());
    TrainConfig train = model.train();
    train.seq = std::max(8U, static_cast<std::uint32_t>(examples->longest - 1));
    train.batch = batch_for(model.config(), train.seq);
    auto scratch = Scratch::make();
    if (!scratch) return fail(scratch.error());
    auto written = write_rows(scratch->file(), *examples, train.seq, tokens->end());
    if (!written) return fail(written.error());
    TaskResult out;
    out.examples = out.measured.of_sequences = examples->rows.size();
    out.cut = examples->cut;
    out.without_target = examples->without_target;
    const std::uint64_t stride = std::uint64_t{train.seq} + 1;
    auto bytes = target_bytes(scratch->file(), train.seq, stride, out.examples, TokenBytes(model));
    if (!bytes) return fail(bytes.error());
    out.measured.bytes = *bytes;
    const Ask ask = [&](ChildProcess& trainer) -> Task<Result<void>> {
        auto known = co_await trainer.file(0, scratch->file().string());
        if (!known) co_return fail(known.error());
        auto done = co_await measure(trainer, 0, stride, out.examples, out.measured);
        if (!done || !command.match) co_return done;
        auto matched = co_await match(trainer, model, *examples, tokens->end());
        if (!matched) co_return fail(matched.error());
        out.matched = *matched;
        co_return Result<void>();
    };
    auto asked = ask_trainer(trainer_options(choice), model, train, ask);
    if (!asked) return fail(asked.error());
    return out;
}

// -------------------------------------------------------------------------------------------------- report

Json measured_json(const Measured& m) {
    const double loss = m.nats / static_cast<double>(m.targets);
    Json out{{"loss", loss}, {"perplexity", std::exp(loss)}, {"targets", m.targets}, {"bits_per_byte", nullptr}};
    if (m.bytes > 0) out["bits_per_byte"] = m.nats / std::log(2.0) / static_cast<double>(m.bytes);
    return out;
}

void print_measured(const Measured& m, const std::string& of) {
    const Json json = measured_json(m);
    std::printf("%.4f nats per token · perplexity %.2f", json["loss"].get<double>(), json["perplexity"].get<double>());
    if (m.bytes > 0) std::printf(" · %.4f bits per byte", json["bits_per_byte"].get<double>());
    std::printf(" · %llu tokens of %s\n", static_cast<unsigned long long>(m.targets), of.c_str());
}

}  // namespace

Result<void> eval_command(const Context& context, const EvalCommand& command) {
    ModelChoice choice = command.model;
    choice.dir = choice.model.empty() ? context.dir : "";
    const bool held_out = command.data.empty() || fs::is_directory(command.data);
    choice.tokens_only = held_out;
    if (held_out && command.match) return fail(Errc::usage, "--match needs examples", "--data FILE.jsonl");
    auto model = AskedModel::open(choice);
    if (!model) return fail(model.error());
    Json json = model->identity();
    json["schema"] = "skerry.evaluated/1";
    if (held_out) {
        auto measured = eval_held_out(choice, *model, command.data);
        if (!measured) return fail(measured.error());
        json.update(measured_json(*measured));
        json.update({{"data", "held_out"}, {"sequences", measured->sequences}});
        if (context.json) print_json(json);
        else print_measured(*measured, "the run's held-out data, " + std::to_string(measured->sequences) + " sequences");
        return {};
    }
    auto result = eval_examples(command, choice, *model);
    if (!result) return fail(result.error());
    if (context.json) {
        json.update(measured_json(result->measured));
        json.update({{"data", command.data}, {"examples", result->examples}, {"cut", result->cut}, {"without_target", result->without_target}, {"matched", nullptr}});
        if (result->matched) json["matched"] = *result->matched;
        print_json(json);
        return {};
    }
    print_measured(result->measured, std::to_string(result->examples) + " examples (" + std::to_string(result->cut) + " cut, " +
                                         std::to_string(result->without_target) + " without a target left out)");
    if (result->matched)
        std::printf("%llu of %llu answers word for word: %.1f %%\n", static_cast<unsigned long long>(*result->matched),
                    static_cast<unsigned long long>(result->examples), 100 * static_cast<double>(*result->matched) / static_cast<double>(result->examples));
    return {};
}

}  // namespace skerry::node
