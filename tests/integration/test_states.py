"""Three edges that are one service, and a message's way through it as operators see it: waiting, in work, going out, gone."""
import json
import re

import pytest

from test_spool import Hop, conserved, hop, wait_removed  # noqa: F401
from weir import EICAR, Smtp, message, wait_until

# ---- three edges, one service ----

SCRIPT = ["EHLO client.example.org", "HELP", "NOOP", "VRFY alice", "EXPN staff", "MAIL FROM:<a@example.org> SIZE=52428801", "MAIL FROM:<a@example.org>", "DATA",
          "RCPT TO:<victim@example.com>", "RCPT TO:<unknown-x@example.edu>", "RCPT TO:<full-x@example.edu>", "RCPT TO:<nonsense", "RCPT TO:<alice@example.edu>",
          "RSET", "NONSENSE", "MAIL FROM:<>", "RCPT TO:<late-x@example.edu>", "DATA"]


def dialogue(address, raw, source):
    """All that an edge says; its own name and the message's ids (ours, the sink's) made the same for all."""
    with Smtp(address, source, ehlo=None) as client:
        lines = [*client.greeting.lines]
        for command in SCRIPT:
            lines += [f"> {command}", *client.command(command).lines]
        client.send(raw + b".\r\n")
        lines += client.reply().lines
        client.envelope()
        lines += client.data(raw).lines + client.command("QUIT").lines
        assert client.closed()
    return re.sub(r"[0-9A-HJKMNP-TV-Z]{20}|\d+-\d+-\d{6}", "ID", re.sub(r"edge-\d\.weir\.test", "EDGE", "\n".join(lines)))


def hand_in(cluster, first, raw):
    """As a sending host goes through the addresses of a name; the edge that took it."""
    for edge in (first, first % 3 + 1, (first + 1) % 3 + 1):
        try:
            if cluster.send(raw, edge=edge).code == 250:
                return edge
        except OSError:
            continue
    return None


def test_S41_three_edges_say_the_same_and_one_may_die(make_cluster):
    cluster = make_cluster(edges=3, scanners=1)
    for source in (None, "127.0.0.2"):
        clean, bad = message(token="same"), message(EICAR.decode() + "\r\n", token="same-virus")
        for raw in (clean, bad):
            said = {dialogue(cluster.relay(edge), raw, source) for edge in (1, 2, 3)}
            assert len(said) == 1, said
            one, = said
            assert "550 5.1.1" in one and ("(ID)" in one or "id ID" in one), one
    cluster.kill("edge-2")
    senders = [hand_in(cluster, first, message(token=f"one-died-{first}")) for first in (1, 2, 3) * 5]
    assert senders == [1, 3, 3] * 5, "the next address of the name"
    assert all(len(cluster.sink.with_token(f"one-died-{first}")) == 5 for first in (1, 2, 3))


# ---- one message's states ----

def entry_of(cluster, queue_id):
    entries = json.loads(cluster.weirctl("--json", "queue", "list", queue_id).stdout)
    return entries[0] if entries else {"state": None}


def wait_entry(cluster, queue_id, state, seconds=20):
    wait_until(lambda: entry_of(cluster, queue_id)["state"] == state, seconds, f"{queue_id} as {state}")
    return cluster.weirctl("queue", "show", queue_id).stdout


@pytest.mark.parametrize("sender, recipient", [("device@example.edu", "alice@example.edu"), ("device@example.edu", "someone@example.com")],
                         ids=["S42_inside", "S51_outbound"])
def test_S42_S51_a_message_is_shown_in_each_state(make_cluster, hop, sender, recipient):
    """Input queue: stored and not scanned yet. Work: leased. Output queue: clean, its destination away. Then gone, with its story."""
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "next_hop_tls=none", "spool_retry_min=3s"])
    hop.refuse[recipient] = "450 4.2.0 not now"
    cluster.stop("scanner-1")
    wait_until(lambda: cluster.metric("weir_scanners_live") == 0, 10, "no scanner")
    answer = cluster.send(message(token="states"), sender=sender, recipients=[recipient])
    assert answer.code == 250
    shown = wait_entry(cluster, answer.queue_id, "ready")
    assert "not scanned yet" in shown and recipient in shown, shown
    # A claim that stood while there was a scanner may have had it for a moment.
    wait_until(lambda: json.loads(cluster.weirctl("--json", "status").stdout)["spool"]["states"] == {"ready": 1}, 30, "it waits as ready")

    hop.hold = {"RCPT"}
    cluster.start("scanner-1")
    assert "with edge-1/" in wait_entry(cluster, answer.queue_id, "leased", 30)
    hop.hold = set()
    hop.gate.set()
    shown = wait_entry(cluster, answer.queue_id, "deferred")
    assert "verdict   clean" in shown and "450 4.2.0 not now" in shown, shown

    del hop.refuse[recipient]
    cluster.weirctl("queue", "retry", answer.queue_id)
    wait_removed(cluster, answer.queue_id)
    assert entry_of(cluster, answer.queue_id)["state"] is None
    story = cluster.weirctl("trace", answer.queue_id).stdout
    for words in (f"<{sender}>", f"<{recipient}>", "verdict   clean", "by scanner-1", "450 4.2.0 not now", "said: 250 2.0.0 taken"):
        assert words in story, story
    body, = hop.to(recipient)
    assert body.startswith(b"X-Virus-Scanned: ")
    conserved(cluster)


# ---- what is scanned ----

ATTACHED = ("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--b\r\n"
            "Content-Type: application/octet-stream; name=a.com\r\nContent-Disposition: attachment; filename=a.com\r\n\r\n{attached}\r\n--b--\r\n")


@pytest.mark.parametrize("where, body", [("attachment", ATTACHED.format(text="see there", attached=EICAR.decode())),
                                         ("text beside an attachment", ATTACHED.format(text=EICAR.decode(), attached="harmless")),
                                         ("text alone", "\r\n" + EICAR.decode() + "\r\n")],
                         ids=["attachment", "text-beside", "text-alone"])
def test_S44_attachments_and_bodies_are_scanned(cluster, where, body):
    head = message(token="scanned").split(b"\r\n\r\n")[0]
    answer = cluster.send(head + b"\r\n" + body.encode())
    assert answer.code == 550 and "Eicar" in answer.text, (where, answer)
    assert cluster.send(head + b"\r\n" + body.replace(EICAR.decode(), "harmless").encode()).code == 250
