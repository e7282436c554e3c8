"""S63: an account or an inside host that sends too much, or what nobody wants, is slowed down, then held; one command looks, one lifts it."""
import json
import re
import time

import pytest

import weir
from coordinators import Coordinators
from spooling import Edge, new_id
from weir import Smtp, message, wait_until

HOST, OTHER = "127.0.0.5", "127.0.0.6"
KEYS = {"mode": "on", "action": "hold", "account_recipients": 100, "host_recipients": 200, "registered_recipients": 1000, "rise": 10, "rise_least": 50, "viruses": 5,
        "bad_share": 50, "bad_least": 20, "hold_factor": 3, "held_messages": 1000, "held_bytes": 1000000, "held_all": 10000000}


@pytest.fixture(scope="module")
def site():
    made = weir.Cluster(edges=2, scanners=1, coordinators=2, sets=["edge.workers=1", "outbound=on", "outbound_account_recipients=10", "outbound_host_recipients=10",
                                                                   "outbound_throttle=1", "outbound_viruses=0"])
    try:
        made.up()
        with open(made.dir / "policy" / "networks", "a", encoding="ascii") as networks:
            networks.write(f"{HOST}\n{OTHER}\n")
        (made.dir / "policy" / "hosts").write_text("127.0.0.1 owner=tests reason=tests\n")
        made.apply_policy()
        yield made
    finally:
        made.down()


def states(site):
    return {one["subject"]: one["state"] for one in json.loads(site.weirctl("--json", "outbound", "list").stdout)}


