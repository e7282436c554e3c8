"""What recipients hear of their quarantine and do about it: digests, pages, commands by mail. Rows S30 to S36 and S38."""
import base64
import contextlib
import datetime
import email
import email.policy
import hashlib
import http.client
import json
import os
import random
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import time
import urllib.parse

import pytest

from chromium import Browser, needs_chromium
from coordinators import BIN, PATIENCE, Coordinators, hold_port, locked, wait_until
from spooling import BODY, Edge, new_id
from test_quarantine import SETS, SPAM, empty_quarantine

ALICE, BOB, STRANGER = "alice@example.edu", "Bob@example.edu", "eve@elsewhere.example"
HOP = "a.example"
ROUTE = "mail.example.edu"
URL = "https://quarantine.example.edu"
SLOT = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=12)).strftime("%H:%M")  # far from now: none begins while this runs
WEB = f"""
[cluster]
contact = Help desk, +49 89 1234

[web]
digest_from = quarantine@example.edu
digest_times = {SLOT}
digest_timezone = UTC
digest_messages = 3
web_url = {URL}
web_mail = commands@quarantine.example.edu
web_rate = 100000
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with Coordinators(2, sets=SETS) as made:
        common = made.dir / "common.conf"
        common.write_text(common.read_text() + WEB)
        made.start()
        made.add_key("edge-1", "edge")
        wait_until(lambda: any("no policy says which domains are ours" in made.log(name) for name in made.names), 30, "without a policy the leader does not look who is due")
        policy = tmp_path_factory.mktemp("policy")
        (policy / "local-host-names").write_text("example.edu\n")
        (policy / "mailertable").write_text(f"example.edu\tsmtp:[{ROUTE}]\nquarantine.example.edu\tsmtp:[127.0.0.1]:2526\n")
        made.ctl("policy", "apply", policy)
        yield made


@pytest.fixture
def edge(two):
    with empty_quarantine(two, "digest", "web_token", "web_answer", "web_answered", "learn_queue") as made:
        yield made


def turns(two):
    """The leader, whoever it is, has had some: what it would do is done."""
    units = lambda: [two.metric(f'weir_db_units_total{{node="{name}",outcome="ok"}}', name) for name in two.names]
    before = units()
    wait_until(lambda: all(now > then + 20 for now, then in zip(units(), before)), 60, "all coordinators have had turns")


def yesterday(two):
    """What is there came before the newest slot."""
    two.pg.query("UPDATE quarantine_copy SET kept_at = kept_at - interval '1 day' WHERE NOT digested")


def letter_of(edge, lease):
    return email.message_from_bytes(edge.fetch(lease.id), policy=email.policy.default)


def letters(edge, amount):
    """So many messages of our own, delivered: (recipient, message)."""
    found = []

    def look():
        for lease in edge.claim() or []:
            assert lease.envelope.sender == b"" and lease.envelope.dsn and lease.envelope.scanned
            found.append((lease.who[0].address.decode(), letter_of(edge, lease)))
            edge.deliver(lease)
        return len(found) >= amount
    wait_until(look, 60, f"{amount} letters")
    return sorted(found, key=lambda one: one[0])


def text_of(letter, kind="plain"):
    return letter.get_body((kind,)).get_content()


def tokens(letter):
    """Of the person's page, and of the messages in their order."""
    text = text_of(letter)
    return re.search(rf"{URL}/q/(\w{{32}})", text)[1], re.findall(rf"{URL}/m/(\w{{32}})", text)


def mailed(token):
    """What the address of commands has that belongs to a link."""
    return "".join("0123456789abcdefghjkmnpqrstvwxyz"[byte & 31] for byte in hashlib.sha256(b"mail " + token.encode()).digest())


SUBJECT = "=?utf-8?q?Gr=C3=BC=C3=9Fe_an?= =?utf-8?b?5LiW55WM?= <b>&amp; \u202e"


def hostile(subject=SUBJECT):
    return f"From: \"Your Bank\" <bank@spam.example>\r\nTo: you\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()


@pytest.mark.sanitized
def test_digests(two, edge):
    """S31, S32, S38: one for each recipient and slot, whoever leads; none for strangers, and none when nothing is new."""
    first, second = new_id(), new_id()
    edge.stored(first, ((ALICE, HOP, "spam"), (BOB, HOP, "spam"), (STRANGER, HOP, "spam")), body=hostile(), sender=b"<script>@spam.example", **SPAM)
    edge.stored(second, ((ALICE, HOP, "virus"), ("Commands+xyz@quarantine.example.edu", HOP, "virus")), scanned=False, **SPAM)
    turns(two)
    assert edge.claim() == [], "nothing is told of what came in this slot"
    yesterday(two)
    (to_bob, bob), (to_alice, alice) = letters(edge, 2)
    assert (to_bob, to_alice) == (BOB, ALICE) and edge.claim() == []
    assert alice["Subject"] == "Your quarantine: 2 new messages" and bob["Subject"] == "Your quarantine: 1 new message"
    assert alice["Auto-Submitted"] == "auto-generated" and alice["From"].addresses[0].addr_spec == "quarantine@example.edu" and alice["To"].addresses[0].addr_spec == ALICE
    for kind in ("plain", "html"):
        text = text_of(alice, kind)
        assert "Gr\u00fc\u00dfe an\u4e16\u754c" in text and "\u202e" not in text and "Help desk, +49 89 1234" in text, text
        assert "61.50" in text and "has a virus" in text
    rich = text_of(alice, "html")
    assert "<script" not in rich and "<b>" not in rich and "&#60;b&#62;&#38;amp;" in rich and "src=" not in rich and "viewport" in rich
    page, opened = tokens(alice)
    assert len(opened) == 2 and len({page, *opened, *tokens(bob)[1], tokens(bob)[0]}) == 5, "no token is like another"
    assert f"commands+{mailed(opened[0])}@quarantine.example.edu" in text_of(alice) and f"commands+{opened[0]}@" not in text_of(alice)
    assert all(len(line) <= 998 for line in alice.as_bytes().splitlines())
    assert two.pg.query("SELECT count(*) FROM web_token") == [["5"]] and page.encode().hex() not in str(two.pg.query("SELECT hash FROM web_token"))
    assert [two.metric(f'weir_digest_configured{{node="{name}"}}', name) for name in two.names] == [1, 1]
    wait_until(lambda: two.pg.query("SELECT recipient, told, id <> '' FROM digest ORDER BY recipient") == [
        [ALICE, "2", "t"], [BOB.lower(), "1", "t"], ["commands+xyz@quarantine.example.edu", "0", "f"], [STRANGER, "0", "f"]], 30,
        "the last one's turn, who is told nothing, nor is where commands go")

    again = new_id()
    edge.stored(again, ((ALICE, HOP, "spam"), (BOB, HOP, "blocklist")), **SPAM)
    yesterday(two)
    turns(two)
    assert edge.claim() == [], "a slot has one digest"
    two.pg.query("UPDATE digest SET slot = '2000-01-01 00:00'")
    (who, letter), = letters(edge, 1)
    assert who == ALICE and "1 new message" in letter["Subject"], "each message is told of once, and not of a sender that one blocked"
    two.pg.query("UPDATE digest SET slot = '2000-01-02 00:00' WHERE slot > '2001'")
    turns(two)
    assert edge.claim() == [], "nothing is new"


