"""The relay listener as a client sees it: ESMTP, limits, the relay decision, answers of the next hop, smuggling."""
import base64
import collections
import io
import os
import random
import re
import shutil
import socket
import subprocess
import time
import zipfile

import pytest

import weir
from weir import EICAR, Smtp, message, smtputf8, strip_added, wait_until

OUTSIDE = "127.0.0.2"


@pytest.mark.sanitized
def test_ehlo_offers_what_is_implemented(cluster):
    with Smtp(cluster.relay()) as client:
        words = client.ehlo.text.split("\n")[1:]
    assert {"PIPELINING", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "SMTPUTF8", "STARTTLS", "SIZE 52428800"} <= set(words)
    assert not any(word.startswith(("AUTH", "EXPN", "BINARYMIME")) for word in words)


@pytest.mark.sanitized
@pytest.mark.parametrize("how", ["data", "bdat", "data-bytewise", "bdat-chunks", "tls", "ipv6"])
def test_clean_mail_arrives_byte_for_byte(cluster, how):
    raw = message("one\r\n.dot at the start\r\n..two\r\n.\r\n \r\nlast\r\n", subject=how)
    address = cluster.relay() if how != "ipv6" else "[::1]:" + cluster.relay().rsplit(":")[1]
    try:
        client = Smtp(address)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with client:
        if how == "tls":
            client.starttls(cluster.env["CA_FILE"])
        assert [answer.code for answer in client.envelope()] == [250]
        if how.startswith("bdat"):
            answer = client.bdat(raw, [7, 1, 100] if how == "bdat-chunks" else None)
        else:
            answer = client.data(raw, [1] if how == "data-bytewise" else None)
    assert answer.code == 250 and answer.queue_id, answer
    token = re.search(rb"X-Token: (\S+)", raw).group(1).decode()
    stored = cluster.sink.with_token(token)
    assert len(stored) == 1
    assert strip_added(stored[0][0]) == raw
    assert stored[0][0].startswith(b"X-Virus-Scanned: ")
    received = stored[0][0].split(b"\r\n", 1)[1].removesuffix(raw).decode()
    assert answer.queue_id in received and ("with ESMTPS" if how == "tls" else "with ESMTP") in received


def test_only_mail_servers_of_the_site_say_results_in_our_name(cluster):
    """RFC 8601 5; here no engine is asked, so nothing else says any."""
    ours, others = b"Authentication-Results: edge-1.weir.test; dkim=pass header.d=bank.example\r\n", b"Authentication-Results: mx.example.net; spf=pass\r\n"
    for door, source, to, kept in (("RELAY", OUTSIDE, "alice@example.edu", others), ("RELAY", None, "someone@example.com", ours + others),
                                   ("SUBMISSION", None, "alice@example.edu", others), ("HANDOFF", None, "alice@example.edu", others)):
        raw = message()
        with Smtp(cluster.env[f"EDGE_1_{door}"], source=source) as client:
            if door == "SUBMISSION":
                client.starttls(cluster.env["CA_FILE"])
                assert client.command("AUTH PLAIN " + base64.b64encode(b"\0alice@example.edu\0wonderland").decode()).code == 235
            assert [answer.code for answer in client.envelope("alice@example.edu", [to])] == [250], door
            assert client.data(ours + others + raw).code == 250, door
        (copy, _), = wait_until(lambda one=raw: cluster.sink.with_token(re.search(rb"X-Token: (\S+)", one).group(1).decode()), 30, "the copy")
        assert strip_added(copy) == kept + raw, door


@pytest.mark.parametrize("name, parts", [
    ("plain text", lambda: ("text/plain", EICAR)),
    ("attachment", lambda: ("application/octet-stream", EICAR)),
    ("zip", lambda: ("application/zip", zipped(EICAR))),
    ("nested zip", lambda: ("application/zip", zipped(zipped(EICAR)))),
])
@pytest.mark.parametrize("width", [76, 57, 13])
def test_S4_virus_is_refused_both_ways(cluster, name, parts, width):
    kind, data = parts()
    encoded = base64.b64encode(data).decode()
    lines = "\r\n".join(encoded[at:at + width] for at in range(0, len(encoded), width))
    raw = message(subject=name).replace(b"\r\n\r\n", (
        f"\r\nMIME-Version: 1.0\r\nContent-Type: {kind}; name=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{lines}\r\n").encode(), 1)
    before = cluster.sink.count()
    for source, recipient in ((OUTSIDE, "alice@example.edu"), (None, "someone@example.com")):
        answer = cluster.send(raw, source=source, recipients=(recipient,))
        assert answer.code == 550 and answer.text.startswith("5.7.1") and "Eicar" in answer.text, answer
    assert cluster.sink.count() == before


