"""The quarantine, with edges made in Python: what comes into it, who sees what of it, and how it leaves."""
import contextlib
import os
import random
import re
import signal
import subprocess
import threading

import pytest

from coordinators import Coordinators, pb, wait_until
from pg import Session
from spooling import BODY, Edge, envelope, new_id, recipients
from test_spool_conversations import count, empty, truncate
from weir import EICAR, message

SETS = ["spool_lease = 60s", "spool_retry_min = 300ms", "spool_retry_max = 1s", "quarantine_days = 14"]
SPAM = {"scored": True, "score": 6150, "symbols": b"URL_IP(3.00), NO_DATE(1.50)"}
ALICE, BOB, EVE = (f"{name}@example.edu" for name in ("alice", "Bob", "eve"))
HOP = "a.example"
OUTSIDE = "127.0.0.2"


@pytest.fixture(scope="module")
def two():
    with Coordinators(2, sets=SETS) as made:
        made.start()
        for name in ("edge-1", "edge-2"):
            made.add_key(name, "edge")
        yield made


@contextlib.contextmanager
def empty_quarantine(two, *tables):
    """Yields an edge of a cluster that has no mail, and nothing in these tables beside; when it is done, all is accounted for."""
    for name in two.names:
        wait_until(lambda n=name: two.http("/readyz", n)[0] == 200, 30, f"{name} is ready")
    truncate(two, f"{', '.join(('quarantine_message', 'quarantine_copy', 'quarantine_usage', 'personal_list', *tables))} CASCADE")
    empty(two)
    node = two.node("edge-1", "edge")
    assert node.hello() is not None
    yield Edge(node)
    node.close()
    conserved(two)


@pytest.fixture
def edge(two):
    with empty_quarantine(two) as made:
        yield made


def conserved(two):
    assert two.pg.query("SELECT difference FROM spool_sums()") == [["0"]], "every stored recipient is accounted for"
    assert two.pg.query("SELECT kept - released - deleted - expired - (SELECT count(*) FROM quarantine_copy WHERE state = 'waiting')"
                        " FROM quarantine_sums()") == [["0"]], "every copy is accounted for"
    assert two.pg.query("SELECT count(*) FROM spool_body b WHERE NOT EXISTS (SELECT FROM spool_message m WHERE m.id = b.id)"
                        " AND NOT EXISTS (SELECT FROM quarantine_message q WHERE q.id = b.id AND q.needed > 0)") == [["0"]], "no body is left behind"
    assert two.pg.query("SELECT count(*) FROM quarantine_message q WHERE q.needed <> (SELECT count(*) FROM quarantine_copy c WHERE c.id = q.id"
                        " AND (c.state = 'waiting' OR c.hold_by <> ''))") == [["0"]], "it is known who needs a body"


def copies(two, ident):
    return two.pg.query(f"SELECT recipient, state, reason FROM quarantine_copy WHERE id = '{ident}' ORDER BY number")


def audited(two, ident):
    return [row[0] for row in two.pg.query(f"SELECT disposition FROM audit WHERE id = '{ident}' ORDER BY recipient_index")]


@pytest.mark.sanitized
def test_a_message_is_kept_for_one_recipient_and_goes_on_to_the_others(two, edge):
    ident = new_id()
    edge.stored(ident, ((ALICE, HOP), (BOB, HOP, "spam"), (EVE, "b.example", "blocklist")), **SPAM)
    assert copies(two, ident) == [["bob@example.edu", "waiting", "spam"], ["eve@example.edu", "waiting", "blocklist"]]
    assert two.pg.query("SELECT address, score, symbols FROM quarantine_copy WHERE number = 1") == [[BOB, "6150", "URL_IP(3.00), NO_DATE(1.50)"]]
    lease, = edge.claim()
    assert [who.address for who in lease.who] == [ALICE.encode()] and lease.envelope.score == 6150
    assert edge.claim() == [], "nobody is sent to who is in the quarantine"
    assert edge.deliver(lease) == pb.ANSWER_OK
    assert count(two) == 0 and count(two, "spool_body") == 1, "its body is the quarantine's now"
    assert two.pg.query("SELECT convert_from(subject, 'UTF8'), needed FROM quarantine_message") == [["spool", "2"]]
    assert audited(two, ident) == ["delivered", "quarantined:spam", "quarantined:blocklist"]
    edge.stored(ident, ((ALICE, HOP), (BOB, HOP, "spam"), (EVE, "b.example", "blocklist")), **SPAM)
    assert count(two) == 0 and edge.claim() == [], "a store that is repeated is known, though the spool has nothing of it any more"


def test_a_large_message_is_kept_when_its_last_chunk_came(two, edge):
    ident = new_id()
    pairs = ((ALICE, HOP), (BOB, HOP, "spam"))
    assert edge.store(ident, pairs, last=False).spool_stored.have == len(BODY)
    assert copies(two, ident) == [["bob@example.edu", "incoming", "spam"]]
    assert edge.store(ident, pairs, last=False).spool_stored.have == len(BODY)
    assert edge.chunk(ident, len(BODY), b"more\r\n", last=True).spool_stored.complete
    assert copies(two, ident) == [["bob@example.edu", "waiting", "spam"]]
    assert edge.chunk(ident, len(BODY), b"more\r\n", last=True).spool_stored.complete
    lease, = edge.claim()
    assert len(lease.who) == 1 and edge.fetch(ident) == BODY + b"more\r\n" and edge.deliver(lease) == pb.ANSWER_OK
    abandoned = new_id()
    assert edge.store(abandoned, pairs, last=False).spool_stored.have == len(BODY)
    two.pg.query("UPDATE spool_message SET chunk_at = now() - interval '25 hours'")
    wait_until(lambda: count(two) == 0 and copies(two, abandoned) == [], 30, "what nobody goes on with is removed")


