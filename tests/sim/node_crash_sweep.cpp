// The power fails at each disk operation of each thing that a node does to its run folder. Afterwards: what was
// acknowledged as durable is there, whole; nothing false is believed; the state of the log's head can be made.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>

#include "node/exchange/piece_files.hpp"
#include "node/log/node_image.hpp"
#include "node/log/progress_files.hpp"
#include "node/log/store_work.hpp"
#include "node/log/verify.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/signatures.hpp"
#include "tests/sim/disk_facts.hpp"
#include "tests/sim/log_disk.hpp"
#include "tests/support/store_run.hpp"

namespace skerry::sim {
namespace {

using namespace node;
using test::StoreRun;

constexpr int kOutcomes = 8;  ///< power cuts for each operation

std::uint64_t crashes = 0;
std::uint64_t actions = 0;

Manifest manifest_of_sweep() {
    Manifest m = test::small_manifest(CodecId::a8, 10'000);
    m.snapshot_every = 1;
    m.disk_quota_bytes = 200'000;  // less than two snapshots and what belongs to them
    return m;
}

/// Two nodes that have made two steps and hold everything of the third but its entry; the second's disk is only asked.
/// What node 0 knew after two steps is `before`; `plan`, `record` and the pieces are of the third step.
struct Scene {
    Scene() : run(2, manifest_of_sweep(), {&disks[0], &disks[1]}) {
        digests.push_back(*run.store(0).digest_state());
        for (int i = 0; i < 2; ++i) {
            digests.push_back(run.run_step());
            EXPECT_TRUE(run.store(1).write_snapshot());
            if (i == 0) { EXPECT_TRUE(run.store(0).write_snapshot()); }
        }
        auto data = run.store(0).files().write_data_manifest(as_bytes("{}"));
        EXPECT_TRUE(data);
        ready = run.contribute(run.head());
        local = run.local_weights(0, run.head());
        run.close(0);
        before = disks[0].medium().clone();
        EXPECT_TRUE(run.reopen(0));
        EXPECT_TRUE(run.store(0).load_state(run.head()));

        plan = run.make_plan(run.head(), ready);
        body = to_bytes(plan);
        digest = body_digest(body);
        run.exchange(plan);
        root = run.store(1).prepare(*run.staged(1, plan))->root;
        later_plan = run.make_plan(run.head(), ready, 2);
        record = run.decide(plan, root);
        EXPECT_TRUE(run.store(1).append_decision(record));
        EXPECT_TRUE(*run.store(1).adopt_prepared(plan.step));
        EXPECT_TRUE(run.store(1).apply(plan.step));
        digests.push_back(*run.store(1).digest_state());
        EXPECT_TRUE(run.store(1).write_snapshot());
    }

    std::array<LogDisk, 2> disks;
    StoreRun run;
    std::vector<Digest> digests;  ///< of S_0, S_1, S_2, S_3
    std::vector<ReadyState> ready;
    std::vector<float> local;
    VirtualDisk before;
    Plan plan;
    Plan later_plan;
    Bytes body;
    Digest digest;
    Digest root;
    SignedDecision record;
};

Scene& scene() {
    static Scene one;
    return one;
}

/// Node 0 once more, on a copy of its disk.
class Trial {
  public:
    Trial(const VirtualDisk& from, std::uint64_t seed) : rng_(seed, 9) { disk_.medium() = from.clone(); }

    void open() {
        auto opened = open_run(folder());
        ASSERT_TRUE(opened) << opened.error().detail;
        store_ = std::move(opened->store);
        image = std::move(opened->image);
        if (store_) pieces_ = std::make_unique<PieceFiles>(store_, signing_with(scene().run.key(0)));
    }
    void use(std::shared_ptr<RunStore> store) { store_ = std::move(store); }
    void close() {
        pieces_.reset();
        store_.reset();
    }
    void power_cut() {
        close();
        disk_.medium().clear_faults();
        disk_.medium().crash(rng_);
    }

    DiskPath folder() { return {disk_, "/run"}; }
    VirtualDisk& medium() { return disk_.medium(); }
    RunStore& store() { return *store_; }
    bool has_store() const { return store_ != nullptr; }
    PieceFiles& pieces() { return *pieces_; }
    std::vector<StateDigest> snapshots() const { return image.snapshots; }

    /// Everything of the open step but the prepared file.
    void stage() { ASSERT_TRUE(try_stage()); }
    bool try_stage() {
        if (!pieces().follow(scene().body)) return false;
        for (std::uint32_t p = 0; p < store().grid().count(); ++p) {
            VerifyChunk what;
            what.object = {ObjectKind::result, scene().plan.step, scene().digest};
            what.piece = PieceIndex{p};
            what.purpose = ChunkPurpose::entry;
            auto result = scene().run.store(1).read_result(scene().plan.step, scene().digest, what.piece);
            what.expect = result->leaf;
            auto taken = pieces().take_piece(what, {}, result->chunk);
            if (!taken || taken->verdict != ChunkVerdict::stored) return false;
        }
        return true;
    }
    WritePrepared prepare_action() const { return {{}, scene().plan.step, scene().digest, scene().root, {}}; }
    AppendEntry append_action(bool prepared) const {
        return {{}, scene().plan.step, scene().record, scene().digest, scene().root, prepared};
    }
    void prepare() {
        stage();
        auto made = pieces().prepare(prepare_action());
        ASSERT_TRUE(made && made->durable);
    }
    bool is_prepared_or_entry() {
        const DiskFacts facts = facts_of(store());
        return facts.has(scene().plan.step, {scene().digest, scene().root});
    }

    NodeImage image;

  private:
    LogDisk disk_;
    Rng rng_;
    std::shared_ptr<RunStore> store_;
    std::unique_ptr<PieceFiles> pieces_;
};

/// What holds after every power cut: what was known before is known, and nothing that is not so.
void check_everything(Trial& trial) {
    RunStore& store = trial.store();
    ASSERT_GE(store.decisions().next(), Step{2});
    for (Step k{0}; k < Step{2}; k = k.next()) EXPECT_TRUE(store.has_entry(k)) << k.value;
    EXPECT_FALSE(trial.image.snapshots.empty());
    for (const StateDigest& snapshot : trial.image.snapshots)
        EXPECT_EQ(snapshot.value, scene().digests[snapshot.step.value]) << snapshot.step.value;
    for (const PreparedImage& prepared : trial.image.prepared) EXPECT_EQ(prepared.root, scene().root);
    const Step head = store.log_end(Step{0});
    ASSERT_TRUE(store.load_state(head)) << head.value;
    EXPECT_EQ(store.digest_state().value_or(Digest{}), scene().digests[head.value]);

    auto report = verify_run(trial.folder(), {});
    ASSERT_TRUE(report) << report.error().detail;
    // A decision may be here before its entry, or a snapshot that makes it unnecessary: the node fetches that.
    const bool behind = head < store.decisions().next();
    for (const std::string& problem : report->problems)
        EXPECT_TRUE(behind && (problem.ends_with("is missing") || problem.starts_with("no snapshot from which"))) << problem;
}

/// `act` says whether it was acknowledged. `check` gets a store that was opened after the power cut.
template <class Setup, class Act, class Check>
void sweep(const char* what, const VirtualDisk& from, Setup setup, Act act, Check check) {
    ++actions;
    std::uint64_t operations = 0;
    for (std::uint64_t at = 1; operations == 0 || at <= operations + 1; ++at) {
        for (int outcome = 0; outcome < kOutcomes; ++outcome) {
            SCOPED_TRACE(std::string(what) + ", power cut at operation " + std::to_string(at) + ", outcome " +
                         std::to_string(outcome));
            Trial trial(from, at * 100 + static_cast<std::uint64_t>(outcome));
            setup(trial);
            if (testing::Test::HasFatalFailure()) return;
            const std::uint64_t begun = trial.medium().operations();
            if (operations == 0) {  // how many there are, when nothing goes wrong
                ASSERT_TRUE(act(trial)) << "without a fault";
                operations = trial.medium().operations() - begun;
                ASSERT_GT(operations, 0U);
                continue;
            }
            trial.medium().stop_at(at);
            const bool acknowledged = act(trial);
            trial.power_cut();
            ++crashes;
            trial.open();
            if (testing::Test::HasFatalFailure()) return;
            check(trial, acknowledged);
            if (testing::Test::HasFailure()) return;
        }
    }
}

template <class Setup, class Act, class Check>
void sweep(const char* what, Setup setup, Act act, Check check) {
    sweep(what, scene().before, [&](Trial& t) { t.open(); if (t.has_store()) setup(t); }, act,
          [&](Trial& t, bool acknowledged) {
              check_everything(t);
              check(t, acknowledged);
          });
}

void nothing(Trial&) {}
void no_more(Trial&, bool) {}

bool ok(const Result<void>& result) { return result.has_value(); }
template <class T>
bool ok(const Result<T>& result) { return result.has_value(); }

// ------------------------------------------------------------------------------------------- small files

TEST(NodeCrashSweep, WhatWasSeen) {
    PersistSeen first{{}, Term{1}, Epoch{1}, Incarnation{1}, SignedBody{Bytes(100, 1), {}}, Bytes(16, 1)};
    PersistSeen second{{}, Term{2}, Epoch{3}, Incarnation{4}, std::nullopt, Bytes(16, 2)};
    sweep("seen", [&](Trial& t) { ASSERT_TRUE(carry_out(t.folder(), first)); },
          [&](Trial& t) { return ok(carry_out(t.folder(), second)); },
          [&](Trial& t, bool acknowledged) {
              auto seen = NodeFiles(t.folder()).read_seen();
              ASSERT_TRUE(seen);
              EXPECT_TRUE(seen->term == Term{2} || (!acknowledged && seen->term == Term{1}));
              EXPECT_EQ(seen->roster.body, Bytes(100, 1));
              EXPECT_EQ(seen->ticket, Bytes(16, static_cast<std::uint8_t>(seen->term.value)));
          });
}

TEST(NodeCrashSweep, TheFirstWelcome) {
    AdoptManifest action{{}, to_bytes(manifest_of_sweep()), Bytes{'{', '}'}};
    sweep("adopt the manifest", VirtualDisk({4096, true}), [](Trial& t) { t.open(); },
          [&](Trial& t) {
              auto made = carry_out(t.folder(), action);
              if (made) t.use(*made);
              return made.has_value();
          },
          [&](Trial& t, bool acknowledged) {
              EXPECT_TRUE(t.has_store() || !acknowledged);
              if (!t.has_store()) {
                  auto again = carry_out(t.folder(), action);
                  ASSERT_TRUE(again) << again.error().detail;
                  t.use(*again);
              }
              EXPECT_TRUE(t.store().load_state(Step{0}));
          });
}

TEST(NodeCrashSweep, Leases) {
    SaveLeases action{{{LeaseId{1}, 0, 10, 3, false}}};
    sweep("leases", nothing,
          [&](Trial& t) {
              carry_out(t.folder(), action);
              return true;
          },
          [&](Trial& t, bool) {
              auto leases = NodeFiles(t.folder()).read_leases();
              EXPECT_TRUE(!leases || *leases == action.leases);
          });
}

TEST(NodeCrashSweep, Progress) {
    auto save = [](Trial& t, std::uint32_t slot, std::uint64_t steps) {
        ProgressFiles files(t.folder());
        auto done = files.void_slot(slot);
        // The trainer's part: as durable as the note.
        if (done) done = write_sealed(files.trainer_file(slot), "trainer", Bytes(5000, static_cast<std::uint8_t>(steps)));
        if (done) done = files.commit(slot, {Step{2}, Step{2}, {{LeaseId{1}, 0, 5}}, 3}, {steps, 5, 50, 1.0});
        return ok(done);
    };
    sweep("progress",
          [&](Trial& t) {
              ASSERT_TRUE(save(t, 1, 6));
              ASSERT_TRUE(save(t, 0, 7));
          },
          [&](Trial& t) { return save(t, 1, 8); },
          [&](Trial& t, bool acknowledged) {
              ASSERT_FALSE(t.image.progress.empty());
              EXPECT_EQ(t.image.progress.back().delta.steps, acknowledged ? 8U : t.image.progress.back().delta.steps);
              for (const ProgressImage& slot : t.image.progress) {
                  EXPECT_GE(slot.delta.steps, 6U);
                  auto state = read_sealed(ProgressFiles(t.folder()).trainer_file(slot.slot), "trainer", 10'000);
                  ASSERT_TRUE(state);
                  EXPECT_EQ(state->front(), slot.delta.steps);
              }
              EXPECT_GE(t.image.progress.back().delta.steps, 7U);
          });
}

TEST(NodeCrashSweep, PrivateStateDropped) {
    sweep("drop private state",
          [](Trial& t) { ASSERT_TRUE(t.store().own_contribution()); },
          [](Trial& t) {
              carry_out(t.folder(), &t.store(), DropPrivateState{});
              return true;
          },
          no_more);
}

// ------------------------------------------------------------------------------------------- the open step

TEST(NodeCrashSweep, MyContribution) {
    sweep("contribution",
          [](Trial& t) {
              t.store().drop_own_contribution();
              ASSERT_TRUE(t.store().load_state(Step{2}));
          },
          [](Trial& t) {
              auto writer = t.store().begin_contribution(Step{2});
              if (!writer || !(*writer)->push(scene().local)) return false;
              ReadyState ready;
              ready.step = Step{2};
              ready.weight_tokens = 1;
              return ok(t.store().finish_contribution(**writer, ready));
          },
          [](Trial& t, bool) {
              auto own = t.store().own_contribution();
              if (!own) return;
              EXPECT_EQ(own->contribution, scene().ready[0].contribution);
              for (std::uint32_t p = 0; p < t.store().grid().count(); ++p)
                  EXPECT_TRUE(t.store().read_contribution(Step{2}, own->contribution, PieceIndex{p}));
          });
}

TEST(NodeCrashSweep, GatheredPieces) {
    const Digest id = scene().ready[1].contribution;
    sweep("gather", nothing,
          [&](Trial& t) {
              for (std::uint32_t p = 0; p < t.store().grid().count(); ++p) {
                  auto piece = scene().run.store(1).read_contribution(Step{2}, id, PieceIndex{p});
                  VerifyChunk what;
                  what.object = {ObjectKind::contribution, Step{2}, id};
                  what.piece = PieceIndex{p};
                  Data envelope;
                  envelope.proof = piece->proof;
                  auto taken = t.pieces().take_piece(what, envelope, piece->chunk);
                  if (!taken || taken->verdict != ChunkVerdict::stored) return false;
              }
              return true;
          },
          [&](Trial& t, bool) {
              for (const ContributionImage& image : t.image.contributions)
                  for (PieceIndex piece : image.pieces)
                      EXPECT_TRUE(t.store().read_contribution(Step{2}, image.id, piece)) << piece.value;
          });
}

TEST(NodeCrashSweep, ContributionsDropped) {
    sweep("drop contributions", nothing,
          [](Trial& t) {
              t.pieces().drop_contributions(Step{2});
              return true;
          },
          no_more);
}

TEST(NodeCrashSweep, AVote) {
    sweep("prepare", [](Trial& t) { t.stage(); },
          [](Trial& t) {
              auto made = t.pieces().prepare(t.prepare_action());
              return made && made->durable;
          },
          [](Trial& t, bool acknowledged) {
              if (acknowledged) { EXPECT_TRUE(t.is_prepared_or_entry()); }
              EXPECT_EQ(t.image.prepared.size(), t.store().prepared().size());
          });
}

TEST(NodeCrashSweep, StagingIsNoVote) {
    sweep("stage", nothing,
          [](Trial& t) { return t.try_stage(); },
          [](Trial& t, bool) { EXPECT_TRUE(t.store().prepared().empty()); });
}

TEST(NodeCrashSweep, APlanThatSupersedesAVote) {
    const Bytes body = to_bytes(scene().later_plan);
    sweep("supersede", [](Trial& t) { t.prepare(); },
          [&](Trial& t) {
              t.pieces().drop_staging(Step{2}, scene().digest);
              return ok(t.pieces().follow(body));
          },
          no_more);
}

TEST(NodeCrashSweep, APreparedEntryAppended) {
    sweep("append", [](Trial& t) { t.prepare(); },
          [](Trial& t) { return ok(t.pieces().append(t.append_action(true))); },
          [](Trial& t, bool acknowledged) {
              EXPECT_TRUE(t.is_prepared_or_entry()) << "the vote was given";
              if (acknowledged) { EXPECT_EQ(t.store().log_end(Step{0}), Step{3}); }
          });
}

TEST(NodeCrashSweep, AFetchedEntryAppended) {
    sweep("append what was fetched", [](Trial& t) { t.stage(); },
          [](Trial& t) { return ok(t.pieces().append(t.append_action(false))); },
          [](Trial& t, bool acknowledged) {
              if (acknowledged) { EXPECT_EQ(t.store().log_end(Step{0}), Step{3}); }
          });
}

TEST(NodeCrashSweep, AnAppendAfterACrashedOne) {
    sweep("append again",
          [](Trial& t) {
              t.prepare();
              t.medium().fail_sync_at(1);  // of the decisions
              ASSERT_FALSE(t.pieces().append(t.append_action(true)));
          },
          [](Trial& t) { return ok(t.pieces().append(t.append_action(true))); },
          [](Trial& t, bool acknowledged) {
              EXPECT_TRUE(t.is_prepared_or_entry()) << "the vote was given";
              if (acknowledged) { EXPECT_EQ(t.store().log_end(Step{0}), Step{3}); }
          });
}

TEST(NodeCrashSweep, AVoteAfterAFailedSync) {
    sweep("prepare again",
          [](Trial& t) {
              t.stage();
              t.medium().fail_sync_at(1);
              auto made = t.pieces().prepare(t.prepare_action());
              ASSERT_TRUE(made && !made->durable);
          },
          [](Trial& t) {
              auto made = t.pieces().prepare(t.prepare_action());
              return made && made->durable;
          },
          [](Trial& t, bool acknowledged) {
              if (acknowledged) { EXPECT_TRUE(t.is_prepared_or_entry()); }
          });
}

// ---------------------------------------------------------------------------------------------------- state

TEST(NodeCrashSweep, AStateLoaded) {
    sweep("load", nothing,
          [](Trial& t) { return ok(carry_out(t.store(), LoadState{{}, Step{1}, false})) && ok(t.store().load_state(Step{2})); },
          no_more);
}

TEST(NodeCrashSweep, AnEntryApplied) {
    sweep("apply",
          [](Trial& t) {
              t.prepare();
              ASSERT_TRUE(t.pieces().append(t.append_action(true)));
              ASSERT_TRUE(t.store().load_state(Step{2}));
          },
          [](Trial& t) { return ok(t.store().apply(Step{2})) && ok(carry_out(t.store(), ComputeDigest{})); },
          [](Trial& t, bool) { EXPECT_EQ(t.store().log_end(Step{0}), Step{3}); });
}

TEST(NodeCrashSweep, ASnapshotWritten) {
    sweep("snapshot", [](Trial& t) { ASSERT_TRUE(t.store().load_state(Step{2})); },
          [](Trial& t) { return ok(carry_out(t.store(), WriteSnapshot{})); },
          [](Trial& t, bool acknowledged) {
              if (acknowledged) { EXPECT_EQ(t.image.snapshots.back().step, Step{2}); }
          });
}

TEST(NodeCrashSweep, ASnapshotFetchedAndAdopted) {
    RunStore& peer = scene().run.store(1);
    auto fetch = [&](Trial& t) {
        const SnapshotInfo info = peer.snapshots().back();
        auto ask = [&](const Digest& hash, ChunkPurpose purpose) {
            VerifyChunk what;
            what.object = {ObjectKind::block, info.step, hash};
            what.purpose = purpose;
            auto block = peer.read_block(what.object);
            auto taken = block ? t.pieces().take_block(what, *block) : Result<ChunkAnswer>(fail(block.error()));
            return taken && taken->verdict == ChunkVerdict::stored ? taken->leaves : std::vector<Digest>{};
        };
        ask(info.state_digest, ChunkPurpose::state_preimage);
        for (const Digest& leaf : ask(info.roots.theta_root, ChunkPurpose::leaf_list)) ask(leaf, ChunkPurpose::theta_piece);
        for (const Digest& leaf : ask(info.roots.m_root, ChunkPurpose::leaf_list)) ask(leaf, ChunkPurpose::m_piece);
        AdoptSnapshot action{{}, info.step, info.state_digest, {}, {scene().record}};
        return ok(t.pieces().adopt_snapshot(action));
    };
    sweep("fetch and adopt a snapshot", nothing, fetch, [](Trial& t, bool acknowledged) {
        if (acknowledged) { EXPECT_EQ(t.image.snapshots.back().step, Step{3}); }
    });
}

TEST(NodeCrashSweep, ThePast) {
    Prune action{{}, Step{2}, PrunedAnswer{{Step{1}}, {Step{0}, Step{1}}}};
    sweep("prune", scene().before,
          [](Trial& t) {
              t.open();
              ASSERT_TRUE(t.store().load_state(Step{2}));
              ASSERT_TRUE(t.store().write_snapshot());
          },
          [&](Trial& t) { return ok(carry_out(t.store(), action)); },
          [](Trial& t, bool) {
              EXPECT_TRUE(facts_of(t.store()).snapshots.contains(Step{2}));
              ASSERT_TRUE(t.store().load_state(Step{2}));
              EXPECT_EQ(t.store().digest_state().value_or(Digest{}), scene().digests[2]);
          });
}

}  // namespace
}  // namespace skerry::sim

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    const int failed = RUN_ALL_TESTS();
    if (failed == 0)
        std::printf("value: %llu power cuts in %llu store actions, all recovered\n",
                    static_cast<unsigned long long>(skerry::sim::crashes), static_cast<unsigned long long>(skerry::sim::actions));
    return failed;
}
