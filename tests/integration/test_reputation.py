"""Who turned bad is throttled or refused by every edge, before any SMTP work, and let in again by operators or by time."""
import concurrent.futures
import time

import pytest

import weir
from weir import EICAR, Smtp, message, wait_until


@pytest.fixture(scope="module")
def site():
    made = weir.Cluster(edges=2, scanners=1, coordinators=2, sets=["edge.workers=1", "reputation_throttle=50", "reputation_reject=80", "reputation_rate=3",
                                                                    "limit_timeout=10s", "contact=Call 123."])
    try:
        made.up()
        with open(made.dir / "policy" / "local-host-names", "a", encoding="utf-8") as own:
            own.write("students.example.edu\n")
        table = made.dir / "policy" / "mailertable"
        table.write_text("".join(line + "\n" for line in table.read_text().splitlines() if not line.startswith(".")))  # it knows the way to everybody
        (made.dir / "policy" / "aliases").write_text("sysadm: alice@example.edu\n")
        with open(made.dir / "policy" / "networks", "a", encoding="utf-8") as networks:
            networks.write("127.9.0.0/16\n")
        (made.dir / "policy" / "hosts").write_text("127.9.0.0/28 owner=tests reason=tests\n")
        made.apply_policy()
        yield made
    finally:
        made.down()


def greeting(site, source, edge=1):
    with Smtp(site.relay(edge), source, ehlo=None) as client:
        return client.greeting


def kept_out(site, source, edge):
    """Of an edge that may still be on its way."""
    try:
        return greeting(site, source, edge).code == 554
    except OSError:
        return False


def asked_together(site, ask):
    """What ask() gives in less time than a token takes to come back, of workers that the cluster answered: one whose coordinator hangs counts for itself."""
    def alone():
        logs = [site.log(edge) for edge in ("edge-1", "edge-2")]
        return [(log.count("this worker counts for itself"), log.rfind("this worker counts for itself") > log.rfind("the cluster counts again")) for log in logs]

    def turn():
        site.query("DELETE FROM limit_bucket")
        before, began = alone(), time.monotonic()
        seen = ask()
        if time.monotonic() - began < 15 and alone() == before and not any(now for _, now in before):
            return seen
        time.sleep(1.1)  # so long a worker remembers by itself what was refused
        return None
    return wait_until(turn, 120, "questions that are answered in time")


def mail(site, source, edge=1, sender="sender@example.org"):
    with Smtp(site.relay(edge), source) as client:
        return client.command(f"MAIL FROM:<{sender}>")


def known(site, key):
    """The entry is on both edges: the gauge of the last change that each has heard is the database's."""
    assert site.query(f"SELECT count(*) FROM standing WHERE key = '{key}'") != [["0"]]
    number = int(site.query("SELECT number FROM standing_change")[0][0])
    wait_until(lambda: all((site.metric("weir_reputation_number", node=edge) or 0) >= number for edge in ("edge-1", "edge-2")), 60, "both edges have heard")


def put(site, key, action, expires="1h"):
    site.weirctl("reputation", "set", key, action, "--reason", "a test", "--expires", expires)
    known(site, key)


