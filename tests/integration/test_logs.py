"""The log as programs read it: pflogsumm's totals of mail that went through the spool, JSON, and what peers put into it."""
import base64
import datetime
import json
import re
import shutil
import ssl
import subprocess

import pytest

from test_spool import Hop, hop  # noqa: F401
from weir import EICAR, Smtp, message, wait_until

KEYS = ["time", "schema", "event", "id", "level", "node", "ident", "pid", "message"]


def totals_of(log):
    if not shutil.which("pflogsumm"):
        pytest.skip("pflogsumm is not installed")
    done = subprocess.run(["pflogsumm", "--syslog-name=weir/[^/]+", "--smtpd-stats", log], capture_output=True, text=True)
    assert done.returncode == 0, done
    totals = {words: int(number) for number, words in re.findall(r"^ +(\d+)k? +([a-z ]+?)(?: +\(.*)?$", done.stdout, re.M)}
    return {words: totals[words] for words in ("received", "delivered", "deferred", "bounced", "rejected", "bytes received")}, done.stdout


def first_answer(cluster, recipient):
    with Smtp(cluster.relay()) as client:
        return client.envelope(recipients=[recipient])[0].code


def test_pflogsumm_counts_spooled_mail(make_cluster, hop):
    """Received once however often it is tried and wherever it goes; reports are delivered, and not received from anybody."""
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "spool_retry_max=1s"])
    hop.refuse["gone@example.edu"] = "550 5.1.1 no such user"
    hop.refuse["later@example.edu"] = "450 4.2.0 not now"
    raw, ids = message(), []
    folder = cluster.dir / "policy"
    (folder / "mailertable").write_text("gone.example\terror:5.1.1:550 Nobody here\n" + (folder / "mailertable").read_text())
    (folder / "aliases").write_text("left: x@gone.example\nsysadm: bob@example.edu\ncrew: one@example.edu, two@example.edu\n")
    cluster.apply_policy()
    assert first_answer(cluster, "left@example.edu") == 550  # and one is rejected
    for recipients in [["sysadm@example.edu"], ["crew@example.edu"]] + [["alice@example.edu"]] * 10 + \
            [["alice@example.edu", "gone@example.edu"]] * 3 + [["later@example.edu"]] * 2:
        answer = cluster.send(raw, recipients=recipients)
        assert answer.code == 250
        ids.append(answer.queue_id)
    assert cluster.send(raw, source="127.0.0.2", recipients=["victim@example.com"]).code == 550
    wait_until(lambda: all(re.search(rf"{queue_id}: to=<later@example.edu>, .*status=deferred", cluster.log("edge-1")) for queue_id in ids[-2:]), 20)
    del hop.refuse["later@example.edu"]
    wait_until(lambda: all(f"{queue_id}: removed" in cluster.log("edge-1") for queue_id in ids), 40, "the end of all")
    wait_until(lambda: cluster.log("edge-1").count(": removed") == 17 + 3, 20, "the end of the reports")
    totals, text = totals_of(cluster.dir / "log/edge-1.log")
    size = totals.pop("bytes received")
    assert totals == {"received": 17, "delivered": 1 + 2 + 10 + 3 + 2 + 3, "deferred": 2, "bounced": 3, "rejected": 1 + 1}, text
    sizes = dict(re.findall(r"(\w{20}): from=<sender@example\.org>, size=(\d+)", cluster.log("edge-1")))
    assert cluster.log("edge-1").count(", orig_to=<crew@example.edu>, relay=") == 2 and " to=<left@example.edu> proto=" in cluster.log("edge-1")
    octets = sum(map(int, sizes.values()))
    assert len(sizes) == 17 and octets > 17 * len(raw) and size in (octets, octets // 1024), (octets, text)


def test_an_address_cannot_end_its_brackets(make_cluster, hop):
    """In quotes it may have anything; a program that reads the log believes only what stands behind the address."""
    forged = '"x>, relay=mx[192.0.2.9]:25, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok)"@example.edu'
    shown = forged.replace(">", r"\x3e")
    hop.refuse[forged] = "550 5.1.1 no such user"
    for profile in ("relay", "handoff"):
        cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=[f"profile={profile}"])
        cluster.send(message(), sender=forged, recipients=[forged])
        wait_until(lambda: f" to=<{shown}>" in cluster.log("edge-1") and f" from=<{shown}>" in cluster.log("edge-1"), what="both addresses")
        assert "mx[192.0.2.9]:25, delay" in cluster.log("edge-1") and "x>" not in cluster.log("edge-1")


