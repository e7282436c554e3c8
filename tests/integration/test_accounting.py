"""What operators find out afterwards: traces, reports, logs of all nodes under one id, clocks; and what refusals tell their clients."""
import json
import re
import signal
import subprocess
import time

import pytest

import weir
from coordinators import Coordinators
from test_spool import hop  # noqa: F401
from weir import EICAR, Smtp, message, wait_until

OUTSIDE = "127.0.0.2"


@pytest.fixture(scope="module")
def one():
    with Coordinators(1) as made:
        made.start()
        for name in ("edge-1", "edge-2"):
            made.add_key(name, "edge")
        yield made


def rows_of(cluster, wanted, count=1):
    """The audit rows that a trace finds, once there are that many."""
    def told():
        done = cluster.weirctl("--json", "trace", wanted, check=False)
        assert done.returncode in (0, 65), done.stderr
        rows = json.loads(done.stdout) if done.returncode == 0 else []
        return len(rows) >= count and rows
    return wait_until(told, 60, f"{count} rows of {wanted}")


# ---- traces ----

def test_S2_nothing_of_a_refused_relay_is_stored(cluster):
    with Smtp(cluster.relay(), OUTSIDE, ehlo="s2.example.net") as client:
        client.command("MAIL FROM:<spammer@s2.example.net>")
        answer = client.command("RCPT TO:<victim@example.com>")
        assert answer.code == 550 and answer.text.startswith("5.7.1")
        assert client.command("DATA").code in (503, 554)
    row, = rows_of(cluster, "spammer@s2.example.net")
    assert (row["disposition"], row["client"], row["helo"], row["recipient"], row["reply_code"]) == \
        ("refused:relay", OUTSIDE, "s2.example.net", "victim@example.com", 550)
    assert cluster.metric("weir_spool_messages") in (None, 0) and not cluster.sink.with_token("s2.example.net")
    assert json.loads(cluster.weirctl("--json", "queue", "list").stdout) == []


def test_S55_S64_forged_headers_change_nothing_in_a_trace(cluster):
    forged_id = "06GZYZYCR1PM1BG2PG4N"
    forged = (f"Received: from trusted.example.edu (trusted.example.edu [192.0.2.99])\r\n\tby edge-1.weir.test with ESMTPSA id {forged_id}\r\n"
              "\tfor <alice@example.edu>;\r\n\tMon, 5 Oct 2026 10:00:00 +0200\r\nX-Virus-Scanned: Weir at edge-1.weir.test\r\n"
              f"X-Originating-IP: [192.0.2.99]\r\nX-Weir-Queue-ID: {forged_id}\r\nReturn-Path: <boss@example.edu>\r\n").encode()
    raw = forged + message(token="forged")
    with Smtp(cluster.relay(), OUTSIDE, ehlo="really.example.net") as client:
        client.envelope("forger@example.net")
        answer = client.data(raw)
        assert answer.code == 250
    row, = rows_of(cluster, answer.queue_id)
    assert (row["client"], row["helo"], row["sender"], row["node"], row["message_id"], row["verdict"]) == \
        (OUTSIDE, "really.example.net", "forger@example.net", "edge-1", "<forged@example.org>", "clean")
    for wanted in ("<forged@example.org>", "forged@example.org", "Forger@Example.NET", answer.queue_id.lower()):
        assert [found["id"] for found in rows_of(cluster, wanted)] == [answer.queue_id], wanted
    assert answer.queue_id in [found["id"] for found in rows_of(cluster, OUTSIDE)]
    for wanted in (forged_id, "192.0.2.99", "boss@example.edu"):
        assert cluster.weirctl("trace", wanted, check=False).returncode == 65, wanted
    (got, _), = cluster.sink.with_token("X-Token: forged")
    top = got.split(b"\r\n\r\n")[0].split(b"Received: ")[1]
    assert re.match(rb"from really\.example\.net \(\S+ \[127\.0\.0\.2\]\)", top) and answer.queue_id.encode() in top
    assert weir.strip_added(got) == raw, "what was forged stands below our own line"