class Account:
    """Sessions of alice's at both edges."""

    def __init__(self, site):
        self.site = site

    def send(self, edge, recipients, raw=None):
        """The replies to RCPT and to the message, which has one where somebody was accepted."""
        with Smtp(self.site.env[f"EDGE_{edge}_SUBMISSION"]) as client:
            client.starttls(self.site.env["CA_FILE"])
            wait_until(lambda: client.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUuZWR1AHdvbmRlcmxhbmQ=").code in (235, 503), 60, "the login")
            answers = client.envelope(sender="alice@example.edu", recipients=recipients)
            return [*answers, client.data(raw or message())] if any(answer.code == 250 for answer in answers) else answers


@pytest.mark.sanitized
def test_s63_an_account_is_slowed_down_then_held_then_released(site):
    alice, who = Account(site), "account alice@example.edu"
    assert all(answer.code == 250 for answer in alice.send(1, [f"a{n}@example.edu" for n in range(11)]))
    wait_until(lambda: states(site).get(who) == "throttled", 30, "the account is slowed down")
    for edge in (1, 2):
        slowed = wait_until(lambda e=edge: [a for a in alice.send(e, ["b1@example.edu", "b2@example.edu"]) if a.code == 450], 30, "450 at each edge")
        assert slowed[0].text.startswith("4.7.1 Mail from account alice@example.edu is slowed down"), slowed

    def insists():
        alice.send(2, [f"c{n}@example.edu" for n in range(20)])
        return states(site).get(who) == "held"
    wait_until(insists, 60, "the account is held")
    wait_until(lambda: "outbound: account alice@example.edu is held, was throttled: " in site.log("coordinator-1") + site.log("coordinator-2"), 30, "the log of the one who leads")
    wait_until(lambda: sum(site.metric("weir_outbound_stopped", number, state="held") for number in (1, 2)) == 1, 30, "the alert, of the one who leads")
    assert "problem       outbound: 1 stopped" in site.weirctl("status").stdout

    def is_held(edge, raw):
        """Until the edge has heard of it, it says 450."""
        answers = wait_until(lambda: [a for a in [alice.send(edge, ["held@example.edu"], raw)[-1]] if a.code == 250], 30, "250 at each edge")
        return answers[0].queue_id
    mail = [message(token=f"held-{n}") for n in range(2)]
    ids = [is_held(1, mail[0]), is_held(2, mail[1])]
    assert site.query(f"SELECT bool_and(held) FROM spool_queue WHERE id IN ('{ids[0]}', '{ids[1]}')") == [["t"]]
    for node in ("coordinator-1", "coordinator-2", "edge-1"):  # it is remembered
        site.kill(node)
    site.heal()
    last = message(token="held-2")
    ids.append(is_held(1, last))
    assert site.query(f"SELECT count(*) FROM spool_queue WHERE held AND id IN ('{ids[0]}', '{ids[1]}', '{ids[2]}')") == [["3"]]
    shown = json.loads(site.weirctl("--json", "outbound", "show", "alice@example.edu").stdout)
    count = shown["held_messages"]  # and what was on its way when it was held
    assert count >= 3 and {one["id"] for one in shown["held"]} >= set(ids) and shown["newest"], shown
    assert shown["evidence"]["recipients"] > 30 and "recipients within an hour, of 10 allowed" in shown["reason"], shown
    assert all(not site.sink.with_token(f"held-{n}") for n in range(3))
    wait_until(lambda: site.metric("weir_reports_buffered") == 0 and site.query("SELECT count(*) FROM outbound_delta") == [["0"]], 30, "all that was tried is counted")
    said = site.weirctl("outbound", "release", "alice@example.edu").stdout
    assert said == f"account alice@example.edu was held: {count} messages released, 0 deleted\n"
    for n in range(3):
        wait_until(lambda n=n: len(site.sink.with_token(f"held-{n}")) == 1, 30, "the mail, once")
    did = json.loads(site.weirctl("--json", "history").stdout)[-1]
    assert (did["action"], did["target"]) == ("outbound release", who)
    override = did["detail"]["override"]
    named = f"SELECT count(*) FROM audit WHERE id IN ('{ids[0]}', '{ids[1]}', '{ids[2]}') AND disposition = 'delivered' AND override = {override}"
    wait_until(lambda: site.query(named) == [["3"]], 30, "each says by which word it went on")
    assert f"override={override} " in site.weirctl("trace", ids[0]).stdout
    free = wait_until(lambda: [a for a in [alice.send(2, ["d@example.edu"], message(token="free"))[-1]] if a.code == 250], 30, "free again")
    wait_until(lambda: site.sink.with_token("free"), 30, f"{free}: not held")


def test_s63_a_host_is_held_on_every_listener_and_its_mail_deleted(site):
    def insists():
        with Smtp(site.relay(1), source=HOST) as client:
            if any(answer.code == 250 for answer in client.envelope(recipients=[f"h{n}@example.edu" for n in range(15)])):
                client.data(message())
        return states(site).get(f"host {HOST}") == "held"
    wait_until(insists, 60, "the host is held")

    def held_by(door, token):
        def once():
            with Smtp(site.env[door], source=HOST) as client:
                answers = client.envelope(recipients=["held@example.edu"])
                return answers[0].code == 250 and client.data(message(token=token))
        answer = wait_until(once, 30, f"an answer at {door}")
        assert answer.code == 250, answer
        return site.query(f"SELECT held FROM spool_queue WHERE id = '{answer.queue_id}'") == [["t"]]
    wait_until(lambda: held_by("EDGE_1_RELAY", "host-relay"), 30, "held, though it has one next hop")
    for door in ("EDGE_2_RELAY", "EDGE_2_HANDOFF", "EDGE_1_HANDOFF"):
        wait_until(lambda d=door: held_by(d, f"host-{d}"), 30, "held")
    site.sink.clear()
    assert site.send(message(token="other"), source=OTHER).code == 250  # nobody else is
    count = int(site.query(f"SELECT count(*) FROM spool_message WHERE held_for = 'host {HOST}'")[0][0])
    said = site.weirctl("outbound", "release", HOST, "--delete").stdout
    assert said == f"host {HOST} was held: 0 messages released, {count} deleted\n" and count >= 4
    wait_until(lambda: site.query("SELECT count(*) FROM spool_message") == [["0"]], 30, "all else is delivered")
    assert int(site.query("SELECT count(DISTINCT id) FROM audit WHERE disposition = 'discarded:operator'")[0][0]) == count
    assert "nothing was sent by" in site.weirctl("outbound", "release", "nobody", check=False).stderr
    wait_until(lambda: site.metric("weir_conservation_difference") == 0, 30, "nothing is missing")


def test_s63_who_is_refused_is_told_and_devices_are_not(site):
    site.query(f"INSERT INTO outbound_stop (subject, state, dry, reason, evidence) VALUES ('host {OTHER}', 'refused', false, 'a test', '{{}}')")

    def refused(edge):
        with Smtp(site.relay(edge), source=OTHER) as client:
            answer = client.command("MAIL FROM:<a@example.org>")
            return answer.code == 550 and answer.text == f"5.7.1 Mail from host {OTHER} is stopped, as too much of it came or was refused"
    for edge in (1, 2):
        wait_until(lambda e=edge: refused(e), 30, "550 at each edge")
    with Smtp(site.env["EDGE_1_HANDOFF"], source=OTHER) as client:
        client.envelope()
        answer = client.data(message(token="device"))
    assert answer.code == 250 and site.query(f"SELECT held FROM spool_queue WHERE id = '{answer.queue_id}'") == [["t"]]
    site.query(f"UPDATE outbound_stop SET full_up = true WHERE subject = 'host {OTHER}'")  # what its leader finds is 1 of 1000: it takes it back

    def taken_again():
        with Smtp(site.relay(1), source=OTHER) as client:
            return client.command("MAIL FROM:<a@example.org>").code == 550
    wait_until(taken_again, 30, "the count was looked at")
    site.query(f"DELETE FROM outbound_stop WHERE subject = 'host {OTHER}'")  # by whatever hand: no mail is held for nobody
    wait_until(lambda: site.sink.with_token("device"), 30, "what was held for it")


EGRESSES = """
[egress "bulk"]
addresses = 127.0.0.81
hostname = bulk.weir.test
use_for = handoff

[egress "suspect"]
addresses = 127.0.0.82, 127.0.0.83
hostname = suspect.weir.test

[egress "six"]
addresses = ::1
"""
USUAL, BULK, SUSPECT = ("127.0.0.1", "edge-{}.weir.test"), ("127.0.0.81", "bulk.weir.test"), ("127.0.0.82 127.0.0.83", "suspect.weir.test")
tokens = (f"egress-{number}" for number in range(1000000))


def went_out_from(site, door, edge, of):
    """A message of that host through that door left as of that pool, as the next hop sees it."""
    token = next(tokens)
    answer = site.send(message(token=token), edge=edge, source="127.0.0.1", door=door)
    if answer.code != 250:
        return False
    _, envelope = wait_until(lambda: site.sink.with_token(token), 30, "it is delivered")[0]
    return envelope["client"] in of[0].split() and envelope["helo"] == of[1].format(edge)


@pytest.mark.sanitized
def test_s71_suspect_mail_goes_out_from_other_addresses(site):
    """What goes through the session and through the spool, by its kind, and of whom one command moves; others are not moved."""
    for edge in (1, 2):
        with open(site.dir / f"edge-{edge}" / "weir.conf", "a", encoding="ascii") as config:
            config.write(EGRESSES)
        site.reload(f"edge-{edge}")
    assert went_out_from(site, "RELAY", 1, USUAL) and went_out_from(site, "HANDOFF", 1, BULK)
    nobody = site.weirctl("outbound", "pool", "127.0.0.1", "nowhere", check=False)
    assert nobody.returncode == 65 and 'no edge has an [egress "nowhere"]' in nobody.stderr
    wait_until(lambda: site.weirctl("outbound", "pool", "127.0.0.1", "suspect", "--reason", "is listed", check=False).returncode == 0, 30, "edges have told of their pools")
    for edge in (1, 2):
        wait_until(lambda e=edge: went_out_from(site, "RELAY", e, SUSPECT), 30, "it is moved at each edge")
    wait_until(lambda: went_out_from(site, "HANDOFF", 2, SUSPECT), 30, "and in the spool, whichever edge delivers")
    shown = json.loads(site.weirctl("--json", "outbound", "show", "127.0.0.1").stdout)
    assert (shown["pool"], shown["pool_reason"], shown["state"]) == ("suspect", "is listed", "free") and "suspect" in site.weirctl("outbound", "list").stdout
    alice = Account(site)
    token = next(tokens)
    wait_until(lambda: alice.send(1, ["b@example.edu"], message(token=token))[-1].code == 250, 30, "alice is free")
    assert wait_until(lambda: site.sink.with_token(token), 30, "hers")[0][1]["helo"].startswith("edge-"), "nobody else is moved"
    site.weirctl("outbound", "pool", "127.0.0.1", "six")

    def unreachable(edge=1):
        with Smtp(site.relay(edge)) as client:
            answer = client.envelope()[0]
            return answer.code == 451 and "no address of the egress pool can reach it" in answer.text
    wait_until(unreachable, 30, "no other address is taken instead")
    wait_until(lambda: unreachable(2), 30, "nor at the other edge")
    token = next(tokens)
    waits = site.send(message(token=token), source="127.0.0.1", door="HANDOFF").queue_id
    wait_until(lambda: site.query(f"SELECT 1 FROM spool_event WHERE id = '{waits}' AND what = 'deferred' AND reply LIKE '%no address of the egress pool%'"), 60, "nor in the spool")
    assert site.query("SELECT destination FROM spool_destination") == [], "which is no reason for others' mail to wait"
    assert site.weirctl("outbound", "pool", "127.0.0.1", "-").stdout == "mail of host 127.0.0.1 goes out as that of its kind\n"
    wait_until(lambda: went_out_from(site, "RELAY", 1, USUAL), 30, "it is back")
    site.weirctl("queue", "retry", waits)
    wait_until(lambda: site.sink.with_token(token), 60, "what waited goes out")


def quietly(query, sql):
    """Nodes hear of it with the next change."""
    query(f"ALTER TABLE outbound_stop DISABLE TRIGGER outbound_stop_changed; {sql}; ALTER TABLE outbound_stop ENABLE TRIGGER outbound_stop_changed")


def test_s63_direct_mail_is_held_however_many_are_stopped(site):
    """Of more than a thousand edges know, too: what would go straight to the next hop rests."""
    quietly(site.query, "INSERT INTO outbound_stop (subject, state, dry, reason, evidence) SELECT 'host 10.1.' || n / 250 || '.' || n % 250, 'held', false, 'a test', '{}'"
                        " FROM generate_series(1, 1000) AS n")
    try:
        site.query(f"INSERT INTO outbound_stop (subject, state, dry, since, reason, evidence) VALUES ('host {OTHER}', 'held', false, now() - interval '1 day', 'a test', '{{}}')")

        def held():
            answer = site.send(message(token="beyond"), source=OTHER)
            return answer.code == 250 and site.query(f"SELECT held FROM spool_queue WHERE id = '{answer.queue_id}'") == [["t"]]
        wait_until(held, 30, "held at the edge")
        site.query(f"UPDATE outbound_stop SET state = 'refused' WHERE subject = 'host {OTHER}'")

        def refused():
            with Smtp(site.relay(1), source=OTHER) as client:
                return client.command("MAIL FROM:<a@example.org>").code == 550
        wait_until(refused, 30, "refused at the edge")
    finally:
        quietly(site.query, "DELETE FROM outbound_stop WHERE subject LIKE 'host 10.1.%'")
        site.query(f"DELETE FROM outbound_stop WHERE subject = 'host {OTHER}'")
    wait_until(lambda: site.query("SELECT count(*) FROM spool_message WHERE held_for <> ''") == [["0"]], 60, "it goes on")


@pytest.fixture(scope="module")
def database():
    """A database with the schema, where no coordinator is at work but the one that a test starts."""
    with Coordinators(1, sets=["outbound = dry_run"]) as made:
        made.pg.coordinators = made
        yield made.pg


@pytest.fixture
def empty(database):
    database.query("DELETE FROM outbound_stop; DELETE FROM outbound_sender; DELETE FROM outbound_delta; DELETE FROM spool_message; DELETE FROM spool_queue;"
                   "DELETE FROM spool_recipient")
    return database


def judge(pg, subject, counts, keys):
    """What is decided about counts that come now."""
    registered, recipients, viruses, bad = counts
    rows = pg.query(f"BEGIN; INSERT INTO outbound_delta VALUES ('{subject}', {registered}, {recipients}, {viruses}, {bad}, 0);"
                    f"SELECT was, state, dry, reason FROM outbound_judge('{json.dumps(keys)}', 1000); COMMIT;")
    return [row for row in rows if len(row) == 4]


@pytest.mark.parametrize("subject, counts, keys, state, words", [
    ("account a@b.test", ("false", 100, 0, 0), {}, None, None),
    ("account a@b.test", ("false", 101, 0, 0), {}, "throttled", "101 recipients within an hour, of 100 allowed"),
    ("account a@b.test", ("false", 300, 0, 0), {}, "held", "300 recipients within an hour"),
    ("account a@b.test", ("false", 300, 0, 0), {"action": "refuse"}, "refused", "300 recipients within an hour"),
    ("account a@b.test", ("false", 5000, 0, 0), {"account_recipients": 0}, None, None),
    ("host 192.0.2.7", ("false", 201, 0, 0), {}, "throttled", "201 recipients"),
    ("host 192.0.2.7", ("true", 999, 0, 0), {}, None, None),
    ("host 192.0.2.7", ("true", 1001, 0, 0), {}, "throttled", "of 1000 allowed"),
    ("host 192.0.2.7", ("true", 900, 4, 0), {}, None, None),
    ("host 192.0.2.7", ("true", 900, 5, 0), {}, "throttled", "5 viruses within an hour"),
    ("host 192.0.2.7", ("true", 900, 15, 0), {}, "held", "15 viruses within an hour"),
    ("host 192.0.2.7", ("true", 900, 15, 0), {"viruses": 0}, None, None),
    ("host 192.0.2.7", ("true", 40, 0, 21), {}, "throttled", "21 of 40 recipients within an hour were refused or bounced"),
    ("host 192.0.2.7", ("true", 100, 0, 49), {}, None, None),   # less than half
    ("host 192.0.2.7", ("true", 19, 0, 19), {}, None, None),    # too few to say
    ("host 192.0.2.7", ("true", 20, 0, 20), {}, "throttled", "20 of 20 recipients"),
    ("host 192.0.2.7", ("false", 120, 0, 60), {}, "held", "60 of 120 recipients"),
    ("account a@b.test", ("false", 90, 0, 60), {}, "held", "60 of 90 recipients"),
    ("host 192.0.2.7", ("false", 120, 0, 60), {"bad_share": 0}, None, None),
    ("host 192.0.2.7", ("true", 120, 0, 60), {}, "throttled", "60 of 120 recipients"),   # a list host does not choose whom it has on its lists
    ("host 192.0.2.7", ("false", 0, 0, 150), {}, None, None),   # of what was named before
    ("account a@b.test", ("false", 400, 0, 0), {"mode": "dry_run"}, "held", "400 recipients"),
    ("account a@b.test", ("false", 400, 0, 0), {"mode": "off"}, None, None),
])
def test_s63_what_slows_down_and_what_stops(empty, subject, counts, keys, state, words):
    decided = judge(empty, subject, counts, {**KEYS, **keys})
    if state is None:
        assert not decided
        return
    (was, now, dry, reason), = decided
    assert (was, now, dry) == ("", state, "t" if keys.get("mode") == "dry_run" else "f") and words in reason, decided
    assert not judge(empty, subject, ("false", 0, 0, 0), {**KEYS, **keys})  # told once


def test_s63_what_is_usual_is_learned_and_a_rise_is_seen(empty):
    database = empty
    now = "floor(extract(epoch FROM clock_timestamp()) / 3600)::bigint"
    database.query("SELECT outbound_add('host 192.0.2.7', true, 20, 0, 0, 480000)")
    for hour in range(1, 40):
        database.query(f"SELECT outbound_roll(ARRAY['host 192.0.2.7'], 480000 + {hour}); SELECT outbound_add('host 192.0.2.7', true, 20, 0, 0, 480000 + {hour})")
    usual, hours = database.query("SELECT round(usual_sum / usual_weight), hours FROM outbound_sender")[0]
    assert (usual, hours) == ("20", "39")
    wait_until(lambda: time.time() % 3600 < 3590, 10, "an hour that does not end meanwhile")
    database.query(f"UPDATE outbound_sender SET hour = {now} - 1, recipients = 0")  # the last hour was of no mail
    assert not judge(database, "host 192.0.2.7", ("true", 180, 0, 0), KEYS)
    (_, state, _, reason), = judge(database, "host 192.0.2.7", ("true", 40, 0, 0), KEYS)
    assert state == "throttled" and re.fullmatch(r"22\d recipients within an hour, of (19|2\d) that are usual", reason), reason
    database.query(f"UPDATE outbound_sender SET hour = {now} - 2")  # nothing for an hour
    assert judge(database, "host 192.0.2.7", ("true", 1, 0, 0), KEYS) == [["throttled", "", "f", "the hour is quiet again"]]


@pytest.mark.parametrize("disposition, fresh, arrived, bad, viruses", [
    ("refused:next-hop", "true", "NULL", 1, 0),
    ("bounced", "true", "NULL", 1, 0),
    ("bounced:expired", "true", "NULL", 0, 0),
    ("bounced", "false", "now() - interval '50 minutes'", 1, 0),
    ("bounced", "false", "now() - interval '61 minutes'", 0, 0),       # its recipients are of another hour
    ("bounced", "false", "now() - interval '10 minutes'", 1, 0),
    ("bounced:expired", "false", "now() - interval '10 minutes'", 0, 0),  # their host was away
    ("bounced:operator", "false", "now()", 0, 0),
    ("discarded:virus", "false", "now() - interval '2 days'", 0, 1),
])
def test_s63_what_counts_as_bad(empty, disposition, fresh, arrived, bad, viruses):
    def count(client):
        if fresh == "true":
            empty.query(f"SELECT outbound_count(ARRAY[('{client}', '', 3, '{disposition}', true, false, '', 'relay', current_date, 1, 1, now(), now())::sent_sum])")
        else:
            empty.query(f"SELECT outbound_late(ARRAY[('M1', now(), 'relay', '{client}', '', '', 1, '{disposition}', '', 3, true)::sent_row], {arrived})")
        return empty.query("DELETE FROM outbound_delta RETURNING subject, bad, viruses, client")
    client = "" if fresh == "true" else "2001:db8::7"
    assert count("2001:db8::7") == [["host 2001:db8::/64", str(bad), str(viruses), client]]  # an IPv6 host has many addresses
    empty.query("INSERT INTO outbound_sender (subject, registered, hour, released_at) VALUES ('host 192.0.2.7', true, 0, now() - interval '30 minutes')")
    older = fresh == "false" and "50 minutes" in arrived
    assert count("192.0.2.7")[0][1] == ("0" if older else str(bad))  # what left before it was released


def test_s66_a_late_virus_is_of_the_address_and_not_of_its_network(empty):
    empty.query("SELECT outbound_late(ARRAY[('M1', now(), 'relay', '2001:db8::99', '', '', 1, 'discarded:virus', '', 3, true)::sent_row], now())")
    empty.query(f"SELECT outbound_judge('{json.dumps(KEYS)}', 1000)")
    assert empty.query("SELECT client, viruses FROM sending_host_day WHERE client LIKE '2001:%'") == [["2001:db8::99", "1"]]
    assert empty.query("SELECT outbound_find('2001:db8::1234'), outbound_find('2001:db8:0:1::1')") == [["host 2001:db8::/64", ""]]


def stop(pg, who, state="held", since="now()"):
    pg.query(f"INSERT INTO outbound_stop (subject, state, dry, since, reason, evidence) VALUES ('{who}', '{state}', false, {since}, 'a test', '{{}}')")


def hold(pg, who, count, size=100, complete=True):
    """So many messages that are held for it."""
    pg.query("INSERT INTO spool_message (id, size, recipients, scanned, dsn, envelope, node, listener, client, helo, tls, sender, message_id, verdict, scanner, engine,"
             f" signatures, stored_at, held_for) SELECT md5('{who}{complete}' || n), {size}, 1, true, false, '', '', '', '', '', '', '', '', '', '', '', '',"
             f" {'now()' if complete else 'NULL'}, '{who}' FROM generate_series(1, {count}) AS n;"
             "INSERT INTO spool_recipient (id, number, destination, address, packed) SELECT id, 0, 'b.test', 'b@b.test', '' FROM spool_message ON CONFLICT DO NOTHING;"
             "INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, held) SELECT id, 'b.test', now(), true, now(), now() + interval '1 day', true"
             " FROM spool_message WHERE stored_at IS NOT NULL ON CONFLICT DO NOTHING")


def test_s63_who_is_stopped_is_told_before_who_is_slowed_down(empty):
    stop(empty, "account old@b.test", since="now() - interval '9 days'")
    quietly(empty.query, "INSERT INTO outbound_stop (subject, state, dry, reason, evidence)"
                         " SELECT 'host 10.0.' || n / 250 || '.' || n % 250, 'throttled', false, '', '{}' FROM generate_series(1, 1000) AS n")
    told = json.loads(empty.query("SELECT outbound_stops()")[0][0])
    assert len(told) == 1000 and told[0] == {"subject": "account old@b.test", "state": "held"}
    assert empty.query("SELECT outbound_stops_beyond()") == [["[]"]]  # nobody who is slowed down
    quietly(empty.query, "UPDATE outbound_stop SET state = 'held'")
    for change, letter in (("", "h"), ("state = 'refused'", "r"), ("full_up = true", "f")):
        if change:
            quietly(empty.query, f"UPDATE outbound_stop SET {change} WHERE subject = 'account old@b.test'")
        assert empty.query("SELECT outbound_stops_beyond(), outbound_states_beyond()") == [['["account old@b.test"]', letter]]


def test_s63_thousands_of_stops_change_the_state_once(empty):
    def epoch():
        return int(empty.query("SELECT epoch FROM cluster")[0][0])
    for change in ("INSERT INTO outbound_stop (subject, state, dry, reason, evidence) SELECT 'account ' || n, 'held', false, '', '{}' FROM generate_series(1, 5000) AS n",
                   "UPDATE outbound_stop SET idle = true", "DELETE FROM outbound_stop"):
        before = epoch()
        empty.query(change)
        assert epoch() == before + 1, change
    empty.query("UPDATE outbound_stop SET idle = true")
    assert epoch() == before + 1  # nothing was changed


def test_s63_off_frees_who_is_slowed_down_and_stops_rest(empty):
    stop(empty, "account held@b.test")
    stop(empty, "account slow@b.test", "throttled")
    hold(empty, "account held@b.test", 1)
    off = {**KEYS, "mode": "off"}
    assert judge(empty, "account x@b.test", ("false", 0, 0, 0), off) == [["throttled", "", "f", "outbound is off"]]
    assert empty.query("SELECT outbound_stops(), outbound_free(10)") == [["[]", "0"]]  # what is held stays so
    ask = "UPDATE spool_message SET held_for = ''; SELECT outbound_hold(array_agg(id), ARRAY['account held@b.test']) FROM spool_message; SELECT held_for FROM spool_message"
    assert empty.query(ask)[-1] == [""]
    assert not judge(empty, "account x@b.test", ("false", 0, 0, 0), KEYS)
    assert json.loads(empty.query("SELECT outbound_stops()")[0][0]) == [{"subject": "account held@b.test", "state": "held"}]
    assert empty.query(ask)[-1] == ["account held@b.test"]


def test_s63_counts_of_the_stopped_are_kept_and_who_has_none_is_free(empty):
    empty.query("INSERT INTO outbound_sender (subject, registered, hour) SELECT 'account ' || n || '@b.test', false, 0 FROM generate_series(1, 5) AS n")
    stop(empty, "account 1@b.test", "throttled")
    stop(empty, "account gone@b.test", "throttled")
    assert empty.query("SELECT outbound_tidy(0, 100); SELECT subject FROM outbound_sender") == [["4"], ["account 1@b.test"]]
    told = judge(empty, "account 1@b.test", ("false", 101, 0, 0), KEYS)
    assert told == [["throttled", "", "f", "nothing is known of it any more"]] and empty.query("SELECT subject FROM outbound_stop") == [["account 1@b.test"]]


@pytest.mark.parametrize("keys, full", [
    ({}, "ff"), ({"held_messages": 3}, "tf"), ({"held_bytes": 600}, "tf"), ({"held_bytes": 601}, "ff"), ({"held_all": 700}, "tt"), ({"held_all": 701}, "ff"),
])
def test_s63_held_mail_has_limits(empty, keys, full):
    for who, count, size in (("account a@b.test", 3, 200), ("account b@b.test", 1, 100)):
        stop(empty, who)
        hold(empty, who, count, size)
    judge(empty, "account x@b.test", ("false", 0, 0, 0), {**KEYS, **keys})
    assert empty.query("SELECT string_agg(full_up::text::char(1), '' ORDER BY subject) FROM outbound_stop") == [[full]]
    assert empty.query("SELECT messages, bytes, filled FROM outbound_counts()") == [["4", "700", str(full.count("t"))]]


def test_s63_a_release_is_done_in_parts_and_ends_when_nothing_is_left(empty):
    who, cluster = "account many@b.test", empty.coordinators
    stop(empty, who)
    hold(empty, who, 1100)
    hold(empty, who, 1, complete=False)
    part = json.loads(empty.query(f"SELECT body FROM admin_outbound_release('tests', '{who}', true)")[0][0])
    assert (part["was"], part["deleted"], part["left"]) == ("held", 500, 601) and empty.query("SELECT subject FROM outbound_stop") == [[who]]
    cluster.start()
    try:
        assert cluster.ctl("outbound", "release", "many@b.test", "--delete") == (
            f"{who} was held: 0 messages released, 600 deleted; 1 left, which are being stored or delivered: it stays stopped, ask again\n")
        cluster.add_key("edge-1", "edge")
        node, ident = cluster.node("edge-1", "edge"), new_id()
        assert node.hello(30) is not None
        edge = Edge(node)
        edge.stored(ident, login=b"many@b.test")  # its edge has not heard that it is held
        assert empty.query(f"SELECT m.held_for, q.held FROM spool_message m JOIN spool_queue q USING (id) WHERE m.id = '{ident}'") == [[who, "t"]]

        def gauge(name):
            return cluster.metric(f'weir_outbound_{name}{{node="coordinator-1"}}')
        wait_until(lambda: gauge("held_messages") == 2 and gauge("held_bytes") > 100, 30, "the gauges")
        assert gauge("full") == 0
        assert cluster.ctl("outbound", "release", "many@b.test") == f"{who} was held: 2 messages released, 0 deleted\n"
        assert empty.query("SELECT count(*) FROM outbound_stop")[0] == ["0"] and empty.query("SELECT count(*) FROM spool_message WHERE held_for <> ''")[0] == ["0"]
    finally:
        cluster.stop("coordinator-1")
