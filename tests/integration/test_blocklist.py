"""S63: the site's own addresses are looked up in lists of the DNS, at a real name server, by whoever leads and by nobody else."""
import re
import signal
import subprocess

import pytest

from coordinators import Coordinators
from nameserver import Nameserver
from weir import wait_until

LISTED = "2.0.0.127.bl A 127.0.0.2\n"
PLAIN = """5.0.0.127.bl A 127.255.255.254
4.0.0.127.bl A 127.0.0.20
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl A 127.0.0.3
"""
BL, OTHER, SILENT = "bl.plain", "other.plain", "list.silent"
ADDRESSES = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "2001:db8::1"]


@pytest.fixture(scope="module")
def names():
    made = Nameserver("", plain=LISTED + PLAIN)
    yield made
    made.stop()


def serve(names, records):
    """Another zone: nsd begins anew, so what it says is in force."""
    names.process.terminate()
    names.process.wait()
    names.write("plain", "plain.", records)
    names.start()


@pytest.fixture(scope="module")
def two(names):
    """The first leads, has own_addresses, and a schedule that no test sees the end of. The second takes what edges tell, asks a silent list, too, and again all the time."""
    forward, _, stubs = names.settings()
    own = {"blocklist_forward": forward.split("=", 1)[1], "blocklist_stub": stubs.split("=", 1)[1]}
    with Coordinators(2, sets=[f"{key} = {value}" for key, value in {**own, "blocklist_private": "on"}.items()]) as made:
        text = (made.dir / "common.conf").read_text()
        first, second = text.split('[coordinator "coordinator-2"]\n')
        (made.dir / "common.conf").write_text(
            f"{first}own_addresses = {', '.join(reversed(ADDRESSES)).upper()}\nblocklist_zones = {BL}=127.0.0.[2..11]*3, {OTHER}\nblocklist_interval = 1h\nblocklist_timeout = 2s\n"
            f'[coordinator "coordinator-2"]\nblocklist_zones = {BL}=127.0.0.[2..11], {SILENT}\nblocklist_interval = 1s\nblocklist_timeout = 1s\nblocklist_addresses = 2\n{second}')
        made.start("coordinator-1")
        wait_until(lambda: made.metric('weir_leader{node="coordinator-1"}') == 1, 30, "the first leads")
        made.start("coordinator-2")
        yield made


def lookups(two, name):
    """{(zone, result): how many}"""
    found = {}
    for line in two.http("/metrics", name)[1].splitlines():
        if line.startswith("weir_own_address_lookups_total{") and f'node="{name}"' in line:
            zone, result = (re.search(f'{label}="([^"]*)"', line)[1] for label in ("zone", "result"))
            found[zone, result] = int(float(line.rsplit(" ", 1)[1]))
    return {key: count for key, count in found.items() if count}


def listed(two, name):
    """What the metrics of a coordinator say: {(address, zone): 0 or 1}"""
    found = re.findall(r'^weir_own_address_listed\{(.*)\} ([01])$', two.http("/metrics", name)[1], re.M)
    return {tuple(re.search(f'{label}="([^"]*)"', labels)[1] for label in ("address", "zone")): int(value) for labels, value in found}


def results(two):
    return {(row["address"], row["zone"]): (row["result"], row["listed"]) for row in two.json("blocklist", "status")["addresses"]}


def checked(two):
    return two.json("blocklist", "status")["checked_at"]


@pytest.mark.sanitized
def test_S63_own_addresses_are_looked_up(two):
    wait_until(lambda: checked(two), 60, "the first round")
    expected = {("127.0.0.2", BL): ("listed", True), ("127.0.0.3", BL): ("clean", False), ("127.0.0.4", BL): ("clean", False), ("127.0.0.5", BL): ("error", None),
                ("2001:db8::1", BL): ("listed", True), **{(address, OTHER): ("clean", False) for address in ADDRESSES}}
    wait_until(lambda: results(two) == expected or not two.ctl("blocklist", "check"), 60, "what the lists say")  # a busy machine may let a question time out
    for name in two.names:
        assert listed(two, name) == {key: int(value[1]) for key, value in expected.items() if value[1] is not None}
        assert two.metric("weir_own_address_check_timestamp_seconds", name) > 1e9 and two.metric("weir_own_addresses_left_out", name) == 0
    log = two.log("coordinator-1")
    assert sorted(re.findall(r"blocklist: own address (\S+) is listed in (\S+) \((\S+)\)", log)) == [("127.0.0.2", BL, "127.0.0.2"), ("2001:db8::1", BL, "127.0.0.3")]
    assert f"blocklist: {BL} does not say of 1 of 5 own addresses whether they are listed" in log
    status = two.ctl("status")
    assert "blocklists    5 own addresses in 2 lists: 2 listed, 1 lookup told nothing, at " in status
    assert re.search(rf"^problem       127.0.0.2 is listed in {BL} \(127.0.0.2\) since 20", status, re.M), status
    shown = two.ctl("blocklist", "status")
    assert re.search(rf"^127.0.0.2 +{BL} +LISTED +20\S+ \S+ +127.0.0.2 +20\S+ \S+ +was answered$", shown, re.M), shown
    assert re.search(rf"^127.0.0.5 +{BL} +not known +- +- +20\S+ \S+ +was answered with an error$", shown, re.M), shown