def test_S64_an_alias_is_traced_by_the_name_that_was_given(make_cluster, hop):
    """One address, a list, and one that is refused: handed over directly, through the spool, and not at all."""
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint)
    folder = cluster.dir / "policy"
    with open(folder / "mailertable", "a", encoding="utf-8") as table:
        table.write("gone.example\terror:5.1.1:550 Nobody here\n")
    with open(folder / "local-host-names", "a", encoding="utf-8") as own:
        own.write("students.example.edu\n")
    (folder / "aliases").write_text("sysadm: alice@example.edu\nstaff: one@example.edu, two@example.edu\ngone: unknown-x@gone.example\n")
    cluster.apply_policy()

    def rcpt(name):
        with Smtp(cluster.relay(), source=OUTSIDE) as client:
            return client.envelope("a@alias.example.net", recipients=[f"{name}@students.example.edu"])[0]

    direct, spooled = (cluster.send(message(token=name), source=OUTSIDE, recipients=[f"{name}@students.example.edu"]) for name in ("sysadm", "staff"))
    assert (direct.code, spooled.code, rcpt("gone").code) == (250, 250, 550)
    for name, wanted in (("SysAdm", {("alice@example.edu", "delivered")}), ("staff", {("one@example.edu", "delivered"), ("two@example.edu", "delivered")}),
                         ("gone", {("unknown-x@gone.example", "refused:route")})):
        given = f"{name}@students.example.edu"

        def told(given=given, wanted=wanted):
            rows = rows_of(cluster, given, len(wanted))
            return {(row["recipient"], row["disposition"]) for row in rows} == wanted and {row["given"].lower() for row in rows} == {given.lower()}
        wait_until(told, 60, f"the trace of {given}")
    assert "the client named <staff@students.example.edu>" in cluster.weirctl("trace", spooled.queue_id).stdout
    assert cluster.weirctl("trace", "one@example.edu").stdout.count(spooled.queue_id) == 1, "and by whom it stands for, as before"
    log = wait_until(lambda: (text := cluster.log("edge-1")).count(f"{spooled.queue_id}: to=<") == 2 and text, 30, "the lines")
    assert f"{direct.queue_id}: to=<alice@example.edu>, orig_to=<sysadm@students.example.edu>, relay=" in log
    assert f"{spooled.queue_id}: to=<two@example.edu>, orig_to=<staff@students.example.edu>, relay=" in log
    assert "to=<gone@students.example.edu> proto=" in log and "to=<unknown-x@" not in log


def test_S64_one_trace_tells_every_hop_of_spooled_mail(make_cluster, hop):
    """Taken by one edge and delivered by another: who took it, who tried it, what each next hop said."""
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "spool_retry_max=1s"])
    hop.refuse["later@example.edu"] = "451 4.3.0 come back"
    answer = cluster.send(message(token="hops"), edge=2, recipients=["alice@example.edu", "later@example.edu"])
    assert answer.code == 250
    wait_until(lambda: "451 4.3.0 come back" in cluster.weirctl("trace", answer.queue_id, check=False).stdout, 15, "the first attempt")
    del hop.refuse["later@example.edu"]
    wait_until(lambda: {row["disposition"] for row in rows_of(cluster, answer.queue_id, 2)} == {"delivered"}, 20, "both delivered")
    rows = rows_of(cluster, answer.queue_id, 2)
    assert {(row["node"], row["client"], row["listener"], row["verdict"], row["next_hop_reply"]) for row in rows} == \
        {("edge-2", "127.0.0.1", "relay", "clean", "250 2.0.0 taken")}
    attempts = [attempt for row in rows for attempt in row["attempts"] or []]
    assert [attempt["what"] for attempt in attempts].count("delivered") == 2 and "deferred" in {attempt["what"] for attempt in attempts}
    assert all(re.match(r"edge-[12]", attempt["who"]) for attempt in attempts if attempt["what"] != "stored"), attempts


