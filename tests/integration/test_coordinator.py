"""Coordinators and weirctl against a real PostgreSQL, with nodes made in Python."""
import concurrent.futures
import contextlib
import os
import pathlib
import resource
import signal
import socket
import subprocess
import threading
import time
import uuid

import pytest

import coordinators
from coordinators import BIN, Coordinators, audit_row, counter, entry, gauge, histogram, pb, wait_until


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def signed(boot):
    """A process's number as the database has it."""
    return boot - (1 << 64) if boot >> 63 else boot


def new_id():
    return uuid.uuid4().hex[:20].upper()


@pytest.fixture(scope="module")
def two():
    with Coordinators(2) as made:
        made.start()
        for name, role in (("edge-1", "edge"), ("edge-2", "edge"), ("scanner-1", "scanner"), ("scanner-2", "scanner")):
            made.add_key(name, role)
        # The operator, who knows of one coordinator only: on a busy machine weirctl may come to the other one.
        made.config("first").write_text(made.config("operator").read_text().replace("include common.conf\n", (made.dir / "common.conf").read_text().partition('[coordinator "coordinator-2"]')[0]))
        yield made


@pytest.fixture
def nodes(two):
    """Opens nodes and closes them."""
    opened = []

    def one(name, role, **options):
        opened.append(two.node(name, role, **options))
        assert opened[-1].hello() is not None
        return opened[-1]

    yield one
    for node in opened:
        node.close()


def report(node, batch, *rows):
    node.send(report=pb.Report(node=node.name.encode(), worker=0, boot=node.boot, batch=batch, rows=rows))


def test_what_one_hears_both_publish_under_one_epoch(two, nodes):
    scanner = nodes("scanner-1", "scanner")
    scanner.beat("active")
    listener = nodes("edge-1", "edge", at="coordinator-2")
    here = scanner.state(lambda s: entry(s, "scanner-1").state == pb.NODE_ACTIVE and not entry(s, "scanner-1").lost)
    there = listener.state(lambda s: entry(s, "scanner-1").state == pb.NODE_ACTIVE)
    assert here.epoch and there.epoch and entry(there, "scanner-1").public_key == bytes.fromhex(scanner.key.public)
    assert entry(there, "scanner-1").endpoint == b"tcp://127.0.0.1:7100"
    assert {key.name for key in there.keys} >= {b"edge-1", b"scanner-1", b"operator"}
    two.ctl("drain", "--force", "scanner-1")
    assert listener.state(lambda s: entry(s, "scanner-1").drain)
    two.ctl("undrain", "scanner-1")
    assert listener.state(lambda s: not entry(s, "scanner-1").drain and s.epoch > there.epoch)


def state_of(two, name):
    return two.json("node", "show", name)["state"]


def ended(process, beat):
    """Its exit status, for whose end the nodes go on beating: on a slow machine they would be lost before it has looked."""
    return wait_until(lambda: beat() or process.poll() is not None, 20, "the end of weirctl") and process.returncode


def test_silent_node_is_lost_and_comes_back(two, nodes):
    scanner = nodes("scanner-2", "scanner")
    scanner.beat()
    assert scanner.state(lambda s: not entry(s, "scanner-2").lost)
    wait_until(lambda: state_of(two, "scanner-2") == "lost", 20, "lost")
    wait_until(lambda: scanner.beat() and state_of(two, "scanner-2") == "active", 10, "active")


def test_drain_waits_and_guards_the_last(two, nodes):
    first, second = nodes("scanner-1", "scanner"), nodes("scanner-2", "scanner")

    def both(a="active", b="active", number=0):
        first.beat(a, drain_number=number)
        second.beat(b)

    wait_until(lambda: both() or state_of(two, "scanner-2") == "active", 10, "active")
    waiting = subprocess.Popen([BIN / "weirctl", "-c", two.config("operator"), "drain", "--wait", "scanner-1"], stdout=subprocess.PIPE)
    wait_until(lambda: both() or two.pg.query("SELECT drain FROM node_known WHERE name = 'scanner-1'") == [["t"]], 30, "the drain, which is refused while scanner-2 is not heard")
    number = entry(first.state(lambda s: entry(s, "scanner-1").drain), "scanner-1").drain_number
    for _ in range(3):
        both("draining", number=number)
        time.sleep(0.2)
    wait_until(lambda: both("drained", number=number - 1) or state_of(two, "scanner-1") == "drained", 10, "drained, but from another time")
    time.sleep(0.5)
    assert waiting.poll() is None, "that state is from before the drain"
    assert ended(waiting, lambda: both("drained", number=number)) == 0 and b"drained" in waiting.stdout.read()
    status = two.ctl("status")
    assert "drain         scanner-1 is drained, wanted by operator since 20" in status, status
    assert "conservation  every accepted recipient is accounted for" in status and "signatures    no scanner" in status
    refused = two.run_ctl("drain", "scanner-2")
    assert refused.returncode == 77 and "--force" in refused.stderr
    late = two.run_ctl("drain", "--wait", "--timeout", "1", "--force", "scanner-2")
    assert late.returncode == 75 and "scanner-2" in late.stderr
    waiting = subprocess.Popen([BIN / "weirctl", "-c", two.config("operator"), "undrain", "--wait", "scanner-1"], stdout=subprocess.PIPE)
    assert first.state(lambda s: entry(s, "scanner-1").drain_number == number + 1 and not entry(s, "scanner-1").drain)
    both("active", number=number)
    time.sleep(0.5)
    assert waiting.poll() is None
    assert ended(waiting, lambda: both("active", number=number + 1)) == 0 and b"active" in waiting.stdout.read()
    two.ctl("undrain", "scanner-2")
    assert [one["action"] for one in two.json("history")][-4:] == ["drain", "drain", "undrain", "undrain"]


