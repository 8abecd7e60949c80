#!/usr/bin/env python3
"""docs/metrics.md and the code name the same metrics, of the same kind, and the names follow Prometheus' rules."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FAMILY = re.compile(r'MetricFamily \w+\{\s*"([a-z0-9_]+)",\s*MetricKind::(\w+),')
ROW = re.compile(r"^\| `([a-z0-9_]+)(?:\{[^`]*\})?` \| (counter|gauge|histogram) \| (\S.*?) \| (\S.*?) \|$")
UNITS = ("seconds", "bytes", "total", "info", "ratio")


def in_code():
    """{name: {(kind, file)}}"""
    found = {}
    for top in ("protocol", "node", "coordinator"):
        for path in sorted((ROOT / top).rglob("*.cpp")):
            for name, kind in FAMILY.findall(path.read_text()):
                found.setdefault(name, set()).add((kind, path.relative_to(ROOT).as_posix()))
    return found


def problems():
    code = in_code()
    page = ROOT / "docs" / "metrics.md"
    listed = {}
    for number, line in enumerate(page.read_text().splitlines(), 1):
        row = ROW.match(line)
        if row and row.group(1) in listed and listed[row.group(1)] != row.group(2):
            yield f"docs/metrics.md:{number}: {row.group(1)} has another kind elsewhere"
        if row:
            listed[row.group(1)] = row.group(2)
        elif line.startswith("| `"):
            yield f"docs/metrics.md:{number}: a row that is no metric: name, kind, unit, meaning"
    for name, uses in sorted(code.items()):
        kinds = {kind for kind, _ in uses}
        where = ", ".join(sorted(file for _, file in uses))
        if name not in listed:
            yield f"{where}: {name} is not in docs/metrics.md"
        elif kinds != {listed[name]}:
            yield f"{where}: {name} is {' and '.join(sorted(kinds))}, docs/metrics.md says {listed[name]}"
        if not name.startswith(("skerry_", "process_")):
            yield f"{where}: {name} does not begin with skerry_"
        if ("counter" in kinds) != name.endswith("_total"):
            yield f"{where}: {name}: counters, and only they, end with _total"
    for name in sorted(set(listed) - set(code)):
        yield f"docs/metrics.md: {name} is in no program"
    if len(code) < 20:
        yield "fewer than 20 metrics were found in the code: has their form changed?"


if __name__ == "__main__":
    found = list(problems())
    print("\n".join(found))
    sys.exit(1 if found else 0)