def zipped(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.com" if data == EICAR else "a.zip", data)
    return out.getvalue()


def test_virus_can_be_discarded(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["virus_action=discard"])
    answer = cluster.send(message(EICAR.decode() + "\r\n"))
    assert answer.code == 250
    assert cluster.send(message()).code == 250
    assert cluster.sink.count() == 1
    story = wait_until(lambda: cluster.weirctl("trace", answer.queue_id).stdout, what="the trace")
    assert "discarded:virus" in story and "Eicar" in story
    wait_until(lambda: cluster.metric("weir_recipients_total", disposition="discarded") == 1, what="the discard in the metrics")
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, what="conservation")


@pytest.mark.sanitized
def test_S10_message_size(cluster):
    with Smtp(cluster.relay()) as client:
        answer = client.command("MAIL FROM:<a@example.org> SIZE=52428801")
        assert answer.code == 552 and answer.text.startswith("5.3.4")
        assert client.command("MAIL FROM:<a@example.org> SIZE=52428800").code == 250


def test_S10_bytes_over_the_limit_are_refused_and_the_session_goes_on(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["max_message_size=1MiB"])
    with Smtp(cluster.relay()) as client:
        for send in (client.data, lambda raw: client.bdat(raw, [100000])):
            client.envelope()
            answer = send(message(size=1048577))
            assert answer.code == 552 and answer.text.startswith("5.3.4")
            client.command("RSET")
            client.envelope()
            assert send(message(size=1048576)).code == 250
    sizes = sorted(len(strip_added(raw)) for raw, _ in cluster.sink.messages())
    assert sizes == [1048576, 1048576]


def test_S11_the_101st_recipient_waits(cluster):
    raw = message(subject="many")
    with Smtp(cluster.relay()) as client:
        answers = client.envelope(recipients=[f"user{number}@example.edu" for number in range(101)])
        assert [answer.code for answer in answers] == [250] * 100 + [452]
        assert answers[-1].text.startswith("4.5.3")
        assert client.data(raw).code == 250
    token = re.search(rb"X-Token: (\S+)", raw).group(1).decode()
    (stored, envelope), = cluster.sink.with_token(token)
    assert len(envelope["recipients"]) == 100


# ---- I3: one meaning for every spelling ----

FOREIGN = [
    "victim@example.com", "victim@EXAMPLE.COM", "victim@example.com.", "victim%example.com@example.edu", '"victim%example.com"@example.edu',
    "example.com!victim@example.edu", '"victim@example.com"@example.edu', "@example.edu:victim@example.com",
    "@example.edu,@example.org:victim@example.com", "victim@[192.0.2.1]", "victim@[IPv6:2001:db8::1]", "victim@[127.0.0.1]",
    "victim%example.com@[127.0.0.1]", "victim@sub.example.edu", "victim@example.edu.example.com", "victim@xexample.edu",
    "victim%example.com%example.org@example.edu", "victim@example.com%example.edu@example.edu", '"postmaster@example.com"@example.edu',
    "postmaster@example.com", "victim@xn--bcher-kva.example", "victim@b\u00fccher.example", "victim@\uff45xample.com", "alice@exa\u200bmple.edu",
]
OWN = ["alice@example.edu", "alice@EXAMPLE.Edu", "alice@example.edu.", '"alice"@example.edu', "@relay.example.org:alice@example.edu",
       "postmaster", "PostMaster", "postmaster@example.edu", '"al ice"@example.edu', "a+b=c@example.edu", "alice@\uff45xample.edu"]


