#!/usr/bin/env python3
"""protocol/wire/frame_rules.cpp must know every list and sub-message of the .proto files.

A field it does not know would count as one of a later version: a few pass, many are refused.
"""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from field_numbers import ROOT, read_protos  # noqa: E402

RULES = ROOT / "protocol/wire/frame_rules.cpp"


def wanted():
    """{message: (last number, {number: 'kind'})} of the .proto files."""
    fields, _ = read_protos()
    names = {m for path in (ROOT / "protocol/proto").rglob("*.proto")
             for m in re.findall(r"^message (\w+)", path.read_text(), re.M)}
    out = {name: [0, {}] for name in names}
    for (message, number), what in fields.items():
        words = what.split()
        out[message][0] = max(out[message][0], number)
        if words[-2] in names:
            out[message][1][number] = f"{words[0] == 'repeated'} &k{words[-2]}"
        elif words[0] == "repeated":
            out[message][1][number] = "True bytes" if words[-2] in ("bytes", "string") else "True packed"
    return {name: tuple(rule) for name, rule in out.items()}


def written():
    """The same of frame_rules.cpp."""
    text = RULES.read_text()
    lists = {}
    for name, body in re.findall(r"FieldRule k(\w+)Fields\[\] = \{(.*?)\};", text, re.S):
        lists[name] = {}
        for item in re.findall(r"\{([^{}]+)\}", body):
            parts = [part.strip() for part in item.split(",")]
            kind = "packed" if parts[-1] == "true" else parts[2] if len(parts) > 2 else "bytes"
            lists[name][int(parts[0])] = f"{parts[1] != '1'} {kind}"
    out = {name: (int(last), lists.get(fields, {}))
           for name, last, fields in re.findall(r"MessageRule k(\w+) = \{(\d+), k(\w+)Fields\};", text)}
    out.update({name: (int(last), {}) for name, last in re.findall(r"MessageRule k(\w+) = flat\((\d+)\);", text)})
    return out


def main():
    want, have = wanted(), written()
    errors = [f"{name}: rule is {have.get(name)}, the .proto wants {rule}" for name, rule in sorted(want.items())
              if have.get(name) != rule]
    print("\n".join(errors) if errors else f"{len(want)} messages, every rule fits")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
