#!/usr/bin/env python3
"""Protobuf field numbers are never used for another field.

field_numbers.txt lists every field that ever was: message.number type name. A field may be removed if its number is
`reserved`; a new one is added to the list in the same change (--update appends it).
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("field_numbers.txt")
FIELD = re.compile(r"^\s*(?:(repeated|optional)\s+)?([\w.]+)\s+(\w+)\s*=\s*(\d+)\s*;")


def read_protos():
    """{(message, number): 'type name'} and {message: reserved numbers}."""
    fields, reserved = {}, {}
    for path in sorted((ROOT / "protocol/proto").rglob("*.proto")):
        message = None
        for line in path.read_text().splitlines():
            line = line.split("//")[0]
            if opened := re.match(r"^message\s+(\w+)", line):
                message = opened.group(1)
            elif listed := re.match(r"^\s*reserved\s+([\d,\s]+);", line):
                reserved.setdefault(message, set()).update(int(n) for n in listed.group(1).split(","))
            elif (field := FIELD.match(line)) and message:
                label, kind, name, number = field.groups()
                key = (message, int(number))
                if key in fields:
                    sys.exit(f"{path.name}: {message}.{number} twice")
                fields[key] = f"{label + ' ' if label else ''}{kind} {name}"
    return fields, reserved


def read_list():
    out = {}
    for line in LIST.read_text().splitlines() if LIST.exists() else []:
        place, what = line.split(" ", 1)
        message, number = place.rsplit(".", 1)
        out[(message, int(number))] = what
    return out


def main():
    fields, reserved = read_protos()
    known = read_list()
    errors = []
    for (message, number), what in known.items():
        now = fields.get((message, number))
        if now is None and number not in reserved.get(message, set()) and any(m == message for m, _ in fields):
            errors.append(f"{message}.{number} ({what}) is gone: write `reserved {number};`")
        if now is not None and now != what:
            errors.append(f"{message}.{number} was `{what}`, is `{now}`: take a new number")
    new = {k: v for k, v in fields.items() if k not in known}
    if "--update" in sys.argv:
        with LIST.open("a") as out:
            out.writelines(f"{m}.{n} {what}\n" for (m, n), what in new.items())
        new = {}
    errors += [f"{m}.{n} `{what}` is new: tests/lint/field_numbers.py --update" for (m, n), what in new.items()]
    print("\n".join(errors) if errors else f"{len(fields)} fields, no number used twice")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