def test_pflogsumm_counts_a_day_at_every_door(make_cluster, hop):
    """One log with relay, submission under both kinds of TLS, and handoff: what was handed over directly and what went through the spool are one sum."""
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["spool_retry_max=1s", "sender_login_match=on"])
    hop.refuse["gone@example.edu"] = "550 5.1.1 no such user"
    hop.refuse["later@example.edu"] = "450 4.2.0 not now"
    taken, raw = [], message()

    def send(door, recipients, sender="alice@example.edu", body=raw):
        with Smtp(cluster.env[f"EDGE_1_{door}"], greet=door != "SUBMISSIONS") as client:
            if door == "SUBMISSIONS":
                client.sock = ssl.create_default_context(cafile=cluster.env["CA_FILE"]).wrap_socket(client.sock, server_hostname="localhost")
                assert client.reply().code == 220 and client.command("EHLO client.example.org").code == 250
            if door.startswith("SUBMISSION"):
                if door == "SUBMISSION":
                    client.starttls(cluster.env["CA_FILE"])
                assert client.command("AUTH PLAIN " + base64.b64encode(b"\0alice@example.edu\0wonderland").decode()).code == 235
            answer = client.command(f"MAIL FROM:<{sender}>")
            codes = [answer.code] if answer.code != 250 else [client.command(f"RCPT TO:<{recipient}>").code for recipient in recipients]
            if 250 in codes:
                answer = client.data(body)
                codes.append(answer.code)
                if answer.code == 250:
                    taken.append(answer.queue_id)
            client.command("QUIT")
            return codes

    for door in ("RELAY", "SUBMISSION", "SUBMISSIONS", "HANDOFF"):
        for _ in range(3):
            assert send(door, ["bob@example.edu", "carol@example.edu"]) == [250, 250, 250]
    assert send("RELAY", ["gone@example.edu"]) == [550]              # rejected: its sender has heard it
    for door in ("SUBMISSION", "SUBMISSIONS", "HANDOFF"):
        assert send(door, ["gone@example.edu", "bob@example.edu"]) == [250, 250, 250]  # bounced: and a report is delivered
        assert send(door, ["later@example.edu"]) == [250, 250]       # deferred, then delivered
    assert send("SUBMISSION", ["bob@example.edu"], sender="mallory@example.edu")[-1] // 100 == 5  # rejected: not the login's
    assert send("SUBMISSION", ["bob@example.edu"], body=message(EICAR.decode() + "\r\n")) == [250, 550]  # rejected: a virus
    spooled = taken[3:]
    wait_until(lambda: len(set(re.findall(r"(\w{20}): to=<later@example\.edu>, .*status=deferred", cluster.log("edge-1")))) == 3, 60, "three deferrals")
    del hop.refuse["later@example.edu"]
    wait_until(lambda: all(f"{queue_id}: removed" in cluster.log("edge-1") for queue_id in spooled), 60, "the end of all")
    reports = re.findall(r"sender non-delivery notification: (\w{20})", cluster.log("edge-1"))
    wait_until(lambda: len(hop.reports("alice@example.edu")) == len(reports) == 3, 60, "the reports")
    wait_until(lambda: all(f"{queue_id}: removed" in cluster.log("edge-1") for queue_id in reports), 60, "the end of the reports")
    totals, text = totals_of(cluster.dir / "log/edge-1.log")
    del totals["bytes received"]
    assert len(taken) == 18
    # The virus is among those received, as it is with Postfix: pflogsumm counts what was sent, and then that it was refused.
    assert totals == {"received": 18 + 1, "delivered": 12 * 2 + 3 + 3 + 3, "deferred": 3, "bounced": 3, "rejected": 3}, text


