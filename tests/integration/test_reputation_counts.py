"""What coordinators count of clients and accounts, the score that follows, and what they tell edges of it."""
import threading

import pytest

import coordinators
from coordinators import Coordinators, locked, pb, wait_until, welcome_edges
from spooling import new_id

UNKNOWN = {"disposition": b"refused:next-hop", "reply_code": 550, "reply": b"550 5.1.1 No such user"}
VIRUS = {"disposition": b"refused:virus", "reply_code": 550, "reply": b"550 5.7.1 Message refused"}
REJECT, THROTTLE, ALLOW = pb.REPUTATION_REJECT, pb.REPUTATION_THROTTLE, pb.REPUTATION_ALLOW


@pytest.fixture(scope="module")
def c():
    with Coordinators(2, sets=["reputation_listed = 70"]) as made:
        made.start()
        for name in ("edge-1", "edge-2"):
            made.add_key(name, "edge")
        (made.dir / "policy").mkdir()
        (made.dir / "policy" / "networks").write_text("10.0.0.0/8\n")
        (made.dir / "policy" / "hosts").write_text("10.7.0.0/28 owner=library reason=catalogue\n10.7.1.1 owner=o reason=r\n")
        made.ctl("policy", "apply", made.dir / "policy")
        yield made


@pytest.fixture
def edge(c):
    with welcome_edges(c) as make:
        yield make


def audit_row(ident, index=0, **fields):
    return coordinators.audit_row(ident, index, **{"origin": pb.ORIGIN_OUTSIDE, **fields})


batches = iter(range(1, 1000000))


def report(node, *rows):
    """In frames of what one takes; returns the last report."""
    for at in range(0, len(rows), 150):
        last = report_once(node, rows[at:at + 150])
    return last


def report_once(node, rows):
    batch = next(batches)
    body = pb.Report(node=node.name.encode(), worker=node.worker, boot=node.boot, batch=batch, rows=rows)

    def once():
        node.send(report=body)
        return node.receive("report_ack", 10, lambda ack: ack.batch == batch)[0]
    wait_until(once, 60, "the report is committed")
    return body


def many(client, count, outcome=UNKNOWN, **more):
    return [audit_row(new_id(), client=client.encode(), **{**outcome, **more}) for _ in range(count)]


def counts(c, key):
    return {one["kind"] + " " + one["key"]: one for one in c.json("reputation", "explain", key)["counts"]}


class News:
    """What an edge hears, as it would keep it."""

    def __init__(self, node):
        self.node, self.source, self.number, self.known, self.wholes, self.loading = node, b"", 0, {}, 0, False

    def hear(self, wait_ms=0):
        request = next(batches)
        self.node.send(question=pb.Question(request=request, reputation_ask=pb.ReputationAsk(source=self.source, have=self.number, wait_ms=wait_ms,
                                                                                              loading=self.loading)))
        answer, _ = self.node.receive("answer", 60, lambda one: one.request == request)
        assert answer.status == pb.ANSWER_OK, answer
        news = answer.reputation_news
        if news.whole:
            self.known, self.wholes = {}, self.wholes + 1
        for one in news.entries:
            self.known[(one.key.decode(), one.by_operator)] = (one.action, one.left_ms)
        self.source, self.number, self.loading = news.source, news.number, news.more and (news.whole or self.loading)
        return self.hear(wait_ms) if news.more else news

    def says(self, key, by_operator=False):
        action, left = self.known.get((key, by_operator), (None, 0))
        return action if left > 0 else None


