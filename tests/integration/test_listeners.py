"""Listeners side by side: what each is for, what handoff forgives and the others do not, implicit TLS."""
import base64
import contextlib
import email
import email.utils
import re
import socket
import ssl
import warnings

import pytest

import weir
from weir import EICAR, Smtp, message, wait_until

OUTSIDE = "127.0.0.2"
PROFILES = ["RELAY", "SUBMISSION", "HANDOFF"]


def arrived(cluster, token):
    """The one copy at the sink, by way of the spool; its bytes."""
    stored = wait_until(lambda: cluster.sink.with_token(token), 20, "the delivery")
    assert len(stored) == 1
    return stored[0][0]


def is_strict(raw):
    """What a next hop that knows RFC 5321 wants to see."""
    assert re.search(rb"[^\r]\n|\r[^\n]|\0", raw) is None
    assert raw.endswith(b"\r\n") and max(len(line) for line in raw.split(b"\r\n")) <= 998
    parsed = email.message_from_bytes(raw)
    assert not parsed.defects, parsed.defects
    for name in ("Date", "Message-ID", "From"):
        assert len(parsed.get_all(name)) == 1, name
    return parsed


@pytest.mark.sanitized
def test_S14_a_device_is_understood(cluster):
    with Smtp(cluster.env["EDGE_1_HANDOFF"], ehlo=None) as device:
        assert device.greeting.code == 220
        device.send(b"HELO printer\n")
        assert device.reply().code == 250
        device.send(b"MAIL FROM:printer\n")
        assert device.reply().code == 250
        device.send(b"RCPT TO:alice@example.edu\n")
        assert device.reply().code == 250
        device.send(b"DATA\n")
        assert device.reply().code == 354
        device.send(b"Subject: device-1\nX-Long: " + b"y" * 3000 + b"\n\nGr\xfc\xdfe\0\n..dots\nx\ry\n.\n")
        answer = device.reply()
        assert answer.code == 250 and answer.queue_id, answer
        device.send(b"QUIT\n")
        assert device.reply().code == 221
    raw = arrived(cluster, "device-1")
    parsed = is_strict(raw)
    assert parsed["From"] == "<printer@edge-1.weir.test>"
    assert re.search(rb"Received: from printer \(\S+ \[127.0.0.1\]\)", raw)
    assert raw.endswith(b"\r\n\r\nGr\xfc\xdfe\r\n.dots\r\nx y\r\n")
    needed = "lf,lf-end,cr,nul,long-line,8bit,path,domain,missing-field"
    wait_until(lambda: f"lenient: unknown[127.0.0.1] helo=<printer> needed {needed}\n" in cluster.log("edge-1"), what="whose it was")
    for kind in needed.split(","):
        wait_until(lambda: cluster.metric("weir_leniencies_total", listener="handoff", kind=kind), what=kind)
    assert cluster.metric("weir_leniencies_total", listener="relay") is None
    (_, envelope), = cluster.sink.with_token("device-1")
    assert "8BITMIME" in envelope["params"] and not envelope["violations"], envelope


@pytest.mark.sanitized
def test_S14_a_device_that_ends_lines_in_cr_cr_lf(cluster):
    with Smtp(cluster.env["EDGE_1_HANDOFF"], ehlo=None) as device:
        for line, code in ((b"HELO doubler", 250), (b"MAIL FROM:<printer@example.edu>", 250), (b"RCPT TO:<alice@example.edu>", 250), (b"DATA", 354)):
            device.send(line + b"\r\r\n")
            assert device.reply().code == code
        device.send(b"Subject: device-crcrlf\r\r\n\r\r\n..dots\r\r\nend\r\r\n.\r\r\n")
        assert device.reply().code == 250
        device.send(b"QUIT\r\r\n")
        assert device.reply().code == 221
    raw = arrived(cluster, "device-crcrlf")
    is_strict(raw)
    assert raw.endswith(b"\r\n\r\n.dots\r\nend\r\n")
    wait_until(lambda: re.search(r"lenient: \S+ helo=<doubler> needed cr,missing-field,cr-end\n", cluster.log("edge-1")), 30, what="whose it was")
    wait_until(lambda: cluster.metric("weir_leniencies_total", listener="handoff", kind="cr-end"), 30, what="the leniency's metric")


def say_at_once(address, lines, source=None):
    """A client that waits for nothing: writes all, ends its side, and reads what there is. The codes of the replies."""
    with Smtp(address, source=source, greet=False) as client:
        client.send(b"".join(line + b"\r\n" for line in lines))
        client.sock.shutdown(socket.SHUT_WR)
        codes = []
        try:
            while True:
                codes.append(client.reply().code)
        except (ConnectionError, TimeoutError):
            return codes