def released(two, ident, *numbers, who="alice", anyway=False):
    return int(two.pg.query(f"SELECT quarantine_release('{ident}', ARRAY{list(numbers)}::integer[], '{who}', 'why', {anyway})")[0][0])


def test_each_copy_is_released_once_and_scanned_again(two, edge):
    ident = new_id()
    edge.stored(ident, ((ALICE, HOP, "spam"), (BOB, HOP, "spam"), (EVE, HOP, "virus")), scanned=False, verdict=b"bad", signature=b"Eicar", **SPAM)
    assert edge.claim() == [] and count(two) == 0
    assert released(two, ident, 0) == 1 and released(two, ident, 0) == 0
    assert edge.claim(scanners=False) == [], "it is scanned again"
    lease, = edge.claim()
    assert [(who.address.decode(), who.quarantine, who.released) for who in lease.who] == [(ALICE, pb.QUARANTINE_SPAM, pb.RELEASED_CHECKED)]
    assert not lease.envelope.scanned and lease.envelope.sender == b"alice@example.edu" and edge.fetch(ident) == BODY
    assert released(two, ident, 1) == 1
    assert edge.deliver(lease) == pb.ANSWER_OK
    lease, = edge.claim()
    assert [who.address.decode() for who in lease.who] == [BOB]
    assert edge.result(lease, (1, "QUARANTINED", "virus"), verdict=b"bad", signature=b"Eicar") == pb.ANSWER_OK
    assert copies(two, ident) == [[ALICE, "released", "spam"], [BOB.lower(), "waiting", "virus"], [EVE, "waiting", "virus"]]
    assert edge.result(lease, (1, "QUARANTINED", "virus"), verdict=b"bad", signature=b"Eicar") == pb.ANSWER_OK, "a repeat is known"
    assert released(two, ident, 1, 2, anyway=True) == 2
    lease, = edge.claim()
    assert [who.released for who in lease.who] == [pb.RELEASED_ANYWAY, pb.RELEASED_ANYWAY] and edge.deliver(lease) == pb.ANSWER_OK
    assert audited(two, ident) == ["delivered"] * 3 and count(two, "spool_body") == 0
    told = [row[0] for row in two.pg.query(f"SELECT what FROM spool_event WHERE id = '{ident}' ORDER BY at")]
    assert told == ["quarantined", "quarantined", "released", "released", "delivered", "quarantined", "released", "delivered"]


def test_deleted_expired_held(two, edge):
    ident, old = new_id(), new_id()
    edge.stored(ident, ((ALICE, HOP, "spam"), (BOB, HOP, "spam")))
    edge.stored(old, ((ALICE, HOP, "spam"), (BOB, HOP, "spam"), (EVE, HOP, "spam")))
    assert two.pg.query(f"SELECT quarantine_end('{ident}', '{{0}}', 'deleted', 'alice', ''), quarantine_end('{ident}', '{{0}}', 'deleted', 'alice', '')") == [["1", "0"]]
    assert released(two, ident, 0) == 0 and count(two, "spool_body") == 2
    assert two.pg.query(f"SELECT quarantine_hold('{old}', '{{1}}', true, 'operator', 'case 7')") == [["1"]]
    two.pg.query("UPDATE quarantine_copy SET kept_at = now() - interval '14 days 1 hour' WHERE number <> 2 AND id = '%s'" % old)
    two.pg.query("UPDATE quarantine_copy SET kept_at = now() - interval '13 days 23 hours' WHERE number = 2")
    wait_until(lambda: copies(two, old)[0][1] == "expired", 90, "what is too old is gone")
    assert [state for _, state, _ in copies(two, old)] == ["expired", "waiting", "waiting"]
    assert two.pg.query(f"SELECT quarantine_end('{old}', '{{1,2}}', 'deleted', 'bob', '')") == [["2"]]
    assert edge.claim() == [] and two.pg.query("SELECT count(*) FROM spool_body WHERE id = '%s'" % old) == [["1"]], "who deletes what is held deletes it from sight"
    assert two.pg.query(f"SELECT quarantine_hold('{old}', '{{1}}', false, 'operator', '')") == [["1"]]
    assert two.pg.query("SELECT count(*) FROM spool_body WHERE id = '%s'" % old) == [["0"]]


