"""The operators' dashboard: who may look, who may do what, what hostile text does there (nothing), and how it looks in a real browser."""
import html
import http.client
import json
import os
import pathlib
import random
import re
import socket
import urllib.parse

import pytest

from chromium import Browser, needs_chromium
from coordinators import PATIENCE, Coordinators, counter, wait_until
from spooling import Edge, new_id

PASSWORD = "correct horse <&> 9"
HOSTILE = ['"><script>alert(1)</script>@example.org', "'onmouseover=alert(2)//@example.org", "<img/src=x/onerror=alert(3)>@example.org", "javascript:alert(4)@example.org",
           "</td></table><svg/onload=alert(5)>@example.org", "&lt;script&gt;alert(6)@example.org", "{{7*7}}${7*7}@example.org"]


class Web:
    """A browser without eyes: keeps its cookie."""

    def __init__(self, c, name="coordinator-1"):
        self.port, self.cookie = c.ports[name][2], None

    def ask(self, method, path, fields=None, **headers):
        """(status, headers, text)"""
        body = None if fields is None else fields if isinstance(fields, str) else urllib.parse.urlencode(fields)
        if body is not None:
            headers.setdefault("Content_Type", "application/x-www-form-urlencoded")
        if self.cookie:
            headers["Cookie"] = f"theme=x; {self.cookie}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20 * PATIENCE)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def log_in(self, name, password=PASSWORD, **headers):
        status, told, _ = self.ask("POST", "/login", {"name": name, "password": password}, **headers)
        if status == 303:
            self.cookie = told["Set-Cookie"].split(";")[0]
        return status

    def form(self, **fields):
        """What a form of the overview carries, and these fields."""
        page = self.get("/")[2]
        hidden = {name: re.search(rf'name="{name}" value="([0-9a-f]+)"', page).group(1) for name in ("csrf", "act")}
        return {**hidden, "back": "/", **fields}

    def act(self, verb, target, reason="because", **fields):
        return self.ask("POST", "/act", self.form(verb=verb, target=target, reason=reason, **fields))


def operator(c, verb, name, password=PASSWORD, who="operator"):
    done = c.run_ctl("operator", verb, name, who=who, typed=password + "\n")
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture(scope="module")
def c():
    with Coordinators(2, sets=["approvals = 2"]) as made:
        conf = (made.dir / "common.conf").read_text().replace("node_timeout = 5s", "node_timeout = 10m")  # an edge that told once is not lost while pages are asked for
        second = conf.index('[coordinator "coordinator-2"]')
        conf = conf[:second] + conf[second:].replace("approvals = 2", "approvals = 2\ndashboard_read = login\ndashboard_proxy = on")
        (made.dir / "common.conf").write_text(conf + "\n[auth]\nauth_failure_delay = 100ms\nauth_account_failures = 6\nauth_client_failures = 1000\n")
        for name in ("anna", "bert"):
            made.add_key(name, "operator", direct=True)
            made.config(name).write_text(made.config("operator").read_text().replace("operator.key", f"{name}.key"))
        made.start()
        made.add_key("edge-1", "edge")
        for name in ("anna", "bert"):
            operator(made, "add", name, who=name)  # of one's own name: nobody has to agree
        yield made


@pytest.fixture(scope="module")
def edge(c):
    node = c.node("edge-1", "edge")
    wait_until(node.hello, 30, "edge-1 is welcome")
    assert node.beat() is not None
    yield Edge(node)
    node.close()


@pytest.fixture
def anna(c):
    web = Web(c)
    assert web.log_in("anna") == 303
    return web


def history(c, action):
    return [row for row in json.loads(c.ctl("--json", "history", "--limit", "2000")) if row["action"] == action]