def at_once(token, recipient=b"alice@example.edu"):
    return [b"EHLO hasty", b"MAIL FROM:<printer@example.edu>", b"RCPT TO:<" + recipient + b">", b"DATA", b"Subject: " + token, b"", b"..dot", b"RSET", b".", b"QUIT"]


@pytest.mark.sanitized
def test_S14_a_whole_conversation_in_one_write(cluster):
    handoff = cluster.env["EDGE_1_HANDOFF"]
    assert say_at_once(handoff, at_once(b"token-hasty")) == [220, 250, 250, 250, 354, 250, 221]
    raw = arrived(cluster, "token-hasty")
    is_strict(raw)
    assert raw.endswith(b"\r\n\r\n.dot\r\nRSET\r\n")
    wait_until(lambda: re.search(r"lenient: \S+ helo=<hasty> needed \S*no-wait\n", cluster.log("edge-1")), 30, what="whose it was")
    wait_until(lambda: cluster.metric("weir_leniencies_total", listener="handoff", kind="no-wait"), 30, what="the leniency's metric")
    # The message behind a refused DATA is no conversation.
    inner = at_once(b"token-inner")[1:]
    assert say_at_once(handoff, at_once(b"token-outer", b"nobody@no such domain")[:4] + inner)[-1] in (503, 554)
    for address, source in ((cluster.env["EDGE_1_RELAY"], None), (cluster.env["EDGE_1_SUBMISSION"], None), (handoff, OUTSIDE)):
        assert say_at_once(address, at_once(b"token-inner"), source) == [220, 554], address
    assert cluster.send(message(token="token-later")).code == 250 and arrived(cluster, "token-later")
    assert not cluster.sink.with_token("token-inner") and not cluster.sink.with_token("token-outer")


@pytest.mark.sanitized
@pytest.mark.parametrize("name, sent, meant", [
    ("lf-only", b"\n..x\ny\n.\n", b".x\r\ny\r\n"),
    ("mixed", b"\r\nx\n.y\n..z\r\n..end\r\n.\r\n", b"x\r\n.y\r\n..z\r\n.end\r\n"),
    ("smuggled", b"\r\nx\n.\r\nRSET\n.\nQUIT\r\n.\r\n", b"x\r\n.\r\nRSET\r\n.\r\nQUIT\r\n"),
])
def test_S14_dots_as_the_device_meant_them(cluster, name, sent, meant):
    """Where lines end in LF a doubled dot behind one is undone; where they end in CRLF a dot behind a bare LF is text."""
    end = b"\n" if name == "lf-only" else b"\r\n"
    with Smtp(cluster.env["EDGE_1_HANDOFF"]) as device:
        device.envelope()
        assert device.command("DATA").code == 354
        device.send(b"Subject: dots-" + name.encode() + end + sent)
        assert device.reply().code == 250
        assert device.command("NOOP").code == 250, "one message, one reply"
    raw = arrived(cluster, f"dots-{name}")
    is_strict(raw)
    assert raw.endswith(b"\r\n\r\n" + meant), raw


@pytest.mark.sanitized
@pytest.mark.parametrize("listener", ["RELAY", "SUBMISSION"])
@pytest.mark.parametrize("line", [b"HELO printer\n", b"HELO\r\n", b"EHLO two words\r\n", b"MAIL FROM:<a@b.test>\r\n"])
def test_S14_the_same_bytes_are_refused_elsewhere(cluster, listener, line):
    with Smtp(cluster.env[f"EDGE_1_{listener}"], ehlo=None) as device:
        device.send(line)
        assert device.reply().code in (501, 503, 521)


@pytest.mark.parametrize("line", ["MAIL FROM:printer", "MAIL FROM:<printer>", "MAIL FROM : <a@b.test>"])
def test_S14_a_bad_sender_is_refused_on_relay(cluster, line):
    with Smtp(cluster.relay()) as device:
        assert device.command(line).code == 501


def test_S14_mail_with_bare_lf_is_refused_on_relay(cluster):
    with Smtp(cluster.relay()) as device:
        device.envelope()
        device.command("DATA")
        device.send(b"Subject: device-2\n\nx\n.\n\r\n.\r\n")
        assert device.reply().code == 550


@pytest.mark.sanitized
def test_S14_no_helo_and_no_header(cluster):
    with Smtp(cluster.env["EDGE_1_HANDOFF"], ehlo=None) as device:
        assert device.envelope(sender="")[0].code == 250
        assert device.data(b"door 7: device-3\r\nsecond line\r\n").code == 250
    raw = arrived(cluster, "device-3")
    assert is_strict(raw)["From"] == "<MAILER-DAEMON@edge-1.weir.test>"
    assert b"Received: from [127.0.0.1] (" in raw and raw.endswith(b"\r\n\r\ndoor 7: device-3\r\nsecond line\r\n")