def test_operators(two, edge, tmp_path):
    hostile = (b"From: \"=?utf-8?q?Your_Bank?=\" <bank@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= \x1b[31m\r\nMIME-Version: 1.0\r\n"
               b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>Dear \x1b]0;x\x07\xe2\x80\xaecustomer\xc2\x9b31m\xd8\x9c\xe2\x80\x8e\xe2\x80\xa8</p><script>alert(1)</script>\r\n")
    spam, virus, old = new_id(), new_id(), new_id()
    edge.stored(spam, ((ALICE, HOP, "spam"), (BOB, HOP, "spam")), body=hostile, sender=b"bank@example.org", **SPAM)
    edge.stored(virus, ((ALICE, HOP, "virus"),), scanned=False, sender=b"eve@evil.example", signature=b"Eicar")
    edge.stored(old, ((EVE, HOP, "blocklist"),), sender=b"x@example.org", scored=True, score=100)
    two.pg.query(f"UPDATE quarantine_copy SET kept_at = now() - interval '10 days' WHERE id = '{old}'")
    listed = lambda *words: [(one["id"], one["number"]) for one in two.json("quarantine", "list", *words)]
    assert listed() == [(virus, 0), (spam, 1), (spam, 0), (old, 0)]
    for words, wanted in ((("--to", "Alice@Example.edu"), [(virus, 0), (spam, 0)]), (("--to", "bob*"), [(spam, 1)]), (("--from", "@example.org"), [(spam, 1), (spam, 0), (old, 0)]),
                          (("--from", "EVE@evil.example"), [(virus, 0)]), (("--reason", "virus"), [(virus, 0)]), (("--older", "9d"), [(old, 0)]),
                          (("--score", "61.5"), [(spam, 1), (spam, 0)]), (("--score", "61.51"), []), (("--state", "released"), []), (("--state", "held"), []),
                          ((spam,), [(spam, 1), (spam, 0)]), ((f"{spam}/1",), [(spam, 1)]), (("--limit", "1"), [(virus, 0)])):
        assert listed(*words) == wanted, words
    for words in (("list", "--state", "odd"), ("list", "--score", "high"), ("list", "--older", "soon"), ("release",), ("hold", spam), ("list", "--destination", "x")):
        assert two.run_ctl("quarantine", *words).returncode == 64, words
    shown = two.ctl("quarantine", "list")
    assert "Gr\u00fc\u00dfe" in shown and "\x1b" not in shown
    shown = two.ctl("quarantine", "show", spam)
    assert "Dear" in shown and "customer" in shown and "Your Bank" in shown and "URL_IP(3.00)" in shown
    assert not any(bad in shown for bad in ("\x1b", "\x07", "\x9b", "\u202e", "\u061c", "\u200e", "\u2028", "alert(1)")), shown
    assert two.run_ctl("quarantine", "show", spam, "--raw", tmp_path / "raw").returncode == 64
    two.ctl("quarantine", "show", spam, "--raw", tmp_path / "raw", "--why", "evidence")
    assert (tmp_path / "raw").read_bytes() == hostile
    assert two.run_ctl("quarantine", "show", spam, "--raw", tmp_path / "raw", "--why", "again").returncode != 0, "no file is overwritten"

    assert "2 copies would be changed" in two.ctl("quarantine", "release", "--reason", "spam", "--dry-run") and edge.claim() == []
    assert "1 copy changed" in two.ctl("quarantine", "hold", f"{spam}/1", "--why", "case 7")
    assert "1 copy changed; 1 on legal hold" in two.ctl("quarantine", "delete", spam) and listed("--state", "held") == [(spam, 1)]
    assert "1 copy changed" in two.ctl("quarantine", "release", f"{spam}/1", "--why", "asked for")
    lease, = edge.claim()
    assert edge.deliver(lease) == pb.ANSWER_OK
    assert "0 copies changed" in two.ctl("quarantine", "release", f"{spam}/1"), "once is enough"
    assert "its body is not kept" not in two.ctl("quarantine", "show", spam)
    assert "1 copy changed" in two.ctl("quarantine", "unhold", spam, "--why", "case closed")
    assert "its body is not kept" in two.ctl("quarantine", "show", spam)
    assert "2 copies changed" in two.ctl("quarantine", "delete", "--force")
    acts = two.pg.query("SELECT action, detail->>'why' FROM audit_action WHERE action LIKE 'quarantine%' ORDER BY number")
    assert acts == [["quarantine raw", "evidence"], ["quarantine hold", "case 7"], ["quarantine delete", ""], ["quarantine release", "asked for"],
                    ["quarantine unhold", "case closed"], ["quarantine delete", ""]]
    told = two.ctl("trace", spam)
    assert all(word in told for word in ("quarantined", "held", "deleted", "released", "delivered", "unheld")), told


def as_web(two):
    """What the self-service process gets for a question, with a role as operators make it. One that had been granted too much has no more than it should."""
    two.pg.query("DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'weir_web') THEN CREATE ROLE weir_web; END IF; END $$;"
                 " GRANT CREATE ON SCHEMA public TO PUBLIC, weir_web;"
                 " GRANT SELECT ON quarantine_copy, audit TO weir_web; GRANT UPDATE (sender) ON personal_list TO weir_web; GRANT USAGE ON SEQUENCE audit_action_number_seq TO weir_web;"
                 " GRANT EXECUTE ON FUNCTION web_quarantine_release, web_tokens TO weir_web; SELECT web_grant('weir_web')")
    return lambda sql: [row for row in two.pg.query(f"SET ROLE weir_web; {sql}") if row != ["SET"]]


def links(two, who, *ids, life="1 day"):
    """Links as a digest has them, by the hash of their tokens: of the messages, '' for all of them."""
    made = [os.urandom(32).hex() for _ in ids]
    two.pg.query(f"SELECT web_tokens('{who.lower()}', ARRAY{made}, ARRAY{list(ids)}::text[], '{life}')")
    return made


def test_all_that_the_web_may_do(two):
    """What it may call with more than its own rights is this, and of nothing of it is it said for whom; with its own it has no right on any table."""
    as_web(two)
    assert two.pg.query("SELECT p.oid::regprocedure, p.proargnames[1] FROM pg_proc p WHERE pronamespace = current_schema()::regnamespace AND prosecdef"
                        " AND has_function_privilege('weir_web', p.oid, 'EXECUTE') ORDER BY 1::text") == [
        ["web_identity()", ""], ["web_link_act(text,text,text,integer)", "link"], ["web_link_body(text,text,bigint)", "link"], ["web_link_list(text,text,integer)", "link"],
        ["web_link_sender(text,text,text,integer)", "link"], ["web_link_senders(text)", "link"], ["web_link_show(text,text)", "link"], ["web_mail(text,text,integer,integer,bytea)", "hash"],
        ["web_open(text)", "hash"]]
    assert two.pg.query("SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND NOT prosecdef"
                        " AND proacl::text LIKE '%weir\\_web=%'") == [], "what takes an address is not granted"
    assert two.pg.query("SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prosecdef AND has_function_privilege('public', oid, 'EXECUTE')") == []
    assert two.pg.query("SELECT count(*) > 50, coalesce(string_agg(oid::regclass::text, ' ') FILTER (WHERE has_table_privilege('weir_web', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE,"
                        " REFERENCES, TRIGGER') OR has_any_column_privilege('weir_web', oid, 'SELECT, INSERT, UPDATE, REFERENCES')), '') FROM pg_class"
                        " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')") == [["t", ""]]
    assert two.pg.query("SELECT has_schema_privilege('weir_web', current_schema(), 'CREATE'), has_schema_privilege('public', current_schema(), 'CREATE')") == [["f", "f"]]