@pytest.mark.sanitized
@pytest.mark.parametrize("recipient", FOREIGN)
def test_S53_outsider_cannot_relay(cluster, recipient):
    with Smtp(cluster.relay(), OUTSIDE) as client:
        for sender in ("spammer@example.org", "", "alice@example.edu", "postmaster@example.edu"):
            client.command("RSET")
            assert client.command(f"MAIL FROM:<{sender}>{smtputf8(recipient)}").code == 250
            answer = client.command(f"RCPT TO:<{recipient}>")
            assert 500 <= answer.code <= 599, (recipient, answer)
            assert client.command("DATA").code in (503, 554)


SPELLINGS = [  # each makes another spelling of the same wish: mail to somebody outside, by a host that is said to be inside
    lambda draw, address: draw.choice((f'"{address}"', address.replace("@", "%"), address.replace("@", "\\@"), "!".join(reversed(address.split("@", 1)))))
    + "@" + draw.choice(("example.edu", "EXAMPLE.EDU", "example.edu.", "[127.0.0.1]", "localhost")),
    lambda draw, address: draw.choice(("@example.edu:", "@example.edu,@localhost:", "@[127.0.0.1]:")) + address,
    lambda draw, address: "".join(draw.choice((letter.lower(), letter.upper())) for letter in address),
    lambda draw, address: address + ".",
    lambda draw, address: draw.choice((" {}", "{} ", "\t{}", "{}\0", "({})", "(example.edu){}", "{}(@example.edu)", "{}>,<alice@example.edu")).format(address),
    lambda draw, address: re.sub(r"[%@!]", lambda sign: draw.choice((sign.group(), "=40", "%40", "\uff20", "\uff05", "\\" + sign.group())), address, count=1),
    lambda draw, address: address.replace(".", draw.choice(("..", "\u3002", "\uff0e", ".\u200b")), 1),
    lambda draw, address: f'"{address.split("@")[0]}"@' + address.split("@", 1)[-1],
    lambda draw, address: address + "@example.edu",
]


@pytest.mark.sanitized
def test_S1_S53_50_random_spellings_relay_nothing(cluster):
    """Beyond those that people know: whatever an outsider makes of an address outside, he is refused, or it is the name of a mailbox of ours."""
    seed = int(os.environ.get("WEIR_SEED") or random.SystemRandom().getrandbits(32))
    print(f"WEIR_SEED={seed}")
    draw = random.Random(seed)
    told, ours = collections.Counter(), 0
    before = cluster.sink.count()
    for number in range(50):
        address = draw.choice(("victim@example.com", "victim@sub.example.com", "postmaster@example.com", "victim@[192.0.2.1]", "victim@xexample.edu"))
        for spell in draw.choices(SPELLINGS, k=draw.choice((1, 1, 2, 2, 3))):
            address = spell(draw, address)
        with Smtp(cluster.relay(draw.randint(1, 2)), OUTSIDE) as client:
            client.envelope(recipients=())
            answer = client.command(f"RCPT TO:<{address}>".encode())
            told[answer.text.split()[0]] += 1
            if answer.code != 250:
                assert 500 <= answer.code <= 599, (address, answer)
                continue
            assert client.data(message(token=f"spelled-{seed}-{number}-")).code == 250
            ours += 1
        (_, envelope), = cluster.sink.with_token(f"spelled-{seed}-{number}-")
        recipient, = envelope["recipients"]
        assert recipient.rsplit("@", 1)[1] == "example.edu" and not re.search("[%!@]", recipient.rsplit("@", 1)[0]), (address, recipient)
    print(f"{dict(told)}, {ours} for mailboxes of ours")
    assert cluster.sink.count() == before + ours


@pytest.mark.parametrize("recipient", OWN)
def test_S53_outsider_reaches_own_domain(cluster, recipient):
    assert cluster.send(message(), source=OUTSIDE, recipients=(recipient,)).code == 250


@pytest.mark.parametrize("recipient", ["someone@example.com", "someone@sub.example.org", "alice@example.edu"])
def test_S53_inside_relays_anywhere(cluster, recipient):
    assert cluster.send(message(), recipients=(recipient,)).code == 250


