"""Whom to take away, and how: every kind of process of a cluster, killed or stopped for a while."""
import heapq
import itertools
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
        node, pid = wait_until(lambda: self.chosen(kind), 30, f"a {kind} to take away")  # the last one's successor may need a moment
        self.done.append(f"{node}/{kind}" if not node.startswith(kind) else node)
        if how == signal.SIGKILL:
            self.kill(kind, node, pid)
        else:
            self.hang(kind, pid)

    def chosen(self, kind):
        """As choose(); None when it found nobody."""
        node, pid = self.choose(kind)
        return (node, pid) if pid is not None else None

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
            workers = len(weir.workers_of(self.cluster, node))
            self.kill_edge(node, pid)
            wait_until(lambda: pid not in weir.workers_of(self.cluster, node) and len(weir.workers_of(self.cluster, node)) >= workers,
                       30, f"a successor of {node}'s worker")
        elif kind == "zygote":
            serves = self.cluster.log(node).count(" serves: ")
            self.signal(pid, signal.SIGKILL)
            wait_until(lambda: self.cluster.log(node).count(" serves: ") > serves, 60, f"{node}'s next engine")
        elif kind == "scan worker":
            self.signal(pid, signal.SIGKILL)
        else:
            if kind == "edge":
                self.deaths.append(weir.Death(node, time.time()))
            self.cluster.kill(node)
            self.cluster.start(node, wait=False)
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


class Storm(Disturbance):
    """Strikes one victim after the other, without waiting for those before it to be back."""
    # How long one is away: mostly short, so that many are; at times for longer than a lease of 3 s.
    AWAY = ((0.1, 1.0), (0.1, 1.0), (0.1, 1.0), (3.2, 4.5))

    def __init__(self, cluster, dice):
        super().__init__(cluster, dice)
        self.later = []  # (when, number, what to do): who is away comes back
        self.numbers = itertools.count()
        self.down = set()

    def strike(self):
        """One trial; False when the dice chose somebody who is away already, or has no such process at the moment."""
        kind, how = self.dice.choice(KINDS), self.dice.choice([signal.SIGKILL, signal.SIGSTOP])
        node, pid = self.choose(kind)
        if pid is None or node in self.down:
            return False
        self.done.append(f"{how.name} {kind} of {node}" if not node.startswith(kind) else f"{how.name} {node}")
        if how == signal.SIGKILL:
            self.kill(kind, node, pid)
        else:
            self.hang(kind, pid)
        return True

    def kill(self, kind, node, pid):
        if kind in ("zygote", "scan worker", "edge worker"):  # their masters start others
            self.signal(pid, signal.SIGKILL)
            return
        self.cluster.kill(node)
        self.down.add(node)
        self.after(self.dice.uniform(*self.dice.choice(self.AWAY)), lambda: self.back(node))

    def back(self, node):
        self.down.remove(node)
        self.cluster.start(node, wait=False)

    def hang(self, kind, pid):
        members = weir.family(pid) if kind in ("postgres", "edge") else [pid]
        for member in members:
            self.signal(member, signal.SIGSTOP)
        self.after(self.dice.uniform(*self.dice.choice(self.AWAY)), lambda: [self.signal(member, signal.SIGCONT) for member in members])

    def after(self, seconds, action):
        heapq.heappush(self.later, (time.monotonic() + seconds, next(self.numbers), action))

    def run(self, seconds):
        """For so long whoever is due comes back."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.later and self.later[0][0] <= time.monotonic():
                heapq.heappop(self.later)[2]()
            time.sleep(0.01)

    def end(self):
        """Everybody comes back."""
        while self.later:
            heapq.heappop(self.later)[2]()
        self.cluster.heal()
