"""The network between the nodes fails while mail flows: parts cannot reach each other, or only one way, or lose a third of all packets, or are slow.
What was answered 250 is delivered, once (or a second time where an edge wrote that it may be), nothing passes unscanned, no process is wedged or
ends, and mail flows again soon after the network does.

Every node, the database and the next hop live in network namespaces of their own (network.py). WEIR_NETWORK_SECONDS is how long each fault lasts;
WEIR_SEED repeats which packets are lost.
"""
import json
import os
import random
import time

import pytest

import network
import weir
from books import check_all_arrived, check_nothing_left, wait_empty_spool
from weir import EICAR, message, wait_until

SEED = int(os.environ.get("WEIR_SEED", random.SystemRandom().randrange(1 << 32)))
SECONDS = float(os.environ.get("WEIR_NETWORK_SECONDS", 2))
EDGE, DATABASE = "edge-1", "postgres"
SCANNERS, COORDINATORS = ["scanner-1", "scanner-2"], ["coordinator-1", "coordinator-2"]
INSIDE = [EDGE, *SCANNERS, *COORDINATORS, DATABASE]
# Sessions, messages a second, bytes.
LOADS = [("RELAY", 6, 20, 4096), ("RELAY", 2, 1, 600000), ("HANDOFF", 6, 8, 4096)]


@pytest.fixture(scope="module")
def farm():
    why = network.impossible()
    if why is not None:
        pytest.skip(f"no network namespaces of our own: {why}")
    made = network.Spread(edges=1, scanners=2, coordinators=2, seed=SEED,
                          sets=["database_timeout=5s", "spool_lease=3s", "spool_retry_max=2s", "spool_leftover=5s"])
    try:
        made.up()
        made.viruses = made.dir / "viruses"
        made.viruses.mkdir()
        (made.viruses / "one.eml").write_bytes(message(EICAR.decode() + "\r\n"))
        yield made
        check_nothing_left(made)
    finally:
        made.down()


class Mail:
    """What flows meanwhile. Clients who are refused come again; `calm` counts what those who do not were told."""

    def __init__(self, farm):
        self.farm = farm
        patient = ["--seconds", 3600, "--own-recipients", "--retry", "--retry-for", 300]
        self.loads = [farm.load("--sessions", sessions, "--rate", rate, "--size", size, *patient, to=farm.env[f"EDGE_1_{door}"])
                      for door, sessions, rate, size in LOADS]
        self.viruses = farm.load("--sessions", 1, "--seconds", 3600, "--rate", 3, "--mail", farm.viruses, "--retry", "--retry-for", 300)

    def end(self):
        """{token: Answer} of each load; the loads finish what they have begun."""
        for load in [*self.loads, self.viruses]:
            assert load.running()
            load.process.terminate()
        answers = [load.result()[1] for load in self.loads]
        self.viruses.result()
        return answers


def relays(farm, door="RELAY"):
    """Mail goes in there now."""
    with weir.Smtp(farm.env[f"EDGE_1_{door}"]) as client:
        return client.greeting.code == 220 and all(answer.code == 250 for answer in client.envelope()) and client.data(message()).code == 250


def grows(farm):
    """Mail of the relay reaches the next hop, more of it than can have been on its way."""
    before = farm.sink.count()
    wait_until(lambda: farm.sink.count() >= before + 15, 30, "mail flows during the fault")


def refuses(farm):
    wait_until(lambda: farm.greets(421), 30, "421 at connect")
    assert wait_until(lambda: relays(farm, "HANDOFF"), 30, "handoff takes mail all the same")


def unready(farm):
    for number in (1, 2):
        wait_until(lambda number=number: farm.http("/readyz", number)[0] == 503, 30, "503 of readyz")
    grows(farm)


def anything(_):
    """Nothing is promised but what is promised always."""


