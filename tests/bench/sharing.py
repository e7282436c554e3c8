"""sharing.py: what nodes share through coordinators costs: decisions, refusals at connect, heartbeats and the cluster state.

Each beside what could be at best: the statement that decides, called by pgbench with many decisions at once; a loop that only accepts, writes and closes,
and Postfix's postscreen.
"""
import contextlib
import json
import os
import random
import re
import resource
import statistics
import subprocess
import threading
import time

from measure import cpu_by_role, cpu_seconds, spread, weir
from narrow import SHARES, Narrow
from postfix import Postfix

OPEN, BUCKETS = 1000, 10000
BATCHES = (16, 64, 128, 256)  # decisions of one statement; a coordinator takes at most 256 costs, which are 128 decisions
COUNTS = (10, 100, 1000)


def per_thousand(before, after, count):
    """CPU milliseconds per 1,000 of each role that used any."""
    return {role: 1e6 * (after[role] - before.get(role, 0)) / max(1, count) for role in after if after[role] > before.get(role, 0)}


def words_of(cpu):
    return ", ".join(f"{role} {statistics.median(values):.1f}" for role, values in sorted(cpu.items()))


class Decider:
    """A key and a configuration for weir-decide, in a cluster."""

    def __init__(self, cluster):
        self.cluster, folder = cluster, cluster.dir / "bench"
        folder.mkdir()
        public = subprocess.run([weir.BIN / "weirctl", "keys", "generate", folder / "key"], capture_output=True, text=True, check=True).stdout.strip()
        cluster.weirctl("keys", "add", "bench", "edge", public)
        (folder / "weir.conf").write_text(f"key_file = {folder}/key\n\ninclude ../common.conf\n")
        self.config = folder / "weir.conf"

    def run(self, seconds, *words):
        done = subprocess.run([weir.BIN / "weir-decide", "-c", self.config, "--name", "bench", "--seconds", str(seconds), "--buckets", str(BUCKETS), *map(str, words)],
                              capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
        assert report["failed"] == 0, done.stdout + done.stderr
        return report


def statement(decisions):
    """A call with as many decisions of the two kinds that weir-decide asks for, by turns, as a coordinator makes it."""
    costs = []
    for number in range(decisions):
        client = random.randrange(BUCKETS)
        costs += [(number, f"bench {what} {client}") for what in (("messages", "recipients", "mail") if number % 2 else ("connections",))]

    def array(kind, values):
        return "'{" + ",".join(f'"{v}"' for v in values) + "}'::" + kind + "[]"
    many, places = len(costs), {}
    place = [places.setdefault(bucket, len(places) + 1) for _, bucket in costs]
    numbers = [array("bigint", [value] * many) for value in (1, 10**9, 60000, 10**9, 0)]
    falses = array("boolean", ["f"] * many)
    return (f"SELECT took, wait, given FROM limit_decide({array('integer', [n for n, _ in costs])}, {array('integer', place)}, "
            f"{', '.join(numbers)}, {falses}, {falses}, {array('text', places)});\n")


def statements_rate(cluster, folder, decisions, connections, seconds):
    """Decisions a second of pgbench, of as many different ones as there are buckets of a kind: weir-decide's find no row in a cache, either."""
    paths, files = [], 20
    each = -(-BUCKETS // files // decisions)
    for number in range(files):
        path = folder / f"batch-{decisions}-{number}.sql"
        if not path.exists():
            path.write_text("".join(statement(decisions) for _ in range(each)))
        paths += ["-f", path]
    done = subprocess.run(["pgbench", "-n", "-M", "prepared", "-c", str(connections), "-j", str(connections), "-T", str(seconds), *paths, cluster.env["DATABASE_URL"]],
                          capture_output=True, text=True, check=True)
    return each * decisions * float(re.search(r"^tps = ([0-9.]+)", done.stdout, re.M).group(1))


def machine_p99(cluster, folder, rate, seconds):
    """Milliseconds from when it was due, of a statement that does nothing, so many a second, by pgbench: what machine and PostgreSQL add without any work."""
    path, log = folder / "nothing.sql", folder / "nothing"
    path.write_text("SELECT 1;\n")
    subprocess.run(["pgbench", "-n", "-M", "prepared", "-c", "2", "-j", "1", "-R", str(max(1, int(rate))), "-T", str(seconds), "-l", f"--log-prefix={log}", "-f", path,
                    cluster.env["DATABASE_URL"]], capture_output=True, text=True, check=True)
    lines = [line for found in folder.glob("nothing.*") if found != path for line in found.read_text().splitlines()]
    for found in folder.glob("nothing.*"):
        found.unlink()
    return sorted(int(line.split()[2]) for line in lines)[len(lines) * 99 // 100] / 1000


def best_statements(cluster, folder):
    """Their rate, and how many decisions each, on how many connections."""
    return max(((statements_rate(cluster, folder, size, connections, 2), size, connections) for size in BATCHES for connections in (1, 2)))


class Crowd(threading.Thread):
    """Edges that only tell and hear: each with a link for heartbeats and one for the cluster state, as real ones have. Two heartbeats a second, every second
    one with all the series that a real edge tells."""

    def __init__(self, cluster, count):
        super().__init__(daemon=True)
        import zmq
        from coordinators import pb
        self.zmq, self.pb, self.ends = zmq, pb, threading.Event()
        self.beats = self.beat_bytes = self.states = self.state_bytes = self.acks = self.late = 0
        self.context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4 * count + 100)
        conf = (cluster.dir / "common.conf").read_text()
        self.listen, self.publish, key = (re.search(rf"^{word} = (.*)", conf, re.M).group(1) for word in ("listen", "publish", "public_key"))
        self.server = zmq.utils.z85.encode(bytes.fromhex(key))
        told = cluster.query("SELECT metrics::text FROM node_metrics WHERE node = 'edge-1' AND worker = 0 AND boot <> 0")[0][0]
        self.samples = [pb.MetricSample(name=one["n"].encode(), labels=one["l"].encode(), kind=one["k"], value=one["v"], count=one.get("c", 0),
                                        bounds=one.get("b", []), buckets=one.get("u", [])) for one in json.loads(told)]
        keys = [zmq.curve_keypair() for _ in range(count)]
        rows = ",".join(f"('{zmq.utils.z85.decode(public).hex()}','crowd-{n + 1}')" for n, (public, _) in enumerate(keys))
        cluster.query(f"BEGIN; CREATE TEMP TABLE crowd (key, name) ON COMMIT DROP AS VALUES {rows};"
                      " INSERT INTO node (name, role) SELECT name, 'edge' FROM crowd ON CONFLICT DO NOTHING;"
                      " INSERT INTO node_key (key, name, role, added_by) SELECT key, name, 'edge', 'bench' FROM crowd; COMMIT")
        time.sleep(2)  # until the coordinator knows the keys: libzmq does not try again when it is refused
        self.nodes = [self.enter(f"crowd-{n + 1}", *pair) for n, pair in enumerate(keys)]

    def socket(self, kind, to, public, secret):
        sock = self.context.socket(kind)
        sock.setsockopt(self.zmq.LINGER, 0)
        sock.curve_publickey, sock.curve_secretkey, sock.curve_serverkey = public, secret, self.server
        if kind == self.zmq.SUB:
            sock.setsockopt(self.zmq.SUBSCRIBE, b"")
        sock.connect(to)
        return sock

    def enter(self, name, public, secret):
        node = {"boot": random.getrandbits(63), "dealer": self.socket(self.zmq.DEALER, self.listen, public, secret), "sub": self.socket(self.zmq.SUB, self.publish, public, secret)}
        beat = {"node": name.encode(), "role": self.pb.ROLE_EDGE, "boot": node["boot"], "state": self.pb.NODE_DRAINED, "version": b"bench", "pid": 1}
        node["short"] = self.pb.Frame(version=2, heartbeat=self.pb.Heartbeat(**beat))
        node["long"] = self.pb.Frame(version=2, heartbeat=self.pb.Heartbeat(metrics=self.samples, **beat))
        node["dealer"].send(self.pb.Frame(version=2, node_hello=self.pb.NodeHello(node=name.encode(), role=self.pb.ROLE_EDGE, boot=node["boot"], version=b"bench", pid=1)).SerializeToString())
        return node

    def beat(self, node, number):
        frame = node["long" if number % 2 else "short"]
        frame.heartbeat.sequence = number
        data = frame.SerializeToString()
        with contextlib.suppress(self.zmq.Again):
            node["dealer"].send(data, self.zmq.DONTWAIT)
            self.beats += 1
            self.beat_bytes += len(data)

    def run(self):
        poller = self.zmq.Poller()
        for node in self.nodes:
            poller.register(node["dealer"], self.zmq.POLLIN)
            poller.register(node["sub"], self.zmq.POLLIN)
        subs = {node["sub"] for node in self.nodes}
        number, began, sent = 1, time.monotonic(), 0
        while not self.ends.is_set():
            due = int((time.monotonic() - began) * 2 * len(self.nodes))
            self.late = max(self.late, (due - sent) / 2 / len(self.nodes))
            for _ in range(min(due - sent, 200)):
                number += sent % len(self.nodes) == 0
                self.beat(self.nodes[sent % len(self.nodes)], number)
                sent += 1
            for sock, _ in poller.poll(1 if sent < due else 20):
                data = sock.recv(copy=False)
                if sock in subs:
                    self.states += 1
                    self.state_bytes += len(data)
                else:
                    self.acks += 1

    def totals(self):
        return self.beats, self.beat_bytes, self.states, self.state_bytes

    def close(self):
        self.ends.set()
        threading.Thread.join(self)
        for node in self.nodes:
            node["dealer"].close()
            node["sub"].close()
        self.context.term()


class Sharing:
    """Parts of the benchmark; of Bench it uses rounds, seconds, quick and cluster()."""

    def decisions(self):
        """Limits decided through one coordinator, and by the same statement called directly."""
        cluster = self.cluster(edges=1, scanners=1, scan="off", sets=["edge.workers=1"])
        (cluster.dir / "run/postgres-1.pid").write_text(str(cluster.postgres_pid()))
        decider, folder = Decider(cluster), cluster.dir / "bench"
        best = best_statements(cluster, folder)
        rates, direct, alone, shares, cpu, half, p50, nothing = [], [], [], [], {}, [], [], []
        for _ in range(self.rounds):
            before = cpu_by_role(cluster)
            direct.append(statements_rate(cluster, folder, best[1], best[2], self.seconds))
            alone.append(per_thousand(before, cpu_by_role(cluster), direct[-1] * self.seconds)["postgres"])
            before = cpu_by_role(cluster)
            report = decider.run(self.seconds, "--open", OPEN)
            for role, used in per_thousand(before, cpu_by_role(cluster), report["decisions"]).items():
                cpu.setdefault(role, []).append(used)
            rates.append(report["rate"])
            shares.append(100 * report["rate"] / direct[-1])
        for _ in range(self.rounds):
            before = cluster.metric("weir_limit_statements_total", node="coordinator-1")
            report = decider.run(self.seconds, "--rate", int(statistics.median(rates) / 2))
            half.append(report["p99_ms"])
            p50.append(report["p50_ms"])
            often = (cluster.metric("weir_limit_statements_total", node="coordinator-1") - before) / (self.seconds + 1)
            nothing.append(machine_p99(cluster, folder, often, self.seconds))
        print(f"decisions through one coordinator, {OPEN} under way: {spread(rates, ' /s', 0)}; the best of the same statements directly, {best[1]} decisions each on "
              f"{best[2]} connections: {spread(direct, ' /s', 0)}; share {spread(shares, ' %')}   goal >= 70 %")
        print(f"  CPU ms per 1,000 decisions: {words_of(cpu)}; PostgreSQL's directly {spread(alone)}")
        print(f"  at half of that rate: p50 {spread(p50, ' ms', 2)}, p99 {spread(half, ' ms', 2)}   goal < 5 ms; of SELECT 1 by pgbench, as often as those statements, on this machine with "
              f"whatever else it does: p99 {spread(nothing, ' ms', 2)}")
        narrow = Narrow.of(cluster.postgres_pid())
        for percent in SHARES if narrow is not None else ():
            with narrow.held(percent):
                self.decisions_narrow(percent, cluster, decider, folder)
        if narrow is not None:
            narrow.end()

    def decisions_narrow(self, percent, cluster, decider, folder):
        """The same with a database that has a small share of one core."""
        best, direct, rates = best_statements(cluster, folder), [], []
        for _ in range(self.rounds):
            direct.append(statements_rate(cluster, folder, best[1], best[2], self.seconds))
            rates.append(decider.run(self.seconds, "--open", OPEN)["rate"])
        half = [decider.run(self.seconds, "--rate", int(statistics.median(rates) / 2)) for _ in range(self.rounds)]
        print(f"  PostgreSQL with {percent} % of one core: {spread(rates, ' /s', 0)}; the statements directly, {best[1]} each on {best[2]} connections: {spread(direct, ' /s', 0)}; "
              f"share {spread([100 * ours / alone for ours, alone in zip(rates, direct)], ' %')}   goal >= 70 %; at half of that rate p50 "
              f"{spread([report['p50_ms'] for report in half], ' ms', 2)}, p99 {spread([report['p99_ms'] for report in half], ' ms', 2)}")

    def refusals(self):
        """Clients that are over a limit, refused at connect; each server's own CPU time says what one core could do."""
        cluster = self.cluster(edges=1, scanners=1)
        (cluster.dir / "policy/limits").write_text("inbound prefix connections 1/day\n")
        cluster.apply_policy()
        bare_port = cluster.base_port + 399
        bare = subprocess.Popen([weir.BIN / "weir-knock", "--serve", f"127.0.0.1:{bare_port}"])
        servers = {"bare accept-write-close": (f"127.0.0.1:{bare_port}", lambda: cpu_seconds(bare.pid)),
                   "edge": (cluster.relay(), lambda: cpu_seconds(cluster.pid("edge-1")))}
        with contextlib.ExitStack() as held:
            held.callback(bare.wait)
            held.callback(bare.terminate)
            if os.geteuid() == 0:
                postfix = held.enter_context(Postfix(listens="postscreen", postscreen_access_list="reject", postscreen_denylist_action="drop", postscreen_greet_action="drop"))
                master = int((postfix.dir / "queue/pid/master.pid").read_text())
                servers["postscreen"] = (f"127.0.0.1:{postfix.port}", lambda: cpu_seconds(master))
            seen = {name: ([], []) for name in servers}
            for _ in range(self.rounds):
                for name, (address, used) in servers.items():
                    before = used()
                    done = subprocess.run([weir.BIN / "weir-knock", "--connect", address, "--seconds", str(self.seconds)], capture_output=True, text=True, check=True)
                    report = json.loads(done.stdout)
                    spent = used() - before
                    seen[name][0].append(report["rate"])
                    seen[name][1].append(report["refused"] / spent if spent else 0)
                    if report["served"] > 10 or report["failed"] > report["refused"] / 100:
                        print(f"  {name}: not all were refused: {done.stdout.strip()}")
        for name, (rates, each) in seen.items():
            print(f"refused at connect by {name}: {spread(rates, ' /s', 0)} beside their client; {spread(each, ' per second of CPU time', 0)}")

    def nodes(self):
        """What heartbeats and the cluster state cost one coordinator and its database, by the number of nodes."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        for count in COUNTS:
            cluster = self.cluster(edges=1, scanners=1)
            (cluster.dir / "run/postgres-1.pid").write_text(str(cluster.postgres_pid()))
            weir.wait_until(lambda c=cluster: c.query("SELECT 1 FROM node_metrics WHERE node = 'edge-1' AND worker = 0 AND boot <> 0"), 15, "the edge's series")
            crowd = Crowd(cluster, count)
            crowd.start()
            try:
                weir.wait_until(lambda c=crowd, n=count: c.acks >= 4 * n and c.states > 2 * n, 60, "heartbeats of all")
                before, told, began = cpu_by_role(cluster), crowd.totals(), time.monotonic()
                time.sleep(2 * self.seconds)
                used, seconds = cpu_by_role(cluster), time.monotonic() - began
                beats, beat_bytes, states, state_bytes = (now - then for now, then in zip(crowd.totals(), told))
            finally:
                crowd.close()
                self.end()
            spent = {role: used[role] - before[role] for role in ("coordinator", "postgres")}
            size, each = state_bytes / max(1, states), 1e6 * sum(spent.values()) / max(1, beats)
            print(f"{count:5} nodes of {len(crowd.samples)} series: {beats / seconds:.0f} heartbeats/s ({50 * beats / seconds / count:.0f} % of what is due), {beat_bytes / seconds / 1e6:.2f} MB/s in; "
                  f"state of {size / 1024:.1f} KiB, {states / seconds / count:.1f} times a second to each: {state_bytes / seconds / 1e6:.2f} MB/s out; CPU: coordinator "
                  f"{100 * spent['coordinator'] / seconds:.1f} %, PostgreSQL {100 * spent['postgres'] / seconds:.1f} % of a core, {each:.0f} us for each heartbeat")
        entry = size / COUNTS[-1]
        print(f"heartbeats grow with the nodes; the state grows with them, too, and goes to all: by the square. 10,000 nodes: 20000 heartbeats/s, {each / 50:.0f} cores at that cost, "
              f"and a state of {10 * entry:.0f} KB, twice a second to each: {20 * entry / 1e3:.2f} MB/s to a node, {200 * entry / 1e3:.1f} GB/s from all coordinators together")