@pytest.mark.sanitized
def test_looking_is_open_and_the_rest_is_not(c):
    web = Web(c)
    status, headers, page = web.get("/")
    assert status == 200 and "Nodes" in page and "Drain" not in page and "What operators did" not in page
    assert "default-src 'none'" in headers["Content-Security-Policy"] and "unsafe" not in headers["Content-Security-Policy"]
    assert " style=" not in page and " on" not in re.sub(r">[^<]*<", "><", page) and page.count("<script") == 1 and '<script src="/dashboard.js"' in page
    wait_until(lambda: {node["name"] for node in json.loads(web.get("/dashboard.json")[2])["nodes"]} >= {"coordinator-1", "coordinator-2"}, 30, "both coordinators")
    assert not {"actions", "stopped", "overrides"} & json.loads(web.get("/dashboard.json")[2]).keys()
    for path in ("/dashboard.css", "/dashboard.js", "/dashboard.svg", "/login"):
        assert web.get(path)[0] == 200, path
    for method, path in (("GET", "/spool"), ("POST", "/act"), ("POST", "/logout")):
        status, headers, _ = web.ask(method, path, "" if method == "POST" else None)
        assert status == 303 and headers["Location"] == "/login", path
    assert web.get("/nothing")[0] == 404 and web.ask("POST", "/")[0] == 405 and web.ask("POST", "/metrics", "x=y")[0] == 405
    with socket.create_connection(("127.0.0.1", web.port), timeout=20 * PATIENCE) as stranger:  # who would send more than a form has is told so before
        stranger.sendall(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n")
        assert b" 413 " in stranger.recv(4096)
    closed = Web(c, "coordinator-2")  # dashboard_read = login
    assert closed.get("/")[0] == 303 and closed.get("/dashboard.json")[0] == 403 and closed.get("/dashboard.css")[0] == 200
    assert closed.get("/livez")[0] == 200


@pytest.mark.sanitized
def test_a_login_and_its_end(c):
    web = Web(c)
    status, headers, _ = web.ask("POST", "/login", {"name": "anna", "password": PASSWORD})
    cookie = headers["Set-Cookie"]
    assert status == 303 and "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie
    web.cookie = cookie.split(";")[0]
    page = web.get("/")[2]
    assert ">anna</span>" in page and "What operators did" in page and "operator login" in page
    digest = c.pg.query("SELECT digest FROM operator_session WHERE name = 'anna' ORDER BY began_at DESC LIMIT 1")[0][0]
    assert digest not in cookie, "who reads the table has no cookie"
    # The other coordinator knows it, too; behind a proxy its own are for TLS, and the proxy's word names the client.
    other = Web(c, "coordinator-2")
    other.cookie = web.cookie
    assert other.get("/")[0] == 200
    _, headers, _ = Web(c, "coordinator-2").ask("POST", "/login", {"name": "bert", "password": PASSWORD}, X_Forwarded_For="198.51.100.1",
                                                      x_forwarded_for="203.0.113.1, 192.0.2.77")
    assert "; Secure" in headers["Set-Cookie"]
    assert c.pg.query("SELECT client FROM operator_session WHERE name = 'bert' ORDER BY began_at DESC LIMIT 1") == [["192.0.2.77"]]
    # Wrong words in cookies are nobody.
    for bad in ("weir-operator=", "weir-operator=" + "0" * 64, "weir-operator=" + "x" * 64, web.cookie[:-1], web.cookie + "0"):
        stranger = Web(c)
        stranger.cookie = bad
        assert stranger.get("/spool")[0] == 303
    assert web.ask("POST", "/logout", {"csrf": "0" * 64})[0] == 403 and web.get("/spool")[0] == 200
    kept, csrf = web.cookie, web.form()["csrf"]
    status, headers, _ = web.ask("POST", "/logout", {"csrf": csrf})
    assert status == 303 and "Max-Age=0" in headers["Set-Cookie"]
    web.cookie = kept
    assert web.get("/spool")[0] == 303, "the session is over, not only forgotten"
    # Too long idle, too old, another password.
    for end in ("UPDATE operator_session SET used_at = used_at - interval '31 minutes'", "UPDATE operator_session SET began_at = began_at - interval '12 hours'"):
        assert web.log_in("anna") == 303 and web.get("/spool")[0] == 200
        c.pg.query(end)
        assert web.get("/spool")[0] == 303, end
    assert web.log_in("anna") == 303
    operator(c, "passwd", "anna", "another password", who="anna")
    assert web.get("/spool")[0] == 303 and web.log_in("anna") == 403 and web.log_in("anna", "another password") == 303
    operator(c, "passwd", "anna", who="anna")
    assert [row["name"] for row in c.json("operator", "list")] == ["anna", "bert"] and "anna  active" in c.ctl("operator", "list")


def test_guesses_are_limited_and_an_unknown_name_is_no_different(c):
    web = Web(c)
    said = set()
    for name in ("carla", "anna", "carla' OR 1=1", "a" * 63):
        status, _, page = web.ask("POST", "/login", {"name": name, "password": "wrong"})
        said.add((status, page))
    assert len(said) == 1 and said.pop()[0] == 403
    assert [web.log_in("bert", "wrong") for _ in range(7)] == [403] * 6 + [429] and web.log_in("bert") == 429, "the right one is not even looked at"
    assert [web.log_in("nobody", "wrong") for _ in range(7)] == [403] * 6 + [429], "as for one that is there"
    assert c.metric('weir_dashboard_logins_total{node="coordinator-1",result="limited"}') >= 3
    operator(c, "passwd", "bert", who="bert")
    assert web.log_in("bert") == 303
    c.pg.query("INSERT INTO operator_guess (name, client) SELECT 'guess ' || n, '127.0.0.1' FROM generate_series(1, 1000) AS n")
    assert web.log_in("bert") == 429, "a client may not try one name after the other"
    c.pg.query("UPDATE operator_guess SET at = at - interval '16 minutes'")
    assert web.log_in("bert", X_Forwarded_For="192.0.2.1") == 303
    assert c.pg.query("SELECT client FROM operator_session WHERE name = 'bert' ORDER BY began_at DESC LIMIT 1") == [["127.0.0.1"]], "no proxy: nobody's word for it"
    c.pg.query("INSERT INTO operator_session (digest, name, client, used_at) SELECT 'old ' || n, 'bert', 'x', now() - interval '1 minute' FROM generate_series(1, 30) AS n")
    assert web.log_in("bert") == 303 and c.pg.query("SELECT count(*) FROM operator_session WHERE name = 'bert'") == [["20"]] and web.get("/spool")[0] == 200
    # From where an operator logged in he is counted apart: strangers who guess keep him out nowhere but where he never was.
    def guess(client, password="wrong"):
        return Web(c, "coordinator-2").log_in("bert", password, X_Forwarded_For=client)
    operator(c, "passwd", "bert", who="bert")
    assert guess("192.0.2.20", PASSWORD) == 303 and [guess(f"192.0.2.{n}") for n in range(60, 67)] == [403] * 6 + [429]
    assert guess("192.0.2.67", PASSWORD) == 429 and guess("192.0.2.20", PASSWORD) == 303
    assert [guess("192.0.2.20") for _ in range(7)] == [403] * 6 + [429], "nor does he guess for ever"
    operator(c, "passwd", "bert", who="bert")
    assert c.pg.query("SELECT count(*) FROM operator_place WHERE name = 'bert'") == [["0"]]


@pytest.mark.sanitized
def test_what_is_done_has_a_name_a_reason_and_a_token(c, edge, anna):
    edge.node.beat()
    before = len(history(c, "drain"))
    form = anna.form(verb="drain", target="edge-1", reason="new <b>memory</b>")
    for wrong in ({"csrf": "0" * 64}, {"csrf": ""}, {"act": "x"}, {"act": ""}):
        assert anna.ask("POST", "/act", {**form, **wrong})[0] in (400, 403), wrong
    assert anna.ask("POST", "/act", form, Sec_Fetch_Site="cross-site")[0] == 403
    assert anna.ask("POST", "/act", form, Origin="https://evil.example")[0] == 403
    assert anna.ask("POST", "/act", urllib.parse.urlencode(form), Content_Type="text/plain")[0] == 400
    assert anna.ask("GET", "/act?" + urllib.parse.urlencode(form))[0] == 405
    assert anna.act("drain", "edge-1", reason="")[0] == 422 and anna.act("drain", "edge-9")[0] == 422 and anna.act("policy rollback", "1")[0] == 422
    page = anna.act("<script>", "<img src=x>", back='"><script>')[2]
    assert "<script>" not in page and "<img" not in page
    assert len(history(c, "drain")) == before
    status, _, page = anna.ask("POST", "/act", form)  # the only edge: it is asked again
    assert status == 422 and "last active edge" in page and "Do it anyway" in page and "new &lt;b&gt;memory" in page
    again = {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page[page.index("/act"):])}
    for _ in range(2):  # sent twice, it is done once
        status, _, page = anna.ask("POST", "/act", again)
        assert status == 200 and "Done: drain edge-1" in page
    rows = history(c, "drain")[before:]
    assert [(row["who"], row["target"], row["detail"]["reason"], row["detail"]["via"]) for row in rows] == [("anna", "edge-1", "new <b>memory</b>", "dashboard")]
    assert anna.act("undrain", "edge-1", "it is in", Origin=f"http://127.0.0.1:{anna.port}")[0] == 200
    # The spool: held and released by the page, and both are remembered.
    ident = new_id()
    edge.stored(ident)
    assert ident in anna.get(f"/spool?id={ident}")[2] and anna.get("/spool?state=nonsense")[0] == 422
    assert anna.act("queue hold", ident, "wait for the customer")[0] == 200
    assert c.json("queue", "list", ident)[0]["state"] == "held"
    assert anna.act("queue release", ident, "he said yes")[0] == 200 and c.json("queue", "list", ident)[0]["state"] != "held"
    assert [(row["who"], row["detail"]["reason"]) for row in history(c, "queue hold")[-1:] + history(c, "queue release")[-1:]] == [("anna", "wait for the customer"), ("anna", "he said yes")]
    assert anna.act("queue hold", "", "all of it?")[0] == 422