def test_slots(two):
    """S31: each time of day happens once on each day, also on those when the clock is put forward or back."""
    def slots(moments, times="{09:00,15:00}", zone="Europe/Berlin"):
        return [two.pg.query(f"SELECT slot FROM digest_slot('{moment}', '{times}', '{zone}')")[0][0] for moment in moments]
    assert slots(["2026-11-22 07:59:59Z", "2026-11-22 08:00Z", "2026-11-22 14:00Z", "2026-07-22 07:00Z"]) == [
        "2026-11-21 15:00", "2026-11-22 09:00", "2026-11-22 15:00", "2026-07-22 09:00"]
    night = [f"2026-03-29 {hour:02}:{minute:02}Z" for hour in range(0, 4) for minute in range(0, 60, 10)]
    seen = slots(night, "{02:30}")
    assert seen == ["2026-03-28 02:30"] * seen.index("2026-03-29 02:30") + ["2026-03-29 02:30"] * (24 - seen.index("2026-03-29 02:30")), "one that is left out comes once"
    night = [f"2026-10-25 {hour:02}:{minute:02}Z" for hour in range(0, 3) for minute in range(0, 60, 10)]
    seen = slots(night, "{02:30}")
    assert seen == ["2026-10-24 02:30"] * seen.index("2026-10-25 02:30") + ["2026-10-25 02:30"] * (18 - seen.index("2026-10-25 02:30")), "one that comes twice, too"


def test_authors(two, edge):
    """S36: a list names the author that edges see, in UTF-8 too; of a field that is none, the envelope's sender."""
    for field, author in (("From: M\u00fcller <m\u00fcller@example.de>".encode(), "m\u00fcller@example.de"), ("From: a@m\u00fcller.example".encode(), "a@m\u00fcller.example"),
                          (b'From: "x@y.example" <B@y.example> (c@y.example)', "b@y.example"), (b"From: a@m\xfcller.example", "bounce@spam.example")):
        ident = new_id()
        edge.stored(ident, ((ALICE, HOP, "spam"),), body=field + b"\r\n\r\nhello\r\n", sender=b"bounce@spam.example", **SPAM)
        assert two.pg.query(f"SELECT web_author('{ident}')") == [[author]]


def test_what_no_digest_names(two, edge):
    """S31: only what a digest names or counts is told: a copy that came while it was made waits for the next."""
    idents = [new_id() for _ in range(4)]
    for ident in idents:
        edge.stored(ident, ((ALICE, HOP, "spam"),), **SPAM)
    for turn, (shown, total, told) in enumerate((([3], 1, [3]), ([2], 2, [0, 2, 3]), ([], "NULL", [0, 1, 2, 3]))):
        names = ",".join(idents[number] for number in shown)
        assert two.pg.query(f"SELECT digest_begin('{ALICE}', '200{turn}-01-01 00:00', 'infinity', 'x', 3, '{{{names}}}', {total})") == [["t"]]
        assert {row[0] for row in two.pg.query("SELECT id FROM quarantine_copy WHERE digested")} == {idents[number] for number in told}
    assert two.pg.query(f"SELECT digest_begin('{ALICE}', '2009-01-01 00:00', 'infinity', 'x', 3)") == [["f"]]


def test_leaders_that_are_killed(two, edge):
    """Whenever the leader dies, each recipient has one digest of the slot, and nothing is lost; nor does one that cannot be stored keep those of the same transaction."""
    ident = new_id()
    people = [f"user{number}@example.edu" for number in range(60)]
    edge.stored(ident, [(who, HOP, "spam") for who in people], **SPAM)
    two.pg.query("ALTER TABLE digest ADD CONSTRAINT not_now CHECK (recipient <> 'user7@example.edu')")
    yesterday(two)
    for turn in range(3):
        name = next((one for one in two.names if two.metric(f'weir_leader{{node="{one}"}}', one) == 1), two.names[0])
        made = int(two.pg.query("SELECT count(*) FROM digest")[0][0])
        wait_until(lambda m=made: int(two.pg.query("SELECT count(*) FROM digest")[0][0]) > min(m, 55), 60, "digests are made")
        two.stop(name, signal.SIGKILL)
        two.start(name)
    wait_until(lambda: two.pg.query("SELECT count(*) FROM digest") == [["59"]], 90, "everybody else has one")
    wait_until(lambda: any("digest: user7@example.edu: 23514" in two.log(name) for name in two.names), 90, "whose cannot be stored is named")
    two.pg.query("ALTER TABLE digest DROP CONSTRAINT not_now")
    wait_until(lambda: two.pg.query("SELECT count(*) FROM digest") == [["60"]], 90, "everybody has one")
    edge.node.close()
    edge = Edge(two.node("edge-1", "edge"))
    wait_until(lambda: edge.node.hello() is not None, 30, "the edge is welcome")
    told = [who for who, _ in letters(edge, 60)]
    assert sorted(told) == sorted(people) and edge.claim() == []
    edge.node.close()


