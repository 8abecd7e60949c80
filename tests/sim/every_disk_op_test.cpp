// Every transition of the coordinator, with a crash, a full disk and a failed sync at every operation of its disk. The
// oracle is a journal in memory: what was acknowledged is there, what was not is there wholly or not at all.
//
// SKERRY_DISK_SEEDS: outcomes of a power cut tried at each operation.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "coordinator/store/sqlite_journal.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/sim/image_difference.hpp"
#include "tests/sim/sqlite_vfs.hpp"
#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::sim {
namespace {

namespace co = coordinator;
using test::FakeNode;
using test::Rig;

constexpr const char* kFile = "/run/run.db";

struct Transition {
    co::Tx tx;
    co::Image after;
};

/// What the core writes, and what must be there afterwards.
class Recorder final : public co::Journal {
  public:
    explicit Recorder(std::vector<Transition>& into) : memory_(test::run_row(test::small_manifest())), into_(into) {}
    Result<co::Image> load() override { return memory_.load(); }
    Result<void> apply(const co::Tx& tx) override {
        auto done = memory_.apply(tx);
        if (done) into_.push_back({tx, *memory_.load()});
        return done;
    }
    Result<std::vector<SignedDecision>> decisions(Step from, std::uint32_t max) override {
        return memory_.decisions(from, max);
    }

  private:
    test::MemoryJournal memory_;
    std::vector<Transition>& into_;
};

// ------------------------------------------------------------------------------------------- a run's life

/// A run in which everything happens that the core writes down.
class Life {
  public:
    explicit Life(std::vector<Transition>& into) : rig_(std::make_unique<Recorder>(into)) {}

    void play() {
        EXPECT_FALSE(rig_.admin(co::admin::StartRun{}));
        step({&a_, &b_, &c_});
        superseded();
        replaced_process();
        withdrawn();
        new_coordinator();
        paused();
        left_and_back();
        revoked_and_cleared();
        tokens();
        for (int i = 0; i < 3; ++i) step({&a_, &b_, &c_});
        changed();
        rig_.lease(a_, 4);
        EXPECT_FALSE(rig_.admin(co::admin::StopRun{}));
    }

  private:
    using Nodes = std::vector<FakeNode*>;

