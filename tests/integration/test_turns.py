"""Scanners make new generations in turn: coordinators and a real PostgreSQL, with scanners made in Python that say what they are told to."""
import json
import signal
import subprocess

import pytest

from coordinators import BIN, Coordinators, pb, wait_until

NAMES = ("scanner-1", "scanner-2", "scanner-3")
HOURS = 3600 * 1000
MIB = 1 << 20


class Farm:
    """Three scanners of four workers each. work() lets each tell of itself; what was asked of it takes it from one call to the next."""

    def __init__(self, two):
        self.two = two
        self.leader = wait_until(lambda: next((name for name in two.names if two.metric(f'weir_leader{{node="{name}"}}', name) == 1), None), 30, "a leader")
        self.other = next(name for name in two.names if name != self.leader)
        self.nodes = {name: two.node(name, "scanner", at=self.other) for name in NAMES}
        for node in self.nodes.values():
            assert node.hello() is not None
        self.done = {name: gc for name, gc in self.wanted().items()}
        self.use = {name: {} for name in NAMES}
        self.lazy, self.silent, self.most, self.order = set(), set(), 0, []
        wait_until(lambda: self.work() and all(self.row(name)["state"] == "active" and not self.row(name)["lost"] for name in NAMES), 30, "active scanners")

    def wanted(self):
        return {name: int(gc) for name, gc in self.two.pg.query("SELECT name, gc FROM node WHERE role = 'scanner'")}

    def row(self, name):
        return next(s for s in self.status()["scanners"] if s["name"] == name)

    def status(self):
        return self.two.json("gc", "status")

    def turns(self):
        return {turn["node"]: turn for turn in self.status()["turns"]}

    def running(self):
        return [name for name, in self.two.pg.query("SELECT DISTINCT node FROM turn WHERE state = 'running'")]

    def work(self):
        """What each was told to do last time is done now."""
        running = self.running()
        self.most = max(self.most, len(running))
        self.order += [name for name in running if self.order[-1:] != [name]]
        for name, node in self.nodes.items():
            if name not in self.silent:
                use = {"small_workers": 4, "large_workers": 1, "memory": 500 * MIB, "memory_loaded": 500 * MIB, "serving_ms": HOURS, **self.use[name]}
                node.beat(gc_done=self.done[name], generation=self.done[name] + 1, use=pb.ScannerUse(**use))
        for name, gc in self.wanted().items():
            if name not in self.lazy:
                self.done[name] = gc
        return True

    def until(self, condition, what):
        return wait_until(lambda: self.work() and condition(), 30, what)

    def ctl(self, *words):
        return subprocess.Popen([BIN / "weirctl", "-c", self.two.config("operator"), "--json", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ended(self, process, what):
        """(status, answer, words); the farm works meanwhile."""
        self.until(lambda: process.poll() is not None, what)
        out, words = process.communicate()
        return process.returncode, json.loads(out) if out else None, words

    def close(self):
        for node in self.nodes.values():
            node.close()
        self.two.pg.query("DELETE FROM turn")


@pytest.fixture(scope="module")
def two():
    sets = ("gc_memory_growth = 256MiB", "gc_messages = 1000000", "gc_schedule = 20h", "turn_timeout = 1h")
    with Coordinators(2, sets) as made:
        common = made.dir / "common.conf"
        common.write_text(common.read_text().replace("node_timeout = 5s", "node_timeout = 12s"))  # a busy machine must not lose them between two steps
        made.start()
        for name in NAMES:
            made.add_key(name, "scanner")
        yield made


@pytest.fixture
def farm(two):
    made = Farm(two)
    yield made
    made.close()


def test_all_have_their_turn_one_after_the_other_whoever_leads(two, farm):
    before = farm.wanted()
    asking = farm.ctl("gc", "--all", "--wait")
    farm.lazy = {"scanner-2"}
    farm.until(lambda: farm.running() == ["scanner-2"], "the second one's turn")
    for _ in range(3):
        farm.work()
    assert farm.running() == ["scanner-2"] and farm.turns()["scanner-3"]["held"] == "turn", "it waits until the second has a new generation"
    at_once = lambda most: two.pg.query(f"SELECT held FROM turns_waiting('1 min', '1 h', {most}, 25) WHERE node = 'scanner-3'")
    assert at_once(1) == [["turn"]] and at_once(2) == [[""]], "max_unavailable"
    two.stop(farm.leader, signal.SIGKILL)
    wait_until(lambda: farm.work() and two.metric(f'weir_leader{{node="{farm.other}"}}', farm.other) == 1, 60, "another leader")
    farm.lazy = set()
    status, answer, words = farm.ended(asking, "gc of all")
    two.start(farm.leader)
    assert status == 0, words
    assert farm.most == 1 and farm.order == list(NAMES)
    assert farm.wanted() == {name: gc + 1 for name, gc in before.items()}, "one new generation each, though the leader changed"
    assert [turn["result"] for turn in answer["turns"]] == ["done"] * 3 and [one["name"] for one in answer["scanners"]] == list(NAMES)
    assert "scanner-2 makes a new generation\n" in words and "scanner-3 waits for its turn\n" in words and words.endswith("scanner-3 done\n"), words
    assert two.json("history")[-1]["target"] == "all"


def test_a_turn_waits_until_the_others_can_do_the_work(farm, two):
    for name in NAMES:
        farm.use[name] = {"small_busy": 250}  # 7.5 of 12 workers; two scanners have 8, and 6 without the margin
    before = farm.wanted()
    farm.until(lambda: all(farm.row(name)["small_busy"] == 250 for name in NAMES), "that the database has heard it")
    two.ctl("gc", "--rolling", "scanner-2")
    farm.until(lambda: farm.turns()["scanner-2"]["held"] == "load", "that it is held")
    left = lambda margin: two.pg.query(f"SELECT held FROM turns_waiting('1 min', '1 h', 1, {margin}) WHERE node = 'scanner-2'")
    assert left(0) == [[""]] and left(25) == left(99) == [["load"]], "turn_margin"
    farm.until(lambda: two.metric(f'weir_housekeeping_held_by_load{{node="{farm.leader}"}}', farm.leader) == 1, "the metric")
    assert farm.wanted() == before
    assert "the others could not do its work (gc, operator)" in two.ctl("gc", "status")
    for name in NAMES:
        farm.use[name] = {"small_busy": 200, "large_busy": 60}  # small mail fits now, but 1.8 workers for large mail do not into 2 less the margin
    for _ in range(12):
        farm.work()
    assert farm.wanted() == before and farm.turns()["scanner-2"]["held"] == "load"
    alone = "BEGIN; DELETE FROM node_key WHERE name IN ('scanner-1', 'scanner-3'); SELECT node, held FROM turns_waiting('1 min', '1 h', 1, 25); ROLLBACK"
    assert two.pg.query(alone) == [["scanner-2", ""]], "the only one would wait for ever"
    there = "BEGIN; UPDATE node SET lost = name = 'scanner-1', drain = name = 'scanner-3'; SELECT node, held FROM turns_waiting('1 min', '1 h', 1, 25); ROLLBACK"
    assert two.pg.query(there) == [["scanner-2", ""]], "so would the only one that is there"
    for name in NAMES:
        farm.use[name] = {"small_busy": 200, "large_busy": 50}
    farm.until(lambda: farm.turns()["scanner-2"]["result"] == "done", "its turn")
    assert farm.wanted() == {**before, "scanner-2": before["scanner-2"] + 1}


def test_the_leader_asks_by_memory_messages_and_schedule(farm):
    farm.use = {"scanner-1": {"memory": 756 * MIB}, "scanner-2": {"scanned": 1000000}, "scanner-3": {"serving_ms": 21 * HOURS}}

    def all_done():
        for name in farm.running():
            farm.use[name] = {}  # a new generation has none of that
        turns = farm.turns()
        return len(turns) == 3 and all(turn["result"] == "done" and turn["state"] == "idle" for turn in turns.values())
    farm.until(all_done, "three turns")
    assert {name: turn["cause"] for name, turn in farm.turns().items()} == {"scanner-1": "memory", "scanner-2": "messages", "scanner-3": "schedule"}
    assert farm.most == 1


def test_a_turn_ends_with_a_scanner_that_is_lost_or_too_slow(two, farm):
    farm.lazy = set(NAMES)
    asking = farm.ctl("gc", "--all", "--wait")
    farm.until(lambda: farm.running() == ["scanner-1"], "the first turn")
    two.pg.query("UPDATE turn SET began_at = began_at - interval '1 hour' WHERE node = 'scanner-1'")
    two.pg.query("UPDATE node SET gc_at = gc_at - interval '1 hour' WHERE name = 'scanner-1'")
    farm.until(lambda: farm.running() == ["scanner-2"], "the second turn, though the first has no new generation")
    farm.silent = {"scanner-2"}
    farm.until(lambda: farm.turns()["scanner-2"]["result"] == "lost", "that it is lost")
    farm.lazy = set()
    status, _, words = farm.ended(asking, "gc of all")
    assert status == 75 and words.endswith("no new generation: scanner-1 timeout, scanner-2 lost\n"), words
    farm.until(lambda: two.metric(f'weir_housekeeping_failed{{node="{farm.leader}"}}', farm.leader) == 2, "the alert")
    refused = two.run_ctl("gc", "--rolling", "scanner-2")
    assert refused.returncode == 75 and "lost" in refused.stderr
    farm.silent = set()
    farm.until(lambda: not farm.row("scanner-2")["lost"], "it is back")
    farm.until(lambda: two.metric(f'weir_housekeeping_failed{{node="{farm.leader}"}}', farm.leader) == 1, "that only the one that is too slow is told of")
    assert farm.ended(farm.ctl("gc", "--all", "--wait"), "gc of all")[0] == 0
    farm.until(lambda: two.metric(f'weir_housekeeping_failed{{node="{farm.leader}"}}', farm.leader) == 0, "the end of the alert")


def test_requests_have_numbers(two, farm):
    def ask_twice():
        one, other = two.pg.query("BEGIN; SELECT turn_ask('scanner-1', 'gc', 'test'); SELECT turn_ask('scanner-1', 'gc', 'test'); COMMIT")
        assert one == other, "it is the same request while it waits"
        return int(one[0])

    before = farm.wanted()["scanner-1"]
    farm.lazy = {"scanner-1"}
    first = ask_twice()
    farm.until(lambda: farm.running() == ["scanner-1"], "its turn")
    assert ask_twice() == first + 1, "one more turn, as this one may have begun before what the second is for"
    farm.lazy = set()
    farm.until(lambda: farm.turns()["scanner-1"]["given"] == first + 1 and farm.turns()["scanner-1"]["state"] == "idle", "the second turn")
    assert farm.wanted()["scanner-1"] == before + 2


def test_turns_that_did_not_begin_can_be_cancelled(two, farm):
    farm.lazy = set(NAMES)
    two.ctl("gc", "--all")
    farm.until(lambda: farm.running() == ["scanner-1"], "the first turn")
    assert two.json("gc", "cancel")["cancelled"] == 2
    farm.lazy = set()
    farm.until(lambda: farm.turns()["scanner-1"]["result"] == "done", "its end")
    assert [farm.turns()[name]["result"] for name in NAMES] == ["done", "cancelled", "cancelled"]
    assert two.json("gc", "cancel")["cancelled"] == 0
    for words, status, said in ((("gc", "--rolling", "coordinator-1"), 65, "only scanners"), (("gc", "--rolling", "scaner-1"), 65, "did you mean scanner-"),
                                (("gc", "--all", "scanner-1"), 64, "or --all"), (("gc",), 64, "or --all")):
        done = two.run_ctl(*words)
        assert done.returncode == status and said in done.stderr, f"{words}: {done.returncode} {done.stderr}"