def test_S2_refused_relay_is_audited(cluster):
    with Smtp(cluster.relay(), OUTSIDE, ehlo="audit.example.net") as client:
        client.command("MAIL FROM:<spammer@audit.example.net>")
        answer = client.command("RCPT TO:<victim@example.com>")
        assert answer.code == 550 and answer.text.startswith("5.7.1")
    wait_until(lambda: "spammer@audit.example.net" in cluster.weirctl("trace", "spammer@audit.example.net").stdout, what="the audit row")


# ---- what the next hop says ----

def test_next_hop_answers_each_recipient(cluster):
    raw = message(subject="mixed")
    with Smtp(cluster.relay()) as client:
        answers = client.envelope(recipients=["alice@example.edu", "unknown-x@example.edu", "full-x@example.edu", "bob@example.edu"])
        assert [answer.code for answer in answers] == [250, 550, 452, 250]
        assert answers[1].text.startswith("5.1.1") and answers[2].text.startswith("4.2.2")
        assert client.data(raw).code == 250
    token = re.search(rb"X-Token: (\S+)", raw).group(1).decode()
    (stored, envelope), = cluster.sink.with_token(token)
    assert envelope["recipients"] == ["alice@example.edu", "bob@example.edu"]


@pytest.mark.parametrize("recipient, code", [("late-x@example.edu", 550), ("latedefer-x@example.edu", 451), ("drop-x@example.edu", 451)])
def test_next_hop_refuses_after_data(cluster, recipient, code):
    before = cluster.sink.count()
    assert cluster.send(message(), recipients=(recipient,)).code == code
    assert cluster.sink.count() == before


@pytest.mark.sanitized
def test_pipelined_transaction_keeps_its_order(cluster):
    with Smtp(cluster.relay()) as client:
        client.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.edu>\r\nRCPT TO:<unknown-x@example.edu>\r\n"
                    b"RCPT TO:<nonsense\r\nRCPT TO:<bob@example.edu>\r\nDATA\r\n")
        assert [client.reply().code for _ in range(6)] == [250, 250, 550, 501, 250, 354]
        client.send(message() + b".\r\nRSET\r\nMAIL FROM:<b@example.org>\r\nRCPT TO:<unknown-y@example.edu>\r\nDATA\r\nQUIT\r\n")
        assert [client.reply().code for _ in range(6)] == [250, 250, 250, 550, 554, 221]