FORGED = "Nov 21 10:00:00 host weir/edge-1/smtp[1]: 06FZQ7XKC3ABCDEFGHJK: to=<forged@example.edu>, relay=none, status=sent (250 forged)"
EVIL = b"\x1b[31m \"quote\" \\ {\"event\":\"forged\"} \x00 \xff\xfe \xc2\x85 \xe2\x80\xa8 \r" + FORGED.encode()


def attack(cluster, hop):  # noqa: F811
    """Hostile bytes everywhere a peer has a word: HELO, addresses, commands, Message-ID, the next hop's replies."""
    hop.refuse["evil@example.edu"] = "550 5.1.1 " + EVIL.decode("latin-1").replace("\0", "").replace("\r", "\r\r")
    with Smtp(cluster.relay(), ehlo=None) as client:
        client.command(b"EHLO " + EVIL.replace(b"\r", b"").replace(b"\0", b""))
        client.command(b"EHLO client.example.org")
        client.command(b"MAIL FROM:<" + EVIL.replace(b"\r", b"").replace(b"\0", b"") + b"@example.org>")
        assert client.command('MAIL FROM:<"a\\"b\\\\ , status=sent (250"@example.org>').code == 250
        client.command(b"RCPT TO:<x" + EVIL.replace(b"\r", b"").replace(b"\0", b"") + b"@example.edu>")
        assert client.command("RCPT TO:<evil@example.edu>").code == 550
        assert client.command("RCPT TO:<alice@example.edu>").code == 250
        raw = message().replace(b"Message-ID: <", b"Message-ID: <\x1b\xff\"\\" + FORGED.encode() + b"\r\n\t")
        answer = client.data(raw)
    with Smtp(cluster.relay(), ehlo=None) as client:
        client.send(b"NOOP " + EVIL + b"\r\n")
        client.reply()
    with Smtp(cluster.relay(), ehlo=None) as client:
        client.send(b"HELO x\n" + FORGED.encode() + b"\r\n")
        client.reply()
    assert answer.code == 250, answer
    wait_until(lambda: answer.queue_id in cluster.log("edge-1") and cluster.log("edge-1").count("disconnect from") >= 3, what="the log")
    return answer.queue_id


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_peer_forges_a_line(make_cluster, hop, form):
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=[f"log.format={form}", "next_hop_tls=none"])
    queue_id = attack(cluster, hop)
    raw = (cluster.dir / "log/edge-1.log").read_bytes()
    lines = raw.decode().splitlines()  # UTF-8 throughout, and splitlines() knows every line end there is
    assert len(lines) == raw.count(b"\n") and not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", raw)
    if form == "text":
        assert all(re.match(r"\w{3} [ \d]\d [\d:]{8} \S+ weir/edge-1(/\w+)?\[\d+\]: ", line) for line in lines)
        words = [line.split("]: ", 1)[1] for line in lines]
    else:
        events = [json.loads(line) for line in lines]
        for event in events:
            assert list(event) == KEYS and event["schema"] == 1 and event["node"] == "edge-1" and event["event"] != "forged"
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["time"]) and isinstance(event["pid"], int)
            stamp = datetime.datetime.fromisoformat(event["time"][:-1] + "+00:00")
            assert abs((datetime.datetime.now(datetime.timezone.utc) - stamp).total_seconds()) < 600
        mine = [event["event"] for event in events if event["id"] == queue_id]
        assert [name for name in mine if name != "reject"] == ["message_begins", "message_id", "message", "recipient"], mine
        assert {"connect", "disconnect", "reject"} <= {event["event"] for event in events}
        words = [event["message"] for event in events]
    assert not [text for text in words if text.startswith((FORGED, "06FZQ7XKC3ABCDEFGHJK"))]
    assert sum("status=sent" in text and text.startswith(f"{queue_id}: to=<alice@example.edu>, relay=") for text in words) == 1
