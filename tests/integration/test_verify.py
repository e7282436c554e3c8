"""Recipient verification: next hops are asked at RCPT, once for the whole cluster."""
import json
import select
import socketserver
import threading
import time

import pytest

import weir
from weir import Smtp, message, wait_until


class Mailboxes(socketserver.ThreadingTCPServer):
    """A next hop that knows some recipients, and writes down who was asked about."""
    allow_reuse_address = daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Visit)
        self.lock = threading.Lock()
        self.reset()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def reset(self):
        self.known, self.words, self.asked, self.messages = set(), {}, [], 0
        self.refuses_null, self.pause = False, {}

    def probes(self, address):
        with self.lock:
            return [sender for sender, recipient in self.asked if recipient == address]


class Visit(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        hop, sender = self.server, ""
        self.say("220 hop.test")
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(":")
            verb, path = verb.upper(), rest.partition(">")[0].lstrip(" <")
            if verb.startswith("EHLO"):
                self.say("250-hop.test\r\n250 PIPELINING")
            elif verb == "MAIL FROM":
                sender = path
                self.say("550 5.7.1 no null sender here" if hop.refuses_null and not path else "250 2.1.0 ok")
            elif verb == "RCPT TO":
                with hop.lock:
                    hop.asked.append((sender, path))
                time.sleep(hop.pause.get(path, 0))
                self.say("250 2.1.5 ok" if path in hop.known else hop.words.get(path, f"550 5.1.1 <{path}>: never heard of"))
            elif verb == "DATA":
                self.say("354 go")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                hop.messages += 1
                self.say("250 2.0.0 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")


@pytest.fixture(scope="module")
def site():
    hop = Mailboxes()
    made = weir.Cluster(edges=2, scanners=1, coordinators=2, next_hop=f"127.0.0.1:{hop.server_address[1]}",
                        sets=["edge.workers=1", "next_hop_tls=none", "verify_timeout=6s", "verify_memory_time=1s", "verify_probes=10",
                              "verify_positive_refresh=1h", "spool_retry_min=200ms"])
    try:
        made.hop = hop
        made.up()
        (made.dir / "policy" / "verify").write_text("example.edu\n")
        made.weirctl("policy", "apply", str(made.dir / "policy"))
        wait_until(lambda: rcpt(made, "first@example.edu").code == 550 and rcpt(made, "first@example.edu", 2).code == 550, seconds=30, what="the policy")
        yield made
    finally:
        made.down()
        hop.shutdown()
        hop.server_close()


@pytest.fixture
def hop(site):
    site.hop.reset()
    return site.hop


counter = iter(range(1000000))


def address(domain="example.edu"):
    """One nobody was asked about before."""
    return f"u{next(counter)}.{weir.random.getrandbits(32):08x}@{domain}"


def rcpt(site, recipient, edge=1, listener="HANDOFF"):
    with Smtp(site.env[f"EDGE_{edge}_{listener}"]) as client:
        answer, = client.envelope(recipients=[recipient])
        return answer


def known(site, recipient):
    return json.loads(site.weirctl("--json", "verify", "show", recipient).stdout)["recipients"]


@pytest.mark.sanitized
@pytest.mark.parametrize("listener", ["HANDOFF", "RELAY"])
def test_the_second_edge_does_not_ask_again(site, hop, listener):
    missing = address()
    answer = rcpt(site, missing, 1, listener)
    assert answer.code == 550 and answer.text.startswith(f"5.1.1 <{missing}>: Recipient address rejected: <{missing}>: never heard of"), answer
    assert hop.probes(missing) == [""]  # from the null sender
    entry, = wait_until(lambda: known(site, missing), what="the entry")
    assert (entry["exists"], entry["code"], entry["enhanced"], entry["asked_by"]) == (False, 550, "5.1.1", "edge-1")
    again = rcpt(site, missing, 2, listener)
    assert again.code == 550 and again.text == answer.text
    assert len(hop.probes(missing)) == 1
    assert f"reject: RCPT from" in site.log("edge-2") and missing in site.log("edge-2")
    trace = wait_until(lambda: "refused:verify" in site.weirctl("--json", "trace", missing).stdout, what="the audit")
    assert trace


@pytest.mark.sanitized
def test_one_that_exists(site, hop):
    there = address()
    hop.known.add(there)
    token = f"{weir.random.getrandbits(64):016x}"
    with Smtp(site.env["EDGE_1_HANDOFF"]) as client:
        assert client.envelope(recipients=[there])[0].code == 250
        assert hop.probes(there) == [""] and hop.messages == 0
        assert client.data(message(token=token)).code == 250
    wait_until(lambda: hop.messages == 1, 20, "the delivery")
    assert rcpt(site, there, 2).code == 250
    assert rcpt(site, there, 1).code == 250
    assert hop.probes(there) == ["", "sender@example.org"]
    entry, = known(site, there)
    assert entry["exists"] is True


@pytest.mark.parametrize("listener", ["HANDOFF", "RELAY"])
def test_s75_nobody_asks_whether_the_postmaster_exists(site, hop, listener):
    """The probe would hear that they do not. On the relay listener the next hop still speaks for itself."""
    for name in ("postmaster@example.edu", "abuse@example.edu", "postmaster"):
        answer = rcpt(site, name, 1, listener)
        words = hop.asked[-1] if hop.asked else None
        if listener == "HANDOFF":
            assert answer.code == 250 and words is None, (name, answer, words)
        else:
            assert answer.code == 550 and "Recipient address rejected" not in answer.text and words[0] == "sender@example.org", (name, answer, words)


def test_forgotten_by_an_operator(site, hop):
    made_later = address()
    assert rcpt(site, made_later).code == 550
    wait_until(lambda: known(site, made_later), what="the entry")
    hop.known.add(made_later)
    assert rcpt(site, made_later).code == 550
    table = site.weirctl("verify", "show", f"<{made_later.replace('example.edu', 'Example.EDU')}>").stdout
    assert made_later in table and "never heard of" in table
    assert site.weirctl("verify", "forget", made_later).stdout == "1 forgotten\n"
    wait_until(lambda: rcpt(site, made_later).code == 250, 5, "a new question")
    assert "verify forget" in site.weirctl("history").stdout
    wait_until(lambda: known(site, made_later), what="the entry")
    listed = json.loads(site.weirctl("--json", "verify", "show", "@example.edu").stdout)
    assert listed["count"] >= 1 and made_later in [entry["recipient"] for entry in listed["recipients"]]
    assert site.weirctl("verify", "forget", "nobody@nowhere.example").stdout == "0 forgotten\n"


def test_what_gets_old_is_asked_anew_by_one_edge(site, hop):
    """And nobody waits for it, nor hears another answer when the next hop does not say."""
    there = address()
    hop.known.add(there)
    assert rcpt(site, there).code == 250
    wait_until(lambda: known(site, there), what="the entry")
    hop.known.discard(there)
    hop.words[there] = "451 4.3.0 not now"
    assert site.query(f"UPDATE verified SET refresh_at = refresh_at - interval '1 hour' WHERE recipient = '{there}' RETURNING known") == [["t"]]

    def again():  # what an edge remembers itself it does not ask the database for
        assert [rcpt(site, there, edge).code for edge in (1, 2)] == [250, 250]
        return len(hop.probes(there)) > 1
    wait_until(again, what="the second question")
    time.sleep(1.1)  # verify_memory_time
    assert [rcpt(site, there, edge).code for edge in (1, 2)] == [250, 250]
    assert len(hop.probes(there)) == 2
    entry, = known(site, there)
    assert entry["exists"] is True


@pytest.mark.parametrize("words", ["450 4.2.1 greylisted", "552 5.2.2 mailbox full", "550 5.7.1 your network is not liked"])
def test_what_says_nothing_of_the_recipient(site, hop, words):
    unclear = address()
    hop.words[unclear] = words
    assert rcpt(site, unclear).code == 250
    assert known(site, unclear) == []


def test_a_next_hop_that_refuses_the_null_sender(site, hop):
    hop.refuses_null = True
    unclear = address()
    assert rcpt(site, unclear).code == 250
    assert known(site, unclear) == []


def test_many_at_once_are_one_question(site, hop):
    slow = address()
    hop.pause[slow] = 0.7
    clients = [Smtp(site.env["EDGE_1_HANDOFF"]) for _ in range(20)]
    for client in clients:
        client.send(f"MAIL FROM:<a@example.org>\r\nRCPT TO:<{slow}>\r\n".encode())
    for client in clients:
        assert (client.reply().code, client.reply().code) == (250, 550)
        client.close()
    assert hop.probes(slow) == [""]


def test_answers_keep_the_order_of_pipelined_commands(site, hop):
    there, slow, missing, elsewhere = address(), address(), address(), address("unverified.example")
    hop.known.update((there, slow, elsewhere))
    hop.pause[slow] = 0.5
    for listener in ("RELAY", "HANDOFF"):
        with Smtp(site.env[f"EDGE_1_{listener}"]) as client:
            client.send("".join(f"{line}\r\n" for line in (
                "MAIL FROM:<a@example.org>", f"RCPT TO:<{slow}>", f"RCPT TO:<{missing}>", f"RCPT TO:<{elsewhere}>", f"RCPT TO:<{there}>", "DATA")).encode())
            assert [client.reply().code for _ in range(6)] == [250, 250, 550, 250, 250, 354], listener
            client.send(message() + b".\r\n")
            assert client.reply().code == 250
        hop.pause.clear()
    assert len(hop.probes(missing)) == 1
    assert "" not in hop.probes(elsewhere)  # its domain is not in the policy's file


def test_a_slow_next_hop_keeps_its_own_clients_only(site, hop):
    slow, quick = address(), address()
    hop.pause[slow] = 8
    with Smtp(site.env["EDGE_1_HANDOFF"]) as waiting:
        began = time.monotonic()
        waiting.send(f"MAIL FROM:<a@example.org>\r\nRCPT TO:<{slow}>\r\n".encode())
        assert waiting.reply().code == 250
        assert rcpt(site, quick).code == 550
        assert not select.select([waiting.sock], [], [], 0)[0], "and the slow one's client still waits"
        assert waiting.reply().code == 250  # after verify_timeout: as if it was not verified
        assert time.monotonic() - began > 4
    wait_until(lambda: known(site, slow), 20, "the answer that nobody waited for")
    assert rcpt(site, slow, 2).code == 550


def test_no_more_than_verify_probes_at_once(site, hop):
    slow = [address() for _ in range(12)]
    hop.pause.update({recipient: 1.5 for recipient in slow})
    clients = [Smtp(site.env["EDGE_1_HANDOFF"]) for _ in slow]
    for client, recipient in zip(clients, slow):
        client.send(f"MAIL FROM:<a@example.org>\r\nRCPT TO:<{recipient}>\r\n".encode())
    codes = [[client.reply().code for _ in range(2)][1] for client in clients]
    for client in clients:
        client.close()
    # On a slow machine a probe may end before the last client has asked; never is one refused that there was room for.
    assert codes.count(550) >= 10 and codes.count(550) + codes.count(250) == 12, codes
    wait_until(lambda: site.metric("weir_verify_limited_total") == codes.count(250), what="the metric")


def test_counted_and_explained(site, hop):
    rcpt(site, address())
    for name, labels in (("weir_verify_answers_total", {"source": "next-hop", "result": "missing"}), ("weir_verify_probes_total", {"result": "missing"}),
                         ("weir_verify_lookups_total", {"result": "not-known"}), ("weir_verify_told_total", {}), ("weir_verify_remembered", {})):
        wait_until(lambda: sum(site.metric(name, number, **labels) or 0 for number in (1, 2)), what=name)
    told = site.weirctl("relay", "explain", "127.0.0.1", "u@example.edu").stdout
    assert "verify:1: example.edu" in told and "verified" in told, told


def test_without_the_database(site, hop):
    there = address()
    hop.known.add(there)
    site.stop("postgres")
    try:
        for _ in range(20):
            missing, began = address(), time.monotonic()
            for _ in range(2):
                assert rcpt(site, missing, 1, "RELAY").code == 550
            if time.monotonic() - began < 0.9:  # else verify_memory_time may have been over
                break
        assert rcpt(site, there, 1, "RELAY").code == 250
        assert len(hop.probes(missing)) == 1  # the worker's own memory
    finally:
        site.heal()
    wait_until(lambda: rcpt(site, missing, 2).code == 550 and known(site, missing), 20, "what the other edge was told")


def test_no_more_than_verify_entries(make_cluster):
    """The leader takes out those that expire first."""
    hop = Mailboxes()
    made = make_cluster(edges=1, scanners=1, next_hop=f"127.0.0.1:{hop.server_address[1]}",
                        sets=["edge.workers=1", "next_hop_tls=none", "verify_entries=3", "verify_unknown=defer"])
    (made.dir / "policy" / "verify").write_text(".\n!example.org\n")
    made.weirctl("policy", "apply", str(made.dir / "policy"))
    wait_until(lambda: rcpt(made, "first@example.edu").code == 550, what="the policy")
    for _ in range(6):
        assert rcpt(made, address()).code == 550
    unclear = address()
    hop.words[unclear] = "451 4.3.0 not now"
    assert rcpt(made, unclear).text.startswith("4.1.1")
    assert rcpt(made, address("example.org")).code == 250
    wait_until(lambda: len(known(made, "@example.edu")) <= 3, 90, "the leader's broom")
    wait_until(lambda: made.metric("weir_verify_entries_deleted_total", why="limit"), what="the metric")
    hop.shutdown()
