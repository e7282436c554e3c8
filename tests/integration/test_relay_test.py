"""weirctl relay test, and the leader's own: edges, a Postfix that was opened, and leaders that die. Nothing is ever sent."""
import json
import re
import subprocess

import pytest

import weir
from postfix import Postfix
from weir import BIN, PATIENCE, wait_until

OUTSIDER = "127.0.0.8"  # outside of all networks
TRUSTED = "127.0.0.9"   # outside, too, and may speak for others (XCLIENT)
STRANGER = "198.51.100.7"


@pytest.fixture(scope="module")
def cluster():
    made = weir.Cluster(edges=2, scanners=1, coordinators=2, sets=["edge.workers=1", f"xclient_from={TRUSTED}", "node_timeout=10s", "relay_test_interval=1s",
                                                                   f"relay_test_source={TRUSTED}"])
    try:
        yield made.up()
        assert not made.sink.count(), "nothing is ever sent"
    finally:
        made.down()


def relay_test(*words, cluster=None, status=None):
    """Its answer for each server."""
    config = ["-c", cluster.dir / "operator/weir.conf"] if cluster else []
    done = subprocess.run([BIN / "weirctl", "--json", *config, "relay", "test", *words], capture_output=True, text=True, timeout=120 * PATIENCE)
    assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def results(server):
    return {probe["probe"]: probe["result"] for probe in server["probes"]}


@pytest.mark.sanitized
def test_S70_an_edge_is_closed_to_strangers(cluster):
    server, = relay_test(cluster.relay(), "--from-address", OUTSIDER, "--domain", "example.edu", cluster=cluster, status=0)
    assert (server["verdict"], server["inside"], server["from_address"], server["client"]) == ("closed", False, OUTSIDER, None)
    said = results(server)
    assert said.pop("control") == "accepted" and said.pop("any-local-part") == "accepted", "the sink takes everybody"
    assert set(said.values()) == {"refused"} and len(said) >= 24, server["probes"]


def test_each_listener_of_the_cluster(cluster):
    wait_until(lambda: len(relay_test("--from-address", OUTSIDER, cluster=cluster, status=0)) == 2, what="both edges have told of their listeners")
    done = subprocess.run([BIN / "weirctl", "-c", cluster.dir / "operator/weir.conf", "relay", "test", "--from-address", OUTSIDER], capture_output=True,
                          text=True, timeout=120 * PATIENCE)
    for number in (1, 2):
        assert f"{cluster.relay(number)} (edge-{number}, listener relay): closed: " in done.stdout, done.stdout + done.stderr
    assert f"asked from {OUTSIDER}, which is outside" in done.stdout
    assert re.search(r"^percent +refused +<relay-test%example.com@example.edu> +550 5.7.1 ", done.stdout, re.M), done.stdout


def test_from_inside_it_cannot_be_told(cluster):
    server, = relay_test(cluster.relay(), "--from-address", "127.0.0.1", cluster=cluster, status=2)
    assert (server["verdict"], server["inside"]) == ("unknown", True) and "inside" in server["reason"]
    assert results(server)["plain"] == "accepted", "insiders may"


def test_a_listener_that_believes_us(cluster):
    server, = relay_test(cluster.relay(), "--from-address", TRUSTED, "--client", STRANGER, cluster=cluster, status=0)
    assert (server["verdict"], server["client"]) == ("closed", STRANGER)
    server, = relay_test(cluster.relay(), "--from-address", TRUSTED, "--client", "127.0.0.1", cluster=cluster, status=1)
    assert (server["verdict"], server["client"]) == ("open", "127.0.0.1"), "that is no stranger"


def test_nobody_answers():
    server, = relay_test(f"127.0.0.1:{weir.free_base_port() + 399}", status=2)
    assert server["verdict"] == "unknown" and "no connection" in server["reason"]


def test_a_postfix_that_was_opened():
    with Postfix(listens=True, mynetworks="0.0.0.0/0", mydestination="example.edu") as postfix:
        server, = relay_test(f"127.0.0.1:{postfix.port}", "--outside", "far.test", status=1)
        assert server["verdict"] == "open" and server["reason"].startswith("plain was accepted"), server["reason"]
        assert server["host"] == "postfix.example.edu" and server["inside"] is None
        assert "status=" not in postfix.log() and "nrcpt=" not in postfix.log(), "nothing is sent"