# ---- pages ----

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Web:
    """A weir-web, with the rights that it has, and a connection to it that is kept."""

    def __init__(self, two, name="web-1", also="", **sets):
        two.pg.query("DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'weir_web') THEN CREATE ROLE weir_web LOGIN; END IF;"
                     f" ALTER ROLE weir_web LOGIN; END $$; SELECT web_grant('weir_web'); {also}")
        self.two, self.name, self.held = two, name, [hold_port(), hold_port(), hold_port()]
        self.port, self.operators, self.mail_port = (held.getsockname()[1] for held in self.held)
        database = two.pg.conninfo.replace("user=weir", "user=weir_web")
        sets = {"web_database": database, "web_listen": f"127.0.0.1:{self.port}", "web_metrics": f"127.0.0.1:{self.operators}",
                "web_mail_listen": f"127.0.0.1:{self.mail_port}", **sets}
        words = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
        self.log = two.dir / f"web-{self.port}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BIN / "weir-web", "-c", two.dir / "common.conf", "--name", name, *words], stderr=log)
        self.kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * PATIENCE)
        if "web_certificate" in sets:
            trusted = ssl.create_default_context(cafile=sets["web_certificate"])
            trusted.check_hostname = False
            self.kept = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30 * PATIENCE, context=trusted)
        wait_until(lambda: self.operator("/readyz")[0] == 200, 30, lambda: self.log.read_text())

    def operator(self, path):
        try:
            asked = http.client.HTTPConnection("127.0.0.1", self.operators, timeout=10 * PATIENCE)
            asked.request("GET", path)
            answer = asked.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""

    def ask(self, path, method="GET", body=None, headers=None):
        """(status, text, headers)"""
        for again in (True, False):
            try:
                self.kept.request(method, path, body, headers or {})
                answer = self.kept.getresponse()
                return answer.status, answer.read().decode(), answer.headers
            except (http.client.HTTPException, OSError):
                self.kept.close()
                if not again:
                    raise

    def sessions(self, *, event="%"):
        """The processes of the database that it has, of those the ones that wait for this."""
        return [int(row[0]) for row in self.two.pg.query(
            f"SELECT pid FROM pg_stat_activity WHERE application_name = 'weir web {self.name}' AND coalesce(wait_event, '') LIKE '{event}'")]

    def counted(self, name, value, **labels):
        """Its metric has this value by now, or soon."""
        sample = f"{name}{{{','.join(f'{key}=%s' % json.dumps(word) for key, word in {'node': self.name, **labels}.items())}}} {value}"
        wait_until(lambda: sample in self.operator("/metrics")[1].splitlines(), 30, sample)

    def get(self, path):
        status, text, _ = self.ask(path)
        return status, text

    def post(self, path, act, page=None, **fields):
        """By the form of the page that is there."""
        shown = page or self.get(path)[1]
        form = re.search(r'name="form" value="(\w{64})"', shown)[1]
        return self.ask(path, "POST", urllib.parse.urlencode({"form": form, "act": act, **fields}), FORM)[:2]

    def mail(self, local, subject, body="", sender="somebody@elsewhere.example", **fields):
        with smtplib.SMTP("127.0.0.1", self.mail_port, timeout=30 * PATIENCE) as client:
            head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"Subject": subject, **fields}.items())
            client.sendmail(sender, [f"{local}@quarantine.example.edu"], f"From: {sender}\r\n{head}\r\n{body}\r\n")

    def forward(self, local, subject, attached, kind="message/rfc822"):
        self.mail(local, subject, f"--x\r\n\r\nsee this\r\n--x\r\nContent-Type: {kind}\r\n\r\n" + attached.decode() + "\r\n--x--\r\n",
                  Content_Type="multipart/mixed; boundary=x")

    def close(self, wanted=0):
        self.kept.close()
        self.process.terminate()
        status = self.process.wait(30 * PATIENCE)
        for held in self.held:
            held.close()
        assert status == wanted, self.log.read_text()


@pytest.fixture(scope="module")
def web(two):
    made = Web(two)
    yield made
    made.close()


def told(two, edge, *stores):
    """Stores messages, and gives what their digests have: the recipients' tokens."""
    people = set()
    for pairs, facts in stores:
        ident = new_id()
        edge.stored(ident, [(who, HOP, reason) for who, reason in pairs], **{**SPAM, **facts})
        people |= {who for who, reason in pairs if reason not in ("blocklist", "outbreak")}
    yesterday(two)
    found = {who: tokens(letter) for who, letter in letters(edge, len(people))}
    two.pg.query("UPDATE digest SET slot = (random() || '')")
    return found


