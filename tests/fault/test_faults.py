"""Parts taken away while mail flows: nothing acknowledged is lost, nothing unscanned passes, and clients notice as little as promised.

The seed of the random moments is printed; WEIR_SEED repeats a run.
"""
import json
import os
import random
import re
import signal
import time

import pytest

import weir
from victims import KINDS, Disturbance
from weir import EICAR, Smtp, check_no_client_noticed, check_nothing_lost, message, wait_until

SEED = int(os.environ.get("WEIR_SEED", random.randrange(1 << 32)))
SESSIONS = 200
# A closed loop: whoever got an answer begins the next transaction at once, so that all of them are always in one.
BUSY = ["--sessions", SESSIONS, "--size", 4096, "--recipients", "1-4", "--own-recipients"]
HOW = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
# For every kind of process. What a hang does is about time, of which sanitizer builds say nothing; the random trials have some.
HOW_EACH = [pytest.param("kill", marks=pytest.mark.sanitized), "stop"]


@pytest.fixture
def dice():
    print(f"WEIR_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture(scope="module")
def shared():
    made = weir.Cluster(edges=2, scanners=2, coordinators=2)
    try:
        yield made.up()
    finally:
        made.down()


@pytest.fixture
def farm(shared):
    """Two of everything, and the sink empty; whole again for the next test, however this one ended."""
    shared.sink.clear()
    yield shared
    shared.heal()


def disturb(load, dice, action, seconds=7, pause=(0.3, 1.0)):
    """Once all sessions are at work, calls action() at random moments for so long and twice at least, then ends the load; returns how often."""
    wait_until(lambda: load.cluster.sink.count() >= SESSIONS, 60, "mail of all sessions")
    times = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or times < 2:
        time.sleep(dice.uniform(*pause))
        assert load.running()
        action()
        times += 1
    load.process.send_signal(signal.SIGTERM)
    return times


def check_busy(report, share):
    """All sessions were in transactions at once, and no less than that share of them half of the time."""
    print(f"{report['rate']:.0f} messages/s, transactions at once: median {report['transactions_median']}, at most {report['transactions_peak']}")
    assert report["transactions_peak"] == SESSIONS and report["transactions_median"] >= share * SESSIONS, report


@pytest.mark.alone
@pytest.mark.parametrize("how", HOW_EACH)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("edge")])
def test_lost_behind_the_edges_is_not_noticed(farm, dice, kind, how):
    """Scanners, their processes, coordinators, PostgreSQL: one of them killed or hanging at random moments, again and again."""
    load = farm.load(*BUSY, "--per-session", 5, "--seconds", 3600)  # they see what newcomers are told, too
    disturbance = Disturbance(farm, dice)
    times = disturb(load, dice, lambda: disturbance.once(kind, HOW[how]))
    report, answers = load.result()
    print(f"{times} times: {disturbance.done}")
    check_busy(report, 0.9)
    assert report["recipients_refused"] == 0
    check_no_client_noticed(answers)
    assert check_nothing_lost(farm, answers) == 0
    wait_until(lambda: farm.metric("weir_conservation_difference") == 0, 60, "conservation")


def orphans_in_logs(cluster):
    """Messages that edges' masters wrote down as handed over and never answered."""
    return sum(int(number) for node in ("edge-1", "edge-2") for number in re.findall(r" left (\d+) messages that the next hop", cluster.log(node)))


@pytest.mark.alone
@pytest.mark.parametrize("how", HOW_EACH)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("edge")])
def test_lost_edges_lose_nothing(farm, dice, kind, how):
    """Clients of a dead edge try again and get through; a hanging one is only slow."""
    before = orphans_in_logs(farm)
    load = farm.load(*BUSY, "--seconds", 3600, "--retry", "--retry-for", 120)
    disturbance = Disturbance(farm, dice)
    times = disturb(load, dice, lambda: disturbance.once(kind, HOW[how]))
    report, answers = load.result()
    print(f"{times} times: {disturbance.done}")
    check_busy(report, 0.5)  # who lost a connection opens another
    assert all(answer.code == 250 for answer in answers.values()), "with retries everything gets through"
    if how == "stop":
        check_no_client_noticed(answers)
    extra = check_nothing_lost(farm, answers, disturbance.deaths)
    if kind == "edge worker":  # its master lives, and knows how many messages were without an answer
        left = orphans_in_logs(farm) - before
        print(f"{left} messages without an answer at the workers' deaths, as the edges' logs say")
        assert left >= extra
    wait_until(lambda: farm.metric("weir_conservation_difference") == 0, 60, "conservation")


