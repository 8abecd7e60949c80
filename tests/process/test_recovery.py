"""What an operator does when more is lost than the run repairs by itself: rollback, changes of hyper-parameters, a lost
coordinator's disk, lost disks of nodes. Real processes, judged by their state and by what is on their disks."""
import json
import shutil
import unittest

from harness import ProcessTest, error_of, report


class PowerCut(ProcessTest):
    """Every process dies at the same moment, in the middle of an exchange; the run is resumed from disks."""

    def test_all_machines_at_once(self):
        # One owner stops after it gave away a result piece: some have it, some do not, nobody has voted for all.
        nodes = self.start_run(victim_env={"SKERRY_FAILPOINT": "owner.after_first_result:3:stop"})
        coordinator = self.cluster.coordinator

        def stopped():
            with open(f"/proc/{nodes[1].pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "T"
        self.wait(stopped, 90, "an owner in the middle of its results")
        told = coordinator.status()
        self.assertEqual(told["phase"], "open", told)
        self.cluster.kill()
        self.assertFalse(any(program.alive() for program in [*nodes, coordinator]))
        coordinator.start()  # alone: nothing moves on while it is looked at
        status = coordinator.status()
        self.assertEqual((status["head"], status["h_head"]), (told["head"], told["h_head"]), "what was told is not what the disk has")
        self.assertGreater(status["term"], told["term"])
        self.assertEqual(status["phase"], "open", "the plan in force is lost")
        for node in nodes:
            node.start(env={})
        coordinator.wait_head(told["head"] + 4, 90)
        self.wait_all_heads(nodes, told["head"] + 4)
        answers = self.check_history(least_head=told["head"] + 4)
        for name, answer in answers.items():
            self.assertEqual([decision["step"] for decision in answer["decisions"]], list(range(answer["head"])), f"{name}: a gap")
            if told["head"]:
                self.assertEqual(answer["decisions"][told["head"] - 1]["h"], told["h_head"], f"{name} lost a committed step")
        report(f"power lost everywhere in step {told['head']}: {len(answers)} nodes agree on {min(a['head'] for a in answers.values())} steps")


class Rollback(ProcessTest):
    def digests(self, answers):
        return {state["step"]: state["digest"] for state in max(answers.values(), key=lambda a: a["head"])["states"]}

    def back(self, to, *more, check=True):
        return self.cluster.coordinator.ask("run", "rollback", "reef", "--to-step", to, "--json", *more, check=check)

    def test_goes_back_and_on(self):
        nodes = self.start_run(snapshot_every=3)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(7)
        done = json.loads(self.back(4).stdout)
        step = done["step"]
        self.assertGreaterEqual(step, 7)
        status = coordinator.wait_head(step + 3)
        self.assertEqual(status["rolled_back"], {"step": step, "to": 4})
        self.wait_all_heads(nodes, step + 3)
        # What was undone cannot be gone back to, nor what is not decided; the answer says what is kept.
        for wrong in (step - 1, 10_000):
            refused = self.back(wrong, check=False)
            self.assertEqual(error_of(refused), (15, "NOT_FOUND"))
        self.assertIn("kept are step", self.back(step - 1, check=False).stderr)
        nodes[1].kill()
        nodes[1].start()
        head = coordinator.status()["head"] + 3
        self.wait_all_heads(nodes, head)
        answers = self.check_history(least_head=head)
        digests = self.digests(answers)
        self.assertEqual(digests[4], digests[step + 1])
        self.assertNotEqual(digests[step], digests[step + 1])
        report(f"rollback: step {step} made S_{step + 1} of S_4 on {len(answers)} nodes, the run went on to {head}")

    def test_feeds_the_data_again_and_a_late_joiner_follows(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(5)
        step = json.loads(self.back(2, "--refeed").stdout)["step"]
        coordinator.wait_head(step + 2)
        nodes += self.join(self.token, "late")
        self.wait_current(nodes[-1])
        head = coordinator.status()["head"] + 3
        self.wait_all_heads(nodes, head)
        answers = self.check_history(least_head=head)
        decisions = answers["late"]["decisions"]
        undone = {s["from"] for d in decisions if 2 <= d["step"] < step for c in d["credits"] for s in c["segments"]}
        later = {s["from"] for d in decisions if d["step"] > step for c in d["credits"] for s in c["segments"]}
        self.assertTrue(undone & later, "none of the undone steps' data was fed again")

    def test_hyper_parameters_change_in_a_step(self):
        nodes = self.start_run()
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        refused = coordinator.ask("run", "config", "reef", "batch=4", check=False)
        self.assertEqual(error_of(refused), (2, "USAGE"))
        done = json.loads(coordinator.ask("run", "config", "reef", "outer.lr=0.25", "--json").stdout)
        self.assertAlmostEqual(done["outer"]["lr"], 0.25)
        self.assertAlmostEqual(done["outer"]["momentum"], 0.5)
        coordinator.wait_head(done["step"] + 3)
        coordinator.kill()
        coordinator.start()
        head = coordinator.status()["head"] + 3
        self.wait_all_heads(nodes, head)
        answers = self.check_history(least_head=head)
        for decision in answers[nodes[0].name]["decisions"]:
            wanted = 0.7 if decision["step"] < done["step"] else 0.25
            self.assertAlmostEqual(decision["outer"]["lr"], wanted, places=6, msg=f"step {decision['step']}")


class LostCoordinator(ProcessTest):
    """The drill of docs/recovery.md: the coordinator's folder is gone, the root key lies elsewhere."""

    def lose_it(self):
        coordinator = self.cluster.coordinator
        self.root_key = self.folder / "root-key.pem"
        shutil.copy(coordinator.dir / "root-key.pem", self.root_key)
        coordinator.kill()
        shutil.rmtree(coordinator.dir)

    def drill(self, *more, check=True, patience=120):
        coordinator = self.cluster.coordinator
        return self.cluster.run("rebuild", "--dir", coordinator.dir, "--root-key", self.root_key, "--run", "reef", "--name", "local",
                                "--port", coordinator.port, "--listen", f"127.0.0.1:{coordinator.port}", *more,
                                program="skerry-coordinator", check=check, patience=patience)

    def test_run_goes_on_with_the_step_that_was_prepared(self):
        nodes = self.start_run(victim_env=None)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        coordinator.stop()
        # It dies with a decision in its database that nobody has heard of: the nodes hold the prepared entry.
        coordinator.start(env={"SKERRY_FAILPOINT": "coordinator.after_decision:3"})
        coordinator.wait(60)
        heads = [node.head() for node in nodes]
        self.lose_it()
        self.assertFalse(coordinator.dir.exists())
        out = self.drill("--yes", "--patience", "60s").stdout
        self.assertIn("is rebuilt at step", out)
        self.assertIn("a prepared entry was found", out)
        rebuilt = int(out.split("is rebuilt at step ")[1].split(",")[0])
        self.assertGreaterEqual(rebuilt, max(heads))
        coordinator.start()
        status = coordinator.wait_head(rebuilt + 4, 90)
        self.assertGreater(status["term"], 1000)
        for node in nodes:
            self.assertTrue(node.alive(), f"{node.name} ended")
        self.wait_all_heads(nodes, rebuilt + 4)
        # Data and tokens are the operator's to bring again; then a new node joins.
        coordinator.push_data(self.folder / "data")
        nodes += self.join(coordinator.token("reef"), "new")
        self.wait_current(nodes[-1])
        head = coordinator.status()["head"] + 3
        self.wait_all_heads(nodes, head)
        answers = self.check_history(least_head=head)
        report(f"coordinator's disk lost: rebuilt at step {rebuilt}, term {status['term']}, {head - rebuilt} steps decided since, "
               f"{len(answers)} nodes agree")

    def test_refuses_too_few_answers_unless_told(self):
        nodes = self.start_run(nodes=3)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        self.wait_all_heads(nodes, 3)
        self.lose_it()
        for node in nodes[1:]:
            node.kill()
        refused = self.drill("--yes", "--patience", "8s", check=False)
        self.assertEqual(error_of(refused), (75, "BAD_STATE"))
        self.assertIn(nodes[1].name, refused.stderr)
        self.assertFalse((coordinator.dir / "runs" / "reef" / "run.db").exists())
        self.drill("--yes", "--patience", "8s", "--accept-loss")
        for node in nodes[1:]:
            node.start()
        coordinator.start()
        status = coordinator.wait_head(4, 90)
        head = status["head"] + 3
        self.wait_all_heads(nodes, head)
        answers = self.check_history(least_head=head)
        self.assertIn("loss_accepted", [d["kind"] for d in answers[nodes[0].name]["decisions"]])

    def test_a_revoked_node_that_dials_the_drill_stays_out(self):
        """It holds an older roster, which names it; the others hold a newer one, which does not."""
        nodes = self.start_run(nodes=3)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(3)
        node_id = nodes[2].status()["node_id"]
        coordinator.ask("nodes", "revoke", node_id)
        self.assertEqual(nodes[2].wait(30), 11)
        head = coordinator.status()["head"]
        self.wait_all_heads(nodes[:2], head + 2)
        self.lose_it()
        nodes[2].start()
        out = self.drill("--yes", "--patience", "60s").stdout
        self.assertIn("2 of 2 members answered", out)
        coordinator.start()
        status = coordinator.wait_head(head + 4, 90)
        self.assertNotIn(node_id, [node["node_id"] for node in status["nodes"]])
        self.assertEqual(nodes[2].wait(60), 11, "it must not come in again")
        self.check_history(nodes[:2], least_head=head + 4)

    def test_nodes_refuse_a_coordinator_of_another_root(self):
        nodes = self.start_run(nodes=2)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(2)
        self.lose_it()
        self.cluster.run("init", "--dir", self.folder / "other", "--name", "other", program="skerry-coordinator")
        self.root_key = self.folder / "other" / "root-key.pem"
        refused = self.drill("--yes", "--patience", "10s", check=False)
        self.assertNotEqual(refused.returncode, 0)
        for node in nodes:
            self.assertEqual(node.wait(30), 16, "a node must end with WRONG_COORDINATOR")


class LostDisks(ProcessTest):
    """`durable_copies - 1` disks may be lost at once; with more the run holds and says what is missing."""

    def lose(self, node):
        """The run folder goes; the identity, kept elsewhere, is brought back."""
        node.kill()
        shutil.rmtree(node.dir / "run")

    def test_one_disk_is_fetched_again(self):
        nodes = self.start_run(nodes=3)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(4)
        self.lose(nodes[2])
        nodes[2].start()
        head = coordinator.status()["head"]
        nodes[2].wait_head(head, 90)
        self.wait_current(nodes[2])
        head = coordinator.status()["head"] + 3
        self.wait_all_heads(nodes, head)
        self.check_history(least_head=head)


    def test_two_disks_hold_the_run_until_the_operator_decides(self):
        nodes = self.start_run(nodes=3)
        coordinator = self.cluster.coordinator
        coordinator.wait_head(4)
        nodes[2].kill()  # it misses what comes now
        behind = coordinator.status()["head"]
        coordinator.wait_head(behind + 3, 90)
        for node in nodes[:2]:
            self.lose(node)
        head = coordinator.status()["head"]
        for node in nodes:
            node.start()
        status = self.wait(lambda: (lambda s: s if s and "is on no disk that is here" in s["hold_reason"] else None)(coordinator.status()), 60,
                           lambda: f"a hold; {coordinator.status()['hold_reason']}")
        missing = int(status["hold_reason"].split("the entry of step ")[1].split(" ")[0])
        self.assertLess(missing, head)
        self.assertIn("node-1 (here, its disk reaches step", status["hold_reason"])
        self.assertEqual(coordinator.status()["head"], head, "nothing may be decided meanwhile")
        self.wait_all_heads(nodes, missing, 60)
        done = json.loads(coordinator.ask("run", "rollback", "reef", "--to-step", missing, "--json").stdout)
        self.assertEqual(done["step"], head)
        coordinator.wait_head(head + 4, 90)
        self.wait_all_heads(nodes, head + 4)
        self.check_history(least_head=head + 4)
        report(f"two of three disks lost: held at step {head}, entry {missing} missing; rolled back and on")


if __name__ == "__main__":
    unittest.main()