@pytest.mark.sanitized
def test_pages(two, edge, web):
    """S30, S32 to S36: each sees and changes what is theirs, by a form; nothing else opens anything."""
    found = told(two, edge, (((ALICE, "spam"), (BOB, "spam")), {"body": hostile()}), (((ALICE, "virus"),), {"scanned": False}), (((ALICE, "spam"),), {}))
    page, (own, virus, spam) = found[ALICE]
    if "Bank" not in web.get(f"/m/{spam}")[1]:
        spam, own = own, spam
    (bobs,), before = found[BOB][1], two.pg.query("SELECT id, number, state, changed_at FROM quarantine_copy ORDER BY 1, 2")
    status, text, headers = web.ask(f"/m/{spam}")
    assert status == 200 and "bank@spam.example" in text and "Gr\u00fc\u00dfe an\u4e16\u754c" in text and "hello" in text and "\u202e" not in text
    assert headers["Content-Security-Policy"] == "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff" and "script" not in text.lower()
    listed = web.get(f"/q/{page}")[1]
    assert listed.count("<li class") == 3 and listed.count(">Release<") == 2 and ALICE in listed and BOB not in listed
    assert web.get(f"/q/{found[BOB][0]}")[1].count("<li class") == 1
    ids = re.findall(r'/m/(\w{20})"', listed)
    for path in (f"/m/{spam}", f"/m/{virus}", f"/q/{page}", f"/q/{page}/m/{ids[0]}", f"/q/{page}/senders", f"/m/{spam}?act=release", f"/q/{page.upper()}"):
        assert web.get(path)[0] == 200, path
        assert web.ask(path, "HEAD")[0] == 200
    assert two.pg.query("SELECT id, number, state, changed_at FROM quarantine_copy ORDER BY 1, 2") == before and edge.claim() == [], "who only looks changes nothing"

    nothing = web.get("/m/" + "0" * 32)
    assert nothing[0] == 404 and "opens nothing" in nothing[1]
    form = re.search(r'name="form" value="(\w{64})"', text)[1]
    bobs_form = re.search(r'name="form" value="(\w{64})"', web.get(f"/m/{bobs}")[1])[1]
    bobs_only = two.pg.query(f"SELECT id FROM quarantine_copy WHERE recipient = '{BOB.lower()}'")[0][0]
    not_his = next(one for one in ids if one != bobs_only)
    for path in (f"/m/{spam[:-1]}", f"/m/{spam}0", f"/m/{spam[:-1]}{'0' if spam[-1] != '0' else '1'}", f"/m/{page}", f"/q/{spam}", f"/q/{page}/m/{new_id()}", "/", "/q/", "/m/",
                 f"/q/{found[BOB][0]}/m/{not_his}", "/livez", "/metrics", "/readyz", f"/m/{spam}/", f"/q/{page}/other", "/%00", f"/q/{page}?after=x", "/style.cs"):
        assert web.get(path) == nothing, path
    encoded = urllib.parse.urlencode({"form": form, "act": "release"})
    for words, given in ((encoded.replace(form, bobs_form), FORM), ("act=release", FORM), (encoded, {}), (encoded, {**FORM, "Sec-Fetch-Site": "cross-site"}),
                         (encoded, {**FORM, "Origin": "https://evil.example"}), (encoded.replace("release", "free"), FORM), (encoded, {"Content-Type": "text/plain"})):
        assert web.ask(f"/m/{spam}", "POST", words, given)[:2] == nothing, (words, given)
    assert edge.claim() == []
    assert web.ask(f"/m/{spam}", "PUT", encoded, FORM)[0] == 501

    assert "administrator" in web.post(f"/m/{virus}", "release", text.replace(form, re.search(r'value="(\w{64})"', web.get(f"/m/{virus}")[1])[1]))[1] and edge.claim() == []
    status, done = web.post(f"/m/{spam}", "safe")
    assert status == 200 and "delivered to you" in done
    with locked(two, "SELECT FROM quarantine_copy FOR UPDATE"):
        status, said = web.post(f"/m/{spam}", "release", text)
        assert status == 503 and "try again" in said and web.get(f"/m/{spam}")[0] == 200
    status, done = web.post(f"/m/{spam}", "release", text)
    assert status == 200 and "on its way" in done
    lease, = edge.claim()
    assert [who.address.decode() for who in lease.who] == [ALICE] and edge.deliver(lease) == 1
    assert two.pg.query("SELECT kind, who, personal FROM learn_queue") == [["ham", ALICE, "t"]], "who releases spam says that it is none"
    for path, method, words in ((f"/m/{spam}", "GET", None), (f"/m/{spam}", "POST", encoded), (f"/q/{page}/m/{lease.id}", "GET", None)):
        assert web.ask(path, method, words, FORM)[:2] == nothing, "what is released is opened no more"
    assert web.get(f"/m/{bobs}")[0] == 200, "the other one's copy is where it was"
    assert web.post(f"/m/{bobs}", "block")[0] == 200 and web.post(f"/m/{bobs}", "delete")[0] == 200 and web.get(f"/m/{bobs}") == nothing
    assert web.get(f"/q/{found[BOB][0]}")[1].count("<li class") == 0
    assert two.pg.query("SELECT recipient, sender, kind FROM personal_list ORDER BY 1") == [[ALICE, "bank@spam.example", "safe"], [BOB.lower(), "bank@spam.example", "block"]]
    senders = f"/q/{page}/senders"
    assert "bank@spam.example" in web.get(senders)[1] and "done" not in web.post(senders, "safe", sender="nobody")[1]
    assert web.post(senders, "block", sender="@evil.example")[0] == 200 and web.post(senders, "forget", sender="bank@spam.example")[0] == 200
    assert two.pg.query(f"SELECT sender, kind FROM personal_list WHERE recipient = '{ALICE}'") == [["@evil.example", "block"]]
    assert [row[0] for row in two.pg.query("SELECT action FROM audit_action WHERE who LIKE 'recipient%' ORDER BY number")][:3] == ["personal safe", "quarantine release", "personal block"]
    longest = "a" * 300 + "\u00fc" * 10 + "@" + "b" * 9
    assert "kept from you" in web.post(senders, "block", sender=longest)[1] and "not on your list any more" in web.post(senders, "forget", sender=longest)[1]
    assert "is not on your list." in web.post(senders, "forget", sender=longest)[1] and "names no sender" in web.post(senders, "safe", sender="a\u202e@b.example")[1]
    two.pg.query("UPDATE web_token SET expires_at = now() - interval '1 second'")
    assert web.get(f"/q/{page}") == nothing and web.get(f"/m/{own}") == nothing, "what is over opens nothing"
    assert "weir_web_acts_total{node=\"web-1\",act=\"release\",outcome=\"released\"} 1" in web.operator("/metrics")[1]