def test_the_web_sees_what_its_link_opens(two, edge):
    """As the role of the self-service process: whatever it asks, the link says for whom; and it may do nothing else."""
    spam, virus, outbreak = new_id(), new_id(), new_id()
    edge.stored(spam, ((ALICE, HOP, "spam"), (BOB, HOP, "spam")), **SPAM)
    edge.stored(outbreak, ((EVE, HOP, "outbreak"),))
    edge.stored(virus, ((ALICE, HOP, "virus"),), scanned=False)
    web = as_web(two)

    tables = ("quarantine_copy", "quarantine_message", "spool_body", "spool_message", "spool_recipient", "node_key", "account", "audit", "personal_list", "web_token")
    calls = (f"quarantine_release('{spam}', '{{0}}', 'x', '', true)", "web_grant('weir_web')", f"web_tokens('{ALICE}', '{{{'0' * 64}}}', '{{x}}', '1 day')",
             f"web_quarantine_list('{ALICE}', '', 10)", f"web_quarantine_release('{BOB}', '{spam}')", f"web_personal_set('{BOB}', 'a@b.example', 'safe', 9)",
             f"web_act('{BOB}', '{spam}', 'delete', 9)",
             # what coordinators wait for is not its to hold
             "pg_advisory_lock(1)", "pg_try_advisory_lock(1, 2)", "pg_advisory_xact_lock(1)", "pg_try_advisory_xact_lock_shared(1)", "lo_from_bytea(0, 'x')", "lo_create(0)")
    tried = ", ".join(f"$q$SELECT {what}$q$" for what in [*(f"count(*) FROM {table}" for table in tables), *calls])
    web(f"DO $$ DECLARE one text; BEGIN FOREACH one IN ARRAY ARRAY[{tried}] LOOP BEGIN EXECUTE one; RAISE 'it may %', one; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$")
    assert two.pg.query("SELECT count(*), bool_and(proacl::text LIKE '%weir=X/%') FROM pg_proc WHERE proname LIKE 'pg%advisory%' AND proacl::text NOT LIKE '{=X/%'") == [["21", "t"]]

    (alices, alices_spam, alices_virus), (bobs, bobs_spam), (eves, eves_outbreak) = (
        links(two, ALICE, "", spam, virus), links(two, BOB, "", spam), links(two, EVE, "", outbreak))
    over, = links(two, ALICE, "", life="-1 second")

    def does(act, link, wanted):
        return web(f"SELECT web_link_act('{link}', '{wanted}', '{act}', 9)")[0][0]

    assert web(f"SELECT who, id FROM web_open('{bobs_spam}')") == [[BOB.lower(), spam]]
    assert web(f"SELECT id, reason, score FROM web_link_list('{bobs}', '', 10)") == [[spam, "spam", "6150"]]
    cursor, = web(f"SELECT cursor FROM web_link_list('{alices}', '', 1)")
    assert web(f"SELECT id FROM web_link_list('{alices}', '{cursor[0]}', 10)") == [[spam]]
    assert web(f"SELECT size, convert_from(substr(data, 1, 5), 'UTF8') FROM web_link_body('{bobs}', '{spam}', 0)") == [[str(len(BODY)), "From:"]]
    wrong = ((bobs, virus), (eves, spam), (bobs_spam, virus), (alices_virus, spam), (alices_spam, virus), (alices_spam, ""), (over, spam), (eves_outbreak, spam), (bobs, ""),
             (os.urandom(32).hex(), spam), (alices.upper(), spam), (alices[:-1], spam), (alices + "0", spam), ("", spam), (ALICE, spam), ("%", spam))
    rows = ", ".join(f"('{link}', '{wanted}')" for link, wanted in wrong)
    assert web("SELECT array(SELECT 'shown' FROM web_link_show(l.link, l.wanted)) || array(SELECT 'read' FROM web_link_body(l.link, l.wanted, 0)) ||"
               f" array(SELECT web_link_act(l.link, l.wanted, a, 9) FROM unnest('{{release,delete,safe,block}}'::text[]) AS a) FROM (VALUES {rows}) AS l(link, wanted)") == [
        ["{gone,gone,gone,gone}"]] * len(wrong)
    rows = ", ".join(f"('{link}')" for link in (alices_spam, over, os.urandom(32).hex(), "", ALICE))
    assert web("SELECT (SELECT count(*) FROM web_link_list(l.link, '', 10)) + (SELECT count(*) FROM web_link_senders(l.link)), web_link_sender(l.link, 'a@b.example', 'safe', 9)"
               f" FROM (VALUES {rows}) AS l(link)") == [["0", "gone"]] * 5, "a message's link opens no list"
    assert web(f"SELECT count(*) FROM web_open('{ALICE}')") == [["0"]] and web(f"SELECT web_mail('{os.urandom(32).hex()}', 'list', 9, 9), web_mail('{over}', 'list', 9, 9)") == [["unknown"] * 2]
    page, mail = os.urandom(32).hex(), os.urandom(32).hex()
    two.pg.query(f"SELECT web_tokens('{ALICE}', '{{{page}}}', '{{\"\"}}', '1 day', '{{{mail}}}')")
    assert web(f"SELECT (SELECT count(*) FROM web_open('{mail}')), (SELECT count(*) FROM web_link_list('{mail}', '', 9)), web_mail('{page}', 'delete', 9, 9)") == [["0", "0", "unknown"]]
    assert web(f"SELECT count(*) FROM web_open('{page}')") == [["1"]] and web(f"SELECT web_mail('{mail}', 'list', 9, 9), web_mail('{alices}', 'list', 9, 9)") == [["list "] * 2]
    two.pg.query("DELETE FROM web_answer; DELETE FROM web_answered")
    assert web("SELECT web_link_sender(NULL, NULL, NULL, NULL), web_link_act(NULL, NULL, NULL, NULL), web_mail(NULL, NULL, NULL, NULL)") == [["gone", "gone", "unknown"]]
    assert two.pg.query("SELECT (SELECT count(*) FROM quarantine_copy WHERE state <> 'waiting') + (SELECT count(*) FROM personal_list) + (SELECT count(*) FROM web_answer)") == [["0"]]

    assert web(f"SELECT releasable FROM web_link_show('{alices}', '{virus}')") == [["f"]]
    assert does("release", alices, virus) == does("release", alices_virus, virus) == "refused" and edge.claim() == [], "a virus is never released by its recipient"
    assert web(f"SELECT releasable FROM web_link_show('{eves}', '{outbreak}')") == [["f"]] and does("release", eves_outbreak, outbreak) == "refused"
    assert two.run_ctl("quarantine", "release", outbreak).returncode == 77 and edge.claim() == [], "nor by an operator who does not say so"
    assert does("release", bobs_spam, spam) == "released" and does("release", bobs_spam, spam) == does("release", bobs, spam) == "gone"
    assert does("delete", alices_virus, virus) == "deleted" and does("delete", alices, virus) == "gone"
    lease, = edge.claim()
    assert [who.address.decode() for who in lease.who] == [BOB] and edge.deliver(lease) == pb.ANSWER_OK
    assert web(f"SELECT id FROM web_link_list('{alices}', '', 10)") == [[spam]], "what another one does changes nothing for her"
    assert two.pg.query("SELECT who, action FROM audit_action WHERE who LIKE 'recipient%' ORDER BY number") == [
        [f"recipient {BOB.lower()}", "quarantine release"], [f"recipient {ALICE}", "quarantine delete"]]


