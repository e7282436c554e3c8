"""The course of a set of signatures in SQL: scanners are rows here, so that what they say, and when, is certain. No coordinator runs."""
import pytest

from coordinators import Coordinators

SCANNERS = ("scanner-1", "scanner-2", "scanner-3")
STEP = "SELECT words FROM signature_step('1 hour', '0', '20 minutes', 5)"
WAITING = "SELECT node, held FROM turns_waiting('1 hour', '20 minutes', 1, 0)"


@pytest.fixture(scope="module")
def pg():
    made = Coordinators(1)
    try:
        for number, name in enumerate(SCANNERS):
            made.pg.query(f"""
                INSERT INTO node_key (key, name, role, added_by) VALUES (repeat('{number}', 64), '{name}', 'scanner', 'test');
                INSERT INTO node (name, role, state, lost) VALUES ('{name}', 'scanner', 'active', false);
                INSERT INTO node_process (node, worker, boot, seen_at, state, version, pid, in_flight, gc_done, policy_epoch, generation, signatures, endpoint, public_key,
                    coordinator, sequence, signature_state) VALUES ('{name}', 0, 1, clock_timestamp(), 'active', '', 1, 0, 0, 0, 1, '', '', '', 'coordinator-1', 1,
                    '{{"set": "", "failed": false, "number": 0, "why": ""}}')""")
        made.pg.query("INSERT INTO signature_file (hash, size, made_at) VALUES ('old', 0, '2026-01-01'), ('own', 0, '2026-01-15'), ('new', 0, '2026-02-01')")
        yield made.pg
    finally:
        made.close()


def course(pg, *steps):
    """What all of them answer, one after the other; nothing of it stays."""
    return [row[0] if len(row) == 1 else tuple(row) for row in pg.query("BEGIN; " + "; ".join(steps) + "; ROLLBACK")]


def add(name, files, doubts=()):
    """files: "main.cvd=new own.ndb=own"."""
    pairs = [one.split("=") for one in files.split()]
    names, hashes = (",".join(column) for column in zip(*pairs))
    return f"SELECT signature_add('coordinator-1', '{name}', '{{{names}}}', '{{{hashes}}}', '{{{','.join(doubts)}}}')"


def state(name, wanted):
    return f"UPDATE signature_set SET state = '{wanted}', passed_at = clock_timestamp() WHERE id = '{name}'"


def loaded(node, name):
    return f"""UPDATE node_process SET signature_state = '{{"set": "{name}", "failed": false, "number": 1, "why": ""}}' WHERE node = '{node}'"""


def started_again(node):
    return f"UPDATE node_process SET boot = boot + 1, state = 'starting', first_seen_at = clock_timestamp() WHERE node = '{node}'"


@pytest.mark.parametrize("files,doubts,expected", [
    ("own.ndb=own", [], "new"),                                   # no mirror of the configuration has it any more
    ("own.ndb=own", ["main.cvd"], "stale"),                       # it was never fetched here
    ("main.cvd=old own.ndb=own", ["main.cvd"], "stale"),          # it was fetched here long ago
    ("main.cvd=old own.ndb=own", ["own.ndb"], "new"),             # its mirror went back to that
    ("main.cvd=new own.ndb=own", ["main.cvd", "daily.cvd"], "new"),
    ("main.cld=new own.ndb=new", ["own.ndb"], "new"),
    ("main.cld=new", ["own.ndb"], "stale"),
    ("main.cld=new own.ndb=own", ["own.ndb"], "known"),
])
def test_a_mirror_that_failed_makes_no_set_older(pg, files, doubts, expected):
    wanted = "current" if expected == "known" else "other"
    assert course(pg, add("current", "main.cld=new own.ndb=own"), state("current", "current"), add(wanted, files, doubts)) == ["new", expected]


def test_a_set_of_before_comes_again_only_from_its_mirror(pg):
    old = "main.cvd=old own.ndb=own"
    before = (add("before", old), state("before", "retired"), add("current", "main.cvd=new own.ndb=own"), state("current", "current"))
    assert course(pg, *before, add("before", old, ["main.cvd", "daily.cvd"]), add("before", old)) == ["new", "new", "stale", "again"]