def test_tampered_requests(two, edge, web):
    """1,000 of them: no 5xx, and nobody's words."""
    found = told(two, edge, (((ALICE, "spam"), (BOB, "spam")), {"body": hostile("the secret")}))
    page, (spam,) = found[ALICE]
    form = re.search(r'name="form" value="(\w{64})"', web.get(f"/m/{spam}")[1])[1]
    ident = two.pg.query("SELECT id FROM quarantine_message")[0][0]
    before = two.pg.query("SELECT recipient, state FROM quarantine_copy ORDER BY 1")
    seed = int(os.environ.get("WEIR_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"WEIR_SEED={seed}")
    dice = random.Random(seed)
    alphabet = b"0123456789abcdefghjkmnpqrstvwxyz/%.?&=;:@\\'\"<>-_ \x00\x7f\xff"
    good = [f"/m/{spam}", f"/q/{page}", f"/q/{page}/m/{ident}", f"/q/{page}/senders", f"/q/{page}?after=2026-11-22T10:00:00.000000Z%20{ident}%200"]
    bodies = [f"form={form}&act={act}" for act in ("release", "delete", "safe", "block", "forget")]

    def tamper(text):
        changed = bytearray(text.encode())
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(3, len(changed))
            kind = dice.randrange(3)
            if kind == 0:
                changed[at] = dice.choice(alphabet)
            elif kind == 1:
                del changed[at:at + dice.randint(1, 40)]
            else:
                changed[at:at] = bytes(dice.choice(alphabet) for _ in range(dice.randint(1, 20)))
            if len(changed) < 5:
                break
        return bytes(changed)

    statuses = {}
    for number in range(1000):
        path, method = dice.choice(good), dice.choice(("GET", "GET", "POST", "HEAD"))
        body = dice.choice(bodies).encode() if method == "POST" else b""
        if method == "POST" and dice.random() < 0.7:
            body = tamper(body.decode()).replace(form.encode(), b"0" * 64)
        elif method == "POST":
            path = tamper(path.replace(page, "0" * 32).replace(spam, "1" * 32)).decode("latin-1")
        else:
            path = tamper(path).decode("latin-1")
        kind = dice.choice(("application/x-www-form-urlencoded", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "\x01"))
        asked = method.encode() + b" " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: " + kind.encode() + \
            b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        with socket.create_connection(("127.0.0.1", web.port), timeout=30 * PATIENCE) as client:
            client.sendall(asked)
            answer = b""
            try:
                while got := client.recv(65536):
                    answer += got
            except ConnectionResetError:
                pass
        status = int(answer.split()[1]) if answer else 0
        statuses[status] = statuses.get(status, 0) + 1
        assert status in (0, 200, 400, 404, 501), (seed, asked, answer)
        if status != 200:
            assert b"secret" not in answer and b"example.edu" not in answer and ident.encode() not in answer, (seed, asked, answer)
        assert b"bob@" not in answer.lower(), (seed, asked)
    print(statuses)
    assert statuses.get(404, 0) > 300 and web.process.poll() is None
    assert two.pg.query("SELECT recipient, state FROM quarantine_copy ORDER BY 1") == before and two.pg.query("SELECT * FROM personal_list") == []


def link(two, who, ident=""):
    """A link without a digest: of the message, or of all."""
    token = "".join(random.choices("0123456789abcdefghjkmnpqrstvwxyz", k=32))
    hashes = [hashlib.sha256(one.encode()).hexdigest() for one in (token, mailed(token))]
    two.pg.query(f"SELECT web_tokens('{who.lower()}', '{{{hashes[0]}}}', ARRAY['{ident}'], '1 day', '{{{hashes[1]}}}')")
    return token


def form_of(token, act):
    return f"form={hashlib.sha256(b'form ' + token.encode()).hexdigest()}&act={act}".encode()


@contextlib.contextmanager
def deaf_database(web):
    """What weir-web asks is not answered while this lasts."""
    backends = web.sessions()

    def tell(number):
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):  # of the one before of this name, which had not ended yet
                os.kill(pid, number)
    tell(signal.SIGSTOP)
    try:
        yield
    finally:
        tell(signal.SIGCONT)


@contextlib.contextmanager
def slow_acts(two):
    """Who does something is not done with it before this has ended."""
    two.pg.query("CREATE TABLE gate AS SELECT 1; CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS"
                 " $$ BEGIN WHILE EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END $$;"
                 " CREATE TRIGGER gate BEFORE INSERT ON audit_action FOR EACH ROW EXECUTE FUNCTION gate()")
    try:
        yield
    finally:
        two.pg.query("DELETE FROM gate")
        two.pg.query("DROP TRIGGER gate ON audit_action; DROP FUNCTION gate(); DROP TABLE gate")


def send(web, path, body=None):
    """A request whose answer is not waited for."""
    client = socket.create_connection(("127.0.0.1", web.port), timeout=30 * PATIENCE)
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body or b'')}\r\n\r\n"
    client.sendall(head.encode() + (body or b""))
    return client


