"""policies.py: a large policy from `weirctl policy apply` to the edge, what a lookup in it costs, and what clients notice meanwhile."""
import random
import statistics
import subprocess
import threading
import time

from measure import spread, weir

DOMAINS, ALIASES = 5000, 100_000


class Pinger(threading.Thread):
    """The longest that a NOOP took: no less than the loop stood still. With the machine's own delays, so a quiet while is measured, too."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.client, self.ends, self.longest = weir.Smtp(address), threading.Event(), 0

    def run(self):
        while not self.ends.is_set():
            began = time.perf_counter()
            self.client.command("NOOP")
            self.longest = max(self.longest, time.perf_counter() - began)
            time.sleep(0.001)

    def stop(self):
        self.ends.set()
        self.join()
        self.client.close()
        return 1000 * self.longest


def rcpt_us(address, names, burst=500):
    """Microseconds of a refused RCPT, many in a row, so that the network is nearly none of it."""
    with weir.Smtp(address, source="127.0.0.2") as client:
        client.command("MAIL FROM:<a@example.org>")
        times = []
        for at in range(0, len(names), burst):
            part = names[at:at + burst]
            began = time.perf_counter()
            client.send("".join(f"RCPT TO:<{name}>\r\n" for name in part).encode())
            for _ in part:
                client.reply()
            times.append(1e6 * (time.perf_counter() - began) / len(part))
    return statistics.median(times)


def lookups(folder, names):
    """What an edge's own code needs for each of them, without an edge around it: {"p50_us": ..., "p99_us": ...}."""
    done = subprocess.run([weir.BIN / "weir-policy-lookup", folder], input="\n".join(names), capture_output=True, text=True, check=True)
    return {key: float(value) for key, value in (word.split("=") for word in done.stdout.split())}


def lookups_text(runs):
    half, most = ([run[key] for run in runs] for key in ("p50_us", "p99_us"))
    return f"p50 {spread(half, ' us', 2)}, p99 {spread(most, ' us', 2)}"


class Policies:
    def policy(self):
        """100,000 aliases and 5,000 domains, beside the handful of lines that a test cluster has."""
        cluster = self.cluster(edges=1, scanners=1, scan="off",
                               sets=["edge.workers=1", "listener.max_errors=1000000", "listener.max_commands=10000000", "listener.max_recipients=100000"])
        folder = cluster.dir / "policy"
        small = (folder / "mailertable").read_text()
        (worker,) = weir.workers_of(cluster, "edge-1")
        pick = random.Random(1).sample(range(ALIASES), 4000)
        own = (folder / "local-host-names").read_text()
        base = {"mailertable": small, "local-host-names": own + "closed.example.edu\n", "aliases": "one: one@old.example.net\n"}
        large = dict(base, aliases="".join(f"user{i}: user{i}@old{i % DOMAINS}.example.net\n" for i in range(ALIASES)),
                     mailertable=small + "".join(f"old{i}.example.net error:5.1.1:550 gone\n" for i in range(DOMAINS)))
        apply, follow, gap, quiet, lookup, back, alone, alone_back = [], [], [], [], [], [], [], []
        before = weir.memory_kib(worker)
        for number in range(self.rounds):
            for name, files in (("small", base), ("large", large)):
                for file, text in files.items():
                    (folder / file).write_text(text)
                marker = f"marker{number}{name}.example.net"
                with open(folder / "mailertable", "a", encoding="ascii") as table:
                    table.write(f"{marker} error:5.2.1:550 here\n")
                pinger = Pinger(cluster.relay())
                pinger.start()
                began = time.monotonic()
                cluster.weirctl("policy", "apply", str(folder))
                applied = time.monotonic()
                with weir.Smtp(cluster.relay(), source="127.0.0.2") as client:
                    client.command("MAIL FROM:<a@example.org>")
                    weir.wait_until(lambda: "5.2.1" in client.command(f"RCPT TO:<x@{marker}>").text, 30, "the policy on the edge")
                followed = time.monotonic()
                longest = pinger.stop()
                pinger = Pinger(cluster.relay())
                pinger.start()
                time.sleep(followed - began)
                still = pinger.stop()
                if name == "small":
                    back.append(rcpt_us(cluster.relay(), ["one@closed.example.edu"] * 4000))
                    alone_back.append(lookups(folder, ["one@closed.example.edu"] * 4000))
                    continue
                apply.append(applied - began)
                follow.append(followed - applied)
                gap.append(longest)
                quiet.append(still)
                names = [f"user{i}@closed.example.edu" for i in pick]
                lookup.append(rcpt_us(cluster.relay(), names))
                alone.append(lookups(folder, names))
        size = sum(len(text) for text in large.values()) / 1e6
        print(f"policy of {DOMAINS} domains and {ALIASES} aliases, {size:.1f} MB: apply {spread(apply, ' s', 2)}, in force on the edge {spread(follow, ' s', 2)} later")
        print(f"  slowest NOOP from apply until then {spread(gap, ' ms')}; as long without it {spread(quiet, ' ms')}")
        print(f"  RCPT of an alias and its domain's route: {spread(lookup, ' us', 2)}; with one alias and a handful of routes {spread(back, ' us', 2)}")
        print(f"  the lookups in it alone: {lookups_text(alone)}; with the small one {lookups_text(alone_back)}")
        print(f"  memory of the worker: {(weir.memory_kib(worker) - before) / 1024:.1f} MiB more than before")
