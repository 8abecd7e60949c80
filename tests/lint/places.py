#!/usr/bin/env python3
"""No path of one machine in a file; compile flags are set in one place. usage: places.py; prints FILE:LINE: what."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def tracked():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    names = [name for name in listing.decode().split("\0") if name]
    if not names:  # an unpacked archive
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file() and not {"build", ".venv", ".cache", ".git"} & set(p.parts)]
    return [name for name in names if (ROOT / name).is_file()]


def lines_of(name):
    return (ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines()


def rule_places(names):
    # Written so that this file does not match itself.
    path = re.compile(r"(?<![\w.$}])/(?:home|root|work|Users)/[\w.-]+/[\w.-]+")
    for name in names:
        if name.endswith((".png", ".svg", ".bin", ".pem")):
            continue
        for number, line in enumerate(lines_of(name), 1):
            if path.search(line):
                yield name, number, "a path of one machine"
            if "CMAKE_CXX_" + "FLAGS" in line and not name.startswith(("docs/", "tests/lint/")) and name not in ("CONTRIBUTING.md", "cmake/SkerryTargets.cmake"):
                yield name, number, "flags live in cmake/SkerryTargets.cmake"


def main():
    names, bad = tracked(), 0
    for name, number, problem in rule_places(names):
        print(f"{name}:{number}: {problem}")
        bad += 1
    print(f"{len(names)} files, {bad} problems")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