STEADY = "UPDATE signature_control SET steps_since = steps_since - interval '1 day'"  # for so long somebody has led
TRIED = (add("tried", "own.ndb=own"), STEP, loaded("scanner-1", "tried"), STEP, STEADY)
REFUSED = ("SELECT state, why FROM signature_set", "SELECT value FROM signature_gauges() WHERE name = 'refused'")


def test_a_canary_that_is_started_again_begins_its_trial_again_once(pg):
    again = (*TRIED, started_again("scanner-1"), STEP)
    assert course(pg, *again, STEP, "UPDATE node_process SET state = 'active'", STEP, STEP)[3:] == [
        "set tried: scanner-1 was started again, and tries it once more", "", "set tried: scanner-1 works with it, the others follow", ""]
    assert course(pg, *again, loaded("scanner-1", ""), STEP, started_again("scanner-1"), STEP, *REFUSED)[3:] == [
        "set tried: scanner-1 was started again, and tries it once more", "", "set tried is refused: scanner-1 ended with it",
        ("failed", "scanner-1 ended with it, after 1 that did"), "1"]


def away(node):
    return f"UPDATE node SET lost = true WHERE name = '{node}'"


def test_a_set_does_not_end_one_canary_after_the_other(pg):
    """Canaries that die and stay away, or come back, are counted together; then the third scanner never hears of the set."""
    told = "SELECT name FROM node WHERE signature_set = 'tried'"
    gauge = "SELECT value FROM signature_gauges() WHERE name = 'canary_ends'"
    first = (*TRIED, away("scanner-1"), STEP, gauge)
    assert course(pg, *first, away("scanner-2"), STEP, told, *REFUSED, STEP)[3:] == [
        "set tried: scanner-2 tries it", "1", "set tried is refused: scanner-2 went away with it", ("failed", "scanner-2 went away with it, after 1 that did"), "1", ""]
    assert course(pg, *first, started_again("scanner-2"), STEP, told, *REFUSED)[5:] == [
        "set tried is refused: scanner-2 ended with it", ("failed", "scanner-2 ended with it, after 1 that did"), "1"]
    more = STEP.replace("5)", "5, 3)")
    assert course(pg, *TRIED, away("scanner-1"), more, away("scanner-2"), more, gauge, away("scanner-3"), more, "UPDATE node SET lost = false", more)[3:] == [
        "set tried: scanner-2 tries it", "set tried: scanner-3 tries it", "2", "", ""], "the last one is alone: nobody knows yet whether it is dead"
    assert course(pg, *TRIED, away("scanner-1"), STEP.replace("5)", "5, 1)"), told)[3:] == ["set tried is refused: scanner-1 went away with it"]


def test_a_canary_that_is_told_to_stop_ended_by_no_set(pg):
    stopped = "UPDATE node_process SET state = 'drained' WHERE node = 'scanner-1'"
    assert course(pg, *TRIED, stopped, away("scanner-1"), STEP, "SELECT canary_ends FROM signature_set")[3:] == ["set tried: scanner-2 tries it", "0"]


def test_a_set_that_failed_by_its_canaries_is_tried_anew(pg):
    ends = "SELECT canary_ends FROM signature_set"
    assert course(pg, *TRIED, away("scanner-1"), STEP, away("scanner-2"), STEP, ends, "SELECT status FROM admin_signatures_update('test', true, '1 hour')", ends)[5:] == ["2", "0", "0"]


def test_the_time_to_load_is_not_counted_while_nobody_steps(pg):
    told = (add("tried", "own.ndb=own"), STEP, "UPDATE node SET signature_since = signature_since - interval '1 day'")
    away = "UPDATE signature_control SET stepped_at = stepped_at - interval '2 hours', steps_since = steps_since - interval '1 day'"
    assert course(pg, *told, away, STEP, STEP)[2:] == ["", ""]
    assert course(pg, *told, away, "UPDATE node SET lost = name = 'scanner-1'", STEP, "SELECT canary FROM signature_set")[2:] == ["", "scanner-1"], "it may be heard again"
    assert course(pg, *told, STEADY, STEP)[2:] == ["set tried is refused: scanner-1 has not loaded it in time"]