    void all_ready(const Nodes& nodes) {
        ++round_;
        for (FakeNode* node : nodes) rig_.ready(*node, 10 * round_ + node->key.bytes[0]);
        ASSERT_TRUE(rig_.has_plan());
    }
    void decided(const Nodes& nodes) {
        const Step before = rig_.status().head;
        for (FakeNode* node : nodes) rig_.vote(*node, round_);
        ASSERT_EQ(rig_.status().head, before.next());
        for (FakeNode* node : nodes) {
            node->report.digests = {{before.next(), test::digest_of(round_)}};
            rig_.apply(*node);
        }
    }
    void step(const Nodes& nodes) {
        all_ready(nodes);
        decided(nodes);
    }
    void superseded() {
        all_ready({&a_, &b_, &c_});
        rig_.pass(Millis(6500), {&a_, &b_});
        decided({&a_, &b_});
        rig_.report(c_);
        rig_.apply(c_);
    }
    void replaced_process() {
        rig_.lease(b_, 2);
        b_.boot.bytes[1] = 1;
        b_.in_memory = {};
        rig_.hello(b_);
        rig_.apply(b_);
    }
    void withdrawn() {
        all_ready({&a_, &b_, &c_});
        rig_.drop(b_);
        rig_.drop(c_);
        rig_.pass(Millis(122'000), {&a_});
        EXPECT_FALSE(rig_.has_plan());
        for (FakeNode* node : {&b_, &c_}) back(*node);
        step({&a_, &b_, &c_});
    }
    void back(FakeNode& node) {
        rig_.hello(node);
        rig_.apply(node);
    }
    void new_coordinator() {
        all_ready({&a_, &b_, &c_});
        rig_.restart();
        for (FakeNode* node : {&a_, &b_, &c_}) rig_.hello(*node);
        decided({&a_, &b_, &c_});
    }
    void paused() {
        EXPECT_FALSE(rig_.admin(co::admin::PauseRun{}));
        EXPECT_FALSE(rig_.admin(co::admin::StartRun{}));
    }
    void left_and_back() {
        rig_.send(c_, Leaving{LeaveWhen::now});
        EXPECT_TRUE(c_.left);
        c_.boot.bytes[1] = 1;
        c_.in_memory = {};
        back(c_);
    }
    void revoked_and_cleared() {
        EXPECT_FALSE(rig_.admin(co::admin::RevokeNode{c_.id, "a test"}));
        EXPECT_FALSE(rig_.admin(co::admin::ClearNode{c_.id}));
        back(c_);
    }
    void tokens() {
        const auto token = rig_.make_token(9, 1);
        EXPECT_FALSE(rig_.admin(co::admin::RevokeToken{token.id}));
    }

    void changed() {
        auto back = [&](std::uint64_t steps, bool refeed) {
            const Step to{rig_.status().head.value - steps};
            return rig_.admin(co::admin::Rollback{to, refeed, *rig_.journal->decisions(Step{0}, 1000)});
        };
        EXPECT_FALSE(rig_.admin(co::admin::Configure{{0.25F, 0.5F}}));
        vote_change();
        step({&a_, &b_, &c_});
        EXPECT_FALSE(back(2, false));
        vote_change();
        step({&a_, &b_, &c_});
        all_ready({&a_, &b_, &c_});
        EXPECT_FALSE(back(1, true));  // supersedes what is open
        vote_change();
    }
    void vote_change() {
        ASSERT_TRUE(rig_.has_plan());
        const Plan plan = rig_.plan();
        const Step at = is_rollback(plan.kind) ? plan.rollback_to : plan.step;
        const std::uint64_t tokens =
            at.value == 0 ? 0 : parse_decision(rig_.journal->decisions(Step{at.value - 1}, 1)->at(0).decision.body)->tokens_after;
        const Digest digest = rig_.image().plan->digest;
        const Digest roots[] = {Digest{}};
        for (FakeNode* node : {&a_, &b_, &c_}) {
            const Digest h = chain_next(node->report.h_head, plan.step, plan.kind, digest, roots, tokens);
            node->report.prepared = PreparedState{digest, {}, true, test::vote_signature(node->key, h)};
            rig_.report(*node);
        }
        ASSERT_EQ(rig_.status().head, plan.step.next());
        for (FakeNode* node : {&a_, &b_, &c_}) rig_.apply(*node);
    }

    Rig rig_;
    FakeNode& a_ = rig_.join("a");
    FakeNode& b_ = rig_.join("b");
    FakeNode& c_ = rig_.join("c");
    std::uint64_t round_ = 0;
};

/// Kinds of operation, of ends of plans and of run states in a history.
struct Kinds {
    std::array<std::uint64_t, std::variant_size_v<co::Op>> ops{};
    std::set<co::PlanEnd> ends;
    std::set<RunState> states;
    std::set<EntryKind> decisions;

    void note(const co::Tx& tx) {
        for (const co::Op& op : tx.ops) {
            ++ops[op.index()];
            if (const auto* end = std::get_if<co::op::EndPlan>(&op)) ends.insert(end->end);
            if (const auto* made = std::get_if<co::op::PutDecision>(&op)) decisions.insert(made->decision.kind);
            if (const auto* meta = std::get_if<co::op::PutMeta>(&op)) states.insert(meta->meta.run_state);
        }
    }
};

// --------------------------------------------------------------------------------------------- a machine

struct Machine {
    explicit Machine(VirtualDisk of) : disk(std::move(of)), files(disk) {}
    ~Machine() { kill(); }
    /// As kill -9 does: what was written stays in the cache.
    void kill() {
        disk.stop();
        journal.reset();
        disk.end_process();
    }
    Result<void> start() {
        auto opened = co::SqliteJournal::open(kFile, files);
        if (!opened) return fail(opened.error());
        journal = std::move(*opened);
        return {};
    }
    co::Image image() {
        auto loaded = journal->load();
        if (!loaded) throw Violation("load", loaded.error().detail);
        return std::move(*loaded);
    }
    VirtualDisk disk;
    SqliteVfs files;
    std::unique_ptr<co::SqliteJournal> journal;
};

struct Counts {
    std::uint64_t operations = 0;
    std::uint64_t crashes = 0;
    std::uint64_t full = 0;
    std::uint64_t failed_syncs = 0;
};

class EveryDiskOp : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        auto* all = new std::vector<Transition>();
        Life(*all).play();
        history_ = all;
        if (const char* text = std::getenv("SKERRY_DISK_SEEDS")) seeds_ = std::strtoull(text, nullptr, 10);
    }
    static void TearDownTestSuite() {
        std::printf("value: %zu transitions, %llu disk operations, %llu crashes, %llu full disks, %llu failed syncs, %s\n",
                    history_->size(), static_cast<unsigned long long>(counts_.operations),
                    static_cast<unsigned long long>(counts_.crashes), static_cast<unsigned long long>(counts_.full),
                    static_cast<unsigned long long>(counts_.failed_syncs),
                    testing::UnitTest::GetInstance()->failed_test_count() == 0 ? "all recovered" : "NOT all recovered");
        delete history_;
    }

