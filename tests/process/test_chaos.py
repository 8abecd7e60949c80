"""A short form of chaos.py with a seed of its own, so that it is run with every change."""
import os
import sys
import unittest

import chaos
from harness import ProcessTest, report


class Chaos(ProcessTest):
    def test_twelve_kills(self):
        seed = int(os.environ.get("SKERRY_CHAOS_SEED", "4"))
        run = chaos.Chaos(self.folder, 12, seed, say=lambda text: print(text, file=sys.stderr, flush=True))
        self.cluster = run.cluster
        try:
            report(run.run())
        except chaos.Broken as broken:
            self.fail(f"{broken}\nreplay: tests/process/chaos.py --kills 12 --seed {seed}")

    def test_the_plan_follows_from_the_seed(self):
        plan = chaos.make_plan(300, 1, 4)
        self.assertEqual(plan, chaos.make_plan(300, 1, 4))
        self.assertNotEqual(plan, chaos.make_plan(300, 2, 4))
        self.assertEqual(sum(event.count for event in plan), 300)
        self.assertEqual(sum(event.kills.count(chaos.COORDINATOR) + event.again for event in plan), 150)
        self.assertTrue(any(event.frozen for event in plan))
        self.assertTrue(any(len(event.kills) == 5 for event in plan), "everything at once")


if __name__ == "__main__":
    unittest.main()
