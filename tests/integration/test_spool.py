"""The spool through a whole cluster: several next hops, a next hop that is away, reports to senders, and edges that die or sleep."""
import base64
import contextlib
import datetime
import email
import email.policy
import json
import os
import re
import shutil
import signal
import socketserver
import subprocess
import threading
import time

import pytest

import weir
from hops import Hop
from weir import Smtp, message, wait_until

NO_RETRY = ["spool_retry_min=1h", "spool_retry_max=1h"]  # the cluster's own are seconds


@pytest.fixture
def hop():
    server = Hop()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


def wait_removed(cluster, queue_id, seconds=20, edges=("edge-1",)):
    wait_until(lambda: any(f"{queue_id}: removed" in cluster.log(edge) for edge in edges), seconds, f"the end of {queue_id}")


def conserved(cluster):
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 15, "conservation")


def test_S51_two_next_hops_in_one_transaction(make_cluster, hop):
    cluster = make_cluster(edges=1, scanners=1)
    table = cluster.dir / "policy" / "mailertable"
    table.write_text(table.read_text() + f"other.example.net\tsmtp:[127.0.0.1]:{hop.server_address[1]}\n")
    cluster.apply_policy()
    hop.refuse["nobody@other.example.net"] = "550 5.1.1 no such user"
    with Smtp(cluster.relay()) as client:  # each next hop speaks for its own recipients
        assert [answer.code for answer in client.envelope(recipients=["alice@example.edu", "nobody@other.example.net"])] == [250, 550]
    raw = message(token="two-hops")
    answer = cluster.send(raw, recipients=["alice@example.edu", "bob@other.example.net"])
    assert answer.code == 250 and answer.queue_id
    wait_until(lambda: cluster.sink.with_token("two-hops") and hop.to("bob@other.example.net"), 10, "both copies")
    wait_removed(cluster, answer.queue_id)
    assert len(cluster.sink.with_token("two-hops")) == 1 and len(hop.to("bob@other.example.net")) == 1
    assert weir.strip_added(hop.to("bob@other.example.net")[0]) == raw
    log = cluster.log("edge-1")
    assert log.count(f"{answer.queue_id}: from=<sender@example.org>, size=") == 2 and "(queue active)" in log
    for address in ("alice@example.edu", "bob@other.example.net"):
        assert re.search(rf"/smtp\[\d+\]: {answer.queue_id}: to=<{address}>, relay=[^,]*127\.0\.0\.1\S*, delay=\S+, delays=\S+, dsn=2\.0\.0, status=sent \(250 ", log)
    conserved(cluster)


