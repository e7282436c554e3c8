"""Where one may log in, where one must, and what that opens: ports 25, 587 and 465 side by side, from inside and outside."""
import base64
import pathlib
import re
import ssl

import pytest

import weir
from weir import Smtp, message, wait_until

INSIDE, OUTSIDE = None, "127.0.0.2"
ALICE = ("alice@example.edu", "wonderland")
DOORS = {"25": "RELAY", "587": "SUBMISSION", "465": "SUBMISSIONS"}


@pytest.fixture(scope="module")
def house():
    made = weir.Cluster(edges=1, scanners=1, coordinators=1, sets=["auth_failure_delay=100ms", "sender_login_match=on"])
    try:
        made.up()
        made.conf = made.dir / "edge-1/weir.conf"
        made.plain_conf = made.conf.read_text()
        yield made
    finally:
        made.down()


def configure(house, until, **listeners):
    """Keys for listeners beyond the cluster's own, by HUP; until: what is seen when the edge has taken them."""
    sections = "".join(f'\n[listener "{name}"]\n{keys}\n' for name, keys in listeners.items())
    house.conf.write_text(house.plain_conf + sections)
    house.reload("edge-1")
    wait_until(until, what=f"an edge with {listeners}")


def plain(login, password):
    return "AUTH PLAIN " + base64.b64encode(f"\0{login}\0{password}".encode()).decode()


def knock(house, door, source=OUTSIDE, login=None, secure=True):
    """A client at that port, under TLS as is usual there, logged in when it is told to."""
    ca_file = house.env["CA_FILE"]
    client = Smtp(house.env["EDGE_1_" + DOORS.get(door, door)], source=source, greet=door != "465")
    if door == "465":
        client.sock = ssl.create_default_context(cafile=ca_file).wrap_socket(client.sock, server_hostname="localhost")
        assert client.reply().code == 220
        client.ehlo = client.command("EHLO client.example.org")
    elif secure:
        client.starttls(ca_file)
    if login is not None:
        assert client.command(plain(*login)).code == 235
    return client


def offers(house, door):
    with knock(house, door) as client:
        return "AUTH PLAIN LOGIN" in client.ehlo.text.split("\n")


def offered(house):
    return {door for door in DOORS if offers(house, door)}


def far(client, sender="alice@example.edu"):
    """The code and status of the first command that did not go well, of a message to far away; else of RCPT."""
    answer = client.command(f"MAIL FROM:<{sender}>")
    if answer.code == 250:
        answer = client.command("RCPT TO:<someone@far.test>")
    return answer.code, answer.text.split()[0]


def test_S18_probe_of_all_three_and_the_switch_for_25_alone(house):
    configure(house, lambda: offers(house, "25"), relay="auth = offer")
    assert offered(house) == {"25", "587", "465"}
    for door in DOORS:
        with knock(house, door, login=ALICE) as client:
            assert far(client) == (250, "2.1.5"), door
    configure(house, lambda: not offers(house, "25"), relay="auth = off")
    assert offered(house) == {"587", "465"}
    with knock(house, "25") as client:
        refused = client.command(plain(*ALICE))
        assert (refused.code, refused.text.split()[0]) == (502, "5.5.1")
        assert far(client) == (550, "5.7.1")
    for door in ("587", "465"):
        with knock(house, door, login=ALICE) as client:
            assert far(client) == (250, "2.1.5"), door
    with Smtp(house.env["EDGE_1_SUBMISSIONS"], greet=False) as client:  # says nothing before TLS
        client.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            client.reply()


@pytest.mark.parametrize("door", ["25", "587"])
def test_S17_no_password_in_clear(house, door):
    configure(house, lambda: offers(house, "25"), relay="auth = offer")
    secret = f"in-clear-at-{door}"
    typed = [plain("alice@example.edu", secret), "AUTH LOGIN", "AUTH LOGIN " + base64.b64encode(secret.encode()).decode(), "AUTH PLAIN"]
    with knock(house, door, secure=False) as client:
        assert not any(line.upper().startswith("AUTH") for line in client.ehlo.text.split("\n"))
        for line in typed:
            refused = client.command(line)
            assert (refused.code, refused.text.split()[0]) == (538, "5.7.11"), line
    wait_until(lambda: re.search(r"disconnect from \S+\[127.0.0.2\] ehlo=1 auth=0/4", house.log("edge-1")), what="the end of the session in the log")
    forms = [secret.encode(), typed[0].split()[-1].encode(), typed[2].split()[-1].encode()]
    for path in pathlib.Path(house.env["LOG_DIR"]).iterdir():
        assert not any(form in path.read_bytes() for form in forms), path