@pytest.mark.sanitized
def test_who_sends_viruses_is_refused_by_all_edges(site):
    """S24: it never reaches DATA again, on no edge; the operator's word lets it in, and its end shuts it out."""
    source, bystander = "127.1.1.2", "127.1.1.3"
    before = [site.metric("weir_refusals_total", layer=layer) or 0 for layer in ("content", "reputation")]
    sent, turned = 0, 0.0
    for _ in range(1000):  # between throttled and refused it has few messages a minute
        site.query("DELETE FROM limit_bucket")
        with Smtp(site.relay(1), source, ehlo=None) as client:
            if client.greeting.code == 554:
                break
            client.command("EHLO client.example.org")
            if client.command("MAIL FROM:<sender@example.org>").code == 250:
                assert client.command("RCPT TO:<alice@example.edu>").code == 250
                assert client.data(message(EICAR.decode() + "\r\n")).code == 550
                sent, turned = sent + 1, time.monotonic()
    assert sent >= 8 and client.greeting.code == 554
    assert client.greeting.text.startswith("5.7.1 ") and client.greeting.text.endswith("Service unavailable; client blocked for its reputation Call 123.")
    here = time.monotonic() - turned
    wait_until(lambda: greeting(site, source, 2).code == 554, 60, "the other edge refuses it")
    print(f"refused {here:.3f} s after its last virus by the edge that had it, after {time.monotonic() - turned:.3f} s by the other")
    known(site, source)
    assert greeting(site, bystander).code == greeting(site, bystander, 2).code == 220
    wait_until(lambda: site.metric("weir_refusals_total", layer="reputation") - before[1] >= 2, 30, "the share of each layer is counted")
    assert site.metric("weir_refusals_total", layer="content") - before[0] == sent
    wait_until(lambda: len(site.query(f"SELECT reply FROM audit WHERE client = '{source}' AND disposition = 'refused:reputation'")) == 2, 30,
               "one row an edge and minute")
    assert "edges now: reject, by its score" in site.weirctl("reputation", "explain", source).stdout
    assert "edges now: allow, as it is inside" in site.weirctl("reputation", "explain", "127.0.0.1").stdout

    site.weirctl("reputation", "set", source, "allow", "--reason", "cleaned", "--expires", "1h", "--owner", "lab")
    wait_until(lambda: greeting(site, source).code == greeting(site, source, 2).code == 220, 60, "it may come in")
    ident = site.send(message(token="overridden"), edge=2, source=source).queue_id
    number = site.query(f"SELECT max(id) FROM override WHERE subject = '{source}'")[0][0]
    wait_until(lambda: f"  override={number} cleaned (allow {source}, by " in site.weirctl("trace", ident, check=False).stdout, 30, "its mail's trace says why it came in")
    assert f"{ident}: override={number}" in site.log("edge-2")
    site.query(f"SELECT standing_set(ARRAY[false], ARRAY['{source}'], true, ARRAY['allow'], ARRAY[clock_timestamp() + interval '200 ms'], 'r', '', 'op')")
    wait_until(lambda: greeting(site, source).code == greeting(site, source, 2).code == 554, 60, "the word expires by itself, on all edges")
    site.weirctl("reputation", "forget", source)
    wait_until(lambda: greeting(site, source).code == greeting(site, source, 2).code == 220, 60, "it is forgotten")


def test_where_nobody_is_judged(site):
    """The inside, whatever is said of it; listeners other than those for the internet."""
    put(site, "127.0.0.0/8", "reject")
    try:
        assert greeting(site, "127.2.0.1").code == 554 and greeting(site, "127.0.0.1").code == 220
        with Smtp(site.env["EDGE_1_HANDOFF"], "127.2.0.1", ehlo=None) as client:
            assert client.greeting.code == 220
    finally:
        site.weirctl("reputation", "forget", "127.0.0.0/8")
    wait_until(lambda: greeting(site, "127.2.0.1").code == 220, 60, "it is lifted")


@pytest.mark.sanitized
def test_s26_middling_reputation_has_one_bucket_for_all_edges(site):
    """N messages a minute through all edges together, with whichever address of the network; the next one gets 450 4.7.1."""
    put(site, "127.3.0.0/24", "throttle")
    seen = asked_together(site, lambda: [mail(site, f"127.3.0.{n}", edge) for n, edge in ((1, 1), (2, 2), (1, 2), (2, 1), (3, 2))])
    assert [answer.code for answer in seen] == [250, 250, 250, 450, 450]
    assert seen[3].text == "4.7.1 Too many messages for the reputation of 127.3.0.0/24, try again later"
    assert mail(site, "127.3.1.1").code == 250
    wait_until(lambda: (site.metric("weir_refusals_total", layer="throttle") or 0) >= 2, 30, "it is counted")


