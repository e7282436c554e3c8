"""S23, S40: attachments that many suddenly send are held, scanned again, released or dropped; and who got what. With the shipped times: what waits is made older in
the database, as if so much time had passed."""
import concurrent.futures
import contextlib
import email.mime.application
import email.mime.multipart
import email.mime.text
import hashlib
import json
import os
import secrets
import signal
import subprocess

import pytest

import weir
from weir import wait_until

RECIPIENTS = ("alice@example.edu", "bob@example.edu")


@pytest.fixture(scope="module")
def site():
    made = weir.Cluster(edges=2, scanners=1, coordinators=2, sets=["edge.workers=1", "outbreak_senders=3", "outbreak_prefixes=2", "virus_notice=off", "outbreak_timeout=10s"])
    try:
        yield made.up()
    finally:
        made.down()


class Program:
    """A file that a double click runs, of random bytes, and mail with it."""

    def __init__(self):
        self.bytes = b"MZ" + secrets.token_bytes(300)
        self.hash = hashlib.sha256(self.bytes).hexdigest()

    def mail(self, name=None, beside=None):
        mail = email.mime.multipart.MIMEMultipart()
        mail["Subject"] = "your invoice"
        mail["From"], mail["To"], mail["Date"] = "a@example.org", "b@example.edu", "Sun, 22 Nov 2026 10:00:00 +0000"
        mail["X-Token"] = token = secrets.token_hex(8)
        mail.attach(email.mime.text.MIMEText("see the file"))
        part = email.mime.application.MIMEApplication(self.bytes)
        part.add_header("Content-Disposition", "attachment", filename=name or f"{token}.pdf")
        mail.attach(part)
        if beside is not None:
            mail.attach(email.mime.application.MIMEApplication(beside.bytes))
        return token, mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def sent(site, program, number, edge=1, door="RELAY", recipients=RECIPIENTS):
    """From the sender and the network of that number."""
    token, raw = program.mail()
    answer = site.send(raw, edge, f"127.0.{number}.9" if door == "RELAY" else None, f"s{number}@example.org", recipients, door)
    assert answer.code == 250, answer
    return token, answer.queue_id


def spread(site, program, first=20):
    """Three senders: the last one's is held. Its token and id."""
    for number in range(first, first + 2):
        token, _ = sent(site, program, number, edge=1 + number % 2)
        assert arrived(site, token)
    return sent(site, program, first + 2)


def arrived(site, token, recipients=RECIPIENTS):
    """All copies of a message are at the sink: the envelope, once for each recipient."""
    def there():
        got = [to for _, envelope in site.sink.with_token(token) for to in envelope["recipients"]]
        return sorted(got) == sorted(recipients) and site.sink.with_token(token)
    return wait_until(there, 60, f"message {token} at the sink, once for each recipient")


def one(site, sql):
    (value,), = site.query(sql)
    return value


def waiting(site, ident):
    return one(site, f"SELECT count(*) FROM quarantine_copy WHERE id = '{ident}' AND state = 'waiting' AND reason = 'outbreak'") == "2"


def older(site, ident, minutes):
    site.query(f"UPDATE outbreak_message SET held_at = held_at - interval '{minutes} min', until = until - interval '{minutes} min' WHERE id = '{ident}'")


def listed(site, program):
    return next((one for one in json.loads(site.weirctl("--json", "outbreak", "list").stdout) if one["hash"] == program.hash), None)


def audited(site, ident):
    return json.loads(site.weirctl("--json", "trace", ident).stdout)


