"""weirctl queue, a spool of 100,000 messages, a full disk."""
import json
import os
import re
import signal
import subprocess
import tempfile
import time

import pytest

from coordinators import Coordinators, pb, wait_until
from pg import PostgreSQL
from spooling import BODY, Edge, envelope, new_id
from test_spool_conversations import SETS, count, empty


@pytest.fixture(scope="module")
def one():
    # No vacuum of its own, which comes when it likes: pages are counted here that a plan touches, and those that it has made others.
    with PostgreSQL(["autovacuum=off"]) as pg, Coordinators(1, sets=SETS, pg=pg) as made:
        made.start()
        made.add_key("edge-1", "edge")
        yield made


@pytest.fixture
def edge(one):
    empty(one)
    node = one.node("edge-1", "edge")
    assert node.hello() is not None
    yield Edge(node)
    node.close()
    assert one.pg.query("SELECT difference FROM spool_sums()") == [["0"]]


def listed(one, *words):
    return [entry["id"] for entry in one.json("queue", "list", *words)]


def test_queue_list_filters_and_shows(one, edge):
    first, second, third = new_id(), new_id(), new_id()
    edge.stored(first, (("bob@example.org", "a.example"), ("eve@example.org", "b.example")))
    edge.stored(second, (("100%_real@example.net", "a.example"),), sender=b"")
    edge.stored(third, (("bob@example.net", "c.example"),), sender=b"\x1b[31m@example.edu")
    assert listed(one) == [first, first, second, third]
    assert listed(one, "--from", "alice@example.edu") == [first, first] and listed(one, "--from", "<>") == [second]
    assert listed(one, "--to", "bob@*") == [first, third] and listed(one, "--to", "@example.net") == [second, third]
    assert listed(one, "--to", "*%_*") == [second]
    assert listed(one, "--destination", "b.example") == [first] and listed(one, "--limit", 1) == [first]
    assert listed(one, "--from", "<alice@example.edu>") == [first, first] and listed(one, "--to", "<bob@*>") == [first, third]
    assert listed(one, "--older", "1h") == [] and listed(one, "--state", "ready", first.lower()) == [first, first]
    lease = [lease for lease in edge.claim() if lease.id == second][0]
    assert listed(one, "--state", "leased") == [first, first, second, third]
    assert edge.result(lease, (0, "DEFERRED", "greylisted \x1b[2J"), retry_ms=60000) == pb.ANSWER_OK
    assert listed(one, "--state", "deferred") == [second]
    table, shown = one.ctl("queue", "list"), one.ctl("queue", "show", second)
    assert "edge-1/0" in table and "greylisted" in table and "\x1b" not in table + shown
    assert "greylisted" in shown and "deferred, 1 tries" in shown and "deferred (1) by edge-1" in shown, shown
    assert "spool         3 messages" in one.ctl("status") and "accounted for" in one.ctl("status")
    assert one.json("queue", "show", first)["recipients"][1]["address"] == "eve@example.org"
    for words, status, said in ((("list", "--state", "sleeping"), 64, "deferred"), (("list", "--older", "soon"), 64, "unit"), (("delete", "--older", "0d"), 64, "unit"),
                                (("delete", "--older", "1 year ago"), 64, "unit"), (("show", new_id()), 65, "trace"),
                                (("delete",), 64, "--force"), (("hold", new_id()), 65, "not in the spool"), (("list", "--from"), 64, "value"),
                                (("list", "--wait"), 64, "--wait")):
        done = one.run_ctl("queue", *words)
        assert done.returncode == status and said in done.stderr, (words, done.returncode, done.stderr)


