"""The spool of the coordinators, with edges made in Python: what is stored, leased, told, repeated, late, held, full."""
import contextlib
import functools
import os
import random
import signal
import time

import pytest

from coordinators import Coordinators, pb, wait_until
from spooling import BODY, Edge, envelope, new_id, outcomes, recipients

SETS = ["spool_lease = 60s", "spool_retry_min = 300ms", "spool_retry_max = 1s", "spool_leftover = 1h",
        "spool_per_destination = 20"]

FAILED_RESULTS = 'weir_spool_batches_failed_total{node="%s",kind="result"}'


@pytest.fixture(scope="module")
def two():
    with Coordinators(2, sets=SETS) as made:
        made.start()
        for name in ("edge-1", "edge-2"):
            made.add_key(name, "edge")
        yield made


def truncate(coordinators, tables):
    """Coordinators look at tables at times, in their own order: then again."""
    def truncated():
        try:
            coordinators.pg.query(f"TRUNCATE {tables}")
        except OSError as error:
            if "deadlock" not in str(error):
                raise
            return False
        return True

    wait_until(truncated, 10, f"nothing in {tables}")


def empty(coordinators):
    """As if no mail had ever come. Lanes and troubles of destinations, too."""
    truncate(coordinators, "spool_message, spool_recipient, spool_body, spool_queue, spool_lane, spool_wake, spool_destination, spool_event, spool_usage, audit")


def leases_end(coordinators, seconds=0):
    """Time goes by for what is leased, up to so many seconds before its end."""
    coordinators.pg.query(f"UPDATE spool_queue SET due_at = clock_timestamp() + interval '{seconds} s' WHERE leased;"
                          f"INSERT INTO spool_wake SELECT destination, scanned, due_at FROM spool_queue WHERE leased")


@pytest.fixture
def edges(two):
    for name in two.names:  # one test's trouble with the database is not the next one's
        wait_until(lambda n=name: two.http("/readyz", n)[0] == 200, 30, f"{name} is ready")
    empty(two)
    opened = []

    def one(name="edge-1", **options):
        opened.append(two.node(name, "edge", **options))
        assert opened[-1].hello() is not None
        return Edge(opened[-1])

    yield one
    for node in opened:
        node.close()
    assert two.pg.query("SELECT difference FROM spool_sums()") == [["0"]], "every stored recipient is accounted for"


def count(coordinators, table="spool_message"):
    return int(coordinators.pg.query(f"SELECT count(*) FROM {table}")[0][0])


@pytest.mark.sanitized
def test_a_message_is_stored_leased_fetched_delivered_and_gone(two, edges):
    edge, ident = edges(), new_id()
    answer = edge.stored(ident, (("bob@example.org", "a.example"), ("eve@example.org", "a.example"), ("dan@example.net", "b.example")), ret=2,
                         envid=b"x+2Fy", smtputf8=True)
    assert answer.spool_stored.have == len(BODY) and answer.spool_stored.id == ident.encode()
    leases = sorted(edge.claim(), key=lambda lease: lease.destination)
    assert [(lease.destination, [one.address for one in lease.who]) for lease in leases] == [
        (b"a.example", [b"bob@example.org", b"eve@example.org"]), (b"b.example", [b"dan@example.net"])]
    first, second = leases
    assert first.envelope.ret == 2 and first.envelope.envid == b"x+2Fy" and first.envelope.smtputf8 and first.envelope.size == len(BODY)
    assert first.lease_ms >= 2000 and not first.maybe_duplicate and first.age_ms < 10000 and not first.last_try and not first.bounce
    assert edge.claim() == [], "nothing is leased twice"
    assert edge.fetch(ident) == BODY
    assert edge.deliver(first) == pb.ANSWER_OK
    assert count(two) == 1 and edge.fetch(ident) == BODY
    assert edge.deliver(second) == pb.ANSWER_OK
    assert [count(two, table) for table in ("spool_message", "spool_body", "spool_queue", "spool_recipient")] == [0, 0, 0, 0]
    assert edge.fetch(ident) is None
    trace = two.json("trace", ident)
    assert [(row["recipient"], row["disposition"], row["next_hop"]) for row in sorted(trace, key=lambda row: row["recipient_index"])] == [
        ("bob@example.org", "delivered", "a.example"), ("eve@example.org", "delivered", "a.example"), ("dan@example.net", "delivered", "b.example")]
    assert [one["what"] for one in trace[0]["attempts"]] == ["delivered", "delivered"]


def test_a_repeated_store_is_one_message_also_after_its_end(two, edges):
    edge, ident = edges(), new_id()
    requests = [edge.ask((recipients(("bob@example.org", "a.example")), BODY), spool_store=pb.SpoolStore(envelope=envelope(ident), last=True))
                for _ in range(5)]
    for request in requests:
        answer = edge.answer(request)[0]
        assert answer.status == pb.ANSWER_OK and answer.spool_stored.complete
    other = edges("edge-2", at="coordinator-2")
    other.stored(ident)
    lease, = edge.claim()
    assert edge.deliver(lease) == pb.ANSWER_OK
    assert other.stored(ident).status == pb.ANSWER_OK
    assert count(two) == 0 and edge.claim() == [], "it was delivered: no second copy"