def test_held_for_two_hours_then_scanned_again_and_delivered_once(site):
    held, due = Program(), Program()
    token, ident = spread(site, held)
    other, due_ident = spread(site, due, 30)
    assert waiting(site, ident) and not site.sink.with_token(token), "held by the transaction that its 250 stands for"
    assert one(site, f"SELECT until - held_at FROM outbreak_message WHERE id = '{ident}'") == "02:00:00", "the shipped time"
    wait_until(lambda: {row["disposition"] for row in audited(site, ident)} == {"quarantined:outbreak"}, 60, "its rows")
    assert (listed(site, held)["state"], listed(site, held)["kind"], listed(site, held)["held"]) == ("suspect", "executable", 2)
    assert site.query("SELECT words FROM dashboard_alerts('10 s') WHERE words LIKE 'an outbreak: mail waits for % attachments%'") != []
    again, again_ident = sent(site, held, 40, edge=2, door="HANDOFF")
    assert waiting(site, again_ident), "from then on, through whichever door and edge, under whichever name"
    older(site, ident, 100)  # 20 minutes are left, however long the other one takes
    older(site, due_ident, 120)
    arrived(site, other)
    assert waiting(site, ident) and not site.sink.with_token(token), "the turn that released the other one left it"
    older(site, ident, 20)
    (copy, envelope), = arrived(site, token)
    assert envelope["sender"] == "s22@example.org" and b"X-Weir-Released: from quarantine; reason=outbreak" in copy
    wait_until(lambda: [row["disposition"] for row in audited(site, ident)].count("delivered") == 2, 60, "what became of it")
    assert wait_until(lambda: one(site, f"SELECT count(*) FROM spool_message WHERE id = '{ident}'") == "0", 30, "its end")
    assert "--virus" in site.weirctl("quarantine", "release", again_ident, check=False).stderr, "not by the way"
    assert waiting(site, again_ident) and not site.sink.with_token(again)


def test_new_signatures_look_at_what_waits_at_once(site):
    bad, clean = Program(), Program()
    early = [sent(site, bad, number)[1] for number in (50, 51)]
    token, ident = sent(site, bad, 52)
    waits, waits_ident = spread(site, clean, 60)
    assert waiting(site, ident) and waiting(site, waits_ident)
    (site.dir / "signatures" / "outbreak.ndb").write_text(f"Test.Outbreak:0:*:{bad.bytes[2:42].hex()}\n")
    site.weirctl("gc", "--wait", "scanner-1")
    wait_until(lambda: one(site, f"SELECT count(*) FROM quarantine_copy WHERE id = '{ident}' AND state = 'waiting'") == "0", 60, "the first one's end")
    signatures = lambda: [row["signature"] for row in audited(site, ident) if row["disposition"] == "discarded:virus"]
    wait_until(lambda: signatures() == ["Test.Outbreak.UNOFFICIAL"] * 2, 60, "its rows")
    assert not site.sink.with_token(token)
    wait_until(lambda: one(site, f"SELECT looks FROM outbreak_message WHERE id = '{waits_ident}'") == "1" and waiting(site, waits_ident), 60,
               "that the other one was looked at and is back")
    assert not site.sink.with_token(waits) and one(site, f"SELECT until > now() + interval '1 hour' FROM outbreak_message WHERE id = '{waits_ident}'") == "t"
    # S40: who got it before anybody knew, by its hash and by the name that it has now.
    for words in ((bad.hash,), (bad.hash[:16], "--since", "1d"), ("--signature", "Test.Outbreak")):
        def found():  # what edges tell comes after their answers
            rows = json.loads(site.weirctl("--json", "hunt", *words).stdout)["rows"]
            assert {(row["id"], row["recipient"]) for row in rows if row["received"]} == {(ident, to) for ident in early for to in RECIPIENTS}
            return ident in {row["id"] for row in rows}
        wait_until(found, 60, f"who got it: {words}")
    shown = site.weirctl("hunt", bad.hash).stdout
    assert "executable" in shown and "4 of " in shown and " received it" in shown
    assert site.weirctl("hunt", "ff" * 32, check=False).returncode == 65
    assert "64 hexadecimal digits" in site.weirctl("hunt", "nonsense", check=False).stderr


@pytest.mark.parametrize("stale, new, common", [(1, 2, "{new}"), (1, 1, "{new,stale}"), (2, 1, "{stale}")])
def test_one_scanner_that_stays_behind_stops_nothing(site, stale, new, common):
    assert one(site, f"""BEGIN; INSERT INTO node_process SELECT (jsonb_populate_record(p, jsonb_build_object('boot', n, 'seen_at', clock_timestamp(), 'signatures',
            CASE WHEN n > {stale} THEN 'new' ELSE 'stale' END))).* FROM node_process p, generate_series(1, {stale + new}) AS n
            WHERE p.ctid = (SELECT t.ctid FROM node_process t WHERE t.node = 'scanner-1' AND t.state = 'active' LIMIT 1);
        UPDATE node_process SET state = 'ended' WHERE node = 'scanner-1' AND boot NOT BETWEEN 1 AND {stale + new};
        SELECT common FROM outbreak_sets(); ROLLBACK""") == common


