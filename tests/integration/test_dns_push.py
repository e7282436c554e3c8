"""The edges' name in the DNS, and drains that begin there: weirctl dns, and the leader's updates of a BIND that wants them signed."""
import json
import re
import signal
import subprocess

import pytest

import weir
from coordinators import Coordinators, entry
from named import Named, ZONE
from weir import Smtp, message, wait_until

FOUR, SIX, OTHER, THIRD = "192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"


def dns_section(named, **more):
    keys = {"dns_name": f"mx.{ZONE}", "dns_zone": ZONE, "dns_server": f"127.0.0.1:{named.port}", "dns_tsig_file": named.key, "dns_ttl": "1s",
            "dns_interval": "2s", "drain_dns_wait": "1s", **more}
    return "\n[dns]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


@pytest.fixture(scope="module")
def named():
    with Named() as made:
        yield made


class Edges:
    """Three edges that say what a test wants."""

    def __init__(self, two):
        self.two, self.nodes = two, {}

    def open(self, name, at="coordinator-1"):
        before = self.nodes.pop(name, None)
        edge = self.nodes[name] = self.two.node(name, "edge", at=at, boot=before and before.boot)
        edge.sequence = before.sequence if before else 0
        if before:
            before.close()
        assert edge.hello(30) is not None
        return edge

    def tell(self, name, *addresses, state="active", **more):
        edge = self.nodes.get(name) or self.open(name)
        assert edge.beat(state, addresses=[address.encode() for address in addresses], **more) is not None


@pytest.fixture(scope="module")
def two(named):
    with Coordinators(2) as made:
        common = made.dir / "common.conf"
        common.write_text(common.read_text().replace("node_timeout = 5s", "node_timeout = 10m") + dns_section(named))
        made.start()
        for name in ("edge-1", "edge-2", "edge-3"):
            made.add_key(name, "edge")
        made.edges = Edges(two=made)
        yield made
        for edge in made.edges.nodes.values():
            edge.close()


@pytest.fixture
def edges(two, named):
    """All three are healthy, and in the DNS."""
    made = two.edges
    for number, addresses in enumerate(((FOUR, SIX), (OTHER,), (THIRD,)), 1):
        made.tell(f"edge-{number}", *addresses)
        two.ctl("undrain", f"edge-{number}")
    wait_addresses(named, [FOUR, OTHER, THIRD], [SIX])
    return made


def wait_addresses(named, four, six=()):
    wait_until(lambda: named.addresses() == (sorted(four), sorted(six)), 60, f"{four} {six}")


def node(two, name):
    return two.json("node", "show", name)


def pushes(two, result):
    return sum(two.metric(f'weir_dns_pushes_total{{result="{result}",node="{name}"}}', name) or two.metric(
        f'weir_dns_pushes_total{{node="{name}",result="{result}"}}', name) or 0 for name in two.processes)


