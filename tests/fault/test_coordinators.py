"""Coordinators that die and hang while mail flows: nodes turn to another, and what must be done once is done once."""
import contextlib
import datetime
import json
import os
import random
import signal
import time

import pytest

import weir
from test_failover import Device
from weir import check_nothing_lost, wait_until

SEED = int(os.environ.get("WEIR_SEED", random.SystemRandom().randrange(1 << 32)))
NAMES = ["coordinator-1", "coordinator-2", "coordinator-3"]
NODES = ["edge-1", "edge-2", "scanner-1"]


@pytest.fixture(scope="module")
def cluster():
    made = weir.Cluster(edges=2, scanners=1, coordinators=3, sets=["log.format=json", "edge.workers=2", "database_session=5s", "relay_test_interval=30m"])
    try:
        yield made.up()
    finally:
        made.down()


def answering(cluster, node):
    """[(when, which port answers, worker)] as the node's processes said, the last ones last."""
    found = []
    for line in cluster.log(node).splitlines():
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            words = told.get("message", "").split()
            if words[:2] == ["node:", "coordinator"] and words[-1] == "answers":
                when = datetime.datetime.fromisoformat(told["time"].replace("Z", "+00:00")).timestamp()
                found.append((when, int(words[2].rsplit(":", 1)[1]), told.get("pid")))
    return found


def port(cluster, name):
    return cluster.base_port + 300 + 10 * int(name[-1])


def ready(cluster):
    for number in (1, 2, 3):
        wait_until(lambda n=number: cluster.http("/readyz", n)[0] == 200, 60, f"coordinator-{number} is ready")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=lambda how: how.name)
def test_nodes_use_another_within_a_second(cluster, how):
    """As they log it; what comes by direct hand-over and through the spool goes on."""
    ready(cluster)
    cluster.sink.clear()
    current = {node: dict((pid, at) for _, at, pid in answering(cluster, node)) for node in NODES}
    used = [at for processes in current.values() for at in processes.values()]
    victim = max(NAMES, key=lambda name: used.count(port(cluster, name)))
    concerned = [node for node in NODES if port(cluster, victim) in current[node].values()]
    device = Device(cluster, 1, door="HANDOFF")
    # With retries, as beside other tests a scanner may stall for other reasons; how many needed one is printed.
    load = cluster.load("--sessions", 8, "--rate", 60, "--seconds", 3600, "--retry", "--retry-for", 120)
    device.start()
    try:
        wait_until(lambda: cluster.sink.count() >= 50 and len(device.taken) >= 5, 60, "mail of both ways")
        began = time.time()
        cluster.kill(victim, how)
        took = {}
        for node in concerned:
            moved = wait_until(lambda n=node: [when for when, at, _ in answering(cluster, n) if when >= began and at != port(cluster, victim)], 60,
                               f"another coordinator of {node}")
            took[node] = max(moved) - began
        before = len(device.taken)
        wait_until(lambda: len(device.taken) >= before + 5, 60, "the spool takes mail")
        print(f"{how.name} of {victim}: " + ", ".join(f"{node} used another after {seconds:.2f} s" for node, seconds in took.items()))
    finally:
        device.ends.set()
        device.join()
        load.process.send_signal(signal.SIGTERM)
        cluster.kill(victim, signal.SIGCONT) if how == signal.SIGSTOP else cluster.start(victim)
    _, answers = load.result()
    assert {answer.code for answer in answers.values()} == {250}
    print(f"{sum(answer.attempts > 1 for answer in answers.values())} of {len(answers)} clients came twice")
    wait_until(lambda: cluster.query("SELECT count(*) FROM spool_message") == [["0"]], 90, "an empty spool")
    copies = {token: len(cluster.sink.with_token(token)) for token in device.taken}
    said = sum(cluster.log(f"edge-{number}").count(words) for number in (1, 2) for words in ("an earlier delivery", "second copy"))
    assert min(copies.values()) == 1 and sum(copies.values()) - len(copies) <= said, (copies, said)
    check_nothing_lost(cluster, answers)


