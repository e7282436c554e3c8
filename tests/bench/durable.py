"""durable.py: mail that is on disk before its client hears 250, beside Postfix on the same disk and beside bare PostgreSQL.

Weir and Postfix have their default durability (fsync and synchronous_commit on; Postfix's own), get the same mail from the same generator by
turns, and neither scans. Postfix only ever runs in a folder of its own here.
"""
import contextlib
import itertools
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import threading
import time

from measure import cpu_by_role, cpu_seconds, load_cpu, spread, start_sink, weir
from narrow import SHARES, Narrow
from postfix import Postfix

PG_BIN = "/usr/lib/postgresql/15/bin"
TABLES = ("spool_message", "spool_recipient", "spool_body", "spool_queue")
ALL_TABLES = (*TABLES, "audit")  # what Weir writes of each message it accepts
SESSIONS = 400  # where the database is the narrow place: as many as fill its batches
NOWHERE = "127.0.0.1:9"  # a next hop that refuses connections: what is accepted stays


class Lines:
    """Counts a word in a log that grows, reading each byte once."""

    def __init__(self, path, word):
        self.path, self.word, self.offset, self.count, self.rest = path, word, 0, 0, b""

    def look(self):
        with contextlib.suppress(OSError), open(self.path, "rb") as log:
            log.seek(self.offset)
            data = log.read()
            self.offset += len(data)
            lines = (self.rest + data).split(b"\n")
            self.rest = lines.pop()
            self.count += sum(self.word in line for line in lines)
        return self.count


