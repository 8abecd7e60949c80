#include "node/log/decision_log.hpp"

#include "protocol/base/assert.hpp"

#include "protocol/identity/hash.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

constexpr std::string_view kMagic = "SKRYDEC1";
constexpr std::size_t kFrame = 4 + Digest::size();
constexpr std::uint32_t kMaxRecord = 64 * 1024 * 1024;

}  // namespace

Bytes to_bytes(const SignedDecision& decision) {
    ByteWriter w;
    w.blob(decision.decision.body);
    w.id(decision.decision.signature);
    w.u32(static_cast<std::uint32_t>(decision.voters.size()));
    for (const VoterSignature& voter : decision.voters) {
        w.id(voter.node);
        w.id(voter.key);
        w.id(voter.signature);
    }
    return w.take();
}

Result<SignedDecision> parse_signed_decision(ByteSpan payload) {
    ByteReader r(payload);
    SignedDecision out;
    ByteSpan body = r.blob(kMaxRecord);
    out.decision.body.assign(body.begin(), body.end());
    out.decision.signature = r.fixed<Signature>();
    out.voters.resize(r.count(kMaxNodes));
    for (VoterSignature& voter : out.voters) {
        voter.node = r.fixed<NodeId>();
        voter.key = r.fixed<PublicKey>();
        voter.signature = r.fixed<Signature>();
    }
    if (!r.ok() || !r.at_end()) return fail(Errc::malformed, "not a decision record");
    return out;
}

Result<DecisionLog> DecisionLog::open(const DiskPath& path, Step first, const Digest& h_first) {
    auto file = File::open_write(path);
    if (!file) return fail(file.error());
    auto log = load(std::move(*file), first, h_first);
    if (!log) return log;
    auto size = log->file_.size();
    if (!size) return fail(size.error());
    // What a process wrote that was killed before its sync is read here, but a power cut would still take it.
    Result<void> kept;
    if (*size > log->end_) kept = log->file_.resize(log->end_);
    if (kept && *size > 0) kept = log->file_.sync();
    if (!kept) return fail(kept.error());
    if (log->end_ == 0) {
        auto begun = log->file_.write_at(0, as_bytes(kMagic));
        if (begun) begun = log->file_.sync();
        if (begun) begun = sync_folder(path.parent());
        if (!begun) return fail(begun.error());
        log->end_ = kMagic.size();
    }
    return log;
}

Result<DecisionLog> DecisionLog::open_read_only(const DiskPath& path, Step first,
                                                const Digest& h_first) {
    auto file = File::open_read(path);
    if (!file) return fail(file.error());
    return load(std::move(*file), first, h_first);
}

Result<DecisionLog> DecisionLog::load(File file, Step first, const Digest& h_first) {
    DecisionLog log;
    log.first_ = first;
    log.h_first_ = h_first;
    auto size = file.size();
    if (!size) return fail(size.error());

    Bytes magic(kMagic.size());
    if (*size >= kMagic.size()) {
        auto read = file.read_at(0, magic);
        if (!read) return fail(read.error());
        // The folder is this run's, so this is damage, and cut off like any other.
        if (as_text(magic) != kMagic) {
            log.file_ = std::move(file);
            log.cut_bytes_ = *size;
            return log;
        }
        log.end_ = kMagic.size();
    }
    log.file_ = std::move(file);
    while (log.end_ + kFrame <= *size) {
        Bytes frame(kFrame);
        auto read = log.file_.read_at(log.end_, frame);
        if (!read) return fail(read.error());
        ByteReader r(frame);
        std::uint32_t bytes = r.u32();
        auto digest = r.fixed<Digest>();
        if (bytes > kMaxRecord || log.end_ + kFrame + bytes > *size) break;
        Bytes payload(bytes);
        read = log.file_.read_at(log.end_ + kFrame, payload);
        if (!read) return fail(read.error());
        if (sha256(payload) != digest) break;
        auto decision = parse_signed_decision(payload);
        if (!decision) return fail(decision.error());
        auto row = log.check(*decision);
        if (!row) return fail(row.error());
        row->offset = log.end_ + kFrame;
        row->bytes = bytes;
        log.rows_.push_back(*row);
        log.end_ += kFrame + bytes;
    }
    log.cut_bytes_ = *size - log.end_;
    return log;
}

