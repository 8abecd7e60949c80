#!/usr/bin/env python3
"""The rules that a compiler does not hold: which folder may include which, and a few fences.

usage: includes.py [ROOT]    prints file:line: what, exits 1 if there is any
"""
import re
import sys
from pathlib import Path

# Folder -> folders of ours it may include, besides itself.
BASE, IDENTITY, WIRE = "protocol/base", "protocol/identity", "protocol/wire"
PURE = [BASE, IDENTITY, WIRE, "protocol/rules"]
PROTOCOL = PURE + ["protocol/session", "protocol/config", "protocol/admin", "protocol/observe"]
NODE_LOW = ["node/core", "node/config", "node/transport", "node/compress", "node/outer", "node/model_folder", "node/data", "node/tokenizer"]
NODE_MID = ["node/control", "node/exchange", "node/trainer", "node/log", "node/metrics"]
COORDINATOR_LOW = ["coordinator/core", "coordinator/store", "coordinator/shards"]
ARROWS = {
    BASE: [],
    IDENTITY: [BASE],
    # wire hashes and signs what it writes; rules hash bodies: both through identity.
    WIRE: [BASE, IDENTITY],
    "protocol/rules": [BASE, IDENTITY, WIRE],
    "protocol/session": [BASE, IDENTITY, WIRE],
    "protocol/config": [BASE, IDENTITY, WIRE],
    # Administration requests: the coordinator and the agent answer them, the command line asks.
    "protocol/admin": [BASE, IDENTITY, WIRE, "protocol/session", "protocol/config"],
    # What a program shows of itself: metrics, stacks, bundles.
    "protocol/observe": [BASE, IDENTITY, WIRE, "protocol/config"],
    "node/core": PURE,
    "node/config": PROTOCOL,
    "node/transport": PROTOCOL + ["node/core"],
    "node/compress": PURE + ["node/core"],
    "node/outer": PURE + ["node/core", "node/compress"],
    "node/model_folder": PURE + ["protocol/config", "node/core"],
    "node/tokenizer": [BASE, "protocol/config"],
    "node/data": PURE + ["protocol/config", "node/core", "node/tokenizer"],
    "node/control": PROTOCOL + NODE_LOW,
    "node/exchange": PROTOCOL + NODE_LOW + ["node/log"],
    "node/trainer": PROTOCOL + NODE_LOW,
    "node/log": PROTOCOL + NODE_LOW,
    "node/metrics": PROTOCOL + NODE_LOW,
    # libtorch and the line protocol only: no Protobuf, OpenSSL or ZeroMQ in the process that loads libtorch.
    "node/trainer/torch": [BASE, "node/trainer", "node/model_folder", "node/data"],
    "node/app": PROTOCOL + ["protocol/admin"] + NODE_LOW + NODE_MID,
    # Commands on files (verify, export, data prepare) use the folders that own these files.
    # `generate` starts a trainer.
    "node/cli": PROTOCOL + ["node/config", "node/log", "node/model_folder", "node/data", "node/tokenizer", "node/outer", "node/compress", "node/trainer"],
    "coordinator/core": PURE,
    "coordinator/store": PURE + ["protocol/observe", "coordinator/core"],
    "coordinator/shards": PROTOCOL + ["coordinator/core"],
    "coordinator/server": PROTOCOL + COORDINATOR_LOW,
    "coordinator/admin": PROTOCOL + COORDINATOR_LOW,
    "coordinator/app": PROTOCOL + COORDINATOR_LOW + ["coordinator/server", "coordinator/admin"],
}

# Third party header -> folders that may include it.
FENCES = [
    (re.compile(r"^(torch|ATen|c10|caffe2)/"), ["node/trainer/torch"], "libtorch"),
    (re.compile(r"^(zmq\.h|zmq\.hpp|zmq_.*)$"), ["node/transport"], "ZeroMQ"),
    (re.compile(r"^sqlite3"), ["coordinator/store"], "SQLite"),
    (re.compile(r"^(google/protobuf/|skerry/v1/)"), [WIRE], "Protobuf"),
    (re.compile(r"^pcre2|^utf8proc"), ["node/tokenizer"], "PCRE2 and utf8proc"),
    (re.compile(r"^openssl/"), [IDENTITY, "protocol/session"], "OpenSSL"),
]
GENERATED = ["schema.hpp"]  # from coordinator/store/schema.sql
PURE_FOLDERS = ["node/core", "coordinator/core", WIRE, "protocol/rules"]
IMPURE = re.compile(r"^(boost/asio|thread|mutex|condition_variable|future|random|fstream|filesystem|iostream|"
                    r"unistd\.h|sys/|fcntl\.h|ctime|time\.h)")
