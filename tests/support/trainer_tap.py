#!/usr/bin/env python3
"""A trainer that is another trainer, with a note taker in between.

Starts the program named by SKERRY_TAP_TRAINER and passes everything on, both ways, descriptors too. Of every
complete set of weights that is handed to the agent it keeps a copy: SKERRY_TAP_DIR/<pid>/<number>-<round>.f32. What the
agent asked for is in SKERRY_TAP_DIR/<pid>/requests, as the lines were.
"""
import collections
import json
import mmap
import os
import pathlib
import select
import socket
import subprocess
import sys


class Lines:
    """Cuts a byte stream into lines; descriptors belong to the line in whose first byte they came."""

    def __init__(self, connection):
        self.connection, self.rest, self.descriptors = connection, b"", []

    def receive(self):
        """Whole lines that are there now, or None at the end of the stream."""
        data, descriptors, _, _ = socket.recv_fds(self.connection, 1 << 16, 4)
        if not data:
            return None
        self.descriptors += descriptors
        *lines, self.rest = (self.rest + data).split(b"\n")
        return lines

    def take_descriptors(self):
        taken, self.descriptors = self.descriptors, []
        return taken


class Tap:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / str(os.getpid())
        self.folder.mkdir(parents=True)
        self.asked = collections.deque()
        self.window = self.local = None
        self.elements = self.round = self.number = self.covered = 0

    def request(self, line, descriptors):
        with open(self.folder / "requests", "ab") as kept:
            kept.write(line + b"\n")
        verb, _, body = line.partition(b" ")
        body = json.loads(body or b"{}")
        self.asked.append((verb.decode(), body))
        if verb == b"attach" and body["region"] == "weights":
            self.window = mmap.mmap(descriptors[0], body["elements"] * 4, prot=mmap.PROT_READ)
        if verb == b"train":
            self.round = body["round"]

    def answer(self, line):
        kind, _, body = line.partition(b" ")
        if kind not in (b"ok", b"error"):
            return
        verb, asked = self.asked.popleft()
        if kind == b"error":
            return
        if verb == "config":
            self.elements = json.loads(body)["elements"]
            self.local = bytearray(self.elements * 4)
        elif verb == "weights":
            self.keep(asked["lo"], asked["hi"])

    def keep(self, lo, hi):
        self.local[lo * 4:hi * 4] = self.window[:(hi - lo) * 4]
        self.covered = self.covered + hi - lo if lo else hi
        if hi == self.elements and self.covered == self.elements:
            part = self.folder / "part"
            part.write_bytes(self.local)
            part.rename(self.folder / f"{self.number:06d}-{self.round}.f32")
            self.number += 1


def send(connection, line, descriptors):
    data = line + b"\n"
    if descriptors:
        data = data[socket.send_fds(connection, [data], descriptors):]
        for descriptor in descriptors:
            os.close(descriptor)
    connection.sendall(data)


def main():
    ours = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
    near, far = socket.socketpair()
    command = [os.environ["SKERRY_TAP_TRAINER"], *sys.argv[1:]]
    command[command.index("--fd") + 1] = str(far.fileno())
    child = subprocess.Popen(command, pass_fds=[far.fileno()])
    far.close()
    tap = Tap(os.environ["SKERRY_TAP_DIR"])
    agent, trainer = Lines(ours), Lines(near)
    while True:
        for ready in select.select([ours, near], [], [])[0]:
            source, target = (agent, near) if ready is ours else (trainer, ours)
            lines = source.receive()
            if lines is None:
                near.close()
                return child.wait(10)
            for line in lines:
                if source is agent:
                    carries = source.take_descriptors() if line.startswith(b"attach ") else []
                    tap.request(line, carries)
                    send(target, line, carries)
                else:
                    tap.answer(line)
                    send(target, line, [])


if __name__ == "__main__":
    sys.exit(main())