def test_addresses_that_are_no_text_come_back_as_they_were(edges):
    edge, ident = edges(), new_id()
    edge.stored(ident, ((b"\xff\x00{\"'\\@example.org", "a.example"),), sender=b"\x80@example.edu", helo=b"\xfe\\")
    lease, = edge.claim()
    assert lease.who[0].address == b"\xff\x00{\"'\\@example.org" and lease.envelope.sender == b"\x80@example.edu"
    assert edge.deliver(lease) == pb.ANSWER_OK


def test_an_edge_of_before_hears_of_no_senders(edges):
    edge = edges("edge-1")
    edge.stored(new_id(), senders=[b"owner@example.org"], sender_firsts=[0], sender_counts=[1])
    (lease,) = edge.claim(senders=False)
    assert lease.envelope.sender == b"alice@example.edu" and not (lease.envelope.senders or lease.envelope.sender_firsts or lease.envelope.sender_counts)
    assert edge.result(lease, (0, "RELEASED", "")) == pb.ANSWER_OK
    (lease,) = edge.claim()
    assert list(lease.envelope.senders) == [b"owner@example.org"] and edge.deliver(lease) == pb.ANSWER_OK


def test_an_edge_of_before_hears_of_so_many_owners_at_once(edges):
    """`owners` is a field it passes over; in one frame it does so for 8, and refuses the ninth with all the leases."""
    edge, idents = edges("edge-1"), [new_id() for _ in range(12)]
    owners = pb.SpoolSenders(senders=[b"owner-%d@example.org" % place for place in range(6)], firsts=range(6), counts=[1] * 6)
    pairs = [(f"{number}@example.org", "a.example") for number in range(6)]
    for place, ident in enumerate(idents):
        edge.stored(ident, pairs, owners=owners if place > 1 else None)
    heard, frames = set(), []
    while len(heard) < len(idents):
        leases = edge.claim(room=20, wait=20000)
        frames.append(sum(lease.envelope.HasField("owners") for lease in leases))
        heard |= {lease.id for lease in leases if edge.deliver(lease) == pb.ANSWER_OK}
    assert frames[0] == 8 and sum(frames) == 10, frames


def test_nonsense_is_refused_and_hurts_nobody(two, edges):
    edge = edges()
    twice = pb.SpoolRecipients(recipients=[pb.SpoolRecipient(index=1, address=b"a@b", destination=b"x")] * 2).SerializeToString()
    for packed in (b"", twice, b"\xff\xff\xff"):
        assert edge.asked((packed, BODY), spool_store=pb.SpoolStore(envelope=envelope(new_id()), last=True))[0].status == pb.ANSWER_REFUSED
    assert edge.chunk(new_id(), 0, b"x").status == pb.ANSWER_REFUSED and edge.claim(room=0) is None
    ident = new_id()
    edge.stored(ident)
    lease, = edge.claim()
    answer = edge.asked((b"",), spool_result=pb.SpoolResult(id=lease.envelope.id, destination=lease.destination, token=lease.token))[0]
    assert answer.status == pb.ANSWER_REFUSED
    assert edge.deliver(lease) == pb.ANSWER_OK and count(two) == 0


def test_chunks_are_invisible_until_the_last(two, edges):
    edge, ident = edges(), new_id()
    body = bytes(range(256)) * 4096 * 3
    third = len(body) // 3
    answer = edge.store(ident, body=body[:third], last=False, scanned=False, verdict=b"", scanner=b"")
    assert (answer.status, answer.spool_stored.have, answer.spool_stored.complete) == (pb.ANSWER_OK, third, False)
    assert edge.claim() == [] and edge.fetch(ident) is None
    assert edge.chunk(ident, 2 * third, body[2 * third:], True).status == pb.ANSWER_UNAVAILABLE, "there is a gap"
    for _ in range(2):
        answer = edge.chunk(ident, third, body[third:2 * third])
        assert (answer.status, answer.spool_stored.have, answer.spool_stored.complete) == (pb.ANSWER_OK, 2 * third, False)
    other = edges("edge-2", at="coordinator-2")
    for one in (edge, other):
        answer = one.chunk(ident, 2 * third, body[2 * third:], True, scanned=True, verdict=b"clean", scanner=b"scanner-2")
        assert (answer.status, answer.spool_stored.have, answer.spool_stored.complete) == (pb.ANSWER_OK, len(body), True)
    lease, = edge.claim(scanners=False)
    assert lease.envelope.scanned and lease.envelope.scanner == b"scanner-2" and lease.envelope.size == len(body)
    assert edge.fetch(ident) == body
    assert edge.deliver(lease) == pb.ANSWER_OK and count(two, "spool_body") == 0