def test_other_next_hop_comes_in_another_transaction(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    table = cluster.dir / "policy" / "mailertable"
    table.write_text(table.read_text() + "other.example.net\tsmtp:[127.0.0.1]:9\nrefused.example.net\terror:5.1.1:550 moved away\n"
                                         "void.example.net\tdiscard:\n")
    cluster.apply_policy()
    with Smtp(cluster.relay()) as client:
        answers = client.envelope(recipients=["alice@example.edu", "x@other.example.net", "x@refused.example.net"])
        assert [answer.code for answer in answers] == [250, 451, 550] and answers[2].text.startswith("5.1.1"), answers
    with Smtp(cluster.relay()) as client:
        assert [answer.code for answer in client.envelope(recipients=["x@other.example.net"])] == [451], "unreachable next hop"
    before = cluster.sink.count()
    assert cluster.send(message(), recipients=("x@void.example.net",)).code == 250
    assert cluster.sink.count() == before
    broken = cluster.weirctl("policy", "check", str(cluster.dir), check=False)
    assert broken.returncode != 0
    table.write_text("example.edu smtp:[127.0.0.1\n")
    refused = cluster.weirctl("policy", "apply", str(cluster.dir / "policy"), check=False)
    assert refused.returncode != 0 and "mailertable:1" in refused.stderr
    assert cluster.send(message()).code == 250


def test_no_route_and_dead_next_hop_are_temporary(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, next_hop="127.0.0.1:9")
    with Smtp(cluster.relay()) as client:
        answer, = client.envelope()
        assert answer.code == 451 and answer.text.startswith("4.4")
        assert client.command("NOOP").code == 250


def test_loop_is_refused(cluster):
    hops = b"".join(b"Received: from a by b; Mon, 5 Oct 2026 10:00:00 +0200\r\n" for _ in range(100))
    assert cluster.send(hops[:99 * len(hops) // 100] + message()).code == 250
    answer = cluster.send(hops + b"Received: from a by b; Mon, 5 Oct 2026 10:00:00 +0200\r\n" + message())
    assert answer.code == 554 and answer.text.startswith("5.4.6")


# ---- smuggling: only CRLF ends a line, only CRLF.CRLF ends a message ----

@pytest.mark.sanitized
@pytest.mark.parametrize("ending", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r\n\x00.\r\n", b"\r\r\n.\r\n", b"\r\r\n.\r\r\n"])
@pytest.mark.parametrize("way", ["data", "bdat"])
def test_smuggled_end_of_data_is_refused(cluster, ending, way):
    inner = b"MAIL FROM:<smuggler@example.org>\r\nRCPT TO:<alice@example.edu>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
    raw = message(subject="outer") + b"text" + ending + inner
    before = cluster.sink.count()
    with Smtp(cluster.relay()) as client:
        client.envelope()
        if way == "bdat":
            answer = client.bdat(raw)
        else:
            assert client.command("DATA").code == 354
            client.send(raw + b"\r\n.\r\n")
            answer = client.reply()
        assert answer.code == 550 and answer.text.startswith("5.6.0"), answer
        assert client.command("NOOP").code == 250, "one message, one reply"
    assert cluster.sink.count() == before


def test_bare_lf_in_commands_is_refused(cluster):
    with Smtp(cluster.relay()) as client:
        client.send(b"MAIL FROM:<a@example.org>\nRCPT TO:<victim@example.com>\r\n")
        answer = client.reply()
        assert (answer.code, answer.text[:5]) == (521, "5.5.2"), answer
        assert client.closed() and client.buffer == b""
    with Smtp(cluster.relay(), ehlo=None, timeout=10) as client:  # one that ends every line so would wait for ever
        client.send(b"EHLO client.example.org\n")
        assert client.reply().code == 521
        assert client.closed()


def test_nothing_may_follow_starttls(cluster):
    with Smtp(cluster.relay()) as client:
        client.send(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n")
        lines = []
        try:
            while True:
                lines.append(client.line())
        except (ConnectionError, socket.timeout):
            pass
        assert not any(line.startswith("250") for line in lines), lines


def test_long_local_parts(cluster):
    """VERP: more than RFC 5321's 64 octets, in envelope, Received header and audit."""
    sender, recipient = f"bounce+{'7' * 200}=alice=example.edu@lists.example.org", f"list+{'8' * 240}@example.edu"
    raw = message()
    answer = cluster.send(raw, sender=sender, recipients=[recipient])
    assert answer.code == 250, answer
    token = re.search(rb"X-Token: (\w+)", raw).group(1).decode()
    (got, envelope), = cluster.sink.with_token(token)
    assert recipient in str(envelope) and sender in str(envelope)
    assert f"for <{recipient}>;".encode() in got and strip_added(got) == raw
    wait_until(lambda: recipient in cluster.weirctl("trace", answer.queue_id, check=False).stdout, what="the audit row")


# ---- limits and manners ----

@pytest.mark.sanitized
def test_verbs(cluster):
    with Smtp(cluster.relay(), ehlo=None) as client:
        assert client.command("MAIL FROM:<a@example.org>").code == 503
        assert client.command("HELO old.example.org").code == 250
        assert client.command("VRFY alice").code == 252
        assert client.command("EXPN staff").code in (500, 502, 550)
        assert client.command("NOOP something").code == 250
        assert client.command("HELP").code == 214
        assert client.command("RCPT TO:<alice@example.edu>").code == 503
        assert client.command("WHATEVER").code == 500
        assert client.command("MAIL FROM:<a@example.org> FOO=bar").code == 555
        assert client.command("MAIL FROM:a@example.org").code == 501
        assert client.command("DATA").code == 503
        client.send(b"BDAT 3 LAST\r\nabc")
        assert client.reply().code in (503, 554)
        assert client.command("QUIT").code == 221
        assert client.closed()


def test_errors_lines_and_browsers(cluster):
    with Smtp(cluster.relay()) as client:
        answer = client.command("NOOP " + "x" * 5000)
        assert answer.code == 500
        codes = [client.command("NONSENSE").code for _ in range(18)]
        assert codes[-1] == 500
        for _ in range(5):
            if (answer := client.command("NONSENSE")).code == 421:
                break
        assert answer.code == 421 and answer.text.startswith("4.7.0")
        assert client.closed()
    with Smtp(cluster.relay(), ehlo=None) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.closed()


def test_early_talker_and_idle_and_slow(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["banner_delay=700ms", "idle_timeout=2s", "min_data_rate=1000", "data_rate_grace=2s"])
    for _ in range(20):
        began = time.monotonic()
        with Smtp(cluster.relay(), greet=False) as client:
            client.send(b"EHLO early\r\n")
            if time.monotonic() - began > 0.5:  # we were held up ourselves, and were not early
                continue
            assert client.reply().code == 554
            assert client.closed()
        break
    else:
        raise AssertionError("this machine is too slow for an early talker")
    started = time.monotonic()
    with Smtp(cluster.relay()) as client:
        assert time.monotonic() - started >= 0.6
        answer = client.reply()
        assert answer.code == 421 and answer.text.startswith("4.4.2")
    with Smtp(cluster.relay()) as client:
        client.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.edu>\r\nDATA\r\n")  # in one go: it may not be idle for long
        assert [client.reply().code for _ in range(3)] == [250, 250, 354]
        with pytest.raises((ConnectionError, OSError, weir.socket.timeout)):
            for _ in range(100):
                client.send(b"slow\r\n")
                time.sleep(0.2)
                client.sock.settimeout(0.01)
                try:
                    client.buffer += client.sock.recv(1000) or b"closed"
                except socket.timeout:
                    pass
                if client.buffer:
                    raise ConnectionError(client.buffer)
        assert client.buffer.startswith((b"421", b"closed"))


def test_sessions_per_client_and_in_all(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["sessions_per_client=3", "edge.workers=3", "max_sessions=5"])  # all workers count together
    wait_until(lambda: cluster.log("edge-1").count(" disconnect from ") == cluster.log("edge-1").count(" connect from "), 30, "the end of who looked whether it serves")
    with Smtp(cluster.relay()), Smtp(cluster.relay()), Smtp(cluster.relay()):
        with Smtp(cluster.relay()) as fourth:
            assert fourth.greeting.code == 421 and fourth.greeting.text.startswith("4.7.0")
        with Smtp(cluster.relay(), "127.0.0.3"), Smtp(cluster.relay(), "127.0.0.4"):
            with Smtp(cluster.relay(), "127.0.0.5") as sixth:
                assert sixth.greeting.code == 421 and sixth.greeting.text.startswith("4.3.2")
    wait_until(lambda: Smtp(cluster.relay()).greeting.code == 220, what="room again")


def test_certificate_is_reloaded_without_restart(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)

    def serial():
        with Smtp(cluster.relay()) as client:
            client.starttls(cluster.env["CA_FILE"])
            return client.sock.getpeercert()["serialNumber"]
    first = serial()
    tls = cluster.dir / "tls"
    subprocess.run(["openssl", "x509", "-req", "-in", tls / "server.csr", "-CA", tls / "ca.pem", "-CAkey", tls / "ca.key", "-CAcreateserial",
                    "-days", "3", "-out", tls / "server.crt", "-extfile", "/dev/stdin"], check=True, capture_output=True,
                   input=b"subjectAltName = DNS:localhost, IP:127.0.0.1\n")
    (tls / "server.pem").write_bytes((tls / "server.crt").read_bytes() + (tls / "ca.pem").read_bytes())
    pid = cluster.pid("edge-1")
    cluster.kill("edge-1", weir.signal.SIGHUP)
    wait_until(lambda: serial() != first, what="the new certificate")
    assert cluster.pid("edge-1") == pid


def test_log_has_postfix_shape_and_cannot_be_forged(cluster):
    with Smtp(cluster.relay(), OUTSIDE, ehlo=None) as client:
        client.command("EHLO forger.example.net")
        client.command(b"MAIL FROM:<a\x1b[31m@example.org>")
        client.command("MAIL FROM:<logtest@example.org>")
        client.command("RCPT TO:<victim@example.com>")
    answer = cluster.send(message(), sender="logtest@example.org")
    log = wait_until(lambda: re.search(rf"{answer.queue_id}: to=<.*status=sent", text := cluster.log("edge-1")) and text, what="the log")
    assert re.search(r"NOQUEUE: reject: RCPT from unknown\[127\.0\.0\.2\]: 550 5\.7\.1 .*; from=<logtest@example\.org> "
                     r"to=<victim@example\.com> proto=ESMTP helo=<forger\.example\.net>", log)
    assert re.search(rf"{answer.queue_id}: to=<alice@example\.edu>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, delay=[0-9.]+, .*dsn=2\.0\.0, "
                     r"status=sent \(250 ", log)
    assert "\x1b" not in log


def test_pflogsumm_counts_right(make_cluster):
    """What is not taken is only rejected, never received mail that bounced; a queue id's mail is counted once for each recipient."""
    if not shutil.which("pflogsumm"):
        pytest.skip("pflogsumm is not installed")
    cluster = make_cluster(edges=1, scanners=1)
    over = lambda: (log := cluster.log("edge-1")).count(" disconnect from ") == log.count(" connect from ")
    wait_until(over, 30, "the end of who waited for the cluster to serve")
    octets = 0
    for number in range(60):  # 60 messages to 120 recipients
        with Smtp(cluster.relay()) as client:
            client.envelope(f"sender{number % 5}@example.org", [f"a{number}@example.edu", f"b{number}@example.edu"])
            raw = message()
            assert client.data(raw).code == 250
            octets += len(raw)
    for number in range(30):  # 30 with a virus
        assert cluster.send(message(EICAR.decode() + "\r\n")).code == 550
    for number in range(50):  # 50 refused recipients, 10 of them beside one that is not
        with Smtp(cluster.relay(), OUTSIDE) as client:
            mine = ["alice@example.edu"] if number < 10 else []
            codes = [answer.code for answer in client.envelope("x@example.org", ["victim@example.com", *mine])]
            assert codes == [550] + [250] * len(mine)
            if mine:
                raw = message()
                assert client.data(raw).code == 250
                octets += len(raw)
    for number in range(10):  # 10 that send no CRLF
        with Smtp(cluster.relay()) as client:
            client.send(b"NOOP\n")
            assert client.reply().code == 521
    wait_until(over, 30, "the log")
    done = subprocess.run(["pflogsumm", "--syslog-name=weir/[^/]+", "--smtpd-stats", cluster.dir / "log/edge-1.log"], capture_output=True, text=True)
    totals = {words: int(number) for number, words in re.findall(r"^ +(\d+)k? +([a-z ]+?)(?: +\(.*)?$", done.stdout, re.M)}
    assert done.returncode == 0 and "per-hour" in done.stdout.lower(), done
    seen = {words: totals[words] for words in ("received", "delivered", "bounced", "deferred", "rejected", "discarded", "senders", "recipients")}
    assert seen == {"received": 100, "delivered": 130, "bounced": 0, "deferred": 0, "rejected": 90, "discarded": 0, "senders": 6,
                    "recipients": 121}, done.stdout
    assert totals["bytes received"] in (octets, octets // 1024), (octets, done.stdout)


def test_real_clients(cluster):
    """swaks and curl, unmodified."""
    done = subprocess.run(["swaks", "--server", cluster.relay(), "--from", "swaks@example.org", "--to", "alice@example.edu", "--tls",
                           "--tls-ca-path", cluster.env["CA_FILE"], "--header", "Subject: from swaks"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    done = subprocess.run(["curl", "-sS", "--noproxy", "*", f"smtp://{cluster.relay()}/client.example.org", "--mail-from", "curl@example.org",
                           "--mail-rcpt", "bob@example.edu", "-T", "-"], input=message(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_client_that_shuts_its_side_down_gets_its_replies(cluster, tls):
    with Smtp(cluster.relay()) as client:
        if tls:
            client.starttls(cluster.env["CA_FILE"])
        client.envelope()
        assert client.command("DATA").code == 354
        client.send(message() + b".\r\n")
        socket.socket.shutdown(client.sock, socket.SHUT_WR)  # under TLS without close_notify: the plain socket's own call
        assert client.reply().code == 250
        assert client.closed()
    with Smtp(cluster.relay()) as client:
        client.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.edu>\r\nNOOP\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.reply().code for _ in range(3)] == [250, 250, 250]
        assert client.closed()
