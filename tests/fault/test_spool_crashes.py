"""The crash matrix of the spool: each kind of process is killed with a message in each state that a spooled one can be in. Nothing is lost, and
only what a next hop had taken comes a second time, which is said.

The states of one victim are made at the same time, in one cluster, and it dies once: a message waits in each of them. Its next hop holds it at a
command, its scan worker hangs, or the database has been told to wait in the middle of its transaction.
"""
import collections
import contextlib
import os
import re
import signal
import subprocess
import threading

import pytest

import weir
from hops import Hop
from weir import message, process_name, wait_until

VICTIMS = ["edge", "edge worker", "scanner", "coordinator", "postgres"]
STATES = {
    "storing": "the database has the message, not yet its commit; the client waits",
    "stored": "nobody has leased it",
    "scanning": "leased, its scan is under way",
    "leased": "the next hop has not answered for its sender",
    "recipients": "the next hop has not answered for its recipient",
    "data": "the next hop has not asked for the message",
    "taken": "the next hop has it and has not said so",
    "answered": "the next hop said 250, the database has not committed the edge's report",
}
LOCK = 4711
# Transactions of two messages wait for whoever has the lock, without holding up those of others.
WAIT_IN_THE_MIDDLE = f"""
    CREATE FUNCTION test_wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NEW; END';
    CREATE TRIGGER test_storing BEFORE INSERT ON spool_message FOR EACH ROW WHEN (NEW.sender = 'storing@example.org') EXECUTE FUNCTION test_wait();
    CREATE TRIGGER test_answered BEFORE INSERT ON audit FOR EACH ROW
        WHEN (NEW.recipient = 'answered@example.edu' AND NEW.disposition = 'delivered') EXECUTE FUNCTION test_wait()"""