def test_what_the_web_asks_runs_nothing_of_its_own(two, edge):
    """The functions run as who owns the schema: a table or view that their caller made stands in for none of theirs."""
    as_web(two)
    ident = new_id()
    edge.stored(ident, ((ALICE, HOP, "spam"),), **SPAM)
    link, = links(two, ALICE, "")
    assert two.pg.query("SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace"
                        " AND coalesce(array_to_string(proconfig, ' '), '') !~ 'search_path=[^,]+, pg_temp'") == []
    with pytest.raises(OSError, match="permission denied to create temporary tables"):
        two.pg.query("SET ROLE weir_web; CREATE TEMP TABLE quarantine_copy (id text)")
    evil = "CREATE FUNCTION pg_temp.%s LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as its owner'; END $$; "
    view = evil % "evil() RETURNS text" + "CREATE TEMP VIEW %s; "
    trap = evil % "evil() RETURNS trigger" + "CREATE TEMP TABLE %s; CREATE TRIGGER evil BEFORE INSERT ON audit_action FOR EACH ROW EXECUTE FUNCTION pg_temp.evil(); "
    attacks = (
        (view % "personal_list AS SELECT 'alice@example.edu' AS recipient, pg_temp.evil() AS sender, 'safe' AS kind, now() AS added_at",
         f"SELECT count(*) FROM web_link_senders('{link}')", "0"),
        (view % "quarantine_copy AS SELECT 'x' AS id, 0 AS number, now() AS kept_at, pg_temp.evil() AS recipient, 'waiting' AS state, 'spam' AS reason",
         f"SELECT web_link_act('{link}', 'x', 'release', 9)", "gone"),
        (trap % "audit_action (who text, action text, target text, detail jsonb)", f"SELECT web_link_sender('{link}', 'a@example.org', 'safe', 9)", "done"))
    two.pg.query("DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO weir_web', current_database()); END $$")
    try:
        for made, asked, answer in attacks:
            assert [answer] in two.pg.query(f"BEGIN; SET LOCAL ROLE weir_web; {made} {asked}; ROLLBACK"), asked
    finally:
        two.pg.query("DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM weir_web', current_database()); END $$")


