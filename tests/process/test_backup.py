"""A coordinator's folder is lost: the run goes on from a backup, and nothing that was decided since is lost."""
import json
import os
import shutil
import tarfile
import threading
import time
import unittest

from harness import ProcessTest, error_of, flip_byte, report


class Backup(ProcessTest):
    def backup(self, name="backup.skerry", **options):
        file = self.folder / name
        done = self.cluster.run("backup", "--dir", self.cluster.coordinator.dir, "-o", file, program="skerry-coordinator", **options)
        return file, done

    def restore(self, file, folder, **options):
        return self.cluster.run("restore", file, "--dir", folder, program="skerry-coordinator", **options)

    def test_a_live_backup_is_whole_private_and_holds_no_root_key(self):
        self.start_run()
        coordinator = self.cluster.coordinator
        before = coordinator.wait_head(2)["head"]
        file, done = self.backup()
        self.assertIn("run reef", done.stdout)
        self.assertEqual(os.stat(file).st_mode & 0o777, 0o600)
        with tarfile.open(file) as tar:
            names = tar.getnames()
            listed = json.load(tar.extractfile("backup.json"))
        self.assertEqual(names[:2], ["backup.json", "backup.sha256"])
        self.assertIn("service-key.pem", names)
        self.assertIn("runs/reef/run.db", names)
        self.assertNotIn("root-key.pem", names)
        root_key = (coordinator.dir / "root-key.pem").read_text().splitlines()[1]
        self.assertNotIn(root_key.encode(), file.read_bytes())
        self.assertGreaterEqual(listed["runs"][0]["head"], before)
        left = [entry.name for entry in coordinator.dir.iterdir() if entry.name.startswith("backup-")]
        self.assertEqual(left, [], "copies that nobody needs any more")
        # The same again replaces the file; a damaged one is refused, and nothing is made of it.
        self.backup()
        flip_byte(file)
        status, code = error_of(self.restore(file, self.folder / "other", check=False))
        self.assertIn((status, code), [(14, "DIGEST_MISMATCH"), (1, "MALFORMED")])
        self.assertFalse((self.folder / "other").exists())

    def test_a_backup_does_not_hold_the_run_up(self):
        self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(2)
        stop, failures, made = threading.Event(), [], []

        def again_and_again():
            while not stop.is_set():
                try:
                    self.backup(f"backup-{len(made)}.skerry")
                    made.append(time.monotonic())
                except Exception as why:  # noqa: BLE001 - told by the test
                    failures.append(why)
                    return

        thread = threading.Thread(target=again_and_again)
        thread.start()
        head = coordinator.status()["head"]
        coordinator.wait_head(head + 6, 60)
        stop.set()
        thread.join()
        self.assertEqual(failures, [])
        self.assertGreaterEqual(len(made), 2)
        report(f"{len(made)} backups during 6 steps")
        # Each one is a state that was: heads rise.
        heads = []
        for i in range(len(made)):
            with tarfile.open(self.folder / f"backup-{i}.skerry") as tar:
                heads.append(json.load(tar.extractfile("backup.json"))["runs"][0]["head"])
        self.assertEqual(heads, sorted(heads))
        self.check_history(least_head=head + 6)

    def lose_the_coordinator(self, file):
        """Killed, its folder deleted; what was restored from the backup takes its place. Returns the old port."""
        coordinator = self.cluster.coordinator
        port = coordinator.port
        coordinator.kill()
        shutil.rmtree(coordinator.dir)
        self.restore(file, coordinator.dir)
        return port

    def rebuild(self, port, *more, check=True):
        return self.cluster.run("rebuild", "--dir", self.cluster.coordinator.dir, "--run", "reef", "--listen", f"127.0.0.1:{port}", "--yes",
                                "--patience", "60s", *more, program="skerry-coordinator", check=check)

    def test_the_folder_is_lost_and_the_run_goes_on(self):
        """Backup, more steps, folder deleted, restore refused until it is told, caught up, digests and ledger in order."""
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        file, _ = self.backup()
        at_backup = coordinator.status()
        later = coordinator.wait_head(at_backup["head"] + 4)["head"]
        port = self.lose_the_coordinator(file)

        # Not told: it holds, decides nothing, says why; the nodes stay and keep all they have.
        coordinator.start(listen=f"127.0.0.1:{port}")

        def holds():
            status = coordinator.status()
            return status if status["phase"] == "behind" and "nodes know step" in status["hold_reason"] else None
        status = self.wait(holds, 60, lambda: f"a restored coordinator that holds; {coordinator.status()}")
        self.assertLessEqual(status["head"], later - 4)
        self.assertIn("rebuild", status["hold_reason"])
        self.assertTrue(all(node.alive() for node in nodes), "a node gave up")
        before = status["head"]
        time.sleep(2)
        self.assertEqual(coordinator.status()["head"], before, "it decided something")
        coordinator.stop()

        # Told: it catches up from the nodes, and the run goes on with higher numbers.
        done = self.rebuild(port)
        self.assertIn("rebuilt at step", done.stdout)
        coordinator.start(listen=f"127.0.0.1:{port}")
        status = coordinator.wait_head(later + 4, 120)
        self.assertGreater(status["term"], at_backup["term"] + 1000)
        self.assertGreater(status["epoch"], at_backup["epoch"])
        self.assertEqual(sorted(node["name"] for node in status["nodes"]), ["node-1", "node-2", "node-3"])
        self.wait_all_heads(nodes, later + 4)
        # Tokens of the backup still admit: they are known to a coordinator alone.
        self.join(self.token, "node-4")
        self.wait_current(self.cluster.node("node-4"))
        answers = self.check_history(least_head=later + 4)
        longest = max(answers.values(), key=lambda answer: answer["head"])
        self.gap_free(longest)
        report(f"backup at step {at_backup['head']}, lost at {later}, went on to {longest['head']}")

    def gap_free(self, answer):
        """What is credited is credited once (check_history), and lease ids never meet again."""
        holders = {}
        for decision in answer["decisions"]:
            for credit in decision["credits"]:
                for segment in credit["segments"]:
                    owner = holders.setdefault(segment["lease"], credit["node"])
                    self.assertEqual(owner, credit["node"], f"lease {segment['lease']} was given out twice")

    def test_a_backup_that_is_not_older_goes_on(self):
        nodes = self.start_run(nodes=2)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        coordinator.run_verb("pause", "reef")
        self.wait(lambda: coordinator.status()["phase"] == "paused", 60, "the run paused")
        head = coordinator.status()["head"]
        file, _ = self.backup()
        port = self.lose_the_coordinator(file)
        self.rebuild(port)
        coordinator.start(listen=f"127.0.0.1:{port}")
        status = coordinator.status()
        self.assertEqual((status["head"], status["state"]), (head, "paused"), "the run is as it was")
        coordinator.run_verb("start", "reef")
        coordinator.wait_head(head + 3, 60)
        self.check_history(nodes, least_head=head + 3)

    def test_nobody_answers(self):
        self.prepare()
        self.cluster.coordinator.stop()
        status, code = error_of(self.backup(check=False)[1])
        self.assertEqual((status, code), (10, "COORDINATOR_UNREACHABLE"))

    def test_a_restore_never_overwrites(self):
        self.start_run(nodes=2)
        self.cluster.coordinator.wait_head(1)
        file, _ = self.backup()
        status, code = error_of(self.restore(file, self.cluster.coordinator.dir, check=False))
        self.assertEqual((status, code), (2, "ALREADY_EXISTS"))
        status, code = error_of(self.restore(self.folder / "nothing", self.folder / "new", check=False))
        self.assertEqual((status, code), (15, "NOT_FOUND"))


if __name__ == "__main__":
    unittest.main()
