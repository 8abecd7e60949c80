"""The items: what is shown, its bar, and how. Each check returns its value or raises Failed."""
import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tempfile
import typing

from checks import BUILD, ROOT, Failed, ctest, python_tests, run, said, values_in

VERBOSE = False
CPP_TRAINER = {"SKERRY_TEST_TRAINER": str(BUILD / "bin" / "skerry-trainer")}


@dataclasses.dataclass
class Item:
    number: int
    what: str
    bar: str
    check: typing.Callable[[], str]


def need(condition, value):
    if not condition:
        raise Failed(value)


# --- 1 ---------------------------------------------------------------------------------------------------


def demo():
    with tempfile.TemporaryDirectory(prefix="skerry-show-") as folder:
        summary = pathlib.Path(folder) / "summary.json"
        done = run([ROOT / "deploy" / "demo.sh", "--no-setup", "--plain", "--tokens", 8_000_000, "--dir", f"{folder}/run", "--summary", summary],
                   "demo", 1500)
        if not summary.exists():
            raise Failed(f"exit status {done.returncode}: {(done.stderr.strip() or 'no output').splitlines()[0]}")
        s = json.loads(summary.read_text())
    value = (f"{s['loss_last']:.3f} nats per byte (from {s['loss_first']:.3f}) in {s['seconds']:.0f} s, {s['steps']} steps, "
             f"{s['known_words']:.0%} of the sample's words known, {s['states_compared']} states on {s['nodes']} nodes, "
             f"{len(s['states_differing'])} differ")
    need(s["loss_last"] <= 1.30 and s["steps"] >= 60 and s["known_words"] >= 0.5 and s["tokens"] >= 8_000_000, value)
    need(s["nodes"] == 3 and not s["states_differing"] and s["states_compared"] == s["steps"] + 1, value)
    return value


# --- 2 to 12 ---------------------------------------------------------------------------------------------


def oracles():
    count, values = ctest(label="oracle", patience=900)
    return f"{count} oracles agree" + (": " + "; ".join(values) if values else "")


def bytes_on_the_wire():
    _, values = python_tests("process", ["test_bytes.SixteenMillion"], env=CPP_TRAINER)
    return said(values, "within the bar")


def transformers_loads():
    _, values = python_tests("oracle", ["test_export.Export"])
    return said(values, "equal")


def regressions():
    _, values = ctest(pattern="^sim_regressions$")
    return said(values, "none fails")


def kills():
    count, values = python_tests("process", [f"test_kills.{name}" for name in
                                             ("KilledNode", "KilledTrainer", "KilledCoordinator", "EverythingKilled", "FrozenNode")])
    return f"{count} scenarios: digests equal, no gap, credit disjoint" + (": " + "; ".join(values) if values else "")


def joins_and_damage():
    count, values = python_tests("process", ["test_membership.JoinsLate", "test_corruption.Damaged"])
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


def namespaces():
    count, values = python_tests("reef", ["test_namespaces.ThreeNamespaces"])
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


def strangers():
    count, values = python_tests("process", ["test_strangers.Strangers", "test_strangers.Revoked"])
    wire, more = ctest(pattern="transport", patience=300)
    return f"{count} scenarios with processes, {wire} programs on sockets" + (": " + "; ".join(values + more) if values + more else "")


def resources():
    _, values = python_tests("process", ["test_resources"], env={"SKERRY_LARGE": "1"})
    return said(values, "within their bounds")


def errors():
    count, values = python_tests("process", ["test_strangers.Tokens", "test_errors"])
    return f"{count} mistakes answered" + (": " + "; ".join(values) if values else "")


def trainer_speed():
    result = speeds("eager", 900)
    value = ", ".join(f"{name} {figures['eager']['ratio']:.2f}" for name, figures in sorted(result["results"].items()))
    need(result["reached"], value)
    return value