def test_S16_from_any_network_a_login_relays_and_the_log_and_trace_name_it(house):
    configure(house, lambda: offers(house, "25"), relay="auth = offer")
    with knock(house, "587") as client:
        wrong = client.command(plain("alice@example.edu", "not this"))
        unknown = client.command(plain("nobody@example.edu", "not this"))
        assert (wrong.code, wrong.text) == (unknown.code, unknown.text) and (wrong.code, wrong.text.split()[0]) == (535, "5.7.8")
    with knock(house, "587", login=("ALICE@Example.EDU", "wonderland")) as client:
        client.envelope(sender="alice@example.edu", recipients=("someone@far.test",))
        answer = client.data(message(token="by-login"))
        assert answer.code == 250
        assert far(client, sender="mallory@example.edu")[0] == 553
    stored = wait_until(lambda: house.sink.with_token("by-login"), what="the delivery")
    assert "ESMTPSA" in stored[0][0].decode()
    log = house.log("edge-1")
    assert re.search(rf"{answer.queue_id}: client=\S+\[127.0.0.2\], sasl_method=PLAIN, sasl_username=alice@example.edu\n", log)
    assert re.search(r"NOQUEUE: reject: MAIL from \S+\[127.0.0.2\]: 553 5.7.1 .*; from=<mallory@example.edu> proto=ESMTP helo=<client.example.org> "
                     r"sasl_username=<alice@example.edu>\n", log)
    assert not re.search(r"helo=<[^>]*> sasl_username=<>", log)
    story = wait_until(lambda: "login     alice@example.edu" in (text := house.weirctl("trace", answer.queue_id, check=False).stdout) and text,
                       what="the audit row with the login, which the edge's report adds")
    assert "127.0.0.2" in story
    with knock(house, "25", source=INSIDE) as client:  # nobody logged in here
        client.envelope(recipients=("bob@example.edu",))
        other = client.data(message(token="by-nobody"))
    wait_until(lambda: other.queue_id in (text := house.weirctl("trace", other.queue_id, check=False).stdout) and "login" not in text, what="a row without a login")
    found = house.weirctl("trace", "Alice@example.edu").stdout
    assert answer.queue_id in found and other.queue_id not in found


def test_S56_a_login_opens_the_relay_and_an_inside_address_only_where_the_listener_says_so(house):
    """To far away, for each listener: what comes of an inside address without a login, an outside one without, an outside one with."""
    def table(*doors):
        seen = {}
        for door in doors:
            row = []
            for source in (INSIDE, OUTSIDE):
                with knock(house, door, source=source) as client:
                    row.append(far(client))
            if door != "HANDOFF":
                with knock(house, door, source=OUTSIDE, login=ALICE) as client:
                    row.append(far(client))
            seen[door] = row
        return seen

    granted, relaying, required = (250, "2.1.5"), (550, "5.7.1"), (530, "5.7.0")
    configure(house, lambda: offers(house, "25"), relay="auth = offer")
    assert table("25", "587", "465", "HANDOFF") == {
        "25": [granted, relaying, granted],         # a relay listener: registered networks are enough
        "587": [required, required, granted],       # being inside is nothing
        "465": [required, required, granted],
        "HANDOFF": [granted, relaying],
    }
    configure(house, lambda: offers(house, "25") and not opened(house), relay="auth = require")
    assert table("25") == {"25": [required, required, granted]}
    configure(house, lambda: not offers(house, "587"), submission="auth = off", submissions="auth = offer")
    with knock(house, "587", source=INSIDE) as client:  # it says that it wants no login, so it takes the inside, and nobody else
        assert far(client) == granted
    with knock(house, "587", source=OUTSIDE) as client:
        assert far(client) == relaying
    assert table("465") == {"465": [granted, relaying, granted]}


def opened(house):
    """Whether port 25 takes mail from inside without a login."""
    with knock(house, "25", source=INSIDE) as client:
        return client.command("MAIL FROM:<>").code == 250