def test_S34_a_safe_list_counts_for_proved_authors_only(two, edge):
    def web(*words):
        return two.pg.query("SELECT web_personal_set(%s)" % ", ".join(words))[0][0]

    assert web(f"'{BOB}'", "'Friend@Example.net'", "'safe'", "10") == "done" and web(f"'{ALICE}'", "'@example.net'", "'safe'", "1") == "done"
    assert web(f"'{ALICE}'", "'b@example.net'", "'safe'", "1") == "full" and web(f"'{ALICE}'", "'nobody'", "'safe'", "9") == "wrong"
    for reason, author, kept in (("spam", b"friend@example.net", []), ("spam", b"", [ALICE, BOB]), ("spam", b"foe@example.net", [BOB]),
                                 ("spam", b"friend@example.org", [ALICE, BOB]), ("virus", b"friend@example.net", [ALICE, BOB])):
        ident = new_id()
        answer = edge.stored(ident, ((ALICE, HOP, reason), (BOB, HOP, reason)), sender=b"friend@example.net", author=author, **SPAM)
        assert [(ALICE, BOB)[index] for index in answer.spool_stored.let_in] == [who for who in (ALICE, BOB) if who not in kept], (reason, author)
        assert [row[0] for row in copies(two, ident)] == [address.lower() for address in kept], (reason, author)
        assert sum(len(lease.who) for lease in edge.claim() if edge.deliver(lease) == pb.ANSWER_OK) == 2 - len(kept)
    assert web(f"'{BOB}'", "'friend@example.net'", "''", "10") == "done"
    assert two.pg.query(f"SELECT count(*) FROM web_personal_list('{BOB}')") == [["0"]]
    two.pg.query(f"INSERT INTO personal_list (recipient, sender, kind) VALUES (lower('{BOB}'), '@shop.example', 'block'), (lower('{BOB}'), 'news@shop.example', 'safe'),"
                 f" (lower('{BOB}'), '@good.example', 'safe'), (lower('{BOB}'), 'foe@good.example', 'block')")
    for senders, blocked in (("bounce-17@shop.example,news@shop.example", "f"), ("bounce-17@shop.example,other@shop.example", "t"), ("bounce-17@shop.example", "t"),
                             ("bounce-17@shop.example,friend@good.example", "f"), ("friend@good.example,other@shop.example", "t"), ("foe@good.example,friend@good.example", "t")):
        assert two.pg.query(f"SELECT blocked FROM personal_ask('{{0}}', '{{{BOB}}}', '{{{senders}}}', '')") == [[blocked]], senders


def test_full(two, edge):
    """Its limits are in the settings; here what is in it is said to be more."""
    two.pg.query("INSERT INTO quarantine_usage (slot, reason, messages) VALUES ('test', '', 5000000)")
    ident = new_id()
    assert edge.store(ident, ((ALICE, HOP), (BOB, HOP, "spam"))).status == pb.ANSWER_FULL
    assert edge.store(ident, ((ALICE, HOP), (BOB, HOP, "spam")), last=False).status == pb.ANSWER_FULL
    assert count(two) == 0 and count(two, "spool_body") == 0 and edge.claim() == [], "all of it or nothing"
    edge.stored(new_id(), ((ALICE, HOP),))
    device = new_id()
    assert edge.asked((recipients((BOB, HOP, "spam")), BODY), spool_store=pb.SpoolStore(envelope=envelope(device, **SPAM), last=True, always=True))[0].spool_stored.complete
    assert copies(two, device) == [["bob@example.edu", "waiting", "spam"]], "of who cannot come again it takes more"
    safe, pairs, facts = new_id(), ((ALICE, HOP, "spam"), (BOB, HOP)), {"author": b"friend@example.net", **SPAM}
    two.pg.query(f"SELECT web_personal_set('{ALICE}', 'friend@example.net', 'safe', 9)")
    edge.stored(safe, pairs, **facts)
    two.pg.query(f"SELECT web_personal_set('{ALICE}', 'friend@example.net', '', 9)")
    edge.stored(safe, pairs, **facts)
    leases = edge.claim()
    assert safe in [lease.envelope.id.decode() for lease in leases] and count(two, "spool_message") == len(leases), "what needs no room is not refused"
    assert edge.stored(safe, pairs, **facts).spool_stored.let_in == [0]
    assert copies(two, safe) == [] and count(two, "spool_message") == len(leases), "nor forgotten while it is leased"
    assert all(edge.deliver(lease) == pb.ANSWER_OK for lease in leases)
    two.pg.query("DELETE FROM quarantine_usage WHERE slot = 'test'")
    edge.stored(ident, ((ALICE, HOP), (BOB, HOP, "spam")))
    assert copies(two, ident) == [["bob@example.edu", "waiting", "spam"]]
    asked = two.pg.query(f"SELECT * FROM quarantine_keep(9, 9, '{{{ident}}}', '{{0}}', '{{virus}}', '{{NULL}}', '{{\"\"}}', '{{\"\"}}', '{{\"\"}}')")
    assert asked == [] and copies(two, ident)[0] == [ALICE, "waiting", "virus"], "as coordinators of the version before ask"


def test_crowd(two, edge):
    """Everything at once, from everywhere: nothing is lost, nothing goes twice, and nobody waits for another's counting."""
    with Session(two.pg.conninfo) as first, Session(two.pg.conninfo) as second:
        for session, reason in ((first, "''"), (second, "'spam'"), (first, "'spam'"), (second, "''")):
            assert session.do(f"SET lock_timeout = '20s'; SELECT quarantine_count({reason}, 0, 0, 0, 0, 0, 0), spool_count(0, 0, 0, 0, 0, 0, 0)") == ["|"]
    idents = [new_id() for _ in range(12)]
    for ident in idents:
        edge.stored(ident, ((ALICE, HOP), (BOB, HOP, "spam"), (EVE, HOP, "spam")))
    done = []

    def act():
        chance = random.Random()
        for ident in chance.sample(idents, len(idents)):
            number = chance.choice((1, 2))
            what = chance.choice(("release", "delete", "hold", "unhold"))
            sql = {"release": f"SELECT 'r', quarantine_release('{ident}', '{{{number}}}', 'x', '', false)",
                   "delete": f"SELECT 'd', quarantine_end('{ident}', '{{{number}}}', 'deleted', 'x', '')",
                   "hold": f"SELECT 'h', quarantine_hold('{ident}', '{{{number}}}', true, 'x', '')",
                   "unhold": f"SELECT 'h', quarantine_hold('{ident}', '{{{number}}}', false, 'x', '')"}[what]
            done.append((ident, number, two.pg.query(sql)[0]))

    workers = [threading.Thread(target=act) for _ in range(4)]
    for worker in workers:
        worker.start()
    got, working, leases = [], True, []
    while working or leases:
        working, leases = any(worker.is_alive() for worker in workers), edge.claim(room=20)  # in this order: what the last one let go is claimed, too
        for lease in leases:
            got += [(lease.id, who.index) for who in lease.who]
            assert edge.deliver(lease) == pb.ANSWER_OK, two.log("coordinator-1")
    wanted = sorted([(ident, 0) for ident in idents] + [(ident, number) for ident, number, (what, amount) in done if what == "r" and amount == "1"])
    assert len(done) == 48 and sorted(got) == wanted
    two.pg.query("SELECT quarantine_hold(id, '{1,2}', false, 'x', '') FROM quarantine_message")