@pytest.mark.sanitized
def test_hold_release_retry_bounce_delete(one, edge):
    idents = [new_id() for _ in range(5)]
    for ident in idents:
        edge.stored(ident, (("bob@example.org", "a.example"),))
    held, slow, back, gone, leased = idents
    assert "1 changed" in one.ctl("queue", "hold", held)
    leases = {lease.id: lease for lease in edge.claim()}
    assert set(leases) == set(idents) - {held}
    assert "1 left alone" in one.ctl("queue", "delete", leased) and count(one) == 5
    for ident in (slow, back, gone):
        assert edge.result(leases[ident], (0, "DEFERRED", "later"), retry_ms=600000) == pb.ANSWER_OK
    assert edge.claim() == []
    request = edge.ask_claim(wait=20000)
    one.ctl("queue", "retry", slow)
    lease, = edge.leases(request)
    assert lease.id == slow and not lease.bounce and edge.deliver(lease) == pb.ANSWER_OK
    request = edge.ask_claim(wait=20000)
    one.ctl("queue", "bounce", back)
    lease, = edge.leases(request)
    assert lease.id == back and lease.bounce and edge.result(lease, (0, "FAILED", "returned by the operator")) == pb.ANSWER_OK
    request = edge.ask_claim(wait=20000)
    one.ctl("queue", "release", "--state", "held")
    lease, = edge.leases(request)
    assert lease.id == held and edge.deliver(lease) == pb.ANSWER_OK
    assert json.loads(one.ctl("--json", "queue", "delete", "--to", "bob@example.org"))["changed"] == 1
    assert edge.deliver(leases[leased]) == pb.ANSWER_OK and count(one) == 0
    assert {row["recipient_index"]: row["disposition"] for row in one.json("trace", gone)} == {0: "discarded:operator"}
    assert one.json("trace", back)[0]["disposition"] == "bounced"
    acts = [(done["action"], done["who"]) for done in one.json("history")][-5:]
    assert acts == [(f"queue {act}", "operator") for act in ("hold", "retry", "bounce", "release", "delete")]


SIX = (("ann@example.org", "a.example"), ("bob@example.org", "a.example"), ("carl@example.org", "a.example"), ("ann@example.net", "b.example"),
       ("bob@example.net", "b.example"), ("dora@example.net", "b.example"))


def queued(one, ident):
    return {(row["destination"], row["address"]) for row in one.json("queue", "show", ident)["recipients"] if row["state"] == "queued"}


def test_delete_and_bounce_are_of_the_recipients_that_match(one, edge):
    """--to names recipients: the others of the same message and destination get their mail."""
    gone, back = new_id(), new_id()
    edge.stored(gone, SIX)
    table = [line for line in one.ctl("queue", "list", "--to", "bob@*").splitlines() if gone in line]
    assert [line.split()[line.split().index("alice@example.edu") + 1:][:2] for line in table] == [["bob@example.org", "2"], ["bob@example.net", "2"]]
    assert one.ctl("queue", "delete", "--to", "bob@*") == "2 changed; other recipients stay: 4\n"
    assert queued(one, gone) == {pair[::-1] for pair in SIX if not pair[0].startswith("bob@")} and count(one) == 1
    assert one.json("history")[-1]["detail"]["stay"] == 4
    leases = edge.claim()
    assert sorted(row.address for lease in leases for row in lease.who) == [b"ann@example.net", b"ann@example.org", b"carl@example.org", b"dora@example.net"]
    assert edge.deliver_all(leases) == {pb.ANSWER_OK} and count(one) == 0
    wanted = {number: "discarded:operator" if pair[0].startswith("bob@") else "delivered" for number, pair in enumerate(SIX)}
    assert {row["recipient_index"]: row["disposition"] for row in one.json("trace", gone)} == wanted

    edge.stored(back, SIX)
    one.ctl("queue", "hold", back)
    assert one.ctl("queue", "bounce", "--to", "bob@example.org") == "1 changed; other recipients stay: 2\n"
    assert listed(one, "--state", "held") == [back, back] and listed(one, "--destination", "a.example") == [back, back]
    lease, = edge.claim()
    assert lease.bounce and [row.address for row in lease.who] == [b"bob@example.org"] and lease.destination == b"bounce:a.example"
    # who joins them while they are on their way back goes back behind them
    assert one.ctl("queue", "bounce", "--to", "carl@*") == "1 changed; other recipients stay: 1\n"
    assert edge.result(lease, (1, "FAILED", "returned"), dsn=envelope(new_id(), dsn=True), text=BODY, to=(("alice@example.edu", "c.example"),)) == pb.ANSWER_OK
    leases = {lease.bounce: lease for lease in edge.claim()}
    assert [row.address for row in leases[True].who] == [b"carl@example.org"] and leases[False].envelope.dsn
    assert edge.result(leases[True], (2, "FAILED", "returned")) == pb.ANSWER_OK and edge.deliver(leases[False]) == pb.ANSWER_OK
    one.ctl("queue", "release", back)
    leases = edge.claim()
    assert not any(lease.bounce for lease in leases) and edge.deliver_all(leases) == {pb.ANSWER_OK} and count(one) == 0
    rows = {row["recipient_index"]: row["disposition"] for row in one.json("trace", back)}
    assert rows == {number: "bounced" if number in (1, 2) else "delivered" for number in range(6)}