def test_what_counts_for_whom(c, edge):
    """Each kind of row as often as it is to count, in the transaction that stores it: a repetition of the report counts nothing."""
    node, client = edge(), "192.0.2.10"
    ident = new_id()
    rows = [*(audit_row(ident, n, client=client.encode(), recipient=b"u%d@example.edu" % n) for n in range(3)),       # three who got it
            *(audit_row(new_id(), n, client=client.encode(), **VIRUS) for n in (0,)),
            *(audit_row(ident, n, client=client.encode(), **UNKNOWN) for n in (3, 4)),
            audit_row(new_id(), client=client.encode(), disposition=b"refused:relay", reply=b"550 5.7.1 no"),
            audit_row(new_id(), client=client.encode(), disposition=b"refused:relay", reply=b"550 5.7.1 no", helo=b"weir-relay-test.invalid"),  # which anybody can say
            audit_row(new_id(), client=client.encode(), disposition=b"refused:dnsbl", reply=b"550 5.7.1 listed"),
            audit_row(new_id(), client=client.encode(), disposition=b"refused:protocol", reply=b"554 5.5.1 Talked before the banner"),
            audit_row(new_id(), client=client.encode(), disposition=b"refused:next-hop", reply=b"550 5.7.1 not from you"),
            audit_row(new_id(), client=client.encode(), disposition=b"deferred:next-hop", reply=b"450 4.1.1 later"),
            *(audit_row(new_id(), client=client.encode(), disposition=b"refused:next-hop", reply=f"550 {code} no".encode()) for code in ("5.0.0", "5.1.7", "5.1.8", "5.1.100")),
            audit_row(new_id(), client=client.encode(), disposition=b"refused:next-hop", reply=b"550 5.1.10 null MX"),
            audit_row(new_id(), client=client.encode(), origin=pb.ORIGIN_INSIDE, **VIRUS),
            audit_row(new_id(), client=client.encode(), login=b"carol", origin=pb.ORIGIN_LOGIN, **VIRUS),
            audit_row(new_id(), client=b"not an address", **VIRUS)]
    virus = new_id()
    rows += [audit_row(virus, n, client=client.encode(), **VIRUS) for n in range(50)]  # one message
    again = report(node, *rows)
    other = edge("edge-1", "coordinator-2")
    for one in (node, other):
        one.send(report=again)
        assert one.receive("report_ack", 30, lambda ack: ack.batch == again.batch)[0]
    found = counts(c, client)
    expected = {"good": 3, "virus": 2, "spam": 1, "unknown": 3, "auth": 0, "abuse": 3}
    for key in (f"address {client}", "prefix 192.0.2.0/24"):
        assert {name: round(found[key][name]) for name in expected} == expected, found
    one = found[f"address {client}"]
    assert abs(one["score"] - 100 * 22 / (22 + 3 + 10)) < 1 and abs(found["prefix 192.0.2.0/24"]["score"] - 100 * 22 / (22 + 3 + 100)) < 1
    assert round(counts(c, "carol")["account carol"]["virus"]) == 1
    assert c.pg.query("SELECT count(*) FROM reputation WHERE key LIKE '%not%'") == [["0"]]


def test_registered_hosts(c, edge):
    """All addresses of one are one, and it is throttled at most; but an operator may refuse it."""
    node, heard, host = edge(), News(edge()), "host:10.7.0.0/28"
    registered = {"origin": pb.ORIGIN_REGISTERED, "host": b"10.7.0.0/28"}
    report(node, *many("10.7.0.1", 9, VIRUS, **registered), *many("10.7.0.2", 12, VIRUS, **registered), *many("10.7.1.1", 30, VIRUS, origin=pb.ORIGIN_REGISTERED, host=b"10.7.1.1"),
           *many("10.7.0.1", 3, VIRUS, login=b"erin", origin=pb.ORIGIN_LOGIN), *many("10.7.0.3", 1, VIRUS, origin=pb.ORIGIN_REGISTERED, host=b"nonsense"))
    found = counts(c, "10.7.0.2")  # it is asked for the host
    assert list(found) == [host.replace("host:", "host host:")] and round(found[f"host {host}"]["virus"]) == 21
    assert abs(found[f"host {host}"]["score"] - 100 * 105 / (105 + 100)) < 1
    heard.hear()
    assert heard.says(host) == heard.says("host:10.7.1.1") == THROTTLE and heard.says("10.7.0.1") is None
    report(node, *many("10.7.1.1", 400, VIRUS, origin=pb.ORIGIN_REGISTERED, host=b"10.7.1.1"))
    heard.hear()
    assert heard.says("host:10.7.1.1") == THROTTLE
    text = c.ctl("reputation", "explain", "10.7.0.1")
    assert "(105.0 bad + 0.0 good + 100 proof)" in text and "edges now: throttle, by its score" in text
    c.ctl("reputation", "set", host, "reject", "--reason", "stolen", "--expires", "1h")
    heard.hear()
    assert heard.says(host, True) == REJECT
    assert "edges now: reject, by an operator's word: 554 5.7.1" in c.ctl("reputation", "explain", host)
    assert host in c.ctl("reputation", "show", host) and "10.7.1.1" in c.ctl("reputation", "show")
    assert c.ctl("reputation", "forget", host) == f"{host}: its counts are forgotten, and edges let it in\n"
    assert "nobody is judged by it" in c.ctl("reputation", "explain", "host:10.9.0.0/16")
    for key, why in (("host:10.7.0.1/28", "host:10.7.0.0/28 is the prefix"), ("host:nobody", "no address or prefix")):
        done = c.run_ctl("reputation", "forget", key)
        assert done.returncode == 65 and why in done.stderr, done