@pytest.mark.sanitized
def test_only_the_end_of_a_message_waits_for_the_disk(two, edges):
    edge, ident = edges(), new_id()
    two.pg.query("""CREATE TABLE waited (id text, position bigint, how text);
        CREATE FUNCTION test_waited() RETURNS trigger LANGUAGE plpgsql AS $f$
        BEGIN
            INSERT INTO waited VALUES (NEW.id, NEW.position, current_setting('synchronous_commit'));
            RETURN NEW;
        END $f$;
        CREATE TRIGGER test_waited BEFORE INSERT ON spool_body FOR EACH ROW EXECUTE FUNCTION test_waited()""")
    try:
        assert edge.store(ident, body=b"a", last=False).status == edge.chunk(ident, 1, b"b").status == pb.ANSWER_OK
        assert edge.chunk(ident, 2, b"c", True).spool_stored.complete
        edge.stored(whole := new_id())
        waited = two.pg.query("SELECT id, position, how FROM waited")
    finally:
        two.pg.query("DROP TRIGGER test_waited ON spool_body; DROP FUNCTION test_waited; DROP TABLE waited")
    assert waited == [[ident, "0", "off"], [ident, "1", "off"], [ident, "2", "on"], [whole, "0", "on"]]
    assert [edge.deliver(lease) for lease in edge.claim()] == [pb.ANSWER_OK] * 2


@pytest.mark.sanitized
def test_a_claim_that_gets_nothing_does_not_wait_for_the_disk(two, edges):
    edge = edges()
    two.pg.query("""CREATE TABLE waited (how text);
        CREATE FUNCTION test_waited() RETURNS trigger LANGUAGE plpgsql AS $f$
        BEGIN
            INSERT INTO waited VALUES (current_setting('synchronous_commit'));
            RETURN NULL;
        END $f$;
        CREATE CONSTRAINT TRIGGER test_waited AFTER DELETE ON spool_wake DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION test_waited()""")
    try:
        edge.stored(new_id())
        lease, = edge.claim()
        assert two.pg.query("SELECT DISTINCT how FROM waited") == [["on"]]
        assert edge.deliver(lease) == pb.ANSWER_OK and two.pg.query("TRUNCATE waited; SELECT count(*) > 0 FROM spool_wake") == [["t"]]
        assert edge.claim() == [] and two.pg.query("SELECT DISTINCT how FROM waited") == [["off"]]
    finally:
        two.pg.query("DROP TRIGGER test_waited ON spool_wake; DROP FUNCTION test_waited; DROP TABLE waited")


def test_a_store_that_was_left_is_removed(two, edges):
    edge, ident = edges(), new_id()
    assert edge.store(ident, last=False).status == pb.ANSWER_OK
    assert count(two) == 1
    two.pg.query("UPDATE spool_message SET chunk_at = now() - interval '61 minutes'")
    wait_until(lambda: count(two) == 0 and count(two, "spool_body") == 0, 15, "removed")
    assert edge.chunk(ident, len(BODY), b"x", True).status == pb.ANSWER_REFUSED


def test_results_count_once_and_only_with_the_newest_token(two, edges):
    edge, ident = edges(), new_id()
    edge.stored(ident, (("bob@example.org", "a.example"), ("eve@example.org", "a.example")))
    lease, = edge.claim()
    for _ in range(2):
        assert edge.result(lease, (0, "DELIVERED", "Ok"), (1, "DEFERRED", "try later")) == pb.ANSWER_OK
    assert two.pg.query("SELECT state, attempts, reply FROM spool_recipient ORDER BY number") == [
        ["delivered", "1", "250 2.0.0 Ok"], ["queued", "1", "450 2.0.0 try later"]]
    again, = edge.claim(wait=20000)
    assert again.token > lease.token and [one.index for one in again.who] == [1] and again.who[0].attempts == 1 and again.attempts == 1
    assert edge.result(lease, (1, "DELIVERED", "Ok")) == pb.ANSWER_OK, "known: it was taken when that token was the newest"
    assert count(two) == 1, "and it changes nothing"
    assert edge.deliver(again) == pb.ANSWER_OK
    assert edge.deliver(again) == pb.ANSWER_OK, "a repeat after the end"
    assert count(two) == 0
    assert count(two, "spool_event") == 3


@pytest.mark.sanitized
def test_results_that_come_together_are_each_answered_for_itself(two, edges):
    edge, pairs = edges(), (("bob@example.org", "a.example"), ("eve@example.org", "a.example"))
    for _ in range(15):
        edge.stored(new_id(), pairs)
    edge.stored(new_id(), (("bob@example.org", "a.example"), ("dan@example.net", "b.example")))
    leases = []
    while len(leases) < 17:
        leases += edge.claim(room=20)
    leases.sort(key=lambda lease: (len(lease.who), lease.id))

    def ask(lease, *numbers, token=0):
        told = outcomes(*[(number, "DELIVERED", f"taken {number}") for number in numbers])
        return edge.ask((told,), spool_result=pb.SpoolResult(id=lease.envelope.id, destination=lease.destination, token=lease.token + token))
    (one, other), partly, wrong, plain = leases[:2], leases[2], leases[3], leases[4:]
    asked = [ask(lease, 0, 1) for lease in plain + plain]  # each twice
    asked += [ask(lease, lease.who[0].index) for lease in (one, other)]
    asked += [ask(partly, 1), ask(wrong, 0, 1, token=1)]
    answers = [edge.answer(request)[0] for request in asked]
    assert [answer.status for answer in answers] == [pb.ANSWER_OK] * 29 + [pb.ANSWER_REFUSED]
    assert [answer.spool_settled.removed for answer in answers[:26]] == [True] * 26 and not answers[28].spool_settled.removed
    assert sorted(answer.spool_settled.removed for answer in answers[26:28]) == [False, True]
    left = two.pg.query("SELECT id, recipients FROM spool_message ORDER BY id")
    assert left == sorted([[partly.id, "1"], [wrong.id, "2"]])
    assert two.pg.query("SELECT count(*), count(DISTINCT id) FROM audit WHERE disposition = 'delivered'") == [["29", "15"]]
    assert two.pg.query(f"SELECT recipient_index, recipient, reply, next_hop FROM audit WHERE id = '{plain[0].id}' ORDER BY 1") == [
        ["0", "bob@example.org", "250 2.0.0 taken 0", "a.example"], ["1", "eve@example.org", "250 2.0.0 taken 1", "a.example"]]
    assert two.pg.query(f"SELECT recipients, reply FROM spool_event WHERE id = '{plain[0].id}' ORDER BY 2") == [
        ["1", "250 2.0.0 taken 0"], ["1", "250 2.0.0 taken 1"]], "once, however often it was told"


