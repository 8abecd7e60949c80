#!/usr/bin/env python3
"""Breaks the cores on purpose and shows that the simulator finds it.

usage: mutants.py --work DIR [--seeds N] [--only 01,03] [--all] [--jobs J]

Every patch of mutants/ is one small mistake; the number is that of the step protocol's section 12. For each, the
tree is copied to DIR (once), the patch is applied, skerry_sim is built and run until a seed fails. Exit status 0:
every one was found. Without --only or --all: the ten that are always checked.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATCHES = pathlib.Path(__file__).resolve().parent / "mutants"
ALWAYS = ["01", "02", "03", "05", "06", "09", "12", "13", "33", "39"]
FOLDERS = ["cmake", "protocol", "coordinator", "node", "tests", "deploy"]


def copy_tree(to):
    """The sources as they are now; files that did not change keep their times, so that little is rebuilt."""
    skip = shutil.ignore_patterns("build", "__pycache__", ".git")
    fresh = to / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, fresh / name, ignore=skip)
    shutil.copy2(ROOT / "CMakeLists.txt", fresh)
    source = to / "src"
    if source.exists():
        for old in [p for p in source.rglob("*") if p.is_file() and not (fresh / p.relative_to(source)).exists()]:
            old.unlink()
        for new in [p for p in fresh.rglob("*") if p.is_file()]:
            old = source / new.relative_to(fresh)
            if old.exists() and old.read_bytes() == new.read_bytes():
                continue
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(new, old)
        shutil.rmtree(fresh)
    else:
        fresh.rename(source)
    return source


def run(command, log, **more):
    with open(log, "ab") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, **more)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(map(str, command))} failed, see {log}")


class Bench:
    def __init__(self, work, jobs):
        self.work, self.jobs = work, jobs
        self.log = work / "build.log"
        work.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self.source = copy_tree(work)
        self.build = work / "build"
        launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
        run(["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
             "-DSKERRY_WITH_TORCH=OFF", *launcher], self.log)

    def make(self):
        run(["ninja", "-C", self.build, f"-j{self.jobs}", "skerry_sim"], self.log)

    def simulate(self, seeds, patience):
        """The first line that says what broke, or None."""
        command = [self.build / "bin" / "skerry_sim", "--seeds", f"1..{seeds}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=patience)
        except subprocess.TimeoutExpired:
            return "ran past its time"
        if done.returncode == 0:
            return None
        said = done.stdout + done.stderr
        found = re.search(r"^(seed .*|assertion failed: .*)$", said, re.M)
        return found.group(1) if found else f"exit status {done.returncode}"

    def check(self, patch, seeds, patience):
        touched = [self.source / line[6:] for line in patch.read_text().splitlines() if line.startswith("+++ b/")]
        before = {path: path.read_bytes() for path in touched}
        try:
            run(["patch", "-p1", "--no-backup-if-mismatch", "-i", patch], self.log, cwd=self.source)
            self.make()
            return self.simulate(seeds, patience)
        finally:
            for path, content in before.items():
                path.write_bytes(content)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--work", type=pathlib.Path, required=True)
    options.add_argument("--seeds", type=int, default=2000)
    options.add_argument("--patience", type=int, default=600, help="seconds for one mutant's seeds")
    options.add_argument("--only", help="numbers, comma between")
    options.add_argument("--all", action="store_true")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = options.parse_args()

    wanted = chosen.only.split(",") if chosen.only else None if chosen.all else ALWAYS
    patches = [p for p in sorted(PATCHES.glob("*.patch")) if wanted is None or p.name.split("-")[0] in wanted]
    missing = set(wanted or []) - {p.name.split("-")[0] for p in patches}
    if missing:
        sys.exit(f"error: no patch for {', '.join(sorted(missing))}")

    bench = Bench(chosen.work.resolve(), chosen.jobs)
    bench.make()
    broken = bench.simulate(min(chosen.seeds, 200), chosen.patience)
    if broken:
        sys.exit(f"error: the cores as they are fail, so mutants would prove nothing: {broken}")
    survivors = []
    for patch in patches:
        start = time.monotonic()
        broken = bench.check(patch, chosen.seeds, chosen.patience)
        if broken is None:
            survivors.append(patch.stem)
        print(f"{'found' if broken else 'SURVIVED'}: {patch.stem}: {broken or 'no seed failed'}"
              f" ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(patches) - len(survivors)} of {len(patches)} mutants found")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