def speeds(against, patience):
    """The object that trainer_speed.py prints last."""
    bench = ROOT / "tests" / "bench" / "trainer_speed.py"
    done = run([sys.executable, bench, "--trainer", BUILD / "bin" / "skerry-trainer", "--against", against, "--json"], "trainer-speed", patience)
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Failed(f"exit status {done.returncode}: {(done.stderr.strip() or 'no output').splitlines()[-1]}") from None


def disk_operations():
    _, values = ctest(pattern="^every_disk_op_test$", patience=900)
    return said(values, "all recovered")


def chaos():
    done = run([sys.executable, ROOT / "tests" / "process" / "chaos.py", "--kills", 300, "--seed", 1, "--minutes", 30], "chaos", 2400)
    text = done.stdout + done.stderr
    if done.returncode != 0:
        raise Failed(next((line for line in text.splitlines() if line.startswith("BROKEN")), f"exit status {done.returncode}"))
    return said(values_in(text), "no value")


def local_progress():
    count, values = python_tests("process", ["test_progress", "test_trainer_faults"], patience=2400)
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


def broken_links():
    links, values = python_tests("reef", ["test_faults"], patience=2400, env={"SKERRY_REEF_SILENCE": "60"})
    disks, more = python_tests("process", ["test_errors.FullDisk"])
    return f"{links} scenarios with links, {disks} with full disks" + (": " + "; ".join(values + more) if values + more else "")


# --- 13, 14: the simulator ---------------------------------------------------------------------------------


def simulated_runs():
    _, values = ctest(pattern="^sim_seeds$", patience=3000, env={"SKERRY_SIM_SEEDS": "10000"})
    return said(values, "no value was printed")


def mutants():
    done = run([sys.executable, ROOT / "tests" / "sim" / "mutants.py", "--build", BUILD], "mutants", 3 * 3600)
    value = said(values_in(done.stdout), f"exit status {done.returncode}")
    need(done.returncode == 0, value)
    return value


# --- when something dies -----------------------------------------------------------------------------------


def survivors():
    count, values = python_tests("process", ["test_survivors.Survivors"])
    more, cut = python_tests("reef", ["test_cut.Cut"])
    return f"{count + more} scenarios: " + "; ".join(values + cut)


def coordinator_restart():
    _, values = python_tests("process", ["test_restart.CoordinatorRestart"])
    return said(values, "within the bar")


def goodput():
    done = run([sys.executable, ROOT / "tests" / "bench" / "goodput.py", "--json"], "goodput", 1500)
    try:
        r = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Failed(f"exit status {done.returncode}: {(done.stderr.strip() or 'no output').splitlines()[-1]}") from None
    value = (f"{r['goodput']:.1%} of clean over {r['steps']} steps with {r['failures']} kills ({r['tokens_per_s_failing']:.0f} of "
             f"{r['tokens_per_s_clean']:.0f} tokens/s), a step {r['step_s_failing']:.1f} s, clean {r['step_s_clean']:.1f} s")
    need(r["goodput"] >= 0.80, value)
    return value