# name: who cannot reach whom and how, what is seen meanwhile, and whether a client of the relay hears anything but 250 the first time.
FAULTS = {
    "edge and a scanner apart": (lambda net: net.between(EDGE, SCANNERS[0], "drop"), grows, False),
    "edge and all scanners apart": (lambda net: net.between(EDGE, SCANNERS, "drop"), refuses, True),
    "edge and a coordinator apart": (lambda net: net.between(EDGE, COORDINATORS[0], "drop"), grows, False),
    "edge and all coordinators apart": (lambda net: net.between(EDGE, COORDINATORS, "drop"), grows, False),
    "scanners and coordinators apart": (lambda net: net.between(SCANNERS, COORDINATORS, "drop"), grows, False),
    "a coordinator and the database apart": (lambda net: net.between(COORDINATORS[0], DATABASE, "drop"), grows, False),
    "coordinators and the database apart": (lambda net: net.between(COORDINATORS, DATABASE, "drop"), unready, False),
    "edge and next hop apart": (lambda net: net.between(EDGE, "sink", "drop"), anything, True),
    "a scanner is not heard": (lambda net: net.one(SCANNERS[0], EDGE, "drop"), grows, False),
    "a scanner does not hear": (lambda net: net.one(EDGE, SCANNERS[0], "drop"), grows, False),
    "coordinators are not heard": (lambda net: [net.one(name, EDGE, "drop") for name in COORDINATORS], grows, False),
    "the database is not heard": (lambda net: [net.one(DATABASE, name, "drop") for name in COORDINATORS], grows, False),
    "30 % lost": (lambda net: net.between(INSIDE, INSIDE, "loss=30"), anything, True),
    "300 ms": (lambda net: net.between(INSIDE, INSIDE, "delay=300"), grows, True),
    "1 Mbit/s": (lambda net: net.between(EDGE, [*SCANNERS, *COORDINATORS], "rate=1000"), anything, True),
}


def flows(farm):
    """All is as before: every node in its place, mail goes in at both doors, and the spool is used again."""
    return (all(farm.http("/readyz", number)[0] == 200 for number in (1, 2)) and
            all(node["state"] == "active" for node in farm.nodes().values()) and relays(farm) and relays(farm, "HANDOFF"))


def processes(farm):
    """Masters and edge workers: a wedged one would be replaced by its supervisor."""
    return {node: [farm.pid(node), *(weir.workers_of(farm, node) if node.startswith("edge") else [])] for node in farm.names}


@pytest.mark.parametrize("name", FAULTS)
def test_network(farm, name):
    fault, seen, noticed = FAULTS[name]
    print(f"WEIR_SEED={SEED}")
    farm.sink.clear()
    before, harmed = processes(farm), farm.network.harmed
    mail = Mail(farm)
    wait_until(lambda: farm.sink.count() >= 10, 30, "mail flows")
    fault(farm.network)
    began = time.monotonic()
    seen(farm)
    time.sleep(max(0, SECONDS - (time.monotonic() - began)))  # that long it lasts; nothing is waited for
    farm.network.heal()
    assert farm.network.harmed > harmed, "nobody met the fault"
    healed = time.monotonic()
    wait_until(lambda: flows(farm), 60, "mail flows as before")
    print(f"{name}: {farm.network.harmed - harmed} packets in {healed - began:.1f} s; as before {time.monotonic() - healed:.1f} s after its end")
    answers = mail.end()
    wait_empty_spool(farm)
    check_all_arrived(farm, {token: answer for each in answers for token, answer in each.items()})
    assert not [1 for raw, _ in farm.sink.messages() if EICAR in raw], "a virus got out"
    assert processes(farm) == before, "a process ended"
    if not noticed:
        weir.check_no_client_noticed({**answers[0], **answers[1]})


def test_a_leader_that_is_cut_off_in_the_middle_leaves_the_rest_to_the_next(farm):
    """Every scanner is to make one new generation, in turn. The leader is cut off from the database when it has begun that: the next one ends it, and when the first
    is back it does nothing of it again."""
    first = wait_until(lambda: next((n for n in (1, 2) if farm.metric("weir_leader", n) == 1), None), 60, "a leader")
    second = 3 - first

    def generations():
        return {name: node["generation"] for name, node in farm.nodes().items() if node["role"] == "scanner"}

    def turns():
        return [(turn["state"], turn["given"] == turn["asked"], turn["result"]) for turn in json.loads(farm.weirctl("--json", "gc", "status").stdout)["turns"]]

    before = generations()
    farm.weirctl("gc", "--all")
    wait_until(lambda: [turn for turn in turns() if turn[0] != "waiting"], 60, "the first turn")
    farm.network.between(f"coordinator-{first}", DATABASE, "drop")
    wait_until(lambda: farm.metric("weir_leader", second) == 1, 120, "another leader")
    wait_until(lambda: turns() == [("idle", True, "done")] * len(SCANNERS), 120, "all turns are over")
    after = generations()
    farm.network.heal()
    wait_until(lambda: flows(farm), 60, "mail flows as before")
    wait_until(lambda: [farm.metric("weir_leader", n) for n in (first, second)] == [0, 1], 60, f"coordinator-{first} knows who leads")
    assert generations() == after == {name: number + 1 for name, number in before.items()}, "each once"