def test_one_message_makes_nobody_good(c, edge):
    """However often it names somebody, and however many; an account is no better than an address."""
    node = edge()
    same, hundred, by_login = new_id(), new_id(), new_id()
    report(node, *(audit_row(same, n, client=b"192.0.3.1") for n in range(100)))
    report(node, *(audit_row(hundred, n, client=b"192.0.3.2", recipient=b"u%d@example.edu" % n) for n in range(100)),
           *(audit_row(by_login, n, client=b"192.0.3.3", login=b"12345", origin=pb.ORIGIN_LOGIN, recipient=b"A@example.edu" if n else b"a@example.edu") for n in range(2)))
    assert [round(counts(c, key)[f"{kind} {key}"]["good"]) for kind, key in (("address", "192.0.3.1"), ("address", "192.0.3.2"), ("account", "12345"))] == [1, 20, 1]


def test_the_clusters_own_test_of_listeners_is_no_abuse(c, edge):
    node, client = edge(), "192.0.4.1"
    c.pg.query(f"INSERT INTO relay_test (node, listener, endpoint) VALUES ('edge-1', 'relay', '192.0.2.99:25'); SELECT relay_test_from('edge-1', 'relay', '192.0.2.99:25', 0, '{{{client}}}')")
    for address in (client, "192.0.4.2"):
        report(node, *many(address, 3, {"disposition": b"refused:relay", "reply": b"550 5.7.1 no", "helo": b"weir-relay-test.invalid"}))
    assert not counts(c, client).get(f"address {client}") and round(counts(c, "192.0.4.2")["address 192.0.4.2"]["abuse"]) == 3


def test_a_wrong_password_counts_once(c):
    for ask, address in ((-1, "198.18.0.1"), (-1, "198.18.0.1"), (-2, "198.18.0.1"), (-3, "")):
        c.pg.query(f"SELECT auth_wrong({ask}, 'dave', '198.18.0.1', '{address}')")
    c.pg.query("SELECT auth_wrong(-4, 'dave', '2001:db8:5::/64', '2001:db8:5::17')")
    c.pg.query("SELECT auth_wrong(-5, 'dave', '198.18.0.1')")  # as a coordinator of before says it
    found = counts(c, "198.18.0.1")
    assert round(found["address 198.18.0.1"]["auth"]) == 2 and len(found) == 1  # nothing of its network, which is other people's
    assert set(counts(c, "2001:db8:5::17")) == {"address 2001:db8:5::17", "prefix 2001:db8:5::/64"}


def test_first_mistakes_and_big_senders(c, edge):
    """One virus of somebody new does nothing, nor do some of somebody who brings much good mail."""
    node, heard = edge(), News(edge())
    report(node, *many("203.0.113.1", 1, VIRUS), *many("203.0.113.2", 9), *many("203.0.113.3", 200, {}), *many("203.0.113.3", 20, VIRUS))
    heard.hear()
    assert [heard.says(f"203.0.113.{n}") for n in (1, 2, 3)] == [None] * 3
    assert counts(c, "203.0.113.3")["address 203.0.113.3"]["action"] == "allow"