def test_S63_who_asks_is_one(two):
    def rounds():
        return int(two.pg.query("SELECT claim FROM blocklist")[0][0])

    before = rounds()
    assert before >= 1 and sum(lookups(two, "coordinator-1").values()) == before * 2 * len(ADDRESSES)
    two.ctl("blocklist", "check")
    assert rounds() > before and sum(lookups(two, "coordinator-1").values()) == rounds() * 2 * len(ADDRESSES)
    assert not lookups(two, "coordinator-2")
    # Who is not lost keeps what he has claimed, and may have it again.
    claim = "SELECT count(*) FROM blocklist_claim('{}', '5s', '0', '1 hour', '{{127.0.0.2}}', ARRAY['bl.plain'], 64, true)"
    claims = "; ".join(claim.format(name) for name in ("coordinator-1", "coordinator-2", "coordinator-1", "coordinator-2"))
    assert two.pg.query(f"BEGIN; {claims}; ROLLBACK") == [["1"], ["0"], ["1"], ["0"]]


def test_S63_a_listing_ends_when_the_list_says_so(two, names):
    assert "is not listed in" not in two.log("coordinator-1")
    names.process.terminate()  # nobody answers: what was known stays
    names.process.wait()
    two.ctl("blocklist", "check")
    assert results(two)["127.0.0.2", BL] == ("failed", True) and listed(two, "coordinator-2")["127.0.0.2", BL] == 1
    assert "LISTED, at last" in two.ctl("blocklist", "status")
    serve(names, PLAIN)
    wait_until(lambda: two.ctl("blocklist", "check") and results(two)["127.0.0.2", BL] == ("clean", False), 120, "it is not listed any more")
    assert f"blocklist: own address 127.0.0.2 is not listed in {BL} any more" in two.log("coordinator-1")
    assert listed(two, "coordinator-1")["127.0.0.2", BL] == 0
    assert two.log("coordinator-1").count("own address 127.0.0.2 is listed in") == 1, "it is told once"


def test_S63_the_next_leader_goes_on(two, names):
    """It has another configuration: addresses that edges tell, at most two of them, and a list that says nothing."""
    two.add_key("edge-1", "edge")
    edge = two.node("edge-1", "edge", at="coordinator-2")
    assert edge.hello(30) is not None
    assert edge.beat(addresses=[b"127.0.0.3", b"2001:db8::1", b"127.0.0.2"]) is not None
    two.stop("coordinator-1", signal.SIGKILL)
    expected = {("127.0.0.2", BL): ("clean", False), ("127.0.0.3", BL): ("clean", False), ("127.0.0.2", SILENT): ("failed", None), ("127.0.0.3", SILENT): ("failed", None)}
    wait_until(lambda: results(two) == expected, 120, "what the other leader asks")
    assert listed(two, "coordinator-2") == {("127.0.0.2", BL): 0, ("127.0.0.3", BL): 0}
    assert two.metric("weir_own_addresses_left_out", "coordinator-2") == 1
    before = checked(two)
    wait_until(lambda: checked(two) != before, 60, "another round, as time passes")
    assert lookups(two, "coordinator-2")[SILENT, "failed"] >= 2
    edge.close()

    # Private addresses are in nobody else's list. Whoever has no others looks nothing up, and says so.
    two.stop("coordinator-2")
    config = two.dir / "common.conf"
    config.write_text(config.read_text().replace("blocklist_private = on\n", ""))
    two.start("coordinator-2")
    two.pg.query("UPDATE node_process SET addresses = '[\"127.0.0.3\", \"10.0.0.1\", \"fd00::1\"]' WHERE node = 'edge-1'")
    wait_until(lambda: two.run_ctl("blocklist", "check").returncode == 78, 60, "there is nothing to look up")
    said = "no own address is known, but 3 private, which only lists of your own have (blocklist_private): name those that mail leaves from in own_addresses"
    assert f"nothing is looked up: {said}" in two.run_ctl("blocklist", "check").stderr
    assert f"nothing is looked up: {said}" in two.ctl("blocklist", "status") and "3 private addresses are left out" in two.ctl("blocklist", "status")
    assert f"problem       own addresses are not looked up in blocklists: {said}" in two.ctl("status")
    assert two.metric("weir_own_address_check_timestamp_seconds", "coordinator-2") == 0

    # Lists that are taken out of the configuration are forgotten.
    two.stop("coordinator-2")
    config.write_text("".join(line for line in config.read_text().splitlines(True) if not line.startswith("blocklist_zones")))
    two.start("coordinator-2")
    wait_until(lambda: "nothing is looked up" in two.ctl("blocklist", "status"), 60, "no list")
    done = two.run_ctl("blocklist", "check")
    assert done.returncode == 78 and "no blocklist_zones" in done.stderr
    assert not listed(two, "coordinator-2") and "blocklists" not in two.ctl("status")
