"""A coordinator that lost its database goes on publishing what it read last: no node may take that for news, whoever else is away."""
import os
import signal
import subprocess
import time

import weir
from weir import wait_until


def query(cluster, sql):
    done = subprocess.run(["psql", cluster.env["DATABASE_URL"], "-Atc", sql], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def relays(cluster, edge):
    try:
        return cluster.send(weir.message(), edge=edge).code == 250
    except ConnectionError:  # 421 and closed
        return False


def test_lagging_coordinator_brings_back_no_key_and_ends_no_drain(make_cluster):
    cluster = make_cluster(edges=2, scanners=2, coordinators=2, sets=["database_timeout=5m"])
    backend, = query(cluster, "SELECT pid FROM pg_stat_activity WHERE application_name = 'weir coordinator-2'")
    os.kill(int(backend), signal.SIGSTOP)
    try:
        cluster.weirctl("drain", "scanner-1")
        cluster.weirctl("keys", "revoke", "edge-1")
        # Its own word: what it tells a coordinator without a database may be nowhere else to be read.
        wait_until(lambda: "draining: " in cluster.log("scanner-1"), what="scanner-1 takes no new scans")
        wait_until(lambda: not relays(cluster, 1), what="the revoked edge scans nothing")
        os.kill(cluster.pid("coordinator-1"), signal.SIGSTOP)
        until = time.monotonic() + 13
        accepted = scanned = 0
        while time.monotonic() < until:
            accepted += relays(cluster, 1)
            assert relays(cluster, 2)
            scanned += 1
        assert accepted == 0, f"the revoked edge relayed {accepted} messages"
    finally:
        os.kill(int(backend), signal.SIGCONT)
        os.kill(cluster.pid("coordinator-1"), signal.SIGCONT)
    # What coordinators publish is the truth again, and nobody has scanned on the drained one meanwhile.
    wait_until(lambda: cluster.nodes()["scanner-1"]["state"] == "drained", what="still drained")
    wait_until(lambda: int(query(cluster, "SELECT count(*) FROM audit WHERE node = 'edge-2'")[0]) >= scanned, what="all in the audit")
    names = query(cluster, "SELECT DISTINCT scanner FROM audit WHERE node = 'edge-2' AND disposition = 'delivered'")
    assert names == ["scanner-2"], names