Digest DecisionLog::chain(Step k) const {
    SKERRY_ASSERT(k >= first_ && k <= next());
    return k == first_ ? h_first_ : rows_[k.value - first_.value - 1].h_after;
}

const DecisionRow* DecisionLog::row(Step k) const {
    if (k < first_ || k >= next()) return nullptr;
    return &rows_[k.value - first_.value];
}

Result<std::vector<SignedDecision>> DecisionLog::read(Step from, std::size_t count) const {
    if (from < first_ || from > next())
        return fail(Errc::not_found, "no decision " + std::to_string(from.value) + " here");
    std::vector<SignedDecision> out;
    for (Step k = from; k < next() && out.size() < count; k = k.next()) {
        const DecisionRow& wanted = *row(k);
        Bytes payload(wanted.bytes);
        auto read = file_.read_at(wanted.offset, payload);
        if (!read) return fail(read.error());
        auto decision = parse_signed_decision(payload);
        if (!decision) return fail(decision.error());
        if (body_digest(decision->decision.body) != wanted.body)
            return fail(Errc::digest_mismatch,
                        "decision " + std::to_string(k.value) + " is damaged on disk");
        out.push_back(std::move(*decision));
    }
    return out;
}

Result<DecisionRow> DecisionLog::check(const SignedDecision& signed_decision) const {
    auto decision = parse_decision(signed_decision.decision.body);
    if (!decision) return fail(decision.error());
    if (decision->step != next())
        return fail(Errc::stale, "decision " + std::to_string(decision->step.value) +
                                     ", expected " + std::to_string(next().value));
    if (chain_next(chain(next()), *decision) != decision->h_after)
        return fail(Errc::digest_mismatch,
                    "decision " + std::to_string(decision->step.value) + " does not chain");
    if (decision->roots.size() != 1)
        return fail(Errc::malformed, "a decision of more than one stage");
    DecisionRow out;
    out.step = decision->step;
    out.kind = decision->kind;
    out.plan_digest = decision->plan_digest;
    out.root = decision->roots.front();
    out.outer = decision->outer;
    out.rollback_to = decision->rollback_to;
    out.tokens_after = decision->tokens_after;
    out.h_after = decision->h_after;
    out.body = body_digest(signed_decision.decision.body);
    return out;
}

Result<void> DecisionLog::write_record(ByteSpan record) {
    auto written = file_.write_at(end_, record);
    if (written) {
        written = file_.sync();
        sync_failed_ = !written;
    }
    if (!written) {
        auto cut =
            file_.resize(end_);  // best effort: a torn record is cut off at the next start anyhow
        static_cast<void>(cut);
    }
    return written;
}

/// What an fsync lost, a second one on the same file does not report: all records go to a new file.
Result<void> DecisionLog::write_anew(ByteSpan record) {
    Bytes whole(end_);
    auto read = file_.read_at(0, whole);
    if (!read) return read;
    whole.insert(whole.end(), record.begin(), record.end());
    auto written = write_durably(file_.path(), whole);
    if (!written) return written;
    auto file = File::open_write(file_.path());
    if (!file) return fail(file.error());
    file_ = std::move(*file);
    sync_failed_ = false;
    return {};
}

Result<void> DecisionLog::append(const SignedDecision& decision) {
    auto row = check(decision);
    if (!row) return fail(row.error());
    Bytes payload = to_bytes(decision);
    ByteWriter w;
    w.u32(static_cast<std::uint32_t>(payload.size()));
    w.id(sha256(payload));
    w.bytes(payload);
    auto written = sync_failed_ ? write_anew(w.view()) : write_record(w.view());
    if (!written) return written;
    row->offset = end_ + kFrame;
    row->bytes = static_cast<std::uint32_t>(payload.size());
    end_ += w.view().size();
    rows_.push_back(*row);
    return {};
}

}  // namespace skerry::node