class Memory(threading.Thread):
    """The most memory (PSS) that some process trees had at once, in MiB, over what they had at first."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.ends = pids, threading.Event()
        self.first = {role: weir.memory_kib(pid) for role, pid in pids.items()}
        self.most = dict(self.first)

    def run(self):
        while not self.ends.wait(0.05):
            for role, pid in self.pids.items():
                self.most[role] = max(self.most[role], weir.memory_kib(pid))

    def grown(self):
        self.ends.set()
        self.join()
        return {role: (self.most[role] - self.first[role]) / 1024 for role in self.pids}


class Beside:
    """Weir and Postfix on one disk, both offered the same load. Or Weir alone."""

    def __init__(self, bench, next_hop, postfix=True):
        folder = os.environ.get("WEIR_BENCH_DISK", "/var/tmp")
        kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True).stdout.strip()
        assert kind not in ("tmpfs", "ramfs"), f"{folder} is a {kind}: WEIR_BENCH_DISK must name a folder on a real disk"
        self.before, tempfile.tempdir = tempfile.tempdir, folder
        self.cluster = weir.Cluster(signatures=bench.signatures, next_hop=next_hop, edges=1, scanners=1, scan="off")
        self.cluster.up()
        (self.cluster.dir / "run/postgres-1.pid").write_text(str(self.cluster.postgres_pid()))  # its CPU time counts
        durable = [self.sql(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        print(f"on {folder} ({kind}); PostgreSQL's fsync and synchronous_commit: {', '.join(durable)}")
        self.postfix = None
        if postfix:
            self.start_postfix(next_hop)

    def start_postfix(self, next_hop):
        held = {"smtpd_client_restrictions": "check_client_access static:HOLD"} if next_hop == NOWHERE else {}
        # No pause of cleanup when mail comes faster than it goes, and the queue manager's own pace.
        self.postfix = Postfix(listens=True, relayhost=re.sub("(.*):", r"[\1]:", next_hop), in_flow_delay="0", queue_run_delay="300s",
                               minimal_backoff_time="300s", maximal_backoff_time="4000s", message_size_limit="0", **held)
        self.postfix.__enter__()
        self.master = int((self.postfix.dir / "queue/pid/master.pid").read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.postfix is not None:
            self.postfix.__exit__()
        self.cluster.down()
        tempfile.tempdir = self.before

    def database(self):
        return pathlib.Path((self.cluster.dir / "postgres.path").read_text().strip())

    def sql(self, text):
        return subprocess.run([f"{PG_BIN}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.database(), "-U", "weir", "-c", text, "weir"],
                              capture_output=True, text=True, check=True).stdout.strip()

    def empty(self):
        """The spool and the audit, as tables are at the beginning of each run of inserts."""
        self.sql("BEGIN; TRUNCATE spool_message, spool_recipient, spool_body, spool_queue, spool_wake, spool_lane, spool_destination, spool_event, audit;"
                 " UPDATE spool_usage SET messages = 0, bytes = 0, recipients = 0, delivered = 0, failed = 0, discarded = 0, abandoned = 0; COMMIT")

    def connections(self):
        """CPU seconds of the coordinators' connections, by what they are for."""
        whose = self.sql("SELECT pid, CASE WHEN application_name LIKE '% store' OR application_name LIKE '% spare' THEN 'stores' WHEN application_name LIKE '% lease' OR application_name LIKE '% result' THEN 'claims'"
                         " ELSE 'audit and cluster' END FROM pg_stat_activity WHERE application_name LIKE 'weir %'")
        found = {}
        for pid, name in (line.split("|") for line in whose.splitlines()):
            found[name] = found.get(name, 0) + cpu_seconds(int(pid))
        return found

    def weir(self, *words, until_removed=False):
        before = self.connections()
        report = self.measure(self.cluster.env["EDGE_1_HANDOFF"], lambda: cpu_by_role(self.cluster),
                              until_removed and Lines(self.cluster.dir / "log/edge-1.log", b": removed"), words)
        report["connections"] = {name: spent - before.get(name, 0) for name, spent in self.connections().items()}
        return report

    def kept(self, *words):
        """The same into an empty spool."""
        self.empty()
        return self.weir(*words)

    def held_by_postfix(self, *words, until_removed=False):
        report = self.measure(f"127.0.0.1:{self.postfix.port}", lambda: {"postfix": cpu_seconds(self.master)},
                              until_removed and Lines(self.postfix.dir / "mail.log", b": removed"), words)
        subprocess.run(["postsuper", "-c", self.postfix.dir / "etc", "-d", "ALL"], capture_output=True, check=True)
        return report

    @staticmethod
    def measure(to, cpu, removed, words):
        """weir-load's report; with removed also how long it took until all of it was delivered."""
        first = removed.look() if removed else 0
        before, mine, started = cpu(), load_cpu(), time.monotonic()
        report, answers = weir.Load(None, to, ("--unique", *words)).result(600)
        report["accepted_seconds"] = time.monotonic() - started
        accepted = sum(answer.code == 250 for answer in answers.values())
        report["refused"] = len(answers) - accepted
        if removed:
            weir.wait_until(lambda: removed.look() - first >= accepted, 600, "the end of the queue")
            report["delivered_rate"] = accepted / (time.monotonic() - started)
            report["delivered_seconds"] = time.monotonic() - started
        after = cpu()
        report["cpu"] = {role: after[role] - before.get(role, 0) for role in after}
        report["load_cpu"] = load_cpu() - mine
        return report


def each_ms(report):
    """CPU time of each role for one message, and of all but the generator."""
    each = {role: 1000 * seconds / max(1, report["messages"]) for role, seconds in report["cpu"].items() if role not in ("scanner", "sink")}
    return each, sum(each.values())


