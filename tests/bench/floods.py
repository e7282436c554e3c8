"""Part flood: what others notice while one source sends as fast as it can."""
import statistics

from measure import spread

# Who floods: sessions, bytes. Closed loops: each sends the next message when it has an answer.
FLOODS = [(100, 4096), (300, 4096), (100, 1 << 20)]
OTHERS = ["--sessions", 4, "--rate", 20, "--size", 4096, "--per-session", 1, "--bind-source", "127.0.0.16-127.0.0.31"]


def p95(answers):
    return statistics.quantiles([answer.us / 1000 for answer in answers.values()], n=20)[-1]


class Floods:
    def flood(self):
        """S67: the p95 of messages that others send one by one, quiet and beside a flood, at the relay (direct) and the handoff listener (spool)."""
        cluster = self.cluster(edges=1, scanners=1)
        with open(cluster.dir / "policy/networks", "a", encoding="ascii") as networks:
            networks.write("127.0.0.0/24\n")
        cluster.apply_policy()
        for door in ("RELAY", "HANDOFF"):
            to = cluster.env[f"EDGE_1_{door}"]
            for sessions, size in FLOODS:
                quiet, beside, rates, refused = [], [], [], 0
                for _ in range(self.rounds):
                    quiet.append(p95(cluster.load("--unique", *OTHERS, "--seconds", self.seconds, to=to).result()[1]))
                    flood = cluster.load("--unique", "--sessions", sessions, "--size", size, "--seconds", self.seconds + 2, "--bind-source", "127.0.0.3", to=to)
                    answers = cluster.load("--unique", *OTHERS, "--seconds", self.seconds, to=to).result()[1]
                    beside.append(p95(answers))
                    refused += sum(answer.code != 250 for answer in answers.values())
                    rates.append(flood.result()[0]["rate"])
                print(f"flood at {door.lower()}, {sessions} sessions of {size} bytes, {spread(rates, ' msg/s', 0)}: p95 of others quiet {spread(quiet, ' ms')}, "
                      f"beside it {spread(beside, ' ms')}; ratio {statistics.median(beside) / statistics.median(quiet):.2f}   goal < 2; refused {refused}")