@pytest.mark.alone
def test_all_coordinators_and_postgres_gone_direct_mail_flows(farm, dice):
    """Section 9: direct relay goes on with cached policy; the audit comes later; an edge worker may even start without them."""
    load = farm.load(*BUSY, "--seconds", 3600, "--retry", "--retry-for", 120)
    disturbance = Disturbance(farm, dice)
    wait_until(lambda: farm.sink.count() >= SESSIONS, 60, "mail of all sessions")
    farm.kill("postgres")
    wait_until(lambda: farm.http("/readyz")[0] == 503, what="503 of readyz")
    farm.kill("coordinator-1")
    farm.kill("coordinator-2")
    for pid in weir.family(farm.pid("edge-1"))[1:]:
        disturbance.kill_edge("edge-1", pid)
    before = farm.sink.count()
    wait_until(lambda: farm.sink.count() >= before + 4 * SESSIONS, 60, "mail flows without them")
    load.process.send_signal(signal.SIGTERM)
    _, answers = load.result()
    assert all(answer.code == 250 for answer in answers.values())
    # The killed edge workers' own sessions are the only ones that may have seen anything.
    assert sum(answer.attempts > 1 for answer in answers.values()) <= SESSIONS
    check_nothing_lost(farm, answers, disturbance.deaths)
    assert farm.send(message(), edge=1).code == 250
    assert farm.send(message(), edge=2).code == 250
    farm.start("postgres")
    farm.start("coordinator-1")
    farm.start("coordinator-2")
    wait_until(lambda: farm.http("/readyz")[0] == 200, 20, "readyz")
    answer = farm.send(message(), edge=2)
    wait_until(lambda: answer.queue_id in farm.weirctl("trace", answer.queue_id, check=False).stdout, 20, "the audit of new mail")


@pytest.mark.alone
@pytest.mark.sanitized
def test_S12_housekeeping_is_invisible(farm):
    """Every scanner restarted and gc'ed in turn, twice, at 70 % of what the farm can do, from a client that never retries: zero 4xx."""
    # Twice, as others may need the machine for a moment.
    capacity = max(farm.load("--sessions", 50, "--seconds", 2, "--size", 4096).result()[0]["rate"] for _ in range(2))
    farm.sink.clear()
    rate = max(1, int(0.7 * capacity))
    load = farm.load("--sessions", SESSIONS, "--seconds", 3600, "--rate", rate, "--size", 4096)
    rounds = 0
    for _ in range(2):
        for node in ("scanner-1", "scanner-2"):
            farm.weirctl("gc", "--wait", node)
            assert load.running()
            farm.weirctl("drain", "--wait", node)
            farm.stop(node)
            farm.start(node)
            farm.weirctl("undrain", node)
            farm.wait_state(node, "active")
            assert load.running()
            rounds += 1
    load.process.send_signal(signal.SIGTERM)
    report, answers = load.result()
    print(f"S12 at {rate} of {capacity:.0f} messages/s: {len(answers)} in {report['seconds']:.0f} s, p99 {report['latency_p99_ms']:.0f} ms; "
          f"{report['unsent']} more were due at its end")
    assert rounds == 4 and report["connect_errors"] == 0
    check_no_client_noticed(answers)
    check_nothing_lost(farm, answers)
    wait_until(lambda: farm.metric("weir_conservation_difference") == 0, 60, "conservation")


