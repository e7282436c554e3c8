"""A next hop with bad manners: what the client is told, and that the next message is none the worse."""
import contextlib
import pathlib
import re
import socketserver
import threading
import time

import pytest

import weir
from weir import Smtp, message, wait_until


class NextHop(socketserver.ThreadingTCPServer):
    """Answers as a mail server does, but as `answers` say: {"DATA": "421 4.3.2 no"}; None: never; "": the connection ends."""
    allow_reuse_address = daemon_threads = True

    def __init__(self, address=("127.0.0.1", 0)):
        super().__init__(address, Visit)
        self.answers, self.messages, self.connections, self.ends_after = {}, [], 0, False
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.server_address[1]}"


class Visit(socketserver.StreamRequestHandler):
    usual = {"GREETING": "220 hop.test", "EHLO": "250-hop.test\r\n250 PIPELINING", "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok",
             "DATA": "354 go", "DOT": "250 2.0.0 taken", "RSET": "250 ok", "QUIT": "221 bye"}

    def answer(self, verb):
        text = self.server.answers.get(verb, self.usual.get(verb, "500 what"))
        if text is None:
            self.rfile.read()  # until the edge gives up
        if not text:
            return False
        self.wfile.write(text.encode() + b"\r\n")
        return verb != "QUIT" and not text.startswith("421")

    def handle(self):
        with self.server.lock:
            self.server.connections += 1
        go_on = self.answer("GREETING")
        while go_on:
            line = self.rfile.readline()
            if not line:
                return
            verb = line[:4].decode().upper().strip()
            go_on = self.answer(verb)
            if verb == "DATA" and verb not in self.server.answers:
                body = b""
                while not body.endswith(b"\r\n.\r\n"):
                    piece = self.rfile.readline()
                    if not piece:
                        return
                    body += piece
                with self.server.lock:
                    self.server.messages.append(body)
                go_on = self.answer("DOT") and not self.server.ends_after

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass


@pytest.fixture(scope="module")
def farm():
    hop = NextHop()
    made = weir.Cluster(edges=1, scanners=1, next_hop=hop.endpoint,
                        sets=["connect_timeout=60s", "edge.workers=1", "next_hop_tls=none"])
    try:
        made.hop = hop
        made.up()
        yield made
    finally:
        made.down()
        hop.shutdown()


def configure(cluster, *lines):
    """Into the edge's own file, as an operator would, instead of all that were; then HUP."""
    path = re.search(r"-c\0([^\0]+)", open(f"/proc/{cluster.pid('edge-1')}/cmdline").read()).group(1)
    text = re.sub(r"(?m)^(reply|data_done|greeting)_timeout.*\n", "", pathlib.Path(path).read_text())
    pathlib.Path(path).write_text(text.replace("[edge]\n", "".join(f"{line}\n" for line in ("[edge]", *lines))))
    cluster.reload("edge-1")


@contextlib.contextmanager
def impatient(cluster, *lines):
    """Only while it is meant to be waited for: a next hop that is well has the minutes of the defaults, however slow this machine is."""
    configure(cluster, *lines)
    try:
        yield
    finally:
        configure(cluster)


@pytest.fixture
def hop(farm):
    farm.hop.answers, farm.hop.ends_after = {}, False
    wait_until(lambda: farm.send(message()).code == 250, what="a next hop that is well")
    farm.hop.messages.clear()
    yield farm.hop


@pytest.mark.parametrize("verb, answer, code, enhanced", [
    ("MAIL", "451 4.7.1 greylisted", 451, "4.7.1"),
    ("MAIL", "550 5.7.1 not you", 550, "5.7.1"),
    ("RCPT", "452 4.2.2 full", 452, "4.2.2"),
    ("RCPT", "421 4.3.2 going down", 450, "4.3.2"),
    ("DATA", "421 4.3.2 going down", 450, "4.3.2"),
    ("DATA", "", 451, "4.4.2"),
    ("DOT", "452 4.3.1 disk full", 452, "4.3.1"),
    ("DOT", "421 4.3.2 going down", 450, "4.3.2"),
    ("DOT", "", 451, "4.4.2"),
])
def test_its_answer_is_the_client_s(farm, hop, verb, answer, code, enhanced):
    hop.answers = {verb: answer}
    told = farm.send(message())
    assert (told.code, told.text.split()[0]) == (code, enhanced), told
    hop.answers = {}
    assert farm.send(message()).code == 250


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
def test_one_that_never_answers(farm, hop, verb):
    """reply_timeout (1 s here) ends the wait; before the final dot it is tried once more on another connection."""
    hop.answers = {verb: None}
    with impatient(farm, "reply_timeout = 1s", "data_done_timeout = 1s"):
        started = time.monotonic()
        told = farm.send(message())
        took = time.monotonic() - started
    assert told.code == 451 and 0.8 < took < 20 * weir.PATIENCE, (told, took)
    hop.answers = {}
    assert farm.send(message()).code == 250


def test_one_that_closes_pooled_connections(farm, hop):
    """Whether the edge has seen the end or not, each message gets through, once."""
    hop.ends_after = True
    for _ in range(20):
        assert farm.send(message()).code == 250
    hop.ends_after = False
    assert len(hop.messages) == 20


def test_one_that_ends_between_rcpt_and_data(farm, hop):
    """The client has its 250 for the recipient: the envelope is repeated on a fresh connection."""
    with Smtp(farm.relay()) as client:
        assert [answer.code for answer in client.envelope()] == [250]
        before = hop.connections
        hop.answers = {"DATA": ""}

        def mend():
            wait_until(lambda: hop.connections > before, what="the second connection")
            hop.answers = {}
        mender = threading.Thread(target=mend)
        mender.start()
        told = client.data(message())
        mender.join()
    assert told.code == 250 or (told.code, told.text[:5]) == (451, "4.4.2"), told
    assert len(hop.messages) == (told.code == 250)


def test_one_that_hangs_does_not_hold_everybody(farm, hop):
    """It takes connections and says nothing. One client finds out; while that lasted and as long again the others are told at once."""
    hop.ends_after = True  # no connection is left in the pool
    assert farm.send(message()).code == 250
    hop.answers = {"GREETING": None}
    with impatient(farm, "greeting_timeout = 4s"), Smtp(farm.relay()) as client:
        def ten_more():
            """Connections that they made; where they came as late as that one could be tried again, nothing is said by it."""
            started = time.monotonic()
            assert client.envelope()[0].code == 451
            first = time.monotonic() - started
            started, connections = time.monotonic(), hop.connections
            codes = [client.command("RSET").code and client.envelope()[0].code for _ in range(10)]
            rest = time.monotonic() - started
            print(f"first {first:.2f} s, ten more {rest:.3f} s")
            told.append((codes, first > 3.8 or len(told) > 0, hop.connections - connections))
            return client.command("RSET").code and rest < 3
        told = []
        wait_until(ten_more, 60, "ten that come in time")
    assert told[-1] == ([451] * 10, True, 0), told
    hop.answers = {}
    wait_until(lambda: farm.send(message()).code == 250, 15, "mail flows again")
    wait_until(lambda: (farm.metric("weir_next_hop_down_total") or 0) >= 10, what="the metric")


def test_reload_changes_times(farm, hop):
    hop.answers = {"DOT": None}
    for seconds in (1, 5):  # the second would be over sooner were it still the first
        with impatient(farm, f"data_done_timeout = {seconds}s"):
            started = time.monotonic()
            assert farm.send(message()).code == 451
            assert seconds - 0.2 < time.monotonic() - started < seconds + 10 * weir.PATIENCE