    static std::vector<DiskModel> models() { return {DiskModel{512, true}, DiskModel{4096, false}}; }

    /// Before any transition.
    static const co::Image& birth() {
        static const co::Image image = *test::MemoryJournal(test::run_row(test::small_manifest())).load();
        return image;
    }
    static const co::Image& before(std::size_t n) { return n == 0 ? birth() : (*history_)[n - 1].after; }
    static const co::Image& after(std::size_t n) { return (*history_)[n].after; }
    static const co::Tx& tx(std::size_t n) { return (*history_)[n].tx; }

    static std::unique_ptr<Machine> new_machine(const DiskModel& model) {
        auto machine = std::make_unique<Machine>(VirtualDisk(model));
        EXPECT_TRUE(machine->disk.make_folder("/run") && machine->disk.sync_folder("/"));
        SqliteVfs::seed(1);
        return machine;
    }
    static std::unique_ptr<Machine> newborn(const DiskModel& model) {
        auto machine = new_machine(model);
        auto made = co::SqliteJournal::create(kFile, test::run_row(test::small_manifest()), machine->files);
        if (!made) throw Violation("create", made.error().detail);
        machine->journal = std::move(*made);
        return machine;
    }

    /// A power cut, perhaps another one while it starts, and it is up again.
    static void power_cut(Machine& m, Rng& rng) {
        ++counts_.crashes;
        m.kill();
        m.disk.crash(rng);
        if (rng.chance(0.5)) {
            m.disk.stop_at(static_cast<std::uint64_t>(rng.in(1, 12)));
            (void)m.start();
            m.kill();
            if (rng.chance(0.7)) m.disk.crash(rng);
        }
        m.disk.clear_faults();
        if (auto up = m.start(); !up) throw Violation("start", up.error().detail);
    }

    /// `n` was on its way: it is there or not, and can be written if it is not.
    static void whole_or_absent(Machine& m, std::size_t n) {
        const co::Image image = m.image();
        if (image == after(n)) return;
        if (image != before(n)) throw Violation("whole or absent", difference(image, before(n)));
        write(m, n);
    }
    static void write(Machine& m, std::size_t n) {
        if (auto done = m.journal->apply(tx(n)); !done) throw Violation("apply", done.error().detail);
        there(m, n);
    }
    static void there(Machine& m, std::size_t n) {
        const co::Image image = m.image();
        if (image != after(n)) throw Violation("acknowledged", difference(image, after(n)));
    }

    /// Runs `what` and fails with the place if an oracle objects.
    template <class What>
    static bool holds(std::size_t n, std::uint64_t operation, std::uint64_t seed, const DiskModel& model, What what) {
        try {
            what();
            return true;
        } catch (const Violation& broken) {
            ADD_FAILURE() << "transition " << n << ", operation " << operation << ", seed " << seed << ", sectors of "
                          << model.sector_bytes << (model.powersafe_overwrite ? "" : " (not powersafe)") << ": " << broken.what();
            return false;
        }
    }