def test_S64_a_trace_over_30_days_takes_no_time(one, tmp_path):
    """300,000 rows of 29 days and a half, a third of them of one sender, one recipient, one client. After 30 the leader deletes them, while this is under way, too."""
    one.pg.query("""
        INSERT INTO audit (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id, size, disposition,
            reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms, given)
            SELECT lpad(n::text, 20, '0'), 0, now() - n * interval '8.5 s', 'edge-1', 0, 'relay', CASE WHEN n % 3 = 0 THEN '192.0.2.1' ELSE '198.51.100.' || n % 250 END,
                'h', '', CASE WHEN n % 3 = 0 THEN 'List@example.edu' ELSE 's' || n || '@example.org' END,
                CASE WHEN n % 3 = 1 THEN 'all@example.edu' ELSE 'r' || n || '@example.edu' END, '<' || n || '@example.org>', 1000,
                CASE WHEN n % 100 = 0 THEN 'refused:relay' WHEN n % 5000 = 1 THEN 'refused:virus' ELSE 'delivered' END, 250, '250 ok', 'clean',
                CASE WHEN n % 5000 = 1 THEN 'Eicar' ELSE '' END, 'scanner-1', 'e', 's', 'h', '250 ok', 5,
                CASE WHEN n % 3 = 2 THEN 'Alias@example.edu' ELSE '' END FROM generate_series(1, 300000) AS n;
        ANALYZE audit""")
    for wanted in ("299999@example.org", "list@example.edu", "all@example.edu", "alias@example.edu", "192.0.2.1", "00000000000000299999", "r299999@example.edu", "nobody@example.edu"):
        began = time.monotonic()
        done = one.run_ctl("--json", "trace", wanted)
        took = time.monotonic() - began
        assert done.returncode in (0, 65), done.stderr
        rows = json.loads(done.stdout) if done.returncode == 0 else []
        print(f"trace {wanted}: {len(rows)} rows in {took:.2f} s")
        assert bool(rows) == (wanted != "nobody@example.edu") and took < 10 * weir.PATIENCE, done
    plans = subprocess.run([one.pg.bin + "/psql", "-XAtq", one.pg.conninfo, "-c",
                            "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;"
                            "SET auto_explain.log_analyze = on; SET client_min_messages = log;" +
                            "".join("SELECT length(body::text) FROM admin_trace('list@example.edu', 200);" for _ in range(7)) +
                            "SELECT length(body::text) FROM admin_trace('192.0.2.1', 200); SELECT length(body::text) FROM admin_report(24, 50)"],
                           capture_output=True, text=True, check=True).stderr
    scanned = set(re.findall(r"((?:Seq|Index|Bitmap)[A-Za-z ]* Scan[A-Za-z ]*(?:using|on) \w+)", plans))
    print(scanned)
    assert "Seq Scan on audit" not in plans
    for index in ("audit_by_sender", "audit_by_recipient", "audit_by_given", "audit_by_client", "audit_message_id", "audit_trouble", "audit_pkey"):
        assert index in plans, (index, scanned)
    (tmp_path / "networks").write_text("192.0.2.0/24\n")
    one.ctl("policy", "apply", tmp_path)
    report = one.json("report", 24)
    assert report["refused_clients"] > 3 and len(report["refused"]) <= 50 and report["viruses"]
    one.pg.query("TRUNCATE audit")


# ---- reports ----