# Whatever the log does to a file, a simulated disk must see.
DISK = re.compile(r"\b(fs|std::filesystem)::(?!path\b)\w+|(?<![\w>)])::(open|openat|unlink|rename|remove|stat|lstat|mkdir|rmdir|"
                  r"f?truncate|fallocate|posix_fallocate|fsync|fdatasync|p?write|p?read|mmap|flock)\b|\bstd::[io]?fstream\b")
DISK_FILE = "node/log/posix_disk.cpp"
CLOCK = re.compile(r"\b(steady_clock|system_clock|high_resolution_clock)::now\b|\brand\(\)|\bgetenv\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def code_only(text):
    """The text with comments and literals blanked, line breaks kept."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'', re.S)
    return token.sub(lambda m: "\n" * m.group(0).count("\n") + " ", text)


def folder_of(path, known):
    """The longest folder of the table that holds `path`."""
    parts = path.split("/")[:-1]
    while parts:
        if "/".join(parts) in known:
            return "/".join(parts)
        parts.pop()
    return None


def check_includes(name, text, complain):
    folder = folder_of(name, ARROWS)
    if folder is None:
        complain(1, "a folder that the table in tests/lint/includes.py does not know")
        return
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        quote, header = found.groups()
        if quote == '"' and header.split("/")[0] in ("protocol", "node", "coordinator", "tests"):
            target = folder_of(header, ARROWS) or "/".join(header.split("/")[:-1])
            if target != folder and target not in ARROWS[folder]:
                complain(number, f"{folder} may not include {target}")
        elif quote == '"' and header not in GENERATED and not header.startswith("skerry/v1/"):
            complain(number, f'"{header}" is not rooted at the repository')
        for pattern, allowed, what in FENCES:
            if pattern.match(header) and folder not in allowed:
                complain(number, f"{what} belongs to {', '.join(allowed)}")
            if pattern.match(header) and what == "OpenSSL" and name.endswith(".hpp"):
                complain(number, "OpenSSL stays in .cpp files")
        if folder in PURE_FOLDERS and IMPURE.match(header):
            complain(number, f"{folder} is pure: no <{header}>")


def end_of_parens(text, start):
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i
    return len(text)


def check_code(name, code, complain):
    line_of = lambda at: code.count("\n", 0, at) + 1
    for found in re.finditer(r"\b(if|while|switch)\s*(?:constexpr\s*)?\(", code):
        condition = code[found.end() - 1:end_of_parens(code, found.end() - 1)]
        # An init statement is not the condition, but g++ 12 is no better there.
        if re.search(r"\bco_(await|yield)\b", condition):
            complain(line_of(found.start()), "co_await in a condition: g++ 12 miscompiles it, bind the value first")
    for found in re.finditer(r"\bco_await\b([^;]*);", code):
        if re.search(r"[(,]\s*\[[^\]]+\]\s*[({]|\b[A-Z]\w*\{[^}\s]", found.group(1)):
            complain(line_of(found.start()), "a closure with captures or an aggregate as a temporary of a co_await: "
                                             "g++ 12 frees it twice, name it first")
    if not name.endswith("/main.cpp") and not name.startswith("tests/"):
        for found in re.finditer(r"\bdetached\b", code):
            complain(line_of(found.start()), "detached outside main: nobody would join it")
    if folder_of(name, ARROWS) == "node/log" and name != DISK_FILE:
        for found in DISK.finditer(code):
            complain(line_of(found.start()), f"{found.group(0)}: node/log reaches the disk by way of {DISK_FILE}")
    if folder_of(name, ARROWS) in PURE_FOLDERS:
        for found in CLOCK.finditer(code):
            complain(line_of(found.start()), f"{folder_of(name, ARROWS)} is pure: no {found.group(0)}")


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    complaints = []
    files = [p for top in ("protocol", "node", "coordinator", "tests") for p in sorted((root / top).rglob("*"))
             if p.suffix in (".hpp", ".cpp")]
    for path in files:
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8")
        complain = lambda line, what, name=name: complaints.append(f"{name}:{line}: {what}")
        if not name.startswith("tests/"):
            check_includes(name, text, complain)
        check_code(name, code_only(text), complain)
        if path.suffix == ".hpp" and "#pragma once" not in text:
            complain(1, "no #pragma once")
    print("\n".join(complaints) if complaints else f"{len(files)} files, nothing to complain about")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
