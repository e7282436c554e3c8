"""S58, S59, S66: the register of inside hosts that send mail."""
import ipaddress
import json
import subprocess

import pytest

import weir
from coordinators import Coordinators
from weir import BIN, EICAR, Smtp, message, wait_until

HOSTS = '127.0.0.1 owner=library reason="catalogue server"\n192.0.2.64/28 owner=printing reason="printers of the east wing"\n2001:db8::7 owner=archive reason=scans\n'
UNREGISTERED = "127.0.0.5"


@pytest.fixture(scope="module")
def site():
    made = weir.Cluster(edges=2, scanners=1, coordinators=2, sets=["edge.workers=1", "unregistered=refuse"])
    try:
        made.up()
        policy = made.dir / "policy"
        (policy / "hosts").write_text(HOSTS)
        with open(policy / "networks", "a", encoding="ascii") as networks:
            networks.write(f"{UNREGISTERED}\n192.0.2.0/24\n2001:db8::/64\n")
        made.apply_policy()
        yield made
    finally:
        made.down()


def listed(site, *words):
    return {host["client"]: host for host in json.loads(site.weirctl("--json", "hosts", "list", *words).stdout)["listed"]}


@pytest.mark.sanitized
def test_s66_who_sends_is_written_down_once(site):
    raw = message(size=3000)
    for edge in (1, 2):
        assert site.send(raw, edge=edge, recipients=("a@example.edu", "b@example.edu")).code == 250
    assert site.send(EICAR).code == 550
    with Smtp(site.env["EDGE_1_HANDOFF"], ehlo="printer.example.edu") as device:  # spooled: the edge's report and the spool's may come in any order
        device.envelope(recipients=["c@example.edu"])
        assert device.data(raw).code == 250

    def volume():
        host = listed(site)["127.0.0.1"]
        return host if host["recipients"] >= 5 and host["viruses"] else None
    host = wait_until(volume, 30, "the register")
    assert (host["messages"], host["recipients"], host["viruses"], host["refused"], host["tls"], host["unregistered"]) == (3, 5, 1, 1, 0, 0), host
    assert host["bytes"] >= 3 * 3000 and host["first_seen"] <= host["last_seen"], host
    assert (host["registered"], host["owner"], host["line"], host["inside"]) == (True, "library", "hosts:1", True), host
    counted = "SELECT sum(messages), sum(recipients) FROM sending_host_day"  # of two days where midnight is between
    before = [int(cell) for cell in site.query(counted)[0]]
    site.kill("coordinator-1")
    try:
        assert site.send(raw, edge=2).code == 250
        wait_until(lambda: listed(site)["127.0.0.1"]["recipients"] == 6, 30, "one more, and once")
    finally:
        site.heal()
    assert [int(cell) - 1 for cell in site.query(counted)[0]] == before
    shown = json.loads(site.weirctl("--json", "hosts", "show", "127.0.0.1").stdout)
    assert sum(day["recipients"] for day in shown["by_day"]) == 6 and shown["reason"] == "catalogue server"
    text = site.weirctl("hosts", "list").stdout
    assert "127.0.0.1" in text and "hosts:1" in text and "192.0.2.64/28" in text, text
    never = listed(site)["192.0.2.64/28"]
    assert "last_seen" not in never and never["owner"] == "printing"


def test_s59_unregistered_hosts_are_refused_counted_and_listed(site):
    with Smtp(site.relay(1), source=UNREGISTERED) as client:
        answers = client.envelope(recipients=["far@example.org", "alice@example.edu"])
    assert [answer.code for answer in answers] == [550, 250], answers  # as a stranger: to own domains only
    assert "This host is not registered to send mail" in answers[0].text
    host = wait_until(lambda: listed(site, "--unregistered").get(UNREGISTERED), 30, "the unregistered host")
    assert (host["registered"], host["inside"], host["messages"]) == (False, True, 0) and host["unregistered"] >= 1, host
    assert set(listed(site, "--unregistered")) == {UNREGISTERED}
    wait_until(lambda: site.metric("weir_unregistered_recipients_total", listener="relay", result="refused") == 1, 30, "the metric")


def test_s58_the_export_is_the_register(site, tmp_path):
    register = [ipaddress.ip_network(line.split()[0]) for line in HOSTS.splitlines()]
    assert [ipaddress.ip_network(line) for line in site.weirctl("hosts", "export").stdout.split()] == register
    (tmp_path / "hosts").write_text(HOSTS + '192.0.2.99 owner=guest reason="was here" approved_by=head expires=2020-12-31\n')  # that one is over
    done = subprocess.run([BIN / "weirctl", "hosts", "export", "--policy", tmp_path, "--format", "nftables"], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in done.stdout.splitlines()]
    v4, v6 = lines.index("add element inet weir registered4 {"), lines.index("add element inet weir registered6 {")
    assert [lines[v4 + 1:v4 + 4], lines[v6 + 1:]] == [["127.0.0.1/32,", "192.0.2.64/28,", "}"], ["2001:db8::7/128,", "}"]]
    assert lines.index("flush set inet weir registered4") < v4 and lines.index("flush set inet weir registered6") < v6


def test_a_bad_line_is_told_with_its_place(tmp_path):
    (tmp_path / "hosts").write_text("192.0.2.7 owner=library\n")
    done = subprocess.run([BIN / "weirctl", "policy", "check", tmp_path], capture_output=True, text=True)
    assert done.returncode == 65 and "hosts:1: error: reason= is missing" in done.stderr, done
    (tmp_path / "hosts").write_text(HOSTS)
    done = subprocess.run([BIN / "weirctl", "policy", "check", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0 and "hosts:1: warning: 127.0.0.1/32 is registered and not inside" in done.stderr, done


def test_what_is_old_or_too_much_goes(site):
    """In one transaction, of which nothing stays: the leader tidies once a minute, too."""
    told = site.query("BEGIN; INSERT INTO sending_host SELECT '10.1.' || n / 250 || '.' || n % 250, now() - interval '400 days', now() - n * interval '1 day', '', ''"
                      " FROM generate_series(300, 400) AS n;"
                      "INSERT INTO sending_host_day (client, day) SELECT client, last_seen::date FROM sending_host WHERE client LIKE '10.1.%';"
                      "SELECT * FROM hosts_tidy('90 days', '365 days', 1000, 5000); SELECT count(*) FROM sending_host;"
                      "SELECT hosts <> 0 FROM hosts_tidy('90 days', '365 days', 10, 5000);"
                      "SELECT count(*) <= 10, bool_or(client = '127.0.0.1') FROM sending_host; ROLLBACK")
    (days, hosts, known), (left,), some, rest = told
    assert int(days) == 101 and int(hosts) in (35, 36) and known == left, told
    assert (some, rest) == (["t"], ["t", "t"]), told


def test_however_many_are_too_much_they_go_at_once():
    with Coordinators(1, sets=["host_entries = 10"]) as made:
        made.pg.query("INSERT INTO sending_host SELECT '10.' || n / 62500 || '.' || n / 250 % 250 || '.' || n % 250, now(), now(), '', '' FROM generate_series(1, 12000) AS n")
        made.start()
        wait_until(lambda: made.pg.query("SELECT count(*) FROM sending_host") == [["10"]], 50, "they are gone, within a minute's turn")
