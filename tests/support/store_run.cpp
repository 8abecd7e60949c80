#include "tests/support/store_run.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/signatures.hpp"
#include "tests/support/synthetic.hpp"

namespace skerry::test {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
    // Memory where there is such a place: these tests fsync a lot and judge calls, not disks.
    fs::path place =
        fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
    std::string name = (place / "skerry-store-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
}
TemporaryFolder::~TemporaryFolder() {
    std::error_code code;
    fs::remove_all(path_, code);
}

void flip_byte(const fs::path& path, std::uint64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    char byte = 0;
    file.get(byte);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ 1));
    EXPECT_TRUE(file.good());
}

Manifest small_manifest(CodecId codec, std::uint64_t elements) {
    Manifest m;
    m.run.bytes[0] = 7;
    m.name = "store";
    m.seed = 42;
    m.elements = elements;
    m.piece_elements = piece_elements_for(elements);
    m.codec = codec;
    m.tensors = {{"a", {elements - 1000}, 0, elements - 1000, 1.5e-9F},
                 {"norm", {1000}, elements - 1000, 1000, 0}};
    m.sequences = 1 << 20;
    m.sequence_tokens = 64;
    m.target_tokens = 1 << 30;
    return m;
}

StoreRun::StoreRun(std::size_t nodes, Manifest manifest, std::vector<node::Disk*> disks,
                   const std::function<void(const node::DiskPath& folder)>& base)
    : disks_(std::move(disks)), manifest_(std::move(manifest)), service_(KeyPair::generate()) {
    for (std::size_t i = 0; i < nodes; ++i) keys_.push_back(KeyPair::generate());
    std::sort(keys_.begin(), keys_.end(),
              [](const KeyPair& a, const KeyPair& b) { return a.id() < b.id(); });
    h_ = chain_start(body_digest(to_bytes(manifest_)));
    stores_.resize(nodes);
    for (std::size_t i = 0; i < nodes; ++i) {
        EXPECT_TRUE(reopen(i));
        if (base) base(store(i).folder());
        EXPECT_TRUE(store(i).load_state(Step{0}));
    }
}

fs::path StoreRun::folder(std::size_t i) const { return folder_.path() / std::to_string(i); }

Result<void> StoreRun::reopen(std::size_t i) {
    stores_[i].reset();
    node::DiskPath place = disks_.empty() ? node::DiskPath(folder(i)) : node::DiskPath(*disks_[i], "/run");
    auto opened = node::RunStore::open(place, manifest_);
    if (!opened) return fail(opened.error());
    stores_[i] = std::move(*opened);
    return {};
}

std::vector<float> StoreRun::local_weights(std::size_t i, Step k) {
    auto noise = synthetic(k.value * 100 + i, manifest_.elements, -8, true);
    std::vector<float> local(store(i).theta().begin(), store(i).theta().end());
    for (std::size_t e = 0; e < local.size(); ++e) local[e] -= noise[e];
    return local;
}

ReadyState StoreRun::contribute(std::size_t i, Step k) {
    auto local = local_weights(i, k);
    auto writer = store(i).begin_contribution(k);
    EXPECT_TRUE(writer);
    for (std::size_t at = 0; at < local.size();) {
        std::size_t count = std::min<std::size_t>(1777, local.size() - at);
        EXPECT_TRUE((*writer)->push(std::span(local).subspan(at, count)));
        at += count;
    }
    ReadyState ready;
    ready.weight_tokens = 1000 + 10 * i;
    ready.segments = {{LeaseId{next_position_ + 1}, next_position_, next_position_ + 5}};
    next_position_ += 5;
    auto finished = store(i).finish_contribution(**writer, ready);
    EXPECT_TRUE(finished);
    return *finished;
}

std::vector<ReadyState> StoreRun::contribute(Step k) {
    std::vector<ReadyState> out;
    for (std::size_t i = 0; i < stores_.size(); ++i) out.push_back(contribute(i, k));
    return out;
}

Plan StoreRun::make_plan(Step k, const std::vector<ReadyState>& ready, std::uint32_t attempt) {
    Plan plan;
    plan.run = manifest_.run;
    plan.step = k;
    plan.term = Term{1};
    plan.attempt = Attempt{attempt};
    plan.elements = manifest_.elements;
    plan.durable_copies = static_cast<std::uint32_t>(std::min<std::size_t>(2, stores_.size()));
    for (std::size_t i = 0; i < stores_.size(); ++i) {
        plan.members.push_back(keys_[i].id());
        Participant p;
        p.node = keys_[i].id();
        p.contribution = ready[i].contribution;
        p.weight_tokens = ready[i].weight_tokens;
        p.segments = ready[i].segments;
        plan.participants.push_back(p);
    }
    std::uint32_t pieces = PieceGrid{manifest_.elements, manifest_.piece_elements}.count();
    for (std::uint32_t p = 0; p < pieces; ++p)
        plan.piece_owner.push_back(static_cast<std::uint16_t>(p % stores_.size()));
    return plan;
}