# A row of `done` for each time that something was done.
COUNTED = """
CREATE TABLE done (what text, which text, by text DEFAULT current_setting('application_name'));
CREATE FUNCTION done_audit() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO done VALUES ('audit', OLD.id); RETURN NULL; END $f$;
CREATE FUNCTION done_relay() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO done VALUES ('relay', NEW.endpoint); RETURN NULL; END $f$;
CREATE FUNCTION done_fold() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO done VALUES ('fold', OLD.boot); RETURN NULL; END $f$;
CREATE TRIGGER done AFTER DELETE ON node_metrics FOR EACH ROW WHEN (OLD.boot BETWEEN 1 AND 1000) EXECUTE FUNCTION done_fold();
CREATE TRIGGER done AFTER DELETE ON audit FOR EACH ROW EXECUTE FUNCTION done_audit();
CREATE TRIGGER done AFTER UPDATE OF tested_at ON relay_test FOR EACH ROW WHEN (NEW.tested_at IS NOT NULL) EXECUTE FUNCTION done_relay();
"""
ROWS, PROCESSES = 15000, 200
# Rows that are due to go; processes of edge-1's first worker that ended long ago, each of which counted 1; listeners that are due to be tested.
DUE = f"""
INSERT INTO audit SELECT made.* FROM (SELECT audit AS row FROM audit LIMIT 1) AS like_this, generate_series(1, {ROWS}) AS n,
    jsonb_populate_record(like_this.row, jsonb_build_object('id', 'old-' || n, 'time', now() - interval '90 days')) AS made;
INSERT INTO node_process SELECT made.* FROM (SELECT node_process AS row FROM node_process WHERE node = 'edge-1' AND worker = 0 LIMIT 1) AS like_this,
    generate_series(1, {PROCESSES}) AS n, jsonb_populate_record(like_this.row,
        jsonb_build_object('boot', n, 'first_seen_at', now() - interval '1 hour', 'seen_at', now() - interval '50 minutes')) AS made;
INSERT INTO node_metrics (node, worker, boot, metrics) SELECT 'edge-1', 0, n, '[{{"n":"weir_duty_total","l":"","k":0,"v":1}}]' FROM generate_series(1, {PROCESSES}) n;
UPDATE relay_test SET tested_at = NULL, made_at = now() - interval '1 day', jitter = 0;
"""


def leader(cluster, hangs=None):
    """Who says so, of those that answer."""
    for number, name in enumerate(NAMES, 1):
        with contextlib.suppress(OSError):
            if name != hangs and cluster.metric("weir_leader", number) == 1:
                return name
    return None


def test_what_the_leader_does_is_done_once_however_they_flap(cluster):
    print(f"WEIR_SEED={SEED}")
    dice = random.Random(SEED)
    ready(cluster)
    cluster.send(weir.message())
    wait_until(lambda: cluster.query("SELECT count(*) FROM audit") != [["0"]], 30, "a row of the audit")
    listeners = int(wait_until(lambda: [row for row in cluster.query("SELECT count(*) FROM relay_test") if row != ["0"]], 60, "listeners to test")[0][0])
    cluster.query(COUNTED)
    cluster.query(DUE)

    def flap():
        """Mostly the one that leads."""
        victim = (dice.random() < 0.7 and leader(cluster)) or dice.choice(NAMES)
        how = dice.choice(["kill", "stop", "cut"])
        if how == "kill":
            cluster.kill(victim)
            time.sleep(dice.uniform(0, 0.3))
            cluster.start(victim, wait=False)
        elif how == "stop":
            cluster.kill(victim, signal.SIGSTOP)
            time.sleep(dice.uniform(0.2, 1))
            cluster.kill(victim, signal.SIGCONT)
        else:
            cluster.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'weir {victim}%'")
        return f"{how} {victim}"

    flaps = [flap() for _ in range(8)]
    ready(cluster)
    print(", ".join(flaps))
    wait_until(lambda: cluster.query("SELECT count(*) FROM audit WHERE id LIKE 'old-%'") == [["0"]], 120, "all old rows are gone")
    wait_until(lambda: cluster.query("SELECT count(*), count(DISTINCT which) FROM done WHERE what = 'fold'") == [[str(PROCESSES)] * 2], 60, "all is folded")

    def tested():
        """A result that was cut off leaves its listener with whoever tested it, for five minutes: they are over after one. Not of what is tested just now, which would be done twice."""
        cluster.query("UPDATE relay_test SET claimed_at = claimed_at - interval '5 minutes' WHERE claimed_at < clock_timestamp() - interval '60 s'")
        return cluster.query("SELECT count(DISTINCT which) FROM done WHERE what = 'relay'") == [[str(listeners)]]
    wait_until(tested, 120, "all listeners are tested")
    assert cluster.query("SELECT count(*), count(DISTINCT which) FROM done WHERE what = 'audit'") == [[str(ROWS)] * 2]
    assert cluster.query("SELECT count(*) FROM done WHERE what = 'relay'") == [[str(listeners)]], cluster.query("SELECT * FROM done WHERE what = 'relay'")
    for number in (1, 2, 3):
        wait_until(lambda n=number: cluster.metric("weir_duty_total", n) == PROCESSES, 30, f"the sum as coordinator-{number} tells it")
    print("by", cluster.query("SELECT what, by, count(*) FROM done GROUP BY 1, 2 ORDER BY 1, 2"))


def test_one_that_hangs_loses_the_lead(cluster):
    """Its machine still acknowledges TCP, so nothing but its silence tells."""
    first = wait_until(lambda: leader(cluster), 60, "a leader")
    began = time.monotonic()
    cluster.kill(first, signal.SIGSTOP)
    try:
        second = wait_until(lambda: leader(cluster, first), 60, "another leader")
        print(f"{second} leads {time.monotonic() - began:.1f} s after {first} began to hang (database_session = 5s)")
    finally:
        cluster.kill(first, signal.SIGCONT)
    wait_until(lambda: cluster.metric("weir_leader", int(first[-1])) == 0, 30, f"{first} knows")
    assert cluster.metric("weir_leader_terms_total", int(second[-1])) >= 1
    ready(cluster)
