"""Random trials with the spool between client and next hop: at short and random intervals some process of a cluster is killed or hangs while mail
is stored, leased, scanned and delivered. Then the books are checked: nothing that was answered 250 is lost, and what comes twice was said to.

Each kill and each hang is a trial, and a test has ROUND of them. WEIR_SPOOL_TRIALS says how many there are (30), WEIR_SEED repeats a run; the
seed is printed.
"""
import os
import random

import pytest

import weir
from books import check_all_arrived, check_nothing_left
from victims import KINDS, Storm
from weir import EICAR, message, wait_until

SEED = int(os.environ.get("WEIR_SEED", random.SystemRandom().randrange(1 << 32)))
TRIALS = int(os.environ.get("WEIR_SPOOL_TRIALS", 30 if not weir.SANITIZED else 15))
ROUND = 25 if not weir.SANITIZED else 15
PAUSE = (0.05, 0.6) if not weir.SANITIZED else (0.3, 2.0)
# What is sent at the same time: sessions, messages a second, bytes, recipient. The sink takes two seconds to answer for slow-: most victims that
# have such a message die between its taking it and the report.
ALICE, SLOW = "alice@example.edu", "slow-alice@example.edu"
LOADS = ([(10, 40, 4096, ALICE), (4, 4, 4096, SLOW), (4, 6, 300000, ALICE), (2, 1, 2500000, ALICE)] if not weir.SANITIZED else
         [(5, 8, 4096, ALICE), (2, 1, 4096, SLOW), (2, 1, 2500000, ALICE)])


@pytest.fixture(scope="module")
def farm():
    made = weir.Cluster(edges=2, scanners=2, coordinators=2, sets=["profile=handoff", "spool_lease=3s", "spool_retry_max=2s", "spool_leftover=5s"])
    try:
        yield made.up()
    finally:
        made.down()  # fails when a process is left behind


class Mail:
    """All loads of one round, and some mail with a virus."""

    def __init__(self, farm):
        folder = farm.dir / "viruses"
        folder.mkdir(exist_ok=True)
        (folder / "one.eml").write_bytes(message(EICAR.decode() + "\r\n"))
        self.loads = [farm.load("--sessions", sessions, "--seconds", 3600, "--rate", rate, "--size", size, "--rcpt", rcpt, "--recipients", "1-3",
                                "--own-recipients", "--retry", "--retry-for", 120) for sessions, rate, size, rcpt in LOADS]
        self.viruses = farm.load("--sessions", 1, "--seconds", 3600, "--rate", 2, "--mail", folder, "--retry", "--retry-for", 120)

    def stop(self):
        """Whatever became of the round: the next one's books are not about this one's mail."""
        for load in [*self.loads, self.viruses]:
            load.process.kill()

    def end(self):
        """{token: Answer} of the good mail; the loads finish what they have begun."""
        answers = {}
        for load in [*self.loads, self.viruses]:
            load.process.terminate()
        for load in self.loads:
            answers.update(load.result()[1])
        self.viruses.result()
        return answers


@pytest.mark.sanitized
@pytest.mark.parametrize("part", range((TRIALS + ROUND - 1) // ROUND))
def test_random_trials(farm, part):
    print(f"WEIR_SEED={SEED} part {part}")
    storm = Storm(farm, random.Random(f"{SEED}-spool-{part}"))
    if part > 0:  # a round that failed leaves some away, and mail under way
        farm.heal()
        check_nothing_left(farm)
    farm.sink.clear()
    for kind in KINDS:  # later some may be away; one that is never found would only make room for the others
        wait_until(lambda kind=kind: storm.chosen(kind), 30, f"a {kind} to take away")
    mail = Mail(farm)
    try:
        storm.run(0.5)
        trials = 0
        while trials < min(ROUND, TRIALS - part * ROUND):
            trials += storm.strike()
            storm.run(storm.dice.uniform(*PAUSE))
        storm.end()
        answers = mail.end()
    finally:
        mail.stop()
        print(f"{len(storm.done)} trials: {', '.join(storm.done)}")
    check_nothing_left(farm)
    check_all_arrived(farm, answers)
    assert not [1 for raw, _ in farm.sink.messages() if EICAR in raw], "a virus got out"