def test_registered_hosts_have_one_bucket(site):
    """Inside, all addresses of one line of `hosts` are one; other inside hosts are not judged."""
    put(site, "host:127.9.0.0/28", "throttle")
    seen = asked_together(site, lambda: [mail(site, f"127.9.0.{n}", edge) for n, edge in ((1, 1), (2, 2), (3, 1), (1, 2))])
    assert [answer.code for answer in seen] == [250, 250, 250, 450] and "the reputation of host:127.9.0.0/28" in seen[3].text
    assert mail(site, "127.9.0.77").code == 250
    put(site, "host:127.9.0.0/28", "reject")
    assert greeting(site, "127.9.0.4").code == 554 and greeting(site, "127.9.0.77").code == 220
    site.weirctl("reputation", "forget", "host:127.9.0.0/28")
    wait_until(lambda: greeting(site, "127.9.0.4").code == 220, 60, "it is lifted")


def test_who_breaks_the_protocol_is_counted(site):
    """A session that ends in too many errors speaks against its client, once; one from inside against nobody."""
    source = "127.8.0.1"
    for client in (source, "127.9.0.9"):
        with Smtp(site.relay(1), client) as session:
            codes = [session.command("NONSENSE").code for _ in range(20)]
            assert codes[-1] != 421 and session.command("NOOP").code == 421
    wait_until(lambda: site.query(f"SELECT reply FROM audit WHERE client = '{source}' AND disposition = 'refused:protocol'") == [["421 4.7.0 Too many errors"]], 30, "it is written down")
    assert site.query(f"SELECT round(abuse) FROM reputation WHERE key = '{source}'") == [["1"]]
    assert site.query("SELECT count(*) FROM audit WHERE client = '127.9.0.9' AND disposition = 'refused:protocol'") == [["0"]]


def test_guesses_at_recipients_count_everywhere(site):
    """What two edges saw of one client is one reputation; unknown recipients of the policy are enough."""
    source = "127.4.0.9"

    def guess(edge):
        for _ in range(12):
            with Smtp(site.relay(edge), source, ehlo=None) as client:
                if client.greeting.code == 554:
                    return
                client.command("EHLO client.example.org")
                client.command("MAIL FROM:<sender@example.org>")
                for _ in range(9):
                    client.command("RCPT TO:<nobody@students.example.edu>")
    with concurrent.futures.ThreadPoolExecutor(2) as both:
        list(both.map(guess, (1, 2)))
    wait_until(lambda: greeting(site, source).code == greeting(site, source, 2).code == 554, 60, "both refuse it")


def test_accounts(site):
    """An account that an operator throttles has one bucket wherever it logs in; one that he rejects may not send. Its address is not judged for it."""
    def sends(edge):
        with Smtp(site.env[f"EDGE_{edge}_SUBMISSION"], "127.5.0.1") as client:
            client.starttls(site.env["CA_FILE"])
            client.command("EHLO client.example.org")
            assert client.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUuZWR1AHdvbmRlcmxhbmQ=").code == 235
            return client.command("MAIL FROM:<alice@example.edu>")
    put(site, "alice@example.edu", "throttle")
    assert asked_together(site, lambda: [sends(edge).code for edge in (1, 2, 1, 2)]) == [250, 250, 250, 450]
    put(site, "alice@example.edu", "reject")
    refused = sends(2)
    assert refused.code == 550 and refused.text == "5.7.1 Your account may not send mail for now Call 123."
    site.weirctl("reputation", "forget", "alice@example.edu")
    wait_until(lambda: sends(1).code == sends(2).code == 250, 60, "it is lifted")