def test_an_expired_lease_is_not_honoured(two, edges):
    edge, ident = edges(), new_id()
    edge.stored(ident)
    lease, = edge.claim()
    leases_end(two)
    assert edge.renew(lease) == []
    assert edge.deliver(lease) == pb.ANSWER_REFUSED, "though nobody else has it yet"
    again, = edge.claim()
    assert again.maybe_duplicate and again.token > lease.token
    assert edge.deliver(lease) == pb.ANSWER_REFUSED
    for _ in range(4):
        leases_end(two, 20)
        assert edge.renew(again, lease) == [ident]
        assert two.pg.query("SELECT due_at > now() + interval '30 s' FROM spool_queue") == [["t"]], "it began anew"
    assert edge.deliver(again) == pb.ANSWER_OK and count(two) == 0


def test_released_mail_is_due_at_once_and_no_attempt_counts(edges):
    edge, ident = edges(), new_id()
    edge.stored(ident)
    for _ in range(3):
        lease, = edge.claim(wait=20000)
        assert lease.attempts == 0 and edge.result(lease, (0, "RELEASED", "draining")) == pb.ANSWER_OK
    lease, = edge.claim(wait=20000)
    assert edge.deliver(lease) == pb.ANSWER_OK


def test_a_standing_claim_hears_at_once_here_and_elsewhere(two, edges):
    here, there = edges(), edges("edge-2", at="coordinator-2")
    for claimant, storer in ((here, here), (there, here), (here, there)):
        took = []
        for _ in range(5):
            request = claimant.ask_claim(wait=20000)
            wait_until(lambda: sum(two.metric(f'weir_spool_claims_standing{{node="{name}"}}', name) for name in two.names) == 1, 15, "standing")
            began = time.monotonic()
            storer.stored(new_id())
            lease, = claimant.leases(request)
            took.append(time.monotonic() - began)
            assert claimant.deliver(lease) == pb.ANSWER_OK
        print(f"store to lease: {', '.join(f'{1000 * one:.0f}' for one in took)} ms")
        assert min(took) < 1, "told of, not found by looking now and then"
    began = time.monotonic()
    assert here.claim(wait=700) == [] and 0.6 < time.monotonic() - began


HELD_UP = """
CREATE TABLE held_up ();
INSERT INTO held_up DEFAULT VALUES;
CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    WHILE current_setting('application_name') = 'weir coordinator-1 {role}' AND EXISTS (SELECT FROM held_up) LOOP PERFORM pg_sleep(0.02); END LOOP;
    RETURN new;
END $$;
CREATE TRIGGER hold_up BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION hold_up();
"""


@contextlib.contextmanager
def holding_up(two, role, event, table):
    """What coordinator-1 does there by this connection waits until the table held_up is empty."""
    two.pg.query(HELD_UP.format(role=role, event=event, table=table))
    try:
        yield
    finally:
        two.pg.query("DELETE FROM held_up")
        two.pg.query(f"DROP TRIGGER hold_up ON {table}")
        two.pg.query("DROP FUNCTION hold_up; DROP TABLE held_up")


def wait_held_up(two, role):
    wait_until(lambda: two.pg.query(f"SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = 'weir coordinator-1 {role}'"), 30,
               f"a {role} with the database")


@pytest.fixture
def held_up(two):
    """The claims of coordinator-1 wait, with what they lease, until the table held_up is empty."""
    with holding_up(two, "lease", "UPDATE", "spool_queue"):
        yield