def test_one_next_hop_is_never_spooled(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    for _ in range(5):
        assert cluster.send(message(), recipients=["alice@example.edu", "bob@example.edu"]).code == 250
    assert cluster.sink.count() == 5
    wait_until(lambda: cluster.metric("weir_recipients_total", disposition="delivered") == 10, 10, "the counters")
    assert not cluster.metric("weir_edge_spool_stores_total", result="stored")


def test_next_hop_away_then_back(make_cluster):
    block = weir.free_base_port()  # nobody else's as long as it is held
    port = block + 7
    cluster = make_cluster(edges=1, scanners=1, next_hop=f"127.0.0.1:{port}", sets=["profile=handoff"])
    answer = cluster.send(message(token="patience"))
    assert answer.code == 250
    wait_until(lambda: re.search(rf"{answer.queue_id}: to=<alice@example.edu>, relay=none, .*dsn=4\.4\.1, status=deferred", cluster.log("edge-1")),
               15, "a deferred delivery")
    hop = Hop(port)
    try:
        wait_until(lambda: hop.to("alice@example.edu"), 30, "the delivery")
        wait_removed(cluster, answer.queue_id)
        assert len(hop.taken) == 1
        conserved(cluster)
    finally:
        hop.shutdown()
        hop.server_close()


def test_an_idle_spool_delivers_at_once_and_asks_nobody_all_the_time(make_cluster):
    """Single messages, each to a spool that is empty, with two coordinators, of which the edge that stores need not ask the one that hears its claim.
    Nobody looks unasked here: what is delivered was told of."""
    cluster = make_cluster(edges=2, scanners=1, coordinators=2,
                           sets=["profile=handoff", "log.format=json", "spool_look=1h", "spool_lease=30m"])
    names = ("coordinator-1", "coordinator-2")

    def claims():
        return sum(cluster.metric("weir_spool_claims_total", number, node=name) or 0 for number, name in enumerate(names, 1))

    def at(text):
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

    cluster.send(message(token="warm"))
    wait_until(lambda: cluster.sink.with_token("warm"), 30, "the first")
    before = claims()
    stored, ids = [], []
    for number in range(20):
        answer = cluster.send(message(token=f"single-{number}-"), edge=1 + number % 2)
        stored.append(time.time())
        assert answer.code == 250
        ids.append(answer.queue_id)
        wait_until(lambda number=number: cluster.sink.with_token(f"single-{number}-"), 30, "its delivery")
        wait_removed(cluster, answer.queue_id, 30, ("edge-1", "edge-2"))
    made = claims() - before
    events = [json.loads(line) for edge in ("edge-1", "edge-2") for line in cluster.log(edge).splitlines()]
    active = {event["id"]: at(event["time"]) for event in events if "(queue active)" in event["message"]}
    arrived = [at(cluster.sink.with_token(f"single-{number}-")[0][1]["time"]) for number in range(20)]
    leased = sorted(active[queue_id] - when for queue_id, when in zip(ids, stored))
    delivered = sorted(there - when for there, when in zip(arrived, stored))
    for what, times in (("leased", leased), ("delivered", delivered)):
        print(f"250 to {what}: median {1000 * times[10]:.0f} ms, {sum(one < 0.1 for one in times)} of 20 within 100 ms, most {1000 * times[-1]:.0f} ms")
    print(f"{made:.0f} claims for 20 messages")
    assert made < 20 * 15, "claims stand and wait; nobody asks again and again"


def read_report(report):
    assert report.get_content_type() == "multipart/report" and report.get_param("report-type") == "delivery-status"
    assert not report.defects and report["Auto-Submitted"] == "auto-replied" and report["From"].addresses[0].username == "MAILER-DAEMON"
    words, status, returned = report.iter_parts()
    assert words.get_content_type() == "text/plain" and status.get_content_type() == "message/delivery-status"
    fields = status.get_payload()
    assert fields[0]["Reporting-MTA"].startswith("dns; ")
    return words.get_content(), fields[0], fields[1:], returned


def test_a_bounce_says_what_happened(make_cluster, hop):
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "contact=help@example.edu"])
    hop.refuse["gone@example.edu"] = "550 5.1.1 no such user"
    with Smtp(cluster.relay()) as client:
        assert client.command("MAIL FROM:<sender@example.org> ENVID=QQ+2B7 RET=HDRS").code == 250
        assert client.command("RCPT TO:<gone@example.edu> ORCPT=rfc822;old+2Bname@example.edu").code == 250
        assert client.command("RCPT TO:<alice@example.edu> NOTIFY=SUCCESS,FAILURE").code == 250
        assert client.command("RCPT TO:<gone@example.edu> NOTIFY=NEVER").code == 250
        answer = client.data(message(token="bounce"))
        assert answer.code == 250
    report, = wait_until(lambda: hop.reports("sender@example.org"), 15, "the report")
    sender = next(mail for mail, recipients, _ in hop.taken if "<sender@example.org>" in recipients[0])
    assert sender.startswith("MAIL FROM:<>")
    words, about, recipients, returned = read_report(report)
    assert "help@example.edu" in words and answer.queue_id in words and "no such user" in words
    assert report["X-Weir-Queue-ID"] == answer.queue_id == about["X-Weir-Queue-ID"] and about["Original-Envelope-Id"] == "QQ+7"
    assert report["Subject"] == "Undelivered Mail Returned to Sender"
    told = {fields["Final-Recipient"]: fields for fields in recipients}
    assert set(told) == {"rfc822; gone@example.edu", "rfc822; alice@example.edu"} and len(recipients) == 2
    gone, alice = told["rfc822; gone@example.edu"], told["rfc822; alice@example.edu"]
    assert (gone["Action"], gone["Status"], gone["Original-Recipient"]) == ("failed", "5.1.1", "rfc822; old+name@example.edu")
    assert gone["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user" and gone["Remote-MTA"] == "dns; 127.0.0.1"
    assert (alice["Action"], alice["Status"]) == ("relayed", "2.0.0")
    assert returned.get_content_type() == "text/rfc822-headers" and "Subject: test" in returned.get_payload()
    wait_removed(cluster, answer.queue_id)
    log = cluster.log("edge-1")
    assert re.search(rf"{answer.queue_id}: to=<gone@example.edu>, .*status=bounced \(550 no such user\)", log)
    assert re.search(rf"/bounce\[\d+\]: {answer.queue_id}: sender non-delivery notification: [0-9A-Z]{{20}}", log)
    assert len(hop.to("alice@example.edu")) == 1
    conserved(cluster)


def test_no_report_to_the_null_sender_or_about_a_report(make_cluster, hop):
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff"])
    hop.refuse["gone@example.edu"] = hop.refuse["sender@example.org"] = "550 5.1.1 no"
    for sender in ("", "sender@example.org"):
        answer = cluster.send(message(), sender=sender, recipients=["gone@example.edu"])
        assert answer.code == 250
        wait_removed(cluster, answer.queue_id)
    wait_until(lambda: sum("RCPT TO:<sender@example.org>" in line for line in hop.asked) == 1, 15, "the report's end")
    wait_until(lambda: cluster.log("edge-1").count(": removed") == 3, 15, "the end of all three")
    assert not hop.taken
    conserved(cluster)


def test_a_delay_is_told_once_and_a_life_ends(make_cluster, hop):
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint,
                           sets=["profile=handoff", "spool_delay_warning=1s", "spool_life=12s", "spool_retry_max=1s"])
    hop.refuse["later@example.edu"] = "450 4.2.2 mailbox full"
    answer = cluster.send(message(token="late"), recipients=["later@example.edu"])
    assert answer.code == 250
    warning = wait_until(lambda: hop.reports("sender@example.org"), 15, "the warning")[0]
    words, _, (fields,), returned = read_report(warning)
    assert fields["Action"] == "delayed" and fields["Status"] == "4.2.2" and "WARNING ONLY" in words
    assert returned.get_content_type() == "text/rfc822-headers"
    reports = wait_until(lambda: len(hop.reports("sender@example.org")) == 2 and hop.reports("sender@example.org"), 40, "the bounce")
    _, _, (fields,), returned = read_report(reports[1])
    assert fields["Action"] == "failed" and "mailbox full" in fields["Diagnostic-Code"]
    assert returned.get_content_type() == "message/rfc822" and "late" in returned.as_string()
    wait_removed(cluster, answer.queue_id)
    assert len(hop.reports("sender@example.org")) == 2


