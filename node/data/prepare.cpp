#include "node/data/prepare.hpp"

#include <unistd.h>

#include "node/data/prepare_examples.hpp"
#include "node/data/shard_writer.hpp"
#include "node/data/text_reader.hpp"
#include "node/tokenizer/encoder.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

/// Parts of documents to tokens.
class DocumentTokens {
  public:
    virtual ~DocumentTokens() = default;
    /// Appends to `out`. Errors: those of Encoder::feed.
    virtual Result<void> take(std::string_view part, bool last, TokenIds& out) = 0;
};

class ByteTokens : public DocumentTokens {
  public:
    Result<void> take(std::string_view part, bool, TokenIds& out) override {
        const ByteSpan bytes = as_bytes(part);
        out.insert(out.end(), bytes.begin(), bytes.end());
        return {};
    }
};

class BpeTokens : public DocumentTokens {
  public:
    BpeTokens(Tokenizer tokenizer, std::optional<std::uint32_t> separator)
        : tokenizer_(std::move(tokenizer)), encoder_(tokenizer_), separator_(separator) {}

    Result<void> take(std::string_view part, bool last, TokenIds& out) override {
        if (!inside_) out.insert(out.end(), tokenizer_.before().begin(), tokenizer_.before().end());
        auto fed = encoder_.feed(part, last, out);
        if (!fed) return fed;
        inside_ = !last;
        if (!last) return {};
        out.insert(out.end(), tokenizer_.after().begin(), tokenizer_.after().end());
        if (separator_) out.push_back(*separator_);
        return {};
    }

  private:
    Tokenizer tokenizer_;
    Encoder encoder_;
    std::optional<std::uint32_t> separator_;
    bool inside_ = false;  ///< of a document
};

/// What makes the tokens of documents.
Result<std::unique_ptr<DocumentTokens>> make_tokens(const PrepareOptions& options, std::optional<Tokenizer> tokenizer) {
    if (!tokenizer) {
        if (!options.separator.empty()) return fail(Errc::usage, "a separator needs a tokenizer that has it", "--tokenizer FOLDER");
        return std::make_unique<ByteTokens>();
    }
    std::optional<std::uint32_t> separator;
    if (!options.separator.empty()) {
        separator = tokenizer->added_token(options.separator);
        if (!separator)
            return fail(Errc::usage, "the separator '" + options.separator + "' is no added token of the tokenizer", "one of its special tokens");
    }
    return std::make_unique<BpeTokens>(std::move(*tokenizer), separator);
}

/// What else belongs to the tokenizer, for the exports of runs on this data.
Result<void> copy_beside(const fs::path& tokenizer, const fs::path& out) {
    const fs::path folder = fs::is_directory(tokenizer) ? tokenizer : tokenizer.parent_path();
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}) {
        auto text = read_small_file(folder / name, kMaxFolderFile);
        if (!text && text.error().code == Errc::not_found) continue;
        auto copied = text ? write_small_file(out / name, *text, 0644) : Result<void>(fail(text.error()));
        if (!copied) return copied;
    }
    return {};
}

/// The tokenizer, if there is one; the manifest says which, and its file is copied to the folder.
Result<std::optional<Tokenizer>> take_tokenizer(const PrepareOptions& options, DataManifest& manifest) {
    if (!options.tokenizer) return std::nullopt;
    auto json = read_tokenizer_json(*options.tokenizer);
    if (!json && json.error().code == Errc::not_found)
        return fail(Errc::not_found, json.error().detail, "the folder of a model with its tokenizer.json");
    if (!json) return fail(json.error());
    auto tokenizer = Tokenizer::parse(as_bytes(*json));
    if (!tokenizer) return fail(tokenizer.error());
    manifest.tokenizer = "bpe";
    manifest.tokenizer_sha256 = sha256(as_bytes(*json));
    manifest.vocab_size = tokenizer->vocab_size();
    auto copied = write_small_file(options.out / "tokenizer.json", *json, 0644);
    if (!copied) return fail(copied.error());
    copied = copy_beside(*options.tokenizer, options.out);
    if (!copied) return fail(copied.error());
    return std::optional(std::move(*tokenizer));
}