def test_limits_of_the_web(two, edge):
    """Each of its keys' bounds, and how it is counted; web_rate per client, as a trusted proxy names it."""
    idents = [new_id(), new_id()]
    for ident, body in zip(idents, (hostile(), hostile() + b"filler filler\r\n" * 300 + b"the end\r\n")):
        edge.stored(ident, ((ALICE, HOP, "spam"),), body=body, **SPAM)
    page = link(two, ALICE)
    path, large, senders = f"/m/{link(two, ALICE, idents[0])}", f"/q/{page}/m/{idents[1]}", f"/q/{page}/senders"
    few = Web(two, "web-2", web_rate=5, web_proxies="127.0.0.0/8", web_clients=2, web_mail_sessions=1, web_connections=3, web_requests=1, web_view_size="4KiB",
              web_list_entries=1, web_mail_size="4KiB", web_answers=1)
    def until_limited(left, began, headers):
        """It has so many, and another one for each twelve seconds that are gone."""
        statuses = []
        while 429 not in statuses:
            statuses.append(few.ask(path, headers=headers(len(statuses)))[0])
        had = len(statuses) - 1
        assert statuses[:-1] == [200] * had and left <= had <= left + (time.monotonic() - began) / 12, statuses
    try:
        until_limited(5, time.monotonic(), lambda _: {"X-Forwarded-For": "198.51.100.1, 192.0.2.1"})
        assert few.ask(path, headers={"X-Forwarded-For": "192.0.2.1, 192.0.2.2"})[0] == 200
        began = time.monotonic()
        assert few.ask(path, headers={"X-Forwarded-For": "192.0.2.3"})[0] == 200
        until_limited(4, began, lambda turn: {"X-Forwarded-For": f"203.0.113.{turn}", "x-forwarded-for": "192.0.2.3"})  # of two fields the last one is the proxy's
        few.counted("weir_web_limited_total", 2)
        few.counted("weir_web_clients", 2)

        shown = few.ask(large, headers={"X-Forwarded-For": "192.0.2.4"})[1]
        assert "filler" in shown and "the end" not in shown
        encoded = form_of(page, "block").decode() + "&sender="
        for sender, said in (("one@spam.example", "kept from you"), ("two@spam.example", "Your list is full"), ("one@spam.example", "kept from you")):
            assert said in few.ask(senders, "POST", encoded + sender, {**FORM, "X-Forwarded-For": "192.0.2.4"})[1]
        assert two.pg.query("SELECT sender FROM personal_list") == [["one@spam.example"]]

        with deaf_database(few), send(few, path):
            few.counted("weir_web_requests_pending", 1)
            status, said, headers = few.ask(path, headers={"X-Forwarded-For": "192.0.2.5"})
            assert status == 503 and "too much to do" in said and headers["Retry-After"] == "30"
        few.counted("weir_web_requests_pending", 0)
        few.counted("weir_web_busy_total", 1)
        few.counted("weir_web_cut_total", 1)
        few.counted("weir_web_acts_total", 1, act="block", outcome="full")

        with smtplib.SMTP("127.0.0.1", few.mail_port, timeout=30 * PATIENCE) as client:
            with pytest.raises(smtplib.SMTPConnectError, match="421"):
                smtplib.SMTP("127.0.0.1", few.mail_port, timeout=30 * PATIENCE)
            client.ehlo()
            assert client.mail("a@b.example", ["SIZE=4097"])[0] == 552 and client.mail("a@b.example")[0] == 250 and client.rcpt(f"commands+{mailed(page)}@quarantine.example.edu")[0] == 250
            assert client.data(b"Subject: list\r\n\r\n" + b"filler filler\r\n" * 300)[0] == 552
            with locked(two, "LOCK TABLE web_token IN SHARE MODE"):  # it cannot be answered meanwhile
                assert client.sendmail("a@b.example", [f"commands+{mailed(page)}@quarantine.example.edu"], "Subject: list\r\n\r\n") == {}
                with pytest.raises(smtplib.SMTPDataError, match="4.3.1"):
                    client.sendmail("a@b.example", [f"commands+{mailed(page)}@quarantine.example.edu"], "Subject: list\r\n\r\n")
        for outcome, amount in (("sessions", 1), ("large", 2), ("obeyed", 1), ("busy", 1)):
            few.counted("weir_web_mail_total", amount, outcome=outcome)
        assert letters(edge, 1)[0][0] == ALICE

        idle = [socket.create_connection(("127.0.0.1", few.port), timeout=30 * PATIENCE) for _ in range(4)]
        assert idle[0].recv(1) == b"", "the oldest one is ended"
        for one in idle:
            one.close()
        wait_until(lambda: re.search(r'weir_http_connections_ended_total{node="web-2"} [1-9]', few.operator("/metrics")[1]), 30, "it is counted")
    finally:
        few.close()


def test_a_web_that_is_killed(two, edge):
    """In the middle of what people do: each is done once or not at all, and can be asked for again."""
    idents = {act: new_id() for act in ("release", "delete", "block")}
    for number, ident in enumerate(idents.values()):
        edge.stored(ident, ((ALICE, HOP, "spam"),), body=f"From: bank{number}@spam.example\r\n\r\nhello\r\n".encode(), **SPAM)
    tokens_of = {act: link(two, ALICE, ident) for act, ident in idents.items()}
    done = lambda: {row[0].split()[1] for row in two.pg.query("SELECT action FROM audit_action WHERE who LIKE 'recipient%'")}
    two.pg.query("TRUNCATE audit_action")

    def all_sent(web):
        return [send(web, f"/m/{token}", form_of(token, act)) for act, token in tokens_of.items()]

    def dead(web):
        web.close(-signal.SIGKILL)
        wait_until(lambda: web.sessions() == [], 30, "its session with the database has ended")

    web = Web(two, "web-2")
    with deaf_database(web):
        asked = all_sent(web)
        web.counted("weir_web_requests_pending", 3)
        web.process.kill()
    dead(web)
    assert done() == set(), "it had asked which links these are, and nothing else"
    web = Web(two, "web-2", also="GRANT CREATE ON SCHEMA public TO weir_web")
    with slow_acts(two):
        asked += all_sent(web)
        wait_until(lambda: web.sessions(event="PgSleep"), 30, "the first is under way")
        web.process.kill()
        web.process.wait(30)
    dead(web)
    for client in asked:
        client.close()
    before = done()
    print("done by the dead:", before)
    assert "the role weir_web may make functions in the cluster's schema" in web.log.read_text() and "may read tables" not in web.log.read_text()
    own = {name: two.dir / f"web-{name}" for name in ("key", "certificate", "database_file")}  # its pages under TLS of its own, and its database's words in a file
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=x",
                    "-keyout", own["key"], "-out", own["certificate"]], check=True, capture_output=True)
    own["key"].chmod(0o600)
    own["database_file"].write_text(two.pg.conninfo + "\n")
    own["database_file"].chmod(0o600)
    web = Web(two, "web-2", web_database="", **{f"web_{name}": path for name, path in own.items()})
    wait_until(lambda: "web_database: the role weir may read tables of the cluster" in web.log.read_text(), 30, "a role that may do too much is told of")
    for act, token in tokens_of.items():
        status, _, _ = web.ask(f"/m/{token}", "POST", form_of(token, act), FORM)
        assert status == (404 if act in before and act != "block" else 200), (act, before)
    web.close()
    assert two.pg.query("SELECT action, target FROM audit_action WHERE who LIKE 'recipient%' AND action LIKE 'quarantine%' ORDER BY 1") == [
        ["quarantine delete", idents["delete"]], ["quarantine release", idents["release"]]], "once"
    assert two.pg.query("SELECT id, state FROM quarantine_copy ORDER BY state") == [[idents["delete"], "deleted"], [idents["release"], "released"], [idents["block"], "waiting"]]
    assert two.pg.query("SELECT recipient, sender, kind FROM personal_list") == [[ALICE, "bank2@spam.example", "block"]]
    assert two.pg.query("SELECT count(*) FROM learn_queue") == [["1"]]
    lease, = edge.claim()
    assert lease.id == idents["release"] and edge.deliver(lease) == 1 and edge.claim() == []


