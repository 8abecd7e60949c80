"""Programs of other protocol versions: an older minor joins, another major is told why once, and a node that is refused
ends with the status that its service does not restart on."""
import json
import os
import socket
import ssl
import struct
import threading
import unittest

from harness import RUN, ProcessTest, error_of
from test_strangers import self_signed, token_bytes

HELLO, WELCOME, REFUSAL, LOOK = 16, 17, 18, 38  # fields of ControlFrame


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def number_field(field, value):
    return varint(field << 3) + varint(value)


def bytes_field(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def fields_of(data):
    """{field: value} of one Protobuf message; of repeated ones the last."""
    out, at = {}, 0

    def take():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = take()
        if key & 7 == 0:
            out[key >> 3] = take()
        elif key & 7 == 2:
            size = take()
            out[key >> 3] = data[at:at + size]
            at += size
        else:
            raise ValueError(f"wire type {key & 7}")
    return out


def frame(*fields):
    body = b"".join(fields)
    return struct.pack("<I", len(body)) + body


def receive(connection):
    def exactly(count):
        data = b""
        while len(data) < count:
            more = connection.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data
    return fields_of(exactly(struct.unpack("<I", exactly(4))[0]))


def serve(listener, context, answer):
    """Answers and closes one connection after the other, until the listener is shut down."""
    while True:
        try:
            connection = context.wrap_socket(listener.accept()[0], server_side=True)
        except OSError:
            return
        answer(connection)
        connection.close()


class OtherVersions(ProcessTest):
    def hello(self, low, high, name):
        """What the coordinator answers to a program that speaks these versions: its frame, and what comes after."""
        key, certificate = self_signed(self.folder, name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["skerry/1"])
        context.load_cert_chain(certificate, key)
        raw = token_bytes(self.token)
        hello = (number_field(1, low) + number_field(2, high) + bytes_field(3, RUN.encode()) + bytes_field(4, name.encode()) +
                 bytes_field(7, os.urandom(32)) + bytes_field(9, raw[1:9]) + bytes_field(10, raw[25:41]) + bytes_field(12, os.urandom(16)))
        connection = context.wrap_socket(socket.create_connection(("127.0.0.1", self.cluster.coordinator.port), timeout=10))
        self.addCleanup(connection.close)
        connection.settimeout(15)
        connection.sendall(frame(number_field(4, 1), bytes_field(HELLO, hello)))
        return receive(connection), connection

    def test_older_minor_joins_in_its_own_version(self):
        self.token = self.prepare()
        answer, _ = self.hello(0x00010000, 0x00010000, "older")
        self.assertIn(WELCOME, answer)
        self.assertEqual(fields_of(answer[WELCOME])[1], 0x00010000)

    def test_an_older_minor_is_told_that_the_run_has_steps_that_it_does_not_know(self):
        self.start_run(nodes=2)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(2)
        answer, connection = self.hello(0x00010000, 0x00010000, "older")
        self.assertIn(WELCOME, answer)
        connection.close()
        refused = coordinator.ask("run", "config", "reef", "outer.lr=0.25", check=False)
        self.assertEqual(error_of(refused), (12, "VERSION_MISMATCH"))
        self.assertIn("older speaks protocol 1.0", refused.stderr)
        coordinator.ask("nodes", "revoke", "older")
        step = json.loads(coordinator.ask("run", "config", "reef", "outer.lr=0.25", "--json").stdout)["step"]
        coordinator.wait_head(step + 1)
        answer, _ = self.hello(0x00010000, 0x00010000, "older-too")
        refusal = fields_of(answer[REFUSAL])
        self.assertEqual(refusal[1], b"VERSION_MISMATCH")
        self.assertIn(f"step {step} of this run".encode(), refusal[2])

    def test_newer_minor_joins_in_ours(self):
        self.token = self.prepare()
        answer, _ = self.hello(0x00010000, 0x00010063, "newer")
        self.assertEqual(fields_of(answer[WELCOME])[1], 0x00010003)

    def test_another_major_is_told_why_once(self):
        self.token = self.prepare()
        for low, high, fix in ((0x00020000, 0x00020003, b"newer skerry-coordinator"), (0x00000001, 0x00000009, b"newer skerry-node")):
            answer, connection = self.hello(low, high, f"major-{high}")
            refusal = fields_of(answer[REFUSAL])
            self.assertEqual(refusal[1], b"VERSION_MISMATCH")
            self.assertIn(b"1.0 to 1.3", refusal[2])
            self.assertIn(f"{low >> 16}.{low & 0xFFFF} to {high >> 16}.{high & 0xFFFF}".encode(), refusal[2])
            self.assertIn(fix, refusal[3])
            with self.assertRaises(EOFError):
                receive(connection)  # then the connection ends

    def in_the_place_of(self, coordinator):
        """A server's context with its keys."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["skerry/1"])
        chain = self.folder / "chain.pem"
        chain.write_text((coordinator.dir / "service.pem").read_text() + (coordinator.dir / "root.pem").read_text())
        context.load_cert_chain(chain, coordinator.dir / "service-key.pem")
        return context

    def test_join_asks_all_the_same_where_the_coordinator_knows_no_looks(self):
        token = self.prepare()
        coordinator = self.cluster.coordinator
        coordinator.stop()
        context = self.in_the_place_of(coordinator)
        first, joining = [], threading.Event()

        def answer(connection):  # not at all: 1.2 closes on a message that it does not know
            kind = next(number for number in receive(connection) if number >= HELLO)
            first.append(kind)
            if kind == HELLO:
                joining.set()

        with socket.create_server(("127.0.0.1", coordinator.port)) as listener:
            threading.Thread(target=serve, args=(listener, context, answer), daemon=True).start()
            text, process = self.at_a_terminal("n", token)
            self.assertEqual(process.wait(30), 0, text)
            for word in (f"Run        {RUN} at 127.0.0.1:{coordinator.port}", "older than protocol 1.3", "no code is downloaded", "Join? [Y/n]"):
                self.assertIn(word, text)
            self.assertEqual(first, [LOOK])
            self.assertFalse((self.folder / "asked").exists())
            self.at_a_terminal("y", token, "--trainer", str(self.trainer()))
            self.assertTrue(joining.wait(30), "a Hello")
            listener.shutdown(socket.SHUT_RDWR)
        self.assertTrue((self.folder / "asked" / "node.toml").exists())

    def test_a_refused_node_ends_and_dials_no_more(self):
        self.token = self.prepare()
        coordinator = self.cluster.coordinator
        node, = self.join(self.token, "node-1")
        self.wait_current(node)
        node.stop()
        coordinator.stop()
        # In its place: a coordinator of a version that the node does not speak.
        context = self.in_the_place_of(coordinator)
        dialled = []

        def answer(connection):
            hello = fields_of(receive(connection)[HELLO])
            dialled.append((hello[1], hello[2]))
            refusal = (bytes_field(1, b"VERSION_MISMATCH") + bytes_field(2, b"this coordinator speaks protocol 2.0, the node 1.0 to 1.3") +
                       bytes_field(3, b"install a newer skerry-node"))
            connection.sendall(frame(number_field(4, 1), bytes_field(REFUSAL, refusal)))

        with socket.create_server(("127.0.0.1", coordinator.port)) as listener:
            thread = threading.Thread(target=serve, args=(listener, context, answer), daemon=True)
            thread.start()
            node.start()
            self.assertEqual(node.wait(30), 12)
            listener.shutdown(socket.SHUT_RDWR)
        self.assertEqual(dialled, [(0x00010000, 0x00010003)])
        self.assertIn("speaks protocol 2.0", node.tail(5))


if __name__ == "__main__":
    unittest.main()