def test_from_throttle_to_reject_and_back(c, edge):
    """Edges hear at once, from whichever coordinator; counts fade by the database's clock."""
    node, heard, elsewhere = edge(), News(edge()), News(edge("edge-2", "coordinator-2"))
    client = "203.0.114.7"
    heard.hear()
    elsewhere.hear()
    assert heard.number == elsewhere.number
    report(node, *many(client, 12))
    elsewhere.hear(wait_ms=60000)
    assert elsewhere.says(client) == THROTTLE
    report(node, *many(client, 40))
    elsewhere.hear(wait_ms=60000)
    assert elsewhere.says(client) == REJECT and elsewhere.says("203.0.114.0/24") is None  # its neighbours are not refused
    heard.hear()
    assert heard.known == elsewhere.known or heard.says(client) == REJECT
    # 52 / 62: it falls below 80 when 40 are left, so in half_life * log2(52 / 40)
    assert abs(elsewhere.known[(client, False)][1] / 1000 - 86400 * 0.3785) < 120
    for half_life, left in (3600, 250), (7200, 500):  # thousandths, two hours later
        assert c.pg.query(f"BEGIN; SET LOCAL weir.reputation_half_life = '{half_life}'; SELECT round(1000 * reputation_bad(reputation_now(r, r.at + interval '2 hours')) / reputation_bad(r))"
                          f" FROM reputation r WHERE key = '{client}'; ROLLBACK") == [[str(left)]]
    c.pg.query(f"UPDATE reputation SET at = at - interval '10 hours' WHERE key = '{client}';"
               f"UPDATE standing SET expires_at = expires_at - interval '9.1 hours' WHERE key = '{client}'")
    wait_until(lambda: heard.hear() and heard.says(client) == THROTTLE, 60, "the leader judges anew when the time is over")
    c.pg.query(f"UPDATE reputation SET at = at - interval '10 days' WHERE key = '{client}';"
               f"UPDATE standing SET expires_at = clock_timestamp() WHERE key = '{client}'")
    wait_until(lambda: c.pg.query(f"SELECT action FROM standing WHERE key = '{client}'") == [["allow"]], 60, "it is allowed again")
    assert counts(c, client)[f"address {client}"]["score"] < 1
    c.pg.query("UPDATE reputation SET at = at - interval '100 years' WHERE key = '203.0.114.0/24'")  # no underflow
    report(node, *many("203.0.114.8", 1))
    assert round(counts(c, "203.0.114.8")["prefix 203.0.114.0/24"]["unknown"]) == 1


def test_one_address_is_not_its_network(c, edge):
    """What an address does that is refused already is not counted for its IPv4 network."""
    node = edge()
    report(node, *many("203.0.116.1", 60))
    report(node, *many("203.0.116.1", 60))
    report(node, *many("203.0.116.2", 5))
    found = counts(c, "203.0.116.1")
    assert round(found["address 203.0.116.1"]["unknown"]) == 120 and round(found["prefix 203.0.116.0/24"]["unknown"]) == 65


def test_other_thresholds_count_at_once(c, edge):
    """Everybody is judged anew when they change: by what is counted now, or not counted any more."""
    node, heard = edge(), News(edge())
    report(node, *many("203.0.117.1", 60), *many("203.0.117.2", 60), *many("203.0.117.3", 60), *many("203.0.117.4", 60))
    heard.hear()
    assert [heard.says(f"203.0.117.{n}") for n in (1, 2, 3, 4)] == [REJECT] * 4
    # As if they were told by other thresholds: of the first nothing is left, the second would be throttled, and the third refused for a shorter time.
    c.pg.query("DELETE FROM reputation WHERE key = '203.0.117.1'; UPDATE reputation SET unknown = 20 WHERE key = '203.0.117.2';"
               " UPDATE reputation SET unknown = 41 WHERE key = '203.0.117.3'; UPDATE standing_change SET rules = 'others'")
    wait_until(lambda: heard.hear() and [heard.says(f"203.0.117.{n}") for n in (1, 2, 3, 4)] == [None, THROTTLE, REJECT, REJECT], 60, "they are judged anew")
    assert heard.known[("203.0.117.3", False)][1] < heard.known[("203.0.117.4", False)][1] / 5
    wait_until(lambda: c.pg.query("SELECT judged = to_judge AND to_judge > 0 FROM standing_change") == [["t"]], 30, "that is done")


