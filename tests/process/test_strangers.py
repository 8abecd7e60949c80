"""Those who may not come in: revoked nodes, foreign keys, oversized frames, bad tokens."""
import base64
import json
import pathlib
import socket
import ssl
import struct
import subprocess
import time
import unittest
import zlib

from harness import RUN, Cluster, ProcessTest, error_of, rss_kib, sanitized

LIMIT_KIB = 65536 if sanitized() else 2048  # what a stranger may make a process grow by


def self_signed(folder, name="stranger"):
    """An Ed25519 key and certificate of nobody the coordinator knows."""
    key, certificate = pathlib.Path(folder) / f"{name}.key", pathlib.Path(folder) / f"{name}.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", certificate, "-days", "1",
                    "-subj", f"/CN={name}"], check=True, capture_output=True)
    return key, certificate


def tls_connection(port, key, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))


def read_all(connection, patience=15):
    """What arrives until the other side closes; None if it does not."""
    connection.settimeout(patience)
    data = b""
    try:
        while True:
            more = connection.recv(65536)
            if not more:
                return data
            data += more
    except (TimeoutError, socket.timeout):
        return None
    except OSError:
        return data


def token_bytes(token):
    """kind and version (1), id (8), root (16), secret (16), expiry (4), CRC-32 (4); see protocol/identity/token.hpp."""
    text = token.split("#skr1_")[1].upper()
    return base64.b32decode(text + "=" * (-len(text) % 8))


def expiry_of(token):
    return struct.unpack("<I", token_bytes(token)[41:45])[0]


def with_bytes(token, at, data):
    """The token with some of its bytes replaced and a checksum that fits."""
    raw = bytearray(token_bytes(token))
    raw[at:at + len(data)] = data
    raw[45:49] = struct.pack("<I", zlib.crc32(bytes(raw[:45])))
    return token.split("#skr1_")[0] + "#skr1_" + base64.b32encode(bytes(raw)).decode().rstrip("=").lower()


class Strangers(ProcessTest):
    def test_claimed_gibibyte_frame_is_refused_in_small_memory(self):
        self.prepare()
        coordinator = self.cluster.coordinator
        key, certificate = self_signed(self.folder)
        with tls_connection(coordinator.port, key, certificate) as warm_up:
            warm_up.sendall(b"\xff\xff\xff\x7f")
            read_all(warm_up)
        before = rss_kib(coordinator.pid)
        with tls_connection(coordinator.port, key, certificate) as connection:
            connection.sendall(struct.pack("<I", 1 << 30))
            try:
                for _ in range(64):
                    connection.sendall(b"x" * 65536)
            except OSError:
                pass
            self.assertIsNotNone(read_all(connection), "the connection must be closed")
        self.assertLess(rss_kib(coordinator.pid) - before, LIMIT_KIB)
        self.assertIsNotNone(coordinator.status())

    def test_plain_tcp_garbage_and_silence_cost_nothing(self):
        self.prepare()
        coordinator = self.cluster.coordinator
        before = rss_kib(coordinator.pid)
        silent = [socket.create_connection(("127.0.0.1", coordinator.port)) for _ in range(20)]
        with socket.create_connection(("127.0.0.1", coordinator.port)) as garbage:
            garbage.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
            self.assertIsNotNone(read_all(garbage))
        self.assertLess(rss_kib(coordinator.pid) - before, LIMIT_KIB)
        for one in silent:
            one.close()
        self.assertIsNotNone(coordinator.status())

    def test_node_of_another_root_key_sends_nothing(self):
        token = self.prepare()
        with Cluster(self.folder / "other") as other:
            other.coordinator.init(name="other")
            other.coordinator.start()
            # The token names our root; its address is made to lead to the other coordinator.
            wrong = token.replace(f":{self.cluster.coordinator.port}/", f":{other.coordinator.port}/")
            node = self.cluster.node("lost")
            done = self.cluster.run("join", wrong, "--dir", node.dir, "--no-input", "--json", check=False, patience=60)
            self.assertEqual(error_of(done), (16, "WRONG_COORDINATOR"))


