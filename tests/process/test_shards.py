"""Data shards go from node to node: the coordinator sends each about once, however many nodes there are."""
import signal
import unittest

from harness import PACE, ProcessTest, prose, report, run_toml


class Shards(ProcessTest):
    NODES = 6

    def start(self, victim_env):
        """Several shards of several blocks; the first node to come has `victim_env`, the others come once it is served."""
        folder, coordinator = self.folder, self.cluster.coordinator
        (folder / "train.txt").write_text(prose(40_000) * 100)
        (folder / "held-out.txt").write_text(prose(20_000, seed=2))
        self.cluster.run("data", "prepare", folder / "train.txt", "--val", folder / "held-out.txt", "-o", folder / "data", "--shard-size", "2MiB")
        (folder / "run.toml").write_text(run_toml(local_steps=8, batch=8))
        coordinator.init()
        coordinator.start()
        coordinator.push_data(folder / "data")
        coordinator.create_run(folder / "run.toml")
        self.token = coordinator.token("reef")
        self.files = sorted(path for path in (folder / "data").iterdir() if path.suffix == ".bin")
        self.assertGreaterEqual(len(self.files), 4)
        names = [f"node-{i + 1}" for i in range(self.NODES)]
        self.join(self.token, names[0], env=victim_env)
        return names

    def shards(self):
        status = self.cluster.coordinator.status()
        return status["shards"] if status else None

    def wait_all_count(self, names):
        coordinator = self.cluster.coordinator
        self.wait(lambda: set(names) <= set(coordinator.credited() or {}), 60 * PACE, lambda: f"all to be let in; {coordinator.status()}")
        coordinator.wait_credited(names, 60 * PACE)

    def check(self, nodes):
        """Everybody trains on what it got, the coordinator sent each file at most twice, and copies are the same bytes."""
        self.wait_all_count([node.name for node in nodes])
        sent = self.shards()
        size = sum(path.stat().st_size for path in self.files)
        self.assertLessEqual(sent["most_copies"], 2.0, sent)
        self.assertLessEqual(sent["sent_bytes"], 2 * size, sent)
        took = [node.status()["shards"] for node in nodes]
        fetched, peers = (sum(one[key] for one in took) for key in ("fetched_bytes", "from_peers_bytes"))
        self.assertGreater(peers, fetched / 2, took)
        self.assertGreater(sum(one["given_bytes"] for one in took), 0)
        truth = {path.read_bytes() for path in self.files}
        for node in nodes:
            held = [path.read_bytes() for path in (node.dir / "shards").glob("*.bin")]
            self.assertTrue(held, node.name)
            self.assertTrue(set(held) <= truth, node.name)
        report(f"{len(nodes)} nodes, {len(self.files)} files: the coordinator sent no file more than {sent['most_copies']:.2f} times, "
               f"nodes {peers / fetched:.0%} of what they fetched")

    def test_each_is_sent_about_once_and_a_holder_killed_in_the_middle_delays_nobody_for_long(self):
        names = self.start({"SKERRY_FAILPOINT": "node.shard_block:3"})
        self.join(self.token, *names[1:])
        victim = self.cluster.nodes[names[0]]
        self.assertEqual(victim.wait(60 * PACE), -signal.SIGKILL)
        others = [self.cluster.nodes[name] for name in names[1:]]
        self.wait_all_count(names[1:])
        victim.start()
        self.check([victim, *others])

    def test_a_holder_that_hangs_is_passed_over(self):
        names = self.start({"SKERRY_FAILPOINT": "node.shard_block:3:stop"})
        victim = self.cluster.nodes[names[0]]
        self.join(self.token, *names[1:])
        others = [self.cluster.nodes[name] for name in names[1:]]
        self.check(others)
        victim.thaw()
        self.wait_all_count(names)


if __name__ == "__main__":
    unittest.main()