def test_gc_waits_for_its_number(two, nodes):
    scanner = nodes("scanner-1", "scanner")
    scanner.beat()
    waiting = subprocess.Popen([BIN / "weirctl", "-c", two.config("operator"), "gc", "--wait", "scanner-1"], stdout=subprocess.PIPE)
    wanted = entry(scanner.state(lambda s: entry(s, "scanner-1").gc > 0), "scanner-1").gc
    scanner.beat(gc_done=wanted - 1)
    time.sleep(0.5)
    assert waiting.poll() is None
    assert ended(waiting, lambda: scanner.beat(gc_done=wanted, generation=2) and False) == 0
    assert two.run_ctl("gc", "edge-1").returncode == 65


def test_errors_say_what_would_be_right(two):
    for words, status, said in ((("drain", "scaner-1"), 65, "scanner-1"), (("drain",), 64, "NODE"), (("nonsense",), 64, "--help"),
                                (("undrain", "--force", "x"), 64, "--force"), (("drain", "coordinator-1"), 65, "edges and scanners"),
                                (("trace", "nobody@nowhere"), 65, "queue id"), (("policy", "show", "x"), 64, "an epoch is a number"),
                                (("policy", "show", "99"), 65, "99"), (("keys", "add", "x", "edge", "12"), 65, "64 hex"),
                                (("keys", "add", "x", "queen", "a" * 64), 65, "scanner"), (("keys", "revoke", "operator"), 77, "--force"),
                                (("keys", "revoke", "nobody"), 65, "nobody"),
                                (("trace", "--limit", "0", "x"), 64, "1000000"), (("trace", "'; DROP TABLE audit; --"), 65, "known")):
        done = two.run_ctl(*words)
        assert done.returncode == status and said in done.stderr, f"{words}: {done.returncode} {done.stderr}"


def test_reports_are_acknowledged_when_committed_and_stored_once(two, nodes):
    edge = nodes("edge-1", "edge")
    ident = new_id()
    rows = [audit_row(ident, helo=b"\x1b[31m"),
            audit_row(ident, 1, recipient=b'"q\\"uo,te}"\xff\x00@example.edu', message_id=b"<once@x>", login=b"hatter", given=b"SysAdm@Example.edu"),
            audit_row(ident, 2, recipient=b"early@example.edu", policy_epoch=0, rule=b"")]  # from an edge that does not tell
    for _ in range(3):
        report(edge, 7, *rows)
        assert edge.receive("report_ack")[0].batch == 7
    assert two.pg.query(f"SELECT count(*) FROM audit WHERE id = '{ident}'") == [["3"]]
    story = two.ctl("trace", ident)
    assert story.count("policy ") == 2, story
    assert [(row["policy_epoch"], row["rule"]) for row in two.json("trace", ident)] == [(4, "mailertable:12")] * 2 + [(0, "")]
    for word in ("alice@example.edu", "clean", "ClamAV 1.4.6", "192.0.2.7", "glass[127.0.0.1]:25", "\\xFF\\x00", "\\x1B[31m",
                 "policy 4, mailertable:12"):
        assert word in story, story
    assert "\x1b" not in story
    assert two.json("trace", "once@x")[0]["id"] == ident and two.json("trace", "ALICE@example.edu")
    assert two.json("trace", ident.lower())
    assert [row["recipient_index"] for row in two.json("trace", "Hatter")] == [1]
    assert [row["recipient_index"] for row in two.json("trace", "sysadm@example.EDU")] == [1] and story.count("named <SysAdm@Example.edu>") == 1
    assert two.json("trace", "<once@x>")[0]["id"] == ident and two.json("trace", "<alice@EXAMPLE.edu>"), "as in a log line"


def test_s66_what_is_reported_again_counts_once_in_the_register(two, nodes):
    edge = nodes("edge-1", "edge")
    ident, spooled = new_id(), new_id()
    two.pg.query("INSERT INTO audit (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id, size, disposition, reply_code,"
                 " reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms) SELECT "
                 f"'{spooled}', 0, now(), 'edge-1', 0, 'relay', '10.9.8.7', 'h', '', 's', 'r', '', 50, 'discarded:virus', 550, '', '', '', '', '', '', '', '', 0")
    host = {"client": b"10.9.8.7", "origin": pb.ORIGIN_INSIDE, "size": 100, "tls": b"TLSv1.3"}
    rows = [audit_row(ident, first=True, **host), audit_row(ident, 1, **host), audit_row(new_id(), disposition=b"refused:unregistered", **host),
            audit_row(new_id(), client=b"10.9.8.8", origin=pb.ORIGIN_OUTSIDE, first=True), audit_row(new_id(), client=b"10.9.8.9", origin=pb.ORIGIN_LOGIN, first=True),
            audit_row(spooled, first=True, client=b"10.9.8.7", origin=pb.ORIGIN_INSIDE)]  # the spool was done with it before its edge told
    for _ in range(3):
        report(edge, 8, *rows)
        assert edge.receive("report_ack")[0].batch == 8
    assert two.pg.query("SELECT client, messages, recipients, bytes, tls, viruses, refused, unregistered FROM sending_host_day WHERE client LIKE '10.9.8.%'") == [
        ["10.9.8.7", "2", "3", "150", "1", "1", "1", "4"]]


def test_a_thousand_reports_of_one_turn_are_all_acknowledged(two, nodes):
    edge = nodes("edge-1", "edge")
    for batch in range(200):
        report(edge, batch + 1000, *(audit_row(new_id(), index) for index in range(5)))
    left = set(range(1000, 1200))
    while left:
        ack = edge.receive("report_ack")[0]
        assert ack is not None, f"{len(left)} without an answer"
        left.discard(ack.batch)


