"""S39: one listener for what comes in, one for what goes out, each with its own rules whoever asks and in whatever words; and S75: what the defaults allow."""
import base64
import contextlib
import json

import pytest

import weir
from test_balancers import v1
from test_policy_rows import listening, port_25  # noqa: F401 pylint: disable=unused-import
from test_relay import FOREIGN, OWN
from weir import Smtp, message, wait_until

OUTSIDE = "127.0.0.2"
FAR = "198.51.100.7"
BALANCER, PEER = "127.0.0.7", "127.0.0.8"
SENDERS = ("sender@example.org", "", "alice@example.edu", "postmaster@example.edu")
LOGIN = base64.b64encode(b"\0alice@example.edu\0wonderland").decode()


@pytest.fixture(scope="module")
def doors():
    made = weir.Cluster(edges=1, scanners=1, sets=["auth=offer", f"proxy_from={BALANCER}", f"xclient_from={PEER}", "max_errors=10000"])
    try:
        made.up()
        config = made.dir / "edge-1" / "weir.conf"
        text = config.read_text().replace("profile = relay\n", "profile = relay\ndirection = inbound\n")
        config.write_text(text.replace("profile = handoff\n", "profile = relay\ndirection = outbound\n"))
        made.stop("edge-1")
        made.start("edge-1")
        made.doors = {"inbound": made.env["EDGE_1_RELAY"], "outbound": made.env["EDGE_1_HANDOFF"]}
        yield made
    finally:
        made.down()


@contextlib.contextmanager
def client_of(cluster, direction, who):
    """A session of one of CLIENTS."""
    source = {"proxy": BALANCER, "xclient": PEER, "outside": OUTSIDE}.get(who.split()[0])
    with Smtp(cluster.doors[direction], source, greet=not who.startswith("proxy")) as client:
        if who.startswith("proxy"):
            client.send(v1(who.split()[1]))
            assert client.reply().code == 220
            assert client.command("EHLO balanced.example.org").code == 250
        elif who.startswith("xclient"):
            assert client.command(f"XCLIENT {who.split(maxsplit=1)[1]}").code == 220
            assert client.command("EHLO spoken-for.example.org").code == 250
        elif who.endswith("login"):
            client.starttls(cluster.env["CA_FILE"])
            wait_until(lambda: client.command(f"AUTH PLAIN {LOGIN}").code == 235, 30, "a login")  # 454 where nobody found the time
        yield client


def told(client, recipients, senders=SENDERS):
    """{recipient: all the codes it was answered with, whoever the sender is said to be}."""
    codes = {}
    for sender in senders:
        assert client.command("RSET").code == 250
        for recipient, answer in zip(recipients, client.envelope(sender, recipients)):
            codes.setdefault(recipient, set()).add(answer.code)
    return codes


CLIENTS = {  # whether it is one of ours: who may send anywhere by the outbound door, while no other is taken there at all
    "inside": True, "inside login": True, "outside": False, "outside login": True,
    "proxy 127.0.0.1": True, f"proxy {FAR}": False, "proxy 127.0.0.2": False,
    "xclient ADDR=127.0.0.1": True, f"xclient ADDR={FAR}": False, "xclient ADDR=IPV6:2001:db8::7": False,
    "xclient HELO=localhost NAME=inside.example.edu": False,  # a name is no address
    f"xclient ADDR={FAR} LOGIN=alice@example.edu": True,
}


@pytest.mark.sanitized
@pytest.mark.parametrize("who", CLIENTS)
def test_S39_each_door_has_its_rules_for_all(doors, who):
    own, foreign = "alice@example.edu", "someone@far.test"
    with client_of(doors, "inbound", who) as client:
        assert told(client, [own, foreign]) == {own: {250}, foreign: {550}}, "in, and never out again"
    with client_of(doors, "outbound", who) as client:
        code = 250 if CLIENTS[who] else 550
        assert told(client, [own, foreign]) == {own: {code}, foreign: {code}}, "out, and never for a stranger"