def test_S5_a_virus_is_quarantined_and_goes_out_by_an_operators_word_only(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["virus_action=quarantine", "virus_action_outbound=reject"],
                           files={"policy/aliases": "staff: alice@example.edu, bob@example.edu, eve@elsewhere.example\n"})
    infected = message(EICAR.decode() + "\r\n", token="infected")
    refused = cluster.send(infected)
    assert refused.code == 550, "what comes from inside has an action of its own"
    answer = cluster.send(infected, source=OUTSIDE, recipients=["alice@example.edu", "bob@example.edu"])
    assert answer.code == 250 and cluster.sink.count() == 0
    ident = answer.queue_id
    story = wait_until(lambda: cluster.weirctl("trace", ident).stdout, what="the trace")
    assert "quarantined:virus" in story and "Eicar" in story
    wait_until(lambda: cluster.metric("weir_recipients_total", disposition="quarantined") == 2, what="the copies in the metrics")
    wait_until(lambda: cluster.metric("weir_quarantine_messages", reason="virus") == 2, what="those that wait")
    assert "alice@example.edu" in cluster.weirctl("quarantine", "list", "--reason", "virus").stdout
    refused = cluster.weirctl("quarantine", "release", ident, check=False)
    assert refused.returncode == 77 and "--virus" in refused.stderr
    cluster.query(f"SELECT quarantine_release('{ident}', '{{0}}', 'somebody', '', false)")
    wait_until(lambda: cluster.query(f"SELECT state FROM quarantine_copy WHERE id = '{ident}' AND number = 0 AND kept_at > (SELECT kept_at FROM quarantine_copy"
                                     f" WHERE id = '{ident}' AND number = 1)") == [["waiting"]], 30, "it is found again")
    assert cluster.weirctl("quarantine", "release", f"{ident}/1", "--virus", check=False).returncode == 64, "and why"
    assert "1 copy changed" in cluster.weirctl("quarantine", "release", f"{ident}/1", "--virus", "--why", "a sample that bob asked for").stdout
    wait_until(lambda: cluster.sink.with_token("infected"), 30, "what an operator wants")
    (raw, recipients), = [(raw, to) for raw, to in [one[:2] for one in cluster.sink.with_token("infected")]]
    assert raw.startswith(b"X-Weir-Released: from quarantine; reason=virus\r\nReceived: ") and raw.endswith(infected), "nobody vouches for it"
    assert "bob@example.edu" in str(recipients)
    wait_until(lambda: cluster.metric("weir_conservation_difference", node="spool") == 0, what="conservation")
    cluster.query("INSERT INTO quarantine_usage (slot, reason, messages) VALUES ('test', '', 5000000)")
    part = b'Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: message/partial; id="a@b"; number=1; total=2\r\n\r\nSubject: y\r\n\r\none\r\n'
    relayed, handed = (cluster.send(part, door=door) for door in ("RELAY", "HANDOFF"))
    assert (relayed.code, handed.code) == (452, 250), "a full quarantine takes what no client would bring again"
    assert cluster.query(f"SELECT state, reason FROM quarantine_copy WHERE id = '{handed.queue_id}'") == [["waiting", "unscannable"]]
    listed = cluster.send(part, door="HANDOFF", recipients=["staff@example.edu"])
    assert cluster.query(f"SELECT recipient FROM quarantine_copy WHERE id = '{listed.queue_id}' ORDER BY 1") == [
        ["alice@example.edu"], ["bob@example.edu"], ["eve@elsewhere.example"]], "a list has no copy, and so no digest: its members have"
    cluster.query("DELETE FROM quarantine_usage WHERE slot = 'test'")
    an_edge_dies(cluster)


def an_edge_dies(cluster):
    """In the middle of what it puts into the quarantine: whatever was answered 250 is there, for each recipient once, and the books are even."""
    answered, begun = [], threading.Event()

    def client():
        while len(answered) < 1000:
            try:
                answer = cluster.send(message(EICAR.decode() + "\r\n"), source=OUTSIDE, recipients=["alice@example.edu", "bob@example.edu"])
            except (OSError, EOFError, AssertionError, ValueError):
                return  # it is gone: that message had no answer
            if answer.code == 250:
                answered.append(answer.queue_id)
                begun.set()

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    assert begun.wait(60)
    cluster.kill("edge-1", signal.SIGKILL)
    for one in clients:
        one.join(60)
    cluster.start("edge-1")
    kept = {row[0]: row[1] for row in cluster.query("SELECT id, count(*) FROM quarantine_copy WHERE state = 'waiting' AND reason = 'virus' GROUP BY id")}
    assert answered and all(kept.get(ident) == "2" for ident in answered), "what was answered 250 is kept"
    wait_until(lambda: cluster.query("SELECT difference FROM spool_sums()") == [["0"]], 60, "the books of the spool")
    wait_until(lambda: cluster.query("SELECT kept - released - deleted - expired - (SELECT count(*) FROM quarantine_copy WHERE state = 'waiting')"
                                     " FROM quarantine_sums()") == [["0"]], 60, "the books of the quarantine")


