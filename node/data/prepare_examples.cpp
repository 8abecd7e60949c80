#include "node/data/prepare_examples.hpp"

#include <algorithm>

#include "node/data/row_packer.hpp"
#include "node/data/text_reader.hpp"
#include "node/data/token_shard.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> all_files(const PrepareOptions& options) {
    std::vector<fs::path> out = options.texts;
    if (options.held_out) out.push_back(*options.held_out);
    return out;
}

/// One preparation: lines to examples, examples to rows of both splits.
class ExamplePreparation {
  public:
    ExamplePreparation(const PrepareOptions& options, const ExampleFields& fields, ExampleTokens& tokens, Prepared& out)
        : options_(options),
          fields_(fields),
          tokens_(tokens),
          out_(out),
          length_(options.examples.length),
          rows_(std::max<std::uint64_t>(1, (options.shard_tokens - 1) / length_)),
          train_files_(options.out, false, rows_ * length_ + 1, sizeof(std::uint32_t), true),
          held_out_files_(options.out, true, rows_ * length_ + 1, sizeof(std::uint32_t), true),
          train_(train_files_, length_, rows_, tokens.end()),
          held_out_(held_out_files_, length_, rows_, tokens.end()) {}

    Result<void> run() {
        for (const fs::path& path : all_files(options_)) {
            auto bytes = file_bytes(path);
            if (!bytes) return fail(bytes.error());
            progress_.of_bytes += *bytes;
        }
        for (const fs::path& path : options_.texts) {
            auto read = read_file(path, options_.held_out ? Split::train : Split::both);
            if (!read) return read;
        }
        auto done = options_.held_out ? read_file(*options_.held_out, Split::held_out) : split_rest();
        if (done) done = train_.finish();
        if (done) done = held_out_.finish();
        return done ? finish() : done;
    }

  private:
    enum class Split { train, held_out, both };

    Result<void> read_file(const fs::path& path, Split split) {
        const std::uint64_t before = progress_.bytes;
        auto read = read_lines(path, out_.empty, [&](std::string_view line, std::uint64_t number) -> Result<bool> {
            auto taken = take(line, path.string() + ":" + std::to_string(number), split);
            progress_.bytes += line.size() + 1;
            progress_.tokens = out_.tokens;
            if (options_.progress) options_.progress(progress_);
            return taken ? Result<bool>(true) : fail(taken.error());
        });
        auto bytes = file_bytes(path);
        if (bytes) progress_.bytes = before + *bytes;
        return read;
    }

    Result<void> take(std::string_view line, const std::string& place, Split split) {
        auto example = parse_example(line, fields_, place);
        if (!example) return fail(example.error());
        auto ids = tokens_.encode(*example);
        if (!ids) return fail(Error{ids.error().code, place + ": " + ids.error().detail, ids.error().fix});
        auto fits = fit(*ids, place);
        if (!fits || !*fits) return fits ? Result<void>{} : fail(fits.error());
        count(*example, *ids);
        if (split != Split::both) return (split == Split::train ? train_ : held_out_).add(*ids);
        return choose(std::move(*ids));
    }

    /// Makes it fit a row. False: it is left out.
    Result<bool> fit(TokenIds& ids, const std::string& place) {
        using TooLong = ExampleOptions::TooLong;
        if (ids.size() > length_) {
            if (options_.examples.too_long == TooLong::refuse)
                return fail(Errc::too_large, place + " has " + std::to_string(ids.size()) + " tokens, a sequence has " + std::to_string(length_),
                            "a longer --pack, or --too-long cut or skip");
            if (options_.examples.too_long == TooLong::skip) {
                ++report_.skipped;
                return false;
            }
            ids.resize(length_);
            ++report_.cut;
        }
        const bool any = std::ranges::any_of(ids, [](std::uint32_t token) { return (token & kNoTarget) == 0; });
        report_.without_target += !any;
        return any;
    }

    void count(const ExampleText& example, const TokenIds& ids) {
        ++out_.documents;
        out_.tokens += ids.size();
        out_.text_bytes += example.prompt.size() + example.completion.size();
        for (const Message& message : example.messages) out_.text_bytes += message.content.size();
        report_.targets += static_cast<std::uint64_t>(std::ranges::count_if(ids, [](std::uint32_t token) { return (token & kNoTarget) == 0; }));
    }