# ---- commands by mail ----

@pytest.mark.sanitized
def test_commands_by_mail(two, edge, web):
    """S30: what comes with a token is done, and its owner is told, whoever wrote; nothing else is answered."""
    found = told(two, edge, (((ALICE, "spam"), (BOB, "spam")), {"body": hostile()}), (((ALICE, "virus"),), {"scanned": False}), (((ALICE, "spam"),), {}))
    page, opened = found[ALICE]
    answers = lambda: int(two.pg.query("SELECT count(*) FROM web_answer")[0][0])
    asked = two.pg.query("SELECT coalesce(max(number), 0) FROM web_answer")
    web.mail("commands+" + "0" * 32, "release")
    web.mail("Commands", "release")
    for local in ("postmaster", "command", "commandsx", "abuse+" + opened[0]):
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="5.1.1"):
            web.mail(local, "release")
    web.mail(f"commands+{opened[0]}", "release")
    assert web.get(f"/m/{mailed(opened[0])}")[0] == web.get(f"/q/{mailed(page)}")[0] == 404, "who reads an address has no page, and none of a page's links is in it"
    web.mail(f"commands+{mailed(opened[0])}", "release", Auto_Submitted="auto-replied")
    web.mail(f"commands+{mailed(opened[0])}", "release", Precedence="bulk")
    web.mail(f"commands+{mailed(opened[0])}", "release", sender="")
    assert answers() == 0 and edge.claim() == [] and asked == two.pg.query("SELECT coalesce(max(number), 0) FROM web_answer"), "nobody is answered, and nothing done"

    web.mail(f"commands+{mailed(page)}", "Re: what is this?", "list please")
    (who, letter), = letters(edge, 1)
    assert who == ALICE and letter["Subject"] == "Your quarantine: an answer" and letter["Auto-Submitted"] == "auto-replied" and "3 messages to you" in text_of(letter)
    again = tokens(letter)[1]
    assert len(again) == 3 and not set(again) & set(opened), "an answer has links of its own"
    virus = next(token for token in again if "has a virus" in web.get(f"/m/{token}")[1])
    bank = next(token for token in again if "bank@spam.example" in web.get(f"/m/{token}")[1])
    web.mail(f"commands+{mailed(virus).upper()}", "release", sender="mallory@elsewhere.example")
    web.mail("commands", f"safe {mailed(bank)}")
    web.mail(f"commands+{mailed(found[BOB][1][0])}", "delete")
    told_now = [(who, text_of(letter)) for who, letter in letters(edge, 3)]
    assert [who for who, _ in told_now] == [BOB, ALICE, ALICE] and "Deleted." in told_now[0][1]
    assert any("administrator" in text for who, text in told_now if who == ALICE) and any("delivered to you" in text for who, text in told_now if who == ALICE)
    assert two.pg.query("SELECT count(*) FROM quarantine_copy WHERE state = 'released'") == [["0"]]
    assert two.pg.query("SELECT recipient, sender, kind FROM personal_list") == [[ALICE, "bank@spam.example", "safe"]]
    web.mail(f"commands+{mailed(bank)}", "Question", "\r\n> quoted\r\nrelease\r\n")
    found_now = {}

    def released():
        for lease in edge.claim() or []:
            found_now[lease.envelope.dsn] = lease.who[0].address.decode()
            edge.deliver(lease)
        return len(found_now) == 2
    wait_until(released, 60, "the message, and the answer")
    assert found_now == {True: ALICE, False: ALICE}
    web.mail(f"commands+{mailed(bank)}", "release")
    web.mail(f"commands+{mailed(found[BOB][1][0])}", "delete")
    assert two.pg.query("SELECT count(*) FROM web_answer") == [["0"]] and edge.claim() == []
    two.pg.query(f"UPDATE quarantine_copy SET recipient = 'x' WHERE recipient = '{ALICE}'")  # all that were his are forgotten, and his page still opens
    web.mail(f"commands+{mailed(page)}", "list")
    lease, = wait_until(edge.claim, 60, "an answer all the same")
    assert (lease.who[0].address.decode(), lease.destination.decode()) == (ALICE, f"[{ROUTE}]:25") and "Nothing is kept from you" in text_of(letter_of(edge, lease)), "where the policy sends his mail"
    edge.deliver(lease)
    two.pg.query(f"UPDATE quarantine_copy SET recipient = '{ALICE}' WHERE recipient = 'x'")
    two.pg.query(f"INSERT INTO web_answered SELECT '{ALICE}' FROM generate_series(1, 60 - (SELECT count(*) FROM web_answered WHERE recipient = '{ALICE}'))")
    web.mail(f"commands+{mailed(page)}", "list")
    web.mail(f"commands+{mailed(virus)}", "delete")
    assert two.pg.query("SELECT count(*) FROM web_answer") == [["0"]] and web.get(f"/m/{virus}")[0] == 404, "who is asked to be answered very often is not, and is obeyed"
    assert 'weir_web_mail_total{node="web-1",outcome="silent"} 2' in web.operator("/metrics")[1]