def test_a_report_waits_for_its_readers_and_reaches_them_all(make_cluster, hop):
    """While the policy has no way to the sender nobody fails; a sender that stands for several is told in each mailbox, wherever that is."""
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "spool_retry_min=500ms", "spool_retry_max=1s"])
    folder = cluster.dir / "policy"
    table = (folder / "mailertable").read_text()
    (folder / "mailertable").write_text("away.example.net\terror:4.3.0:450 not now\n" + table)
    (folder / "aliases").write_text("owner-team: chair@example.edu, secretary@example.edu\nteam: t1@example.edu, t2@example.edu\ncrew: c1@example.edu, c2@example.edu\n")
    cluster.apply_policy()
    with Smtp(cluster.relay()) as client:  # each list's copies have its owner as sender; that they were reached is told, not who is on them
        assert client.command("MAIL FROM:<asks@example.org>").code == 250
        for words in ("<team@example.edu> NOTIFY=SUCCESS", "<crew@example.edu> NOTIFY=SUCCESS", "<other@example.edu>"):
            assert client.command(f"RCPT TO:{words}").code == 250
        assert client.data(message(token="lists")).code == 250
    reports = wait_until(lambda: len(hop.reports("asks@example.org")) == 2 and hop.reports("asks@example.org"), 60, "both reports")
    assert sorted((fields["Final-Recipient"], fields["Action"]) for _, _, (fields,), _ in map(read_report, reports)) == [
        ("rfc822; crew@example.edu", "expanded"), ("rfc822; team@example.edu", "delivered")]
    wait_until(lambda: sum(len(rcpts) for _, rcpts, body in hop.taken if b"lists" in body and b"MIME-encapsulated" not in body) == 5, 60, "all copies")
    assert {rcpt.split("<")[1].split("@")[0]: mail.split("<")[1].split(">")[0] for mail, rcpts, body in hop.taken if b"MIME-encapsulated" not in body for rcpt in rcpts} == {
        "t1": "owner-team@example.edu", "t2": "owner-team@example.edu", "c1": "asks@example.org", "c2": "asks@example.org", "other": "asks@example.org"}
    hop.refuse["gone@example.edu"] = "550 5.1.1 no such user"
    several = cluster.send(message(), sender="owner-team@example.edu", recipients=["gone@example.edu"]).queue_id
    waits = cluster.send(message(), sender="boss@away.example.net", recipients=["gone@example.edu"]).queue_id
    assert several and waits
    for reader in ("chair@example.edu", "secretary@example.edu"):
        report, = wait_until(lambda: hop.reports(reader), 60, f"{reader}'s report")
        assert "gone@example.edu" in report.as_string()
    wait_until(lambda: re.search(rf"{waits}: to=<gone@example.edu>, .*status=deferred .*cannot be told for now", cluster.log("edge-1")), 60, "the wait")
    assert f"{waits}: removed" not in cluster.log("edge-1")
    (folder / "mailertable").write_text("away.example.net\tsmtp:[127.0.0.1]:%s\n" % hop.endpoint.split(":")[1] + table)
    cluster.apply_policy()
    assert wait_until(lambda: hop.reports("boss@away.example.net"), 60, "the report")
    wait_until(lambda: f"{waits}: removed" in cluster.log("edge-1"), 60, "the end")
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 60, "conservation")


def test_dsn_is_the_business_of_a_next_hop_that_knows_it_and_a_list_has_its_owner_as_sender(make_cluster):
    hop = Hop(extensions=("PIPELINING", "DSN"))
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["next_hop_connections=1"])
    try:
        with Smtp(cluster.relay()) as client:
            assert "DSN" in client.ehlo.lines[-1] or any("DSN" in line for line in client.ehlo.lines)
            assert client.command("MAIL FROM:<sender@example.org> RET=FULL ENVID=a+2Bb").code == 250
            assert client.command("RCPT TO:<alice@example.edu> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y.example").code == 250
            assert client.data(message()).code == 250
        (mail, (rcpt,), _), = hop.taken
        assert mail.endswith(" RET=FULL ENVID=a+2Bb") and rcpt.endswith(" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y.example")
        assert not cluster.metric("weir_edge_spool_stores_total", result="stored"), "it went directly"
        lists = [f"list{number}" for number in range(7)]
        (cluster.dir / "policy" / "aliases").write_text("".join(f"{name}: {name}-1@example.edu, {name}-2@example.edu\nowner-{name}: chair@example.edu\n" for name in lists))
        cluster.apply_policy()
        with Smtp(cluster.relay()) as client:  # more senders than connections, and more than an envelope of before had room for
            client.sock.sendall("".join(["MAIL FROM:<sender@example.org>\r\n", *(f"RCPT TO:<{name}@example.edu>\r\n" for name in ["bob", *lists, "carol"])]).encode())
            assert [client.reply().code for _ in range(10)] == [250] * 10
            assert client.data(message(token="mixed")).code == 250
            assert client.command("MAIL FROM:<asks@example.org> ENVID=a+2Bb").code == 250
            assert client.command("RCPT TO:<list0@example.edu> NOTIFY=SUCCESS").code == 250
            assert client.data(message(token="alone")).code == 250
        expected = {"bob": "sender@example.org", "carol": "sender@example.org", **{f"{name}-{number}": f"owner-{name}@example.edu" for name in lists for number in (1, 2)}}
        wait_until(lambda: sum(len(rcpts) for _, rcpts, body in hop.taken if b"mixed" in body) == len(expected), 120, "all copies")
        assert {rcpt.split("<")[1].split("@")[0]: mail.split("<")[1].split(">")[0] for mail, rcpts, body in hop.taken if b"mixed" in body for rcpt in rcpts} == expected
        told, fields, (about,), _ = read_report(wait_until(lambda: hop.reports("asks@example.org"), 60, "the report")[0])
        assert about["Final-Recipient"] == "rfc822; list0@example.edu" and about["Action"] == "delivered" and fields["Original-Envelope-Id"] == "a+b"
        wait_until(lambda: any(b"alone" in body and rcpts[0].startswith("RCPT TO:<list0-") for _, rcpts, body in hop.taken), 60, "its copies")
        assert {mail for mail, rcpts, body in hop.taken if b"alone" in body and rcpts[0].startswith("RCPT TO:<list0-")} <= {
            "MAIL FROM:<owner-list0@example.edu>", "MAIL FROM:<owner-list0@example.edu> BODY=7BIT"}
    finally:
        hop.shutdown()
        hop.server_close()


