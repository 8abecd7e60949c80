"""Several hosts on one machine: network namespaces on one bridge, with rates and one-way doors. Needs root.

    with Reef(["coordinator", "a", "b", "c"]) as reef:
        reef.close_incoming("c")          # others cannot open connections to c; c can to them
        reef.limit("b", "20mbit")         # both ways
        reef.lose("a", "b")               # what a sends to b vanishes, without a word
        reef.mend()
        subprocess.run([*reef.enter("a"), "skerry-node", ...])

Names of namespaces and interfaces start with "sk" and this process's id, so that runs do not meet.
"""
import os
import pathlib
import subprocess
import sys


class ReefError(Exception):
    pass


def _run(*words, check=True, stdin=None):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, input=stdin, check=False)
    if check and done.returncode != 0:
        raise ReefError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done


class Reef:
    def __init__(self, hosts, network="10.77.0", delays=None):
        """`delays`: seconds each way between a host and the bridge, by name."""
        self.delays, self.wires = delays or {}, []
        self.prefix = f"sk{os.getpid() % 100000}"
        self.hosts = {name: f"{network}.{i + 1}" for i, name in enumerate(hosts)}
        self.hub = f"{self.prefix}-hub"

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for wire in self.wires:
            wire.stdin.close()
            wire.wait()
            wire.stdout.close()
        for name in self.hosts:
            _run("ip", "netns", "del", self.space(name), check=False)
        _run("ip", "netns", "del", self.hub, check=False)

    def _build(self):
        if os.geteuid() != 0:
            raise ReefError("network namespaces need root")
        _run("ip", "netns", "add", self.hub)
        _run("ip", "-n", self.hub, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", self.hub, "link", "set", "br0", "up")
        for i, (name, address) in enumerate(self.hosts.items()):
            space = self.space(name)
            _run("ip", "netns", "add", space)
            _run("ip", "-n", space, "link", "set", "lo", "up")
            if name in self.delays:
                self._long_wire(space, f"port{i}", self.delays[name])
            else:
                _run("ip", "link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", f"port{i}", "netns", self.hub)
            _run("ip", "-n", self.hub, "link", "set", f"port{i}", "master", "br0", "up")
            _run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", space, "link", "set", "eth0", "up")

    def _long_wire(self, space, port, delay):
        program = pathlib.Path(__file__).resolve().parent / "long_wire.py"
        wire = subprocess.Popen([sys.executable, program, space, "eth0", self.hub, port, str(delay)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        self.wires.append(wire)
        if wire.stdout.readline() != "ready\n":
            raise ReefError(f"no delayed wire to {space}")

    def space(self, name):
        return f"{self.prefix}-{name}"

    def enter(self, name):
        """Words to put before a command that is to run on the host."""
        return ["ip", "netns", "exec", self.space(name)]

    def close_incoming(self, name):
        """Drops connection requests from outside, as a NAT does; replies to its own pass."""
        rules = ("table ip nat_like { chain input { type filter hook input priority 0; policy accept; "
                 'iifname "eth0" tcp flags & (syn | ack) == syn drop; }; }\n')
        _run(*self.enter(name), "nft", "-f", "-", stdin=rules)

    def limit(self, name, rate):
        """A token bucket both ways, e.g. "100mbit"."""
        index = list(self.hosts).index(name)
        bucket = ["root", "tbf", "rate", rate, "burst", "64kb", "latency", "50ms"]
        _run("tc", "-n", self.space(name), "qdisc", "replace", "dev", "eth0", *bucket)
        _run("tc", "-n", self.hub, "qdisc", "replace", "dev", f"port{index}", *bucket)

    def lose(self, source, target):
        """What `source` sends to `target` vanishes from now on: no RST, no ICMP, no carrier lost."""
        rules = ("table ip faults { chain input { type filter hook input priority 0; policy accept; }; }\n"
                 f"add rule ip faults input ip saddr {self.hosts[source]} drop\n")
        _run(*self.enter(target), "nft", "-f", "-", stdin=rules)

    def lose_both(self, one, other):
        self.lose(one, other)
        self.lose(other, one)

    def mend(self):
        """Ends all that `lose` began."""
        for name in self.hosts:
            _run(*self.enter(name), "nft", "delete", "table", "ip", "faults", check=False)

    def unplug(self, name):
        index = list(self.hosts).index(name)
        _run("ip", "-n", self.hub, "link", "set", f"port{index}", "down")

    def plug_in(self, name):
        index = list(self.hosts).index(name)
        _run("ip", "-n", self.hub, "link", "set", f"port{index}", "up")
