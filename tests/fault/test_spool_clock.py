"""The clock of the machines jumps: a lease ends by the database's clock, an edge believes in it by its own monotonic one, and the first end counts."""
import contextlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

import pg
import weir
from hops import Hop
from weir import message, wait_until

LIBRARY = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


class Clock:
    """The wall clock of what is started with its variables."""

    def __init__(self, folder):
        self.file = folder / "clock"
        self.jump(0)
        folder.chmod(0o755)
        self.variables = {"LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                          "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def jump(self, seconds):
        """That far from the true time."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(self.file)


def start_postgres(cluster, clock):
    """As deploy/cluster does, which gives it an empty environment."""
    folder = (cluster.dir / "postgres.path").read_text().strip()
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    variables = [f"{name}={value}" for name, value in clock.variables.items()]
    subprocess.run([*user, "env", *variables, f"{pg.programs()}/pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-w", "start"], cwd="/",
                   check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def hop():
    server = Hop()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


def handed_over(cluster, hop, token):
    """A message whose delivery waits at the next hop; which edge does it."""
    before = hop.waiting
    answer = cluster.send(message(token=token))
    assert answer.code == 250
    wait_until(lambda: hop.waiting > before, 15, "the delivery at the next hop")
    edge, = [name for name in ("edge-1", "edge-2") if f"{answer.queue_id}: from=" in cluster.log(name)]
    return answer.queue_id, edge


def logs(cluster):
    return cluster.log("edge-1") + cluster.log("edge-2")


@pytest.mark.skipif(LIBRARY is None or weir.SANITIZED, reason="needs libfaketime, which sanitizers do not bear")
def test_the_clock_jumps(make_cluster, hop, monkeypatch):
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "spool_lease=10s", "next_hop_tls=none"])
    clock = Clock(cluster.dir / "state")
    for node in ("edge-1", "edge-2", "coordinator-1", "postgres"):
        cluster.stop(node)
    start_postgres(cluster, clock)
    with monkeypatch.context() as changed:
        for name, value in clock.variables.items():
            changed.setenv(name, value)
        for node in ("coordinator-1", "edge-1", "edge-2"):
            cluster.start(node, wait=False)
    cluster.heal()
    clock.jump(60)
    assert 50 < float(cluster.query(f"SELECT extract(epoch FROM clock_timestamp()) - {time.time()}")[0][0]) < 70, "the database has this clock"

    # An hour forward: all leases are over at once. Whoever has one learns it, and what the next hop asks for then is not sent.
    hop.hold = {"RCPT"}
    queue_id, edge = handed_over(cluster, hop, "forward")
    clock.jump(3600)
    wait_until(lambda: f"{queue_id}: the lease is over, not delivered" in cluster.log(edge), 15, "the end of the lease")
    wait_until(lambda: hop.waiting >= 2, 15, "another delivery")
    hop.hold = set()
    hop.gate.set()
    wait_until(lambda: f"{queue_id}: removed" in logs(cluster), 20, "its end")
    assert len(hop.taken) == 1

    # An hour back: who is at work goes on, and when it dies its lease lasts no longer than others. Its destination sleeps until an hour later, or
    # until there is new mail for it.
    hop.hold = {"RCPT"}
    hop.gate.clear()
    queue_id, edge = handed_over(cluster, hop, "back")
    other = "edge-2" if edge == "edge-1" else "edge-1"
    clock.jump(0)
    sql = f"SELECT due_at - clock_timestamp() < '20 s' FROM spool_queue WHERE id = '{queue_id}' AND leased"
    wait_until(lambda: cluster.query(sql) == [["t"]], 30, "a renewal by the new time")
    hop.hold = set()
    for pid in weir.family(cluster.pid(edge)):
        with contextlib.suppress(ProcessLookupError):  # workers go with their master
            os.kill(pid, signal.SIGKILL)
    hop.gate.set()
    answer = cluster.send(message(token="after"), edge=int(other[-1]))
    assert answer.code == 250
    for one in (answer.queue_id, queue_id):
        wait_until(lambda one=one: f"{one}: removed" in cluster.log(other), 30, f"the end of {one} by the other edge")
    assert len(hop.taken) == 3
