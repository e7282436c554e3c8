"""Rate limits: one bucket for the whole cluster, whichever edge and coordinator are asked."""
import json
import re
import threading
import time

import pytest

import weir
from weir import Smtp, message, wait_until


@pytest.fixture(scope="module")
def site():
    made = weir.Cluster(edges=2, scanners=1, coordinators=2, sets=["edge.workers=1", "next_hop_tls=none", "limit_timeout=10s",
                                                                   "question_repeat=1m"])  # one that is repeated, as a coordinator is busy, is counted twice
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def limited(site):
    """limited(LINES, VISIT): what VISIT() returns with these lines in force and full buckets. On a machine that is too busy an edge may think that no coordinator
    answers, and count for itself: it says so, and then that says nothing of the cluster."""
    def turns():
        return [(log.count("this worker counts for itself"), log.count("the cluster counts again")) for log in map(site.log, ("edge-1", "edge-2"))]

    def apply(text, visit):
        path = site.dir / "policy" / "limits"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            site.apply_policy()

        def once():
            before = turns()
            site.query("DELETE FROM limit_bucket")
            seen = visit()
            return turns() == before and all(gone == back for gone, back in before) and [seen]
        return wait_until(once, 120, "an answer of the coordinators to each question")[0]
    yield apply
    (site.dir / "policy" / "limits").unlink(missing_ok=True)


def mail(site, edge=1, source="127.0.0.1", sender="sender@example.org"):
    with Smtp(site.relay(edge), source) as client:
        return client.command(f"MAIL FROM:<{sender}>")


@pytest.mark.sanitized
def test_s26_connections_are_counted_over_all_edges(site, limited):
    def come(edge, source):
        with Smtp(site.relay(edge), source, ehlo=None) as client:
            assert client.greeting.code == 220 or client.closed()
            return client.greeting
    seen = limited("inbound client connections 2/day\n", lambda: [come(*visit) for visit in
                   ((1, "127.0.0.9"), (2, "127.0.0.9"), (1, "127.0.0.9"), (2, "127.0.0.9"), (1, "127.0.0.10"), (1, "127.0.0.1"))])
    assert [answer.code for answer in seen] == [220, 220, 421, 421, 220, 220]  # another client, another direction
    assert all(answer.text.startswith("4.7.0 ") and answer.text.endswith(" Too many connections from client 127.0.0.9, try again later") for answer in seen[2:4]), seen


@pytest.mark.sanitized
def test_s26_the_next_message_is_refused_whichever_edge_it_picks(site, limited):
    senders = ((1, "a@big.example"), (2, "a@big.example"), (1, "b@BIG.example"), (2, "b@BIG.example"), (1, "a@other.example"), (1, ""), (2, ""), (1, ""))
    seen = limited("outbound domain messages 3/day burst 2\n", lambda: [mail(site, edge, sender=sender) for edge, sender in senders])
    assert [answer.code for answer in seen] == [250, 250, 450, 450, 250, 250, 250, 250]  # the null sender is nobody's domain
    assert seen[2].text == seen[3].text == "4.7.1 Too many messages from domain big.example, try again later"

    explained = json.loads(site.weirctl("--json", "limit", "explain", "someone@big.example").stdout)["limits"]
    assert [(one["line"]["rule"], one["subject"], one["left"], one["burst"]) for one in explained] == [("limits:1", "big.example", 0, 2)]
    assert 0 < explained[0]["next_ms"] <= 86400000 / 3 < explained[0]["full_ms"]
    text = site.weirctl("limit", "explain", "big.example").stdout
    assert re.search(r"limits:1 +outbound domain messages 3/day +big.example +0 +2 +8 h +16 h", text), text
    assert site.weirctl("limit", "reset", "big.example").stdout == "1 bucket of limits is full again\n"
    wait_until(lambda: mail(site, 2, sender="c@big.example").code == 250, 30, "what was refused may be sent again")
    assert ["limit reset", "big.example"] in site.query("SELECT action, target FROM audit_action")
    assert site.weirctl("limit", "reset", "big.example", check=False).returncode == 0
    assert "no line of limits" in site.weirctl("limit", "explain", "192.0.2.1").stdout