def test_what_is_reported_is_learned(two, edge, web):
    """A copy that is kept, on its page and by mail, and what came all the same, forwarded as an attachment; what a token of one says is his word, and nobody else's."""
    found = told(two, edge, *((((ALICE, "spam"), (BOB, "spam")), {"body": b"Subject: offer %d\r\n\r\nbuy %d now\r\n" % (n, n)}) for n in (1, 2)), (((ALICE, "virus"),), {"scanned": False}))
    page, opened = found[ALICE]
    taught = lambda: two.pg.query("SELECT kind, who, personal, source, convert_from(substr(body, 1, 15), 'UTF8') FROM learn_queue ORDER BY id")
    virus = next(token for token in opened if "has a virus" in web.get(f"/m/{token}")[1])
    first, second = [token for token in opened if token != virus]
    assert "Report as spam" in web.get(f"/m/{first}")[1] and "Report as spam" not in web.get(f"/m/{virus}")[1]
    assert "the spam filter is told" in web.post(f"/m/{first}", "spam")[1]
    web.mail(f"commands+{mailed(second)}", "spam")
    web.mail(f"commands+{mailed(virus)}", "spam")
    assert [row[:4] for row in taught()] == [["spam", ALICE, "t", "quarantine"]] * 2
    assert two.pg.query("SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FROM quarantine_copy WHERE reason = 'spam'") == [["2", "4"]], "the other one's copies wait"
    web.forward(f"commands+{mailed(page)}", "spam", b"Subject: missed\r\n\r\nspam that came\r\n")
    web.forward(f"commands+{mailed(page)}", "spam", b"Subject: missed\r\n\r\nspam that came\r\n")
    web.forward(f"commands+{mailed(page)}", "Re: ham", b"Subject: tagged\r\n\r\nno spam\r\n")
    web.forward("commands+" + "0" * 32, "spam", b"Subject: nobody\r\n\r\n")
    bobs, left = found[BOB][1][0], "SELECT count(*) FROM quarantine_copy WHERE state = 'waiting'"
    before = two.pg.query(left)
    web.forward(f"commands+{mailed(bobs)}", "spam", b"Subject: missed\r\n", "application/octet-stream")
    web.forward(f"commands+{mailed(bobs)}", "spam", base64.encodebytes(b"Subject: encoded\r\n\r\n"), "message/rfc822\r\nContent-Transfer-Encoding: base64")
    web.mail(f"commands+{mailed(page)}", "spam")
    web.mail(f"commands+{mailed(page)}", "ham")
    assert two.pg.query(left) == before, "who reports another message loses none"
    assert taught().pop() == ["spam", BOB.lower(), "t", "mail", "Subject: encode"] and taught()[2:-1] == [["spam", ALICE, "t", "mail", "Subject: missed"], ["ham", ALICE, "t", "mail", "Subject: tagged"]]
    said = letters(edge, 9)
    assert sum("cannot be read as a message" in text_of(letter) for who, letter in said if who == BOB) == 1
    said = [text_of(letter) for who, letter in said if who == ALICE]
    assert sum("Nothing was learned" in text for text in said) == 2
    for words in ("Deleted, and the spam filter", "Deleted.\r", "learns that this is spam", "said so before", "learns that this is none"):
        assert sum(words in text for text in said) == 1, (words, said)


# ---- a real browser ----

VECTORS = os.path.join(os.environ.get("WEIR_CORPUS", ""), "vectors/mime/wooyun-xss/malious-sample")
LIVE = b"""From: "<script>document.title='ran'</script>" <bank@spam.example>
To: alice@example.edu
Subject: =?utf-8?q?=3Cimg_src=3Dx_onerror=3D"document.title=3D'ran'"=3E_Gr=C3=BC=C3=9Fe?=
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/html; charset=utf-8

<p>Dear customer,</p><p>your account is <b>closed</b>. <a href="http://evil.example/">Log in</a></p><img src="http://evil.example/pixel.png">
<script>document.title='ran'; fetch('http://evil.example/')</script><svg onload="document.title='ran'"></svg>
<style>body{background:url(http://evil.example/css)}</style><iframe src="http://evil.example/"></iframe><form action="http://evil.example/"><input name=p></form>
<meta http-equiv=refresh content="0;url=http://evil.example/">
--x
Content-Type: application/zip; name="<b onmouseover=alert(1)>invoice.zip"
Content-Disposition: attachment

x
--x--
""".replace(b"\n", b"\r\n")


@needs_chromium
def test_in_a_browser(two, edge, web):
    """Nothing live of hostile mail, nothing asked of others; usable by keyboard alone, and on a phone. WEIR_PICTURES names a folder for pictures."""
    names = sorted(os.listdir(VECTORS))[::4] if os.path.isdir(VECTORS) else []
    bodies = [open(os.path.join(VECTORS, name), "rb").read() for name in names] + [LIVE]
    found = told(two, edge, *[(((ALICE, "spam"),), {"body": body, "sender": b"bounce@spam.example"}) for body in bodies])
    page = found[ALICE][0]
    own = f"http://127.0.0.1:{web.port}/"
    folder = os.environ.get("WEIR_PICTURES")
    with Browser() as browser:
        def look(path, name=None):
            browser.open(own + path)
            assert browser.evaluate("document.title") in ("Your quarantine", "A message in your quarantine", "Your senders", "Nothing here"), path
            assert not browser.wider_than_screen(), path
            live = "document.querySelectorAll('script, img, iframe, object, embed, svg, base, meta[http-equiv], style, [onload], [onerror], [onmouseover]').length"
            assert browser.evaluate(live) == 0, (path, browser.dom())
            if folder and name:
                browser.picture(os.path.join(folder, name + ".png"))
        look(f"q/{page}", "list")
        paths = browser.evaluate("[...document.querySelectorAll('h2 a')].map(a => a.getAttribute('href').slice(1))")
        browser.screen(390, 844)
        look(f"q/{page}", "list-phone")
        assert len(paths) == len(bodies)
        for path in reversed(paths):
            look(path, "message-phone" if path == paths[0] else None)
        assert "Dear customer" in browser.text() and "evil.example" not in browser.text() and "<b onmouseover=alert(1)>invoice.zip" in browser.text(), browser.text()
        browser.screen(dark=True)
        look(f"q/{page}/senders", "senders-dark")
        look(paths[0], "message-dark")
        browser.screen()
        look(paths[0], "message")
        heights = browser.evaluate("[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect().height)")
        assert len(heights) == 5 and min(heights) >= 44, heights
        for _ in range(20):
            browser.key("Tab")
            if browser.evaluate("document.activeElement.value") == "release":
                break
        assert browser.evaluate("document.activeElement.matches(':focus-visible')")
        browser.loaded(lambda: browser.key("Enter"))
        assert "on its way to you" in browser.text()
        if folder:
            browser.picture(os.path.join(folder, "released.png"))
        assert [url for url in browser.requests if not url.startswith(own)] == [] and browser.dialogs == []
        assert [one for one in browser.complaints if "favicon" not in one] == [], browser.complaints
    lease, = edge.claim()
    assert edge.deliver(lease) == 1