def test_what_a_job_held_is_known_as_held(site):
    program = Program()
    for number in (120, 121):
        sent(site, program, number)
    site.stop("scanner-1")
    token, ident = sent(site, program, 122, door="HANDOFF")
    site.start("scanner-1")
    wait_until(lambda: waiting(site, ident), 90, "that the job held it")
    # Its own time goes on where that of the attachment is over.
    site.query(f"UPDATE outbreak_hash SET since = since - interval '121 min' WHERE hash = decode('{program.hash}', 'hex')")
    site.query(f"UPDATE outbreak_message SET signatures = 'older' WHERE id = '{ident}'")
    wait_until(lambda: one(site, f"SELECT looks FROM outbreak_message WHERE id = '{ident}'") == "1" and waiting(site, ident), 60, "that it was looked at and is back")
    assert not site.sink.with_token(token)


def test_operators_decide(site):
    good, bad = Program(), Program()
    token, _ = spread(site, good, 70)
    _, ident = spread(site, bad, 80)
    assert "needs --reason" in site.weirctl("outbreak", "release", good.hash, check=False).stderr
    site.weirctl("outbreak", "release", good.hash[:12], "--reason", "our own installer")
    arrived(site, token)
    assert listed(site, good)["state"] == "released"
    assert "2 held copies deleted; what comes is as a virus until" in site.weirctl("outbreak", "drop", bad.hash, "--reason", "stolen passwords", "--block", "1d").stdout
    assert one(site, f"SELECT string_agg(DISTINCT state, ',') FROM quarantine_copy WHERE id = '{ident}'") == "deleted"
    answer = site.send(bad.mail()[1], 1, "127.0.99.9", "x@example.org", RECIPIENTS)
    assert answer.code == 550 and f"Weir.Blocked.{bad.hash[:16]}" in str(answer)
    assert arrived(site, sent(site, good, 90)[0]), "what is good is held no more"
    acts = site.weirctl("history").stdout
    assert all(words in acts for words in ("outbreak suspect", "outbreak release", "our own installer", "outbreak drop", "stolen passwords"))


@pytest.mark.parametrize("one_is, other_is, same", [
    ("network('2001:db8:1:2::1')", "network('2001:db8:1:3::1')", "t"),
    ("network('2001:db8:1::1')", "network('2001:db8:2::1')", "f"),
    ("network('192.0.2.1')", "network('192.0.3.1')", "f"),
    ("sender('u+1@shop.example')", "sender('U+2@shop.example')", "t"),
    ("sender('bounce-17=a@shop.example')", "sender('bounce-18=b@shop.example')", "f"),  # 17 and 18 may be names
    ("sender('bounce-20261=a.b@shop.example')", "sender('bounce-20262=c@shop.example')", "t"),
    ("sender('prvs=123a=bob@x.example')", "sender('prvs=456b=bob@x.example')", "t"),
    ("sender('prvs=123a=bob@x.example')", "sender('prvs=456b=eve@x.example')", "f"),
    ("sender('bob@12345.example')", "sender('bob@54321.example')", "f"),
    ("name('bob@x.example', outbreak_network('192.0.2.1'), '') >> 20", "name('bob@x.example', outbreak_network('198.51.100.1'), '') >> 20", "t"),
    ("name('bob@x.example', outbreak_network('192.0.2.1'), '') & 1048575", "name('eve@x.example', outbreak_network('192.0.2.9'), '') & 1048575", "t"),
    ("name('bob@x.example', outbreak_network('192.0.2.1'), 'Bob')", "name('b@y.example', outbreak_network('198.51.100.1'), 'bob')", "t"),
    ("name('', outbreak_network('192.0.2.1'), 'student1234')", "name('', outbreak_network('192.0.2.1'), 'student1235')", "f"),
])
def test_who_is_counted_once(site, one_is, other_is, same):
    assert one(site, f"SELECT (outbreak_{one_is}) = (outbreak_{other_is})") == same