class Sender(threading.Thread):
    """Begins messages, and breaks them off, until it was refused for some time."""

    def __init__(self, address, begins):
        super().__init__(daemon=True)
        self.address, self.begins, self.passed, self.failed = address, begins, 0, None

    def run(self):
        try:
            with Smtp(self.address) as client:
                for _ in range(self.begins):
                    passed = client.command("MAIL FROM:<a@hammered.example>").code == 250
                    self.passed += passed
                    assert not passed or client.command("RSET").code == 250
        except (OSError, AssertionError) as error:
            self.failed = error


def test_s26_hammered_edges_let_no_more_pass_than_there_is(site, limited):
    def visit():
        began, senders = time.monotonic(), [Sender(site.relay(1 + number % 2), 100) for number in range(6)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(120)
            assert not sender.is_alive() and sender.failed is None, sender.failed
        return sum(sender.passed for sender in senders), time.monotonic() - began
    passed, seconds = limited("outbound domain messages 36000/hour burst 300\n", visit)
    assert 200 <= passed <= 300 + 10 * (seconds + 1), (passed, seconds)  # what a worker took in advance and did not use is lost
    assert site.query("SELECT missing < 301 * 3600000::bigint FROM limit_bucket WHERE name LIKE '% hammered.example'") == [["t"]]


def test_recipients_are_refused_one_by_one_and_written_down(site, limited):
    visits = []

    def visit():
        site.query("DELETE FROM audit")
        visits.append(f"v{len(visits)}")  # rows of a visit before may be on their way
        with Smtp(site.relay(1)) as client:
            answers = client.envelope(recipients=[f"{visits[-1]}-{number}@example.edu" for number in range(5)])
            answers.append(client.data(message()))
        with Smtp(site.relay(2)) as client:  # all of them pipelined: answered in their order
            client.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<{0}-7@example.edu>\r\nRCPT TO:<{0}-8@example.edu>\r\nRSET\r\nNOOP\r\n".format(visits[-1]).encode())
            return answers + [client.reply() for _ in range(5)]
    seen = limited("outbound client recipients 3/day\n", visit)
    assert [answer.code for answer in seen] == [250, 250, 250, 450, 450, 250, 250, 450, 450, 250, 250]
    assert seen[3].text == "4.7.1 Too many recipients from client 127.0.0.1, try again later"
    wait_until(lambda: site.query(f"SELECT recipient, reply_code FROM audit WHERE disposition = 'deferred:limit' AND recipient LIKE '{visits[-1]}-%' ORDER BY recipient")
               == [[f"{visits[-1]}-{number}@example.edu", "450"] for number in (3, 4, 7, 8)], 30, "the audit rows")


def test_bytes_may_be_owed_once(site, limited):
    raw = message(size=8000)

    def visit():
        with Smtp(site.relay(1)) as first, Smtp(site.relay(2)) as second:  # both begin while there are bytes left
            begun = [*first.envelope(), *second.envelope()]
            ended = [first.data(raw), second.data(raw)]
        return begun + ended + [mail(site, edge) for edge in (1, 2)]
    seen = limited("outbound client bytes 2KiB/day\n", visit)
    assert [answer.code for answer in seen] == [250, 250, 250, 450, 450, 450]
    assert {answer.text for answer in seen[3:]} == {"4.7.1 Too many bytes from client 127.0.0.1, try again later"}


def test_dry_run_is_only_counted(site, limited):
    before = site.metric("weir_rate_limited_total", limit="handoff client messages", result="dry-run") or 0

    def visit():
        with Smtp(site.env["EDGE_1_HANDOFF"]) as client:
            return [*client.envelope(), client.data(message()), *client.envelope(), *[client.command(word) for word in ("RSET", "MAIL FROM:<a@example.org>")]]
    assert [answer.code for answer in limited("handoff client messages 1/day dry_run\n", visit)] == [250] * 5
    assert re.search(r"limits:1: dry run: too many messages from client 127.0.0.1: over 1/day burst 1", site.log("edge-1"))
    wait_until(lambda: site.metric("weir_rate_limited_total", limit="handoff client messages", result="dry-run") >= before + 2, 30, "the metric")


def test_accounts_have_their_limit(site, limited):
    def log_in_and_send(edge):
        with Smtp(site.env[f"EDGE_{edge}_SUBMISSION"]) as client:
            client.starttls(site.env["CA_FILE"])
            wait_until(lambda: client.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUuZWR1AHdvbmRlcmxhbmQ=").code in (235, 503), 60, "the login")
            return client.command("MAIL FROM:<alice@example.edu>")
    seen = limited("submission account messages 2/day\n", lambda: [log_in_and_send(edge) for edge in (1, 2, 1)])
    assert [answer.code for answer in seen] == [250, 250, 450]
    assert seen[2].text == "4.7.1 Too many messages from account alice@example.edu, try again later"


def test_s60_an_exception_lifts_limits_until_it_expires(site, limited):
    """One client has twice as much as its neighbour, whose limit by prefix it does not use up; one has none; and who is in no line of `hosts` has one of his own."""
    signed = 'reason="mass mail" owner=press approved_by=postmaster'
    path, hosts = site.dir / "policy" / "exceptions", site.dir / "policy" / "hosts"
    path.write_text(f"127.0.0.21 limits=2x {signed} expires=2099-12-31\n127.0.0.22 limits=none {signed} expires=2099-12-31\n127.0.0.23 limits=2x {signed} expires=2020-12-31\n")
    hosts.write_text("127.0.0.16/28 owner=o reason=r\n")
    networks = site.dir / "policy" / "networks"
    inside = networks.read_text()
    networks.write_text(inside + "127.0.0.16/28\n127.0.0.40\n")
    try:
        lines = "outbound client messages 2/day\noutbound prefix messages 4/day\noutbound unregistered messages 1/day\n"
        seen = limited(lines, lambda: {last: [mail(site, 1 + number % 2, f"127.0.0.{last}").code for number in range(5)] for last in (21, 22, 23, 24, 40)})
        assert seen == {21: [250] * 4 + [450], 22: [250] * 5, 23: [250, 250, 450, 450, 450], 24: [250, 250, 450, 450, 450], 40: [450] * 5}, seen
        explained = json.loads(site.weirctl("--json", "limit", "explain", "127.0.0.21").stdout)["limits"]
        assert [(one["subject"], one["burst"], one["left"], one["exception"]["rule"]) for one in explained] == [
            ("127.0.0.21", 4, 0, "exceptions:1"), ("127.0.0.21/32", 8, 4, "exceptions:1")], explained
        own = json.loads(site.weirctl("--json", "limit", "explain", "127.0.0.21/32").stdout)["limits"][1]
        assert own == explained[1] | {"next_ms": own["next_ms"], "full_ms": own["full_ms"]}, own
        text = site.weirctl("limit", "explain", "127.0.0.22").stdout
        assert "not limited, exceptions:2" in text and "limits:2" in text, text
        assert "unregistered" in site.weirctl("limit", "explain", "127.0.0.40").stdout
        assert "127.0.0.22/32" in site.weirctl("exception", "list").stdout
    finally:
        path.unlink()
        hosts.unlink()
        networks.write_text(inside)


def test_without_coordinators_each_worker_counts_for_itself(site, limited):
    assert limited("outbound client messages 5/day\n", lambda: mail(site)).code == 250
    for number in (1, 2):
        site.kill(f"coordinator-{number}")
    try:
        codes = [mail(site).code for _ in range(8)]
        assert codes[-3:] == [450] * 3 and codes.count(250) <= 4 and codes[0] == 250  # what passed here before counts
    finally:
        site.heal()
    site.query("DELETE FROM limit_bucket")
    wait_until(lambda: mail(site).code == 250, 60, "the cluster counts again")


def test_a_bad_line_is_told_with_its_place(site):
    folder = site.dir / "policy"
    (folder / "limits").write_text("inbound client messages 100/minute\nhandoff client bytes 1GiB/day\n")
    try:
        done = site.weirctl("policy", "check", str(folder), check=False)
        assert done.returncode != 0 and "limits:2: error: handoff: its devices cannot send again" in done.stderr + done.stdout
    finally:
        (folder / "limits").unlink()
