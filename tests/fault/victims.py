"""Whom to take away, and how: every kind of process of a cluster, killed or stopped for a while."""
import os
import signal
import time

import weir
from weir import Smtp, process_name, wait_until

KINDS = ["scanner", "zygote", "scan worker", "coordinator", "postgres", "edge", "edge worker"]
# A hang: longer than scan_stall (1.5 s), which is when scanners are left.
HANG = (2.0, 3.5)


class Disturbance:
    """Takes parts of a cluster away and brings them back as its supervisor would. Remembers deaths of edges, the one cause of second copies."""

    def __init__(self, cluster, dice):
        self.cluster = cluster
        self.dice = dice
        self.done = []
        self.deaths = []

    def once(self, kind, how):
        node, pid = self.choose(kind)
        if pid is None:
            return
        self.done.append(f"{node}/{kind}" if not node.startswith(kind) else node)
        if how == signal.SIGKILL:
            self.kill(kind, node, pid)
        else:
            self.hang(kind, pid)

    def choose(self, kind):
        if kind == "postgres":
            return "postgres", self.cluster.postgres_pid()
        role = {"zygote": "scanner", "scan worker": "scanner", "edge worker": "edge"}.get(kind, kind)
        node = self.dice.choice(sorted(name for name in self.cluster.nodes_here() if name.startswith(role)))
        first = self.cluster.pid(node)
        if kind == role:
            return node, first
        names = {"zygote": "weir-zygote", "scan worker": "weir-scan-", "edge worker": "weir-edge"}
        members = [pid for pid in weir.family(first)[1:] if process_name(pid).startswith(names[kind])]
        return node, self.dice.choice(members) if members else None

    def kill(self, kind, node, pid):
        if kind == "edge worker":
            self.kill_edge(node, pid)
        elif kind in ("zygote", "scan worker"):
            self.signal(pid, signal.SIGKILL)
        else:
            if kind == "edge":
                self.deaths.append(weir.Death(node, time.time()))
            self.cluster.kill(node)
            self.cluster.start(node)
            self.wait_for(kind, node)

    def kill_edge(self, node, pid):
        self.deaths.append(weir.Death(node, time.time()))
        self.signal(pid, signal.SIGKILL)

    def wait_for(self, kind, node):
        """Until it takes its share again: the next victim may be the other one."""
        if kind == "scanner":
            self.cluster.wait_state(node, "active")
        elif kind == "edge":
            wait_until(lambda: Smtp(self.cluster.relay(int(node[-1]))).greeting.code == 220, what=f"{node} serves again")
        else:
            wait_until(lambda: self.cluster.http("/readyz", 1)[0] == 200 and self.cluster.http("/readyz", 2)[0] == 200, 30, "readyz")

    def hang(self, kind, pid):
        members = weir.family(pid) if kind in ("postgres", "edge") else [pid]
        for member in members:
            self.signal(member, signal.SIGSTOP)
        time.sleep(self.dice.uniform(*HANG))
        for member in members:
            self.signal(member, signal.SIGCONT)

    @staticmethod
    def signal(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it ended meanwhile