SHIPPED = {"mode": "hold", "senders": 10, "prefixes": 5, "window": "1 h", "known": "1 d", "hold": "2 h", "release_on_clean": False, "memory": "90 d", "entries": 1000000, "hunt": False}


def asked(*steps, **keys):
    """What the last of these questions is answered, from (sender, client, login); or SQL between them. Nothing of it stays."""
    k, questions = json.dumps({**SHIPPED, **keys}), []
    for number, step in enumerate(steps):
        questions.append(step if isinstance(step, str) else f"SELECT action FROM outbreak_ask('{k}', '{{1}}', '{{q{number}}}', '{{{step[0]}}}', '{{{step[1]}}}', "
                         f"ARRAY[repeat('ab', 32)], '{{2}}', '{{9}}', '{{t}}', '{{s}}', '{{f}}', '{{f}}', '{{\"{step[2]}\"}}')")
    return "BEGIN; " + "; ".join(questions) + "; ROLLBACK"


def from_each(networks, names=1, login=False, first=0):
    return [(f"u{net}-{name}@x.example", f"192.0.{net}.{name}", f"u{net}-{name}" if login else "") for net in range(first, first + networks) for name in range(names)]


ROW = "WHERE hash = decode(repeat('ab', 32), 'hex')"


@pytest.mark.parametrize("steps, keys, last, what", [
    (from_each(5, 2), {}, "hold", "the shipped ten of five"),
    (from_each(5, 2)[:-1], {}, "pass", "nine"),
    (from_each(4, 5), {}, "pass", "four networks"),
    (from_each(1, 16) + from_each(4, first=1), {}, "pass", "one host made up all names but four"),
    (from_each(1, 6, login=True) + from_each(4, first=1), {}, "hold", "which accounts cannot"),
    (from_each(5, 2), {"senders": 11}, "pass", "outbreak_senders"),
    (from_each(6, 3), {"prefixes": 7}, "pass", "outbreak_prefixes"),
    (from_each(5, 2)[:-1] + [f"UPDATE outbreak_sight SET at = at - interval '61 min' {ROW}"] + from_each(1, first=9), {}, "pass", "outbreak_window"),
    (from_each(5, 2)[:-1] + [f"UPDATE outbreak_sight SET at = at - interval '61 min' {ROW}"] + from_each(1, first=9), {"window": "2 h"}, "hold", "a longer one"),
    (from_each(5, 2)[:-1] + [f"UPDATE outbreak_hash SET first_at = first_at - interval '25 h' {ROW}"] + from_each(1, first=9), {}, "pass", "outbreak_known"),
    (from_each(5, 2)[:-1] + [f"UPDATE outbreak_hash SET first_at = first_at - interval '25 h' {ROW}"] + from_each(1, first=9), {"known": "2 d"}, "hold", "a longer one"),
    (from_each(1) + [f"UPDATE outbreak_hash SET first_at = first_at - interval '91 d', last_at = last_at - interval '91 d' {ROW}"] + from_each(5, 2), {}, "hold", "outbreak_memory"),
    (from_each(1) + [f"UPDATE outbreak_hash SET first_at = first_at - interval '91 d', last_at = last_at - interval '91 d' {ROW}"] + from_each(5, 2), {"memory": "99 d"}, "pass", "a longer one"),
    (from_each(5, 2) + [f"UPDATE outbreak_hash SET since = since - interval '121 min' {ROW}"] + from_each(1, first=9), {}, "pass", "outbreak_hold"),
    (from_each(5, 2) + [f"UPDATE outbreak_hash SET since = since - interval '121 min' {ROW}"] + from_each(1, first=9), {"hold": "3 h"}, "hold", "a longer one"),
])
def test_each_bound_of_what_is_an_outbreak(site, steps, keys, last, what):
    assert site.query(asked(*steps, **keys))[-1] == [last], what


def test_coordinators_of_the_version_before_are_answered(site):
    k = json.dumps({**SHIPPED, "senders": 1, "prefixes": 1})
    assert site.query(f"BEGIN; SELECT action FROM outbreak_ask('{k}', '{{1}}', '{{q1}}', '{{a@x.example}}', '{{192.0.2.1}}', ARRAY[repeat('ab', 32)], '{{2}}', '{{9}}', '{{t}}', '{{s}}',"
                      " '{f}', '{f}'); ROLLBACK") == [["hold"]]