def test_S15_handoff_without_scanners(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["profile=handoff"], spam="native")
    cluster.stop("scanner-1")
    wait_until(lambda: cluster.metric("weir_scanners_live") == 0, 10, "no scanner")
    good = cluster.send(message(token="unscanned"))
    spam = cluster.send(message("XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n", token="gtube"))
    bad = cluster.send(message(weir.EICAR.decode() + "\r\n", token="eicar"))
    assert good.code == 250 and spam.code == 250 and bad.code == 250
    time.sleep(1)  # nothing may happen: there is nothing to wait for
    assert cluster.sink.count() == 0
    cluster.start("scanner-1")
    (raw, _), = wait_until(lambda: cluster.sink.with_token("unscanned"), 30, "the delivery")
    assert raw.startswith(b"X-Virus-Scanned: Weir at edge-1") and b"\r\nX-Spam-Flag: NO\r\n" in raw
    for answer in good, spam, bad:
        wait_removed(cluster, answer.queue_id)
    assert not cluster.sink.with_token("eicar") and not cluster.sink.with_token("gtube")
    assert cluster.query(f"select a.disposition, a.verdict, c.state, c.score::text from audit a join quarantine_copy c using (id) where a.id = '{spam.queue_id}'") == \
        [["quarantined:spam", "clean", "waiting", "10000"]]
    assert cluster.query(f"select disposition, verdict from audit where id = '{good.queue_id}'") == [["delivered", "clean"]]
    assert re.search(rf"{bad.queue_id}: to=<alice@example.edu>, .*status=discarded \(Eicar", cluster.log("edge-1"))
    conserved(cluster)


def one_is_handed_over(cluster, hop):
    """A message whose delivery waits at the next hop; which edge does it."""
    answer = cluster.send(message(token="held"))
    assert answer.code == 250
    wait_until(lambda: hop.waiting > 0, 15, "the delivery at the next hop")
    edge, = [name for name in ("edge-1", "edge-2") if f"{answer.queue_id}: from=" in cluster.log(name)]
    return answer.queue_id, edge


def workers_and_master(cluster, edge):
    return [cluster.pid(edge), *weir.workers_of(cluster, edge)]


@pytest.mark.parametrize("where", ["EHLO", "RCPT", "DATA", "DOT"])
def test_an_edge_dies_with_a_lease(make_cluster, hop, where):
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "spool_lease=3s", "next_hop_tls=none"])
    hop.hold = {where}
    queue_id, edge = one_is_handed_over(cluster, hop)
    for pid in workers_and_master(cluster, edge):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    hop.hold = set()
    hop.gate.set()
    other = "edge-2" if edge == "edge-1" else "edge-1"
    wait_removed(cluster, queue_id, 30, [other])
    copies = len(hop.to("alice@example.edu"))
    assert copies == (2 if where == "DOT" else 1), "only one that the next hop had taken may come twice"
    if where == "DOT":
        assert f"{queue_id}: an earlier delivery" in cluster.log(other), "and that is said"


@pytest.mark.parametrize("where", ["RCPT", "DATA", "DOT"])
def test_an_edge_sleeps_longer_than_its_lease(make_cluster, hop, where):
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint,
                           sets=["profile=handoff", "spool_lease=3s", "next_hop_tls=none", "worker_watchdog=0"])
    hop.hold = {where}
    queue_id, edge = one_is_handed_over(cluster, hop)
    pids = workers_and_master(cluster, edge)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    hop.hold = set()
    other = "edge-2" if edge == "edge-1" else "edge-1"
    wait_removed(cluster, queue_id, 30, [other])
    hop.gate.set()  # the sleeper's connection goes on: it is told to send
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: f"{queue_id}: the lease is over" in cluster.log(edge) or f"{queue_id}: the result for" in cluster.log(edge), 15,
               "the sleeper's insight")
    assert len(hop.to("alice@example.edu")) == (2 if where == "DOT" else 1)
    if where == "DOT":
        assert f"{queue_id}: an earlier delivery" in cluster.log(other)


def test_an_edge_dies_before_anything_is_leased(make_cluster, hop):
    """Stored by one edge, delivered by another."""
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff"])
    cluster.stop("scanner-1")
    wait_until(lambda: cluster.metric("weir_scanners_live") == 0, 10, "no scanner")
    answer = cluster.send(message(token="left"))
    assert answer.code == 250
    cluster.kill("edge-1")
    cluster.start("scanner-1")
    wait_removed(cluster, answer.queue_id, 30, ["edge-2"])
    assert len(hop.taken) == 1


def test_a_device_waits_for_a_coordinator_that_is_silent_for_a_moment(make_cluster):
    """Nobody can scan its mail, so it can go nowhere but into the spool; and the device does not come again."""
    cluster = make_cluster(edges=1, scanners=1, sets=["profile=handoff", "edge.workers=1"])
    cluster.stop("scanner-1")
    wait_until(lambda: cluster.metric("weir_scanners_live") == 0, 10, "no scanner")
    coordinator = cluster.pid("coordinator-1")
    os.kill(coordinator, signal.SIGSTOP)
    back = threading.Timer(2, os.kill, (coordinator, signal.SIGCONT))
    try:
        wait_until(lambda: " does not answer" in cluster.log("edge-1"), 15, "the edge has nobody to ask")
        back.start()
        answer = cluster.send(message(token="silent"))
    finally:
        back.cancel()
        os.kill(coordinator, signal.SIGCONT)
    assert answer.code == 250
    cluster.start("scanner-1")
    wait_removed(cluster, answer.queue_id, 30)
    assert len(cluster.sink.with_token("silent")) == 1


def test_large_message_through_the_spool(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["profile=handoff"])
    raw = message(token="large", size=12 * 1024 * 1024 + 17)
    answer = cluster.send(raw)
    assert answer.code == 250
    wait_removed(cluster, answer.queue_id, 60)
    assert len(cluster.sink.with_token("large")) == 1


