"""The installed tree: programs start from there, configuration and units are where they belong."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import default_bin


class Install(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="skerry-install-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def test_programs_start_from_the_installed_tree(self):
        build = default_bin().parent
        done = subprocess.run(["cmake", "--install", build, "--prefix", self.folder], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("skerry", "skerry-node", "skerry-coordinator", "skerry-trainer"):
            program = self.folder / "bin" / name
            if name == "skerry-trainer" and not (default_bin() / name).exists():
                continue  # built without libtorch
            shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False,
                                   env={key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"})
            self.assertEqual(shown.returncode, 0, f"{name}: {shown.stderr}")
            self.assertIn("0.1", shown.stdout, name)
        for file in ("lib/systemd/system/skerry-node.service", "lib/systemd/system/skerry-coordinator.service",
                     "share/skerry/config/run.toml", "share/skerry/config/node.toml", "share/skerry/config/coordinator.toml"):
            self.assertTrue((self.folder / file).exists(), file)


if __name__ == "__main__":
    unittest.main()