def test_the_sites_own_mistakes_are_forgotten(c, edge):
    """What was counted lately, or ever; what operators said stays."""
    node, heard = edge(), News(edge())
    report(node, *many("203.0.118.1", 60), *many("203.0.118.2", 60))
    c.ctl("reputation", "set", "203.0.118.9", "reject", "--reason", "r", "--expires", "1h")
    c.pg.query("UPDATE reputation SET at = at - interval '2 hours'; UPDATE standing SET at = at - interval '2 hours'")
    report(node, *many("203.0.118.2", 1))
    assert c.ctl("reputation", "forget", "--since", "1h") == "the counts of 1 are forgotten, and edges let 1 in\n"
    heard.hear()
    assert [heard.says("203.0.118.1"), heard.says("203.0.118.2"), heard.says("203.0.118.9", True)] == [REJECT, None, REJECT]
    c.ctl("reputation", "forget", "--all")
    heard.hear()
    assert heard.says("203.0.118.1") is None and heard.says("203.0.118.9", True) == REJECT
    assert c.pg.query("SELECT count(*) FROM reputation") == [["0"]]
    said = c.pg.query("SELECT target, detail->>'lifted', detail->>'within' FROM audit_action WHERE action = 'reputation forget' ORDER BY at DESC LIMIT 2")
    assert said[1] == ["all", "1", "01:00:00"] and said[0][0] == "all" and int(said[0][1]) >= 1
    for words in ((), ("--all", "--since", "1h"), ("203.0.118.9", "--all"), ("--since", "soon")):
        assert c.run_ctl("reputation", "forget", *words).returncode == 64, words
    c.ctl("reputation", "forget", "203.0.118.9")


def test_what_looks_through_everything_delays_no_node(c, edge):
    """Operators' questions and the tidying of counts have a connection of their own: others are answered while those wait."""
    node = edge()
    report(node, *many("203.0.119.1", 12))
    waiting = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name LIKE 'weir %' AND wait_event_type = 'Lock'"
    with locked(c, "LOCK TABLE reputation IN ACCESS EXCLUSIVE MODE"):
        asked = threading.Thread(target=c.run_ctl, args=("reputation", "show"), daemon=True)
        asked.start()
        wait_until(lambda: [name for name, in c.pg.query(waiting) if name.endswith(" admin")], 30, "the question waits")
        report(node, *many("203.0.119.2", 1, {}, origin=pb.ORIGIN_INSIDE))  # which counts for nobody
        assert all(name.endswith(" admin") for name, in c.pg.query(waiting))
    asked.join(60)
    shown = c.json("reputation", "show", "--limit", "1")["counts"]
    assert len(shown) == 1 and shown[0]["score"] == max(one["score"] for one in c.json("reputation", "show", "--limit", "2000")["counts"])