def test_submission_without_a_database(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["profile=submission", "auth=off", "spool_timeout=1s"])
    cluster.stop("coordinator-1")
    answer = cluster.send(message())
    assert answer.code == 451 and answer.text.startswith("4.3.0")
    assert cluster.sink.count() == 0


def test_handoff_without_a_database_is_delivered_within_the_session(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["profile=handoff", "spool_timeout=1s"])
    cluster.stop("coordinator-1")
    answer = cluster.send(message(token="bypass"))
    assert answer.code == 250 and cluster.sink.with_token("bypass")
    assert f"{answer.queue_id}: cannot be stored, delivering within the session" in cluster.log("edge-1")


def test_the_database_alone_is_gone_then_back(make_cluster):
    """The coordinator lives and says that it cannot store; when PostgreSQL is back it stores, with no process started anew and in the same sessions."""
    cluster = make_cluster(edges=1, scanners=1)
    coordinator = cluster.pid("coordinator-1")

    def send(client, token):
        assert [answer.code for answer in client.envelope(sender="alice@example.edu")] == [250]
        return client.data(message(token=token))

    with Smtp(cluster.env["EDGE_1_SUBMISSION"]) as person, Smtp(cluster.env["EDGE_1_HANDOFF"]) as device:
        person.starttls(cluster.env["CA_FILE"])
        assert person.command("AUTH PLAIN " + base64.b64encode(b"\0alice@example.edu\0wonderland").decode()).code == 235
        cluster.kill("postgres")
        refused = send(person, "person-refused")
        assert refused.code == 451 and refused.text.startswith("4.3.0"), refused
        passed = send(device, "device-passed")
        assert passed.code == 250 and len(cluster.sink.with_token("device-passed")) == 1, passed
        assert f"{passed.queue_id}: cannot be stored, delivering within the session" in cluster.log("edge-1")
        cluster.heal()
        stored = [wait_until(lambda: (answer := send(person, "person-stored")).code == 250 and answer, 20, "a coordinator that stores"),
                  send(device, "device-stored")]
        assert stored[1].code == 250, stored
    for answer in stored:
        wait_removed(cluster, answer.queue_id)
    assert cluster.pid("coordinator-1") == coordinator
    assert f"{passed.queue_id}: removed" not in cluster.log("edge-1") and not cluster.sink.with_token("person-refused")
    assert [len(cluster.sink.with_token(token)) for token in ("device-passed", "person-stored", "device-stored")] == [1, 1, 1]
    conserved(cluster)


def test_a_second_copy_that_may_follow_is_said(make_cluster):
    """The coordinator was given the message and did not answer in time: what it does with it when it wakes is not known."""
    cluster = make_cluster(edges=1, scanners=1, sets=["profile=handoff", "spool_timeout=1s"])
    coordinator = cluster.pid("coordinator-1")
    os.kill(coordinator, signal.SIGSTOP)
    try:
        answer = cluster.send(message(token="twice"))
    finally:
        os.kill(coordinator, signal.SIGCONT)
    assert answer.code == 250 and cluster.sink.with_token("twice"), "this client cannot come again"
    assert f"{answer.queue_id}: cannot be stored, delivering within the session; it may be stored all the same: a second copy may follow" in \
        cluster.log("edge-1")
    wait_until(lambda: cluster.metric("weir_edge_spool_bypassed_maybe_duplicates_total") == 1, 15, "the counter")
    assert cluster.metric("weir_edge_spool_bypassed_total") == 1
    wait_until(lambda: not cluster.metric("weir_spool_stored_messages"), 20, "the end of what was stored")
    assert len(cluster.sink.with_token("twice")) in (1, 2)


class Silence(socketserver.ThreadingTCPServer):
    """A next hop that takes connections and ends them at once: {when: how many} is kept."""
    allow_reuse_address = daemon_threads = True

    def __init__(self, port):
        self.came = []
        super().__init__(("127.0.0.1", port), socketserver.BaseRequestHandler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def process_request(self, request, client_address):
        self.came.append(time.monotonic())
        self.shutdown_request(request)


def test_a_dead_destination_is_left_alone_by_all_edges_and_delays_nobody(make_cluster, hop):
    """One edge finds out, all leave it alone but for a probe at a time; other mail goes on; it is delivered when the host is back."""
    block = weir.free_base_port()  # nobody else's while the one has ended and the other has not begun
    port = block + 7
    dead = Silence(port)
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint,
                           sets=["profile=handoff", "spool_retry_min=4s", "spool_retry_max=4s", "next_hop_tls=none"])
    table = cluster.dir / "policy" / "mailertable"
    table.write_text(table.read_text() + f"dead.example.net\tsmtp:[127.0.0.1]:{port}\n")
    cluster.apply_policy()
    failures = lambda: [int(row[0]) for row in cluster.query(f"SELECT failures FROM spool_destination WHERE destination LIKE '%:{port}'")]

    def handed(token, recipient, edge):
        answer = cluster.send(message(token=token), recipients=[recipient], edge=edge)
        assert answer.code == 250, answer
        return answer.queue_id

    handed("first", "x@dead.example.net", 1)
    wait_until(failures, 20, "one edge to find out")
    found = lambda: [name for name in ("edge-1", "edge-2") if "to=<x@dead.example.net>" in cluster.log(name)]
    assert len(wait_until(found, 20, "what its log says")) == 1
    began, tried, failed = time.monotonic(), len(dead.came), failures()[0]
    for number in range(20):
        handed(f"dead-{number}", "x@dead.example.net", 1 + number % 2)
        handed(f"fine-{number}", "alice@example.edu", 1 + number % 2)
    wait_until(lambda: len(hop.to("alice@example.edu")) == 20, 20, "the mail of others")
    wait_until(lambda: failures()[0] >= failed + 2, 60, "two probes")
    probes, came = failures()[0] - failed, len(dead.came) - tried
    print(f"20 messages for a dead host at two edges: {came} connections in {time.monotonic() - began:.0f} s, {probes} probes")
    assert came <= 2 * (probes + 1), "a probe at a time, of the whole cluster, each tried anew once"
    deferred = sum(cluster.log(name).count("to=<x@dead.example.net>") for name in ("edge-1", "edge-2"))
    assert deferred <= 4 + probes, "the others were never leased"
    dead.shutdown()
    dead.server_close()
    back = Hop(port)
    try:
        wait_until(lambda: len(back.to("x@dead.example.net")) >= 21, 60, "all of its mail")
        wait_until(lambda: not cluster.metric("weir_spool_stored_messages"), 20, "an empty spool")
        assert len(back.to("x@dead.example.net")) == 21 and not failures()
    finally:
        back.shutdown()
        back.server_close()