def test_two_operators_where_two_are_needed(c, anna):
    asked = c.json("reputation", "set", "192.0.2.7", "allow", "--reason", "a partner", "--expires", "2h", "--owner", "library")["pending"]
    own = c.run_ctl("--json", "reputation", "set", "192.0.2.8", "allow", "--reason", "mine", "--expires", "2h", "--owner", "x", who="anna")
    wait_until(lambda: "Approve" in anna.get("/")[2], 30, "what waits for her")
    assert re.search(r"[12] overrides wait for a second operator", Web(c).get("/")[2])
    assert anna.act("override approve", str(asked), "I know them")[0] == 200
    status, _, page = anna.act("override approve", str(json.loads(own.stdout)["pending"]), "me, too")
    assert status == 422 and "another operator has to approve it" in page
    assert c.pg.query("SELECT key, override <> 0 FROM standing WHERE by_operator") == [["192.0.2.7", "t"]]
    # Nobody makes himself a second one: a password for another name waits, and so does another's new one.
    said = operator(c, "add", "carla", who="anna")
    number = re.search(r"override (\d+) does nothing until another operator", said).group(1)
    web, third = Web(c), Web(c)
    assert web.log_in("carla") == 403 and "waits for another operator" in c.ctl("operator", "list")
    assert anna.act("override approve", number, "she is new")[0] == 422
    bert = Web(c)
    assert bert.log_in("bert") == 303 and bert.act("override approve", number, "she is new")[0] == 200
    assert web.log_in("carla") == 403 and "carla  no key counts" in c.ctl("operator", "list"), "an operator is who has a key of that name"
    c.add_key("carla", "operator", direct=True)
    assert web.log_in("carla") == 303 and third.log_in("carla") == 303
    assert "does nothing until another operator" in operator(c, "passwd", "bert", "taken over by anna", who="anna")
    assert Web(c).log_in("bert", "taken over by anna") == 403 and bert.get("/spool")[0] == 200
    hashes = c.pg.query("SELECT hash FROM operator UNION SELECT nullif(new_hash, '') FROM operator")
    assert all(one[0] not in json.dumps(c.json("override", "list", "--all")) for one in hashes if one[0]), "no hash is shown"
    # Whose last key is revoked is nobody: not to look, not to log in, and least of all as the second of two. His sessions are gone, and those that were not would not count.
    asked = c.json("reputation", "set", "192.0.2.9", "allow", "--reason", "a partner", "--expires", "2h", "--owner", "library")["pending"]
    form = web.form(verb="override approve", target=str(asked), reason="I do")
    c.ctl("keys", "revoke", "carla")
    assert c.pg.query("SELECT count(*) FROM operator_session WHERE name = 'carla'") == [["0"]]
    made = f"INSERT INTO operator_session (digest, name, client) VALUES (encode(sha256('weir dashboard session {third.cookie.split('=')[1]}'), 'hex'), 'carla', 'x')"
    c.pg.query(made)
    assert third.get("/spool")[0] == 303 and web.ask("POST", "/act", form)[0] == 303 and web.log_in("carla") == 403
    assert "carla  no key counts" in c.ctl("operator", "list") and c.pg.query(f"SELECT state FROM override WHERE id = {asked}") == [["pending"]]
    c.ctl("operator", "delete", "carla")
    assert web.get("/spool")[0] == 303 and web.log_in("carla") == 403