std::shared_ptr<node::StagedEntry> StoreRun::staged(std::size_t i, const Plan& plan) {
    auto made = store(i).stage_entry(to_bytes(plan));
    EXPECT_TRUE(made);
    EXPECT_TRUE(made) << (made ? "" : made.error().detail);
    return made ? *made : nullptr;
}

void StoreRun::exchange(const Plan& plan) {
    Digest digest = body_digest(to_bytes(plan));
    for (std::uint32_t p = 0; p < plan.piece_owner.size(); ++p) {
        PieceIndex piece{p};
        std::size_t owner = plan.piece_owner[p];
        for (std::size_t i = 0; i < stores_.size(); ++i) {
            if (i == owner) continue;
            auto part =
                store(i).read_contribution(plan.step, plan.participants[i].contribution, piece);
            ASSERT_TRUE(part);
            auto gathered = store(owner).gather(plan.step, plan.participants[i].contribution);
            ASSERT_TRUE(gathered);
            ASSERT_TRUE((*gathered)->put(piece, part->chunk, part->proof));
        }
        auto sign = [&](const Digest& leaf) {
            return sign_result(keys_[owner], digest, piece, leaf);
        };
        ASSERT_TRUE(store(owner).reduce(*staged(owner, plan), piece, sign));
        auto result = store(owner).read_result(plan.step, digest, piece);
        ASSERT_TRUE(result);
        for (std::size_t i = 0; i < stores_.size(); ++i) {
            if (i == owner) continue;
            ASSERT_TRUE(staged(i, plan)->put(piece, result->chunk, result->owner_signature));
        }
    }
}

SignedDecision StoreRun::decide(const Plan& plan, const Digest& root) {
    Decision d;
    d.run = plan.run;
    d.step = plan.step;
    d.kind = plan.kind;
    d.term = plan.term;
    d.attempt = plan.attempt;
    d.plan_digest = body_digest(to_bytes(plan));
    d.roots = {root};
    d.outer = plan.outer;
    d.rollback_to = plan.rollback_to;
    for (const Participant& p : plan.participants) {
        d.credits.push_back({p.node, p.contribution, p.weight_tokens, p.segments});
        tokens_ += p.weight_tokens;
    }
    d.tokens_after = tokens_;
    d.h_after = chain_next(h_, d);
    h_ = d.h_after;
    head_ = plan.step.next();
    SignedDecision out;
    out.decision = sign_body(service_, to_bytes(d));
    for (const KeyPair& key : keys_)
        out.voters.push_back({key.id(), key.public_key(), sign_vote(key, d.h_after)});
    decisions_.push_back(out);
    return out;
}

SignedDecision StoreRun::decide_rollback(Step k, Step to, std::uint64_t tokens) {
    Plan plan;
    plan.run = manifest_.run;
    plan.step = k;
    plan.kind = EntryKind::rollback;
    plan.rollback_to = to;
    tokens_ = tokens;
    return decide(plan, Digest{});
}

Digest StoreRun::run_step() {
    Step k = head_;
    Plan plan = make_plan(k, contribute(k));
    exchange(plan);
    std::vector<Digest> roots;
    for (std::size_t i = 0; i < stores_.size(); ++i) {
        auto prepared = store(i).prepare(*staged(i, plan));
        EXPECT_TRUE(prepared);
        roots.push_back(prepared ? prepared->root : Digest{});
        EXPECT_EQ(roots[i], roots[0]);
    }
    SignedDecision decision = decide(plan, roots[0]);
    Digest first;
    for (std::size_t i = 0; i < stores_.size(); ++i) {
        EXPECT_TRUE(store(i).append_decision(decision));
        auto adopted = store(i).adopt_prepared(k);
        EXPECT_TRUE(adopted && *adopted);
        EXPECT_TRUE(store(i).apply(k));
        store(i).drop_contributions(k.next());
        auto digest = store(i).digest_state();
        EXPECT_TRUE(digest);
        if (i == 0) first = *digest;
        EXPECT_EQ(*digest, first);
    }
    return first;
}

}  // namespace skerry::test