def test_a_next_hop_that_hangs_delays_nobody_else_and_is_left_alone_then(make_cluster, hop):
    """It takes messages and does not say so: it may have all places of the worker, but for the spare ones; then it is in trouble, and not asked before its time."""
    stuck = Hop()
    stuck.hold.add("DOT")
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint,
                           sets=["profile=handoff", "workers=1", "spool_concurrency=4", "spool_spare=2"] + NO_RETRY)
    table = cluster.dir / "policy" / "mailertable"
    table.write_text(table.read_text() + f"stuck.example.net\tsmtp:[127.0.0.1]:{stuck.server_address[1]}\n")
    cluster.apply_policy()
    troubles = f"SELECT failures, reply FROM spool_destination WHERE destination LIKE '%:{stuck.server_address[1]}'"

    def fill():
        for number in range(12):
            assert cluster.send(message(token=f"stuck-{number}"), recipients=["x@stuck.example.net"]).code == 250
    try:
        fill()
        wait_until(lambda: stuck.waiting == 4, 30, "all places are taken")
        for number in range(3):
            assert cluster.send(message(token=f"fine-{number}")).code == 250
        wait_until(lambda: len(hop.to("alice@example.edu")) == 3, 30, "the mail of others")
        assert cluster.metric("weir_edge_spool_recipients_total", result="deferred") in (None, 0), "the four still wait: for the ten minutes that are shipped"
        stuck.gate.set()
        wait_until(lambda: len(stuck.taken) == 12 and not cluster.query("SELECT FROM spool_message"), 30, "an empty spool")
        stuck.gate.clear()
        stuck.waiting, stuck.taken = 0, []
        # Now each waits for some seconds only. All four have begun before the first one's are over.
        own = cluster.dir / "edge-1" / "weir.conf"
        own.write_text(own.read_text().replace("[edge]\n", "[edge]\ndata_done_timeout = 15s\n"))
        cluster.reload("edge-1")
        fill()
        wait_until(lambda: cluster.query(troubles), 60, "it is found to be in trouble")
        (failures, reply), = cluster.query(troubles)
        assert failures == "1" and "no reply in time" in reply
        wait_until(lambda: not cluster.metric("weir_edge_spool_jobs"), 30, "none of its mail to hold a place")
        assert 0 < stuck.waiting <= 4 and len(stuck.taken) == stuck.waiting, "the others were never offered"
    finally:
        stuck.gate.set()
        stuck.shutdown()
        stuck.server_close()


def test_a_list_that_is_larger_than_its_next_hop_takes_at_once(make_cluster, hop):
    """RFC 5321 4.5.3.1.10: those behind the limit have the next transactions, and do not wait for the next try."""
    hop.most = 4
    members = [f"member-{number}@example.edu" for number in range(14)]
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff"] + NO_RETRY)
    answer = cluster.send(message(token="list"), recipients=members + members[:1])
    assert answer.code == 250
    wait_removed(cluster, answer.queue_id, 60)
    assert [len(recipients) for _, recipients, _ in hop.taken] == [4, 4, 4, 2], "who is named twice gets one copy"
    assert {re.search("<(.*?)>", line).group(1) for _, recipients, _ in hop.taken for line in recipients} == set(members)
    assert f"{answer.queue_id}: to=<member-4@example.edu>" in cluster.log("edge-1") and "dsn=4.5.3, status=deferred (452 " in cluster.log("edge-1")
    conserved(cluster)


def test_draining_gives_back_what_no_next_hop_has(make_cluster, hop):
    """One message is being handed over, others wait for their recipients' answers: that one is finished, those are left to the other edge."""
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "next_hop_tls=none"])
    hop.hold = {"DOT"}
    queue_id, edge = one_is_handed_over(cluster, hop)
    other = "edge-2" if edge == "edge-1" else "edge-1"
    hop.hold = {"RCPT"}
    answers = [cluster.send(message(token=f"waiting-{number}"), edge=int(other[-1])) for number in range(10)]
    assert all(answer.code == 250 for answer in answers)
    wait_until(lambda: hop.waiting >= 8, 15, "deliveries at the next hop")
    cluster.weirctl("drain", edge)
    cluster.wait_state(edge, "draining")  # and not more, as one message is still with the next hop
    hop.hold = set()
    hop.gate.set()
    cluster.wait_state(edge, "drained")
    for answer in answers:
        wait_removed(cluster, answer.queue_id, 30, [edge, other])
    wait_removed(cluster, queue_id, 10, [edge])
    assert len(hop.taken) == 11, "each came once"
    conserved(cluster)


