"""A large message with several chunks under way at a time, into the spool and out of it, when the coordinator that has them all dies."""
import threading

import weir
from hops import Hop
from test_spool_crashes import LOCK, Wait
from weir import message, wait_until

CHUNK = 1024 * 1024
AHEAD = CHUNK
# Whoever stores or reads the third chunk waits for the lock.
WAIT_AT_THE_THIRD = f"""
    CREATE FUNCTION test_wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NEW; END';
    CREATE TRIGGER test_third BEFORE INSERT ON spool_body FOR EACH ROW WHEN (NEW.position = {2 * CHUNK}) EXECUTE FUNCTION test_wait();
    ALTER FUNCTION spool_fetch(text[], bigint[]) RENAME TO test_fetch;
    CREATE FUNCTION spool_fetch(wanted text[], starts bigint[]) RETURNS TABLE (place integer, size bigint, data bytea) LANGUAGE plpgsql AS
        'BEGIN
            IF {2 * CHUNK} = ANY (starts) THEN
                PERFORM pg_advisory_xact_lock_shared({LOCK});
            END IF;
            RETURN QUERY SELECT * FROM test_fetch(wanted, starts);
        END'"""


def coordinator_dies(cluster, role, begin):
    """While a transaction of this role waits at the third chunk, and all that may be asked ahead was."""
    wait = Wait(cluster)
    try:
        begin()
        wait.until_waiting(role)
        wait_until(lambda: any(cluster.metric("weir_edge_spool_ahead_bytes", number) == AHEAD for number in (1, 2)), 30, "chunks asked ahead")
        (name,), = cluster.query("SELECT split_part(application_name, ' ', 2) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                                 f" WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted")
        cluster.kill(name)
    finally:
        wait.end()
    cluster.start(name)


def test_coordinator_dies_with_chunks_under_way():
    hop = Hop()
    cluster = weir.Cluster(edges=1, scanners=1, coordinators=2, next_hop=hop.endpoint,
                           sets=["profile=handoff", "edge.workers=1", "scan_wait=100ms", f"spool_ahead={AHEAD}", "spool_lease=1m"])
    raw, answers = message(token="ahead", size=9 * CHUNK + 17), []
    client = threading.Thread(target=lambda: answers.append(cluster.send(raw)))
    try:
        cluster.up()
        cluster.query(WAIT_AT_THE_THIRD)
        cluster.stop("scanner-1")
        coordinator_dies(cluster, "store", client.start)
        client.join(60 * weir.PATIENCE)
        assert answers[0].code == 250
        coordinator_dies(cluster, "lease", lambda: cluster.start("scanner-1"))
        wait_until(lambda: hop.to("alice@example.edu"), 60, "the delivery")
        wait_until(lambda: cluster.query("SELECT count(*) FROM spool_message") == [["0"]], 40, "an empty spool")
        body, = hop.to("alice@example.edu")
        assert weir.strip_added(body) == raw
        wait_until(lambda: cluster.metric("weir_edge_spool_ahead_bytes") == 0, 15, "nothing ahead")
        wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 15, "conservation")
    finally:
        cluster.down()
        hop.shutdown()
        hop.server_close()
