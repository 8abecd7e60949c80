#!/usr/bin/env python3
"""Docs that drift: every error code is in docs/errors.md with its exit status; links between pages lead somewhere."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LEFT_OUT = {"build", ".venv", ".cache", ".git"}


def problems():
    table = (ROOT / "docs" / "errors.md").read_text()
    source = (ROOT / "protocol" / "base" / "error.cpp").read_text()
    for name, code in re.findall(r'\{Errc::\w+, "(\w+)", (\d+),', source):
        if f"| `{name}` | {code} |" not in table:
            yield f"docs/errors.md: {name} with exit status {code} is missing"
    for page in ROOT.rglob("*.md"):
        if LEFT_OUT & set(page.relative_to(ROOT).parts):
            continue
        for number, line in enumerate(page.read_text().splitlines(), 1):
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", line):
                if not page.parent.joinpath(target).exists():
                    yield f"{page.relative_to(ROOT)}:{number}: a link to {target}, which is not there"


if __name__ == "__main__":
    found = list(problems())
    print("\n".join(found))
    sys.exit(1 if found else 0)
