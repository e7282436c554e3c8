"""PostgreSQL with a standby that takes over: `database` names both servers, commits wait for both, and the first one is gone, and comes back
as if nothing had been."""
import contextlib
import itertools
import subprocess
import threading

import pytest

from hops import Hop
from pg import Session, Standby
from weir import message, wait_until

RECIPIENT = "alice@example.edu"


class Device(threading.Thread):
    """Hands in one message after the other, and none a second time; what it was told is taken is in `taken`."""

    def __init__(self, cluster, edge, pause=0.05, door="RELAY"):
        super().__init__(daemon=True)
        self.cluster, self.edge, self.pause, self.door = cluster, edge, pause, door
        self.taken, self.refused, self.ends = [], 0, threading.Event()

    def run(self):
        for number in itertools.count():
            if self.ends.wait(self.pause):
                return
            token = f"failover-{self.edge}-{number}-"
            with contextlib.suppress(OSError, AssertionError):  # and MAIL may be refused
                if self.cluster.send(message(token=token), edge=self.edge, recipients=[RECIPIENT], door=self.door).code == 250:
                    self.taken.append(token)
                    continue
            self.refused += 1


@pytest.fixture
def hop():
    server = Hop()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cluster(make_cluster, hop):
    """With a standby: cluster.standby."""
    made = make_cluster(edges=2, scanners=1, coordinators=2, next_hop=hop.endpoint, sets=["profile=handoff", "next_hop_tls=none", "database_timeout=5s"])
    first = (made.dir / "postgres.path").read_text().strip()
    made.standby = Standby(first, ["max_connections=120"])
    try:
        made.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        made.query("SELECT pg_reload_conf()")
        wait_until(lambda: made.query("SELECT sync_state FROM pg_stat_replication") == [["sync"]], 30, "a standby that commits wait for")
        (made.dir / "database").write_text(f"host={first},{made.standby.dir} dbname=weir user=weir target_session_attrs=read-write\n")
        for name in ("coordinator-1", "coordinator-2"):
            made.stop(name)
            made.start(name)
        yield made
    finally:
        made.standby.remove()


def goes_on(devices):
    before = [len(device.taken) for device in devices]
    wait_until(lambda: all(len(device.taken) >= taken + 20 for device, taken in zip(devices, before)), 60, "mail goes on at both edges")


def nothing_is_taken_that_no_standby_has(cluster):
    """A commit whose wait for the standby is cancelled is a commit, says PostgreSQL."""
    def wait_for(standbys, state):
        cluster.query(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'")
        cluster.query("SELECT pg_reload_conf()")
        wait_until(lambda: cluster.query("SELECT sync_state FROM pg_stat_replication") == [[state]], 30, f"a standby that is {state}")

    # A worker of an edge that does not know yet that coordinators are back would do without the spool, and the next hop take it or not.
    wait_until(lambda: all(cluster.send(message(token="first-"), recipients=[RECIPIENT]).code == 250 for _ in range(20)), 60, "messages that are stored, whoever takes them")
    wait_for("nobody", "async")
    answers = []
    client = threading.Thread(target=lambda: answers.append(cluster.send(message(token="alone-"), recipients=[RECIPIENT])))
    client.start()
    cancelled = 0

    def is_answered():
        nonlocal cancelled
        cancelled += operator.do("SELECT pg_stat_clear_snapshot(); SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").count("t")
        return not client.is_alive()

    with Session(cluster.env["DATABASE_URL"]) as operator:  # one, as connecting may take longer than database_timeout on a busy machine
        wait_until(is_answered, 60, "an answer")
    assert cancelled and 400 <= answers[0].code < 500, (cancelled, answers)
    wait_for("*", "sync")


def former_primary_comes_back(cluster, devices):
    """Nobody fenced it, and it waits for no standby: it takes whatever it is given, and all of that would be lost."""
    cluster.start("postgres")
    former = (cluster.dir / "postgres.path").read_text().strip()

    def ask(sql):
        return subprocess.run(["psql", f"host={former} dbname=weir user=weir", "-XAtqc", sql], capture_output=True, text=True, check=True).stdout.split()

    ask("ALTER SYSTEM SET synchronous_standby_names = ''")
    ask("SELECT pg_reload_conf()")
    count = ask("SELECT count(*) FROM spool_message")

    def looked(name):
        if "is a former primary" in cluster.log(name):
            return True
        cluster.standby.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'weir {name}%'")
        return False

    # Those who lose their connections begin with the other server each time. They have seen the new primary.
    for name in ("coordinator-1", "coordinator-2"):
        wait_until(lambda n=name: looked(n), 60, f"{name} looks at the former primary")
    goes_on(devices)

    # One that has seen neither believes the first it meets, until nodes that have heard of the other tell it. Then it uses the other.
    cluster.stop("coordinator-2")
    known = len(cluster.log("coordinator-2"))
    cluster.start("coordinator-2")

    def said():
        return cluster.log("coordinator-2")[known:]

    for node in ("edge-1", "edge-2", "scanner-1"):
        wait_until(lambda n=node: "is not believed, its database is a former primary" in cluster.log(n), 60, f"{node} hears of it")
    wait_until(lambda: "has heard of" in said() and "is a former primary (" in said(), 60, "coordinator-2 hears of its successor")
    wait_until(lambda: cluster.http("/readyz", 2)[0] == 200 and cluster.standby.query(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'weir coordinator-2%'") == [["t"]], 60, "coordinator-2 uses the successor")
    assert cluster.metric("weir_db_former_primaries_told_total", 2, node="coordinator-2") >= 1
    goes_on(devices)
    assert ask("SELECT count(*) FROM spool_message") == count


def test_a_standby_takes_over_and_has_all_that_was_acknowledged(cluster, hop):
    hop.refuse[RECIPIENT] = "450 4.2.0 not yet"  # so nobody has it but the database
    nothing_is_taken_that_no_standby_has(cluster)
    devices = [Device(cluster, edge) for edge in (1, 2)]
    for device in devices:
        device.start()
    try:
        wait_until(lambda: all(len(device.taken) >= 20 for device in devices), 60, "mail in the spool")
        cluster.kill("postgres")
        before = [(len(device.taken), device.refused) for device in devices]
        wait_until(lambda: all(device.refused > refused for device, (_, refused) in zip(devices, before)), 60, "clients who are told to come again")
        cluster.standby.promote()
        goes_on(devices)
        for number in (1, 2):  # both have seen the new primary
            wait_until(lambda n=number: cluster.http("/readyz", n)[0] == 200, 60, f"coordinator-{number} has its database")
        former_primary_comes_back(cluster, devices)
    finally:
        for device in devices:
            device.ends.set()
        for device in devices:
            device.join()
    hop.refuse.clear()
    taken = [token for device in devices for token in device.taken]
    wait_until(lambda: cluster.standby.query("SELECT count(*) FROM spool_message") == [["0"]], 90, "an empty spool")
    bodies = hop.to(RECIPIENT)
    copies = {token: sum(token.encode() in body for body in bodies) for token in taken}
    assert set(copies.values()) == {1}, {token: count for token, count in copies.items() if count != 1}
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 30, "conservation")
    print(f"{len(taken)} acknowledged, all there, each once; {sum(device.refused for device in devices)} told to come again; {len(bodies)} delivered")