def sanitizers():
    values = []
    for preset, labels, env in (("asan", "(unit|golden|sim|process)", {}),
                                ("tsan", "(unit|process)", {"TSAN_OPTIONS": f"suppressions={ROOT}/tests/support/tsan.supp"})):
        for command in (["cmake", "--preset", preset], ["cmake", "--build", "--preset", preset, "--", "-j", os.cpu_count()]):
            done = run(command, f"{preset}-build", 7200)
            if done.returncode != 0:
                raise Failed(f"{preset} does not build: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
        build = ROOT / "build" / preset
        count, _ = ctest(label=labels, patience=7200, build=build, env={"SKERRY_BIN": str(build / "bin"), "SKERRY_SIM_SEEDS": "100", **env})
        values.append(f"{preset} {count} programs")
    return ", ".join(values) + " without a finding"


def recovery():
    count, values = python_tests("process", ["test_recovery"])
    return f"{count} scenarios: digests equal, no gap, no position credited twice" + (": " + "; ".join(values) if values else "")


def fork():
    count, values = python_tests("process", ["test_fork"])
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


def versions():
    count, values = python_tests("process", ["test_versions"])
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


def upkeep():
    count, values = python_tests("process", ["test_backup", "test_metrics", "test_watchdog"])
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


def tokenizer():
    count, _ = ctest(pattern=r"^oracle\.tokenizer\.")
    done = run([sys.executable, ROOT / "tests" / "bench" / "tokenizer_speed.py", "--bin", BUILD / "bin"], "tokenizer_speed")
    values = values_in(done.stdout)
    if done.returncode != 0 or not values:
        raise Failed(f"the benchmark ended with {done.returncode}: {(done.stderr.strip() or 'no output').splitlines()[-1]}")
    value = f"{count} kinds equal; on one core at least {values[-1]} times its speed"
    need(float(values[-1]) >= 1.0, value)
    return value


def examples():
    values = ctest(pattern=r"^oracle_gradients$")[1][:1]
    for folder, name in (("oracle", "test_examples"), ("process", "test_instruct")):
        values += python_tests(folder, [name])[1]
    return "; ".join(values)


def asked_models():
    _, values = python_tests("oracle", ["test_asked_model"])
    done = run([sys.executable, ROOT / "tests" / "bench" / "generate_speed.py", "--bin", BUILD / "bin"], "generate_speed")
    speed = values_in(done.stdout)
    if done.returncode != 0 or not speed:
        raise Failed(f"the benchmark ended with {done.returncode}: {(done.stderr.strip() or 'no output').splitlines()[-1]}")
    need(float(speed[-1]) > 2, f"keys and values kept: {speed[-1]} times the speed")
    return "; ".join([*values, f"keys and values kept: at least {speed[-1]} times the speed"])


def folders():
    _, there = ctest(pattern="^oracle_model_folder$", patience=300)
    _, tuned = python_tests("oracle", ["test_finetune.Finetune"])
    return said(there + tuned, "equal")


def followers():
    _, values = python_tests("process", ["test_follow.Follower"])
    return said(values, "equal digests at every step compared, through kills; nothing waited for it")


def shards_between_nodes():
    _, values = python_tests("process", ["test_shards.Shards"])
    return said(values, "each at most twice")


def trainer_beside_compile():
    result = speeds("compiled", 3600)
    parts = []
    for name, f in sorted(result["results"].items()):
        others = ", ".join(f"{f[who]['ratio']:.2f} x {who} ({f[who]['mib']} MiB)" for who in ("compile, SDPA", "compile, products"))
        parts.append(f"{name}: {f['tokens_per_s']:,} tok/s = {others}, {f['share']:.0%} of the product rate, {f['mib']} MiB")
    value = "; ".join(parts)
    need(result["reached"], value)
    return value


def bf16_curve():
    with tempfile.TemporaryDirectory(prefix="skerry-show-") as folder:
        got = run([sys.executable, ROOT / "deploy" / "get_text.py", "--out", folder], "text", 600)
        need(got.returncode == 0, (got.stderr.strip() or "no text").splitlines()[0])
        done = run([sys.executable, ROOT / "tests" / "bench" / "bf16_loss.py", "--trainer", BUILD / "bin" / "skerry-trainer",
                    "--text", f"{folder}/train.txt"], "bf16-loss", 3600)
    value = said(values_in(done.stdout), "no value")
    need(done.returncode == 0, value)
    return value


def step_in_parts():
    count, _ = ctest(pattern="^(trainer_model_test|trainer_memory_test)$", patience=300)
    tests = ["test_it_says_what_it_needs_and_needs_no_more", "test_without_memory_the_batch_is_cut_and_the_step_the_same",
             "test_memory_that_runs_out_does_not_end_it", "test_where_nothing_fits_it_says_what_is_needed"]
    more, _ = python_tests("process", [f"test_trainer.TorchTrainer.{t}" for t in tests])
    return f"{count + more} tests pass"


def autograd():
    count, values = ctest(pattern="^(oracle_gradients_autograd|oracle_muon_autograd)$", patience=600)
    more, _ = python_tests("process", ["test_trainer.AutogradTrainer"])
    gpu = "on a GPU the same, to 1e-4"
    for name in ("gradients", "muon"):
        done = run([sys.executable, ROOT / "tests" / "oracle" / f"{name}.py", BUILD / "bin" / "skerry-trainer", "cuda"], f"{name}-cuda")
        if done.returncode == 77:
            gpu = "GPU: " + done.stdout.strip().splitlines()[-1]
            break
        if done.returncode != 0:
            raise Failed(f"{name}.py on CUDA ended with {done.returncode}")
    return "; ".join([*values, f"{count + more} tests pass", gpu])


def owner():
    count, values = python_tests("process", ["test_owner"])
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


def rate_limits():
    out = []
    for direction in ("up", "down"):
        done = run([sys.executable, ROOT / "tests" / "bench" / "rate_limit.py", "--direction", direction], f"rate-limit-{direction}", 900)
        values = values_in(done.stderr)
        need(done.returncode == 0 and values, "; ".join(values) or f"exit status {done.returncode}")
        out += values[-1:]
    return "; ".join(out)


def doctor():
    count, values = python_tests("process", ["test_doctor"])
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


def units():
    if not shutil.which("systemd-analyze"):
        return "skipped: no systemd-analyze here"
    _, values = python_tests("process", ["test_service"])
    return said(values, "accepted")


def planning():
    count, values = python_tests("process", ["test_plan", "test_join"])
    return f"{count} scenarios" + (": " + "; ".join(values) if values else "")


ITEMS = [
    Item(1, "demo, 8 M tokens", "<= 1.30 nats per byte, >= 60 steps, >= 50 % words, equal digests at every step", demo),
    Item(2, "oracles", "all agree: numpy DiLoCo bit for bit, AdamW to 2 ulp, SGD, A8, gradients", oracles),
    Item(3, "bytes, 16 M elements, N=3", "within 2 % of 2(N-1) encoded sizes, no node above 1.05 of its share", bytes_on_the_wire),
    Item(4, "transformers loads the export", "logits within 1e-4", transformers_loads),
    Item(5, "simulated runs that once failed", "none fails again", regressions),
    Item(6, "killed processes", "equal digests, no gap, disjoint credit; a frozen node no longer than the deadline", kills),
    Item(7, "late joiner, damaged files", "counts in a later step; fetched again elsewhere", joins_and_damage),
    Item(8, "network namespaces", "three nodes train, one closed to incoming connections", namespaces),
    Item(9, "strangers", "nothing delivered, under 2 MiB each", strangers),
    Item(10, "resources", "disk <= quota over 200 steps, agent RssAnon < 512 MB, coordinator < 30 MB, no libtorch linked", resources),
    Item(11, "mistakes", "code, exit status, fix, nothing lost", errors),
    Item(12, "trainer against eager Python", "median ratio >= 1.0 in fp32 and bf16", trainer_speed),
    Item(13, "10,000 simulated runs with random faults",
         "0 divergent, 0 lost, 0 credited twice; 1 % run twice with equal traces; >= 90 % of state x fault met 10 times", simulated_runs),
    Item(14, "bugs put in on purpose", "every mutant found within 1,000 runs, by the invariant named for it", mutants),
    Item(15, "crash, full disk and failed sync at every disk operation of the coordinator", "every kind of transition; whole or absent, nothing acknowledged lost",
         disk_operations),
    Item(16, "300 random kill -9, half of them the coordinator", "under 30 minutes; digests, chain and books compared after each: 0 lost, 0 twice", chaos),
    Item(17, "survivors of kill, freeze and cut", "another plan within 1 s and a commit within 2 s of detection, no inner step lost, back in two rounds", survivors),
    Item(18, "coordinator killed and restarted", "answers within 2 s, one step later as fast as before", coordinator_restart),
    Item(19, "goodput, one node killed in every step", ">= 80 % of clean: 4 nodes, 16 M elements, rounds of 10 s", goodput),
    Item(20, "trainers that die, hang or compute nonsense", "inner steps since the last save, no more; no NaN leaves a node; equal to the save's continuation bit for bit",
         local_progress),
    Item(21, "address, undefined behaviour and thread sanitizers", "presets asan over all tests and tsan over agent and coordinator pass", sanitizers),
    Item(22, "programs of other protocol versions", "an older minor joins; another major is told why once, and its node dials no more", versions),
    Item(23, "backup, metrics, watchdog", "a live backup is whole; pages agree with status; a hang is written down, no secret in it", upkeep),
    Item(24, "links and disks that fail", "others go on, status says why, all count again after the mending; digests equal", broken_links),
    Item(25, "rollback, lost disks, lost coordinator, power cut", "rebuilt from its nodes, rolled back and on, held and said why", recovery),
    Item(26, "a run forked from a state of another one", "S_0 is that state on every node, weights and momentum bit for bit; both runs go on", fork),
    Item(27, "tokens of tokenizer.json", "equal to the tokenizers package's for three kinds; at least as fast", tokenizer),
    Item(28, "instruction data and loss masks", "tokens and masks equal the tokenizers package's; masked tokens contribute a gradient of exactly 0; a task is learnt",
         examples),
    Item(29, "generate and eval", "tokens and losses equal transformers' on the exported folder; faster with keys and values kept", asked_models),
    Item(30, "folders of transformers, in and out",
         "logits of five Llama and Qwen2 folders to 1e-4; fine-tuned by two nodes the export loads there, loss within 1 % of Python's", folders),
    Item(31, "said before a run begins or a machine joins", "steps exact, bytes and disk within 5 %; speeds and limits of the nodes are in it; looking uses no token; what a node gave equals ledger and chain", planning),
    Item(34, "followers", "digest equal to the trainers' at every step, newest folder always whole, the run unchanged by their death", followers),
    Item(35, "data shards between nodes", "the coordinator sends each at most twice: 6 nodes, a holder killed, a holder that hangs", shards_between_nodes),
    Item(36, "trainer beside torch.compile, bf16, 1 and 2 threads, V=512 and 32,000",
         ">= 1.3 x SDPA and >= 1.0 x attention written out, both with fused AdamW; >= 60 % of the product rate; least memory", trainer_beside_compile),
    Item(37, "loss curve in bf16 beside fp32, 1 M bytes of real text", "within 0.01 nats", bf16_curve),
    Item(38, "a step in parts, with layers computed again, with too little memory",
         "4 x 1 equals 1 x 4 to rounding; recomputation bit for bit; smaller instead of dead; the estimate holds", step_in_parts),
    Item(39, "libtorch's autograd beside the fast path and Python's, on the CPU and on a GPU",
         "every gradient tensor to 1e-5 on the CPU, 1e-4 on CUDA (which skips itself with a reason); the same bits with layers computed again", autograd),
    Item(40, "pause, limits, Ctrl-C", "the trainer's memory free within 5 s, the run goes on and the node counts again; limits change without a restart", owner),
    Item(41, "an upload, then a download, limited to 2 Mbit/s", "within 5 % over a minute, bytes of the TCP connection", rate_limits),
    Item(42, "doctor", ">= 10 provoked faults named, each with its cure; no secret in the bundle", doctor),
    Item(43, "system and user units", "systemd-analyze verify says nothing, security exposure <= 2.5", units),
]