def test_S12_a_farm_collects_garbage_in_turn(farm):
    """The cluster's own housekeeping of all scanners, and a restart of each, twice, with 50 messages a second of a client that never retries: zero 4xx."""
    load = farm.load("--sessions", 20, "--seconds", 3600, "--rate", 50, "--size", 4096)
    wait_until(lambda: farm.sink.count() >= 50, 60, "mail")
    given = {turn["node"]: turn["given"] for turn in json.loads(farm.weirctl("--json", "gc", "status").stdout)["turns"]}
    for _ in range(2):
        farm.weirctl("gc", "--all", "--rolling", "--wait")
        for node in ("scanner-1", "scanner-2"):
            farm.stop(node)
            farm.start(node)
            farm.wait_state(node, "active", seconds=30)
            assert load.running()
    status = json.loads(farm.weirctl("--json", "gc", "status").stdout)
    load.process.send_signal(signal.SIGTERM)
    _, answers = load.result()
    assert {turn["node"]: (turn["given"] - given.get(turn["node"], 0), turn["result"]) for turn in status["turns"]} == {name: (2, "done") for name in ("scanner-1", "scanner-2")}
    assert all(s["memory_loaded"] > 0 and s["serving_ms"] > 0 and s["small_workers"] > 0 for s in status["scanners"]), status
    check_no_client_noticed(answers)
    check_nothing_lost(farm, answers)


# Times that an edge could be waiting for, longer than the test below has patience: what it sees is none of them.
NOTHING_WAITED_FOR = [f"{key}=60s" for key in ("scan_wait", "link_heartbeat", "link_timeout", "link_silence")]


@pytest.mark.sanitized
@pytest.mark.parametrize("how, times", [("kill", ["scan_stall=60s"]), ("stop", [])])
def test_S13_no_scanner_no_mail_and_back_within_a_second(make_cluster, how, times):
    """A dead scanner's connection ends, one that hangs is silent for scan_stall: clients are told at once then. And one that is back says so."""
    cluster = make_cluster(edges=1, scanners=2, sets=[*NOTHING_WAITED_FOR, *times])
    assert cluster.send(message()).code == 250
    refused = cluster.metric("weir_smtp_sessions_total", node="edge-1", result="busy")
    lost = time.monotonic()
    for node in ("scanner-1", "scanner-2"):
        cluster.kill(node, HOW[how])

    wait_until(lambda: cluster.greets(421), 6, "421 4.7.0 at connect")
    noticed = time.monotonic() - lost
    before = cluster.sink.count()
    answers = []
    for _ in range(50):
        asked = time.monotonic()
        with Smtp(cluster.relay()) as client:
            assert client.greeting.code == 421 and client.greeting.text.startswith("4.7.0") and client.closed(), client.greeting
        answers.append(time.monotonic() - asked)
    assert max(answers) < 30, "it waited for something"
    assert cluster.sink.count() == before
    wait_until(lambda: cluster.metric("weir_smtp_sessions_total", node="edge-1", result="busy") >= refused + 20 + 50, 30, "the metric")

    # A scanner returns when it says that its engine serves, or when it is let go on.
    serves = cluster.log("scanner-1").count(" serves: ")
    cluster.kill("scanner-1", signal.SIGCONT) if how == "stop" else cluster.start("scanner-1", wait=False)
    wait_until(lambda: how == "stop" or cluster.log("scanner-1").count(" serves: ") > serves, 30, "the scanner's engine")
    returned = time.monotonic()
    wait_until(lambda: cluster.greets(220), 6, "mail flows again")
    print(f"S13 {how}: 421 after {noticed * 1000:.0f} ms, each within {max(answers) * 1000:.1f} ms; "
          f"220 again {(time.monotonic() - returned) * 1000:.0f} ms after one scanner returned")
    assert cluster.send(message()).code == 250
    assert cluster.send(message(EICAR.decode() + "\r\n")).code == 550


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_scanner_lost_mid_message(make_cluster, how):
    """A large message being streamed when its scanner goes is scanned whole by the other; with none left it is 421, never passed."""
    cluster = make_cluster(edges=1, scanners=2, sets=["workers=1"])
    left = ["scanner-1", "scanner-2"]

    def receiver():
        return next((node for node in left if cluster.metric("weir_scanner_slots", node=node, state="uploading") == 1), None)

    for code in (550, 421):
        with Smtp(cluster.relay()) as client:
            client.envelope()
            assert client.command("DATA").code == 354
            client.send(message(size=3 << 20))
            victim = wait_until(receiver, 30, "a scanner that has the beginning of it")
            left.remove(victim)
            cluster.kill(victim, how)
            client.send(b"\r\n" + EICAR + b"\r\n.\r\n")
            answer = client.reply()
            assert answer.code == code, (victim, answer)
    wait_until(lambda: cluster.metric("weir_scan_replays_total", node="edge-1"), 30, "the replay in the metrics")
    assert cluster.sink.count() == 0
