"""A cluster of which every node, the database, the next hop and the clients live in network namespaces of their own, on a network that can be
made bad (weir-switch).

    with Network(["edge-1", ...]) as network:       # the calling thread is in the namespace "clients" until the end
        network.between("edge-1", "scanner-1", "drop")      # both ways; one(): only from the first to the second
        network.heal()
"""
import ctypes
import os
import pathlib
import re
import subprocess

import weir
from weir import BIN, wait_until

CLONE_NEWNET = 0x40000000
SUBNET = "10.199.0"


def _setns(descriptor):
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def impossible():
    """Why there can be no network namespaces here; None when there can."""
    done = subprocess.run([BIN / "weir-switch", "one", f"{SUBNET}.1", "two", f"{SUBNET}.2"], input="", capture_output=True, text=True, check=False)
    return None if "ready" in done.stdout else done.stderr.strip() or "weir-switch did not begin"


class Network:
    def __init__(self, names, seed=1):
        self.address = {name: f"{SUBNET}.{number + 1}" for number, name in enumerate(names)}
        words = [word for pair in self.address.items() for word in pair]
        self.process = subprocess.Popen([BIN / "weir-switch", "--seed", str(seed), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.namespace, self.bad, self.home = {}, set(), None
        self.harmed = 0  # packets that were dropped or kept waiting, until somebody last said how it goes on
        while (line := self.process.stdout.readline().strip()) != "ready":
            assert line, "weir-switch ended"
            name, descriptor = line.split()
            self.namespace[name] = f"/proc/{self.process.pid}/fd/{descriptor}"

    def enter(self, name):
        """The calling thread does, and what it starts."""
        if self.home is None:
            self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with open(self.namespace[name], "rb") as namespace:
            _setns(namespace.fileno())

    def one(self, source, to, *how):
        self.process.stdin.write(" ".join([source, to, *how]) + "\n")
        self.process.stdin.flush()
        said, harmed = self.process.stdout.readline().split()
        assert said == "ok"
        self.harmed = int(harmed)
        (self.bad.add if how else self.bad.discard)((source, to))

    def between(self, sources, others, *how):
        """Names, or lists of names."""
        for source in [sources] if isinstance(sources, str) else sources:
            for other in [others] if isinstance(others, str) else others:
                if other != source:
                    self.one(source, other, *how)
                    self.one(other, source, *how)

    def heal(self):
        for source, to in list(self.bad):
            self.one(source, to)

    def close(self):
        if self.home is not None:
            _setns(self.home)
            os.close(self.home)
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class Spread(weir.Cluster):
    """Made by deploy/cluster on loopback, then moved: each node's addresses become those of its namespace. Only the test's own look at the database
    goes through the unix socket, and so around the network."""

    network = hop = None

    def up(self):
        super().up()
        first = self.env["DATABASE_URL"]
        super().run("down")
        self.names = sorted(path.stem for path in (self.dir / "keys").glob("*.key") if path.stem != "operator")
        self.network = Network([*self.names, "postgres", "sink", "clients"], self.options.get("seed", 1))
        try:
            self._move(first)
        except BaseException:
            self.down()
            raise
        return self

    def _place(self, port):
        """Whose port it is."""
        offset = int(port) - self.base_port
        if offset == 400:
            return "sink"
        if offset >= 390:
            return "clients"
        return f"coordinator-{(offset - 300) // 10}" if offset > 300 else f"scanner-{offset - 200}" if offset > 200 else f"edge-{offset // 10}"

    def _moved(self, text):
        return re.sub(r"127\.0\.0\.1(\]?):(\d+)", lambda found: f"{self.network.address[self._place(found[2])]}{found[1]}:{found[2]}", text)

    def _move(self, first):
        self.network.enter("clients")
        for path in [self.dir / "common.conf", self.dir / "cluster.env", self.dir / "policy/mailertable", *self.dir.glob("*/weir.conf")]:
            path.write_text(self._moved(path.read_text()))
        (self.dir / "policy/networks").write_text(f"{self.network.address['clients']}/32\n")
        # No pg_hba.conf of the world: this server is in a namespace that only this test can reach.
        data = pathlib.Path((self.dir / "postgres.path").read_text().strip()) / "data"
        with open(data / "pg_hba.conf", "a", encoding="ascii") as rules:
            rules.write(f"host all all {SUBNET}.0/24 trust\n")
        with open(data / "postgresql.conf", "a", encoding="ascii") as settings:
            settings.write(f"listen_addresses = '{self.network.address['postgres']}'\n")
        (self.dir / "database").write_text(f"postgresql://weir@{self.network.address['postgres']}/weir?connect_timeout=5\n")
        self.read_env()
        self.env["DATABASE_URL"] = first
        for name in ["postgres", *(n for n in self.names if n.startswith("coordinator")), "sink", *(n for n in self.names if not n.startswith("coord"))]:
            self.start(name)
        wait_until(lambda: self.http("/readyz")[0] == 200, 30, "readyz")
        wait_until(lambda: all(node["state"] == "active" for node in self.nodes().values()), 30, "all nodes active")
        self.apply_policy()

    def start(self, node, wait=True):
        """In its namespace. What deploy/cluster would wait for, it would look for on loopback."""
        inside = ["nsenter", f"--net={self.network.namespace[node]}", "--"]
        if node != "sink":
            subprocess.run([*inside, weir.ROOT / "deploy/cluster", "start", node, "--no-wait"], check=True, capture_output=True, timeout=120,
                           env=dict(os.environ, WEIR_NO_BUILD="1", WEIR_CLUSTER=str(self.dir)))
            return
        with open(self.dir / "log/sink.log", "ab") as log:
            self.hop = subprocess.Popen([*inside, BIN / "weir-sink", "--listen", f"{self.network.address['sink']}:{self.base_port + 400}",
                                         "--dir", self.dir / "sink", "--moods"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        (self.dir / "run/sink.pid").write_text(f"{self.hop.pid}\n")

    def down(self):
        if self.network is not None:
            self.network.heal()
        if self.hop is not None:
            self.hop.terminate()  # and reaped here, as it is our child
            self.hop.wait(30)
        try:
            super().down()
        finally:
            if self.network is not None:
                self.network.close()
