"""The buckets of limits at the coordinators' side: exact, whoever asks however many at once."""
import threading

import pytest

from coordinators import PATIENCE, Coordinators, audit_row, locked, pb, wait_until, welcome_edges
from spooling import new_id

EDGES = ("edge-1", "edge-2", "edge-3")


@pytest.fixture(scope="module")
def c():
    with Coordinators(2) as made:
        made.start()
        for name in EDGES:
            made.add_key(name, "edge")
        yield made


@pytest.fixture
def node(c):
    with welcome_edges(c) as make:
        yield make


def cost(bucket, tokens=1, amount=100, period=1000, burst=50, **more):
    return pb.LimitCost(bucket=bucket.encode(), cost=tokens, amount=amount, period_ms=period, burst=burst, **more)


def send(node, number, *costs):
    node.send(question=pb.Question(request=number, limit_ask=pb.LimitAsk(costs=costs)))


def ask(node, *costs):
    send(node, 7, *costs)
    answer, _ = node.receive("answer", 30)
    assert answer is not None and answer.status == pb.ANSWER_OK, answer
    return [(state.fits, state.spare) for state in answer.limit_taken.states]


DAY = {"amount": 1, "period": 86400000}


def test_all_or_none(node):
    edge = node()
    assert ask(edge, cost("all a", burst=2, **DAY), cost("all b", burst=1, **DAY)) == [(True, 0), (True, 0)]
    assert ask(edge, cost("all a", burst=2, **DAY), cost("all b", burst=1, **DAY)) == [(True, 0), (False, 0)]  # none was taken:
    assert ask(edge, cost("all a", burst=2, **DAY)) == [(True, 0)]
    assert ask(edge, cost("all a", burst=2, **DAY)) == [(False, 0)]
    assert ask(edge, cost("all c", burst=1, **DAY), cost("all b", burst=1, dry_run=True, **DAY)) == [(True, 0), (False, 0)]  # which stops nobody:
    assert ask(edge, cost("all c", burst=1, **DAY)) == [(False, 0)]
    assert ask(edge, cost("all d", 3, burst=2, **DAY)) == [(False, 0)]  # more than it ever holds
    twice = [cost("all f", burst=3, **DAY), cost("all g", burst=5, **DAY), cost("all f", burst=3, **DAY)]
    assert ask(edge, *twice) == [(True, 0)] * 3
    assert ask(edge, *twice) == [(True, 0), (True, 0), (False, 0)]  # one is left, and stays:
    assert ask(edge, cost("all f", burst=3, **DAY), cost("all g", 4, burst=5, **DAY)) == [(True, 0)] * 2
    assert ask(edge, cost("all h", 9, burst=3, debt=True, **DAY), cost("all h", burst=3, debt=True, **DAY)) == [(True, 0), (False, 0)]
    assert ask(edge, cost("all h", 3, burst=3, **DAY)) == [(True, 0)]  # it owed nothing
    for number, name in enumerate((b"all e\xff", b"all e\\xFF", b"all e\xff")):  # one bucket, as the database writes it, in one statement or several
        edge.send(question=pb.Question(request=number, limit_ask=pb.LimitAsk(costs=[pb.LimitCost(bucket=name, cost=1, burst=1, amount=1, period_ms=86400000)])))
    answers = [edge.receive("answer", 30)[0] for _ in range(3)]
    assert sorted(answer.limit_taken.states[0].fits for answer in answers) == [False, False, True]


def test_a_coordinator_of_before_takes_from_the_same_buckets(c, node):
    """Its statement names a bucket for each cost, or each once, and gets rows."""
    assert ask(node(), cost("before a", burst=2, **DAY)) == [(True, 0)]
    one = "'{1,1}', '{86400000,86400000}', '{2,2}', '{0,0}', '{f,f}', '{f,f}'"
    take = lambda names, more="": c.pg.query(f"SELECT took, wait > 0, given FROM limit_take('{{7,8}}', '{names}', '{{1,1}}', {one}{more})")
    assert take("{before b,before a}") == [["t", "f", "0"]] * 2
    assert take("{before b,before a}", ", '{2,1}'") == [["f", "t", "0"], ["t", "f", "0"]]
    assert take("{before b,before b}") == [["f", "t", "0"]] * 2
    assert ask(node(), cost("before b", burst=2, **DAY)) == [(False, 0)]


