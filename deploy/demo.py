"""The demo: a coordinator and nodes on this machine, trained and summed up. deploy/demo.sh starts it."""
import argparse
import fcntl
import json
import math
import os
import pathlib
import re
import shutil
import signal
import sys
import time
import tomllib

import live_view
import ngram
import trainer_client
from local_cluster import ROOT, Cluster, ClusterError, wait_until

SECONDS = 110            # what the training may take, by the speed measured before
SHARE = 0.8              # of that speed that is left beside exchange and commits
LEAST, MOST = 1_500_000, 8_000_000
RUN = "austen"
PROMPT = "It_was"


class Stopped(Exception):
    """Ctrl-C or SIGTERM."""


def say(text=""):
    print(text, flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", required=True, type=pathlib.Path, help="folder with train.txt and held-out.txt")
    parser.add_argument("--dir", type=pathlib.Path, default=ROOT / ".cache" / "demo")
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--summary", type=pathlib.Path, help="also write the figures as JSON")
    args = parser.parse_args()
    if not 2 <= args.nodes <= 8:
        parser.error("--nodes: 2 to 8")
    if args.tokens is not None and args.tokens < 10_000:
        parser.error("--tokens: at least 10000")
    return args


# --- before the run ----------------------------------------------------------------------------------


def fresh_folder(folder):
    """Locks `folder` and empties it, if an earlier demo made it. Returns the lock, to be kept open."""
    marker = folder / ".skerry-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise ClusterError(f"{folder} holds other things; name an empty folder with --dir", 2)
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(marker, "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ClusterError(f"another demo is running in {folder}; stop it, or use --dir", 2) from None
    for entry in folder.iterdir():
        if entry == marker:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return lock


def choose_tokens(cluster, config, nodes):
    """min(8 M, 0.8 x 110 s x measured speed), at least 1.5 M."""
    train = {"batch": config["train"]["batch"], "seq": config["data"]["sequence_length"], "lr": 1e-4, "schedule": "constant",
             "precision": config["train"]["precision"]}
    speed = trainer_client.measure_speed(cluster.program("skerry-trainer"), config["model"], train, nodes)
    tokens = max(LEAST, min(MOST, int(SHARE * SECONDS * speed)))
    say(f"speed: {nodes} trainers of one thread do {speed:,.0f} tokens/s together; "
        f"training on {tokens:,} tokens takes about {tokens / (SHARE * speed):.0f} s")
    return tokens


def write_run_toml(path, template, manifest, tokens):
    """The annotated example with this run's manifest and tokens."""
    text = template.read_text()
    text, a = re.subn(r'(?m)^manifest = "[^"]*"', f'manifest = "{manifest}"', text)
    text, b = re.subn(r"(?m)^tokens = [\d_]+", f"tokens = {tokens}", text)
    assert (a, b) == (1, 1), "deploy/config/run.toml lost a key that the demo sets"
    path.write_text(text)


def set_up(cluster, args, template, config):
    tokens = args.tokens or choose_tokens(cluster, config, args.nodes)
    data = cluster.folder / "data"
    cluster.run("data", "prepare", args.text / "train.txt", "--val", args.text / "held-out.txt", "-o", data)
    run_toml = cluster.folder / "run.toml"
    write_run_toml(run_toml, template, data / "manifest.json", tokens)
    cluster.coordinator.init(name="demo")
    cluster.coordinator.start()
    cluster.coordinator.push_data(data)
    cluster.coordinator.create_run(run_toml)
    token = cluster.coordinator.token(RUN, uses=args.nodes)
    for i in range(args.nodes):
        node = cluster.node(f"node-{i + 1}")
        node.trainer = cluster.program("skerry-trainer")
        node.join(token)
    say(f"started: coordinator on 127.0.0.1:{cluster.coordinator.port}, {args.nodes} nodes; "
        f"joined by token over TLS, int8 over ZeroMQ with CURVE")
    return tokens


# --- while it runs -----------------------------------------------------------------------------------


def watch(cluster, tokens, plain):
    """Shows the run until all tokens are committed. Returns the last status and the seconds."""
    view = live_view.make_view(tokens, plain)
    begin, quiet_since, last_head = time.monotonic(), time.monotonic(), -1
    try:
        while True:
            for program in [cluster.coordinator, *cluster.nodes.values()]:
                program.check_alive()
            status = cluster.coordinator.status()
            if status is not None:
                view.show(status)
                if status["head"] != last_head:
                    last_head, quiet_since = status["head"], time.monotonic()
                if status["tokens"] >= tokens or status["state"] == "stopped":
                    return status, time.monotonic() - begin
            if time.monotonic() - quiet_since > 180:
                raise ClusterError(f"no step for three minutes; the last status was {json.dumps(status)}")
            time.sleep(0.5)
    finally:
        view.end()


# --- after the run -----------------------------------------------------------------------------------


def settled(cluster, head, patience=60):
    """Waits until every node has applied all decisions and evaluated the last state."""
    def ready():
        status = cluster.coordinator.status()
        if not status or any(node["head"] < head for node in status["nodes"]):
            return None
        return status if status.get("heldout", {}).get("step") == head else None
    return wait_until(ready, patience, lambda: f"all nodes at step {head}: {cluster.coordinator.status()}", every=0.3)


def compare_digests(nodes):
    """Asks each node to recompute its states from disk. Returns (steps compared, steps that differ)."""
    answers = {node.name: node.verify() for node in nodes}
    for name, answer in answers.items():
        if not answer["ok"]:
            raise ClusterError(f"{name}: {'; '.join(answer['problems'])}", 14)
    digests = [{entry["step"]: entry["digest"] for entry in answer["states"]} for answer in answers.values()]
    steps = set.intersection(*(set(one) for one in digests))
    return sorted(steps), sorted(step for step in steps if len({one[step] for one in digests}) > 1)


def known_words(sample, text):
    """Share of the sample's words of three letters or more that occur in the text."""
    known = set(re.findall(r"[a-z]{3,}", text.lower()))
    words = re.findall(r"[a-z]{3,}", sample.lower())
    return sum(word in known for word in words) / max(len(words), 1)


def sum_up(cluster, args, status, seconds, tokens):
    nodes = list(cluster.nodes.values())
    status = settled(cluster, status["head"])
    one, two = ngram.losses((args.text / "train.txt").read_bytes(), (args.text / "held-out.txt").read_bytes())
    first, last = status["heldout"]["first_loss"], status["heldout"]["loss"]
    sent = sum(node["sent_bytes"] for node in status["nodes"])
    sample = nodes[0].ask("generate", "--prompt", PROMPT, "--tokens", 400, "--temperature", 0.8, "--seed", 1).stdout.strip("\n")
    folder = cluster.folder / "model"
    nodes[0].ask("export", "-o", folder)
    cluster.stop()
    steps, differ = compare_digests(nodes)
    summary = {
        "tokens": status["tokens"], "tokens_wanted": tokens, "seconds": seconds, "steps": status["head"],
        "loss_first": first, "loss_last": last, "unigram": one, "bigram": two, "bytes_sent": sent,
        "states_compared": len(steps), "states_differing": differ, "nodes": len(nodes), "sample": sample,
        "known_words": known_words(sample, (args.text / "train.txt").read_text(errors="replace")), "model": str(folder),
    }
    if args.summary:
        args.summary.write_text(json.dumps(summary, indent=1))
    return summary


def bits(nats):
    return nats / math.log(2)


def print_summary(s):
    say()
    say(f"trained    {s['tokens']:,} tokens in {s['seconds']:.0f} s ({s['tokens'] / s['seconds']:,.0f} tokens/s), {s['nodes']} nodes")
    say("held-out   loss in nats (bits) per byte")
    say(f"           before   {s['loss_first']:.3f} ({bits(s['loss_first']):.2f})")
    say(f"           unigram  {s['unigram']:.3f} ({bits(s['unigram']):.2f})   a table of byte frequencies")
    say(f"           bigram   {s['bigram']:.3f} ({bits(s['bigram']):.2f})   a table of pairs")
    say(f"           after    {s['loss_last']:.3f} ({bits(s['loss_last']):.2f})   this model")
    equal = f"equal on {s['nodes']} nodes" if not s["states_differing"] else f"DIFFERENT at {s['states_differing'][:5]}"
    say(f"committed  {s['steps']} outer steps; {s['states_compared']} states recomputed from each node's disk, digests {equal}")
    say(f"bytes      {s['bytes_sent'] / 1e6:,.0f} MB sent between the nodes, {s['bytes_sent'] / max(s['steps'], 1) / s['nodes'] / 1e6:.2f} MB a step and node")
    say(f"sample     {' '.join(s['sample'].split())}")
    say(f"model      {s['model']}   (a Hugging Face folder)")


def stop_on_signals():
    def stop(*_):
        raise Stopped
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)


def main():
    args = parse_arguments()
    stop_on_signals()
    template = ROOT / "deploy" / "config" / "run.toml"
    config = tomllib.loads(template.read_text())
    cluster = None
    try:
        lock = fresh_folder(args.dir.resolve())
        cluster = Cluster(args.dir.resolve())
        tokens = set_up(cluster, args, template, config)
        status, seconds = watch(cluster, tokens, args.plain or not sys.stdout.isatty())
        summary = sum_up(cluster, args, status, seconds, tokens)
        print_summary(summary)
        lock.close()
        return 1 if summary["states_differing"] else 0
    except Stopped:
        say("\nstopping")
        return 130
    except (ClusterError, trainer_client.TrainerError) as problem:
        print(f"error[DEMO]: {problem}\nmore:  the logs in {args.dir}", file=sys.stderr)
        return getattr(problem, "status", None) or 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if cluster is not None:
            cluster.stop()


if __name__ == "__main__":
    # Children inherit nothing of a terminal: the script alone hears Ctrl-C.
    os.chdir(ROOT)
    sys.exit(main())