def test_forgetting_everybody_delays_nobody(c, edge):
    """It goes in parts, each with locks of what it deletes and nothing else."""
    node, heard = edge(), News(edge())
    c.pg.query("INSERT INTO reputation SELECT 'address', '100.70.' || n / 250 || '.' || n % 250, now(), 0, 0, 0, 1, 0, 0 FROM generate_series(1, 20010) AS n ON CONFLICT DO NOTHING")
    report(node, *many("203.0.120.1", 60), *many("203.0.120.2", 60))
    c.pg.query("DELETE FROM reputation WHERE key = '203.0.120.2'")  # of whom edges were told, but nothing is counted any more
    heard.hear()
    assert [heard.says(f"203.0.120.{n}") for n in (1, 2)] == [REJECT] * 2
    with locked(c, "CREATE TEMP TABLE had ON COMMIT DROP AS SELECT key FROM reputation WHERE key = '100.70.1.1' FOR UPDATE"):
        asked = threading.Thread(target=c.run_ctl, args=("reputation", "forget", "--all"), daemon=True)
        asked.start()
        wait_until(lambda: c.pg.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%forget_all%'") == [["1"]], 30, "it waits for the row")
        report(node, *many("203.0.121.1", 1))
    asked.join(60)
    said = c.ctl("reputation", "forget", "--all")
    assert said.startswith("the counts of ") and c.pg.query("SELECT count(*) FROM reputation") == [["0"]]
    parts = [int(one) for one, in c.pg.query("SELECT detail->>'counted' FROM audit_action WHERE action = 'reputation forget' AND target = 'all' ORDER BY at")]
    assert max(parts) == 20000
    heard.hear()
    assert [heard.says(f"203.0.120.{n}") for n in (1, 2)] == [None] * 2


def test_good_mail_lifts(c, edge):
    node, heard = edge(), News(edge())
    report(node, *many("203.0.115.1", 12))
    heard.hear()
    assert heard.says("203.0.115.1") == THROTTLE
    report(node, *many("203.0.115.1", 10, {}))
    heard.hear()
    assert heard.known[("203.0.115.1", False)] == (ALLOW, 0)


def test_ipv6_networks_are_refused(c, edge):
    node, heard = edge(), News(edge())
    report(node, *(row for host in range(1, 26) for row in many(f"2001:db8:7::{host}", 20)))
    heard.hear()
    assert heard.says("2001:db8:7::/64") == REJECT and heard.says("2001:db8:7::1") == THROTTLE


def test_operators(c, edge):
    node, heard = edge(), News(edge())
    report(node, *many("198.51.100.1", 50))
    said = c.ctl("reputation", "set", "198.51.100.1", "allow", "--reason", "their DNS was broken", "--expires", "2h", "--owner", "library")
    assert said.startswith("198.51.100.1: allow until ")
    c.ctl("reputation", "set", "198.51.100.0/23", "reject", "--reason", "sold", "--expires", "30d")
    c.ctl("reputation", "set", "Carol@Example.edu", "throttle", "--reason", "r", "--expires", "10m")
    heard.hear()
    assert heard.says("198.51.100.1") == REJECT and heard.says("198.51.100.1", True) == ALLOW and heard.says("198.51.100.0/23", True) == REJECT
    assert heard.says("carol@example.edu", True) == THROTTLE and heard.known[("carol@example.edu", True)][1] <= 600000
    explained = c.json("reputation", "explain", "198.51.100.1")
    assert (explained["action"], explained["by"]) == ("allow", "operator")
    assert [(one["key"], one["by"], one["action"]) for one in explained["standings"]] == [
        ("198.51.100.1", "operator", "allow"), ("198.51.100.0/23", "operator", "reject"), ("198.51.100.1", "score", "reject")]
    assert explained["standings"][0]["reason"] == "their DNS was broken" and explained["standings"][0]["who"] == "operator"
    text = c.ctl("reputation", "explain", "198.51.100.1")
    assert "edges now: allow, by an operator's word" in text and "library" in text
    assert "100 * 50.0 bad / (50.0 bad + 0.0 good + 10 proof) = 83.3: reject" in text
    assert "edges now: reject, by an operator's word: 554 5.7.1" in c.ctl("reputation", "explain", "198.51.101.77")
    assert "edges now: allow, as nothing speaks against it" in c.ctl("reputation", "explain", "192.88.99.1")
    shown = c.ctl("reputation", "show", "--limit", "1")
    assert "198.51.100.0/23" not in shown or "carol" not in shown  # one of them
    assert "their DNS was broken" in c.ctl("reputation", "show", "198.51.100.1")
    assert c.ctl("reputation", "forget", "198.51.100.1") == "198.51.100.1: its counts are forgotten, and edges let it in\n"
    assert c.ctl("reputation", "forget", "198.51.100.1") == "198.51.100.1: nothing was known\n"
    heard.hear()
    assert heard.says("198.51.100.1") is None and heard.says("198.51.100.1", True) is None
    actions = c.pg.query("SELECT action, target, detail->>'reason' FROM audit_action WHERE action LIKE 'reputation%'"
                         " AND target NOT IN ('all', '203.0.118.9') AND target NOT LIKE 'host:%' ORDER BY at")
    assert [one[:2] for one in actions] == [["reputation set", "198.51.100.1"], ["reputation set", "198.51.100.0/23"],
                                            ["reputation set", "carol@example.edu"], ["reputation forget", "198.51.100.1"]]
    c.ctl("reputation", "forget", "198.51.100.0/23")
    for words, status, why in ((("198.51.100.1/24", "reject", "--reason", "r", "--expires", "1d"), 65, "198.51.100.0/24 is the prefix"),
                               (("0.0.0.0/1", "reject", "--reason", "r", "--expires", "1d"), 65, "too much of the internet"),
                               (("999.1.1.1", "reject", "--reason", "r", "--expires", "1d"), 65, "no address or prefix"),
                               (("192.0.2.1", "refuse", "--reason", "r", "--expires", "1d"), 64, "allow, throttle or reject"),
                               (("192.0.2.1", "reject", "--reason", "r"), 64, "needs --reason TEXT and --expires AGE"),
                               (("192.0.2.1", "reject", "--expires", "1d"), 64, "needs --reason TEXT and --expires AGE"),
                               (("192.0.2.1", "reject", "--reason", "r", "--expires", "soon"), 64, "a time with its unit"),
                               (("192.0.2.1", "reject", "--reason", "r", "--expires", "9000d"), 64, "within ten years")):
        done = c.run_ctl("reputation", "set", *words)
        assert done.returncode == status and why in done.stderr, done


def test_logins_of_digits_are_accounts(c):
    """Enrolment numbers are; so are dates with dots. Four octets are an address."""
    for login in ("1234567", "12.34", "1.2.3.4.5", "2026.11.22"):
        c.ctl("reputation", "set", login, "throttle", "--reason", "r", "--expires", "1h")
        explained = c.json("reputation", "explain", login)
        assert (explained["kind"], explained["key"], explained["action"]) == ("account", login, "throttle")
        assert c.ctl("reputation", "forget", login) == f"{login}: edges let it in\n"
    assert c.json("reputation", "explain", "10.0.0.1")["kind"] == "address" and c.json("reputation", "explain", "10.0.0.0/8")["kind"] == "prefix"


def test_all_anew_in_parts(c, edge):
    """An edge that has nothing, or was away for so long that what it should hear was forgotten, hears all, in as many answers as it takes."""
    heard, old = News(edge()), News(edge())
    old.hear()
    assert old.wholes == 1
    c.pg.query("SELECT standing_set(array_agg(false), array_agg('10.2.' || n / 250 || '.' || n % 250), true, array_agg('reject'::text),"
               " array_agg(now() + interval '2 hours'), 'r', '', 'op') FROM generate_series(1, 250) AS n")
    c.pg.query("SELECT standing_set(array_agg(false), array_agg('10.1.' || n / 250 || '.' || n % 250), true, array_agg('reject'::text),"
               " array_agg(now() + interval '1 hour'), 'r', '', 'op') FROM generate_series(1, 501) AS n")
    heard.hear()
    assert heard.wholes == 1 and sum(key.startswith("10.1.") for key, _ in heard.known) == 501
    old.hear()
    assert old.wholes == 1 and {key for key, _ in heard.known} <= {key for key, _ in old.known}
    c.pg.query("UPDATE standing SET expires_at = now() - interval '2 days' WHERE key LIKE '10.1.%'")
    wait_until(lambda: c.pg.query("SELECT count(*) FROM standing WHERE key LIKE '10.1.%'") == [["0"]], 60, "what expired is forgotten")
    assert c.pg.query("SELECT standings = (SELECT count(*) FROM standing WHERE NOT by_operator), forgotten > 0 FROM standing_change") == [["t", "t"]]
    late = News(edge())
    late.source, late.number = heard.source, 1
    late.hear()
    assert late.wholes == 1 and sum(key.startswith("10.2.") for key, _ in late.known) == 250
    late.hear()  # what lives on is older than what was forgotten, and is told once
    assert late.wholes == 1 and late.number == int(c.pg.query("SELECT number FROM standing_change")[0][0])
    other = News(edge())
    other.source, other.number = b"another database", heard.number
    other.hear()
    assert other.wholes == 1


def test_no_more_than_may_be_listed(c, edge):
    """Over reputation_listed nobody new is told; who is counted goes on to be, and what operators say is told."""
    node = edge()
    there = int(c.pg.query("SELECT standings FROM standing_change")[0][0])
    report(node, *(row for n in range(1, 72) for row in many(f"100.64.{n}.1", 12)))
    assert there < 70 and c.pg.query("SELECT standings FROM standing_change") == [["70"]]
    assert c.json("reputation", "explain", "100.64.71.1")["counts"][0]["action"] == "throttle"
    c.ctl("reputation", "set", "100.64.200.1", "reject", "--reason", "r", "--expires", "1h")
    assert c.pg.query("SELECT standings FROM standing_change") == [["70"]]
    wait_until(lambda: sum(c.metric("weir_reputation_untold_total" + '{node="%s"}' % name, name) or 0 for name in c.names) >= 1, 30, "it is counted")  # on a slow machine some of `there` have made room
    c.pg.query("UPDATE standing SET action = 'allow', expires_at = expires_at - interval '1 week' WHERE key = '100.64.1.1'")
    report(node, *many("100.64.72.1", 12))
    assert c.pg.query("SELECT standings FROM standing_change") == [["70"]]
    assert c.pg.query("SELECT count(*) FROM standing WHERE key IN ('100.64.1.1', '100.64.72.1')") == [["1"]], "in place of who expired"
    c.pg.query("DELETE FROM standing; UPDATE standing_change SET standings = 0, number = number + 1, forgotten = number + 1; DELETE FROM reputation")


def test_many_reports_of_the_same_at_once(c, edge):
    """Every order of clients in the batches of two coordinators: nothing is lost, nothing waits for itself, and what follows is told."""
    clients = [f"100.65.0.{n}" for n in range(1, 7)]
    nodes = [edge("edge-1"), edge("edge-2", "coordinator-2"), edge("edge-1", "coordinator-2"), edge("edge-2")]
    before = [c.metric("weir_audit_batches_failed_total" + '{node="%s"}' % name, name) or 0 for name in c.names]

    def run(node, turn):
        for n in range(15):
            order = clients[(n + turn) % 6:] + clients[:(n + turn) % 6]
            report(node, *(row for client in (order if turn % 2 else reversed(order)) for row in many(client, 1)))
    threads = [threading.Thread(target=run, args=(node, turn), daemon=True) for turn, node in enumerate(nodes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive()
    assert all(round(counts(c, client)[f"address {client}"]["unknown"]) == 60 for client in clients)
    assert [c.metric("weir_audit_batches_failed_total" + '{node="%s"}' % name, name) or 0 for name in c.names] == before
    heard = News(edge())
    heard.hear()
    assert [heard.says(client) for client in clients] == [REJECT] * 6


def test_a_coordinator_that_stops_answers_what_stands(c, edge):
    heard = News(edge("edge-2", "coordinator-2"))
    heard.hear()
    heard.node.send(question=pb.Question(request=7, reputation_ask=pb.ReputationAsk(source=heard.source, have=heard.number, wait_ms=600000)))
    wait_until(lambda: c.metric('weir_reputation_questions_standing{node="coordinator-2"}', "coordinator-2") == 1, 30, "it stands")
    c.processes["coordinator-2"].terminate()
    answer, _ = heard.node.receive("answer", 30, lambda one: one.request == 7)
    assert answer.status == pb.ANSWER_UNAVAILABLE
    assert c.processes["coordinator-2"].wait(60) == 0
    del c.processes["coordinator-2"]
