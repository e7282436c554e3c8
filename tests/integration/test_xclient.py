"""XCLIENT: peers that speak for clients of theirs, with swaks as one of them."""
import re
import subprocess

import pytest

import weir
from weir import Smtp, message

PEER = "127.0.0.8"  # listed, and outside of all networks
KEYWORDS = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"


@pytest.fixture(scope="module")
def cluster():
    made = weir.Cluster(edges=1, scanners=1, sets=[f"xclient_from={PEER}"])
    try:
        yield made.up()
    finally:
        made.down()


def swaks(cluster, token, *words, recipient="alice@example.edu"):
    return subprocess.run(["swaks", "--server", cluster.relay(), "--local-interface", PEER, "--helo", "peer.example.org", "--from", "sender@example.org",
                           "--to", recipient, "--header", f"Subject: {token}", *words], capture_output=True, text=True, timeout=60 * weir.PATIENCE)


@pytest.mark.sanitized
@pytest.mark.parametrize("address, written", [("198.51.100.7", "[198.51.100.7]"), ("IPV6:2001:db8::7", "[IPv6:2001:db8::7]")])
def test_swaks_speaks_for_a_client(cluster, address, written):
    token = f"xclient-{len(address)}"
    done = swaks(cluster, token, "--xclient-name", "client.example.net", "--xclient-addr", address, "--xclient-helo", "said.example.net", "--xclient-proto", "SMTP")
    assert done.returncode == 0, done.stdout + done.stderr
    (raw, _), = cluster.sink.with_token(token)
    assert re.search(rb"Received: from said\.example\.net \(client\.example\.net " + re.escape(written.encode()) + rb"\)\s.*?\swith SMTP id ", raw, re.S), raw[:400]
    plain = address.rsplit("IPV6:", 1)[-1]
    assert f": client=client.example.net[{plain}]" in cluster.log("edge-1")
    assert f"xclient: unknown[{PEER}] speaks for client.example.net[{plain}]" in cluster.log("edge-1")


@pytest.mark.sanitized
def test_swaks_speaks_for_a_client_under_tls(cluster):
    done = swaks(cluster, "xclient-tls", "--tls", "--xclient-addr", "198.51.100.8", "--xclient-name", "[UNAVAILABLE]")
    assert done.returncode == 0, done.stdout + done.stderr
    (raw, _), = cluster.sink.with_token("xclient-tls")
    assert b"(unknown [198.51.100.8])" in raw and b"with ESMTPS id" in raw


def test_the_policy_is_about_the_client(cluster):
    assert swaks(cluster, "xclient-far", recipient="someone@far.test").returncode == 24  # the peer itself is outside
    for address, codes in (("127.0.0.1", 0), ("198.51.100.7", 24)):
        done = swaks(cluster, "xclient-far", "--xclient-addr", address, "--quit-after", "RCPT", recipient="someone@far.test")
        assert done.returncode == codes, done.stdout + done.stderr


@pytest.mark.sanitized
def test_a_login_is_believed(cluster):
    done = swaks(cluster, "xclient-login", "--xclient-login", "alice@example.edu", "--xclient-addr", "198.51.100.7", recipient="someone@far.test")
    assert "550 5.7.1" not in done.stdout and "250 2.1.5" in done.stdout, done.stdout + done.stderr
    assert "sasl_method=XCLIENT, sasl_username=alice@example.edu" in cluster.log("edge-1")


@pytest.mark.sanitized
def test_only_those_who_are_listed(cluster):
    with Smtp(cluster.relay(), source=PEER) as peer:
        assert KEYWORDS in peer.ehlo.text
    with Smtp(cluster.relay(), source="127.0.0.2") as other:
        assert "XCLIENT" not in other.ehlo.text
        answer = other.command("XCLIENT ADDR=127.0.0.1")
        assert (answer.code, answer.text[:5]) == (550, "5.7.0"), answer
        assert other.envelope(recipients=["someone@far.test"])[0].code == 550


def test_not_in_a_transaction(cluster):
    with Smtp(cluster.relay(), source=PEER) as peer:
        assert peer.envelope()[0].code == 250
        assert peer.command("XCLIENT ADDR=127.0.0.1").code == 503
        assert peer.command("RSET").code == 250
        assert peer.command("XCLIENT ADDR=127.0.0.1 HELO=a").code == 220
        assert peer.command("MAIL FROM:<a@example.org>").code == 503
        assert "XCLIENT" not in peer.command("EHLO again.example.org").text  # who it is now is not listed
        assert peer.envelope(recipients=["someone@far.test"])[0].code == 250


def test_values_are_data(cluster):
    """Nothing that a peer says makes a second line anywhere."""
    with Smtp(cluster.relay(), source=PEER) as peer:
        for words in ("HELO=a+0D+0AX: y", "NAME=a+0Ab", "LOGIN=+00", "ADDR=1.2.3.4+0A", "HELO=" + "x" * 300, "IDENT=a", ""):
            assert peer.command(f"XCLIENT {words}").code == 501, words
        assert peer.command("NOOP").code == 250
