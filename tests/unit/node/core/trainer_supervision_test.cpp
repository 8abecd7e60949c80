#include "node/core/trainer_supervision.hpp"

#include <gtest/gtest.h>

#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::Bench;
using State = TrainerSupervision::State;
using Outcome = TrainerSupervision::Outcome;

struct Trainer {
    Bench bench;
    TrainerSupervision trainer{bench.context};

    template <class A>
    OpId op_of_last() {
        auto actions = bench.take<A>();
        EXPECT_EQ(actions.size(), 1U);
        return actions.empty() ? OpId{} : actions.back().op;
    }
    void start() {
        trainer.want(true);
        trainer.on_done({op_of_last<StartTrainer>(), {}, {}});
        ASSERT_EQ(trainer.state(), State::unloaded);
    }
    void load() {
        trainer.load(false);
        trainer.on_done({op_of_last<TrainerLoad>(), {}, {}});
        ASSERT_EQ(trainer.state(), State::idle);
    }
    Outcome restore_ends_with(Errc code) {
        trainer.restore(0);
        Done done{op_of_last<RestoreProgress>(), Error{code, "no", {}}, {}};
        return trainer.on_done(done);
    }
    void dies(Errc code = Errc::trainer_failed) { trainer.on_gone({code, "it died"}); }
    /// The back-off that is under way.
    Millis back_off() const { return *trainer.retry_at() - bench.context.now; }
    void wait_and_start() {
        bench.context.now = *trainer.retry_at();
        start();
    }
};

TEST(TrainerSupervision, EachDeathInARowDoublesTheWaitUntilSomethingIsDone) {
    Trainer t;
    t.start();
    t.dies();
    const Millis first = t.back_off();
    EXPECT_EQ(first, t.bench.context.config.trainer_backoff);
    for (int i = 1; i < 4; ++i) {
        t.wait_and_start();
        t.dies();
        EXPECT_EQ(t.back_off(), first * (1 << i));
    }
    t.wait_and_start();
    t.trainer.worked(false);
    t.dies();
    EXPECT_EQ(t.back_off(), first);
    EXPECT_EQ(t.trainer.last_error(), "TRAINER_FAILED: it died");
}

TEST(TrainerSupervision, ItIsFailingAfterThreeDeathsAndOnlyWhileItIsNotUp) {
    Trainer t;
    t.start();
    for (int i = 0; i < 3; ++i) {
        EXPECT_FALSE(t.trainer.failing());
        t.dies();
        if (i < 2) t.wait_and_start();
    }
    EXPECT_TRUE(t.trainer.failing());
    t.wait_and_start();
    EXPECT_FALSE(t.trainer.failing());
}

TEST(TrainerSupervision, WorkThatWasNotProvenFiniteDoesNotForgetNumbersThatWereNot) {
    Trainer t;
    t.start();
    for (int i = 0; i < 3; ++i) {
        t.trainer.worked(false);  // a round, a save: its weights may be nonsense all the same
        t.dies(Errc::not_finite);
        EXPECT_TRUE(t.trainer.gone_not_finite());
        if (i < 2) t.wait_and_start();
    }
    EXPECT_TRUE(t.trainer.failing());
    t.wait_and_start();
    t.trainer.worked(true);
    t.dies();
    EXPECT_FALSE(t.trainer.failing());
}

TEST(TrainerSupervision, AFileThatIsRefusedIsNotTheTrainersDeath) {
    Trainer t;
    t.start();
    EXPECT_EQ(t.restore_ends_with(Errc::digest_mismatch), Outcome::restore_failed);
    EXPECT_EQ(t.trainer.state(), State::unloaded);
    EXPECT_EQ(t.trainer.failures(), 0U);
}

TEST(TrainerSupervision, ATrainerThatDiesWhileItRestoresIsStartedAgainLater) {
    Trainer t;
    t.start();
    EXPECT_EQ(t.restore_ends_with(Errc::out_of_memory), Outcome::restore_failed);
    EXPECT_EQ(t.trainer.state(), State::backoff);
    EXPECT_EQ(t.trainer.failures(), 1U);
}

TEST(TrainerSupervision, ASilentTrainerIsKilled) {
    Trainer t;
    t.start();
    t.load();
    t.bench.pass(t.bench.context.config.trainer_silence);
    t.trainer.tick();
    EXPECT_EQ(t.bench.take<KillTrainer>().size(), 1U);
    EXPECT_EQ(t.trainer.state(), State::backoff);
}

TEST(TrainerSupervision, ASaveThatIsCopiedHoldsNothingUpWhileItIsWritten) {
    Trainer t;
    t.start();
    t.load();
    t.trainer.save(0, {});
    const OpId save = t.op_of_last<SaveProgress>();
    EXPECT_FALSE(t.trainer.quiet());
    EXPECT_FALSE(t.trainer.idle());
    t.trainer.on_save_fixed(OpId{save.value + 1});
    EXPECT_FALSE(t.trainer.quiet()) << "another one's";
    t.trainer.on_save_fixed(save);
    EXPECT_TRUE(t.trainer.quiet());
    EXPECT_TRUE(t.trainer.idle());
    EXPECT_TRUE(t.trainer.saving());
    ProgressAnswer saved{{}, {7, 7, 70, 1.0}, Millis(30)};
    EXPECT_EQ(t.trainer.on_done({save, {}, saved}), Outcome::saved);
    EXPECT_FALSE(t.trainer.saving());
    EXPECT_EQ(t.trainer.saved_delta().steps, 7U);
    EXPECT_EQ(t.trainer.save_stall(), Millis(30));
}

}  // namespace
}  // namespace skerry::node