class Inserts:
    """The best that this PostgreSQL does with the same rows, made in the server itself: many to a statement, no other work, nobody to answer."""

    def __init__(self, both, seconds, tables=TABLES, clients=(1, 2, 4), batches=(50, 250, 1000)):
        self.both, self.seconds, self.names = both, seconds, tables
        self.schema = schema = f"bench_{type(self).__name__.lower()}_{len(tables)}"
        self.tables = [f"{schema}.{table}" for table in tables]
        both.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; CREATE SEQUENCE {schema}.ids CACHE 1000")
        parts = []
        for table in tables:
            options = both.sql(f"SELECT 'WITH (' || array_to_string(reloptions, ', ') || ')' FROM pg_class WHERE oid = 'public.{table}'::regclass")
            both.sql(f"CREATE TABLE {schema}.{table} (LIKE public.{table} INCLUDING ALL) {options}")
            # Not CREATE TABLE AS: that would compress the body, which then stays so in the other table.
            both.sql(f"CREATE TABLE {schema}.one_{table} (LIKE public.{table} INCLUDING STORAGE)")
            weir.wait_until(lambda t=table: both.sql(f"INSERT INTO {schema}.one_{t} SELECT * FROM public.{t} LIMIT 1 RETURNING 1"), 30, "a row of a message")
            columns = both.sql(f"SELECT attname FROM pg_attribute WHERE attrelid = 'public.{table}'::regclass AND attnum > 0 ORDER BY attnum").split()
            chosen = ", ".join("i.id" if column == "id" else f"t.{column}" for column in columns)
            parts.append(f"{table} AS (INSERT INTO {schema}.{table} SELECT {chosen} FROM i, {schema}.one_{table} AS t)")
        self.script = both.cluster.dir / f"{schema}.sql"
        self.script.write_text(f"WITH i AS MATERIALIZED (SELECT lpad(nextval('{schema}.ids')::text, 20, '0') AS id FROM generate_series(1, :batch)), "
                               + ", ".join(parts) + " SELECT;\n")
        found = {}
        for self.clients, self.batch in itertools.product(clients, batches):
            found[self.run(2)["rate"]] = self.clients, self.batch
        self.clients, self.batch = found[max(found)]

    def run(self, seconds=None):
        seconds = seconds or self.seconds
        before = cpu_by_role(self.both.cluster)["postgres"]
        out = subprocess.run([f"{PG_BIN}/pgbench", "-n", "-M", "prepared", "-c", str(self.clients), "-T", str(seconds), "-D", f"batch={self.batch}",
                              "-f", self.script, "-h", self.both.database(), "-U", "weir", "weir"], capture_output=True, text=True, check=True).stdout
        used = cpu_by_role(self.both.cluster)["postgres"] - before
        done = int(re.search(r"transactions actually processed: (\d+)", out).group(1)) * self.batch
        self.both.sql("TRUNCATE " + ", ".join(self.tables))
        return {"rate": float(re.search(r"^tps = ([\d.]+)", out, re.M).group(1)) * self.batch, "each": 1000 * used / max(1, done)}


class Copies(Inserts):
    """The same rows from clients: COPY in binary form, nothing that a client does costs less. What comes has to be received and taken apart, as it has to be of mail."""

    def run(self, seconds=None):
        seconds = seconds or self.seconds
        before = cpu_by_role(self.both.cluster)["postgres"]
        words = [weir.BIN / "weir-copies", f"host={self.both.database()} user=weir dbname=weir", self.schema, str(self.batch), str(seconds), *self.names]
        clients = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(self.clients)]
        said = [client.communicate()[0].split() for client in clients]
        assert all(client.returncode == 0 for client in clients), "weir-copies failed"
        used = cpu_by_role(self.both.cluster)["postgres"] - before
        self.both.sql("TRUNCATE " + ", ".join(self.tables))
        return {"rate": sum(int(rows) / float(took) for rows, took in said), "each": 1000 * used / max(1, sum(int(rows) for rows, _ in said))}


def print_cpu(name, each, total, generator):
    print(f"  CPU ms per message, {name}: {spread(total, '', 3)}" +
          (" = " + " + ".join(f"{role} {statistics.median(values):.3f}" for role, values in sorted(each.items())) if len(each) > 1 else "") +
          f"; generator {statistics.median(generator):.3f}")