def test_no_more_attachments_are_remembered_than_the_key_says(site):
    k = json.dumps({**SHIPPED, "entries": 100, "hunt_time": "14 d"})
    (forgotten, kept), = site.query(f"""BEGIN; INSERT INTO outbreak_hash (hash, kind, size, first_at, last_at) SELECT sha256(n::text::bytea), 2, 9, now(), now() - n * interval '1 min'
            FROM generate_series(1, 250) AS n; SELECT t.forgotten, t.known FROM outbreak_tidy('{k}', 5000) AS t; ROLLBACK""")
    assert (int(kept), int(forgotten) >= 150) == (100, True)


def test_of_two_attachments_each_holds_and_any_is_dropped(site):
    first, second, third = sorted((Program() for _ in range(3)), key=lambda one: one.hash)
    held = []
    for other, number in ((second, 130), (third, 140)):
        for sender in range(number, number + 3):
            token, raw = first.mail(beside=other)
            held.append((token, site.send(raw, 1, f"127.0.{sender}.9", f"s{sender}@example.org", RECIPIENTS).queue_id))
    waits = [ident for token, ident in held if not site.sink.with_token(token)]
    (early, early_ident), (late, late_ident) = held[2], held[5]
    assert waiting(site, early_ident) and waiting(site, late_ident) and len(waits) == 4
    assert f"{first.hash}, which was suspect, is good: 4 held copies are" in site.weirctl("outbreak", "release", first.hash, "--reason", "ours").stdout
    for token, ident in held[3:5]:
        arrived(site, token)
    assert waiting(site, early_ident) and waiting(site, late_ident), "they are held for the other one"
    assert "2 held copies deleted" in site.weirctl("outbreak", "drop", second.hash, "--reason", "stolen passwords").stdout
    site.weirctl("outbreak", "release", third.hash, "--reason", "ours")
    arrived(site, late)
    assert not site.sink.with_token(early)


@contextlib.contextmanager
def stores_wait(site):
    """No copy gets into the quarantine meanwhile; until a store waits for that."""
    holder = subprocess.Popen(["psql", site.env["DATABASE_URL"], "-XAtqc", "BEGIN; LOCK TABLE quarantine_copy IN EXCLUSIVE MODE; SELECT pg_sleep(120)"])
    locks = lambda condition: one(site, f"SELECT count(*) FROM pg_locks WHERE relation = 'quarantine_copy'::regclass AND {condition}") != "0"
    try:
        wait_until(lambda: locks("mode = 'ExclusiveLock' AND granted"), 60, "the lock: else it would be the one that waits, for a store")
        yield lambda: wait_until(lambda: locks("NOT granted"), 60, "a store that waits")
    finally:
        site.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(120)%' AND pid <> pg_backend_pid()")
        holder.wait(60)


def killed_while_scanned(site, idents, begun):
    """What that releases is in the spool and no scanner answers, when the leader and all edges die."""
    leader = next(number for number in (1, 2) if site.metric("weir_leader", number))
    for pid in weir.family(site.pid("scanner-1")):
        if weir.process_name(pid).startswith("weir-scan-"):  # its master goes on telling which signatures it has
            os.kill(pid, signal.SIGSTOP)
    begun()
    wait_until(lambda: one(site, f"SELECT count(*) FROM spool_message m WHERE m.id = ANY ('{{{','.join(idents)}}}')") == str(len(idents)), 60, "that they are in the spool")
    for name in (f"coordinator-{leader}", "edge-1", "edge-2"):
        site.kill(name)
    site.heal()


