"""Random trials: some part of a cluster is killed or hangs at some moment while mail flows; afterwards everything must be as it should.

WEIR_TRIALS says how many (12), WEIR_SEED repeats a run; a trial's own seed is printed with it.
"""
import os
import random
import signal
import time

import pytest

import weir
from victims import KINDS, Disturbance
from weir import EICAR, check_no_client_noticed, check_nothing_lost, message, process_name, wait_until

SEED = int(os.environ.get("WEIR_SEED", random.SystemRandom().randrange(1 << 32)))
TRIALS = int(os.environ.get("WEIR_TRIALS", 12 if not weir.SANITIZED else 4))
SECONDS = 3
# In a closed loop: all of them are in a transaction whenever the moment comes.
SESSIONS = 20
MAIL = ["--sessions", SESSIONS, "--recipients", "1-4", "--own-recipients"]
# What allocators, caches and connection pools may differ by from one quiet moment to another; a leak of a message per death would show.
MEMORY_SLACK_KIB = 24 * 1024
# A worker keeps a connection to the next hop for each session that it once had at the same time, and the kernel chooses the worker.
DESCRIPTOR_SLACK = 12 + SESSIONS


@pytest.fixture(scope="module")
def farm():
    made = weir.Cluster(edges=2, scanners=2, coordinators=2)
    try:
        yield made.up()
    finally:
        made.down()  # fails when a process is left behind


def holdings(cluster):
    """{process: (KiB of its own, descriptors)}, by node and program; what a restart replaced begins anew."""
    found = {}
    for node in cluster.nodes_here():
        for pid in weir.family(cluster.pid(node)):
            try:
                descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue
            found[f"{node} {process_name(pid)} {pid}"] = (weir.memory_kib_of(pid, "Private_Dirty"), descriptors)
    return found


def check_quiet(cluster):
    """Nothing is under way, nobody holds anything, and the books balance."""
    gauges = [("weir_smtp_sessions", {}), ("weir_scans_in_flight", {}), ("weir_message_bytes", {}), ("weir_scanner_bytes", {}),
              ("weir_conservation_difference", {}), *(("weir_scanner_slots", {"state": state}) for state in ("uploading", "queued", "running", "answering"))]
    for name, labels in gauges:
        wait_until(lambda name=name, labels=labels: cluster.metric(name, **labels) == 0, 20, f"{name}{labels or ''} back at 0")
    wait_until(lambda: not [path for path in (cluster.dir / "tmp").rglob("*") if path.is_file()], 20, "the end of all temporary files")


def check_nothing_grew(before, after):
    for process, (memory, descriptors) in after.items():
        if process in before and not weir.SANITIZED:  # a sanitizer keeps freed memory in quarantine
            assert memory - before[process][0] < MEMORY_SLACK_KIB, f"{process}: {before[process][0]} KiB became {memory} KiB"
        if process in before:
            assert descriptors - before[process][1] < DESCRIPTOR_SLACK, f"{process}: {before[process][1]} descriptors became {descriptors}"


@pytest.fixture(scope="module")
def quiet(farm):
    """What everybody holds when it has seen some mail and nothing happens; taken anew as processes are replaced."""
    farm.load(*MAIL, "--seconds", 2, "--size", 300000).result()
    farm.load(*MAIL, "--seconds", 2, "--size", 4096).result()
    check_quiet(farm)
    return holdings(farm)


@pytest.mark.sanitized
@pytest.mark.parametrize("trial", range(TRIALS))
def test_random_trial(farm, quiet, trial):
    dice = random.Random(f"{SEED}-{trial}")
    kind = dice.choice(KINDS)
    how = dice.choice([signal.SIGKILL, signal.SIGSTOP])
    moment = dice.uniform(0, SECONDS - 0.5)
    size = dice.choice([1000, 4096, 30000, 300000])
    edge_dies = kind.startswith("edge") and how == signal.SIGKILL
    print(f"WEIR_SEED={SEED} trial {trial}: {how.name} for {kind} after {moment:.2f} s, messages of {size} bytes")
    farm.sink.clear()

    load = farm.load(*MAIL, "--seconds", SECONDS, "--size", size, *(["--retry", "--retry-for", 120] if edge_dies else []),
                     *(["--bdat"] if dice.random() < 0.5 else []))
    disturbance = Disturbance(farm, dice)
    time.sleep(moment)
    disturbance.once(kind, how)
    report, answers = load.result()
    print(f"{disturbance.done}, {report['rate']:.0f} messages/s, transactions at once: median {report['transactions_median']}")
    assert report["recipients_refused"] == 0
    if edge_dies:
        assert all(answer.code == 250 for answer in answers.values()), "with retries everything gets through"
    else:
        check_no_client_noticed(answers)
    extra = check_nothing_lost(farm, answers, disturbance.deaths)
    assert extra <= SESSIONS * len(disturbance.deaths)
    farm.heal()
    refused = farm.send(message(EICAR.decode() + "\r\n"), edge=dice.choice([1, 2]))
    assert refused.code == 550, refused
    check_quiet(farm)
    now = holdings(farm)
    check_nothing_grew(quiet, now)
    quiet.update({process: held for process, held in now.items() if process not in quiet})