def test_hold_release_and_retry_say_who_goes_along(one, edge):
    ident = new_id()
    edge.stored(ident, SIX)
    along = "; recipients that do not match go along: 2\n"
    assert one.ctl("queue", "hold", "--to", "bob@example.org") == "1 changed" + along
    assert listed(one, "--state", "held") == [ident] and one.ctl("queue", "release", "--to", "bob@example.org") == "1 changed" + along
    assert one.ctl("queue", "retry", "--to", "bob@example.org") == "1 changed" + along
    assert one.ctl("queue", "retry", ident) == "2 changed\n" and one.ctl("queue", "delete", ident) == "2 changed\n" and count(one) == 0


def test_an_act_reaches_more_than_a_thousand(one, edge):
    """What is done in parts ends, though what was done matches still."""
    fill(one, 1100, 10)
    for act, done in (("retry", "due_at > arrived_at"), ("hold", "held"), ("release", "NOT held"), ("bounce", "bounce")):
        assert one.json("queue", act, "--to", "x@example.org") | {"ids": []} == {"changed": 1100, "busy": 0, "stay": 0, "along": 0, "ids": []}, act
        assert one.pg.query(f"SELECT count(*) FROM spool_queue WHERE {done}") == [["1100"]], act
    assert one.ctl("queue", "delete", "--force") == "1100 changed\n" and count(one) == 0
    for older in ("0", "-1 hours", "1 year ago"):  # what a weirctl of before hands on
        assert "nothing is needed" in one.pg.query(f"SELECT error FROM admin_queue_act('operator', 'delete', '', '', '', '', '{older}', '', false)")[0][0]


def test_old_mail_is_leased_though_its_destination_is_down(one, edge):
    """A warning and the end of a message's life do not wait for a destination in back-off."""
    ident = new_id()
    edge.stored(ident, (("x@dead.example", "dead.example"),))
    lease, = edge.claim()
    assert not lease.warn_delay and not lease.last_try
    assert edge.result(lease, (0, "DEFERRED", "no route"), destination_down=True, retry_ms=3600000) == pb.ANSWER_OK
    one.pg.query("UPDATE spool_destination SET down_until = now() + '1 hour'")
    for age, warned in (("5 hours", False), ("6 days", True)):
        one.pg.query(f"UPDATE spool_message SET arrived_at = now() - interval '{age}'; UPDATE spool_queue SET attend_at = now()")
        lease, = edge.claim()
        assert (lease.warn_delay, lease.delay_warned, lease.last_try) == (not warned, warned, warned)
        text = ("FAILED", "too old") if warned else ("DEFERRED", "no route")
        assert edge.result(lease, (0, *text), destination_down=not warned, delay_warned=not warned) == pb.ANSWER_OK
    assert count(one) == 0


def test_S67_who_fills_the_spool_delays_nobody_else(one, edge):
    """Everything is for one destination. Others' mail came in the middle of the flood, so it is neither the oldest nor the newest."""
    flood, others = [], {}
    for number in range(120):
        flood.append(new_id())
        edge.stored(flood[-1], client=b"192.0.2.1")
        if number in (50, 60, 70):
            others[number] = new_id()
            source = {"client": b"192.0.2.1", "login": b"joe"} if number == 60 else {"client": b"2001:db8:0:%d::1" % number}
            edge.stored(others[number], **source)
    assert len({row[0] for row in one.pg.query("SELECT DISTINCT slot FROM spool_queue")}) == 4
    leases = edge.claim(8)
    assert len(leases) == 8 and set(others.values()) < {lease.id for lease in leases}, "each of them at once"
    taken = [lease.id for lease in leases if lease.id not in others.values()]
    assert flood[0] in taken and set(taken) < set(flood[:5] + flood[-5:]), "a source's own: the oldest, and some of the newest"
    assert edge.deliver_all(leases) == {pb.ANSWER_OK}
    assert len(edge.claim(8)) == 8, "who is alone has everything"
    empty(one)


