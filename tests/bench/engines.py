"""engines.py: what spam engines cost beside the virus scan, and what a million quarantined messages cost whoever asks for some of them."""
import json
import os
import pathlib
import re
import statistics
import subprocess
import time

from measure import cpu_by_role, load, spread, weir

MILLION = 1_000_000
# As a store leaves it: each message has two recipients, with a body for one in a thousand, so that the table of bodies is not what is filled. {count}: messages.
FILL = """
SET synchronous_commit = off;
INSERT INTO quarantine_message (id, arrived_at, size, needed, dsn, envelope, node, listener, client, helo, tls, sender, message_id, verdict, scanner, engine,
        signatures, subject)
    SELECT lpad(n::text, 20, '0'), now() - n * interval '1 s', 5000, 1, false, '', 'edge-1', 'relay', '192.0.2.1', 'x', '', 'sender' || n % 50000 || '@example.org',
        '', 'clean', '', '', '', convert_to('subject ' || n, 'UTF8') FROM generate_series(1, {count}) AS n;
INSERT INTO quarantine_copy (id, number, recipient, address, destination, packed, state, reason, score, symbols, signature, kept_at)
    SELECT lpad(n::text, 20, '0'), 0, format('user%s@example.edu', n % 50000), format('user%s@example.edu', n % 50000), '{destination}', '', 'waiting',
        CASE WHEN n % 1000 = 0 THEN 'virus' ELSE 'spam' END, 6000, '', '', now() - n * interval '1 s' FROM generate_series(1, {count}) AS n;
INSERT INTO quarantine_usage (slot, reason, messages, bytes, kept) SELECT 'filled', reason, 0, 0, count(*) FROM quarantine_copy WHERE state = 'waiting' GROUP BY reason;
ANALYZE quarantine_message; ANALYZE quarantine_copy;
"""
LINK = "0" * 64
DUE = "SELECT * FROM digest_due('{09:00,15:00}', 'UTC', 'user30000@example.edu', 50)"
ASKED = (  # what people see: a page of one's own, the next page, one message; what operators list
    ("a recipient's first page", f"SELECT * FROM web_link_list('{LINK}', '', 50)"),
    ("his next page", f"SELECT * FROM web_link_list('{LINK}', (SELECT cursor FROM web_link_list('{LINK}', '', 10) OFFSET 9), 50)"),
    ("one message", f"SELECT * FROM web_link_show('{LINK}', '00000000000000000007')"),
    ("an operator's list", "SELECT admin_quarantine_list('', '', '', '', '', '', '', 100)"),
    ("by sender", "SELECT admin_quarantine_list('', 'sender7@example.org', '', '', '', '', '', 100)"),
    ("by reason", "SELECT admin_quarantine_list('', '', '', '', '', 'virus', '', 100)"),
    ("metrics", "SELECT * FROM quarantine_gauges()"),
    ("50 of a digest's recipients", DUE),
    ("what his digest has", "SELECT * FROM digest_rows('user7@example.edu', now(), true, 'UTC', '14 days', 100)"),
)
SIZES = (4096, "4 KiB"), (102400, "100 KiB")