@pytest.mark.sanitized
def test_what_is_new_and_what_comes_again_are_stored_together(two, edges):
    """In one transaction: new messages, one that is here, and one that was delivered."""
    edge, gone, here, new = edges(), new_id(), new_id(), [new_id() for _ in range(3)]
    edge.stored(gone)
    assert edge.deliver_all(edge.claim()) == {pb.ANSWER_OK}
    edge.stored(here)
    packed = recipients(("a@a.example", "a.example"), ("b@b.example", "b.example"), ("c@a.example", "a.example"))

    def ask(ident):
        return edge.ask((packed, BODY), spool_store=pb.SpoolStore(envelope=envelope(ident), last=True))
    with holding_up(two, "store", "INSERT", "spool_message"):
        requests = [ask(new_id())]
        wait_held_up(two, "store")
        requests += [ask(ident) for ident in (gone, here, *new)]
        wait_until(lambda: two.metric('weir_spool_memory_bytes{node="coordinator-1"}') == 6 * len(packed + BODY), 30, "they wait together")
        two.pg.query("DELETE FROM held_up")
        for request in requests:
            answer = edge.answer(request, 30)[0]
            assert answer.status == pb.ANSWER_OK and answer.spool_stored.complete and answer.spool_stored.have == len(BODY)
    assert count(two) == 5 and count(two, "spool_recipient") == 1 + 3 * 4 and count(two, "spool_queue") == 1 + 2 * 4 and count(two, "spool_body") == 5
    assert two.pg.query(f"SELECT DISTINCT recipients, size FROM spool_message WHERE id <> '{here}'") == [["3", str(len(BODY))]]


def test_what_a_claim_here_could_not_take_is_told_elsewhere(two, edges, held_up):
    """Mail that comes while the only claim here, which it was left to, is with the database and comes back full."""
    here, there = edges(), edges("edge-2", at="coordinator-2")
    told = 'weir_spool_notifications_total{node="coordinator-1"}'
    request = here.ask_claim(room=1, wait=20000)
    wait_until(lambda: two.metric('weir_spool_claims_standing{node="coordinator-1"}') == 1, 10, "standing")
    before = two.metric(told)
    here.stored(new_id())
    wait_held_up(two, "lease")
    here.stored(new_id())
    assert two.metric(told) == before, "the claim here may take it"
    two.pg.query("DELETE FROM held_up")
    leases = here.leases(request, 30)
    assert len(leases) == 1
    wait_until(lambda: two.metric(told) > before, 30, "others are told")
    rest = there.claim(wait=20000, seconds=30)
    assert here.deliver_all(leases) == {pb.ANSWER_OK} and there.deliver_all(rest) == {pb.ANSWER_OK} and count(two) == 0


def test_what_is_more_than_a_claim_here_has_room_for_is_told_elsewhere(two, edges):
    here, there = edges(), edges("edge-2", at="coordinator-2")
    told = 'weir_spool_notifications_total{node="coordinator-1"}'
    request = here.ask_claim(room=1, wait=20000)
    wait_until(lambda: two.metric('weir_spool_claims_standing{node="coordinator-1"}') == 1, 10, "standing")
    before = two.metric(told)
    here.stored(new_id(), (("a@a.example", "a.example"), ("b@b.example", "b.example")))
    leases = here.leases(request, 30)
    wait_until(lambda: two.metric(told) > before, 30, "others are told")
    leases += there.claim(wait=20000, seconds=30)
    assert {lease.destination for lease in leases} == {b"a.example", b"b.example"}
    assert here.deliver_all(leases) == {pb.ANSWER_OK}


def test_without_scanners_only_scanned_mail_is_leased(edges):
    edge, plain, clean = edges(), new_id(), new_id()
    edge.stored(plain, scanned=False, verdict=b"")
    edge.stored(clean)
    lease, = edge.claim(scanners=False)
    assert lease.id == clean and edge.claim(scanners=False) == []
    edge.deliver(lease)
    lease, = edge.claim()
    assert lease.id == plain and not lease.envelope.scanned
    assert edge.result(lease, (0, "DEFERRED", "later"), scanned=True, verdict=b"clean", scanner=b"scanner-9") == pb.ANSWER_OK
    lease, = edge.claim(scanners=False, wait=5000)
    assert lease.id == plain and lease.envelope.scanned and lease.envelope.scanner == b"scanner-9"
    edge.deliver(lease)


RECORDS = """DO $f$
DECLARE functions text[]; one record;
BEGIN
    SELECT array_agg(pg_get_functiondef(p.oid)) INTO functions FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.prokind = 'f'
        AND EXISTS (SELECT FROM unnest(p.proargtypes::oid[]) AS a JOIN pg_type t ON t.oid = a WHERE t.typname ~ '^_spool_new_');
    FOR one IN SELECT t.typname AS name, string_agg(format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod), ' COLLATE ' || quote_ident(c.collname)), ',' ORDER BY a.attnum) AS columns
        FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_collation c ON c.oid = a.attcollation
        WHERE t.typnamespace = current_schema()::regnamespace AND t.typname ~ '^spool_new_' GROUP BY t.typname LOOP
        EXECUTE format('DROP TYPE %I CASCADE', one.name);
        EXECUTE format('CREATE TYPE %I AS (%s)', one.name, one.columns);
    END LOOP;
    FOR i IN 1 .. cardinality(functions) LOOP
        EXECUTE functions[i];
    END LOOP;
END $f$"""


def test_types_of_records_made_anew_under_a_live_connection(two, edges):
    """As a newer program does it beside coordinators at work: what is stored, and what is reported, is asked once more, at once."""
    edge, connected = edges(), "SELECT count(*), max(backend_start) FROM pg_stat_activity WHERE application_name ~ '^weir coordinator-[12] (spool|store|spare|result)'"

    def round_trip():
        ident, dsn = new_id(), new_id()
        edge.stored(ident)
        lease, = edge.claim()
        assert edge.result(lease, (0, "FAILED", "no such user"), dsn=envelope(dsn, sender=b"", dsn=True), text=b"Subject: sorry\r\n\r\n",
                           to=(("alice@example.edu", "[198.51.100.1]:25"),)) == pb.ANSWER_OK
        report, = edge.claim()
        assert report.id == dsn and edge.deliver(report) == pb.ANSWER_OK and count(two) == 0

    for _ in range(5):  # from the third time on by their names
        round_trip()
    before = two.pg.query(connected)
    two.pg.query(RECORDS)
    for _ in range(2):
        round_trip()
    assert int(before[0][0]) >= 4 and two.pg.query(connected) == before