@pytest.mark.sanitized
@pytest.mark.parametrize("direction, who", [("inbound", who) for who in ("inside", "outside login", "proxy 127.0.0.1", f"xclient ADDR={FAR} LOGIN=alice@example.edu")]
                         + [("outbound", who) for who in ("outside", f"proxy {FAR}", f"xclient ADDR={FAR}")])
def test_S39_S53_no_spelling_gets_round_a_direction(doors, direction, who):
    with client_of(doors, direction, who) as client:
        codes = told(client, FOREIGN + (OWN if direction == "outbound" else []), senders=("alice@example.edu", ""))
        assert all(500 <= code <= 599 for answers in codes.values() for code in answers), codes
        assert client.command("DATA").code in (503, 554)


@pytest.fixture(scope="module")
def fresh(port_25):
    """An edge whose file says who it is, which services it has, and nothing else; a policy of one domain of its own and where its mail goes."""
    made = weir.Cluster(edges=2, scanners=1)
    try:
        made.up()
        made.stop("edge-2")
        config = made.dir / "edge-2" / "weir.conf"
        config.write_text(f"key_file = {made.dir}/keys/edge-2.key\n\ninclude ../common.conf\n\n[edge]\nhostname = edge-2.example.edu\ntmp_dir = {made.dir}/tmp\n"
                          '\n[listener "mx"]\n'
                          '\n[listener "submission"]\nprofile = submission\nlisten = 127.0.0.1:587\n'
                          '\n[listener "handoff"]\nprofile = handoff\nlisten = 127.0.0.3:25\n')
        folder = made.dir / "policy"
        (folder / "networks").unlink()
        table = folder / "mailertable"
        table.write_text(next(line for line in table.read_text().splitlines() if line.startswith("example.edu")) + "\n")
        made.weirctl("policy", "apply", str(folder))
        made.start("edge-2", wait=False)
        wait_until(lambda: made.nodes()["edge-2"]["state"] == "active" and made.nodes()["edge-2"]["policy_epoch"] == 2, 60, "the edge with the policy")
        made.doors = {"mx": f"127.0.0.1:{port_25}", "mx-6": f"[::1]:{port_25}", "submission": "127.0.0.1:587", "handoff": f"127.0.0.3:{port_25}"}

        def greets():
            with Smtp(made.doors["mx"], ehlo=None) as client:
                return client.greeting.code == 220
        wait_until(lambda: all(greets() for _ in range(20)), 30, "every worker of the edge serves")
        yield made
    finally:
        made.down()


@pytest.mark.parametrize("door", ["mx", "mx-6", "submission", "handoff"])
def test_S53_S75_the_defaults_relay_for_nobody(fresh, door):
    """No client is inside, be it on the same machine, where no line of a file says so."""
    for recipient in FOREIGN:
        for sender in SENDERS:
            with Smtp(fresh.doors[door]) as client:
                answer = client.command(f"MAIL FROM:<{sender}>")
                assert answer.code == (530 if door == "submission" else 250), answer
                answer = client.command(f"RCPT TO:<{recipient}>")
                assert 500 <= answer.code <= 599, (door, sender, recipient, answer)
                assert client.command("DATA").code in (503, 554)


def test_S75_what_the_defaults_are_for(fresh):
    for recipient in [*OWN, "abuse@example.edu"]:
        with Smtp(fresh.doors["mx"]) as client:
            assert [answer.code for answer in client.envelope(recipients=[recipient])] == [250], recipient
            assert client.data(message()).code == 250
    for door in ("submission", "handoff"):
        with Smtp(fresh.doors[door]) as client:
            assert "AUTH" not in client.ehlo.text, "not in clear"
            client.command("MAIL FROM:<alice@example.edu>")
            assert client.command("RCPT TO:<alice@example.edu>").code in (503, 550)
    assert json.loads(fresh.weirctl("--json", "relay", "explain", "127.0.0.1", "victim@example.com").stdout)["result"] == "refuse"
    assert listening(fresh.pid("edge-2")) <= {"0100007F", "0300007F", "00000000000000000000000001000000"}