def test_the_healthy_set_is_what_the_name_has(two, named, edges):
    assert named.ttl("mx", "A") == 1
    said = two.ctl("dns")
    assert [line for line in said.splitlines() if line[0] != ";"] == [f"mx.{ZONE}. 1 IN {kind} {address}" for kind, address in (
        ("A", FOUR), ("A", OTHER), ("A", THIRD), ("AAAA", SIX))]
    zone = named.dir / "snippet"
    zone.write_text("$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\n" + said)
    checked = subprocess.run(["named-checkzone", ZONE, zone], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout

    edges.tell("edge-2", OTHER, state="draining")  # TERM
    wait_addresses(named, [FOUR, THIRD], [SIX])
    assert f"; edge-2 {OTHER} is left out: it is draining" in two.ctl("dns")
    edges.tell("edge-2", OTHER)
    wait_addresses(named, [FOUR, OTHER, THIRD], [SIX])
    edges.tell("edge-1", "203.0.113.9")  # it moved
    edges.tell("edge-3", "203.0.113.9")  # two behind one address
    wait_addresses(named, ["203.0.113.9", OTHER])
    edges.tell("edge-3", state="draining")
    edges.tell("edge-2", "x", OTHER)  # what is no address becomes no record
    wait_until(lambda: not [one for one in two.json("dns")["edges"] if one["node"] == "edge-3"][0]["healthy"], 30, "edge-3 is left out")
    assert named.addresses() == (["192.0.2.2", "203.0.113.9"], []), "it is still edge-1's"
    by_name = {one["node"]: one for one in two.json("dns")["edges"]}
    assert by_name["edge-2"]["addresses"] == [OTHER] and by_name["edge-3"]["why"] == "it is draining"


def test_an_edge_over_budget_is_left_out_unless_most_are(two, named, edges):
    edges.tell("edge-1", FOUR, SIX, full=True)
    wait_addresses(named, [OTHER, THIRD])
    assert "it is over budget" in two.ctl("dns")
    edges.tell("edge-2", OTHER, full=True)  # two of three: the third would be next
    wait_addresses(named, [FOUR, OTHER, THIRD], [SIX])


def test_a_name_is_never_left_without_addresses(two, named, edges):
    edges.tell("edge-2", OTHER, state="draining")
    edges.tell("edge-3", THIRD, state="draining")
    wait_addresses(named, [FOUR], [SIX])
    edges.tell("edge-1", FOUR, SIX, state="draining")
    wait_until(lambda: "problem       no edge is healthy" in two.ctl("status"), 30, "the problem")
    wait_until(lambda: 1 in [two.metric(f'weir_dns_kept{{node="{name}"}}', name) for name in two.names], 30, "the metric")
    said = two.ctl("dns")
    assert "; no edge is healthy" in said and f"mx.{ZONE}. 1 IN A {FOUR}\n" in said
    asked = two.run_ctl("dns", "push")
    assert asked.returncode == 75 and "no edge is healthy" in asked.stderr, asked
    assert two.run_ctl("dns", "push", "--dry-run").returncode == 78
    assert named.addresses() == ([FOUR], [SIX])


def test_operators_push(two, named, edges):
    script = two.ctl("dns", "push", "--dry-run")
    assert f"zone {ZONE}.\n" in script and f"update delete mx.{ZONE}. A\n" in script and script.endswith("send\n")
    done = pushes(two, "done")
    assert f"mx.{ZONE}. 1 IN A {FOUR}" in two.ctl("dns", "push")
    assert pushes(two, "done") > done
    assert two.json("history")[-1]["action"] == "dns push"


def test_what_others_did_to_the_name_is_undone(named, edges):
    del edges
    named.update(f"update delete mx.{ZONE}. A", f"update add mx.{ZONE}. 60 A 203.0.113.66")
    wait_addresses(named, [FOUR, OTHER, THIRD], [SIX])


@pytest.mark.sanitized
def test_a_push_that_fails_is_told_with_the_servers_words_and_tried_again(two, named, edges):
    def told(words):
        asked = two.run_ctl("dns", "push")
        assert asked.returncode == 75 and re.search(words, asked.stderr), asked
        wait_until(lambda: re.search(f"problem       the DNS was not updated at .*{words}", two.ctl("status")), 30, words)

    failed, right = pushes(two, "failed"), named.key.read_text()
    named.key.write_text(re.sub(r'secret ".', lambda found: 'secret "B' if found[0][-1] == "A" else 'secret "A', right))
    told("NOTAUTH|BADSIG|tsig")
    named.key.write_text(right)
    two.ctl("dns", "push")
    assert "problem       the DNS" not in two.ctl("status")
    named.update(f"update delete mx.{ZONE}. A", f"update delete mx.{ZONE}. AAAA", f"update add mx.{ZONE}. 60 CNAME ns.{ZONE}.")
    told("YXRRSET")  # a server ignores addresses of an alias, and says that all is well
    named.update(f"update delete mx.{ZONE}. CNAME")
    wait_addresses(named, [FOUR, OTHER, THIRD], [SIX])
    named.stop()
    edges.tell("edge-2", OTHER, state="draining")
    told("Communication with 127.0.0.1")
    named.start()
    wait_addresses(named, [FOUR, THIRD], [SIX])
    assert pushes(two, "failed") >= failed + 3


def test_an_answer_that_was_lost_may_have_been_a_yes(two, edges):
    """What a push that failed named may be in the DNS, so who drains waits for one that takes it out."""
    seen = two.pg.query("BEGIN; UPDATE node SET dns_in_at = NULL, dns_out_at = now() - interval '1 day' WHERE name = 'edge-1';"
                        " SELECT dns_result('c', 0, '', '[]', '[\"edge-1\"]', 'no answer');"
                        " SELECT dns_in_at > now() - interval '1 hour', dns_out_at IS NULL FROM node WHERE name = 'edge-1'; ROLLBACK")
    assert seen[-1] == ["t", "t"]


# ---- drains ----

@pytest.mark.sanitized
def test_S52_a_drained_edge_leaves_the_dns_first(two, named, edges):
    edge = edges.nodes["edge-1"]
    first = two.json("drain", "edge-1")
    assert (first["drain"], first["drain_held"]) == (True, True), first
    number = first["drain_number"]
    heard = edge.state(lambda s: entry(s, "edge-1").drain_number == number, 30)
    if not entry(heard, "edge-1").drain:  # on a slow machine the second that it has is over
        assert node(two, "edge-1")["drain_step"] in ("leaving the DNS", "out of the DNS, serving those who do not know yet", "finishing")
    assert edge.state(lambda s: entry(s, "edge-1").drain, 60) is not None
    assert named.addresses() == ([OTHER, THIRD], []), "when it hears of the drain it is out"
    assert node(two, "edge-1")["dns_out_at"] is not None

    edges.tell("edge-1", FOUR, SIX, state="draining", drain_number=number, in_flight=2, leases=1, reports=3)
    wait_until(lambda: node(two, "edge-1")["state"] == "draining", 30, "its state")
    late = two.run_ctl("drain", "--wait", "--timeout", "1", "edge-1")
    assert late.returncode == 75 and "edge-1: finishing: 2 sessions, 1 lease of the spool, 3 audit rows not acknowledged\n" in late.stderr, late
    edges.tell("edge-1", FOUR, SIX, state="drained", drain_number=number)
    said = two.ctl("drain", "--wait", "edge-1")
    assert re.search("safe to stop: no sessions, no leases of the spool, every audit row acknowledged, out of the DNS since 20", said), said

    waiting = subprocess.Popen([weir.BIN / "weirctl", "-c", two.config("operator"), "undrain", "--wait", "edge-1"], stderr=subprocess.PIPE, text=True)
    assert edge.state(lambda s: entry(s, "edge-1").drain_number == number + 1 and not entry(s, "edge-1").drain, 30)
    assert FOUR not in named.addresses()[0], "into the DNS last"
    edges.tell("edge-1", FOUR, SIX, drain_number=number + 1)
    assert waiting.wait(120) == 0
    assert named.addresses() == ([FOUR, OTHER, THIRD], [SIX])
    waiting.stderr.close()


def test_S52_a_drain_outlives_whoever_leads(two, named, edges):
    """The name server is away when an edge is drained: it goes on serving, whoever leads; --now does not wait."""
    named.stop()
    two.ctl("drain", "edge-1")
    two.ctl("drain", "edge-2")
    leader = next(name for name in two.names if two.metric(f'weir_leader{{node="{name}"}}', name) == 1)
    two.stop(leader, signal.SIGKILL)
    other = next(name for name in two.names if name != leader)
    wait_until(lambda: two.metric(f'weir_leader{{node="{other}"}}', other) == 1, 60, "another leader")
    two.start(leader)
    for name in list(edges.nodes):
        edges.open(name, at=other)
    wait_until(lambda: "the DNS was not updated" in two.ctl("status"), 60, "its try")
    assert all(node(two, name)["drain_step"] == "leaving the DNS" for name in ("edge-1", "edge-2"))
    assert "edge-1 is leaving the DNS (weirctl drain --now edge-1 does not wait for it), wanted by operator" in two.ctl("status")
    wait_until(lambda: two.metric("weir_dns_drains_waiting", other) == 2, 60, "the metric")
    edge = edges.nodes["edge-2"]
    two.ctl("drain", "--now", "edge-2")
    assert edge.state(lambda s: entry(s, "edge-2").drain and not entry(s, "edge-1").drain, 30)
    named.start()
    wait_addresses(named, [THIRD])
    assert edge.state(lambda s: entry(s, "edge-1").drain, 60)
    wait_until(lambda: two.metric("weir_dns_drains_waiting", other) == 0, 60, "the metric")


def test_the_last_edge_is_not_waited_for(two, named, edges):
    """It stays in the DNS whatever happens."""
    edges.tell("edge-2", OTHER, state="draining")
    edges.tell("edge-3", THIRD, state="draining")
    wait_addresses(named, [FOUR], [SIX])
    assert two.run_ctl("drain", "edge-1").returncode == 77
    assert two.json("drain", "--force", "edge-1")["drain_held"] is False


def test_what_is_not_the_clusters_any_more_leaves_the_dns(two, named, edges):
    """An edge whose key is revoked; a name of before, after a while, and when the new one has its own: a name server that does not do it is asked again.
    What somebody else gave that name stays, and a name that is only written another way is none of before."""
    path = two.dir / "common.conf"
    before = path.read_text()

    def begin_with(section):
        for name in two.names:
            two.stop(name)
        path.write_text(before.split("\n[dns]\n")[0] + section)
        two.start()
        for number, addresses in enumerate(((FOUR, SIX), (OTHER,)), 1):
            two.edges.open(f"edge-{number}")
            two.edges.tell(f"edge-{number}", *addresses)

    two.ctl("keys", "revoke", "edge-3")
    wait_addresses(named, [FOUR, OTHER], [SIX])
    begin_with(dns_section(named, dns_name=f"new.{ZONE}", dns_former_wait="1h"))
    wait_until(lambda: named.addresses("new") == ([FOUR, OTHER], [SIX]), 60, "the new name")
    assert f"mx.{ZONE}, the name before" in two.ctl("dns") and named.addresses() == ([FOUR, OTHER], [SIX])
    wait_until(lambda: any(two.metric("weir_dns_former_names", name) == 1 for name in two.names), 60, "the metric")
    named.update(f"update add mx.{ZONE}. 60 A 203.0.113.66")
    named.stop()
    begin_with(dns_section(named, dns_name=f"New.{ZONE.upper()}", dns_former_wait="0"))
    wait_until(lambda: two.json("dns")["former"][0]["error"], 60, "a try")
    former, = two.json("dns")["former"]
    assert former["name"] == f"mx.{ZONE}" and {FOUR, OTHER, SIX} <= set(former["addresses"]), former
    named.start()
    wait_addresses(named, ["203.0.113.66"])
    wait_until(lambda: two.json("dns")["former"] == [], 60, "that nothing is left to do")
    assert named.addresses("new") == ([FOUR, OTHER], [SIX]) and named.records("mx", "MX") is not None
    path.write_text(before)


def test_without_a_server_nothing_is_pushed(two, named):
    """And with a name, weirctl prints its addresses all the same; drains wait for nothing."""
    path = two.dir / "common.conf"
    before = path.read_text()
    for name in two.names:
        two.stop(name)
    path.write_text(before.split("\n[dns]\n")[0] + dns_section(named, dns_server="").replace("dns_server = \n", ""))
    two.start()
    for edge in ("edge-1", "edge-2"):
        two.edges.open(edge)
    two.edges.tell("edge-1", FOUR)
    two.edges.tell("edge-2", OTHER)
    two.ctl("undrain", "edge-1")
    two.ctl("undrain", "edge-2")
    wait_until(lambda: two.json("dns")["server"] == "", 60, "the leader has looked")
    wait_until(lambda: f"mx.{ZONE}. 1 IN A {FOUR}\nmx.{ZONE}. 1 IN A {OTHER}\n" in two.ctl("dns"), 60, "the snippet")
    for words in (("dns", "push"), ("dns", "push", "--dry-run")):
        done = two.run_ctl(*words)
        assert done.returncode == 78 and "no dns_server" in done.stderr, done
    assert two.json("drain", "edge-1")["drain_held"] is False


# ---- real edges ----

def test_S52_an_edge_serves_until_it_is_out_of_the_dns(make_cluster, named):
    """Real edges: what they tell, a drain that waits, one that does not, TERM, and a death."""
    keys = dict(line.split(" = ", 1) for line in dns_section(named, dns_name=f"real.{ZONE}", drain_dns_wait="10m").splitlines()[2:])
    cluster = make_cluster(edges=2, scanners=1, sets=["edge.workers=1", "drain_idle=10m", *(f"dns.{key}={value}" for key, value in keys.items())])
    for number, addresses in ((1, f"{FOUR}, {SIX}"), (2, OTHER)):
        path = cluster.dir / f"edge-{number}/weir.conf"
        path.write_text(path.read_text().replace("[edge]\n", f"[edge]\npublic_addresses = {addresses}\n"))
        cluster.reload(f"edge-{number}")
    wait_until(lambda: named.addresses("real") == ([FOUR, OTHER], [SIX]), 60, "both in the DNS")
    cluster.weirctl("drain", "edge-1")
    wait_until(lambda: named.addresses("real") == ([OTHER], []), 60, "edge-1 out of the DNS")
    wait_until(lambda: json.loads(cluster.weirctl("--json", "node", "show", "edge-1").stdout)["drain_step"].startswith("out of the DNS"), 60, "the step")
    with Smtp(cluster.relay(1)) as smtp:
        assert smtp.greeting.code == 220, "it serves those who do not know yet"
        assert cluster.send(message(), edge=1).code == 250
        assert cluster.nodes()["edge-1"]["state"] == "active"
        cluster.weirctl("drain", "--now", "edge-1")
        wait_until(lambda: Smtp(cluster.relay(1)).greeting.code == 421, 60, "edge-1 takes no new clients")
        late = cluster.weirctl("drain", "--wait", "--timeout", "1", "edge-1", check=False)
        assert late.returncode == 75 and "finishing" in late.stderr, "it has a session"
        assert smtp.command("QUIT").code == 221
    assert "safe to stop: no sessions, no leases of the spool, every audit row acknowledged, out of the DNS since" in \
        cluster.weirctl("drain", "--wait", "edge-1").stdout
    assert cluster.weirctl("undrain", "--wait", "edge-1").returncode == 0
    assert named.addresses("real") == ([FOUR, OTHER], [SIX])
    cluster.kill("edge-2")
    wait_until(lambda: named.addresses("real") == ([FOUR], [SIX]), 60, "edge-2 died")