@pytest.mark.sanitized
def test_a_dsn_is_stored_with_the_result_and_only_once(two, edges):
    edge, ident, dsn = edges(), new_id(), new_id()
    edge.stored(ident)
    lease, = edge.claim()
    for _ in range(2):
        assert edge.result(lease, (0, "FAILED", "no such user"), dsn=envelope(dsn, sender=b"", dsn=True), text=b"Subject: sorry\r\n\r\n",
                           to=(("alice@example.edu", "[198.51.100.1]:25"),)) == pb.ANSWER_OK
    assert two.pg.query("SELECT id, dsn FROM spool_message") == [[dsn, "t"]]
    report, = edge.claim()
    assert report.id == dsn and report.envelope.sender == b"" and report.envelope.dsn and edge.fetch(dsn) == b"Subject: sorry\r\n\r\n"
    late = new_id()
    assert edge.result(lease, (0, "FAILED", "again"), dsn=envelope(late, sender=b"", dsn=True), to=(("a@b", "x"),)) == pb.ANSWER_OK
    assert edge.deliver(report) == pb.ANSWER_OK and count(two) == 0
    assert two.json("trace", ident)[0]["disposition"] == "bounced"


def test_retries_grow_and_a_dead_destination_waits_as_one(two, edges):
    edge = edges()
    for _ in range(3):
        edge.stored(new_id(), (("x@dead.example", "dead.example"),))
    edge.stored(new_id(), (("y@fine.example", "fine.example"),))
    leases = edge.claim()
    assert len(leases) == 4
    fine, = [lease for lease in leases if lease.destination == b"fine.example"]
    assert edge.deliver(fine) == pb.ANSWER_OK

    def found_dead(lease):
        return edge.result(lease, (0, "DEFERRED", "no route"), destination_down=True)
    first, *others = [lease for lease in leases if lease is not fine]
    assert found_dead(first) == pb.ANSWER_OK
    # However slow the machine, the others are told before that one's pause is over.
    two.pg.query("UPDATE spool_destination SET down_until = down_until + interval '1 hour'")
    assert [found_dead(lease) for lease in others] == [pb.ANSWER_OK] * 2
    assert two.pg.query("SELECT destination, failures FROM spool_destination") == [["dead.example", "1"]], "three at a time count once"
    two.pg.query("UPDATE spool_destination SET down_until = down_until - interval '1 hour'; INSERT INTO spool_wake SELECT destination, scanned, due_at FROM spool_queue")
    probe = edge.claim(wait=20000)
    assert len(probe) == 1, "one tries for all"
    assert edge.claim() == []
    edge.stored(new_id(), (("y@fine.example", "fine.example"),))
    fine, = edge.claim()
    assert fine.destination == b"fine.example" and edge.deliver(fine) == pb.ANSWER_OK
    assert edge.result(probe[0], (0, "DEFERRED", "no route"), destination_down=True) == pb.ANSWER_OK
    assert two.pg.query("SELECT failures FROM spool_destination") == [["2"]]
    probe, = edge.claim(wait=20000)
    assert edge.deliver(probe) == pb.ANSWER_OK
    assert count(two, "spool_destination") == 0
    rest = []
    while len(rest) < 2:
        rest += edge.claim(wait=20000)
    assert all(edge.deliver(lease) == pb.ANSWER_OK for lease in rest)


def test_the_limit_of_a_destination_holds_for_the_whole_cluster(two, edges):
    here, there = edges(), edges("edge-2", at="coordinator-2")
    for _ in range(30):
        here.stored(new_id(), (("x@one.example", "one.example"),))
    got = []
    for _ in range(6):
        for edge in (here, there):
            got += [(edge, lease) for lease in edge.claim(8)]
    assert len(got) == 20
    assert got[0][0].deliver(got[0][1]) == pb.ANSWER_OK
    more = there.claim(wait=20000)
    assert len(more) == 1
    for edge, lease in got[1:]:
        assert edge.deliver(lease) == pb.ANSWER_OK
    assert there.deliver(more[0]) == pb.ANSWER_OK
    for lease in here.claim(20, wait=20000):
        assert here.deliver(lease) == pb.ANSWER_OK
    assert count(two) == 0


def test_a_stopped_claimants_mail_goes_to_another(two, edges):
    """The edge is not there any more, its lease ends, another has it."""
    first, second, ident = edges(), edges("edge-2", at="coordinator-2"), new_id()
    first.stored(ident)
    lease, = first.claim()
    first.node.close()
    leases_end(two, 2)
    again, = second.claim(wait=30000, seconds=40)
    assert again.id == ident and again.maybe_duplicate and again.token > lease.token
    assert second.deliver(again) == pb.ANSWER_OK and count(two) == 0