# ---- 100,000 messages -----------------------------------------------------------------------------------------------------------

def fill(one, messages, dead, sources=1):
    """A fifth of the mail for one destination, half of it for dead ones, the rest for 1000 others; as stores and results leave it."""
    one.pg.query(f"""
        INSERT INTO spool_message (id, arrived_at, stored_at, size, recipients, scanned, dsn, envelope, node, listener, client, helo, tls, sender,
            message_id, verdict, scanner, engine, signatures)
            SELECT lpad(n::text, 20, '0'), now() - interval '1 hour' + n * interval '10 ms', now(), 10, 1, true, false, '\\x0a14' || lpad(n::text, 20, '0')::bytea, '', '', '', '', '',
                's@example.edu', '', '', '', '', '' FROM generate_series(1, {messages}) AS n;
        INSERT INTO spool_recipient (id, number, destination, address, packed)
            SELECT lpad(n::text, 20, '0'), 0, CASE WHEN n % 10 < 2 THEN 'big.example' WHEN n % 10 < 7 THEN 'dead-' || n % {dead} || '.example'
                ELSE 'other-' || n % 1000 || '.example' END, 'x@example.org', '\\x1203' || 'x@y'::bytea FROM generate_series(1, {messages}) AS n;
        INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, slot)
            SELECT m.id, r.destination, m.arrived_at, true, m.arrived_at, now() + interval '5 days', m.id::bigint % {sources} FROM spool_message m JOIN spool_recipient r USING (id);
        INSERT INTO spool_destination SELECT DISTINCT destination, 3, now(), now() + interval '1 hour', 'no route' FROM spool_queue
            WHERE destination LIKE 'dead-%';
        INSERT INTO spool_wake SELECT destination, true, min(due_at) FROM spool_queue GROUP BY destination;
        INSERT INTO spool_usage (slot, messages, bytes, recipients) VALUES ('filled', {messages}, 0, {messages});
        SELECT spool_take_wakes(); SELECT spool_take_wakes();""")


def claim_cost(one, others="false"):
    """Pages touched by a claim of 20 in a session like a coordinator's that has made its plans, and those plans. The settings have a -c of their own: in
    one with a ROLLBACK they would end with it."""
    asked = f"spool_claim('edge-1/0', 20, true, 100, '2s', '5min', '4h', {others})"
    warm = f" BEGIN; SELECT FROM {asked}; ROLLBACK;" * 8
    done = subprocess.run([one.pg.bin + "/psql", "-XAtq", one.pg.conninfo, "-c",
                           "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;"
                           " SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; SET client_min_messages = log",
                           "-c", warm + f" BEGIN; EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {asked};"
                           " SELECT spool_due(); ROLLBACK"], capture_output=True, text=True, check=True)
    plan = json.loads(done.stdout[:done.stdout.rindex("]") + 1])[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], plan["Actual Total Time"], done.stderr