class Revoked(ProcessTest):
    def test_revoked_node_is_out_at_once_and_stays_out(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        node_id = nodes[1].status()["node_id"]
        coordinator.ask("nodes", "revoke", node_id)
        self.assertEqual(nodes[1].wait(30), 11)
        head = coordinator.status()["head"]
        coordinator.wait_head(head + 4)
        nodes[1].start()
        self.assertEqual(nodes[1].wait(30), 11)
        others = [nodes[0], nodes[2]]
        self.wait_all_heads(others, head + 4)
        answers = self.check_history(others, least_head=head + 4)
        self.assertFalse(self.credited_steps(answers, node_id, since=head + 1), "a revoked node is never credited")

    def test_revoked_while_frozen_on_a_live_connection(self):
        """Its connections are still open when it is revoked; what it sends after that is dropped."""
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        node_id = nodes[1].status()["node_id"]
        nodes[1].freeze()
        coordinator.ask("nodes", "revoke", node_id)
        head = coordinator.status()["head"]
        memory = rss_kib(nodes[0].pid, "RssAnon")
        nodes[1].thaw()
        self.assertEqual(nodes[1].wait(30), 11)
        coordinator.wait_head(head + 4)
        self.assertLess(rss_kib(nodes[0].pid, "RssAnon") - memory, LIMIT_KIB)
        answers = self.check_history([nodes[0], nodes[2]], least_head=head + 4)
        self.assertFalse(self.credited_steps(answers, node_id, since=head + 1))

    def test_revoked_token_admits_nobody(self):
        token = self.prepare()
        coordinator = self.cluster.coordinator
        token_id = coordinator.ask("token", "list", "--json").stdout
        for one in json.loads(token_id)["tokens"]:
            coordinator.ask("token", "revoke", one["id"])
        done = self.cluster.run("join", token, "--dir", self.folder / "late", "--no-input", "--json", check=False, patience=60)
        self.assertEqual(error_of(done), (11, "TOKEN_UNKNOWN"))


class Tokens(ProcessTest):
    def refused(self, token, status, code):
        target = self.folder / f"node-{time.monotonic_ns()}"
        done = self.cluster.run("join", token, "--dir", target, "--no-input", "--json", "--trainer", self.trainer(), check=False, patience=60)
        self.assertEqual(error_of(done), (status, code), done.stderr)

    def test_truncated(self):
        token = self.prepare()
        self.refused(token[:-8], 2, "TOKEN_INCOMPLETE")

    def test_expired(self):
        self.prepare()
        token = self.cluster.coordinator.token(RUN, ttl="1s")
        self.wait(lambda: time.time() > expiry_of(token) + 1, 15, "the token's end")
        self.refused(token, 11, "TOKEN_EXPIRED")

    def test_unknown(self):
        """A token that names our root but was never made here, and one with a wrong secret."""
        token = self.prepare()
        self.refused(with_bytes(token, 1, b"\x55" * 8), 11, "TOKEN_UNKNOWN")
        self.refused(with_bytes(token, 25, b"\x55" * 16), 11, "TOKEN_UNKNOWN")

    def test_of_another_coordinator(self):
        """A token of a coordinator with another root key, with our address in it: nothing of it is sent."""
        self.prepare()
        with Cluster(self.folder / "other") as other:
            other.coordinator.init(name="other")
            other.coordinator.start()
            other.coordinator.push_data(self.folder / "data")
            other.coordinator.create_run(self.folder / "run.toml")
            foreign = other.coordinator.token(RUN).replace(f":{other.coordinator.port}/", f":{self.cluster.coordinator.port}/")
            self.refused(foreign, 16, "WRONG_COORDINATOR")

    def test_used_up(self):
        self.prepare()
        token = self.cluster.coordinator.token(RUN, uses=1)
        node = self.join(token, "first")[0]
        self.wait_current(node)
        self.refused(token, 11, "TOKEN_USED_UP")


if __name__ == "__main__":
    unittest.main()