class Wait:
    """Holds the lock that those transactions want."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.psql = subprocess.Popen(["psql", cluster.env["DATABASE_URL"], "-XAtq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, text=True)
        self.psql.stdin.write(f"SELECT pg_advisory_lock({LOCK});\n\\echo locked\n")
        self.psql.stdin.flush()
        assert "locked" in (self.psql.stdout.readline(), self.psql.stdout.readline().strip())

    def until_waiting(self, role):
        sql = (f"SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted"
               f" AND application_name LIKE 'weir % {role}'")
        wait_until(lambda: self.cluster.query(sql) == [["t"]], 15, f"a {role} in the middle of its transaction")

    def end(self):
        self.psql.kill()
        self.psql.communicate()


Story = collections.namedtuple("Story", "queue_id copies log")


class Crash:
    """All states at once, the death of one victim, and what became of each message."""

    def __init__(self, farm, hop, slow, victim):
        self.farm, self.hop, self.slow, self.victim = farm, hop, slow, victim
        self.ids, self.hung = {}, []
        self.answer = self.wait = None

    def send(self, state):
        domain = "slow.example.edu" if state == "leased" else "example.edu"
        self.ids[state] = self.farm.send(message(token=f"{state}-{self.victim}"), sender=f"{state}@example.org", recipients=[f"{state}@{domain}"]).queue_id
        assert self.ids[state]

    def send_storing(self):
        with contextlib.suppress(OSError):
            self.answer = self.farm.send(message(token=f"storing-{self.victim}"), sender="storing@example.org", recipients=["storing@example.edu"])

    def make_states(self):
        self.hop.pin("RCPT recipients@example.edu", "DATA data@example.edu", "DOT taken@example.edu", "DOT answered@example.edu")
        self.slow.hold, self.slow.waiting = {"MAIL"}, 0
        self.slow.gate.clear()
        self.leave_unscanned("stored", "scanning")
        for state in ("leased", "recipients", "data", "taken", "answered"):
            self.send(state)
        wait_until(lambda: set(self.hop.gates) <= set(self.hop.reached) and self.slow.waiting, 15, "a delivery at each gate")
        self.wait = Wait(self.farm)
        self.client = threading.Thread(target=self.send_storing)
        self.client.start()
        self.wait.until_waiting("store")
        self.hung = [pid for pid in weir.workers_of(self.farm, "scanner-1") if process_name(pid).startswith("weir-scan-")]
        for pid in self.hung:
            os.kill(pid, signal.SIGSTOP)
        self.farm.weirctl("queue", "release", self.ids["scanning"])
        wait_until(lambda: f"{self.ids['scanning']}: from=" in self.farm.log("edge-1"), 15, "the lease of what is to be scanned")
        self.hop.let_go("DOT answered@example.edu")
        self.wait.until_waiting("result")

    def leave_unscanned(self, *states):
        """In the spool, not scanned yet, and held there."""
        self.farm.stop("scanner-1")
        wait_until(lambda: self.farm.metric("weir_scanners_live") == 0, 10, "no scanner")
        for state in states:
            self.send(state)
            self.farm.weirctl("queue", "hold", self.ids[state])
            # A claim that was made when there was a scanner may have got it: its edge gives it back.
            sql = f"SELECT count(*) FROM spool_queue WHERE id = '{self.ids[state]}' AND held AND NOT leased"
            wait_until(lambda sql=sql: self.farm.query(sql) == [["1"]], 15, "not leased, and held")
        self.farm.start("scanner-1")
        wait_until(lambda: self.farm.metric("weir_scanners_live") == 1, 15, "the scanner")

    def strike(self):
        held = "SELECT count(*) FROM spool_queue WHERE leased AND due_at > clock_timestamp()"
        wait_until(lambda: self.farm.query(held) == [["6"]], 15, "leases of scanning, leased, recipients, data, taken and answered")
        if self.victim == "edge worker":
            worker, = [pid for pid in weir.family(self.farm.pid("edge-1"))[1:] if process_name(pid).startswith("weir-edge")]
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: weir.process_state(worker) in ("", "Z"), 15, "its end")
            return
        node = {"postgres": "postgres", "coordinator": self.farm.nodes()["edge-1"]["coordinator"]}.get(self.victim, f"{self.victim}-1")
        self.farm.kill(node)
        self.farm.start(node, wait=False)

    def let_go(self):
        for pid in self.hung:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.wait is not None:
            self.wait.end()
        self.hop.let_go()
        self.slow.hold = set()
        self.slow.gate.set()

    def conclude(self):
        self.farm.heal()
        self.client.join(60 * weir.PATIENCE)
        assert not self.client.is_alive()
        if self.answer is None:  # its server died: a client that is not told tries again
            self.send("storing")
        else:
            assert self.answer.code == 250, self.answer
            self.ids["storing"] = self.answer.queue_id
        self.farm.weirctl("queue", "release", self.ids["stored"])
        wait_until(lambda: self.farm.query("SELECT count(*) FROM spool_message") == [["0"]], 40, "an empty spool")
        wait_until(lambda: self.farm.metric("weir_conservation_difference") == 0, 15, "conservation")

    def story(self, state):
        log = self.farm.log("edge-1")
        bodies = self.hop.to(f"{state}@example.edu") + self.slow.to(f"{state}@slow.example.edu")
        copies = [re.search(rb"\bid ([0-9A-Z]{20})\b", body).group(1).decode() for body in bodies if f"{state}-{self.victim}".encode() in body]
        return Story(self.ids[state], copies, "\n".join(line for line in log.splitlines() if self.ids[state] in line))


@pytest.fixture(scope="module")
def place():
    hop, slow = Hop(), Hop()
    farm = weir.Cluster(edges=1, scanners=1, coordinators=2, next_hop=hop.endpoint,
                        sets=["profile=handoff", "spool_lease=10s", "spool_retry_max=1s", "next_hop_tls=none", "edge.workers=1", "scan_stall=60s",
                              "scan_wait=1s"])
    try:
        farm.up()
        table = farm.dir / "policy" / "mailertable"
        table.write_text(table.read_text() + f"slow.example.edu\tsmtp:[127.0.0.1]:{slow.server_address[1]}\n")
        (farm.dir / "policy" / "local-host-names").write_text("example.edu\nslow.example.edu\n")
        farm.weirctl("policy", "apply", str(farm.dir / "policy"))
        farm.query(WAIT_IN_THE_MIDDLE)
        yield farm, hop, slow
    finally:
        for server in (hop, slow):
            server.let_go()
            server.gate.set()
        farm.down()
        for server in (hop, slow):
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module", params=VICTIMS)
def crash(place, request):
    one = Crash(*place, request.param)
    try:
        one.make_states()
        one.strike()
    finally:
        one.let_go()
    one.conclude()
    return one


@pytest.mark.parametrize("state", STATES)
def test_killed(crash, state):
    queue_id, copies, log = crash.story(state)
    mine = copies.count(queue_id)
    print(f"{crash.victim} dies, {state}: {STATES[state]}\n{log}")
    assert mine >= 1, "lost"
    if state == "taken" and crash.victim.startswith("edge"):
        assert mine == 2 and f"{queue_id}: an earlier delivery" in log, "the unavoidable second copy, and it is said"
    elif state in ("taken", "answered") and crash.victim != "scanner":
        assert mine == 1 or (mine == 2 and "second copy" in log), "the report came in time, or it is said"
    else:
        assert mine == 1
    if state == "storing" and crash.answer is None:
        assert len(copies) - mine <= 1, "of what the client was not told of there is one copy at most"
    else:
        assert len(copies) == mine