def test_S59_S62_the_report_names_who_tried(make_cluster):
    cluster = make_cluster(edges=2, scanners=1, sets=["direction=outbound"])
    policy = cluster.dir / "policy"
    (policy / "networks").write_text("127.0.0.1/32\n127.0.1.0/24 bob@example.edu\n::1/128\n")
    (policy / "exceptions").write_text('127.0.1.0/24 max_recipients=50 reason="lists" owner=lab-admin approved_by=postmaster expires=2099-12-31\n')
    cluster.apply_policy()
    assert cluster.send(message(token="registered"), source="127.0.1.7", recipients=["someone@example.com"]).code == 250
    for number in range(3):
        for recipient in ("someone@example.com", "alice@example.edu"):  # an outbound listener takes nothing from others
            with Smtp(cluster.relay(1 + number % 2), OUTSIDE, ehlo="rogue.example.edu") as client:
                answer, = client.envelope("rogue@example.edu", [recipient])
                assert answer.code == 550 and answer.text.startswith("5.7.1"), answer
    for number in range(2):
        answer = cluster.send(message(EICAR.decode() + "\r\n"), source="127.0.1.7", sender="infected@example.edu", recipients=["someone@example.com"])
        assert answer.code == 550 and "Eicar" in answer.text
    assert len([raw for raw, _ in cluster.sink.messages() if b"127.0.1.7 sent a virus" not in raw]) == 1

    def reported():
        report = json.loads(cluster.weirctl("--json", "report").stdout)
        return report["refused"] and report["refused"][0]["recipients"] == 6 and report["viruses"] and report["viruses"][0]["messages"] == 2 and report
    report = wait_until(reported, 15, "the report")
    refused, = report["refused"]
    assert (refused["client"], refused["inside"], refused["helo"], refused["sender"], refused["listeners"]) == \
        (OUTSIDE, False, "rogue.example.edu", "rogue@example.edu", ["relay"])
    virus, = report["viruses"]
    assert (virus["client"], virus["inside"], virus["network"], virus["owner"], virus["line"]) == ("127.0.1.7", True, "bob@example.edu", "lab-admin", "networks:2")
    assert virus["senders"] == ["infected@example.edu"] and "Eicar" in virus["signatures"][0] and virus["newest"] == answer.queue_id
    text = cluster.weirctl("report", "1").stdout
    assert "1 client may not relay and tried, last 1 h" in text and "1 client sent viruses" in text and "lab-admin" in text and "rogue.example.edu" in text
    wait_until(lambda: cluster.metric("weir_relay_refused_total", listener="relay") == 6, 10, "the counter")
    assert cluster.weirctl("report", "soon", check=False).returncode == 64

    for edge in (1, 2, 1, 2):  # the owner hears of it once, whichever edges saw it and whoever sends from there
        assert cluster.send(message(EICAR.decode() + "\r\n"), edge=edge, source="127.0.1.7", recipients=["someone@example.com"]).code == 550
    assert cluster.send(message(EICAR.decode() + "\r\n"), edge=2, source="127.0.1.8", recipients=["someone@example.com"]).code == 550
    wait_until(lambda: cluster.sink.with_token("127.0.1.8 sent a virus"), 20, "the notice about another host")
    (notice, envelope), = wait_until(lambda: cluster.sink.with_token("Subject: 127.0.1.7 sent a virus"), 20, "the notice about the first")
    assert (envelope["sender"], envelope["recipients"]) == ("", ["bob@example.edu"]) and b"infected@example.edu" in notice and b"Eicar" in notice
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 15, "conservation")


def test_S62_the_owner_hears_of_a_virus_that_the_spool_finds(make_cluster):
    """Handed over while no scanner was there, to two edges: one mail."""
    cluster = make_cluster(edges=2, scanners=1)
    policy = cluster.dir / "policy"
    (policy / "networks").write_text("127.0.0.1/32\n127.0.1.0/24 bob@example.edu\n::1/128\n")
    cluster.apply_policy()
    cluster.stop("scanner-1")
    wait_until(lambda: cluster.metric("weir_scanners_live") == 0, 10, "no scanner")
    handed = []
    for edge in (1, 2):
        with Smtp(cluster.env[f"EDGE_{edge}_HANDOFF"], source="127.0.1.7") as device:
            device.envelope("infected@example.edu")
            handed.append(device.data(message(EICAR.decode() + "\r\n")))
    assert [answer.code for answer in handed] == [250, 250]
    cluster.start("scanner-1")
    (notice, envelope), = wait_until(lambda: cluster.sink.with_token("Subject: 127.0.1.7 sent a virus"), 30, "the notice")
    logs = lambda: cluster.log("edge-1") + cluster.log("edge-2")
    wait_until(lambda: all(f"{answer.queue_id}: removed" in logs() for answer in handed), 20, "the end of both")
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 15, "conservation")
    assert cluster.sink.count() == 1, "the notice, once, and no virus"
    assert (envelope["sender"], envelope["recipients"]) == ("", ["bob@example.edu"])
    assert b"infected@example.edu" in notice and b"Eicar" in notice and any(answer.queue_id.encode() in notice for answer in handed)


# ---- draining an edge that some clients are pinned to ----

def test_S52_drain_names_pinned_clients(make_cluster):
    cluster = make_cluster(edges=2, scanners=1)
    for number in range(6):
        for client in ("127.0.0.5", "127.0.0.6", "127.0.0.7"):
            assert cluster.send(message(), edge=1, source=client).code == 250
        assert cluster.send(message(), edge=1 + number % 2, source="127.0.0.8").code == 250
        assert cluster.send(message(), edge=2, source="127.0.0.9").code == 250
    rows_of(cluster, "sender@example.org", 30)
    done = cluster.weirctl("drain", "--wait", "edge-1")
    assert "3 pinned clients came to edge-1 only" in done.stderr, done.stderr
    assert set(re.findall(r"(127\.0\.0\.\d) \(6 messages\)", done.stderr)) == {"127.0.0.5", "127.0.0.6", "127.0.0.7"}
    assert "127.0.0.8" not in done.stderr
    cluster.weirctl("undrain", "--wait", "edge-1")
    pinned = json.loads(cluster.weirctl("--json", "drain", "edge-2").stdout)["pinned"]
    assert [(one["client"], one["messages"]) for one in pinned] == [("127.0.0.9", 6)]