def test_the_flow_is_what_nodes_count(c, edge):
    def told(factor):
        edge.node.beat(metrics=[counter("weir_recipients_accepted_total", 90 * factor), counter("weir_recipients_total", 70 * factor, 'disposition="delivered"'),
                                counter("weir_edge_spool_recipients_total", 10 * factor, 'result="delivered"'), counter("weir_scans_total", 5 * factor, 'verdict="unknown"'),
                                counter("weir_smtp_replies_total", 2 * factor, 'listener="relay",stage="MESSAGE",code="421"'),
                                counter("weir_smtp_sessions_total", 3 * factor, 'listener="relay",result="busy"'), counter("weir_smtp_sessions_total", 9, 'listener="relay",result="accepted"'),
                                counter("weir_refusals_total", 40 * factor, 'layer="reputation"'), counter("weir_refusals_total", 10 * factor, 'layer="content"')])
        flow = json.loads(Web(c).get("/dashboard.json")[2])["flow"]
        return flow if (flow["total"] or {}).get("in") == 90 * factor else None
    wait_until(lambda: told(1), 30, "a sample with what the edge counted")
    flow = wait_until(lambda: told(3), 30, "a later one")
    assert [flow["total"][kind] for kind in ("delivered", "unknown", "busy", "refused reputation")] == [240, 15, 15, 120] and "accepted" not in flow["total"]
    assert flow["hour"]["in"] >= 180 and flow["fresh"] and flow["total"]["unaccounted"] == 60
    assert re.search(r"by reputation, at connect <b>\d+</b> <span>80\.0 %", Web(c).get("/")[2]), "reputation's share of refusals"
    c.pg.query("DELETE FROM dashboard_sample")  # a minute goes by
    c.pg.query("INSERT INTO dashboard_sample (at, totals) SELECT clock_timestamp() - n * interval '1 second', '{\"unaccounted\": 60}' FROM generate_series(1, 50) AS n")
    wait_until(lambda: "60 accepted recipients are not accounted for" in Web(c).get("/")[2], 30, "the alert")