class Series:
    """Reports of alternating runs of one side."""

    def __init__(self, name):
        self.name, self.reports = name, []

    def add(self, report):
        assert report["messages"] > 0, f"{self.name} took nothing"
        self.reports.append(report)

    def of(self, key):
        return [report[key] for report in self.reports]

    def refused(self):
        return sum(self.of("refused"))

    def print_cpu(self):
        sums, each = [], {}
        for report in self.reports:
            roles, total = each_ms(report)
            sums.append(total)
            for role, value in roles.items():
                each.setdefault(role, []).append(value)
        print_cpu(self.name, each, sums, [1000 * report["load_cpu"] / report["messages"] for report in self.reports])
        return sums, each

    def print_connections(self):
        each = {}
        for report in self.reports:
            of_all = report["connections"] | {"its own": report["cpu"]["postgres"] - sum(report["connections"].values())}
            for name, spent in of_all.items():
                each.setdefault(name, []).append(1000 * spent / report["messages"])
        print("  of PostgreSQL's: " + ", ".join(f"{name} {statistics.median(values):.3f}" for name, values in each.items()))


def ratios(one, other):
    return [a / b for a, b in zip(one, other)]


class Durable:
    """Parts of the benchmark; see tests/bench/README.md."""

    def accept(self):
        """Handoff of 4 KiB messages that are stored and stay: Weir, Postfix (into its hold queue), bare inserts."""
        with Beside(self, NOWHERE) as both:
            for sessions in (20, 100):
                ours, theirs, limit = Series("Weir"), Series("Postfix"), []
                words = ("--sessions", sessions, "--seconds", self.seconds, "--size", 4096)
                both.weir("--sessions", sessions, "--messages", 100, "--size", 4096)
                inserts = Inserts(both, self.seconds)
                for _ in range(self.rounds):
                    theirs.add(both.held_by_postfix(*words))
                    ours.add(both.kept(*words))
                    limit.append(inserts.run())
                best = [run["rate"] for run in limit]
                print(f"accepted durably, 4 KiB, {sessions} sessions: Weir {spread(ours.of('rate'), ' msg/s', 0)}, Postfix {spread(theirs.of('rate'), ' msg/s', 0)}: "
                      f"{spread(ratios(ours.of('rate'), theirs.of('rate')), ' times', 2)}   goal >= 3; refused {ours.refused()} and {theirs.refused()}")
                print(f"  best batched inserts of the same rows, made within PostgreSQL, {inserts.clients} connections of {inserts.batch}: {spread(best, ' msg/s', 0)}; "
                      f"Weir has {spread([100 * share for share in ratios(ours.of('rate'), best)], ' %')}   goal >= 70 %")
                sums, each = ours.print_cpu()
                ours.print_connections()
                theirs.print_cpu()
                cores = os.cpu_count()
                bound = [1000 * cores / (total + 1000 * report["load_cpu"] / report["messages"]) for total, report in zip(sums, ours.reports)]
                print(f"  what {cores} cores without a pause could accept at Weir's and the generator's CPU time per message: {spread(bound, ' msg/s', 0)}")
                bare = [run["each"] for run in limit]
                print(f"  CPU ms per message, PostgreSQL at those inserts: {spread(bare, '', 3)}; "
                      f"as part of PostgreSQL's for Weir {spread([100 * share for share in ratios(bare, each['postgres'])], ' %')}")
                for side in (ours, theirs):
                    print(f"  latency, {side.name}: p50 {spread(side.of('latency_p50_ms'), ' ms')}  p99 {spread(side.of('latency_p99_ms'), ' ms')}")

    def narrow(self):
        """Handoff of 4 KiB messages and bare inserts, both with a PostgreSQL that has a small share of one core."""
        words = ("--sessions", SESSIONS, "--seconds", self.seconds, "--size", 4096)
        with Beside(self, NOWHERE, postfix=False) as both, contextlib.ExitStack() as held:
            narrow = Narrow.of(both.cluster.postgres_pid())
            if narrow is None:
                return
            held.callback(narrow.end)
            for percent in SHARES:
                ours, limits = Series("Weir"), ([], [], [])
                both.weir("--sessions", SESSIONS, "--messages", 1000, "--size", 4096)
                with narrow.held(percent):
                    # no others were ever best
                    inserts = [kind(both, self.seconds, tables, clients=(1, 2), batches=(250, 1000)) for kind, tables in ((Copies, ALL_TABLES), (Inserts, ALL_TABLES), (Inserts, TABLES))]
                    for _ in range(self.rounds):
                        ours.add(both.kept(*words))
                        for one, limit in zip(inserts, limits):
                            limit.append(one.run())
                print(f"PostgreSQL with {percent} % of one core, 4 KiB, {SESSIONS} sessions: Weir {spread(ours.of('rate'), ' msg/s', 0)}; refused {ours.refused()}")
                for one, limit, which in zip(inserts, limits, ("copies of the same rows by clients", "inserts of the same rows, made within PostgreSQL", "inserts of the same rows but those of the audit, made there, too")):
                    best = [run["rate"] for run in limit]
                    print(f"  best batched {which}, {one.clients} connections of {one.batch}: {spread(best, ' msg/s', 0)}, "
                          f"CPU {spread([run['each'] for run in limit], ' ms per message', 3)}; Weir has {spread([100 * share for share in ratios(ours.of('rate'), best)], ' %')}"
                          + ("   goal >= 70 %" if one is inserts[0] else ""))
                ours.print_cpu()
                ours.print_connections()

    def through(self):
        """Accepted, stored and delivered: until the last of some thousands is gone from the queue."""
        sink, hop = start_sink()
        try:
            with Beside(self, hop) as both:
                ours, theirs = Series("Weir"), Series("Postfix")
                words = ("--sessions", 20, "--messages", 400 * self.seconds, "--size", 4096)
                for _ in range(self.rounds):
                    theirs.add(both.held_by_postfix(*words, until_removed=True))
                    ours.add(both.weir(*words, until_removed=True))
            rates, other = ours.of("delivered_rate"), theirs.of("delivered_rate")
            print(f"stored and delivered, 4 KiB, 20 sessions, {400 * self.seconds} messages: Weir {spread(rates, ' msg/s', 0)}, Postfix {spread(other, ' msg/s', 0)}: "
                  f"{spread(ratios(rates, other), ' times', 2)}   goal >= 3; refused {ours.refused()} and {theirs.refused()}")
            print(f"  accepted meanwhile: Weir {spread(ours.of('rate'), ' msg/s', 0)}, Postfix {spread(theirs.of('rate'), ' msg/s', 0)}")
            ours.print_cpu()
            theirs.print_cpu()
        finally:
            sink.terminate()
            sink.wait()

    def large(self):
        """Time and memory of one message of 50 MB through the spool."""
        sink, hop = start_sink()
        try:
            with Beside(self, hop) as both:
                ours, theirs, grown = Series("Weir"), Series("Postfix"), {}
                words = ("--sessions", 1, "--messages", 1, "--size", 50_000_000)
                cluster = both.cluster
                pids = {"edge": cluster.pid("edge-1"), "coordinator": cluster.pid("coordinator-1"), "postgres": cluster.postgres_pid(), "postfix": both.master}
                for _ in range(self.rounds):
                    for run, series, roles in ((both.held_by_postfix, theirs, ["postfix"]), (both.weir, ours, ["edge", "coordinator", "postgres"])):
                        memory = Memory({role: pids[role] for role in roles})
                        memory.start()
                        series.add(run(*words, until_removed=True))
                        for role, mib in memory.grown().items():
                            grown.setdefault(role, []).append(mib)
            for side in (ours, theirs):
                print(f"50 MB through the spool, {side.name}: accepted after {spread([ms / 1000 for ms in side.of('latency_p50_ms')], ' s', 2)}, "
                      f"delivered after {spread(side.of('delivered_seconds'), ' s', 2)}; refused {side.refused()}")
                side.print_cpu()
            print("  memory over idle, at most: " + ", ".join(f"{role} {spread(values, ' MiB')}" for role, values in grown.items()))
        finally:
            sink.terminate()
            sink.wait()
