"""The user unit that `skerry service` writes, and the system units of deploy/systemd, judged by systemd's own tools."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from harness import ROOT, ProcessTest, error_of, report

ANALYZE = shutil.which("systemd-analyze")
SYSTEM_UNITS = [ROOT / "deploy" / "systemd" / f"skerry-{name}.service" for name in ("node", "coordinator")]
MOST_EXPOSURE = 2.5


class UserUnit(ProcessTest):
    def setUp(self):
        super().setUp()
        self.dir = self.folder / "a node's 50% folder"
        self.dir.mkdir(parents=True)
        (self.dir / "node.toml").write_text('schema = "skerry.node/1"\nname = "kestrel"\n')
        # A home without a systemd of its own.
        self.env = {"HOME": str(self.folder / "home"), "XDG_CONFIG_HOME": "", "XDG_RUNTIME_DIR": str(self.folder), "DBUS_SESSION_BUS_ADDRESS": ""}
        self.unit = self.folder / "home" / ".config" / "systemd" / "user" / "skerry-node-kestrel.service"

    def service(self, *words, check=True):
        return self.cluster.run("service", *words, "--dir", self.dir, env=self.env, check=check)

    def test_it_is_written_shown_and_taken_away(self):
        printed = self.service("install", "--print").stdout
        self.assertFalse(self.unit.exists(), "--print writes nothing")
        done = self.service("install")
        self.assertEqual(self.unit.read_text(), printed)
        self.assertIn(f"systemctl --user enable --now {self.unit.name}", done.stdout, "without systemd: what to do")
        self.assertIn("loginctl enable-linger", done.stdout)
        start = re.search(r"^ExecStart=(.*)$", printed, re.MULTILINE).group(1)
        self.assertIn(f'"{self.dir}"'.replace("%", "%%"), start)
        self.assertRegex(printed, r"(?m)^RestartPreventExitStatus=2 11 12 13 14 15 16$")
        status = json.loads(self.service("status", "--json").stdout)
        self.assertEqual((status["installed"], status["file"]), (True, str(self.unit)))
        self.service("uninstall")
        self.assertFalse(self.unit.exists())
        self.assertEqual(error_of(self.service("uninstall", check=False)), (15, "NOT_FOUND"))
        nowhere = self.cluster.run("service", "status", "--dir", self.folder / "none", env=self.env, check=False)
        self.assertEqual(error_of(nowhere), (15, "NOT_FOUND"))

    @unittest.skipUnless(ANALYZE, "no systemd-analyze here")
    def test_systemd_accepts_it(self):
        self.service("install")
        done = subprocess.run([ANALYZE, "--user", "verify", str(self.unit)], text=True, capture_output=True, check=False,
                              env={**os.environ, "XDG_RUNTIME_DIR": str(self.folder)})
        said = [line for line in done.stderr.splitlines() if "skerry" in line and "man" not in line]
        self.assertFalse(said, said)


@unittest.skipUnless(ANALYZE, "no systemd-analyze here")
class SystemUnits(unittest.TestCase):
    def test_systemd_accepts_them_and_they_are_closed(self):
        for unit in SYSTEM_UNITS:
            text = unit.read_text()
            # The programs need not be installed for this.
            scratch = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"check-{os.getpid()}-{unit.name}"
            scratch.write_text(re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", text, flags=re.MULTILINE))
            try:
                verify = subprocess.run([ANALYZE, "verify", "--man=no", str(scratch)], text=True, capture_output=True, check=False)
                said = [line for line in verify.stderr.splitlines() if scratch.name in line]
                self.assertFalse(said, said)
                security = subprocess.run([ANALYZE, "security", "--offline=yes", str(scratch)], text=True, capture_output=True, check=False)
                level = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", security.stdout + security.stderr).group(1))
                self.assertLessEqual(level, MOST_EXPOSURE, unit.name)
                report(f"{unit.name}: exposure {level}")
            finally:
                scratch.unlink()


if __name__ == "__main__":
    unittest.main()