def test_an_edge_dies_while_its_lease_is_scanned(make_cluster, hop):
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "spool_lease=3s", "scan_stall=30s"])
    cluster.stop("scanner-1")
    wait_until(lambda: cluster.metric("weir_scanners_live") == 0, 10, "no scanner")
    answer = cluster.send(message(token="scanning"))
    assert answer.code == 250
    cluster.start("scanner-1")
    scanner = weir.family(cluster.pid("scanner-1"))
    leased = lambda: [name for name in ("edge-1", "edge-2") if f"{answer.queue_id}: from=" in cluster.log(name)]
    wait_until(leased, 20, "the lease")
    for pid in scanner:  # whatever the scan has come to: it may be over, then this is a death in the delivery
        os.kill(pid, signal.SIGSTOP)
    edge = leased()[0]
    for pid in workers_and_master(cluster, edge):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in scanner:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: hop.to("alice@example.edu"), 40, "the delivery")
    wait_until(lambda: not cluster.metric("weir_spool_stored_messages"), 40, "an empty spool")
    assert len(hop.taken) <= 2


def test_what_an_operator_bounces_comes_back(make_cluster):
    block = weir.free_base_port()  # nobody else's as long as it is held
    port = block + 7
    cluster = make_cluster(edges=1, scanners=1, next_hop=f"127.0.0.1:{port}", sets=["profile=handoff"])
    answer = cluster.send(message(token="unwanted"))
    wait_until(lambda: f"{answer.queue_id}: to=<alice@example.edu>" in cluster.log("edge-1"), 15, "a try")
    # What an edge has at this moment is left alone, and the try that was just logged is told of after that.
    wait_until(lambda: cluster.weirctl("queue", "bounce", answer.queue_id, check=False).stdout.startswith("1 changed"), 30, "it is bounced")
    hop = Hop(port)
    try:
        report, = wait_until(lambda: hop.reports("sender@example.org"), 30, "the report")
        _, _, (fields,), returned = read_report(report)
        assert fields["Action"] == "failed" and fields["Final-Recipient"] == "rfc822; alice@example.edu"
        assert "unwanted" in returned.as_string()
        assert not hop.to("alice@example.edu")
        wait_removed(cluster, answer.queue_id)
    finally:
        hop.shutdown()
        hop.server_close()


def test_spooled_mail_follows_a_new_policy(make_cluster, hop):
    """As with Postfix, the next try looks where the recipient's mail goes today; only the route is looked at, not whether it may be relayed."""
    block = weir.free_base_port()  # nobody else's as long as it is held
    dead, late = (f"smtp:[127.0.0.1]:{block + offset}" for offset in (7, 8))
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "spool_retry_min=1h"])
    table = cluster.dir / "policy" / "mailertable"
    kept, names = table.read_text(), {"moved": dead, "stays": dead, "error": dead, "void": dead, "wait": late, "here": late}
    table.write_text(kept + "".join(f"{name}.example.net\t{route}\n" for name, route in names.items()))
    cluster.apply_policy()
    raw = message(token="rerouted")
    answer = cluster.send(raw, recipients=[f"ann@{name}.example.net" for name in names])
    wait_until(lambda: cluster.log("edge-1").count("status=deferred") == len(names), 60, "a try")
    table.write_text(kept + f"moved.example.net\tsmtp:[127.0.0.1]:{hop.server_address[1]}\nstays.example.net\t{dead}\n"
                     "error.example.net\terror:5.1.2:550 That host is gone\nvoid.example.net\tdiscard:\n"
                     f"wait.example.net\terror:4.3.0:450 Not now\nhere.example.net\t{late}\n")
    cluster.apply_policy()
    cluster.weirctl("queue", "retry", "--to", "ann@moved.example.net")
    wait_until(lambda: hop.to("ann@moved.example.net"), 60, "the copy for who moved")
    assert weir.strip_added(hop.to("ann@moved.example.net")[0]) == raw and len(hop.to("ann@moved.example.net")) == 1
    report, = wait_until(lambda: hop.reports("sender@example.org"), 60, "the report")
    (fields,) = read_report(report)[2]
    assert fields["Final-Recipient"] == "rfc822; ann@error.example.net" and fields["Status"] == "5.1.2"

    def rows():
        return {row["recipient"].partition("@")[2].partition(".")[0]: row["disposition"] for row in json.loads(cluster.weirctl("--json", "trace", answer.queue_id).stdout)}

    wait_until(lambda: rows().get("void") == "discarded:route" and rows().get("error") == "bounced:route" and rows().get("moved") == "delivered", 60, rows)
    log = cluster.log("edge-1")
    assert re.search(rf"qmgr\[\d+\]: {answer.queue_id}: <ann@moved\.example\.net> goes to \[127\.0\.0\.1\]:{hop.server_address[1]} now, no longer to", log)
    wait_until(lambda: cluster.metric("weir_edge_spool_recipients_total", result="rerouted") == 1, 60, "the metric")
    there = Hop(block + 8)
    try:  # who is to wait holds up nobody of its entry
        cluster.weirctl("queue", "retry", "--to", "ann@here.example.net")
        wait_until(lambda: rows().get("here") == "delivered", 60, rows)
        assert [weir.strip_added(body) for body in there.to("ann@here.example.net")] == [raw] and not there.to("ann@wait.example.net")
    finally:
        there.shutdown()
        there.server_close()
    assert re.search(rf"{answer.queue_id}: to=<ann@wait\.example\.net>, relay=none, .* dsn=4\.3\.0, status=deferred \(<ann@wait\.example\.net>: Not now\)", cluster.log("edge-1"))
    left = {entry["destination"]: entry["recipients"] for entry in json.loads(cluster.weirctl("--json", "queue", "list").stdout)}
    assert left == {dead.removeprefix("smtp:"): ["ann@stays.example.net"], late.removeprefix("smtp:"): ["ann@wait.example.net"]}
    cluster.weirctl("queue", "delete", answer.queue_id)
    conserved(cluster)


