"""S39: one listener for what comes in, one for what goes out, each with its own rules whoever asks and in whatever words."""
import base64
import contextlib

import pytest

import weir
from test_balancers import v1
from test_relay import FOREIGN, OWN
from weir import Smtp, wait_until

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