def test_leases_do_not_go_to_who_has_left(two, edges):
    """A claim stands, its asker goes, mail comes: another hears of it long before a lease would end."""
    first, second = edges(), edges()
    first.ask_claim(wait=60000)
    wait_until(lambda: two.metric('weir_spool_claims_standing{node="coordinator-1"}') == 1, 15, "standing")
    peers = lambda: two.metric('weir_link_peers{node="coordinator-1"}')
    both = wait_until(lambda: (now := peers()) <= 2 and now, 30, "nobody else")
    first.node.close()
    wait_until(lambda: peers() < both, 30, "that it has left is known")
    request = second.ask_claim(wait=60000)
    second.stored(new_id())
    lease, = second.leases(request, 30)
    assert second.deliver(lease) == pb.ANSWER_OK


def test_the_database_killed_in_the_middle(two, edges):
    edge = edges()
    sent = [new_id() for _ in range(40)]
    requests = {ident: edge.ask((recipients(("x@k.example", "k.example")), BODY), spool_store=pb.SpoolStore(envelope=envelope(ident), last=True))
                for ident in sent}
    two.pg.kill()
    two.pg.start()
    heard = {ident: edge.answer(request, 30)[0] for ident, request in requests.items()}
    fine = {ident for ident, answer in heard.items() if answer.status == pb.ANSWER_OK}
    assert all(answer.status in (pb.ANSWER_OK, pb.ANSWER_UNAVAILABLE) for answer in heard.values())
    there = {row[0] for row in two.pg.query("SELECT id FROM spool_message")}
    assert fine <= there, "what was answered is there"
    for ident in sent:  # as an edge does that heard nothing
        wait_until(lambda i=ident: edge.store(i, (("x@k.example", "k.example"),)).status == pb.ANSWER_OK, 20, "stored")
    assert count(two) == 40
    delivered = set()
    while len(delivered) < 40:
        for lease in edge.claim(20, wait=20000) or ():  # results have a connection of their own, which may be back later
            wait_until(lambda one=lease: edge.deliver(one) != pb.ANSWER_UNAVAILABLE, 30, "an answer")
            delivered.add(lease.id)
    assert delivered == set(sent) and count(two) == 0


def test_the_database_killed_between_the_parts_of_a_message(two, edges):
    """Parts are not waited for: what is left of them is the beginning, or nothing. A message with a hole is never complete."""
    edge, part = edges(), bytes(range(256)) * 1024
    for parts in (1, 2, 3):
        ident = new_id()
        wait_until(lambda i=ident: edge.store(i, body=part, last=False).status == pb.ANSWER_OK, 30, "the database is back for new mail, too")
        for number in range(1, parts):
            assert edge.chunk(ident, number * len(part), part).status == pb.ANSWER_OK
        two.pg.kill()
        two.pg.start()
        heard = []

        def told(wanted=ident, offset=parts * len(part), answers=heard):
            """The database is not there for some moments, and then it says what it has, if that is not all."""
            there = two.pg.query(f"SELECT size FROM spool_message WHERE id = '{wanted}'")
            answers[:] = [edge.chunk(wanted, offset, part, True), there]
            status = answers[0].status if answers[0] is not None else None
            return status in (pb.ANSWER_OK, pb.ANSWER_REFUSED) or (status == pb.ANSWER_UNAVAILABLE and there and int(there[0][0]) < offset)

        wait_until(told, 60, "an answer of the database")
        answer, there = heard
        print(parts, there, answer.status)
        assert (answer.status == pb.ANSWER_REFUSED) == (there == []), "where nothing is left"
        if answer.status == pb.ANSWER_OK:
            assert answer.spool_stored.complete
            body = wait_until(lambda i=ident: edge.fetch(i), 30, "the database is back for those who fetch, too")
            assert body == part * (parts + 1)
            lease, = edge.claim(wait=10000, seconds=30)
            wait_until(lambda one=lease: edge.deliver(one) != pb.ANSWER_UNAVAILABLE, 30, "an answer")
        else:
            assert edge.claim() in ([], None) and edge.fetch(ident) is None


def test_who_is_ready_stores_leases_and_takes_results(two, edges):
    """Each has a connection of its own, which comes back at a time of its own; until all are there /readyz is 503."""
    edge = edges()
    for _ in range(3):
        two.pg.kill()
        wait_until(lambda: [two.http("/readyz", name)[0] for name in two.names] == [503, 503], 30, "both find out")
        two.pg.start()
        wait_until(lambda: two.http("/readyz")[0] == 200, 30, "ready")
        edge.stored(new_id())
        lease, = edge.claim(wait=20000)
        assert edge.deliver(lease) == pb.ANSWER_OK