# ---- logs and clocks ----

@pytest.fixture(scope="module")
def logged():
    made = weir.Cluster(edges=2, scanners=1, sets=["format=json", "level=debug"])
    try:
        yield made.up()
    finally:
        made.down()


def test_S65_one_id_in_the_logs_of_all_nodes_and_nothing_lost_meanwhile(logged):
    cluster = logged
    cluster.stop("coordinator-1")
    ids = [cluster.send(message(), edge=1 + number % 2).queue_id for number in range(20)]
    assert all(ids), "direct relay goes on"
    cluster.start("coordinator-1")
    for queue_id in ids:
        row, = rows_of(cluster, queue_id)
        assert row["disposition"] == "delivered"
    lines = [json.loads(line) for edge in ("edge-1", "edge-2") for line in cluster.log(edge).splitlines() if line.startswith("{")]
    merged = sorted((line["time"], line["event"], line["node"]) for line in lines if line["id"] == ids[0])
    assert len(merged) >= 3 and {node for _, _, node in merged} == {"edge-1"} and len({event for _, event, _ in merged}) >= 3, merged
    assert len({line["node"] for line in lines if line["id"] in ids}) == 2


@pytest.mark.parametrize("door, told", [
    ("RELAY", {("edge-1", "message_begins"), ("edge-1", "recipient"), ("scanner-1", "verdict"), ("coordinator-1", "audit")}),
    ("HANDOFF", {("edge-1", "message_begins"), ("scanner-1", "verdict"), ("coordinator-1", "audit"), ("coordinator-1", "stored"), ("coordinator-1", "settled")}),
])
def test_S65_one_id_at_every_node_in_the_header_and_in_the_trace(logged, door, told):
    token = f"one-id-{door}"
    with Smtp(logged.env[f"EDGE_1_{door}"]) as client:
        client.envelope("sender@example.org")
        answer = client.data(message(token=token))
    assert answer.code == 250
    (raw, _), = wait_until(lambda: logged.sink.with_token(token), 60, "the message")
    assert re.search(rb"^Received: from [^\r\n]*(?:\r\n[ \t][^\r\n]*)*\bid (\w{20})", raw, re.M)[1].decode() == answer.queue_id

    def lines():
        return [json.loads(line) for node in ("edge-1", "edge-2", "scanner-1", "coordinator-1") for line in logged.log(node).splitlines() if answer.queue_id in line]
    wait_until(lambda: told <= {(line["node"], line["event"]) for line in lines()}, 60, f"{told} in the logs")
    assert all(line["id"] == answer.queue_id and line["time"] for line in lines()), lines()
    for wanted in (answer.queue_id, f"<{token}@example.org>"):
        assert [row["id"] for row in rows_of(logged, wanted)] == [answer.queue_id]


def end_edge(cluster):
    """As a service manager would."""
    pid = cluster.pid("edge-1")
    cluster.kill("edge-1", signal.SIGTERM)
    wait_until(lambda: weir.process_state(pid) in ("", "Z"), 60, "the end of edge-1")