def sampled(paths, folder, most=400):
    """A folder with links to some of these messages."""
    folder.mkdir()
    for number, path in enumerate(paths[::max(1, len(paths) // most)]):
        (folder / str(number)).symlink_to(path)
    return folder


class Engines:
    def direct(self, mail, seconds, *words):
        out = subprocess.run([weir.BIN / "weir-scan-direct", "--signatures", self.signatures, "--mail", mail, "--seconds", str(seconds), *words, "--json"],
                             capture_output=True, text=True, check=True)
        return json.loads(out.stdout)

    def engines(self):
        """The same load with no spam engine and with native, by turns; then with rspamd, by turns with who calls both directly. What is not measured does not run."""
        self.native_beside_none()
        self.end()
        self.rspamd_beside_direct()

    def costs(self, cluster, size):
        """Messages a second, and ms of the scanner's and rspamd's CPU for each."""
        report = load(cluster, "--sessions", 20, "--seconds", self.seconds, "--size", size)
        assert report["refused"] == 0
        return report["rate"], 1000 * (report["cpu"]["scanner"] + report["cpu"].get("rspamd", 0)) / report["messages"]

    def native_beside_none(self):
        made = {spam: self.cluster(edges=1, scanners=1, spam=spam, sets=["quarantine_score=off"]) for spam in ("none", "native")}
        for size, name in SIZES:
            runs = {spam: [] for spam in made}
            for _ in range(self.rounds):
                for spam, cluster in made.items():
                    runs[spam].append(self.costs(cluster, size))
            (rate, cpu), (native_rate, native_cpu) = (zip(*runs[spam]) for spam in made)
            shares = [100 * with_it / without for with_it, without in zip(native_rate, rate)]
            costs = [100 * without / with_it for with_it, without in zip(native_cpu, cpu)]
            print(f"{name}: ClamAV alone {spread(rate, ' msg/s')}, with native {spread(native_rate, ' msg/s')}: {spread(shares, ' %')}   goal >= 90 %")
            print(f"  CPU of the scanner, ms a message: {spread(cpu, '', 3)}, with native {spread(native_cpu, '', 3)}: {spread(costs, ' %')}")

    def rspamd_beside_direct(self):
        cluster = self.cluster(edges=1, scanners=1, spam="rspamd", sets=["quarantine_score=off"])
        for size, name in SIZES:
            mail, ours, direct = self.sample(cluster, size), [], []
            for _ in range(self.rounds):
                ours.append(self.costs(cluster, size))
                before = cpu_by_role(cluster)["rspamd"]
                found = self.direct(mail, self.seconds, "--rspamd", cluster.dir / "rspamd/socket")
                direct.append((found["rate"], found["cpu_ms"], 1000 * (cpu_by_role(cluster)["rspamd"] - before) / found["messages"]))
            (rate, cpu), (direct_rate, caller, rspamd) = zip(*ours), zip(*direct)
            costs = [100 * (a + b) / c for a, b, c in zip(caller, rspamd, cpu)]
            print(f"{name}: with rspamd {spread(rate, ' msg/s')}; two processes that call libclamav and rspamd directly {spread(direct_rate, ' msg/s')}")
            print(f"  CPU of scanner and rspamd, ms a message: {spread(cpu, '', 3)}; directly {spread(caller, '', 3)} + {spread(rspamd, '', 3)}: {spread(costs, ' %')}   goal >= 90 %")

    def real_mail(self, paths, folder):
        """libclamav's and native's CPU time for the same real messages."""
        mail = sampled(paths, pathlib.Path(folder) / "sample")
        clam = statistics.median(self.direct(mail, self.seconds)["cpu_ms"] for _ in range(self.rounds))
        run = subprocess.run([weir.BIN / "weir-score", "--repeat", "5"], input="".join(f"{path}\n" for path in mail.iterdir()), text=True, check=True,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        native = float(re.search(r"([\d.]+) us", run.stderr)[1]) / 1000
        print(f"real mail, CPU ms a message: libclamav {clam:.3f}, native {native:.3f}: with native {100 * clam / (clam + native):.1f} % of ClamAV alone   goal >= 90 %")

    def quarantine(self):
        """Stores and pages with an empty quarantine and with a million messages in it."""
        cluster = self.cluster(edges=1, scanners=1, spam="native", sets=["quarantine_score=0", "quarantine_max_messages=100000000", "digest_from="])
        psql = [os.path.join(subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip(), "psql"), "-XAtq", cluster.env["DATABASE_URL"]]

        def asked():
            found = {}
            for name, what in ASKED:
                took = []
                for _ in range(20):
                    out = subprocess.run([*psql, "-c", "SET enable_seqscan = on", "-c", "\\timing on", "-c", what], capture_output=True, text=True, check=True).stdout
                    took.append(float(re.findall(r"Time: ([\d.]+) ms", out)[-1]))
                found[name] = took
            return found

        def stored():
            reports = [load(cluster, "--sessions", 20, "--seconds", self.seconds, "--size", 4096) for _ in range(self.rounds)]
            assert not any(report["refused"] for report in reports)
            return [report["rate"] for report in reports], [report["latency_p50_ms"] for report in reports], [report["latency_p99_ms"] for report in reports]
        stores = stored()
        subprocess.run([*psql, "-c", f"SELECT web_tokens('user7@example.edu', '{{{LINK}}}', '{{\"\"}}', '1 day')"], check=True, stdout=subprocess.DEVNULL)
        hop = subprocess.run([*psql, "-c", "SELECT destination FROM quarantine_copy LIMIT 1"], capture_output=True, text=True, check=True).stdout.strip()
        pages = asked()
        began = time.monotonic()
        subprocess.run([*psql, "-v", "ON_ERROR_STOP=1", "-c", FILL.format(count=MILLION, destination=hop)], check=True)
        print(f"{MILLION} messages generated in {time.monotonic() - began:.0f} s")
        full_stores, full_pages = stored(), asked()
        for words, of in (("empty", stores), (f"{MILLION} kept", full_stores)):
            print(f"stores, {words}: {spread(of[0], ' msg/s')}; p50 {spread(of[1], ' ms')} p99 {spread(of[2], ' ms')}")
        for name, _ in ASKED:
            print(f"{name}: {spread(pages[name], ' ms', 2)}; with {MILLION} {spread(full_pages[name], ' ms', 2)}   (a connection's first question: its plans are made in it)")
        for name, what in ASKED[:2] + ASKED[4:5] + ASKED[7:]:
            out = subprocess.run([*psql, "-c", "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;"
                                  " SET auto_explain.log_analyze = on; SET client_min_messages = log", "-c", what], capture_output=True, text=True, check=True)
            plan = [line.strip() for line in out.stderr.splitlines() if "Scan" in line]
            print(f"plan, {name}:")
            for line in {line.split("  (")[0]: line for line in plan}.values():  # of what was done for each of many once
                print(f"    {line[:200]}")
        self.digests(cluster, psql)

    def digests(self, cluster, psql):
        """How fast digests go out, each to one of 50000 with 20 messages that wait for them, while they are delivered."""
        sets = cluster.dir / "sets"
        sets.write_text(sets.read_text().replace("digest_from=\n", ""))
        cluster.stop("coordinator-1")
        cluster.start("coordinator-1")

        def made():
            return int(subprocess.run([*psql, "-c", "SELECT count(*) FROM digest"], capture_output=True, text=True, check=True).stdout)
        weir.wait_until(made, 60, "the first digest")
        first, began = made(), time.monotonic()
        time.sleep(5 * self.seconds)
        rate = (made() - first) / (time.monotonic() - began)
        print(f"digests: {rate:.0f}/s, so 50000 in {50000 / rate:.0f} s; all that wait are a page of one query")
