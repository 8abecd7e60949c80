"""Administration from far away: over TLS on the nodes' port, with an administrator's token and no folder at hand."""
import json
import unittest

from harness import RUN, ProcessTest, error_of, prose, run_toml
from local_cluster import Cluster


class Remote(ProcessTest):
    def setUp(self):
        super().setUp()
        self.coordinator = self.cluster.coordinator
        self.coordinator.init()
        self.coordinator.start()
        self.admin = self.folder / "admin-token"
        self.admin.write_text(self.new_token("--role", "admin", "--label", "laptop"))

    def new_token(self, *words):
        out = self.coordinator.ask("token", "create", *words).stdout
        return next(word for word in out.split() if word.startswith("skerry://"))

    def far(self, *words, token=None, **options):
        """A command that knows nothing but a token."""
        return self.cluster.run(*words, "--token-file", token or self.admin, "--json", **options)

    def answer(self, *words):
        return json.loads(self.far(*words).stdout)

    def refused(self, token, status, code):
        done = self.far("status", token=token, check=False, patience=60)
        self.assertEqual(error_of(done), (status, code), done.stderr)

    def data(self):
        text, held_out, data = (self.folder / name for name in ("train.txt", "held-out.txt", "data"))
        text.write_text(prose(400_000))
        held_out.write_text(prose(20_000, seed=2))
        self.cluster.run("data", "prepare", text, "--val", held_out, "-o", data)
        toml = self.folder / "run.toml"
        toml.write_text(run_toml())
        return data, toml

    def test_a_run_is_made_watched_and_stopped_without_the_folder(self):
        data, toml = self.data()
        self.far("data", "push", data)
        self.far("run", "create", toml, "--start")
        token = self.answer("token", "create", "--run", RUN, "--uses", "3")
        nodes = self.join(token["token"], "a", "b", "c")
        self.wait(lambda: self.answer("status")["head"] >= 3, 60, "three steps")
        self.assertEqual({node["name"] for node in self.answer("nodes")["nodes"]}, {"a", "b", "c"})

        self.far("nodes", "revoke", "c", "--reason", "sold")
        self.assertNotEqual(nodes[2].wait(30), 0)
        head = self.answer("status")["head"]
        self.wait(lambda: self.answer("status")["head"] >= head + 2, 60, "two steps of the others")
        self.far("token", "revoke", token["id"])
        done = self.cluster.run("join", token["token"], "--dir", self.folder / "late", "--no-input", "--json", check=False)
        self.assertEqual(error_of(done), (11, "TOKEN_UNKNOWN"))

        self.far("run", "stop", RUN)
        ended = self.wait(lambda: (s := self.answer("status"))["state"] == "stopped" and s, 60, "the end")
        self.wait_all_heads(nodes[:2], ended["head"])
        self.check_history(nodes[:2], least_head=ended["head"])

    def test_only_an_administrator_of_this_coordinator_is_let_in(self):
        data, toml = self.data()
        self.far("data", "push", data)
        self.far("run", "create", toml)
        joins = self.folder / "node-token"
        joins.write_text(self.new_token("--run", RUN))
        self.refused(joins, 2, "USAGE")

        second = self.folder / "second"
        second.write_text(self.new_token("--role", "admin"))
        self.far("status", token=second)
        second_id = next(t["id"] for t in self.answer("token", "ls")["tokens"] if t["role"] == "admin" and t["label"] != "laptop")
        self.far("token", "revoke", second_id)
        self.refused(second, 11, "TOKEN_UNKNOWN")

        with Cluster(self.folder / "other") as other:
            other.coordinator.init(name="other")
            other.coordinator.start()
            out = other.coordinator.ask("token", "create", "--role", "admin").stdout
            foreign = next(word for word in out.split() if word.startswith("skerry://"))
            wrong = self.folder / "foreign"
            wrong.write_text(foreign.replace(f":{other.coordinator.port}", f":{self.coordinator.port}"))
            self.refused(wrong, 16, "WRONG_COORDINATOR")
        self.far("status")


if __name__ == "__main__":
    unittest.main()
