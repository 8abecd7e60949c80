#!/usr/bin/env python3
"""The lints find what they are for: each case is a file that must be complained about, or must not be."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

LINT = Path(__file__).with_name("includes.py")


def complaints(name, text):
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        done = subprocess.run([sys.executable, LINT, root], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode else ""


class Lints(unittest.TestCase):
    def finds(self, name, text, what):
        self.assertIn(what, complaints(name, text))

    def accepts(self, name, text):
        self.assertEqual(complaints(name, text), "")

    def test_arrows(self):
        self.finds("protocol/base/a.cpp", '#include "protocol/wire/limits.hpp"\n', "may not include protocol/wire")
        self.finds("node/core/a.cpp", '#include "node/log/log.hpp"\n', "may not include node/log")
        self.finds("node/app/a.cpp", '#include "coordinator/core/x.hpp"\n', "may not include coordinator/core")
        self.accepts("node/app/a.cpp", '#include "node/log/log.hpp"\n#include "protocol/wire/limits.hpp"\n')

    def test_relative_includes(self):
        self.finds("node/core/a.cpp", '#include "b.hpp"\n', "not rooted")

    def test_fences(self):
        self.finds("node/exchange/a.cpp", "#include <zmq.h>\n", "ZeroMQ belongs")
        self.finds("node/app/a.cpp", "#include <torch/torch.h>\n", "libtorch belongs")
        self.finds("coordinator/core/a.cpp", "#include <sqlite3.h>\n", "SQLite belongs")
        self.finds("node/app/a.cpp", '#include "skerry/v1/peer.pb.h"\n', "Protobuf belongs")
        self.finds("protocol/identity/a.hpp", "#pragma once\n#include <openssl/evp.h>\n", ".cpp files")

    def test_pure_folders(self):
        self.finds("node/core/a.cpp", "#include <thread>\n", "is pure")
        self.finds("protocol/rules/a.cpp", "auto t = std::chrono::steady_clock::now();\n", "is pure")
        self.accepts("node/core/a.cpp", "// steady_clock::now() is the shell's\n")

    def test_co_await_in_a_condition(self):
        self.finds("node/app/a.cpp", "if (auto x = co_await f(); x) {}\n", "a.cpp:1: co_await")
        self.finds("node/app/a.cpp", "\nwhile (!(co_await f(g(1)))) {}\n", "a.cpp:2: co_await")
        self.accepts("node/app/a.cpp", "if (x) co_await f();\n// if (co_await f())\nauto s = \"if (co_await)\";\n")

    def test_temporaries_of_co_await(self):
        self.finds("node/app/a.cpp", "auto x = co_await run_on(pool, [file] { return read(file); });\n", "name it first")
        self.finds("node/app/a.cpp", "co_await f(Row{body});\n", "name it first")
        self.accepts("node/app/a.cpp", "auto w = [file] { return 1; };\nauto x = co_await f(pool, std::move(w), Row{});\n")

    def test_detached(self):
        self.finds("node/app/node_app.cpp", "co_spawn(io, f(), asio::detached);\n", "detached outside main")
        self.accepts("node/app/main.cpp", "co_spawn(io, f(), asio::detached);\n")


if __name__ == "__main__":
    unittest.main()