@pytest.mark.parametrize("sets", [["profile=handoff"], ["profile=submission", "auth=off"]], ids=["handoff", "submission"])
def test_S72_a_full_disk_is_said_before_the_message(make_cluster, hop, sets):
    """One message finds out; others hear it at MAIL. From time to time one is let through to see, and with room again all are taken."""
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=sets)

    def answer_to_mail():
        with Smtp(cluster.relay()) as client:
            return client.command("MAIL FROM:<sender@example.org>")

    def refused_at_mail():
        cluster.send(message(token="none"))  # finds out again if that was long ago
        early = answer_to_mail()
        return early.code == 452 and early.text.startswith("4.3.1") and cluster.metric("weir_spool_full") == 1

    wait_until(lambda: cluster.send(message(token="before")).code == 250, 30, "mail is taken")
    cluster.query("""CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
                     $f$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $f$;
                     CREATE TRIGGER no_room BEFORE INSERT ON spool_body FOR EACH ROW EXECUTE FUNCTION no_room()""")
    answer = cluster.send(message(token="none"))
    assert answer.code == 452 and answer.text.startswith("4.3.1"), answer
    wait_until(refused_at_mail, 30, "452 to MAIL")
    wait_until(lambda: cluster.metric("weir_smtp_limits_total", limit="spool"), 15, "the refusal in the metrics")
    wait_until(lambda: answer_to_mail().code == 250, 30, "mail is let through")
    found = "the database's disk is full: listeners that always spool refuse mail"
    wait_until(lambda: refused_at_mail() and cluster.log("coordinator-1").count(found) > 1, 30, "452 to MAIL again")
    cluster.query("DROP FUNCTION no_room CASCADE")
    wait_until(lambda: cluster.send(message(token="after")).code == 250, 30, "mail is taken again")
    wait_until(lambda: hop.to("alice@example.edu") and not cluster.query("SELECT id FROM spool_message"), 30, "all is delivered")
    assert not [body for body in hop.to("alice@example.edu") if b"X-Token: none" in body]
    conserved(cluster)


def test_S72_a_full_spool_is_said_before_the_message(make_cluster):
    """At MAIL, once edges know; after the final dot to who had begun before; nothing that was taken is lost, and what goes makes room."""
    block = weir.free_base_port()  # nobody else's as long as it is held
    port = block + 7
    cluster = make_cluster(edges=1, scanners=1, next_hop=f"127.0.0.1:{port}",
                           sets=["profile=handoff", "spool_max_messages=3", "spool_retry_min=500ms", "spool_retry_max=1s"])
    kept = [message(token=f"kept-{number}") for number in range(3)]

    def answer_to_mail():
        with Smtp(cluster.relay()) as client:
            return client.command("MAIL FROM:<sender@example.org>")

    with Smtp(cluster.relay()) as early:
        assert [answer.code for answer in early.envelope()] == [250] and early.command("DATA").code == 354
        assert [cluster.send(raw).code for raw in kept] == [250] * 3
        refused = wait_until(lambda: next((answer for answer in [answer_to_mail()] if answer.code != 250), None), 15, "a full spool")
        assert refused.code == 452 and refused.text.startswith("4.3.1")
        early.send(message(token="early") + b".\r\n")
        late = early.reply()
        assert late.code == 452 and late.text.startswith("4.3.1")
    wait_until(lambda: cluster.metric("weir_edge_spool_stores_total", result="full") == 1, 15, "the store that was refused")
    wait_until(lambda: cluster.metric("weir_smtp_limits_total", limit="spool") >= 1 and cluster.metric("weir_spool_full"), 15, "the metrics")
    hop = Hop(port)
    try:
        wait_until(lambda: len(hop.to("alice@example.edu")) == 3, 30, "what was taken")
        assert sorted(map(weir.strip_added, hop.to("alice@example.edu"))) == sorted(kept)
        wait_until(lambda: answer_to_mail().code == 250, 15, "room")
        wait_until(lambda: cluster.send(message(token="again")).code == 250, 15, "room, as each worker knows it")
        wait_until(lambda: len(hop.to("alice@example.edu")) == 4, 20, "the next")
        conserved(cluster)
    finally:
        hop.shutdown()
        hop.server_close()


def test_pflogsumm_counts_spooled_mail(make_cluster, hop):
    """Taken once however often it is tried; each recipient's end once; what is not settled yet is deferred."""
    if not shutil.which("pflogsumm"):
        pytest.skip("pflogsumm is not installed")
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff"])
    hop.refuse["gone@example.edu"], hop.refuse["later@example.edu"] = "550 5.1.1 no such user", "450 4.2.2 later"
    taken = [cluster.send(message(), sender=f"sender{number % 2}@example.org", recipients=["alice@example.edu", "bob@example.edu"]) for number in range(10)]
    assert [answer.code for answer in taken] == [250] * 10
    bounced = cluster.send(message(), sender="", recipients=["gone@example.edu"])
    deferred = cluster.send(message(), recipients=["later@example.edu"])
    wait_removed(cluster, bounced.queue_id)
    wait_until(lambda: cluster.log("edge-1").count(f"{deferred.queue_id}: to=<later@example.edu>") >= 2, 20, "two tries")
    del hop.refuse["later@example.edu"]
    for answer in [*taken, deferred]:
        wait_removed(cluster, answer.queue_id, 30)
    tries = cluster.log("edge-1").count("status=deferred")
    done = subprocess.run(["pflogsumm", "--syslog-name=weir/[^/]+", cluster.dir / "log/edge-1.log"], capture_output=True, text=True)
    totals = {words: int(number) for number, words in re.findall(r"^ +(\d+)k? +([a-z ]+?)(?: +\(.*)?$", done.stdout, re.M)}
    seen = {words: totals[words] for words in ("received", "delivered", "bounced", "rejected", "discarded")}
    assert seen == {"received": 12, "delivered": 21, "bounced": 1, "rejected": 0, "discarded": 0}, done.stdout
    assert re.search(rf"^ +1 +deferred +\( *{tries} +deferrals\)", done.stdout, re.M), done.stdout