@pytest.mark.sanitized
def test_tampered_requests_find_nothing(c, anna):
    """1,000 of them, with a real session: nothing falls over, nothing is told, nothing is done."""
    seed = int(os.environ.get("WEIR_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    dice = random.Random(seed)
    done = c.pg.query("SELECT count(*) FROM audit_action WHERE action NOT LIKE 'operator %'")
    form = urllib.parse.urlencode({**anna.form(verb="drain", target="edge-1", reason="why"), "csrf": "0" * 64})  # hers would do it where only the rest is tampered with
    good = [f"GET / HTTP/1.1\r\nHost: x\r\nCookie: {anna.cookie}\r\n\r\n", f"GET /spool?id=1&from=%3C%3E HTTP/1.1\r\nHost: x\r\nCookie: {anna.cookie}\r\n\r\n",
            f"POST /act HTTP/1.1\r\nHost: x\r\nCookie: {anna.cookie}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}",
            "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n\r\nname=nobody&password=%zz%0",
            f"GET /dashboard.json HTTP/1.1\r\nHost: x\r\nCookie: {anna.cookie}\r\n\r\n"]
    spice = [b"%", b"%00", b"%ff%fe", b"\0", b"\r\n", b"&", b"=", b"../", b";", b"'", b"<script>", b"A" * 300, b"\xc3\x28", b"-1", b"99999999999999999999"]
    for number in range(1000):
        raw = bytearray(dice.choice(good).encode())
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(raw))
            match dice.randrange(4):
                case 0:
                    raw[at] = dice.randrange(256)
                case 1:
                    raw[at:at] = dice.choice(spice)
                case 2:
                    del raw[at:at + dice.randrange(1, 20)]
                case 3:
                    raw[at:at] = raw[dice.randrange(len(raw)):][:30]
            raw = raw or bytearray(b"\r\n")
        with socket.create_connection(("127.0.0.1", anna.port), timeout=20 * PATIENCE) as stranger:
            try:
                stranger.sendall(raw)
                stranger.shutdown(socket.SHUT_WR)
                answer = b""
                while got := stranger.recv(65536):
                    answer += got
            except TimeoutError:
                raise
            except OSError:  # it was answered and left before all was said: a pipe that is broken, or an end that is not connected (ENOTCONN)
                continue
        for status in re.findall(rb"(?m)^HTTP/1\.[01] (\d+)", answer):
            assert int(status) < 500 or status == b"501", (number, bytes(raw), answer[:300])
        assert b"$y$" not in answer and b"PGRES" not in answer and b"SQLSTATE" not in answer
    assert c.pg.query("SELECT count(*) FROM audit_action WHERE action NOT LIKE 'operator %'") == done
    assert anna.get("/")[0] == 200


@needs_chromium
def test_in_a_browser(c, edge):
    edge.node.beat()
    for sender in HOSTILE:
        edge.stored(new_id(), (("<script>alert(8)</script>@example.edu", "[192.0.2.1]:25"),), sender=sender.encode())
    c.ctl("queue", "hold", "--destination", "[192.0.2.1]:25")
    c.pg.query("INSERT INTO audit_action (who, action, target, detail) VALUES ('<img src=x onerror=alert(9)>', '<script>alert(10)</script>', '\"><svg onload=alert(11)>', "
               "'{\"reason\": \"</textarea><script>alert(12)</script>\"}')")
    url = f"http://127.0.0.1:{c.ports['coordinator-1'][2]}"
    with Browser() as page:
        page.open(url + "/login")  # by keyboard alone: the name has the focus
        page.wait("document.activeElement.name === 'name'", "the focus")  # with the first frame, which may come after the load
        page.type("anna")
        page.key("Tab")
        page.type(PASSWORD)
        page.loaded(lambda: page.key("Enter"))
        assert page.evaluate("location.pathname") == "/" and "What operators did" in page.text()
        assert page.evaluate("document.cookie") == "", "scripts do not see the session"
        shown = page.text()
        assert "<script>alert(10)</script>" in shown and "<img src=x onerror=alert(9)>" in shown
        # It is live: what changes is seen without a reload, though a reason half typed in another section stays.
        page.evaluate("window.same = 1")
        c.pg.query("INSERT INTO audit_action (who, action, target) VALUES ('bert', 'something new', 'x')")
        page.wait("document.body.innerText.includes('something new')")
        assert page.evaluate("window.same") == 1
        for width, height, dark, name in ((1280, 900, False, "wide"), (1280, 900, True, "dark"), (390, 844, False, "phone")):
            page.screen(width, height, dark)
            for path in ("/", "/spool", "/login"):
                page.open(url + path)
                assert not page.wider_than_screen(), (path, width)
                if os.environ.get("WEIR_PICTURES"):  # a folder, for who wants to look
                    page.picture(pathlib.Path(os.environ["WEIR_PICTURES"]) / f"{name}{path.replace(chr(47), chr(45))}.png")
        page.open(url + "/spool")
        shown = page.text()
        assert all(sender in shown for sender in HOSTILE) and "<script>alert(8)</script>@example.edu" in shown
        page.click("table details.act summary")
        page.fill("table details.act[open] input[name=reason]", "enough seen")
        page.loaded(lambda: page.key("Enter"))
        assert "Done: queue release" in page.text() and history(c, "queue release")[-1]["detail"]["reason"] == "enough seen"
        assert page.dialogs == [] and page.complaints == [], (page.dialogs, page.complaints)
        assert all(asked.startswith(url) for asked in page.requests), page.requests
        page.scripts(False)  # without them a reload does
        page.open(url + "/")
        assert "Nodes" in page.text() and page.evaluate("document.getElementById('clock').textContent") == ""
