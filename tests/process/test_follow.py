"""A follower: the same states as those that train, always a whole model folder, and nothing that the run waits for."""
import os
import pathlib
import re
import signal
import threading
import time
import unittest

from harness import ProcessTest, weights_of


class Follower(ProcessTest):
    def follow(self, name, *more, env=None):
        """Joins without a trainer: the program named for it does not exist."""
        node = self.cluster.node(name)
        node.trainer = str(self.folder / "no-such-trainer")
        return node.join(self.token, "--follow", *more, env=env)

    def one(self, name):
        status = self.cluster.coordinator.status()
        return next((node for node in status["nodes"] if node["name"] == name), None) if status else None

    def wait_model(self, node, step, patience=60):
        def there():
            node.check_alive()
            status = node.status()
            return status and status["model"]["step"] >= step and status
        return self.wait(there, patience, lambda: f"a model folder of step {step}; {node.status()}")

    def test_same_digests_through_kills_and_none_of_the_run_waits_for_it(self):
        nodes = self.start_run(nodes=2, local_steps=2)
        coordinator = self.cluster.coordinator
        early = self.follow("early", "--export", self.folder / "models")
        coordinator.wait_head(3)
        self.wait_model(early, 2)
        seen, stop = [], threading.Event()
        reader = threading.Thread(target=self.read_models, args=(self.folder / "models", seen, stop))
        reader.start()
        try:
            for blow in range(3):
                early.kill()
                # min_nodes are here without it: the run goes on, and names nobody to wait for.
                before = coordinator.status()
                after = coordinator.wait_head(before["head"] + 3, 30)
                self.assertFalse([one for one in after["waiting_for"] if one["node"] == "early"], after["waiting_for"])
                self.assertEqual(after["hold_reason"], "")
                early.start()
                self.wait_model(early, after["head"])
            early.freeze()
            head = coordinator.status()["head"]
            coordinator.wait_head(head + 3, 30)
            early.thaw()
            late = self.follow("late")
            head = coordinator.status()["head"] + 3
            self.wait_model(early, head)
            self.wait_model(late, head)
        finally:
            stop.set()
            reader.join()
        self.assertFalse([error for error in seen if isinstance(error, str)])
        self.assertGreater(len(set(seen)), 3, "the reader saw the folder change")
        state = self.one("early")
        self.assertEqual((state["state"], state["leased_sequences"], state["credited_tokens"]), ("following", 0, 0))
        self.assertEqual(early.status()["trainer"], "none")
        self.assertIsNone(early.trainer_pid())
        steps = [node.head() for node in (nodes[0], early, late)]
        answers = self.check_history([*nodes, early, late], least_head=min(steps))
        # Only now does it stay: two steps later it would be gone.
        folder = (late.dir / "model" / "newest").resolve()
        holder = max(nodes, key=lambda node: answers[node.name]["head"])
        self.compare_folder(folder, answers[holder.name], holder)
        for name in ("early", "late"):
            mine = {state["step"]: state["digest"] for state in answers[name]["states"]}
            theirs = {state["step"]: state["digest"] for state in answers["node-1"]["states"]}
            both = set(mine) & set(theirs)
            self.assertGreaterEqual(len(both), 10, name)
            self.assertEqual({step: mine[step] for step in both}, {step: theirs[step] for step in both}, name)
        voters = {voter for decision in answers["node-1"]["decisions"] for voter in decision.get("voters", [])}
        self.assertFalse(voters & {state["node_id"]}, "a follower votes for nothing")

    def read_models(self, folder, seen, stop):
        """Reads the newest model again and again; it is whole each time: the step's name, or what was wrong."""
        while not stop.is_set():
            now = pathlib.Path(os.path.realpath(folder / "newest"))
            try:
                sizes = sum(len(numbers) for _, numbers in weights_of(now))
                text = (now / "README.md").read_text()
                seen.append(now.name if sizes > 0 and f"step {now.name[5:]}," in text and (now / "config.json").exists()
                            else f"not whole: {now}")
                if not seen[-1].startswith("not"):
                    seen[-1] = int(now.name[5:])
            except (OSError, ValueError, IndexError) as error:
                # Two folders are kept: only a reader that dawdles over two steps finds one gone.
                if now.exists():
                    seen.append(f"{now}: {error}")
            time.sleep(0.02)

    def compare_folder(self, folder, answer, node):
        """The folder holds the state that those who train have at that step."""
        step = int(folder.name[5:])
        digest = re.search(r"digest ([0-9a-f]{64})", (folder / "README.md").read_text()).group(1)
        self.assertEqual(digest, {state["step"]: state["digest"] for state in answer["states"]}[step])
        self.cluster.run("export", "--dir", node.dir, "--step", step, "-o", self.folder / "theirs")
        self.assertEqual([(name, list(numbers)) for name, numbers in weights_of(folder)],
                         [(name, list(numbers)) for name, numbers in weights_of(self.folder / "theirs")])

    def test_counts_for_nothing_and_leaves_at_once(self):
        self.token = self.prepare(local_steps=2)
        coordinator = self.cluster.coordinator
        self.join(self.token, "node-1")
        follower = self.follow("watcher")
        self.wait(lambda: (one := self.one("watcher")) and one["state"] == "following", 30, lambda: coordinator.status())
        # One trains and one follows: that is one node of the two that the run needs.
        status = self.wait(lambda: (s := coordinator.status()) and "1 of at least 2" in s["hold_reason"] and s, 30, lambda: coordinator.status())
        self.assertEqual(status["head"], 0)
        self.join(self.token, "node-2")
        coordinator.wait_head(2)
        # Who trains in the run cannot come as a follower meanwhile; who follows may come to train.
        self.cluster.nodes["node-1"].kill()
        done = self.cluster.nodes["node-1"]
        done.join(self.token, "--follow")
        self.wait(lambda: "trains" in done.tail(30), 20, lambda: done.tail(30))
        done.kill()
        toml = done.dir / "node.toml"
        toml.write_text(re.sub(r"\n\[follow\][^\[]*", "\n", toml.read_text()))
        done.start()
        head = coordinator.status()["head"]
        coordinator.wait_head(head + 2, 60)
        # A pause is for what trains; one that only replays goes on. At Ctrl-C it has no step to finish.
        follower.ask("pause")
        self.wait(lambda: follower.head() >= head + 2, 30, "replayed while paused")
        self.assertRegex(follower.status()["pause"]["text"], r"^paused\(user\)")
        follower.ask("resume")
        follower.signal(signal.SIGINT)
        self.assertEqual(follower.wait(10), 0)
        follower.start()
        self.wait(lambda: follower.head() >= coordinator.status()["head"], 30, "the same after a restart")
        follower.ask("leave")
        self.assertEqual(follower.wait(20), 0)
        self.assertEqual(self.one("watcher")["state"], "left")


if __name__ == "__main__":
    unittest.main()