/// One preparation, from its files to its shards.
class Preparation {
  public:
    Preparation(const PrepareOptions& options, DocumentTokens& tokens, Prepared& out)
        : options_(options),
          tokens_(tokens),
          out_(out),
          train_(options.out, false, options.shard_tokens, out.manifest.token_bytes()),
          held_out_(options.out, true, options.shard_tokens, out.manifest.token_bytes()) {}

    Result<void> run() {
        std::vector<fs::path> all = options_.texts;
        if (options_.held_out) all.push_back(*options_.held_out);
        for (const fs::path& path : all) {
            auto bytes = file_bytes(path);
            if (!bytes) return fail(bytes.error());
            progress_.of_bytes += *bytes;
        }
        HeldOutSplit split(train_, held_out_);
        for (const fs::path& path : options_.texts) {
            auto read = options_.held_out ? read_into(path, train_) : read_into(path, split);
            if (!read) return read;
        }
        auto done = options_.held_out ? read_into(*options_.held_out, held_out_) : split.finish();
        return done ? finish() : done;
    }

  private:
    /// `sink`: ShardWriter or HeldOutSplit.
    template <class Sink>
    Result<void> read_into(const fs::path& path, Sink& sink) {
        const std::uint64_t before = progress_.bytes;
        const auto take = [&](std::string_view part, bool last) -> Result<void> {
            ids_.clear();
            auto taken = tokens_.take(part, last, ids_);
            if (!taken) return fail(Error{taken.error().code, path.string() + ": " + taken.error().detail, taken.error().fix});
            out_.documents += last;
            out_.text_bytes += part.size();
            out_.tokens += ids_.size();
            progress_.bytes += part.size();
            progress_.tokens = out_.tokens;
            if (options_.progress) options_.progress(progress_);
            return sink.add(ids_);
        };
        auto read = options_.field.empty() ? read_text(path, take) : read_jsonl(path, options_.field, out_.empty, take);
        auto bytes = file_bytes(path);
        if (bytes) progress_.bytes = before + *bytes;  // JSON around the texts is no text
        return read;
    }

    Result<void> finish() {
        for (ShardWriter* writer : {&train_, &held_out_}) {
            auto shards = writer->finish();
            if (!shards) return fail(shards.error());
            out_.manifest.shards.insert(out_.manifest.shards.end(), shards->begin(), shards->end());
        }
        if (out_.manifest.tokens(false) == 0)
            return fail(Errc::data_invalid, "there is no text to train on: " + std::to_string(out_.documents) + " documents, " +
                                                std::to_string(out_.empty) + " empty lines", "--field with the member that holds the text");
        return {};
    }

    const PrepareOptions& options_;
    DocumentTokens& tokens_;
    Prepared& out_;
    ShardWriter train_, held_out_;
    PrepareProgress progress_;
    TokenIds ids_;
};

}  // namespace

Result<Prepared> prepare_data(const PrepareOptions& options) {
    if (options.texts.empty()) return fail(Errc::usage, "no text was named");
    std::error_code made;
    fs::create_directories(options.out, made);
    if (made) return fail(Errc::io_error, options.out.string() + ": " + made.message());
    // An old manifest must not describe a mixture of old and new shards if this is interrupted.
    ::unlink((options.out / "manifest.json").c_str());

    Prepared out;
    auto tokenizer = take_tokenizer(options, out.manifest);
    if (!tokenizer) return fail(tokenizer.error());
    auto fields = example_fields(options);
    if (!fields) return fail(fields.error());
    Result<void> done;
    if (*fields) {
        done = prepare_examples(options, **fields, *tokenizer ? &**tokenizer : nullptr, out);
    } else {
        auto tokens = make_tokens(options, std::move(*tokenizer));
        if (!tokens) return fail(tokens.error());
        done = Preparation(options, **tokens, out).run();
    }
    if (!done) return fail(done.error());
    auto written = write_small_file(options.out / "manifest.json", to_json(out.manifest), 0644);
    if (!written) return fail(written.error());
    return out;
}

Result<DataManifest> read_data_manifest(const fs::path& folder) {
    auto text = read_small_file(folder / "manifest.json", kMaxDataManifestBytes);
    if (!text) return fail(text.error());
    return parse_data_manifest(as_bytes(*text));
}

}  // namespace skerry::node
