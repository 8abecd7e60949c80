"""Damaged files: found by their hash, fetched again from elsewhere, never used."""
import os
import pathlib
import unittest

from harness import RUN, ProcessTest, flip_byte, wait_until


def files(node, kind):
    """Of a node that may live: what it removes meanwhile is left out."""
    return [pathlib.Path(base, name) for base, _, names in os.walk(pathlib.Path(node.dir) / "run" / kind) for name in names]


def entries(node):
    return sorted(files(node, "entries"), key=lambda p: p.name)


def size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def snapshot_blocks(node):
    return sorted(files(node, "snapshots"), key=size, reverse=True)


def rot_snapshot(node):
    """Damages two blocks of a living node's snapshot; what they were. None if the next one took its place meanwhile."""
    blocks = [block for block in snapshot_blocks(node) if block.parent.name.isdigit()][:2]
    try:
        good = {block: block.read_bytes() for block in blocks}
        for block in blocks:
            flip_byte(block)
    except FileNotFoundError:
        return None
    return good


def data_shards(node):
    """Cached shards, by hash."""
    return list(pathlib.Path(node.dir).glob("shards/*.bin"))


class Damaged(ProcessTest):
    def test_entry_of_a_giver_is_fetched_elsewhere(self):
        nodes = self.start_run(nodes=2)
        self.cluster.coordinator.wait_head(12)
        flip_byte(entries(nodes[0])[4])
        late = self.join(self.token, "late")[0]
        self.wait_current(late, 90)
        head = self.cluster.coordinator.status()["head"]
        self.wait_all_heads([*nodes, late], head + 3)
        self.check_history([nodes[1], late], least_head=head + 3)

    def test_snapshot_block_of_a_giver_is_fetched_elsewhere(self):
        nodes = self.start_run(nodes=2, local_steps=2, snapshot_every=5, quota="2MiB")
        coordinator = self.cluster.coordinator
        coordinator.wait_head(60, 120)
        coordinator.run_verb("pause", RUN)  # else the next snapshot takes this one's place
        self.wait(self.at_rest, 60, lambda: f"both nodes at the last step; {coordinator.status()}")
        flip_byte(snapshot_blocks(nodes[0])[0])
        late = self.join(self.token, "late")[0]
        self.wait_current(late, 90)
        coordinator.run_verb("start", RUN)
        head = coordinator.status()["head"]
        self.wait_all_heads([*nodes, late], head + 3)
        self.check_history([nodes[1], late], least_head=head + 3)

    def at_rest(self):
        """No step is open, and what was decided is applied; a snapshot that is being written is done by the second look."""
        status = self.cluster.coordinator.status()
        key = (status["state"], status["head"], [node["head"] for node in status["nodes"]], [p.name for p in snapshot_blocks(self.cluster.node("node-1"))])
        same, self.seen = key == getattr(self, "seen", None), key
        self.calm = getattr(self, "calm", 0) + 1 if same else 0
        return status["state"] == "paused" and set(key[2]) == {status["head"]} and self.calm >= 10

    def wait_whole(self, good, gone_will_do=False):
        """Until these files are again what they were, byte for byte."""
        def still(path, data):
            try:
                return path.read_bytes() != data
            except FileNotFoundError:
                return not gone_will_do
        self.wait(lambda: not any(still(path, data) for path, data in good.items()), 90,
                  lambda: f"whole again: {[str(path) for path, data in good.items() if still(path, data)]}")

    def log_of(self, node):
        status = node.status()
        return status["log"] if status else {"missing": -1, "damaged": -1}

    def test_own_entry_is_fetched_again_at_the_start(self):
        nodes = self.start_run()
        self.cluster.coordinator.wait_head(12)
        nodes[1].kill()
        path = entries(nodes[1])[3]
        good = {path: path.read_bytes()}
        flip_byte(path)
        nodes[1].start()
        self.wait_whole(good)
        self.wait_current(nodes[1], 90)
        head = self.cluster.coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 3)
        self.check_history(least_head=head + 3)

    def test_entries_that_rot_while_the_node_lives_are_fetched_again(self):
        token = self.prepare()
        nodes = self.join(token, "node-1", "node-2", "node-3", toml='threads = 1\n[limits]\nscrub_every = "1s"')
        self.cluster.coordinator.wait_head(12)
        self.wait_all_heads(nodes, 12)
        # A piece, the head and the whole file; each time of another entry.
        piece, head, gone = entries(nodes[1])[2:5]
        good = {path: path.read_bytes() for path in (piece, head, gone)}
        flip_byte(piece)
        flip_byte(head, 100)
        gone.unlink()
        pid, trainer = nodes[1].status()["pid"], nodes[1].status()["trainer_pid"]
        self.wait_whole(good)
        self.wait(lambda: self.log_of(nodes[1])["missing"] == 0, 30, "nothing missing")
        status = nodes[1].status()
        self.assertEqual(status["log"]["damaged"], 3)
        self.assertEqual((status["pid"], status["trainer_pid"]), (pid, trainer), "neither was started again")
        last = self.cluster.coordinator.status()["head"]
        self.wait_all_heads(nodes, last + 3)
        self.check_history(least_head=last + 3)

    def test_a_snapshot_that_rots_while_the_node_lives_is_replaced(self):
        token = self.prepare(local_steps=2, snapshot_every=5, quota="2MiB")
        nodes = self.join(token, "node-1", "node-2", "node-3", toml='threads = 1\n[limits]\nscrub_every = "1s"')
        self.cluster.coordinator.wait_head(40, 120)
        good = self.wait(lambda: rot_snapshot(nodes[1]), 30, "a snapshot that stays long enough to be damaged")
        self.wait_whole(good, gone_will_do=True)
        head = self.cluster.coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 6)
        self.check_history(least_head=head + 6)

    def test_own_snapshot_is_fetched_again_at_the_start(self):
        nodes = self.start_run(local_steps=2, snapshot_every=5, quota="2MiB")
        self.cluster.coordinator.wait_head(40, 120)
        nodes[1].kill()
        for block in snapshot_blocks(nodes[1])[:2]:
            flip_byte(block)
        nodes[1].start()
        self.wait_current(nodes[1], 90)
        head = self.cluster.coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 3)
        self.check_history(least_head=head + 3)

    def test_own_data_shard_is_fetched_again(self):
        nodes = self.start_run()
        self.cluster.coordinator.wait_head(4)
        shards = data_shards(nodes[1])
        self.assertTrue(shards, "the node caches its data shards")
        good = {path: path.read_bytes() for path in shards}
        nodes[1].kill()
        for path in shards:
            flip_byte(path)
        nodes[1].start()
        wait_until(lambda: all(path.exists() and path.read_bytes() == data for path, data in good.items()), 60, "the shards whole again")
        self.wait_current(nodes[1], 60)
        head = self.cluster.coordinator.status()["head"]
        self.wait_all_heads(nodes, head + 3)
        self.check_history(least_head=head + 3)


if __name__ == "__main__":
    unittest.main()
