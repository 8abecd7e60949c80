#!/usr/bin/env python3
"""Rules of the house that a compiler does not check. usage: lint.py [RULE...]; prints FILE:LINE: what.

includes    the arrows between folders, and the fences (torch, ZeroMQ, SQLite, OpenSSL, pure folders)
coroutines  no co_await in a condition (g++ 12 miscompiles it), `detached` in main programs only
numbers     field numbers of the .proto files are never reused (tests/golden/message_numbers.txt)
places      no path of one machine in a file, nobody sets CMAKE_CXX_FLAGS
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CODE = (".cpp", ".hpp")

# Folder -> what it may include beside itself, lowest first. A folder may include everything left of it.
ORDER = {
    "protocol": [["base"], ["identity"], ["wire"], ["rules", "config"], ["session"]],
    "node": [["core"], ["transport", "compress", "outer", "model_folder", "data"],
             ["control", "exchange", "trainer", "log", "metrics"], ["app", "cli"]],
    "coordinator": [["core"], ["store"], ["server", "admin"], ["app"]],
}
# Header -> folders that may see it.
FENCES = [
    (re.compile(r"<(torch|ATen|c10)/"), ["node/trainer/torch", "tests"]),
    (re.compile(r"<zmq(_addon)?\.h(pp)?>"), ["node/transport", "tests"]),
    (re.compile(r"<sqlite3\.h>"), ["coordinator/store", "tests"]),
]
PURE = ["node/core", "coordinator/core", "protocol/wire", "protocol/rules"]
IMPURE = re.compile(r"<(boost/asio.*|thread|mutex|random|future|condition_variable|fstream|sys/socket\.h)>")
CLOCK = re.compile(r"\b(steady_clock|system_clock)::now\(|\bstd::random_device\b|\btime\(nullptr\)")


def tracked():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    names = [name for name in listing.decode().split("\0") if name]
    if not names:  # an unpacked archive
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file() and not {"build", ".venv", ".cache", ".git"} & set(p.parts)]
    return [name for name in names if (ROOT / name).is_file()]


def lines_of(name):
    return (ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines()


def level(top, folder):
    for height, folders in enumerate(ORDER[top]):
        if folder in folders:
            return height
    return None


def check_include(name, target):
    """Why `name` may not include "target", or None."""
    parts, to = name.split("/"), target.split("/")
    if to[0] not in ORDER or parts[0] not in ORDER:
        return f"includes are rooted at the repository: {target}" if parts[0] in ORDER and "/" not in target and not target.endswith(".pb.h") else None
    if to[0] != parts[0]:
        return None if to[0] == "protocol" else f"{parts[0]} may not know {to[0]}"
    if len(parts) < 3 or len(to) < 3 or parts[1] == to[1]:
        return None
    mine, theirs = level(parts[0], parts[1]), level(to[0], to[1])
    if mine is None:
        return f"{parts[0]}/{parts[1]} has no place in the order of folders (tests/lint/lint.py)"
    if theirs is None or theirs > mine:
        return f"{parts[0]}/{parts[1]} may not include {to[0]}/{to[1]}"
    return None


def rule_includes(names):
    for name in names:
        if not name.endswith(CODE):
            continue
        for number, line in enumerate(lines_of(name), 1):
            own = re.match(r'#include "([^"]+)"', line)
            if own:
                problem = check_include(name, own.group(1))
                if problem:
                    yield name, number, problem
            if line.startswith("#include"):
                for header, folders in FENCES:
                    if header.search(line) and not name.startswith(tuple(folder + "/" for folder in folders)):
                        yield name, number, f"{line.split()[1]} outside {folders[0]}"
            if name.startswith(tuple(folder + "/" for folder in PURE)):
                if IMPURE.search(line) and line.startswith("#include"):
                    yield name, number, f"a pure folder includes {line.split()[1]}"
                if CLOCK.search(line.split("//")[0]):
                    yield name, number, "a pure folder looks at a clock or a random device"


def conditions(text):
    """(line, condition) of every if, while, switch: what stands between the outer parentheses."""
    for match in re.finditer(r"\b(if|while|switch)\s*(?:constexpr\s*)?\(", text):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        yield text.count("\n", 0, match.start()) + 1, text[match.end():at - 1]


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)
    return re.sub(r"//[^\n]*", "", text)


def rule_coroutines(names):
    for name in names:
        if not name.endswith(CODE):
            continue
        text = without_comments((ROOT / name).read_text(errors="replace"))
        for number, condition in conditions(text):
            # A lambda in a condition is a function of its own; our style has none.
            if "co_await" in condition:
                yield name, number, "co_await in a condition: bind the result first"
        if not name.startswith("tests/") and pathlib.Path(name).name != "main.cpp":
            for number, line in enumerate(text.splitlines(), 1):
                if re.search(r"\basio::detached\b|[(,]\s*detached\b", line):
                    yield name, number, "detached: only main may let a coroutine go"


def fields_of(text):
    """{(message, number): field} and {message: reserved numbers} of one .proto file."""
    fields, reserved, stack = {}, {}, []
    for line in without_comments(text).splitlines():
        opened = re.match(r"\s*(message|enum|oneof)\s+(\w+)\s*\{", line)
        if opened:
            stack.append(opened.group(2) if opened.group(1) != "oneof" else "")
        path = ".".join(part for part in stack if part)
        for spec in re.findall(r"^\s*reserved\s+([\d,\s to]+);", line):
            for part in spec.split(","):
                ends = [int(n) for n in part.split("to")]
                reserved.setdefault(path, set()).update(range(ends[0], ends[-1] + 1))
        field = re.search(r"(\w+)\s*=\s*(\d+)\s*(?:\[[^\]]*\])?;", line)
        if field and path:
            fields[(path, int(field.group(2)))] = field.group(1)
        stack = stack[:len(stack) - (line.count("}"))] if line.count("}") else stack
    return fields, reserved


def rule_numbers(names):
    golden = ROOT / "tests" / "golden" / "message_numbers.txt"
    now, reserved = {}, {}
    for name in names:
        if name.endswith(".proto"):
            fields, gone = fields_of((ROOT / name).read_text())
            now.update(fields)
            reserved.update(gone)
    if "--write" in sys.argv:
        golden.write_text("".join(f"{message} {number} {field}\n" for (message, number), field in sorted(now.items())))
    seen = {}
    if golden.exists():
        for line in golden.read_text().splitlines():
            message, number, field = line.split()
            seen[(message, int(number))] = field
    for key, field in seen.items():
        if key not in now and key[1] not in reserved.get(key[0], set()):
            yield str(golden.relative_to(ROOT)), 0, f"field {field} = {key[1]} of {key[0]} is gone and its number is not reserved"
        elif key in now and now[key] != field:
            yield str(golden.relative_to(ROOT)), 0, f"number {key[1]} of {key[0]} was {field} and is {now[key]} now"
    for key in now:
        if key not in seen:
            yield str(golden.relative_to(ROOT)), 0, f"{now[key]} = {key[1]} of {key[0]} is not listed: lint.py numbers --write"


def rule_places(names):
    # Written so that this file does not match itself.
    path = re.compile(r"(?<![\w.$}])/(?:home|root|work|Users)/[\w.-]+/[\w.-]+")
    for name in names:
        if name.endswith((".png", ".svg", ".bin", ".pem")):
            continue
        for number, line in enumerate(lines_of(name), 1):
            if path.search(line):
                yield name, number, "a path of one machine"
            if "CMAKE_CXX_" + "FLAGS" in line and not name.startswith(("docs/", "tests/lint/")) and name != "CONTRIBUTING.md":
                yield name, number, "flags live in cmake/SkerryTargets.cmake"


RULES = {"includes": rule_includes, "coroutines": rule_coroutines, "numbers": rule_numbers, "places": rule_places}


def main():
    wanted = [word for word in sys.argv[1:] if not word.startswith("--")] or list(RULES)
    names, bad = tracked(), 0
    for rule in wanted:
        for name, number, problem in RULES[rule](names):
            print(f"{name}:{number}: {problem}")
            bad += 1
    print(f"lint: {len(names)} files, {bad} problems")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