def test_the_list_counts_on_without_coordinators(site):
    """Also in an edge that starts meanwhile: the list is in its state folder."""
    put(site, "127.6.0.0/24", "reject")
    kept = next(site.dir.rglob("edge-2.reputation"))
    wait_until(lambda: b"127.6.0.0/24" in kept.read_bytes(), 60, "it is kept")
    for name in ("coordinator-1", "coordinator-2"):
        site.stop(name)
    try:
        assert greeting(site, "127.6.0.1").code == greeting(site, "127.6.0.1", 2).code == 554
        assert greeting(site, "127.6.1.1").code == 220
        site.kill("edge-2")
        site.start("edge-2", wait=False)
        wait_until(lambda: kept_out(site, "127.6.0.1", 2), 60, "it starts with the list")
    finally:
        for name in ("coordinator-1", "coordinator-2"):
            site.start(name)
    site.kill("edge-2")
    kept.unlink()
    conf = site.dir / "edge-2" / "weir.conf"
    before = conf.read_text()
    conf.write_text(before.replace("[edge]\n", "[edge]\nreputation_kept = 0\n"))
    site.start("edge-2")
    wait_until(lambda: greeting(site, "127.6.0.1", 2).code == 554, 60, "one that starts hears all there is")
    site.stop("edge-2")  # what is kept is written at the end, too
    assert "reputation_kept = 0" in conf.read_text() and not kept.exists()
    conf.write_text(before)
    site.start("edge-2")
    wait_until(lambda: greeting(site, "127.6.0.1", 2).code == 554, 60, "and again")


def test_within_a_second(site):
    """From the commit of what one edge reported to the refusal at another."""
    source = "127.7.0.1"
    rows = ", ".join(f"('speed-{n}', {n}, '{source}')" for n in range(60))
    site.query(f"SET weir.reputation_reject = 80; SELECT reputation_report(array_agg((id, client, '', '', 'refused:next-hop', '550 5.1.1 No such user')::judged_row)) FROM (VALUES {rows})"
               " AS v(id, n, client)")
    began = time.monotonic()
    wait_until(lambda: greeting(site, source, 2).code == 554, 60, "the other edge refuses it")
    print(f"refused {time.monotonic() - began:.3f} s after the commit")


@pytest.mark.sanitized
def test_s25_known_bad_sources_are_gone_at_connect(site):
    """A trace of which 83 % comes from known bad addresses: all of that is refused at connect, and nothing of the rest, whoever its neighbours are."""
    bad, ham = [f"127.{100 + n}.0.{n + 1}" for n in range(20)], [f"127.{100 + n}.0.{n + 101}" for n in range(0, 20, 5)]
    rows = ", ".join(f"('s25-{source}-{n}', {n}, '{source}')" for source in bad for n in range(45))
    # As edges would report it: 45 unknown recipients of each.
    site.query(f"SET weir.reputation_reject = 80; SELECT reputation_report(array_agg((id, client, '', '', 'refused:next-hop', '550 5.1.1 No such user')::judged_row)) FROM (VALUES {rows})"
               " AS v(id, n, client)")
    known(site, bad[0])
    trace = [(source, "spam") for source in bad for _ in range(5)] + [(source, "ham") for source in ham for _ in range(5)]
    assert round(100 * sum(kind == "spam" for _, kind in trace) / len(trace)) == 83
    sessions = site.metric("weir_smtp_sessions_total", listener="relay", result="reputation") or 0

    def replay(one):
        (source, kind), edge = one
        with Smtp(site.relay(edge), source, ehlo=None) as client:
            if client.greeting.code != 220:
                return kind, client.greeting.code
            client.command("EHLO client.example.org")
            client.envelope()
            return kind, client.data(message(token=f"s25 {source}")).code
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        seen = list(clients.map(replay, ((visit, 1 + n % 2) for n, visit in enumerate(trace))))
    assert {kind: {code for one, code in seen if one == kind} for kind in ("spam", "ham")} == {"spam": {554}, "ham": {250}}
    wait_until(lambda: site.metric("weir_smtp_sessions_total", listener="relay", result="reputation") - sessions == 100, 60, "counted")