    static inline const std::vector<Transition>* history_ = nullptr;
    static inline Counts counts_;
    static inline std::uint64_t seeds_ = 3;
};

TEST_F(EveryDiskOp, EveryKindOfOperationOccurs) {
    Kinds kinds;
    for (const Transition& t : *history_) kinds.note(t.tx);
    for (std::size_t i = 0; i < kinds.ops.size(); ++i)
        EXPECT_GT(kinds.ops[i], 0U) << "no transition of Life has alternative " << i << " of coordinator::Op: let it happen there";
    EXPECT_EQ(kinds.ends.size(), 3U);
    EXPECT_TRUE(kinds.states.contains(RunState::running) && kinds.states.contains(RunState::paused) &&
                kinds.states.contains(RunState::stopped));
    // A loss is recorded by a plan like a CONFIG's, after a rebuild only.
    EXPECT_EQ(kinds.decisions, (std::set{EntryKind::commit, EntryKind::rollback, EntryKind::config, EntryKind::rollback_refeed}));
}

TEST_F(EveryDiskOp, ACrashWhileARunIsMadeLeavesAWholeRunOrNone) {
    for (const DiskModel& model : models()) {
        auto machine = new_machine(model);
        auto look = [&] {
            ++counts_.operations;
            for (std::uint64_t seed = 1; seed <= 4 * seeds_; ++seed) {
                const bool fine = holds(0, machine->disk.operations(), seed, model, [&] {
                    Machine other(machine->disk.clone());
                    Rng rng(seed, machine->disk.operations());
                    ++counts_.crashes;
                    other.disk.crash(rng);
                    auto up = other.start();
                    if (!up && up.error().code != Errc::not_found) throw Violation("start", up.error().detail);
                    if (!up) {
                        auto made = co::SqliteJournal::create(kFile, test::run_row(test::small_manifest()), other.files);
                        if (!made) throw Violation("create", made.error().detail);
                        other.journal = std::move(*made);
                    }
                    if (other.image() != birth()) throw Violation("birth", difference(other.image(), birth()));
                });
                if (!fine) return;
            }
        };
        machine->disk.before_operation = [&](std::string_view, std::string_view) { look(); };
        auto made = co::SqliteJournal::create(kFile, test::run_row(test::small_manifest()), machine->files);
        machine->disk.before_operation = nullptr;
        ASSERT_TRUE(made) << made.error().detail;
        machine->journal = std::move(*made);
        look();
        ASSERT_FALSE(HasFailure());
    }
}

TEST_F(EveryDiskOp, AFaultWhileARunIsMadeIsSaidAndLeavesNothingInTheWay) {
    const DiskModel model{4096, false};
    for (const bool full : {true, false}) {
        for (std::uint64_t i = 1;; ++i) {
            auto machine = new_machine(model);
            full ? machine->disk.fill_at(i) : machine->disk.fail_sync_at(i);
            const auto reached = full ? machine->disk.space_operations() + i : machine->disk.syncs() + i;
            auto made = co::SqliteJournal::create(kFile, test::run_row(test::small_manifest()), machine->files);
            if ((full ? machine->disk.space_operations() : machine->disk.syncs()) < reached) {
                EXPECT_GT(i, 3U);
                break;
            }
            ++(full ? counts_.full : counts_.failed_syncs);
            const bool fine = holds(0, i, 0, model, [&] {
                if (!made && made.error().code != (full ? Errc::disk_full : Errc::io_error))
                    throw Violation("code", made.error().detail);
                if (made) machine->journal = std::move(*made);
                Rng rng(i, 1);
                machine->disk.clear_faults();
                machine->kill();
                if (!made) machine->disk.crash(rng);
                auto up = machine->start();
                if (!up && (machine->disk.exists(kFile) || made.has_value())) throw Violation("start", up.error().detail);
                if (!up) {
                    auto again = co::SqliteJournal::create(kFile, test::run_row(test::small_manifest()), machine->files);
                    if (!again) throw Violation("create", again.error().detail);
                    machine->journal = std::move(*again);
                }
                if (machine->image() != birth()) throw Violation("birth", difference(machine->image(), birth()));
            });
            ASSERT_TRUE(fine) << (full ? "full disk" : "failed sync");
        }
    }
}

TEST_F(EveryDiskOp, ACrashAtAnyOperationLosesNothingAcknowledged) {
    std::uint64_t checkpoints = 0;
    for (const DiskModel& model : models()) {
        auto machine = newborn(model);
        for (std::size_t n = 0; n < history_->size(); ++n) {
            auto look = [&](bool acknowledged) {
                if (HasFailure()) return;
                for (std::uint64_t seed = 1; seed <= seeds_; ++seed)
                    holds(n, machine->disk.operations(), seed, model, [&] {
                        Machine other(machine->disk.clone());
                        Rng rng(seed, machine->disk.operations());
                        power_cut(other, rng);
                        acknowledged ? there(other, n) : whole_or_absent(other, n);
                    });
            };
            const auto first = machine->disk.operations();
            std::uint64_t synced = machine->disk.syncs();
            machine->disk.before_operation = [&](std::string_view, std::string_view) { look(false); };
            ASSERT_TRUE(machine->journal->apply(tx(n)));
            machine->disk.before_operation = nullptr;
            ASSERT_FALSE(HasFailure());
            ASSERT_TRUE(machine->image() == after(n)) << difference(machine->image(), after(n));
            look(true);
            counts_.operations += machine->disk.operations() - first;
            if (machine->disk.syncs() - synced > 2) ++checkpoints;
        }
        ASSERT_FALSE(HasFailure());
    }
    EXPECT_GE(checkpoints, 2U) << "the log was never written back";
}

/// A second process starts on what the first left, meets a fault at its i-th chance, and goes on as the program does.
TEST_F(EveryDiskOp, AFullDiskAtAnyOperationRefusesWholeAndTakesItLater) {
    for (const DiskModel& model : models()) {
        auto machine = newborn(model);
        for (std::size_t n = 0; n < history_->size(); ++n) {
            for (std::uint64_t i = 1; !HasFailure(); ++i) {
                bool reached = true;
                holds(n, i, i, model, [&] {
                    Machine other(machine->disk.clone());
                    Rng rng(i, n);
                    if (auto up = other.start(); !up) throw Violation("start", up.error().detail);
                    const auto target = other.disk.space_operations() + i;
                    other.disk.fill_at(i);
                    auto done = other.journal->apply(tx(n));
                    reached = other.disk.space_operations() >= target;
                    other.disk.clear_faults();
                    if (!reached) return;
                    ++counts_.full;
                    if (!done && done.error().code != Errc::disk_full) throw Violation("code", done.error().detail);
                    const co::Image& now = done ? after(n) : before(n);
                    if (other.image() != now) throw Violation("refused", difference(other.image(), now));
                    if (!done && rng.chance(0.5)) {
                        power_cut(other, rng);
                        return whole_or_absent(other, n);
                    }
                    if (!done) write(other, n);  // the same transaction, tried again
                    power_cut(other, rng);
                    there(other, n);
                });
                if (!reached) break;
            }
            ASSERT_FALSE(HasFailure());
            ASSERT_TRUE(machine->journal->apply(tx(n)));
        }
    }
}

TEST_F(EveryDiskOp, AFailedSyncAtAnyOperationEndsTheProcessAndTheNextOneBuildsOnSolidGround) {
    for (const DiskModel& model : models()) {
        auto machine = newborn(model);
        for (std::size_t n = 0; n < history_->size(); ++n) {
            for (std::uint64_t i = 1; !HasFailure(); ++i) {
                bool reached = true;
                for (std::uint64_t seed = 1; seed <= 2 * seeds_ && reached; ++seed)
                    holds(n, i, seed, model, [&] {
                        Machine other(machine->disk.clone());
                        Rng rng(seed, 1000 * n + i);
                        if (rng.chance(0.3)) {  // the process before ended in order and left no log
                            if (auto up = other.start(); !up) throw Violation("start", up.error().detail);
                            other.journal.reset();
                        }
                        const auto target = other.disk.syncs() + i;
                        other.disk.fail_sync_at(i);  // while it starts, or in the transaction
                        auto up = other.start();
                        Result<void> done = up ? other.journal->apply(tx(n)) : Result<void>();
                        reached = other.disk.syncs() >= target;
                        if (!reached) return;
                        ++counts_.failed_syncs;
                        if (!up && up.error().code != Errc::io_error) throw Violation("code", up.error().detail);
                        if (!done && done.error().code != Errc::io_error) throw Violation("code", done.error().detail);
                        const bool acknowledged = up && done;
                        if (rng.chance(0.3)) {
                            power_cut(other, rng);
                            return acknowledged ? there(other, n) : whole_or_absent(other, n);
                        }
                        if (rng.chance(0.5)) other.journal.reset();  // in order; otherwise at once
                        other.kill();
                        if (rng.chance(0.3)) other.disk.drop_caches(rng);
                        if (auto again = other.start(); !again) throw Violation("start", again.error().detail);
                        acknowledged ? there(other, n) : whole_or_absent(other, n);
                        std::size_t last = n;
                        for (; last + 1 < history_->size() && last < n + 2; ++last) write(other, last + 1);
                        power_cut(other, rng);
                        there(other, last);
                    });
                if (!reached) break;
            }
            ASSERT_FALSE(HasFailure());
            ASSERT_TRUE(machine->journal->apply(tx(n)));
        }
    }
}

}  // namespace
}  // namespace skerry::sim