def test_S14_two_dates_and_an_mbox_line(cluster):
    with Smtp(cluster.env["EDGE_1_HANDOFF"]) as device:
        device.envelope()
        raw = message(token="device-4").replace(b"Date:", b"Date: Sun, 4 Oct 2026 10:00:00 +0200\r\nDate:").replace(b"X-Token", b"Message-ID: <2@x>\r\nX-Token")
        assert device.data(b"From me Mon Oct  5 10:00:00 2026\r\n" + raw).code == 250
    parsed = is_strict(arrived(cluster, "device-4"))
    assert parsed["Date"].startswith("Sun, 4 Oct") and parsed["Message-ID"] == "<device-4@example.org>"


@pytest.mark.sanitized
@pytest.mark.parametrize("ending", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r\n\x00.\r\n", b"\r\x00\n.\r\n"])
def test_S14_nothing_is_smuggled(cluster, ending):
    """A client that ends its lines in CRLF passes this on as text: it stays text, here and for the next hop."""
    inner = b"MAIL FROM:<smuggler@example.org>\r\nRCPT TO:<alice@example.edu>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
    token = f"smuggle-{ending.hex()}-"
    with Smtp(cluster.env["EDGE_1_HANDOFF"]) as client:
        client.envelope()
        assert client.command("DATA").code == 354
        client.send(message(token=token) + b"text" + ending + inner + b".\r\n")
        assert client.reply().code == 250
        assert client.command("NOOP").text.startswith("2.0.0"), "one message, one reply"
    raw = arrived(cluster, token)
    is_strict(raw)
    assert b"MAIL FROM:<smuggler@example.org>" in raw and raw.endswith(b"\r\nSubject: smuggled\r\n\r\nx\r\n")
    assert not any(envelope["sender"] == "smuggler@example.org" for _, envelope in cluster.sink.messages())


def test_S14_a_virus_is_refused(cluster):
    with Smtp(cluster.env["EDGE_1_HANDOFF"]) as device:
        device.envelope()
        assert device.data(EICAR + b"\r\n").code == 550


def test_S14_only_from_registered_networks(cluster):
    with Smtp(cluster.env["EDGE_1_HANDOFF"], source=OUTSIDE) as device:
        answers = device.envelope(recipients=["alice@example.edu", "someone@far.test"])
    assert [(answer.code, answer.text[:5]) for answer in answers] == [(550, "5.7.1")] * 2
    with Smtp(cluster.env["EDGE_1_HANDOFF"]) as device:
        assert [answer.code for answer in device.envelope(recipients=["alice@example.edu", "someone@far.test"])] == [250, 250]


@pytest.mark.sanitized
def test_S19_submission_wants_to_know_who_it_is(cluster):
    with Smtp(cluster.env["EDGE_1_SUBMISSION"]) as client:
        client.starttls(cluster.env["CA_FILE"])
        answer = client.command("MAIL FROM:<alice@example.edu>")
        assert (answer.code, answer.text[:5]) == (530, "5.7.0"), answer
        assert client.command("RCPT TO:<alice@example.edu>").code == 503


@pytest.mark.parametrize("brought", [(), ("Date",), ("Message-ID",), ("Date", "Message-ID")], ids=lambda names: "-".join(names) or "nothing")
def test_submission_adds_the_date_and_message_id_that_are_missing(cluster, brought):
    token = "submitted-" + "-".join(brought)
    fields = {"Date": b"Date: Mon, 5 Oct 2026 10:00:00 +0200\r\n", "Message-ID": b"Message-ID: <own-1@example.edu>\r\n"}
    raw = b"".join(fields[name] for name in brought) + f"From: <alice@example.edu>\r\nSubject: {token}\r\n\r\nHello.\r\n".encode()
    with Smtp(cluster.env["EDGE_1_SUBMISSION"]) as client:
        client.starttls(cluster.env["CA_FILE"])
        assert client.command("AUTH PLAIN " + base64.b64encode(b"\0alice@example.edu\0wonderland").decode()).code == 235
        assert [answer.code for answer in client.envelope(sender="alice@example.edu")] == [250]
        answer = client.data(raw)
        assert answer.code == 250, answer
    stored = wait_until(lambda: [raw for raw, _ in cluster.sink.with_token(f"Subject: {token}\r\n")], 20, "the delivery")
    assert len(stored) == 1
    parsed = is_strict(stored[0])
    assert parsed["Message-ID"] == ("<own-1@example.edu>" if "Message-ID" in brought else f"<{answer.queue_id}@edge-1.weir.test>")
    assert email.utils.parsedate_to_datetime(parsed["Date"])
    came = weir.strip_added(stored[0])
    for name in set(fields) - set(brought):
        came, count = re.subn(rb"(?m)^" + name.encode() + rb": .*\r\n", b"", came)
        assert count == 1, name
    assert came == raw, "nothing else is changed"


@pytest.mark.sanitized
def test_S18_tls_from_the_first_byte(cluster):
    context = ssl.create_default_context(cafile=cluster.env["CA_FILE"])
    with Smtp(cluster.env["EDGE_1_SUBMISSIONS"], greet=False) as client:
        client.sock = context.wrap_socket(client.sock, server_hostname="localhost")
        assert client.reply().code == 220
        words = client.command("EHLO client.example.org").text.split("\n")
        assert "STARTTLS" not in words and "PIPELINING" in words
        assert client.command("STARTTLS").code == 503
        assert client.command("MAIL FROM:<alice@example.edu>").code == 530
        assert client.command("QUIT").code == 221


def test_S18_plain_text_on_the_tls_port_is_told_nothing(cluster):
    with Smtp(cluster.env["EDGE_1_SUBMISSIONS"], greet=False) as client:
        client.send(b"EHLO client.example.org\r\n")
        assert client.closed() and not client.buffer.startswith(b"2")
    wait_until(lambda: "TLS failed from unknown[127.0.0.1]" in cluster.log("edge-1"), what="a line in the log")


def only(version, ca_file):
    """A client that offers that version of TLS and no other, however weak its ciphers are."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


def speaks_to_a_lax_server(context, tls):
    """Whether that client can speak its version at all: with a server that takes any."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_ciphers("ALL:@SECLEVEL=0")
    server.load_cert_chain(tls / "server.pem", tls / "server.key")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        server.minimum_version = ssl.TLSVersion.TLSv1
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [context.wrap_bio(to_client, to_server, server_hostname="localhost"), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(10):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[0].version()


@pytest.mark.parametrize("name", ["RELAY", "SUBMISSIONS"])
def test_a_handshake_that_never_comes(make_cluster, name):
    one = make_cluster(edges=1, scanners=1, sets=["tls_timeout=1s"])
    with Smtp(one.env[f"EDGE_1_{name}"], greet=name == "RELAY") as client:
        if name == "RELAY":
            assert client.command("STARTTLS").code == 220
        client.sock.settimeout(60)
        assert client.sock.recv(1) == b""
    wait_until(lambda: one.metric("weir_tls_handshakes_total", result="timeout") == 1, 30, "it is counted")


@pytest.mark.sanitized
@pytest.mark.parametrize("name", ["RELAY", "SUBMISSIONS"])
@pytest.mark.parametrize("version, works", [("TLSv1", False), ("TLSv1.1", False), ("TLSv1.2", True), ("TLSv1.3", True)])
def test_versions_of_tls(cluster, name, version, works):
    context = only(getattr(ssl.TLSVersion, version.replace(".", "_")), cluster.env["CA_FILE"])
    assert speaks_to_a_lax_server(context, cluster.dir / "tls") == version
    failed = cluster.log("edge-1").count("TLS failed from unknown[127.0.0.1]")
    with Smtp(cluster.env[f"EDGE_1_{name}"], greet=name == "RELAY") as client:
        if name == "RELAY":
            assert client.command("STARTTLS").code == 220
        if not works:
            with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):
                context.wrap_socket(client.sock, server_hostname="localhost")
            wait_until(lambda: cluster.log("edge-1").count("TLS failed from unknown[127.0.0.1]") == failed + 1, 30, "a line in the log")
            return
        client.sock = context.wrap_socket(client.sock, server_hostname="localhost")
        assert client.sock.version() == version
        assert name == "RELAY" or client.reply().code == 220
        assert client.command("EHLO client.example.org").code == 250
        if name == "RELAY":
            client.envelope()
            answer = client.data(message())
            assert answer.code == 250
            header, = [raw.split(b"\r\n\tfor ")[0] for raw, _ in cluster.sink.messages() if answer.queue_id.encode() in raw]
            assert version.encode() + b" " in header, "the Received line says which"


def test_every_edge_has_every_listener(cluster):
    for edge in (1, 2):
        for name in PROFILES:
            with Smtp(cluster.env[f"EDGE_{edge}_{name}"]) as client:
                assert client.ehlo.code == 250 and "STARTTLS" in client.ehlo.text