def test_rows_are_given_up_for_what_is_in_them_and_nothing_else(two, nodes):
    """A table or a right that is missing can be put right: no row is thrown away for it, and none acknowledged."""
    edge = nodes("edge-1", "edge")
    failed, rejected = (f'weir_audit_{name}_total{{node="coordinator-1"}}' for name in ("batches_failed", "rejected"))
    ident = new_id()

    def acknowledged(batch, seconds=5):
        """Others may come yet: what was repeated is answered again."""
        return edge.receive("report_ack", seconds, lambda ack: ack.batch == batch)[0]
    for number, (spoil, mend) in enumerate((("ALTER TABLE audit RENAME TO audit_away", "ALTER TABLE audit_away RENAME TO audit"),
                                            ("CREATE TRIGGER audit_spoilt BEFORE INSERT ON audit EXECUTE FUNCTION audit_spoilt()",
                                             "DROP TRIGGER audit_spoilt ON audit"))):
        two.pg.query("CREATE OR REPLACE FUNCTION audit_spoilt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                     "RAISE 'not allowed' USING ERRCODE = '42501'; END $$")
        before = two.metric(failed)
        two.pg.query(spoil)
        try:
            report(edge, 50 + number, audit_row(ident, number))
            assert acknowledged(50 + number, 1) is None, "nothing is stored, so nothing is acknowledged"
            wait_until(lambda: two.metric(failed) > before, what="the failure in the metrics")
            assert two.metric(rejected) == 0
        finally:
            two.pg.query(mend)

        def repeated():
            report(edge, 50 + number, audit_row(ident, number))
            return acknowledged(50 + number, 0.5)

        wait_until(repeated, 15, "the rows are taken when all is right again")
    assert "the next try is in" in two.log("coordinator-1")
    assert two.pg.query(f"SELECT count(*) FROM audit WHERE id = '{ident}'") == [["2"]]
    rows = 'weir_audit_rows_total{node="coordinator-1"}'
    report(edge, 59, audit_row(new_id()))  # behind all that was repeated
    assert acknowledged(59)
    before = two.metric(rows)
    two.pg.query("ALTER TABLE audit ADD CONSTRAINT audit_spoilt CHECK (helo <> 'never')")
    try:
        report(edge, 60, audit_row(new_id()), audit_row(new_id(), helo=b"never"))
        assert acknowledged(60), "what can never be stored is logged and let go"
        assert two.metric(rejected) == 2 and two.metric(rows) == before
    finally:
        two.pg.query("ALTER TABLE audit DROP CONSTRAINT audit_spoilt")


def test_rows_are_counted_when_they_are_committed(two, nodes):
    edge = nodes("edge-1", "edge")
    rows = 'weir_audit_rows_total{node="coordinator-1"}'
    before = two.metric(rows)
    two.pg.query("CREATE FUNCTION audit_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'late' USING ERRCODE = '23514'; END $$;"
                 "CREATE CONSTRAINT TRIGGER audit_late AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_late()")
    try:
        report(edge, 70, audit_row(new_id()))
        assert edge.receive("report_ack")[0].batch == 70
        assert two.metric(rows) == before, "the commit failed"
    finally:
        two.pg.query("DROP TRIGGER audit_late ON audit; DROP FUNCTION audit_late()")


def test_nobody_is_more_than_its_key(two, nodes):
    edge = nodes("edge-1", "edge")
    before = two.metric('weir_refused_peers_total{node="coordinator-1",reason="role"}')
    edge.send(admin_request=pb.AdminRequest(id=1, verb=b"node list"))
    assert edge.receive("admin_reply", 0.5)[0] is None
    wait_until(lambda: two.metric('weir_refused_peers_total{node="coordinator-1",reason="role"}') == before + 1, what="the refusal in the metrics")
    assert edge.beat(node=b"scanner-1", role=pb.ROLE_SCANNER, wait=0.5) is None
    scanner = nodes("scanner-1", "scanner")
    assert scanner.beat(public_key=b"x" * 32, wait=0.5) is None
    report(scanner, 1, audit_row(new_id()))
    assert scanner.receive("report_ack", 0.5)[0] is None
    wait_until(lambda: two.metric('weir_refused_peers_total{node="coordinator-1",reason="name"}') >= 2, what="the refusals in the metrics")


def test_strangers_and_revoked_keys_are_shut_out(two, nodes):
    key = coordinators.Key(two.dir / "stranger.key")
    assert two.node("edge-1", "edge", key=key).hello(1.5) is None
    done = subprocess.run([BIN / "weirctl", "-c", two.config("operator"), "--key", key.path, "status"], capture_output=True, text=True, check=False)
    assert done.returncode == 69 and "refused our key" in done.stderr
    two.add_key("edge-9", "edge")
    victim, bystander = nodes("edge-9", "edge", at="coordinator-2"), nodes("edge-1", "edge", at="coordinator-2")
    two.ctl("keys", "revoke", "edge-9")
    two.ctl("keys", "revoke", "edge-9")  # as who lost the answer does
    wait_until(lambda: victim.beat(wait=0.3) is None, 5, "the revoked node hears nothing")
    assert victim.hello(1.5) is None
    assert bystander.hello() is not None
    listed = {one["name"]: one for one in two.json("keys", "list")}
    assert listed["edge-9"]["revoked_by"] == "operator" and "edge-9" not in [one["name"] for one in two.json("node", "list")]
    refused = two.run_ctl("keys", "add", "edge-9", "edge", two.keys["edge-9"].public)
    assert refused.returncode == 65 and "revoked" in refused.stderr


def test_new_key_is_in_force_at_once(two):
    refused = 0
    for number in range(20):
        key = coordinators.Key(two.dir / f"fresh-{number}.key")
        two.ctl("keys", "add", f"fresh-{number}", "operator", key.public)
        node = two.node(f"fresh-{number}", "operator", key=key)
        node.send(admin_request=pb.AdminRequest(id=1, verb=b"keys list"))
        refused += node.receive("admin_reply")[0] is None
        node.close()
    assert refused == 0, f"{refused} of 20 keys were refused right after they were added"

    def tried_again(number=iter(range(1000))):
        """weirctl does so for a second. Where its key could not be added so soon, as the machine is slow, nothing is shown by its refusal."""
        name = f"late-{next(number)}"
        late = coordinators.Key(two.dir / f"{name}.key")
        began = time.monotonic()
        asking = subprocess.Popen([BIN / "weirctl", "-c", two.config("operator"), "--key", late.path, "status"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        time.sleep(0.2)
        two.ctl("keys", "add", name, "operator", late.public)
        added = time.monotonic() - began
        status = asking.wait(30 * coordinators.PATIENCE)
        return (status, added) if status == 0 or added < 0.8 else None

    status, added = wait_until(tried_again, 60, "a key that comes in time")
    assert status == 0, f"refused, though the key was there after {added:.1f} s"


def test_revoking_says_when_it_changes_nothing_or_stops_mail(two, nodes):
    two.add_key("coordinator-9", "coordinator")
    done = two.run_ctl("keys", "revoke", "coordinator-9")
    assert done.returncode == 77 and '[coordinator "coordinator-9"]' in done.stderr and "public_key" in done.stderr
    two.ctl("keys", "revoke", "--force", "coordinator-9")
    two.add_key("scanner-7", "scanner")
    two.add_key("scanner-8", "scanner")
    first, second = nodes("scanner-7", "scanner"), nodes("scanner-8", "scanner")

    def states(*wanted):
        first.beat(), second.beat("active" if "scanner-8" in wanted else "starting")
        return {one["name"] for one in two.json("node", "list") if one["role"] == "scanner" and one["state"] == "active"} == set(wanted)

    wait_until(lambda: states("scanner-7"), 10, "scanner-7 alone is active")
    done = two.run_ctl("keys", "revoke", "scanner-7")
    assert done.returncode == 77 and "last active scanner" in done.stderr
    done = two.run_ctl("keys", "revoke", two.keys["scanner-7"].public)
    assert done.returncode == 77
    wait_until(lambda: states("scanner-7", "scanner-8"), 10, "both are active")
    two.ctl("keys", "revoke", "scanner-7")
    two.ctl("keys", "revoke", "--force", "scanner-8")


def test_counters_survive_restarts_and_failover(two, nodes):
    name, mail = 'weir_recipients_accepted_total{node="edge-2"}', 'weir_recipients_total{node="edge-2",disposition="delivered"}'

    def beat(node, accepted, delivered):
        node.beat(metrics=[counter("weir_recipients_accepted_total", accepted), gauge("weir_scans_in_flight", 3),
                           counter("weir_recipients_total", delivered, 'disposition="delivered"'),
                           histogram("weir_message_size_bytes", [10, 100], [1, 2], 4, 500)])

    first = nodes("edge-2", "edge")
    beat(first, 5, 5)
    wait_until(lambda: two.metric(name) == 5, what="5")
    second = nodes("edge-2", "edge", at="coordinator-2")
    beat(second, 2, 1)
    wait_until(lambda: two.metric(name) == 7 and two.metric(mail, "coordinator-2") == 6, what="the sum of both starts")
    text = two.http("/metrics")[1]
    assert 'weir_conservation_difference{node="edge-2"} 1\n' in text
    assert 'weir_scans_in_flight{node="edge-2"} 3\n' in text, "only the newest start's gauge"
    for line in ('_bucket{node="edge-2",le="10"} 2', '_bucket{node="edge-2",le="100"} 6', '_bucket{node="edge-2",le="+Inf"} 8',
                 '_sum{node="edge-2"} 1000', '_count{node="edge-2"} 8'):
        assert f"weir_message_size_bytes{line}\n" in text
    two.pg.query(f"UPDATE node_process SET seen_at = now() - interval '5 minutes' WHERE boot = {signed(first.boot)}")
    wait_until(lambda: two.pg.query("SELECT count(*) FROM node_metrics WHERE node = 'edge-2' AND boot = 0") == [["1"]], 8, "folded")
    text = two.http("/metrics")[1]
    assert f"{name} 7\n" in text and 'weir_message_size_bytes_bucket{node="edge-2",le="100"} 6\n' in text


def test_a_second_process_of_a_node_does_not_outlive_its_end(two, nodes):
    """Started by mistake, or on the machine a node was to move to: when it has ended, the one that works speaks for the node again."""
    works = nodes("edge-2", "edge")

    def works_is_known():
        # Itself: a process of another test may be heard still, and newer is who was written down later.
        works.beat()
        return two.pg.query(f"SELECT state FROM node_process WHERE boot = {signed(works.boot)}") == [["active"]]
    wait_until(works_is_known, what="the first")
    second = nodes("edge-2", "edge", at="coordinator-2")

    def newest_speaks():
        second.beat("draining")
        return two.json("node", "show", "edge-2")["state"] == "draining"
    wait_until(newest_speaks, what="the newest speaks while it is heard")
    for _ in range(10):
        began = time.monotonic()
        second.beat("draining")
        works.beat()
        state = two.json("node", "show", "edge-2")["state"]
        if time.monotonic() - began < 1:  # else the second may have been silent for node_timeout meanwhile
            break
    assert state == "draining", "the older one does not speak beside it"
    second.close()

    def speaks():
        # Each time: its last heartbeat may be written only after the first look.
        two.pg.query(f"UPDATE node_process SET seen_at = now() - interval '61 seconds' WHERE boot = {signed(second.boot)}")
        works.beat()
        return two.json("node", "show", "edge-2")["state"] == "active"
    wait_until(speaks, 8, "the one that works")


def test_a_drained_process_that_is_silent_does_not_hide_one_that_works(two, nodes):
    """A second process of a node said that it is drained, and ended: the first speaks again after node_timeout, not only after a minute."""
    first = nodes("edge-2", "edge")

    def first_is_known():
        first.beat()
        return two.pg.query(f"SELECT count(*) FROM node_process WHERE boot = {signed(first.boot)}") == [["1"]]
    wait_until(first_is_known, 30, "the first")
    second = nodes("edge-2", "edge", at="coordinator-2")

    def second_speaks():
        second.beat("drained")
        return two.json("node", "show", "edge-2")["state"] == "drained"
    wait_until(second_speaks, 30, "the second, while it is heard")
    second.close()

    def first_speaks():
        # As after 6 s of its silence, each time: its last heartbeat may be written only after the first look. node_timeout is 5 s here.
        two.pg.query(f"UPDATE node_process SET seen_at = now() - interval '6 seconds' WHERE boot = {signed(second.boot)}")
        first.beat()
        return two.json("node", "show", "edge-2")["state"] == "active"
    wait_until(first_speaks, 30, "the first, again")


def test_many_ended_processes_are_folded_in_short_turns(two, nodes):
    """400 processes with 160 series each: no turn is long, the sums are right, and nobody is lost meanwhile."""
    edge, scanner = nodes("edge-1", "edge"), nodes("scanner-1", "scanner")
    edge.beat()
    scanner.beat()
    for name in ("edge-1", "scanner-1"):
        wait_until(lambda n=name: two.json("node", "show", n)["state"] == "active", what=f"{name} is heard")
    two.pg.query("""
        INSERT INTO node_process (node, worker, boot, first_seen_at, seen_at, state, version, pid, in_flight, gc_done, policy_epoch, generation,
            signatures, endpoint, public_key, coordinator)
        SELECT 'edge-1', 7, n, now() - interval '2 hours' + n * interval '1 second', now() - interval '1 hour', 'active', '', 1, 0, 0, 0, 0, '', '', '', 'x'
        FROM generate_series(1, 401) n;
        INSERT INTO node_metrics (node, worker, boot, metrics)
        SELECT 'edge-1', 7, n, (SELECT jsonb_agg(CASE WHEN s <= 100
                THEN jsonb_build_object('n', 'weir_fold_' || s || '_total', 'l', '', 'k', 0, 'v', 0.5)
                ELSE jsonb_build_object('n', 'weir_fold_seconds', 'l', 'number="' || s || '"', 'k', 2, 'v', 1.5, 'c', 3,
                    'b', '[0.001, 0.01, 0.1, 1, 10]'::jsonb, 'u', '[0, 1, 1, 0, 0]'::jsonb) END) FROM generate_series(1, 160) s)
        FROM generate_series(1, 401) n""")
    began, turns, longest = time.monotonic(), 0, 0.0
    beaten = began
    while int(two.pg.query("SELECT count(*) FROM node_process WHERE node = 'edge-1' AND worker = 7")[0][0]) > 1:
        assert time.monotonic() - began < 60 * coordinators.PATIENCE, "folding goes on"
        turn = two.pg.query("BEGIN; SET LOCAL client_min_messages = error; SELECT extract(epoch FROM clock_timestamp()); SELECT metrics_fold();"
                            "SELECT extract(epoch FROM clock_timestamp()); COMMIT")
        longest, turns = max(longest, float(turn[2][0]) - float(turn[0][0])), turns + 1
        assert int(turn[1][0]) <= 10
        in_time = time.monotonic() - beaten < 1  # else we were silent ourselves
        assert edge.beat() is not None and scanner.beat() is not None
        in_time, beaten = in_time and time.monotonic() - beaten < 1.3, time.monotonic()
        lost = [one["name"] for one in two.json("node", "list") if one["name"] in ("edge-1", "scanner-1") and one["state"] == "lost"]
        assert lost == [] or not in_time
    print(f"\n400 ended processes folded in {time.monotonic() - began:.1f} s; the longest of {turns} turns here took {longest * 1000:.0f} ms")
    text = two.http("/metrics")[1]
    for line in ('weir_fold_1_total{node="edge-1"} 200.5', 'weir_fold_seconds_count{node="edge-1",number="160"} 1203',
                 'weir_fold_seconds_sum{node="edge-1",number="160"} 601.5', 'weir_fold_seconds_bucket{node="edge-1",number="160",le="0.01"} 401',
                 'weir_fold_seconds_bucket{node="edge-1",number="160",le="0.1"} 802'):
        assert line + "\n" in text, (line, [one for one in text.splitlines() if one.startswith(line.split(" ")[0])])
    two.pg.query("DELETE FROM node_process WHERE worker = 7; DELETE FROM node_metrics WHERE worker = 7")


def test_series_told_in_parts_are_merged(two, nodes):
    """A process with more series than fit one heartbeat tells them in parts: none disappears while the others come."""
    edge = nodes("edge-2", "edge")
    names = [f"weir_part_{letter}_total" for letter in "abcdef"]

    def tell(value, parts):
        for part in parts:
            edge.beat(metrics=[counter(name, value) for name in names[2 * part:2 * part + 2]], metrics_partial=True)

    def values(at="coordinator-1"):
        return [two.metric(name + '{node="edge-2"}', at) for name in names]

    tell(1, (0, 1, 2))
    wait_until(lambda: values() == [1] * 6, what="all three parts")
    tell(2, (1,))
    wait_until(lambda: values() == [1, 1, 2, 2, 1, 1], what="one part renewed, the others kept")
    tell(3, (2, 0))
    tell(4, (0, 1, 2, 0, 1, 2))
    wait_until(lambda: values() == [4] * 6, what="several rounds in one batch: the newest of each")
    second = nodes("edge-2", "edge", at="coordinator-2")
    second.beat(metrics=[counter(names[0], 10)], metrics_partial=True)
    wait_until(lambda: values("coordinator-2") == [14, 4, 4, 4, 4, 4], what="another start is added, not merged")
    for version in "12":
        second.beat(metrics=[gauge("weir_version_info", 1, f'version="{version}"')], metrics_partial=True)
        wait_until(lambda v=version: two.metric(f'weir_version_info{{node="edge-2",version="{v}"}}') == 1, what=f"version {version}")
    assert two.metric('weir_version_info{node="edge-2",version="1"}') is None, "an info series' labels are its value"
    edge.beat(metrics=[counter(names[5], 5)])
    wait_until(lambda: values() == [10, None, None, None, None, 5], what="a whole set replaces all")


def test_late_heartbeats_change_nothing(two, nodes):
    """A coordinator that hung hands in what it heard before the node turned to another one."""
    edge = nodes("edge-2", "edge")
    edge.sequence = 10
    edge.beat(metrics=[counter("weir_late_total", 5)])
    wait_until(lambda: two.metric('weir_late_total{node="edge-2"}') == 5, what="5")
    late = nodes("edge-2", "edge", at="coordinator-2", boot=edge.boot)
    late.sequence = 3
    late.beat("draining", metrics=[counter("weir_late_total", 4)])
    late.beat("draining", metrics=[counter("weir_late_total", 4)], metrics_partial=True)
    time.sleep(0.6)
    # lost: where this process was starved for node_timeout
    assert two.metric('weir_late_total{node="edge-2"}') == 5 and two.json("node", "show", "edge-2")["state"] in ("active", "lost")
    late.sequence = 20
    late.beat("draining", metrics=[counter("weir_late_total", 6)])
    wait_until(lambda: two.metric('weir_late_total{node="edge-2"}') == 6, what="6")


def test_exposition_is_well_formed(two, nodes):
    nodes("edge-1", "edge").beat(metrics=[counter("weir_x_total", 1, 'a="b",c="d\\"e"'), counter("bad-name", 1), counter("weir_y_total", 1, "a=b")])
    wait_until(lambda: two.metric('weir_x_total{node="edge-1",a="b",c="d\\"e"}') == 1, what="the series")
    status, text = two.http("/metrics")
    assert status == 200 and "bad-name" not in text and "weir_y_total" not in text
    seen = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[2] not in seen, line
            seen.add(line.split()[2])
    assert "weir_build_info" in seen and "process_cpu_seconds_total" in seen and "weir_node_state" in seen
    assert two.http("/livez")[0] == 200 and two.http("/metrics", method="HEAD") == (200, "")
    assert two.http("/metrics", method="POST")[0] in (405, 501) and two.http("/x")[0] == 404


def test_policy_by_epochs(two, nodes, tmp_path):
    assert two.run_ctl("policy", "show").returncode == 65
    (tmp_path / "local-host-names").write_text("example.edu\n")
    (tmp_path / "mailertable").write_text("example.edu\tsmtp:[glass.example.edu]\n")
    (tmp_path / "README").write_text("not a policy file")
    assert two.run_ctl("policy", "check", tmp_path).returncode == 0
    assert "example.edu" in two.ctl("policy", "apply", tmp_path, "--comment", "the first")
    edge = nodes("edge-1", "edge", at="coordinator-2")
    state = edge.state(lambda s: s.policy_epoch == 1)
    assert state is not None
    edge.send(policy_request=pb.PolicyRequest(have=0))
    policy, files = edge.receive("policy")
    assert policy.epoch == 1 and dict(zip(policy.files, files))[b"local-host-names"] == b"example.edu\n"
    assert policy.digest and policy.digest == state.policy_digest
    edge.send(policy_request=pb.PolicyRequest(have=1, have_digest=policy.digest))
    assert edge.receive("policy", 0.5)[0] is None
    edge.send(policy_request=pb.PolicyRequest(have=1, have_digest=b"another database's"))
    assert edge.receive("policy")[0] == policy
    edge.send(policy_request=pb.PolicyRequest(have=1, have_digest=b"another database's"))  # the answer may still be on its way
    assert edge.receive("policy", 0.5)[0] is None
    (tmp_path / "mailertable").write_text("example.edu\tsmtp:[glass2.example.edu]\n")
    applied = two.ctl("policy", "apply", tmp_path)
    assert "- example.edu" in applied and "glass2" in applied and "policy 2" in applied
    assert "nothing changed" in two.ctl("policy", "apply", tmp_path)
    assert "glass.example.edu" in two.ctl("policy", "show", 1)
    two.ctl("policy", "rollback", 1)
    assert [one["epoch"] for one in two.json("policy", "history")] == [3, 2, 1]
    assert edge.state(lambda s: s.policy_epoch == 3)
    (tmp_path / "mailertable").write_text("example.edu smtp:[a]\nbroken\n")
    for words in (("policy", "check", tmp_path), ("policy", "apply", tmp_path)):
        done = two.run_ctl(*words)
        assert done.returncode == 65 and "mailertable:2" in done.stderr


@contextlib.contextmanager
def made_anew(pg, function, declaration, body):
    """A function with other types, as a newer program makes it while this one is at work; then again as it was."""
    found = "\n".join(cells[0] for cells in pg.query(f"SELECT pg_get_functiondef('{function}'::regproc)"))
    pg.query(f"BEGIN; DROP FUNCTION {function}; CREATE FUNCTION {function}{declaration} LANGUAGE sql AS $$ {body} $$; COMMIT")
    try:
        yield
    finally:
        pg.query(f"BEGIN; DROP FUNCTION {function}; {found}; COMMIT")


STALE = 'weir_db_statements_stale_total{node="coordinator-1",connection="admin"}'
SESSIONS = "SELECT count(*), max(backend_start) FROM pg_stat_activity WHERE application_name ~ '^weir coordinator-[12]( admin)?$'"


@pytest.mark.sanitized
def test_a_statement_for_a_function_that_was_made_anew(two):
    """Nobody notices, and no connection is made anew; what does not work for another reason is told, and tried once."""
    def show():
        done = two.run_ctl("--json", "queue", "show", "NOBODY", who="first")
        return done.returncode, done.stdout + done.stderr

    before, stale = two.pg.query(SESSIONS), two.metric(STALE)
    assert before[0][0] == "4"
    assert [show()[0] for _ in range(3)] == [65] * 3  # from the third time on by its name
    with made_anew(two.pg, "admin_queue_show", "(wanted bytea) RETURNS admin_answer",
                   "SELECT 0, NULL::text, json_build_object('id', convert_from(wanted, 'UTF8'))"):
        shown = [show() for _ in range(3)]
        assert [status for status, _ in shown] == [0] * 3 and all("NOBODY" in words for _, words in shown), shown
        assert two.metric(STALE) == stale + 1
    assert [show()[0] for _ in range(3)] == [65] * 3
    assert two.metric(STALE) == stale + 2
    made = "\n".join(cells[0] for cells in two.pg.query("SELECT pg_get_functiondef('admin_queue_show'::regproc)"))
    try:
        two.pg.query("CREATE OR REPLACE FUNCTION admin_queue_show(wanted text) RETURNS admin_answer LANGUAGE plpgsql AS "
                     "$$ BEGIN RETURN (SELECT a FROM nowhere AS a); END $$")
        for status, words in [show() for _ in range(3)]:
            assert status == 70 and "42P01" in words, words
        assert two.metric(STALE) == stale + 2, "the statement fits, but what the function does is wrong"
        two.pg.query("DROP FUNCTION admin_queue_show(text)")
        for status, words in [show() for _ in range(3)]:
            assert status == 70 and "42883" in words, words
        assert two.metric(STALE) == stale + 3
    finally:
        two.pg.query(f"DROP FUNCTION IF EXISTS admin_queue_show(text); {made}")
    assert [show()[0] for _ in range(3)] == [65] * 3
    assert two.pg.query(SESSIONS) == before


def test_a_stale_statement_with_large_values(two, tmp_path):
    """They are not kept to be sent once more: who asked is told to."""
    (tmp_path / "local-host-names").write_text("example.edu\n" + "# a comment of some length\n" * 5000)
    def apply():
        return two.run_ctl("policy", "apply", tmp_path, who="first")
    assert [apply().returncode for _ in range(3)] == [0] * 3
    before = two.pg.query(SESSIONS)
    with made_anew(two.pg, "act_end", "(requester text, wanted uuid, done admin_answer) RETURNS TABLE (status integer, error text, body json, "
                   "repeated boolean, more text)", "SELECT done.status, done.error, done.body, false, 'a column that this one does not know'"):
        done = apply()
        assert done.returncode == 75 and "0A000" in done.stderr, done
        assert "nothing changed" in apply().stdout
    assert [apply().returncode for _ in range(2)] == [75, 0]
    assert two.pg.query(SESSIONS) == before


def test_another_coordinator_answers(two):
    two.stop("coordinator-1", signal.SIGKILL)
    assert two.json("node", "list")
    two.processes["coordinator-2"].send_signal(signal.SIGSTOP)
    done = two.run_ctl("status", deaf=True)
    assert done.returncode == 69 and "coordinator-1" in done.stderr and "coordinator-2" in done.stderr
    two.processes["coordinator-2"].send_signal(signal.SIGCONT)
    two.start("coordinator-1")
    wait_until(lambda: two.http("/readyz", "coordinator-2")[0] == 200, what="coordinator-2")


def test_database_gone_and_back():
    with Coordinators(1) as one:
        one.start()
        one.add_key("scanner-1", "scanner")
        scanner = one.node("scanner-1", "scanner")
        assert scanner.hello()
        scanner.beat()
        assert scanner.state(lambda s: not entry(s, "scanner-1").lost)
        one.pg.kill()
        wait_until(lambda: one.http("/readyz")[0] == 503, 20, "not ready")
        assert one.http("/livez")[0] == 200 and 'weir_db_up{node="coordinator-1"} 0' in one.http("/metrics")[1]
        for _ in range(10):
            assert scanner.beat() is not None, "heartbeats are answered from memory"
            time.sleep(0.2)
        assert scanner.state(lambda s: not entry(s, "scanner-1").lost), "the last state is still published"
        done = one.run_ctl("status")
        assert done.returncode == 69 and "database" in done.stderr

        def back():
            one.pg.start()
            wait_until(lambda: one.http("/readyz")[0] == 200, 30, "ready again")
            one.add_key("scanner-2", "scanner")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the scanner is heard meanwhile: else it may be lost for its own silence
            coming = pool.submit(back)
            while not coming.done():
                assert scanner.beat() is not None
                time.sleep(0.1)
            coming.result()
        for _ in range(10):
            scanner.beat()
            state = scanner.state()
            assert not entry(state, "scanner-1").lost, "nobody is lost because the database was"
            time.sleep(0.1)
        assert scanner.state(lambda s: entry(s, "scanner-2") is not None), "it listens again"
        one.pg.signal_all(signal.SIGSTOP)
        wait_until(lambda: one.http("/readyz")[0] == 503, 20, "a hung database counts as gone")
        one.pg.signal_all(signal.SIGCONT)
        wait_until(lambda: one.http("/readyz")[0] == 200, 30, "ready again")
        scanner.close()
        assert one.stop("coordinator-1") == 0
        one.pg.kill()
        one.start(wait=False)
        wait_until(lambda: one.http("/livez")[0] == 200, what="started without a database")
        done = one.run_ctl("status")
        assert done.returncode == 69 and "database" in done.stderr and "refused our key" not in done.stderr, done.stderr


class Proxy(threading.Thread):
    """Between a coordinator and PostgreSQL. Connections that come while `hang` is set get no answer to their first query."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.path, self.hang, self.hung = folder + "/.s.PGSQL.5432", False, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            client = self.listener.accept()[0]
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.path)
            threading.Thread(target=self.pass_on, args=(client, server, self.hang), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(server, client, False), daemon=True).start()

    def pass_on(self, here, there, hang):
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                if hang and data[:1] == b"Q":
                    self.hung += 1
                    hang = None
                if hang is not None:
                    there.sendall(data)
            there.shutdown(socket.SHUT_WR)


def test_backend_that_hangs_while_it_is_set_up_is_left():
    with Coordinators(1, sets=["database_timeout = 1s"]) as one:
        proxy = Proxy(one.pg.dir)
        proxy.hang = True
        (one.dir / "database").write_text(f"host=127.0.0.1 port={proxy.port} dbname=weir user=weir sslmode=disable gssencmode=disable\n")
        one.start(wait=False)
        wait_until(lambda: proxy.hung >= 2, 15, "another connection is tried")
        assert one.http("/readyz")[0] == 503
        proxy.hang = False
        wait_until(lambda: one.http("/readyz")[0] == 200, 30, "ready")
        assert one.metric('weir_db_timeouts_total{node="coordinator-1",waiting_for="setup"}') >= 1
        # Waiting for another's migration is no hang, and leaves no crowd of waiting backends behind.
        one.stop("coordinator-1")
        waiting = lambda: int(one.pg.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")[0][0])
        with coordinators.locked(one, "DO $$ BEGIN PERFORM pg_advisory_xact_lock(hashtextextended('weir migrate', 0)); END $$"):
            one.start(wait=False)
            wait_until(lambda: waiting() > 0, 30, "it waits")
            until = time.monotonic() + 3  # of database_timeout
            while time.monotonic() < until:
                assert waiting() <= 1, "a crowd of backends waits"
                time.sleep(0.1)
        wait_until(lambda: one.http("/readyz")[0] == 200, 30, "ready")


def test_limits_are_settings():
    sets = ["audit_pending = 2", "admin_requests = 1", "scrapes = 1", "database_timeout = 3s", "database_connect_timeout = 300ms"]
    with Coordinators(1, sets=sets) as one:
        one.start()
        one.add_key("edge-1", "edge")
        edge, operator = one.node("edge-1", "edge"), one.node("operator", "operator")
        assert edge.hello()
        report(edge, 1, *(audit_row(new_id()) for _ in range(3)))
        report(edge, 2, *(audit_row(new_id()) for _ in range(2)))
        assert edge.receive("report_ack")[0].batch == 2, "three rows are more than may wait, two are not"
        assert one.metric('weir_audit_reports_dropped_total{node="coordinator-1"}') == 1
        for number in range(1, 101):  # faster than the database has answered each
            operator.send(admin_request=pb.AdminRequest(id=number, verb=b"node list"))
        answers = [operator.receive("admin_reply")[0] for _ in range(100)]
        assert {answer.status for answer in answers} == {0, 75} and len({answer.id for answer in answers}) == 100
        busy = sum(answer.status == 75 for answer in answers)
        assert one.metric('weir_admin_busy_total{node="coordinator-1"}') == busy
        one.pg.signal_all(signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            codes = [code for code, _ in pool.map(lambda _: one.http("/metrics"), range(4))]
        assert sorted(codes) == [200, 503, 503, 503]
        wait_until(lambda: one.http("/readyz")[0] == 503, 20, "a database that hangs for so long is gone")
        timeouts = 'weir_db_timeouts_total{node="coordinator-1",waiting_for="%s"}'
        wait_until(lambda: (one.metric(timeouts % "connection") or 0) >= 1, 10, "connecting is given up, too")
        assert one.metric(timeouts % "answer") == 1
        assert one.metric('weir_http_scrapes_refused_total{node="coordinator-1"}') == 3
        one.pg.signal_all(signal.SIGCONT)
        wait_until(lambda: one.http("/readyz")[0] == 200, 30, "ready again")
        operator.close()
        edge.close()


def open_files(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


@contextlib.contextmanager
def idle_connections(made, count):
    """To http; they say nothing."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", made.ports["coordinator-1"][2]), 30)) for _ in range(count)]


