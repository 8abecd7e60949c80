"""A strict reader of Prometheus' text format, written against its description and not against our writer."""
import re
import urllib.request

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|Inf)|NaN")


class PageError(AssertionError):
    pass


def fetch(port, path="/metrics", host="127.0.0.1"):
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=20) as answer:
        return answer.headers, answer.read().decode()


def parse(text):
    """{name: {"type", "help", "samples": {(suffix, ((label, value), ...)): number}}}; PageError on anything odd."""
    families, current = {}, None
    if not text.endswith("\n"):
        raise PageError("the last line has no end")
    for number, line in enumerate(text.split("\n")[:-1], 1):
        def fail(why):
            raise PageError(f"line {number}: {why}: {line!r}")
        if line.startswith("# HELP "):
            name, _, help_text = line[7:].partition(" ")
            if not NAME.fullmatch(name) or name in families:
                fail("a bad or repeated name")
            if not help_text:
                fail("no help")
            current = families[name] = {"help": help_text, "type": None, "samples": {}}
            current_name = name
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            if current is None or name != current_name or current["type"] or kind not in ("counter", "gauge", "histogram"):
                fail("TYPE out of place")
            current["type"] = kind
        elif line.startswith("#") or not line:
            fail("neither HELP nor TYPE nor a sample")
        else:
            found = NAME.match(line)
            if not found or current is None or current["type"] is None:
                fail("a sample out of place")
            suffix = found.group(0)[len(current_name):] if found.group(0).startswith(current_name) else None
            allowed = ("_bucket", "_sum", "_count") if current["type"] == "histogram" else ("",)
            if suffix not in allowed:
                fail("a sample of another family")
            rest, labels = line[found.end():], []
            if rest.startswith("{"):
                at = 1
                while rest[at] != "}":
                    label = LABEL.match(rest, at)
                    if not label:
                        fail("a bad label")
                    labels.append((label.group(1), label.group(2).replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")))
                    at = label.end() + (rest[label.end()] == ",")
                rest = rest[at + 1:]
            if len({key for key, _ in labels}) != len(labels):
                fail("a label twice")
            if not rest.startswith(" ") or not NUMBER.fullmatch(rest[1:]):
                fail("no number")
            key = (suffix, tuple(sorted(labels)))
            if key in current["samples"]:
                fail("the same sample twice")
            current["samples"][key] = float(rest[1:].replace("Inf", "inf"))
    for name, family in families.items():
        check_family(name, family)
    return families


def check_family(name, family):
    if family["type"] is None:
        raise PageError(f"{name} has no type")
    if family["type"] == "counter" and not name.endswith("_total"):
        raise PageError(f"{name}: a counter without _total")
    if family["type"] != "counter" and name.endswith("_total"):
        raise PageError(f"{name}: _total, and no counter")
    if family["type"] == "counter" and any(value < 0 for value in family["samples"].values()):
        raise PageError(f"{name}: below zero")
    if family["type"] != "histogram":
        return
    series = {}
    for (suffix, labels), value in family["samples"].items():
        rest = tuple(label for label in labels if label[0] != "le")
        bound = dict(labels).get("le")
        series.setdefault(rest, {})[bound if suffix == "_bucket" else suffix] = value
    for labels, values in series.items():
        buckets = sorted((float(bound.replace("Inf", "inf")), value) for bound, value in values.items() if not bound.startswith("_"))
        counts = [value for _, value in buckets]
        if counts != sorted(counts) or buckets[-1][0] != float("inf") or counts[-1] != values["_count"]:
            raise PageError(f"{name}{dict(labels)}: buckets do not add up")


def value(families, name, **labels):
    """The one sample of the family with these labels among others."""
    found = [number for (suffix, have), number in families[name]["samples"].items()
             if not suffix and all(dict(have).get(key) == text for key, text in labels.items())]
    if len(found) != 1:
        raise PageError(f"{name}{labels}: {len(found)} samples")
    return found[0]