def test_crashes(two, edge):
    """The database dies between stores and in the middle of releases, a coordinator in the middle of others: nothing is lost, nothing goes twice."""
    idents = [new_id() for _ in range(20)]
    pairs = ((ALICE, HOP, "spam"), (BOB, HOP, "spam"))
    asked = [edge.ask((recipients(*pairs), BODY), spool_store=pb.SpoolStore(envelope=envelope(ident, **SPAM), last=True)) for ident in idents]
    two.pg.kill()
    two.pg.start()
    fine = {ident for ident, request in zip(idents, asked) if edge.answer(request, 30)[0].status == pb.ANSWER_OK}
    assert fine <= {row[0] for row in two.pg.query("SELECT id FROM quarantine_message")}, "what was answered is there"
    for ident in idents:  # as a client does that heard nothing
        wait_until(lambda i=ident: edge.store(i, pairs, **SPAM).status == pb.ANSWER_OK, 60, "stored")
    assert count(two, "quarantine_copy") == 40
    done = []

    def release(words):
        done.append(two.run_ctl("quarantine", "release", *words))

    for number, harm in enumerate((lambda: two.stop("coordinator-1", signal.SIGKILL), two.pg.kill)):
        worker = threading.Thread(target=release, args=((("--to", (ALICE, BOB)[number])),))
        worker.start()
        harm()
        if number == 0:
            two.start("coordinator-1")
        else:
            two.pg.start()
        worker.join()
    for to in (ALICE, BOB):  # as an operator does who was told of trouble: until nothing matches
        wait_until(lambda a=to: two.run_ctl("quarantine", "release", "--to", a).returncode in (0, 65) and two.json("quarantine", "list", "--to", a) == [], 60, f"{to}'s")
    again = Edge(two.node("edge-2", "edge"))
    assert again.node.hello() is not None
    got = []
    while len(got) < 40:
        leases = again.claim(20, wait=5000) or []
        for lease in leases:
            wait_until(lambda one=lease: again.deliver(one) == pb.ANSWER_OK, 60, "taken")
            got += [(lease.id, who.index) for who in lease.who]
    assert sorted(got) == sorted((ident, number) for ident in idents for number in (0, 1)), "each once"
    assert again.claim() == [] and count(two) == 0 and count(two, "spool_body") == 0
    again.node.close()


def test_plans_with_20000_copies(two, edge):
    """What people and the leader ask looks at indexes only, however much there is; what stores ask, too."""
    two.pg.query("""
        INSERT INTO quarantine_message (id, arrived_at, size, needed, dsn, envelope, node, listener, client, helo, tls, sender, message_id, verdict, scanner, engine,
                signatures, subject)
            SELECT lpad(n::text, 20, '0'), now() - n * interval '40 s', 5000, 2, false, '', 'edge-1', 'relay', '192.0.2.1', 'x', '', 'sender' || n % 5000 || '@example.org',
                '', 'clean', '', '', '', 'x' FROM generate_series(1, 10000) AS n;
        INSERT INTO quarantine_copy (id, number, recipient, address, destination, packed, state, reason, score, symbols, signature, kept_at)
            SELECT lpad(n::text, 20, '0'), k, format('user%s@example.edu', (n + k) % 2000), format('user%s@example.edu', (n + k) % 2000), 'a.example', '', 'waiting',
                CASE WHEN n % 1000 = 0 THEN 'virus' ELSE 'spam' END, 6000, '', '', now() - n * interval '40 s' FROM generate_series(1, 10000) AS n, generate_series(0, 1) AS k;
        INSERT INTO quarantine_usage (slot, reason, kept) SELECT 'filled', reason, count(*) FROM quarantine_copy GROUP BY reason;
        INSERT INTO spool_usage (slot, recipients) VALUES ('filled', 20000);
        INSERT INTO attachment_seen SELECT sha256(n::text::bytea), 'x' || n, now() - n * interval '10 s', 1 FROM generate_series(1, 20000) AS n;
        ANALYZE quarantine_message; ANALYZE quarantine_copy; ANALYZE attachment_seen""")
    for what in ("SELECT * FROM web_quarantine_list('user7@example.edu', '', 50)", "SELECT admin_quarantine_list('', '', 'user7@example.edu', '', '', '', '', 100)",
                 "SELECT admin_quarantine_list('', '', '', '', '', '', '', 100)", "SELECT admin_quarantine_list('', 'sender7@example.org', '', '', '', '', '', 100)",
                 "SELECT admin_quarantine_list('', '', '', '', '', 'virus', '', 100)", "SELECT admin_quarantine_show('00000000000000000007')",
                 "SELECT * FROM digest_due('{00:00}', 'UTC', 'user5', 50)", "SELECT * FROM digest_rows('user7@example.edu', now(), true, 'UTC', '14 days', 100)",
                 "SELECT quarantine_tidy('14 days', '30 days', 200)", "SELECT * FROM quarantine_gauges()",
                 "SELECT outbreak_tidy('{\"window\": \"1 h\", \"memory\": \"90 d\", \"entries\": 1000000, \"hunt_time\": \"14 days\"}', 5000)"):
        done = subprocess.run([two.pg.bin + "/psql", "-XAtq", two.pg.conninfo, "-c", "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0;"
                               " SET auto_explain.log_nested_statements = on; SET auto_explain.log_analyze = on; SET client_min_messages = log", "-c", what],
                              capture_output=True, text=True, check=True)
        assert not re.search(r"Seq Scan on (quarantine_(copy|message)|attachment_seen)\b", done.stderr), (what, re.findall(r"[^\n]*Seq Scan[^\n]*", done.stderr))
    truncate(two, "quarantine_message, quarantine_copy, quarantine_usage, spool_usage, attachment_seen")