def test_limits_are_answered_full_and_leave_nothing(edges):
    edge = edges()
    with Coordinators(1, sets=[*SETS, "spool_max_messages = 3", "spool_max_bytes = 1MiB"]) as small:
        small.start()
        small.add_key("edge-1", "edge")
        node = small.node("edge-1", "edge")
        assert node.hello() is not None
        edge = Edge(node)
        held = new_id()
        assert edge.store(held, body=b"x" * 600000, last=False).status == pb.ANSWER_OK
        assert edge.chunk(held, 600000, b"x" * 600000).status == pb.ANSWER_OK
        assert edge.chunk(held, 1200000, b"x", True).status == pb.ANSWER_FULL
        assert edge.store(new_id()).status == pb.ANSWER_FULL
        small.pg.query("UPDATE spool_message SET chunk_at = now() - interval '61 minutes'")
        wait_until(lambda: count(small) == 0, 15, "the incomplete one is removed")
        for _ in range(3):
            edge.stored(new_id())
        assert edge.store(new_id()).status == pb.ANSWER_FULL
        assert [count(small, table) for table in ("spool_message", "spool_recipient", "spool_body")] == [3, 3, 3]
        assert small.metric('weir_spool_full_total{node="coordinator-1"}') == 3
        lease = edge.claim(1)[0]
        assert edge.deliver(lease) == pb.ANSWER_OK
        edge.stored(new_id())
        wait_until(lambda: small.metric('weir_spool_messages{state="ready"}') == 3, 10, "counted")
        assert small.metric("weir_spool_bytes") == 3 * len(BODY) and small.metric('weir_conservation_difference{node="spool"}') == 0
        assert small.metric('weir_spool_oldest_age_seconds{state="ready"}') > 0
        assert small.stop("coordinator-1", signal.SIGTERM) == 0
        node.close()


@pytest.mark.sanitized
def test_two_coordinators_and_four_edges_at_random(two, edges):
    """Stores, claims, results of all kinds, repeats, from all sides at once: nothing is leased twice at a time, nothing is left."""
    seed = int(os.environ.get("WEIR_SEED", time.time_ns() % 1000000))
    print(f"WEIR_SEED={seed}")
    chance, parties = random.Random(seed), [edges(f"edge-{1 + i % 2}", at=f"coordinator-{1 + i // 2}") for i in range(4)]
    live, stored, finals, turns = {}, set(), {}, 0
    while turns < 150 or count(two) > 0:
        turns += 1
        assert turns < 1500, f"{count(two)} messages are left"
        asked = []
        for edge in parties:
            if len(stored) < 200:
                ident = new_id()
                stored.add(ident)
                pairs = [(f"r{n}@example.org", chance.choice(("a", "b", "c", "d")) + ".example") for n in range(chance.randrange(1, 4))]
                question = pb.SpoolStore(envelope=envelope(ident, scanned=chance.random() < 0.7), last=True)
                for _ in range(chance.choice((1, 1, 2))):
                    asked.append((edge, functools.partial(edge.ask, (recipients(*pairs), BODY), spool_store=question), None))
            sent = time.monotonic()  # from then on counts the lease
            asked.append((edge, functools.partial(edge.ask_claim, chance.randrange(1, 20), 0, chance.random() < 0.8), sent))
        for key, (edge, lease, ends) in list(live.items()):
            if time.monotonic() > ends - 0.5:
                del live[key]  # as an edge that is late: it says nothing
            elif chance.random() < 0.7:
                del live[key]
                what = chance.choice(("DELIVERED", "DELIVERED", "DELIVERED", "FAILED", "DEFERRED", "RELEASED"))
                said = outcomes(*[(one.index, what, "so") for one in lease.who])
                facts = {"destination_down": what == "DEFERRED" and chance.random() < 0.2, "reached": what in ("DELIVERED", "FAILED"),
                         "scanned": chance.random() < 0.5, "verdict": b"clean"}
                for again in range(chance.choice((1, 1, 2))):
                    # Released mail is due at once: when it is said twice, another party may have the lease by then.
                    until = 0 if again and what == "RELEASED" else ends
                    asked.append((edge, functools.partial(edge.ask, (said,), spool_result=pb.SpoolResult(id=lease.envelope.id, destination=lease.destination,
                                                                                      token=lease.token, **facts)), (lease, what, until)))
        for edge, ask, request, what in [(edge, ask, ask(), what) for edge, ask, what in asked]:
            if isinstance(what, float):
                for lease in edge.leases(request):
                    key = (lease.id, lease.destination)
                    assert key not in live, "leased twice at a time"
                    live[key] = (edge, lease, what + lease.lease_ms / 1000)
                continue
            status = edge.answer(request)[0].status
            for _ in range(10):  # as an edge does where the database had no time for it
                if status != pb.ANSWER_UNAVAILABLE:
                    break
                status = edge.answer(ask())[0].status
            assert status == pb.ANSWER_OK or (what and time.monotonic() > what[2]), (what, status)  # late, on a slow machine
            if status == pb.ANSWER_OK and what and what[1] in ("DELIVERED", "FAILED"):
                for one in what[0].who:
                    finals.setdefault((what[0].id, one.index), set()).add(what[1])
    assert all(len(outcome) == 1 for outcome in finals.values()), "no recipient ended in two ways"
    assert {ident for ident, _ in finals} == stored
    delivered, failed = two.pg.query("SELECT sum(delivered), sum(failed) FROM spool_usage")[0]
    assert int(delivered) + int(failed) == len(finals)
    print(f"{turns} turns, {len(stored)} messages, {len(finals)} recipients; "
          f"batches tried again: {[two.metric(series, name) for name in two.names for series in [FAILED_RESULTS % name]]}")