    /// The tenth of every 20 is held out. The first nine wait for the end: of so few the last is.
    Result<void> choose(TokenIds ids) {
        const std::uint64_t at = seen_++;
        if (at >= kFirst) return (at % 20 == kFirst ? held_out_ : train_).add(ids);
        first_.push_back(std::move(ids));
        return {};
    }

    Result<void> split_rest() {
        for (std::size_t i = 0; i < first_.size(); ++i) {
            const bool last_of_few = seen_ <= kFirst && first_.size() > 1 && i + 1 == first_.size();
            auto added = (last_of_few ? held_out_ : train_).add(first_[i]);
            if (!added) return added;
        }
        return {};
    }

    Result<void> finish() {
        for (ShardWriter* writer : {&train_files_, &held_out_files_}) {
            auto shards = writer->finish();
            if (!shards) return fail(shards.error());
            out_.manifest.shards.insert(out_.manifest.shards.end(), shards->begin(), shards->end());
        }
        if (out_.manifest.tokens(false) == 0)
            return fail(Errc::data_invalid, "there is no example to train on: " + std::to_string(report_.skipped) + " are too long, " +
                                                std::to_string(report_.without_target) + " have no target in their first " + std::to_string(length_) + " tokens",
                        "a longer --pack; assistant messages or completions that are not empty");
        report_.rows = train_.rows() + held_out_.rows();
        report_.padding = train_.padding() + held_out_.padding();
        const bool as_messages = fields_.messages || !options_.examples.tokens.name.empty();
        report_.chat_template = as_messages ? to_name(tokens_.kind()) : "none";
        out_.examples = report_;
        out_.manifest.packed = PackedData{length_, report_.chat_template, tokens_.end()};
        return {};
    }

    static constexpr std::uint64_t kFirst = 9;
    const PrepareOptions& options_;
    const ExampleFields& fields_;
    ExampleTokens& tokens_;
    Prepared& out_;
    std::uint32_t length_;
    std::uint64_t rows_;
    ShardWriter train_files_, held_out_files_;
    RowPacker train_, held_out_;
    PrepareProgress progress_;
    Prepared::Examples report_;
    std::vector<TokenIds> first_;
    std::uint64_t seen_ = 0;
};

}  // namespace

Result<std::optional<ExampleFields>> example_fields(const PrepareOptions& options) {
    if (!options.field.empty()) return std::nullopt;
    const ExampleOptions& examples = options.examples;
    if (!examples.prompt_field.empty() || !examples.completion_field.empty()) {
        ExampleFields out;
        if (!examples.prompt_field.empty()) out.prompt = examples.prompt_field;
        if (!examples.completion_field.empty()) out.completion = examples.completion_field;
        return out;
    }
    std::optional<ExampleFields> first;
    for (const fs::path& path : all_files(options)) {
        auto found = detect_examples(path);
        if (!found) return fail(found.error());
        if (!*found && is_json_lines(path))
            return fail(Errc::data_invalid, path.string() + " is of JSON lines, but its first has neither messages nor prompt and completion",
                        "--field with the member that holds a text, or --prompt-field and --completion-field");
        if (path == options.texts.front()) first = *found;
        if (found->has_value() != first.has_value() || (first && (*found)->messages != first->messages))
            return fail(Errc::data_invalid, path.string() + " and " + options.texts.front().string() + " hold different kinds of data",
                        "files of one kind: messages, prompt and completion, or texts");
    }
    return first;
}

Result<void> prepare_examples(const PrepareOptions& options, const ExampleFields& fields, const Tokenizer* tokenizer, Prepared& out) {
    if (options.examples.length == 0)
        return fail(Errc::usage, "examples are packed into the run's sequences: how long are those?", "--pack 512: sequence_length in run.toml");
    if (options.examples.length > kMaxPackedLength || options.examples.length < 2)
        return fail(Errc::usage, "--pack: from 2 to " + std::to_string(kMaxPackedLength), "--pack 512: sequence_length in run.toml");
    TemplateChoice choice = options.examples.tokens;
    choice.separator = options.separator;
    auto tokens = ExampleTokens::make(tokenizer, choice);
    if (!tokens) return fail(tokens.error());
    return ExamplePreparation(options, fields, *tokens, out).run();
}

}  // namespace skerry::node