def check_the_oldest_go(one, pid):
    before = open_files(pid)
    with idle_connections(one, 80) as idle:
        wait_until(lambda: one.metric('weir_http_connections_ended_total{node="coordinator-1"}') >= 80 - 24, 30, "those that are more")
        assert one.http("/readyz")[0] == 200 and one.json("status")
        assert 1 <= one.metric('weir_http_connections{node="coordinator-1"}') <= 24
        assert open_files(pid) < before + 40
        assert [connection.recv(1) for connection in idle[:80 - 24]] == [b""] * (80 - 24)


def check_it_rests_without_descriptors(one, pid):
    """It neither spins nor fills its log, and answers as soon as there are descriptors again."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(fd.name) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    few = [fd for fd in range(len(used) + 4) if fd not in used][3] + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, limits[1]))
    with idle_connections(one, 40):
        wait_until(lambda: "http: accept: Too many open files; resting" in one.log("coordinator-1"), 30, "the warning")
        busy = cpu_seconds(pid)
        time.sleep(1)
        assert cpu_seconds(pid) - busy < 0.6, "it spins"
        assert one.log("coordinator-1").count("Too many open files") <= 5
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        wait_until(lambda: one.http("/readyz")[0] == 200, 30, "its answer")
        assert one.json("status")


def test_idle_connections_to_http_shut_nobody_out():
    with Coordinators(1, sets=["http_connections = 24"]) as one:
        one.start()
        pid = one.processes["coordinator-1"].pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == hard, "it raises its limit"
        before = open_files(pid)
        check_the_oldest_go(one, pid)
        wait_until(lambda: open_files(pid) < before + 10, 30, "their descriptors' end")
        check_it_rests_without_descriptors(one, pid)


def test_old_audit_rows_are_deleted_by_the_leader():
    with Coordinators(2, sets=["audit_days = 2"]) as made:
        made.start()
        made.pg.query("INSERT INTO audit SELECT lpad(n::text, 20, '0'), 0, now() - n * interval '1 hour', 'edge-1', 0, '', '', '', '', '', 'r', '',"
                      " 0, 'delivered', 250, '', '', '', '', '', '', '', '', 0 FROM generate_series(1, 12000) n")
        wait_until(lambda: made.pg.query("SELECT count(*) FROM audit") == [["47"]], 90, "47 rows of two days")
        leaders = [made.metric(f'weir_leader{{node="{name}"}}', name) for name in made.names]
        assert sum(leaders) == 1
        made.stop(made.names[leaders.index(1)], signal.SIGKILL)
        other = made.names[leaders.index(0)]
        wait_until(lambda: made.metric(f'weir_leader{{node="{other}"}}', other) == 1, 10, "the other one leads")
