"""What a run may never take back, written down as it is seen: decisions, digests of states, credited positions.

`Record` is told what disks and programs say, at any time and in any order. It raises `Broken` when two of them differ,
when a decision is gone, when a position is credited twice, or when the coordinator's books have a hole. It computes
the hash chain itself and reads the coordinator's database from a copy, so it shares no code with what it checks.
"""
import bisect
import contextlib
import hashlib
import pathlib
import shutil
import sqlite3
import struct
import tempfile


class Broken(Exception):
    """A promise of the run does not hold."""


def need(condition, text):
    if not condition:
        raise Broken(text)


def tagged_hash(tag, fields):
    return hashlib.sha256(tag.encode() + b"\0" + fields).digest()


class Reader:
    """Little-endian integers and fixed blobs, read straight down."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        need(self.at + size <= len(self.data), "a decision's body is cut short")
        part = self.data[self.at:self.at + size]
        self.at += size
        return part

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]


def parse_decision(body):
    """The canonical body of docs/wire-format.md. Credits are (node, weight, [(lease, from, to)])."""
    tag = b"skerry/decision/1\0"
    need(body.startswith(tag), "a decision's body has another tag")
    r = Reader(body[len(tag):])
    run = r.take(16)
    step, kind, term, attempt = r.number("Q"), r.number("B"), r.number("Q"), r.number("I")
    plan = r.take(32)
    roots = [r.take(32) for _ in range(r.number("I"))]
    r.take(4 + 4 + 4 + 8)  # fragment, outer hyper-parameters, rollback target
    credits = []
    for _ in range(r.number("I")):
        node, _contribution, weight = r.take(32), r.take(32), r.number("Q")
        credits.append((node.hex(), weight, [(r.number("Q"), r.number("Q"), r.number("Q")) for _ in range(r.number("I"))]))
    tokens, h = r.number("Q"), r.take(32)
    need(r.at == len(r.data), "a decision's body is too long")
    return {"run": run, "step": step, "kind": kind, "term": term, "attempt": attempt, "plan": plan, "roots": roots,
            "credits": credits, "tokens": tokens, "h": h}


@contextlib.contextmanager
def copied(path):
    """A copy of a coordinator's database, opened; it locks its own. Of one that writes nothing meanwhile."""
    with tempfile.TemporaryDirectory(prefix="skerry-books-") as folder:
        for part in ("", "-wal"):
            if pathlib.Path(f"{path}{part}").exists():
                shutil.copy(f"{path}{part}", f"{folder}/run.db{part}")
        with contextlib.closing(sqlite3.connect(f"{folder}/run.db")) as db:
            yield db


class Ranges:
    """Disjoint positions [lo, hi), merged where they touch."""

    def __init__(self):
        self.lows, self.highs = [], []

    def add(self, lo, hi, what):
        need(lo < hi, f"{what}: empty range [{lo}, {hi})")
        at = bisect.bisect_left(self.lows, lo)
        if at > 0:
            need(self.highs[at - 1] <= lo, f"{what}: [{lo}, {hi}) was there before")
        if at < len(self.lows):
            need(hi <= self.lows[at], f"{what}: [{lo}, {hi}) was there before")
        self.lows.insert(at, lo)
        self.highs.insert(at, hi)
        for left in (at, at - 1):
            if 0 <= left < len(self.lows) - 1 and self.highs[left] == self.lows[left + 1]:
                self.highs[left] = self.highs.pop(left + 1)
                del self.lows[left + 1]

    def copy(self):
        out = Ranges()
        out.lows, out.highs = list(self.lows), list(self.highs)
        return out


class Record:
    def __init__(self):
        self.states = {}          # step -> (who said it first, digest)
        self.chain = {}           # step -> (who, h after it)
        self.heads = {}           # who -> highest head it has shown
        self.term = 0
        self.credited, self.credited_steps = Ranges(), 0
        self.told = set()         # (who, step) of all digests: what is told twice counts once

    @property
    def head(self):
        """Number of decisions that anyone has shown."""
        return max(self.chain, default=-1) + 1

    def _same(self, seen, step, who, value, what):
        first = seen.setdefault(step, (who, value))
        need(first[1] == value, f"{what} {step} differs: {first[0]} had {first[1]}, {who} has {value}")

    def see_states(self, who, states):
        """states: [(step, digest)]."""
        for step, digest in states:
            self._same(self.states, step, who, digest, "the state of step")
            self.told.add((who, step))

    def see_chain(self, who, decisions):
        for step, h in decisions:
            self._same(self.chain, step, who, h, "decision")

    def see_head(self, who, head):
        """A head that was shown never falls, not over a kill either."""
        need(head >= self.heads.get(who, 0), f"{who} fell back from step {self.heads.get(who)} to {head}")
        self.heads[who] = head

    def see_disk(self, who, answer):
        """What `skerry verify` recomputed from a node's folder."""
        need(answer["ok"], f"{who}: {answer['problems']}")
        steps = [state["step"] for state in answer["states"]]
        need(steps == list(range(answer["snapshot"], answer["head"] + 1)), f"{who}: a gap in {steps}")
        self.see_states(who, [(state["step"], state["digest"]) for state in answer["states"]])
        self.see_chain(who, [(one["step"], one["h"]) for one in answer["decisions"]])
        self.see_head(who, answer["head"])

    def see_database(self, path):
        """The books of a coordinator that does not run."""
        with copied(path) as db:
            need(db.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the coordinator's database is damaged")
            self._books(db)

    def _books(self, db):
        manifest, = db.execute("SELECT manifest FROM run").fetchone()
        term, tail = db.execute("SELECT term, tail FROM meta").fetchone()
        need(term >= self.term, f"the term fell from {self.term} to {term}")
        self.term = term
        h, tokens, last = tagged_hash("skerry/chain/0", hashlib.sha256(manifest).digest()), 0, -1
        for step, body in db.execute("SELECT step, body FROM decision ORDER BY step"):
            d = parse_decision(body)
            need(step == last + 1 == d["step"], f"after decision {last} comes {step}")
            h = tagged_hash("skerry/chain/1", h + struct.pack("<QB", step, d["kind"]) + d["plan"]
                            + struct.pack("<I", len(d["roots"])) + b"".join(d["roots"]) + struct.pack("<Q", d["tokens"]))
            need(h == d["h"], f"decision {step} does not continue the chain")
            self._same(self.chain, step, "the coordinator's disk", h.hex(), "decision")
            gained = sum(weight for _, weight, _ in d["credits"])
            need(d["tokens"] == tokens + gained, f"tokens after decision {step}: {d['tokens']}, not {tokens} + {gained}")
            tokens, last = d["tokens"], step
            if step == self.credited_steps:
                for _node, _weight, segments in d["credits"]:
                    for _lease, lo, hi in segments:
                        self.credited.add(lo, hi, f"credit of step {step}")
                self.credited_steps += 1
        need(last + 1 >= self.head, f"the coordinator's disk has {last + 1} decisions, {self.head} were seen")
        self.see_head("the coordinator's disk", last + 1)
        self._no_hole(db, tail)

    def _no_hole(self, db, tail):
        """Every position below the tail is credited, out on a lease, or free: exactly one of them."""
        whole = self.credited.copy()
        for done, hi in db.execute("SELECT done, hi FROM lease WHERE done < hi"):
            whole.add(done, hi, "a lease")
        for lo, hi in db.execute("SELECT lo, hi FROM free_range"):
            whole.add(lo, hi, "a free range")
        covered = list(zip(whole.lows, whole.highs))
        need(covered in ([], [(0, tail)]), f"positions below {tail} are not all accounted for: {covered[:5]}")
