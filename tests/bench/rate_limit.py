#!/usr/bin/env python3
"""Bytes between two nodes, one of which may send (or receive) 2 Mbit/s, in a minute in which there is always something to send.

usage: rate_limit.py [--direction up|down] [--seconds 60] [--rate-mbit 2]    exits 1 if it is off by more than 5 %

A node makes a log of some 50 MB with a peer, then a third one joins and fetches it from that node alone, through a relay that
counts every byte of the TCP connection. The sender is limited, or the receiver. Needs SKERRY_BIN and about two minutes.
"""
import argparse
import pathlib
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
from harness import prepare_run, trainer_program  # noqa: E402
from local_cluster import Cluster, wait_until  # noqa: E402


class Relay:
    """Forwards connections to a port and counts what comes back from it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.target, self.counted = self.listener.getsockname()[1], None, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source, sink, counts):
        try:
            while data := source.recv(65536):
                self.counted += len(data) if counts else 0
                sink.sendall(data)
        except OSError:
            pass
        sink.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--direction", choices=("up", "down"), default="up")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate-mbit", type=float, default=2)
    options = parser.parse_args()
    need = 2 * options.seconds * options.rate_mbit * 125_000
    with tempfile.TemporaryDirectory(prefix="skerry-upload-") as folder, Cluster(folder) as cluster:
        relay = Relay()
        token = prepare_run(cluster, local_steps=1, hidden=256, inner=512, layers=4, snapshot_every=100_000, durable_copies=1)
        one, two, three = (cluster.node(name) for name in ("node-1", "node-2", "node-3"))
        for node in (one, two, three):
            node.trainer = trainer_program()
        one.join(token, "--advertise", f"127.0.0.1:{relay.port}")
        wait_until(one.status, 30, "node-1")
        relay.target = one.status()["data_port"]
        two.join(token)

        entries = pathlib.Path(one.dir) / "run"
        wait_until(lambda: sum(f.stat().st_size for f in entries.rglob("*") if f.is_file()) > need + 40e6, 240, "a long log")
        cluster.coordinator.run_verb("pause", "reef")
        time.sleep(3)
        two.stop()
        limited, rate = one if options.direction == "up" else three, f"{options.rate_mbit:g}Mbit"
        if limited is one:
            one.ask("limits", "set", "--up", rate)
        else:
            three.dir.mkdir()
            (three.dir / "node.toml").write_text(f'schema = "skerry.node/1"\nname = "node-3"\n[limits]\ndown = "{rate}"\n')
        three.join(token, listen="none")
        start = relay.counted
        wait_until(lambda: relay.counted > start + 300_000, 60, "a node that fetches the log")
        begun, bytes_before = time.monotonic(), relay.counted
        slowest_answer = 0.0
        while time.monotonic() - begun < options.seconds:
            asked = time.monotonic()
            assert one.status()["connected"], "control goes on beside it"
            slowest_answer = max(slowest_answer, time.monotonic() - asked)
            time.sleep(0.5)
        seconds, sent = time.monotonic() - begun, relay.counted - bytes_before
        assert three.status()["head"] < one.status()["head"], "there was something to send until the end"
        measured = sent * 8 / seconds / 1e6
        off = measured / options.rate_mbit - 1
        print(f"value: {measured:.3f} Mbit/s over {seconds:.0f} s with a limit of {rate} {options.direction} ({100 * off:+.1f} %)", file=sys.stderr)
        limited.ask("limits", "set", f"--{options.direction}", "none")
        wait_until(lambda: three.head() >= one.head(), 60, "the rest, without the limit")
        return 0 if abs(off) <= 0.05 else 1


if __name__ == "__main__":
    sys.exit(main())