def test_a_bucket_owes_once_and_is_asked_for_nothing(node):
    edge = node()
    for _ in range(3):
        assert ask(edge, cost("debt", 0, burst=10, debt=True, **DAY)) == [(True, 0)]
    assert ask(edge, cost("debt", 2**40, burst=10, debt=True, **DAY)) == [(True, 0)]
    assert ask(edge, cost("debt", 0, burst=10, debt=True, **DAY)) == [(False, 0)]
    assert ask(edge, cost("debt", 1, burst=10, debt=True, **DAY)) == [(False, 0)]


def test_lots_are_a_part_of_what_is_left(node):
    """And no more than comes back in the second for which edges keep them: what they lose then is not missed."""
    edge = node()
    second = {"amount": 100 * 86400, "period": 86400000}
    for burst, spare, given in ((101, 5, 5), (101, 50, 12), (9, 50, 1), (8, 50, 0), (100000, 500, 100)):
        assert ask(edge, cost(f"lot {burst} {spare}", burst=burst, spare=spare, **second)) == [(True, given)]
    assert ask(edge, cost("lot of a day", burst=1000, spare=50, **DAY)) == [(True, 0)]


LEADER = "weir leader"


def test_nobody_can_name_the_lock_of_the_leader(c, node):
    """Found by search: 64 bits that PostgreSQL makes of a name are not out of reach. Both held up every coordinator that is not the leader."""
    bucket, login = "inbound domain messages/3600 m000000000221s3paus7j.ofr", "aaam000000000254v2x9__mbrmz8"
    for name in (f"limit {bucket}", f"account {login}"):
        assert c.pg.query(f"SELECT hashtextextended('{name}', 0) = hashtextextended('{LEADER}', 0)") == [["t"]]
    wait_until(lambda: c.pg.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted") != [["0"]], 30, "a leader")
    assert ask(node(), cost(bucket)) == [(True, 0)]
    c.pg.query(f"SET lock_timeout = '5s'; SELECT * FROM auth_begin(1, '{login}', false, '192.0.2.1', 10, 10, '1 hour', '1 minute', '1 day')")


def test_full_buckets_and_those_over_the_limit_are_forgotten(c, node):
    edge = node()
    ask(edge, cost("long lived", **DAY))
    # Asked for each time: the leader forgets full ones, too, once a minute.
    wait_until(lambda: ask(edge, cost("short lived")) and c.pg.query("SELECT count(*) FROM limit_bucket WHERE full_ms <= limit_clock() AND name = 'short lived'") == [["1"]], 30, "a full one")
    c.pg.query("SELECT limit_tidy(1000, 100)")
    assert c.pg.query("SELECT count(*) FROM limit_bucket WHERE name = 'short lived'") == [["0"]]
    assert c.pg.query("SELECT count(*) FROM limit_bucket WHERE name = 'long lived'") == [["1"]]
    c.pg.query("SELECT limit_tidy(0, 100)")
    assert c.pg.query("SELECT count(*) FROM limit_bucket") == [["0"]]


def test_what_is_tidied_away_under_a_decision_is_written_again(c, node):
    """It was found, and is written where it was: there is nothing any more."""
    edge, limit = node(), {"burst": 2, **DAY}
    assert ask(edge, cost("tidied a", **limit), cost("tidied b", **limit)) == [(True, 0), (True, 0)]
    tidier = threading.Thread(target=c.pg.query, args=("""DO $$ BEGIN
        DELETE FROM limit_bucket WHERE name = 'tidied a';
        FOR i IN 1 .. 3000 LOOP
            EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted);
            PERFORM pg_sleep(0.02);
        END LOOP;
    END $$""",))
    tidier.start()
    wait_until(lambda: c.pg.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), 30, "it is deleted, but not yet gone")
    send(edge, 7, cost("tidied a", **limit), cost("tidied b", **limit), cost("tidied c", **limit))
    answer, _ = edge.receive("answer", 30)
    tidier.join()
    assert [state.fits for state in answer.limit_taken.states] == [True, True, True]
    for name, fits in (("tidied a", False), ("tidied b", False), ("tidied c", True)):  # two were taken, two, and one
        assert ask(edge, cost(name, **limit)) == [(fits, 0)]