def test_a_postfix_that_was_not():
    with Postfix(listens=True, mynetworks="127.0.0.1", mydestination="example.edu", local_recipient_maps="inline:{postmaster=x}") as postfix:
        server, = relay_test(f"127.0.0.1:{postfix.port}", "--from-address", OUTSIDER, "--domain", "example.edu", status=0)
        assert server["verdict"] == "closed" and results(server)["control"] == "accepted", server


def leads(cluster, number):
    try:
        return cluster.metric("weir_leader", number, node=f"coordinator-{number}") == 1
    except OSError:
        return False  # it is dead


def leader_of(cluster):
    return wait_until(lambda: next((n for n in (1, 2) if leads(cluster, n)), None), 30, "a leader")


def series(cluster, edge):
    """Labels. There is [::1], too, which has no address outside."""
    return {"node": f"edge-{edge}", "listener": "relay", "address": cluster.relay(edge)}


def verdicts(cluster, at):
    """What the metrics of a coordinator say of both edges."""
    return [next((v for v in ("closed", "open", "unknown") if cluster.metric("weir_relay_test", at, **series(cluster, n), verdict=v) == 1), None) for n in (1, 2)]


def see_another_test(cluster, at):
    """Both edges were tested once more."""
    def times():
        return [cluster.metric("weir_relay_test_timestamp_seconds", at, **series(cluster, n)) for n in (1, 2)]
    before = wait_until(lambda: all(times()) and times(), 30, "tests")
    wait_until(lambda: all(now > then for now, then in zip(times(), before)), 60, "another test of each")


def use_policy(cluster, lines):
    path = cluster.dir / "policy/mailertable"
    before = path.read_text()
    path.write_text(before + lines)
    cluster.apply_policy()
    return path, before


def test_S70_the_leader_tests_and_tells(cluster):
    leader = leader_of(cluster)
    for at in (1, 2):
        wait_until(lambda at=at: verdicts(cluster, at) == ["closed", "closed"], 60, f"the verdicts at coordinator-{at}")
    assert cluster.metric("weir_relay_tests_total", leader, node=f"coordinator-{leader}", verdict="closed") >= 2
    # What is refused to it is known for a test's by where it comes from, as edges see it.
    assert cluster.query(f"SELECT relay_test_is_from('192.0.2.1'), relay_test_is_from('{TRUSTED}'), relay_test_is_from('{OUTSIDER}')") == [["t", "t", "f"]]
    # From its only IPv6 address, which is inside, it can tell nothing.
    if "[::1]" in (cluster.dir / "edge-1/weir.conf").read_text():
        inside = {**series(cluster, 1), "address": cluster.relay().replace("127.0.0.1", "[::1]"), "verdict": "unknown"}
        wait_until(lambda: cluster.metric("weir_relay_test", leader, **inside) == 1, 60, "a verdict from inside")
    # A domain that is not ours, but everybody may send to by our policy: that is what is to be found.
    path, before = use_policy(cluster, f"example.com\tsmtp:[127.0.0.1]:{cluster.base_port + 400}\n")
    try:
        wait_until(lambda: verdicts(cluster, leader) == ["open", "open"], 60, "open")
        assert re.search(r"relay test: edge-\d listener=relay address=\S+ verdict=open: plain was accepted: ", cluster.log(f"coordinator-{leader}"))
    finally:
        path.write_text(before)
        cluster.apply_policy()


def test_another_leader_goes_on_and_none_tests_twice(cluster):
    leader = leader_of(cluster)
    other = 3 - leader
    see_another_test(cluster, leader)
    cluster.kill(f"coordinator-{leader}")
    see_another_test(cluster, other)
    assert leader_of(cluster) == other
    # Each test was of one claim: what was begun is what was told, but for one that died and one that is under way. Tests go on while we look.
    told = lambda: sum(cluster.log(f"coordinator-{n}").count("relay test: edge-") for n in (1, 2))
    before, claims, after = told(), int(cluster.query("SELECT sum(claim) FROM relay_test")[0][0]), told()
    assert before - 2 <= claims <= after + 2, (before, claims, after)
    cluster.heal()