def test_nothing_is_lost_or_doubled_whoever_dies_between_hold_look_and_release(site):
    program = Program()
    held = [spread(site, program, 100), sent(site, program, 103, edge=2)]
    # Its answer says hold, and it dies before its client hears 250: whether the store is in time or not, the client sends it again.
    lost, raw = program.mail()
    with stores_wait(site) as a_store_waits, concurrent.futures.ThreadPoolExecutor() as pool:
        sending = pool.submit(site.send, raw, 2, "127.0.104.9", "s104@example.org", RECIPIENTS)
        a_store_waits()
        site.kill("edge-2")
        with pytest.raises(OSError):
            sending.result(60)
    site.heal()
    held.append((lost, site.send(raw, 1, "127.0.104.9", "s104@example.org", RECIPIENTS).queue_id))
    idents = [ident for _, ident in held]
    wait_until(lambda: all(waiting(site, ident) for ident in idents), 30, "that they are held")
    twice = one(site, f"SELECT count(DISTINCT m.id) FROM outbreak_message m JOIN quarantine_copy c ON c.id = m.id WHERE m.hash = decode('{program.hash}', 'hex')")
    assert twice in ("3", "4"), "the first try of the last one, or not"
    named = f"id = ANY ('{{{','.join(idents)}}}')"
    killed_while_scanned(site, idents, lambda: site.query(f"UPDATE outbreak_message SET signatures = 'older' WHERE {named}"))
    wait_until(lambda: all(waiting(site, ident) for ident in idents), 90, "that they are back")
    assert site.query(f"SELECT DISTINCT looks FROM outbreak_message WHERE {named}") == [["1"]] and not any(site.sink.with_token(token) for token, _ in held)
    killed_while_scanned(site, idents, lambda: [older(site, ident, 120) for ident in idents])
    for token, _ in held[:2]:
        arrived(site, token)
    copies = wait_until(lambda: [name for name, _ in site.sink.with_token(lost)], 60, "the last one")
    assert len(copies) <= 2
    wait_until(lambda: one(site, f"SELECT count(*) FROM spool_message WHERE {named}") == "0", 60, "their end")
    for token, _ in held[:2]:
        arrived(site, token)
    assert one(site, "SELECT difference FROM spool_sums()") == "0"
    assert one(site, "SELECT kept - released - deleted - expired - (SELECT count(*) FROM quarantine_copy WHERE state = 'waiting') FROM quarantine_sums()") == "0"


def test_without_coordinators_what_is_clean_goes_on(site):
    program = Program()
    for number in (1, 2):
        site.kill(f"coordinator-{number}", signal.SIGSTOP)
    try:
        token, _ = sent(site, program, 110)
        assert site.sink.with_token(token)
    finally:
        site.heal()
    assert wait_until(lambda: site.metric("weir_edge_outbreak_asked_total", 1, answer="none"), 60, "that it is counted") >= 1


def both_ask(site):
    """Each edge has found a coordinator."""
    def asks(edge):
        def answers():
            return sum(site.metric("weir_outbreak_answers_total", number) or 0 for number in (1, 2))
        before = answers()
        sent(site, Program(), 199, edge)
        return answers() > before
    for edge in (1, 2):
        wait_until(lambda: asks(edge), 60, f"edge-{edge} asks")


def test_what_is_only_watched_and_what_is_not_counted(site):
    """outbreak = watch, then off: coordinators are started again with another configuration, as on a site. What waits goes. The last test: so it stays."""
    sets = site.dir / "sets"
    before = sets.read_text()

    def say(word):
        sets.write_text(f"{before}outbreak={word}\n")
        for name in ("coordinator-1", "coordinator-2"):
            site.stop(name)
            site.start(name)
        both_ask(site)

    both_ask(site)
    held, watched, uncounted = Program(), Program(), Program()
    token, ident = spread(site, held, 150)
    assert waiting(site, ident)
    say("watch")
    arrived(site, token)
    last, _ = spread(site, watched, 160)
    arrived(site, last)
    assert (listed(site, watched)["state"], listed(site, watched)["held"]) == ("watched", 0)
    assert "outbreak suspect" in site.weirctl("history").stdout
    wait_until(lambda: max(site.metric("weir_outbreak_active", number) for number in (1, 2)) >= 1, 30, "that it is told")
    say("off")
    arrived(site, spread(site, uncounted, 170)[0])
    assert site.query(f"SELECT FROM outbreak_hash WHERE hash = decode('{uncounted.hash}', 'hex')") == []
    assert "no attachment that may be an outbreak" in site.weirctl("outbreak", "show", uncounted.hash, check=False).stderr