def test_S65_what_an_edge_could_not_report_before_it_ended_comes_after_its_next_start(logged):
    cluster, folder = logged, logged.dir / "state"
    cluster.stop("coordinator-1")
    ids = [cluster.send(message(), recipients=["alice@example.edu", "bob@example.edu"]).queue_id for _ in range(6)]
    assert all(ids)
    end_edge(cluster)
    kept = {path: path.read_bytes() for path in folder.glob("edge-1.*.audit")}
    assert kept and {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert "are lost" not in cluster.log("edge-1")
    (folder / "edge-1.200.audit").write_bytes(b"weir-audit-1\nand then nothing")  # as if of a worker that is not there any more

    rows = lambda: sorted(cluster.query(f"SELECT id, recipient_index, disposition FROM audit WHERE id = ANY ('{{{','.join(ids)}}}')"))
    wanted = sorted([queue_id, str(index), "delivered"] for queue_id in ids for index in range(2))
    cluster.start("edge-1", wait=False)  # nobody is there yet who would take them
    cluster.start("coordinator-1")
    wait_until(lambda: not list(folder.glob("edge-1.*.audit")), 60, "the files' end")
    assert rows() == wanted
    assert [row["disposition"] for row in rows_of(cluster, ids[0], 2)] == ["delivered"] * 2
    assert (folder / "edge-1.200.audit.damaged").exists() and "set aside as" in cluster.log("edge-1")
    wait_until(lambda: (cluster.metric("weir_reports_kept_acknowledged_total", node="edge-1") or 0) >= len(wanted), 60, "the counter")
    wait_until(lambda: cluster.metric("weir_reports_kept", node="edge-1") == 0 and cluster.metric("weir_reports_files_damaged_total", node="edge-1") == 1, 60,
               "what is kept, in the metrics")

    end_edge(cluster)
    for path, rest in kept.items():  # as if the edge had been killed before it heard that they were written down
        path.write_bytes(rest)
    cluster.start("edge-1")
    wait_until(lambda: not list(folder.glob("edge-1.*.audit")), 60, "the files' end")
    assert rows() == wanted, "once each"


def test_S65_a_clock_that_is_wrong_is_shown(one):
    with_time = {"edge-1": 0.0, "edge-2": 7.5}
    nodes = {name: one.node(name, "edge") for name in with_time}
    try:
        for node in nodes.values():
            assert node.hello() is not None

        def told():
            for name, ahead in with_time.items():
                assert nodes[name].beat(time_ms=int((time.time() + ahead) * 1000)) is not None
            return {node["name"]: node["skew_ms"] for node in one.json("status")["nodes"] if node["state"] == "active"}

        def is_shown():
            """Of beats that were heard soon after they were made: what they take to the coordinator is part of the skew."""
            skews, text = told(), one.ctl("status")
            assert 6000 < skews["edge-2"] < 9000 and abs(skews["edge-1"]) < 1500, skews
            assert re.search(r"problem +edge-2: its clock is [67]\.\d s ahead of the database's", text) and "edge-1: its clock" not in text, text
            return True
        wait_until(is_shown, 30, "the skew of edge-2")
        for absurd in (1, 2**64 - 1):  # nobody else's heartbeat may suffer
            with_time["edge-2"] = 0
            assert nodes["edge-2"].beat(time_ms=absurd) is not None
            wait_until(lambda: any(abs(node["skew_ms"]) > 10**11 for node in one.json("status")["nodes"]), 10, "the absurd time")
    finally:
        for node in nodes.values():
            node.close()


# ---- what the refused are told ----

def test_S38_refusals_say_whom_to_ask(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["contact=Ask help@example.edu or 555-4357"])
    asks = "Ask help@example.edu or 555-4357"
    with Smtp(cluster.relay(), OUTSIDE) as client:
        answers = client.envelope(recipients=["victim@example.com", "unknown-x@example.edu", "full-x@example.edu", "alice@example.edu"])
        assert [(answer.code, answer.text.endswith(asks)) for answer in answers] == [(550, True), (550, True), (452, False), (250, False)]
        answer = client.data(message(EICAR.decode() + "\r\n"))
        assert answer.code == 550 and answer.text.count(asks) == 1 and "Eicar" in answer.text
        assert client.command(f"MAIL FROM:<a@example.org> SIZE={2**40}").text.endswith(asks)
        assert asks not in client.command("NONSENSE").text
    assert cluster.send(message()).code == 250


# ---- memory ----

def test_S72_a_worker_short_of_memory_takes_no_new_session(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["workers=1", "message_memory=256KiB", "memory_threshold=128KiB"])
    with Smtp(cluster.relay()) as first, Smtp(cluster.relay()) as second:
        raw = message(size=120000)
        for client in (first, second):
            client.envelope()
            assert client.command("DATA").code == 354
            client.send(raw)

        def refused():
            with Smtp(cluster.relay(), ehlo=None) as other:
                return other.greeting.code == 421 and other.greeting.text
        text = wait_until(refused, 10, "421 for want of memory")
        assert text.startswith("4.3.1")
        for client in (first, second):
            client.send(b".\r\n")
            assert client.reply().code == 250, "who was there is served"
    wait_until(lambda: cluster.send(message()).code == 250, 10, "new sessions")
    wait_until(lambda: (cluster.metric("weir_smtp_sessions_total", result="memory") or 0) > 0, 10, "the counter")