def test_a_set_and_housekeeping_do_not_change_two_scanners(pg):
    turn = "INSERT INTO turn (node, reason, state, cause, given) VALUES ('scanner-3', 'gc', 'running', 'test', 1)"
    waits = "SELECT turn_ask('scanner-2', 'gc', 'test')"
    over = "UPDATE turn SET state = 'idle' WHERE state = 'running'"
    long_ago = "UPDATE signature_control SET turn_wanted_at = turn_wanted_at - interval '1 hour'"
    assert course(pg, add("tried", "own.ndb=own"), turn, waits, STEP, over, WAITING, STEP, long_ago, WAITING, loaded("scanner-1", "tried"), WAITING)[2:] == [
        "", ("scanner-2", "turn"), "set tried: scanner-1 tries it", ("scanner-2", "turn"), ("scanner-2", "")], "the set is before the next turn"
    rolling = (add("tried", "own.ndb=own"), state("tried", "rolling"))
    assert course(pg, *rolling, turn, STEP, "SELECT count(*) FROM node WHERE signature_set <> ''", over, STEP, "SELECT name FROM node WHERE signature_set <> ''", STEP,
                  "SELECT count(*) FROM node WHERE signature_set <> ''")[1:] == ["", "0", "", "scanner-1", "", "1"]


def credits(node, free):
    return f"""INSERT INTO node_metrics (node, worker, boot, metrics) VALUES ('{node}', 0, 1, '[{{"n": "weir_scanner_credits", "v": {free}}}]')"""


def test_S28_what_was_tried_all_load_at_once_as_far_as_the_load_lets_them(pg):
    """Up to signature_loads; what they have at work must have room at those that load nothing."""
    told = "SELECT string_agg(name, ' ' ORDER BY name) FROM node WHERE signature_set = 'tried'"
    loading = "SELECT value FROM signature_gauges() WHERE name = 'loading'"
    step = STEP.replace("5)", "5, 2, %d)")
    rolling = (add("tried", "own.ndb=own"), state("tried", "rolling"), loaded("scanner-1", "tried"))
    assert course(pg, *rolling, step % 8, told, loading, *(loaded(name, "tried") for name in SCANNERS[1:]), step % 8, loading)[1:] == [
        "", "scanner-1 scanner-2 scanner-3", "2", "set tried is current", "0"]
    assert course(pg, *rolling, step % 1, told, step % 1, told, loaded("scanner-2", "tried"), step % 1, told)[1:] == [
        "", "scanner-1 scanner-2", "", "scanner-1 scanner-2", "", "scanner-1 scanner-2 scanner-3"]
    busy = "UPDATE node_process SET in_flight = 3 WHERE node <> 'scanner-1'"
    for free, expected in ((5, "scanner-1 scanner-2"), (6, "scanner-1 scanner-2 scanner-3")):
        assert course(pg, *rolling, busy, credits("scanner-1", free), step % 8, told)[2:] == [expected], free
    assert course(pg, *rolling, busy, credits("scanner-1", 2), step % 8, told)[2:] == ["scanner-1"]


def test_a_scanner_that_is_lost_while_it_waits_has_not_failed(pg):
    failed = "SELECT failed FROM turns_sums()"
    end = "SELECT result FROM turns_end('1 hour', '20 minutes') AS e(node, reason, cause, result, seconds)"
    lost = "UPDATE node SET lost = true WHERE name = 'scanner-3'"
    assert course(pg, "SELECT turn_ask('scanner-3', 'gc', 'test')", lost, end, "SELECT state, result FROM turn", failed) == ["1", ("idle", "cancelled"), "0"]
    turn = "INSERT INTO turn (node, reason, state, cause, given, gc) VALUES ('scanner-3', 'gc', 'running', 'test', 1, 1)"
    assert course(pg, turn, lost, end, failed, "UPDATE node SET lost = false", failed) == ["lost", "1", "0"], "and one that is back has a new generation"