def pick_costs(one):
    """Pages touched to choose 20 for a destination that has much, by plans as every coordinator may have them; then with statistics of a spool that is for
    20,000 destinations more."""
    asked = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM spool_pick('big.example', true, 20, clock_timestamp());"
    more = """SET session_replication_role = replica; INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, slot)
        SELECT 'more-' || n, 'more-' || n, now(), true, now(), now(), 0 FROM generate_series(1, 20000) AS n; ANALYZE spool_queue;"""
    done = subprocess.run([one.pg.bin + "/psql", "-XAtq", one.pg.conninfo, "-c", "SET enable_seqscan = off; SET enable_hashjoin = off;"
                           f" SET enable_mergejoin = off; SET jit = off; SET plan_cache_mode = force_generic_plan; BEGIN; {asked} {more} {asked} ROLLBACK"],
                          capture_output=True, text=True, check=True)
    found = re.findall(r'"Shared Hit Blocks": (\d+),\s+"Shared Read Blocks": (\d+)', done.stdout)
    return [sum(map(int, found[at])) for at in (0, len(found) // 2)]  # those of the plan, before those of planning


def lanes_costs(one):
    """Pages touched to choose 20 of 30,000 lanes that are due, all of one source but for one, where as many more of his are not; with statistics of that, as plans
    may be: for these numbers, and for any."""
    asked = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM spool_due_lanes('edge-1/0', 20, true, false, true, clock_timestamp());"
    done = subprocess.run([one.pg.bin + "/psql", "-XAtq", one.pg.conninfo, "-c", f"""BEGIN; DELETE FROM spool_lane;
        INSERT INTO spool_lane (destination, scanned, turn_at, slot, slot_other) SELECT 'z' || n, true, now() - interval '1 hour' + (n > 30000)::integer * interval '2 hours'
            + n * interval '1 ms', CASE n WHEN 29999 THEN 9 ELSE 8 END, 8 FROM generate_series(1, 60000) AS n;
        ANALYZE spool_lane; SET jit = off; {asked} SET plan_cache_mode = force_generic_plan; {asked} ROLLBACK"""], capture_output=True, text=True, check=True)
    found = re.findall(r'"Shared Hit Blocks": (\d+),\s+"Shared Read Blocks": (\d+)', done.stdout)
    return [sum(map(int, found[at])) for at in (0, len(found) // 2)]


def test_a_claim_costs_the_same_with_100000_messages(one, edge):
    fill(one, 100, 10)
    small = claim_cost(one)
    empty(one)
    fill(one, 100000, 2000, sources=64)
    large = claim_cost(one)
    picks = pick_costs(one)
    print(f"20 of a destination that has 20,000: {picks} pages, before and after 20,000 other destinations")
    assert picks[1] < 1.5 * picks[0], "not the whole lane"
    scanned = sorted(set(re.findall(r"(?:Scan[a-z ]*(?: using \w+)?) on spool_\w+", large[2])))
    print(f"claim of 20: {small[0]} pages, {small[1]:.1f} ms of 100 messages; {large[0]} pages, {large[1]:.1f} ms of 100,000 with 2,000 dead"
          f" destinations, of 64 sources\nplans: {scanned}")
    assert large[0] < 3 * small[0]
    one.pg.query("UPDATE spool_queue SET leased = true, due_at = now() + interval '1 hour', holder = 'edge-1/0' WHERE id IN (SELECT id FROM spool_queue"
                 " WHERE destination IN ('big.example', 'other-7.example') LIMIT 20)")
    spare = claim_cost(one, others="true")
    print(f"of other destinations than those of 20 leases: {spare[0]} pages, {spare[1]:.1f} ms")
    assert spare[0] < 2 * large[0] and "Seq Scan on spool_queue" not in spare[2] and "Seq Scan on spool_lane" not in spare[2]
    one.pg.query("UPDATE spool_queue SET leased = false, due_at = arrived_at WHERE leased")
    assert not [one for one in scanned if one.startswith("Seq") or one.endswith("Seq Scan on spool_queue")]
    assert not re.search(r"Seq Scan on spool_(queue|lane|recipient|message)\b", large[2])

    # The coordinator's own connection, whose plans were made while the spool was empty; all that is not dead is delivered to the first 2,000.
    began, seen = time.monotonic(), set()
    for _ in range(20):
        leases = edge.claim(64, wait=20000)
        assert leases and not [lease for lease in leases if lease.destination.startswith(b"dead-")]
        seen |= {lease.destination for lease in leases}
        assert edge.deliver_all(leases) == {pb.ANSWER_OK}
    print(f"{20 * 64} leased and told of in {time.monotonic() - began:.1f} s, of {len(seen)} destinations")
    assert len(seen) == 301, "no destination delays the others"
    late = new_id()
    edge.stored(late, (("x@new.example", "new.example"),))
    turns = 0
    while not any(lease.id == late for lease in (edge.claim(64) or ())):
        turns += 1
        assert turns < 40, "new mail has its turn"
    # Another source has mail for 3,000 destinations, that new one among them; of somebody else there is one message each for it and for one of his own.
    slot = one.pg.query(f"SELECT slot FROM spool_message WHERE id = '{late}'")[0][0]
    one.pg.query(f"""UPDATE spool_queue SET held = true WHERE destination LIKE 'other-%' OR destination = 'big.example';
        CREATE TEMP TABLE flood AS SELECT m.id, n, CASE n WHEN 0 THEN 'new.example' ELSE 'x' || n || '.example' END AS name
            FROM (SELECT id FROM spool_message LIMIT 1) AS m, generate_series(0, 3000) AS n;
        INSERT INTO spool_recipient (id, number, destination, address, packed) SELECT id, n + 1000, name, 'x@example.org', '\\x1203' || 'x@y'::bytea FROM flood;
        INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, slot)
            SELECT id, name, now(), true, now(), now() + interval '5 days', {(int(slot) + 1) % 64} FROM flood;
        INSERT INTO spool_wake SELECT destination, true, due_at, slot FROM spool_queue WHERE NOT held AND NOT leased AND destination NOT LIKE 'dead-%';
        SELECT spool_take_wakes()""")
    cost, _, plans = claim_cost(one)
    print(f"claim of 20 where one source has 3,000 destinations: {cost} pages")
    assert cost < 3 * small[0] and not re.search(r"Seq Scan on spool_(queue|lane)\b", plans)
    costs = lanes_costs(one)
    print(f"20 of 30,000 lanes: {costs} pages")
    assert max(costs) < 5000, "not all lanes for each source that has none"
    ours = [new_id(), new_id()]
    for name, destination in zip(ours, ("own.example", "new.example")):
        edge.stored(name, (("x@" + destination, destination),))
    claimed = [lease.id for _ in range(4) for lease in edge.claim(20, wait=20000)]
    assert set(ours) <= set(claimed), "who writes to thousands waits behind himself"
    one.pg.query("DELETE FROM spool_queue WHERE destination ~ '^(x|new|own)'; DELETE FROM spool_recipient WHERE number >= 1000; UPDATE spool_queue SET held = false")
    one.pg.query("UPDATE spool_queue SET slot = 0 WHERE destination = 'big.example'")
    old = int(one.pg.query("""SELECT count(*) FILTER (WHERE picked.id::bigint < 50000) FROM generate_series(1, 400) AS n,
        LATERAL spool_pick('big.example', true, 1 + 0 * n, clock_timestamp()) AS picked(id)""")[0][0])
    assert 240 <= old < 400, "three quarters the oldest, the rest the newest, of a destination that gets one lease at a time, too"
    # Somebody else has the first ones at both ends.
    ends = " UNION ALL ".join(f"(SELECT id FROM spool_queue WHERE destination = 'big.example' ORDER BY due_at {way} LIMIT {most})" for way, most in (("", 15), ("DESC", 6)))
    with subprocess.Popen([one.pg.bin + "/psql", "-XAtq", one.pg.conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        print(f"BEGIN; SELECT count(*) FROM (SELECT FROM spool_queue WHERE id IN ({ends}) FOR UPDATE) AS q;", file=holder.stdin, flush=True)
        assert holder.stdout.readline() == "21\n"
        picked = int(one.pg.query("SELECT count(*) FROM spool_pick('big.example', true, 20, clock_timestamp())")[0][0])
        holder.stdin.close()
    assert picked >= 18, "of those behind them"
    wait_until(lambda: (one.metric('weir_spool_messages{state="ready"}') or 0) > 1000, 20, "counted")
    began = time.monotonic()
    wait_until(lambda: len(listed(one, "--destination", "dead-*", "--limit", 5)) == 5, 60, "the answer to weirctl")
    print(f"queue list: {time.monotonic() - began:.2f} s")
    empty(one)


# ---- a full disk ----------------------------------------------------------------------------------------------------------------

def with_maps_of_free_space(coordinators, edge):
    """As a spool that is in use for some minutes: bodies came and went, some are there, and the maps of what the others left free are files already.
    The first VACUUM after a disk is full to its last byte could not make them. Returns the messages that are there."""
    def made():
        for _ in range(7):
            edge.stored(new_id(), body=os.urandom(1024 * 1024))
        for lease in edge.claim(6):
            assert edge.deliver(lease) == pb.ANSWER_OK
        coordinators.pg.query("VACUUM spool_body")
        return coordinators.pg.query("""
            WITH toast AS (SELECT reltoastrelid AS id FROM pg_class WHERE oid = 'spool_body'::regclass),
                 map (part, fork) AS (SELECT id, unnest('{fsm,vm}'::text[]) FROM toast UNION ALL SELECT 'spool_body'::regclass, 'vm'
                                      UNION ALL SELECT indexrelid, 'fsm' FROM pg_index JOIN toast ON indrelid = id)
            SELECT min(pg_relation_size(part, fork)) > 0 FROM map""") == [["t"]]

    wait_until(made, 60, "maps of free space")
    return [row[0] for row in coordinators.pg.query("SELECT id FROM spool_message")]


def test_a_full_disk_is_answered_full_and_recovers(one):
    """Bodies on a small file system of their own: the log of PostgreSQL has room, as it must have."""
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    place = tempfile.mkdtemp(prefix="weir-small-")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=False, capture_output=True).returncode != 0:
        os.rmdir(place)
        pytest.skip("no tmpfs can be mounted here")
    try:
        with PostgreSQL() as pg, Coordinators(1, sets=SETS, pg=pg) as small:
            os.chown(place, pg.user.pw_uid, pg.user.pw_gid)
            small.start()
            small.add_key("edge-1", "edge")
            pg.query(f"CREATE TABLESPACE small LOCATION '{place}'")
            pg.query("ALTER TABLE spool_body SET TABLESPACE small")
            node = small.node("edge-1", "edge")
            assert node.hello() is not None
            edge, full = Edge(node), None
            sent = with_maps_of_free_space(small, edge)
            for _ in range(40):
                ident = new_id()
                answer = edge.store(ident, body=os.urandom(1024 * 1024))
                if answer.status == pb.ANSWER_FULL:
                    full = ident
                    break
                assert answer.status == pb.ANSWER_OK
                sent.append(ident)
            assert full and len(sent) > 3
            assert "the database's disk is full: listeners that always spool refuse mail" in small.log("coordinator-1")
            big = new_id()
            assert edge.store(big, body=b"x", last=False).status in (pb.ANSWER_OK, pb.ANSWER_FULL)
            assert {row[0] for row in pg.query("SELECT id FROM spool_message WHERE stored_at IS NOT NULL")} == set(sent), "nothing half-stored"
            assert pg.query(f"SELECT count(*) FROM spool_body WHERE id = '{full}'") == [["0"]]
            for lease in edge.claim(64):
                assert len(edge.fetch(lease.id)) == 1024 * 1024 and edge.deliver(lease) == pb.ANSWER_OK
            pg.query("VACUUM spool_body")
            wait_until(lambda: edge.store(full, body=BODY).status == pb.ANSWER_OK, 30, "room again")
            last = []
            while full not in last:
                leases = edge.claim(64, wait=20000)
                assert all(edge.deliver(lease) == pb.ANSWER_OK for lease in leases)
                last += [lease.id for lease in leases]
            node.close()
    finally:
        subprocess.run(["umount", "-l", place], check=False)
        os.rmdir(place)


def test_a_coordinator_killed_in_the_middle_loses_nothing(one, edge):
    """Its questions are asked again at another; here at itself, back again."""
    idents = [new_id() for _ in range(20)]
    for ident in idents:
        edge.ask((b"", BODY), spool_store=pb.SpoolStore(envelope=envelope(ident), last=True))
        edge.store(ident)
    one.stop("coordinator-1", signal.SIGKILL)
    one.start()
    edge.node.close()
    edge.node = one.node("edge-1", "edge")
    assert edge.node.hello() is not None
    for ident in idents:
        edge.stored(ident)
    assert count(one) == 20
    delivered = set()
    while len(delivered) < 20:
        for lease in edge.claim(wait=20000):
            assert edge.deliver(lease) == pb.ANSWER_OK
            delivered.add(lease.id)
    assert delivered == set(idents)
