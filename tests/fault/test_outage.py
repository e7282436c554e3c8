"""PostgreSQL is away for long, hanging or shut down, while mail flows: direct mail goes on as if nothing were, devices' mail is delivered in its
session, people are told to come again, limits are each worker's own, memory stays bounded; when it is back all else comes back without a hand, and
the books are right.

WEIR_OUTAGE_SECONDS is how long, WEIR_OUTAGE_RATE how many messages a second; memory is printed.
"""
import base64
import os
import time

import pytest

import test_state
import weir
from books import check_all_arrived, check_nothing_left
from weir import Smtp, message, wait_until

SECONDS = float(os.environ.get("WEIR_OUTAGE_SECONDS", 5))
RATE = int(os.environ.get("WEIR_OUTAGE_RATE", 20))
NODES = ["edge-1", "scanner-1", "coordinator-1", "coordinator-2"]
# The row of a message that waits at its edge to be written down may have this much, and what a process takes for itself meanwhile is no matter of how long it lasts.
ROW_KIB, GROWTH_KIB = 2, 24 << 10


@pytest.fixture(scope="module")
def site():
    made = weir.Cluster(edges=1, scanners=1, coordinators=2, sets=["edge.workers=1", "database_timeout=2s", "spool_timeout=1s", "spool_retry_max=2s",
                                                                   "spool_leftover=5s", "next_hop_tls=none"])
    try:
        made.up()
        (made.dir / "policy/limits").write_text("inbound client messages 3/day\n")
        made.apply_policy()
        yield made
    finally:
        made.down()


def take_away(site, how):
    """PostgreSQL; returns what brings it back."""
    if how == "shut down":
        site.stop("postgres")
        return lambda: site.start("postgres")
    pids = test_state.postgres_pids(site)
    test_state.send_signal(pids, weir.signal.SIGSTOP)
    return lambda: test_state.send_signal(pids, weir.signal.SIGCONT)


def memory(site):
    return {node: weir.memory_kib(site.pid(node)) for node in NODES}


def logged_in(site):
    client = Smtp(site.env["EDGE_1_SUBMISSION"])
    client.starttls(site.env["CA_FILE"])
    answer = client.command("AUTH PLAIN " + base64.b64encode(b"\0alice@example.edu\0wonderland").decode())
    if answer.code != 235:
        client.close()
        raise ValueError(answer)
    return client


def hand_in(client, sender="alice@example.edu"):
    assert [answer.code for answer in client.envelope(sender=sender)] == [250]
    return client.data(message())


def ask(site, source):
    with Smtp(site.relay(), source) as client:
        return client.command("MAIL FROM:<sender@example.org>").code


@pytest.fixture
def loads(site):
    """Direct mail, and that of devices."""
    site.sink.clear()
    patient = ["--sessions", 4, "--seconds", 36000, "--own-recipients", "--retry", "--retry-for", 300]
    made = [site.load(*patient, "--rate", rate, to=site.env[f"EDGE_1_{door}"]) for door, rate in (("RELAY", RATE), ("HANDOFF", max(1, RATE // 4)))]
    yield made
    for load in made:
        load.process.kill()
        load.process.communicate()


@pytest.mark.parametrize("how", ["hangs", "shut down"])
def test_outage(site, loads, how):
    with logged_in(site) as person:
        wait_until(lambda: site.sink.count() >= RATE, 30, "mail flows")
        before, pids = memory(site), {node: weir.family(site.pid(node)) for node in NODES if node != "scanner-1"}
        up = site.metric("weir_db_up")
        bring_back = take_away(site, how)
        try:
            began, sent = time.monotonic(), site.sink.count()
            for number in (1, 2):
                wait_until(lambda number=number: site.http("/readyz", number)[0] == 503, 30, "503 of readyz")
            wait_until(lambda: site.metric("weir_db_up") < up, 30, "the metric that says so")  # of a connection that is used: nobody asks the others
            refused = hand_in(person)
            assert refused.code == 451 and refused.text.startswith("4.3.0"), refused
            codes = [ask(site, "127.0.0.9") for _ in range(6)]
            assert codes[-3:] == [450] * 3 and codes.count(250) <= 3, f"limits are the worker's own now: {codes}"
            wait_until(lambda: site.log("edge-1").count("cannot be stored, delivering within the session") > 0, 30, "a device's mail goes on")
            time.sleep(max(0, SECONDS - (time.monotonic() - began)))  # that long it lasts; nothing is waited for
            wait_until(lambda: site.sink.count() >= sent + 2 * RATE, 60, "mail flows without the database")
            during, passed = memory(site), site.sink.count() - sent
        finally:
            bring_back()
    back = time.monotonic()
    with wait_until(lambda: logged_in(site), 60, "the login") as person:
        wait_until(lambda: hand_in(person).code == 250, 60, "people's mail again")
    for number in (1, 2):
        wait_until(lambda number=number: site.http("/readyz", number)[0] == 200, 60, "readyz")
    recovered = time.monotonic() - back
    for load in loads:
        assert load.running()
        load.process.terminate()
    direct, handed = [load.result()[1] for load in loads]
    check_nothing_left(site)
    print(f"PostgreSQL {how} for {back - began:.0f} s: {len(direct)} direct messages, {len(handed)} of devices ({sum(a.attempts > 1 for a in handed.values())} "
          f"not at the first try); {passed} went through it; all back {recovered:.1f} s after it")
    for node, after in memory(site).items():
        print(f"  memory of {node}: {before[node] / 1024:.1f} MiB before, {during[node] / 1024:.1f} at the end of it, {after / 1024:.1f} after")
    weir.check_no_client_noticed(direct)
    check_all_arrived(site, {**direct, **handed})
    ids = {answer.queue_id for answer in {**direct, **handed}.values()}
    wait_until(lambda: ids <= {row[0] for row in site.query("SELECT DISTINCT id FROM audit")}, 60, "all of it in the audit")
    assert {node: weir.family(site.pid(node)) for node in pids} == pids, "a process ended"
    if not weir.SANITIZED:
        grown = {node: during[node] - before[node] for node in NODES}
        assert all(size <= GROWTH_KIB + (ROW_KIB * passed if node == "edge-1" else 0) for node, size in grown.items()), f"grown by so many KiB: {grown}"
