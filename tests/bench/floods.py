"""Part flood: what others notice while one source sends as fast as it can: an address, or a network that counts as one.

Clients and next hops are other machines, but here they share the cores with what is measured. So who floods runs when nobody else wants to (nice 19), and who
measures, and the next hop, always at once; what is left of the machine's own share in the figures is measured in the same run: the control is the same client
at a server that does nothing but answer, at the priority that Weir has.
"""
import contextlib
import os
import re
import statistics

from measure import spread, start_sink

# Who floods: sessions, bytes. Closed loops: each sends the next message when it has an answer.
FLOODS = [(100, 4096), (300, 4096), (100, 1 << 20)]
ONE, NETWORK = "127.0.0.3", "127.0.1.1-127.0.1.100"
OTHERS = ["--sessions", 4, "--rate", 20, "--size", 4096, "--per-session", 1, "--bind-source", "127.0.0.16-127.0.0.31"]


def p95(answers):
    return statistics.quantiles([answer.us / 1000 for answer in answers.values()], n=20)[-1]


def at_once(process):
    with contextlib.suppress(PermissionError):  # needs root; the control shows what that costs
        os.setpriority(os.PRIO_PROCESS, process.pid, -15)


def when_idle(process):
    os.setpriority(os.PRIO_PROCESS, process.pid, 19)


class Floods:
    def others(self, cluster, to):
        run = cluster.load("--unique", *OTHERS, "--seconds", self.seconds, to=to)
        at_once(run.process)
        return run

    def beside(self, cluster, to, control):
        """One measurement: the p95 of the others and of the control, which go on at the same time, and how many of the others were refused."""
        runs = [self.others(cluster, to), self.others(cluster, control)]
        answers, echoes = (run.result()[1] for run in runs)
        return p95(answers), p95(echoes), sum(answer.code != 250 for answer in answers.values())

    def flood(self):
        """S67: the p95 of messages that others send one by one, quiet and beside a flood, at the relay (direct) and the handoff listener (spool)."""
        echo, control = start_sink()
        try:
            for edges, source, sets in ((1, ONE, []), (2, NETWORK, ["source_prefix4=24"])):
                cluster = self.flooded(edges, sets)
                for door in ("RELAY", "HANDOFF"):
                    for sessions, size in FLOODS:
                        self.one_flood(cluster, door, (source, sessions, size), control)
                self.end()
        finally:
            echo.terminate()
            echo.wait()

    def flooded(self, edges, sets):
        cluster = self.cluster(edges=edges, scanners=1, sets=sets)
        at_once(self.clusters[-1][1])
        with open(cluster.dir / "policy/networks", "a", encoding="ascii") as networks:
            networks.write("127.0.0.0/23\n")
        cluster.apply_policy()
        return cluster

    def one_flood(self, cluster, door, flood_of, control):
        (source, sessions, size), rates, quiet, beside = flood_of, [], [], []
        doors = [cluster.env[name] for name in sorted(cluster.env) if re.fullmatch(rf"EDGE_\d_{door}", name)]
        to = doors[0]
        for _ in range(self.rounds):
            quiet.append(self.beside(cluster, to, control))
            flood = cluster.load("--unique", "--sessions", sessions, "--size", size, "--seconds", self.seconds + 2, "--bind-source", source, to=",".join(doors))
            when_idle(flood.process)
            beside.append(self.beside(cluster, to, control))
            rates.append(flood.result()[0]["rate"])
        calm, busy = ([spread(column, " ms") for column in list(zip(*rows))[:2]] for rows in (quiet, beside))
        ratio, machine = (statistics.median(busy_one) / statistics.median(calm_one) for busy_one, calm_one in list(zip(zip(*beside), zip(*quiet)))[:2])
        print(f"flood of {source} at {door.lower()} of {len(doors)}, {sessions} sessions of {size} bytes, {spread(rates, ' msg/s', 0)}: p95 of others quiet {calm[0]}, beside it {busy[0]}; "
              f"ratio {ratio:.2f}   goal < 2; refused {sum(row[2] for row in beside)}")
        print(f"  control, the same client at a server that only answers: quiet {calm[1]}, beside it {busy[1]}; ratio {machine:.2f}", flush=True)