def test_decisions_wait_for_nothing_else(c, node):
    """They have connections of their own, and where one of these waits for a bucket the other goes on with those who are many."""
    edge = node()
    waiting = lambda: [name for name, in c.pg.query("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'weir %' AND wait_event_type = 'Lock'")]
    with locked(c, "LOCK TABLE audit IN ACCESS EXCLUSIVE MODE"):
        edge.send(report=pb.Report(node=edge.name.encode(), worker=0, boot=edge.boot, batch=1, rows=[audit_row(new_id())]))
        wait_until(lambda: "weir coordinator-1" in waiting(), 30, "the report waits")
        assert ask(edge, cost("beside", burst=5, **DAY)) == [(True, 0)]
        assert "weir coordinator-1" in waiting()
    assert edge.receive("report_ack", 30)[0] is not None
    with locked(c, "DO $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext('weir limit'), hashtext('held up')); END $$"):
        send(edge, 1, cost("held up"))
        wait_until(lambda: "weir coordinator-1 limits1" in waiting(), 30, "the first decision waits")
        for number in range(40):  # what needs a bucket of the statement under way is held, so that it does not hold up the others
            if number % 4 == 0:
                send(edge, 2 + number // 4, cost("held up"), cost(f"free {number}"))
            send(edge, 100 + number, cost(f"free {number}"))
        answers = [edge.receive("answer", 30, lambda answer: answer.request >= 100)[0] for _ in range(40)]
        assert sorted(answer.request for answer in answers) == list(range(100, 140)) and all(answer.status == pb.ANSWER_OK for answer in answers)
    answers = [edge.receive("answer", 30)[0] for _ in range(11)]
    assert sorted(answer.request for answer in answers) == list(range(1, 12)) and all(answer.status == pb.ANSWER_OK for answer in answers)


class Hammer(threading.Thread):
    """Asks one coordinator for two buckets, in either order, many at once, until it is told to stop. Counts what it was given."""

    def __init__(self, node, odd):
        super().__init__(daemon=True)
        self.node, self.odd, self.stopping, self.given = node, odd, False, {"hot a": 0, "hot b": 0}

    def ask(self, number):
        names = ["hot a", "hot b"][:: -1 if (number + self.odd) % 2 else 1]
        send(self.node, number, *[cost(name, spare=number % 3) for name in names])

    def run(self):
        number = 0
        while number < 8:
            self.ask(number := number + 1)
        under_way = number
        while under_way > 0:
            answer, _ = self.node.receive("answer", 1)
            if answer is None and self.stopping:  # the dead one's
                return
            if answer is None:
                continue
            under_way -= 1
            states = answer.limit_taken.states
            if answer.status == pb.ANSWER_OK and all(state.fits for state in states):
                names = ["hot a", "hot b"][:: -1 if (answer.request + self.odd) % 2 else 1]
                for name, state in zip(names, states):
                    self.given[name] += 1 + state.spare
            if not self.stopping:
                self.ask(number := number + 1)
                under_way += 1


def test_s26_many_edges_and_coordinators_never_get_more_than_the_bucket_gives(c, node):
    clock = lambda: int(c.pg.query("SELECT limit_clock()")[0][0])
    hammers = [Hammer(node(edge, at), number) for number, (edge, at) in enumerate((edge, at) for edge in EDGES for at in c.names)]
    began = clock()
    for hammer in hammers:
        hammer.start()
    given = lambda: sum(hammer.given["hot a"] for hammer in hammers)
    wait_until(lambda: given() > 200, 60, "the buckets are empty")
    c.stop("coordinator-2", 9)
    at_death = given()
    for hammer in hammers:
        hammer.stopping = hammer.node.at == "coordinator-2"
    try:
        wait_until(lambda: given() > at_death + 100, 60, "the other coordinator goes on")
        for hammer in hammers:
            hammer.stopping = True
        for hammer in hammers:
            hammer.join(60 * PATIENCE)
            assert not hammer.is_alive()
        most = 50 + 100 * (clock() + 1 - began) / 1000
        for bucket in ("hot a", "hot b"):
            total = sum(hammer.given[bucket] for hammer in hammers)
            print(f"{bucket}: {total} given of {most:.0f}")
            assert total <= most
    finally:
        c.start("coordinator-2")
    log = c.log("coordinator-1")
    assert "limits:" not in log, log  # no deadlock, nothing refused by the database
