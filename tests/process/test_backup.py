"""A coordinator's folder is lost: the run goes on from a backup, and nothing that was decided since is lost."""
import json
import os
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
