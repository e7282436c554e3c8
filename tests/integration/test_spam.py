"""S6-S8, S20, S21, S45, S46: spam engines, what they say in the header, and what their score means. rspamd is the real one, with a rule of the test's that
gives the score a message asks for."""
import contextlib
import email
import email.policy
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import dkim
import pytest

import weir
from borrowed import UNPACKED, propagation
from coordinators import hold_port
from weir import Smtp, message, wait_until

LUA = """rspamd_config:register_symbol({ name = 'WEIR_TEST', score = 1.0, callback = function(task)
  local points = task:get_header('X-Test-Points')
  if points then return true, tonumber(points), 'a (b), c' end
end})
"""
RECORDS = """nameserver = ["127.0.0.1:9:1"];
fake_records = [
  { name = "example.org"; type = txt; replies = ["v=spf1 ip4:192.0.2.1 -all"]; },
  { name = "_dmarc.example.org"; type = txt; replies = ["v=DMARC1; p=none"]; },
  { name = "s._domainkey.example.org"; type = txt; replies = ["v=DKIM1; k=rsa; p=KEY"]; },
  { name = "other.example"; type = txt; rcode = "nxdomain"; },
  { name = "example.edu"; type = txt; replies = ["v=spf1 ip4:192.0.2.1 -all"]; },
  { name = "_dmarc.example.edu"; type = txt; replies = ["v=DMARC1; p=none"]; }
]
"""
PATIENCE = "spam_timeout", "spam_failures", "spam_pause"
SIGNING = """dkim_signing { enabled = true; sign_authenticated = true; sign_local = true; sign_inbound = false; use_domain = "header"; allow_hdrfrom_mismatch = true;
  allow_username_mismatch = true; try_fallback = false; domain { example.edu { selector = "s"; path = "PATH"; } } }
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dkim")
    folder.chmod(0o755)
    private = folder / "key.pem"
    subprocess.run(["openssl", "genrsa", "-out", private, "2048"], check=True, capture_output=True)
    private.chmod(0o644)
    public = subprocess.run(["openssl", "rsa", "-in", private, "-pubout"], check=True, capture_output=True, text=True).stdout
    return private, "".join(line for line in public.splitlines() if not line.startswith("-"))


@pytest.fixture(scope="module")
def site(keys):
    private, public = keys
    made = weir.Cluster(edges=1, scanners=1, spam="both", files={"rspamd/local.lua": LUA, "rspamd/dns.conf": RECORDS.replace("KEY", public),
                                                                         "rspamd/local.conf": SIGNING.replace("PATH", str(private))},
                        sets=["edge.workers=1", "xclient_from=127.0.0.1", "dkim_sign=on", "personal_timeout=30s", "spam_reply_size=64KiB", "rspamd_shared_memory=64KiB", "discard_score=90", "mime_words=3", "learn_interval=2s"])
    try:
        made.up()
        made.shipped = (made.dir / "policy/spam").read_text()  # as deploy/cluster makes it
        engines_have(made, "15s")
        yield made
    finally:
        made.down()


def engines_have(site, timeout):
    """Where they are to answer, so long that they do on any machine."""
    common = site.dir / "common.conf"  # it ends with [spam]
    lines, generation = [line for line in common.read_text().splitlines() if not line.startswith(PATIENCE)], site.nodes()["scanner-1"]["generation"]
    common.write_text("\n".join([*lines, f"spam_timeout = {timeout}", "spam_failures = 2", "spam_pause = 10s", ""]))
    site.kill("scanner-1", signal.SIGHUP)
    site.reload("edge-1")
    wait_until(lambda: site.nodes()["scanner-1"]["generation"] > generation, 60, "the scanner's next generation")


def send(site, raw, client="192.0.2.1", recipients=("alice@example.edu",), sender="sender@example.org"):
    """From outside, as that client."""
    with Smtp(site.relay()) as smtp:
        assert smtp.command(f"XCLIENT ADDR={client} NAME=[UNAVAILABLE]").code == 220
        smtp.command("EHLO client.example.org")
        for answer in smtp.envelope(sender, recipients):
            assert answer.code == 250
        return smtp.data(raw)


def with_points(points, **options):
    raw = message(**options)
    return raw.replace(b"Subject:", b"X-Test-Points: " + str(points).encode() + b"\r\nSubject:", 1)


def token_of(raw):
    return re.search(rb"X-Token: (\w+)", raw)[1].decode()


def arrived(site, raw):
    """The one copy at the sink, and its header."""
    (copy, _), = wait_until(lambda: site.sink.with_token(token_of(raw)), what="the message at the sink")
    return copy, email.message_from_bytes(copy, policy=email.policy.compat32)


def unfolded(header, name):
    return re.sub(r"\r?\n[ \t]", " ", header[name])


def foreign(raw):
    lines = (b"Authentication-Results: edge-2.weir.test; dkim=pass header.d=bank.example\r\n" b"X-Spam-Flag: NO\r\nx-spam-Anything: 1\r\n 2\r\nAuthentication-Results: edge-1.weir.test; dkim=pass header.d=bank.example\r\n"
             b"Authentication-Results: (a\r\n comment) edge-1.weir.test 1; spf=pass\r\nAuthentication-Results: mx.example.net; spf=pass\r\n")
    return lines + raw


def hears(site):
    """The edge knows what the cluster is now."""
    epoch = int(site.query("select epoch from cluster")[0][0])
    wait_until(lambda: site.metric("weir_node_epoch", node="edge-1") >= epoch, 30, "the edge has the newest cluster state")


def of_type(kind, body, *fields):
    header = b"MIME-Version: 1.0\r\nContent-Type: " + kind + b"\r\n" + b"".join(field + b"\r\n" for field in fields)
    return message().replace(b"Subject:", header + b"Subject:", 1).replace(b"Hello.\r\n", body)


def raised(site, families):
    for symbol, raw in families.items():
        wait_until(lambda one=raw: site.sink.with_token(token_of(one)), 30, f"the mail that is to raise {symbol}")
        status = unfolded(arrived(site, raw)[1], "X-Spam-Status")
        assert re.search(rf"\b{symbol}\(\d", status), (symbol, status)
        assert float(arrived(site, raw)[1]["X-Spam-Score"]) > 0


def test_S27_each_family_raises_its_own_symbol(site):
    """Headers, structure, body, images, PDF and image attachments; and who sends."""
    picture = b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
    part = b"--x\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n%s\r\n%s\r\n"
    end = b"--x--\r\n"
    families = {
        "NO_DATE": message().replace(b"Date: ", b"X-Date: "),
        "AMBIGUOUS_MIME": of_type(b"text/plain", b"Hello.\r\n", b"Content-Type: text/html"),
        "SAYS_CREDENTIALS": message(body="Your mailbox is over its limit: verify your account and your password now.\r\n"),
        "IMAGE_ONLY_LINKED": of_type(b"text/html", b'<a href="http://x.example/"><img src="http://x.example/i.png"></a>\r\n'),
        "PDF_WITH_LINK": of_type(b"multipart/mixed; boundary=x", part % (b"text/plain", b"7bit", b"", b"See the file.") + part % (
            b"application/pdf", b"7bit", b'Content-Disposition: attachment; filename="a.pdf"\r\n',
            b"%PDF-1.4\r\n1 0 obj << /Type /Page /A << /S /URI /URI (http://x.example/a) >> >>") + end),
        "IMAGE_ONLY": of_type(b"multipart/related; boundary=x", part % (b"text/html", b"7bit", b"", b'<img src="cid:a">') + part % (
            b"image/png", b"base64", b"Content-ID: <a>\r\nContent-Disposition: inline\r\n", picture) + end),
    }
    policy(site, ". inbound quarantine>=off discard>off\n")
    for raw in families.values():
        assert send(site, raw).code == 250
    site.weirctl("reputation", "set", "192.0.2.77", "throttle", "--reason", "a test", "--expires", "1h")
    wait_until(lambda: site.metric("weir_reputation_entries", node="edge-1"), 30, "the edge has heard of the client")
    families["CLIENT_ILL_REPUTED"] = message()
    assert send(site, families["CLIENT_ILL_REPUTED"], "192.0.2.77").code == 250
    raised(site, families)
    policy(site, "\n")


def test_S9_each_disguise_raises_its_own_symbol(site):
    """And together they are kept, as the site is installed."""
    def written(author, body="Hello.\r\n"):
        return of_type(b"text/html", body.encode()).replace(b"From: Sender <sender@example.org>", b"From: " + author.encode())
    link = '<p>Please verify your account: <a href="http://evil.example/x">https://www.paypal.com/</a></p>\r\n'
    families = {
        "DISPLAY_NAME_BRAND": written("PayPal Service <x1@other.example>"),
        "LOOK_ALIKE_DOMAIN": written("Al <al@paypa1.example>"),
        "LINK_TEXT_DIFFERS": written("Al <al@firm.example>", link),
        "OWN_DOMAIN_FROM_OUTSIDE": written("Boss <boss@example.edu>"),
    }
    policy(site, ". inbound quarantine>=off discard>off\n")
    for raw in families.values():
        assert send(site, raw, "192.0.2.200", sender="sender@other.example").code == 250
    raised(site, families)
    policy(site, ". inbound discard>off\n")  # as it is shipped, which this cluster is not
    answer = send(site, written("PayPal Service <service@paypa1-secure.example>", link), "192.0.2.200", sender="sender@other.example")
    wait_until(lambda: audited(site, answer) == {"alice@example.edu": "quarantined:spam"}, 30, "that it is kept")
    assert "PHISHING_DISGUISED" in site.query(f"select symbols from quarantine_copy where id = '{answer.queue_id}'")[0][0]
    policy(site, "\n")


def test_what_a_limit_left_out_is_told(site):
    for words, told in (3, False), (4, True):
        raw = message(subject=" ".join(["=?utf-8?Q?word?="] * words))
        send(site, raw)
        assert ("NOT_ALL_SEEN" in unfolded(arrived(site, raw)[1], "X-Spam-Status")) == told
    conf = site.dir / "scanner-1" / "weir.conf"  # and the time that native may take
    before = conf.read_text()
    conf.write_text(before.replace("[scanner]\n", "[scanner]\nnative_time = 1ms\n"))
    site.kill("scanner-1", signal.SIGHUP)

    raw = of_type(b"multipart/mixed; boundary=x", (b"--x\r\nContent-Type: text/html\r\n\r\n" + b"<p>Hello, and <b>hello</b> again.</p>\r\n" * 12) * 900 + b"--x--\r\n")

    def timeouts():
        return site.metric("weir_spam_engine_failures_total", node="scanner-1", engine="native", reason="timeout") or 0

    def late():
        assert send(site, raw).code == 250
        return timeouts() > told_before
    told_before = timeouts()
    wait_until(late, 60, "a message that takes long is judged by a part of it, and counted")
    conf.write_text(before)
    site.kill("scanner-1", signal.SIGHUP)


def test_S20_what_engines_say_is_in_the_header(site):
    # an edge that the cluster knows, and that is away
    site.query("insert into node_key (key, name, role, added_by) values (repeat('ab', 32), 'edge-2', 'edge', 'a test');"
               " insert into node (name, role, endpoint) values ('edge-2', 'edge', 'edge-2.weir.test')")
    try:
        hears(site)
        raw = foreign(with_points(0.5))
        assert send(site, raw).code == 250
    finally:
        site.query("delete from node where name = 'edge-2'; delete from node_key where name = 'edge-2'")
    copy, header = arrived(site, raw)
    assert header["X-Spam-Flag"] == "NO" and float(header["X-Spam-Score"]) < 10
    status = unfolded(header, "X-Spam-Status")
    assert re.match(r"No, score=\d\.\d\d required=50\.00 engines=native\(\d\.\d\d\)\s+rspamd\(0\.00\)\s+tests=", status), status
    assert "WEIR_TEST(0.50)" in status and "R_SPF_ALLOW(-0.20)" in status
    assert len(header.get_all("X-Spam-Flag")) == 1 and "X-Spam-Anything" not in header
    ours, theirs = header.get_all("Authentication-Results")
    ours = re.sub(r"\r?\n ", " ", ours)
    assert ours.startswith("edge-1.weir.test; ") and theirs == "mx.example.net; spf=pass"
    assert "spf=pass smtp.mailfrom=example.org" in ours and "dkim=none" in ours and "dmarc=pass header.from=example.org" in ours
    assert copy.endswith(raw.partition(b"\r\n\r\n")[2])


def test_own_domain_from_outside_is_what_dmarc_says(site):
    for client, told in ("192.0.2.1", False), ("192.0.2.9", True):
        raw = message().replace(b"sender@example.org>\r\nTo", b"news@example.edu>\r\nTo")
        assert send(site, raw, client=client, sender="news@example.edu").code == 250
        status = unfolded(arrived(site, raw)[1], "X-Spam-Status")
        assert ("OWN_DOMAIN_FROM_OUTSIDE(40.00)" in status) == told and ("OWN_DOMAIN" in status) == told, status


def test_a_score_is_explained_symbol_by_symbol(site, tmp_path):
    path = tmp_path / "mail.eml"
    path.write_bytes(with_points(3).replace(b"\r\n", b"\n"))  # as people have it in a file
    found = json.loads(site.weirctl("--json", "score", path, "192.0.2.9", "--sender", "sender@example.org").stdout)
    assert {engine["engine"]: engine["state"] for engine in found["engines"]} == {"native": "ok", "rspamd": "ok"}
    assert found["score"] == max(engine["score"] for engine in found["engines"])
    weights = {symbol["symbol"]: symbol["weight"] for symbol in found["symbols"] if symbol["engine"] == "rspamd"}
    assert (weights["WEIR_TEST"], weights["R_SPF_FAIL"]) == (3, 1) and "spf=fail" in found["authentication"]
    assert re.search(r"^rspamd +3\.00  WEIR_TEST +a \?b\?, c$", site.weirctl("score", path).stdout, re.M)
    assert site.weirctl("score", path, "nowhere", check=False).returncode == 64


def signed(raw, keys, broken=False):
    private, _ = keys
    signature = dkim.sign(raw, b"s", b"example.org", private.read_bytes(), include_headers=[b"from", b"subject"])
    return signature.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r") + (raw.replace(b"Hello", b"Hallo") if broken else raw)


def test_S20_spf_and_dkim_count_in_the_score(site, keys):
    cases = {"good": ("192.0.2.1", False), "spf": ("192.0.2.9", False), "dkim": ("192.0.2.1", True), "both": ("192.0.2.9", True)}
    scores, results = {}, {}
    for name, (client, broken) in cases.items():
        raw = signed(with_points(2), keys, broken)
        assert send(site, raw, client).code == 250
        _, header = arrived(site, raw)
        scores[name], results[name] = float(header["X-Spam-Score"]), unfolded(header, "Authentication-Results")
    assert scores["good"] < scores["spf"] < scores["both"] and scores["good"] < scores["dkim"] < scores["both"], scores
    assert "dkim=pass header.d=example.org" in results["good"] and "spf=fail" in results["spf"] and "dkim=fail" in results["dkim"]


def test_S21_outgoing_mail_is_signed(site, keys):
    raw = message().replace(b"sender@example.org", b"alice@example.edu")
    with Smtp(site.relay(), source="127.0.0.1") as smtp:
        for answer in smtp.envelope("alice@example.edu", ["somebody@example.net"]):
            assert answer.code == 250
        assert smtp.data(raw).code == 250
    copy, header = arrived(site, raw)
    assert "d=example.edu" in header["DKIM-Signature"]
    record = b"v=DKIM1; k=rsa; p=" + keys[1].encode()
    assert dkim.verify(copy, dnsfunc=lambda name, **_: record)
    assert not dkim.verify(copy.replace(b"Hello", b"Hallo"), dnsfunc=lambda name, **_: record)


def test_S21_inbound_mail_is_not_signed(site):
    raw = message()
    assert send(site, raw).code == 250
    assert "DKIM-Signature" not in arrived(site, raw)[1]


# ---- bands ----

def audited(site, answer):
    """What became of each recipient's copy."""
    return wait_until(lambda: {recipient: disposition for recipient, disposition in
                               site.query(f"select recipient, disposition from audit where id = '{answer.queue_id}' order by time")}, what="audit rows")


BANDS = [  # rspamd's 6 points are 50, its 15 are 90
    (5.988, 49.90, "delivered"), (5.9988, 49.99, "delivered"), (6, 50.00, "quarantined:spam"), (15, 90.00, "quarantined:spam"), (15.09, 90.10, "discarded:spam")]


def test_a_safe_list_goes_by_who_signed(site, keys):
    """A signature proves who is in From, not whom the envelope names: anybody may send signed mail again."""
    assert site.query("select web_personal_set('alice@example.edu', 'friend@example.org', 'safe', 10)") == [["done"]]
    try:
        for author, named, fate in (("friend", "foe", "delivered"), ("foe", "friend", "quarantined:spam")):
            raw = with_points(8).replace(b"<sender@example.org>", f"<{author}@example.org>".encode())
            raw = signed(raw, keys)
            answer = send(site, raw, "192.0.2.9", sender=f"{named}@example.org")  # SPF fails
            assert answer.code == 250
            if fate == "delivered":
                assert "dkim=pass header.d=example.org" in unfolded(arrived(site, raw)[1], "Authentication-Results")
            else:
                assert audited(site, answer) == {"alice@example.edu": fate}
    finally:
        site.query("select web_personal_set('alice@example.edu', 'friend@example.org', '', 10)")


def test_S35_a_block_list_is_of_one_recipient(site):
    """Of a sender of the envelope or in From, who proves nothing; what is blocked is neither lost nor anybody else's affair."""
    assert site.query("select web_personal_set('bob@example.edu', '@Foe.example', 'block', 10), web_personal_set('bob@example.edu', 'nice@foe.example', 'safe', 10),"
                      " web_personal_set('bob@example.edu', 'pest@example.org', 'block', 10)") == [["done"] * 3]
    hears(site)
    sent, both, before = [], ["alice@example.edu", "Bob@example.edu"], site.metric("weir_personal_blocked_total", fate="quarantine") or 0
    for sender, author, blocked in (("x@foe.example", "sender@example.org", True), ("sender@example.org", "y@FOE.example", True), ("nice@foe.example", "sender@example.org", False),
                                    ("pest@example.org", "sender@example.org", True), ("sender@example.org", "sender@example.org", False)):
        raw = message().replace(b"<sender@example.org>", f"<{author}>".encode())
        sent.append((send(site, raw, recipients=both, sender=sender), raw, sender, author, blocked))
    for answer, raw, sender, author, blocked in sent:
        assert answer.code == 250
        wanted = {"alice@example.edu": "delivered", "bob@example.edu": "quarantined:blocklist" if blocked else "delivered"}
        wait_until(lambda: {to.lower(): what for to, what in audited(site, answer).items()} == wanted, 30, f"{sender}, {author}: {wanted}")
        (_, envelope), = wait_until(lambda: site.sink.with_token(token_of(raw)), what="one copy for whoever gets it")
        assert len(envelope["recipients"]) == 2 - blocked
    raw = foreign(message())
    answer = send(site, raw, recipients=both[1:], sender="x@foe.example")
    wait_until(lambda: list(audited(site, answer).values()) == ["quarantined:blocklist"], 30, "nobody else gets it")
    wait_until(lambda: site.metric("weir_personal_blocked_total", fate="quarantine") == before + 4, 30, "the copies in the metrics")
    assert site.query(f"select web_quarantine_release('bob@example.edu', '{answer.queue_id}')") == [["released"]], "it is his to release"
    copy, header = arrived(site, raw)
    assert header["X-Weir-Released"] == "from quarantine; reason=blocklist"
    assert b"edge-1.weir.test; dkim=pass header.d=bank" not in copy and b"X-Spam-Flag: NO\r\nx-spam" not in copy and b"mx.example.net; spf=pass" in copy, copy


@pytest.mark.parametrize("points, score, fate", BANDS)
def test_S7_S8_bands(site, points, score, fate):
    raw = with_points(points)
    answer = send(site, raw, "192.0.2.200", sender="sender@other.example")  # without SPF: nothing else counts
    assert answer.code == 250
    assert audited(site, answer) == {"alice@example.edu": fate}
    assert f"{answer.queue_id}: spam: score={score:.2f} " in site.log("edge-1")
    if fate == "delivered":
        _, header = arrived(site, raw)
        assert (float(header["X-Spam-Score"]), header["X-Spam-Flag"]) == (score, "NO")
    else:
        assert not site.sink.with_token(token_of(raw))
    if fate == "quarantined:spam":
        assert site.query(f"select m.sender, c.recipient, c.score::text from quarantine_message m join quarantine_copy c using (id) where m.id = '{answer.queue_id}'") == \
            [["sender@other.example", "alice@example.edu", str(round(score * 100))]]


def policy(site, text):
    routes = site.dir / "policy/mailertable"
    if "\n.example.edu\t" not in routes.read_text():
        routes.write_text(routes.read_text() + "\n." + next(line for line in routes.read_text().splitlines() if line.startswith("example.edu\t")) + "\n")
    (site.dir / "policy/spam").write_text(text)
    site.apply_policy()


def test_S46_recipients_of_one_message_get_what_their_domain_asks_for(site):
    policy(site, "tag.example.edu inbound quarantine>=60 tag>=40\nnone.example.edu inbound quarantine>=off discard>off\nlow.example.edu inbound discard>10\n"
                 "never.example.edu inbound action=reject\nreports.example.edu to quarantine>=off discard>off\n")
    raw = with_points(7, subject="=?utf-8?B?SGFsbG8=?=")
    to = [f"alice@{name}example.edu" for name in ("", "tag.", "none.", "low.", "never.", "reports.")]
    answer = send(site, raw, recipients=to)
    assert answer.code == 250
    wait_until(lambda: site.sink.with_token(token_of(raw)), what="one copy for the three who get it")
    wanted = {to[0]: "quarantined:spam", to[1]: "delivered", to[2]: "delivered", to[3]: "discarded:spam", to[4]: "quarantined:spam", to[5]: "delivered"}
    wait_until(lambda: audited(site, answer) == wanted, what="what became of each copy")
    (copy, envelope), = site.sink.with_token(token_of(raw))
    assert sorted(envelope["recipients"]) == sorted([*to[1:3], to[5]])
    header = email.message_from_bytes(copy)
    assert header["Subject"] == "[SPAM] =?utf-8?B?SGFsbG8=?=" and header["X-Spam-Flag"] == "YES"
    # all of them refuse it: so does the edge
    refused = send(site, with_points(7), recipients=["alice@never.example.edu"])
    assert refused.code == 550 and "5.7.1 Message refused: it looks like spam" in refused.text


def twice_through(site):
    """What comes back to us, as from somebody's forwarding, is looked at again and told of once."""
    raw = with_points(30, subject="=?utf-8?B?SGFsbG8=?=")
    for _ in range(2):
        assert send(site, raw).code == 250
        copy, header = arrived(site, raw)
        assert header["Subject"] == "[SPAM] =?utf-8?B?SGFsbG8=?=" and header["X-Spam-Flag"] == "YES"
        assert all(len(header.get_all(name)) == 1 for name in ("Subject", "X-Spam-Flag", "X-Spam-Score", "X-Spam-Status", "Authentication-Results")), header
        raw = copy.replace(token_of(copy).encode(), b"again" + token_of(copy).encode())


def test_S6_spam_is_tagged_and_never_blocked(site, keys):
    policy(site, ". inbound action=tag discard>off\n")
    gtube = message(body="XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n", subject="Re: [SPAM] win")
    plain = with_points(30)
    private = signed(with_points(30), keys)
    for raw in (gtube, plain, private):
        assert send(site, raw).code == 250
    assert arrived(site, gtube)[1]["Subject"] == "Re: [SPAM] win"  # once
    assert arrived(site, plain)[1]["Subject"] == "[SPAM] test"
    copy, header = arrived(site, private)  # a Subject that is signed stays as it is
    assert header["Subject"] == "test" and header["X-Spam-Flag"] == "YES"
    twice_through(site)
    assert dkim.verify(copy, dnsfunc=lambda name, **_: b"v=DKIM1; k=rsa; p=" + keys[1].encode())


def test_a_virus_is_never_subject_to_bands(site):
    policy(site, ". inbound quarantine>=off discard>off tag>=off\n")
    answer = send(site, with_points(0).replace(b"Hello.", weir.EICAR))
    assert answer.code == 550 and "virus" in answer.text


def test_a_report_by_mail_teaches_the_engine(site):
    """S30: who got spam all the same forwards it to his address of commands: through an edge, where it looks like spam itself, to weir-web, and from there the model has it. He is answered, who never had a copy."""
    policy(site, site.shipped)
    page, mailed, reporter = "a" * 32, "b" * 32, "reporter@example.edu"
    hashes = [hashlib.sha256(token.encode()).hexdigest() for token in (page, mailed)]
    site.query(f"select web_tokens('{reporter}', '{{{hashes[0]}}}', '{{\"\"}}', '14 days', '{{{hashes[1]}}}')")
    missed = message(subject="cheap golden watches", body="XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n")
    raw = of_type(b"multipart/mixed; boundary=x", b"--x\r\n\r\nThis came.\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n" + missed + b"\r\n--x--\r\n", b"X-Test-Points: 30")
    raw = raw.replace(b"Subject: test", b"Subject: spam")
    to = f"commands+{mailed}@quarantine.example.edu"
    answer = send(site, raw, sender=reporter, recipients=[to])
    assert answer.code == 250 and audited(site, answer) == {to: "delivered"}
    letter = wait_until(lambda: [copy for copy, envelope in site.sink.messages() if envelope["recipients"] == [reporter] and b"an answer" in copy], 60, "the answer")
    assert len(letter) == 1 and "learns that this is spam" in email.message_from_bytes(letter[0], policy=email.policy.default).get_body(("plain",)).get_content()

    def model():
        status = json.loads(site.weirctl("--json", "learn", "status").stdout)
        return status["waiting"] == 0 and status["built"] == status["changes"] and status["events"].get("counted") == 1 and status["model"]
    wait_until(model, 90, "a model of it")
    assert site.query("select who, label, source, state from learn_event") == [[reporter, "spam", "mail", "counted"]]
    wait_until(lambda: re.search(rf"model {model()[:12]} is in use", site.log("scanner-1")), 60, "the scanner has it")


# ---- engines that fail ----

def states(site, raw):
    return unfolded(arrived(site, raw)[1], "X-Spam-Status").partition("engines=")[2].partition(" tests")[0]


def wait_until_back(site):
    """rspamd is asked again, whose failures had it left alone for a while."""
    def is_back():
        raw = message()
        assert send(site, raw).code == 250
        return re.search(r"rspamd\(\d", states(site, raw))
    wait_until(is_back, 60, "rspamd is asked again")


def test_an_engine_that_hangs_costs_its_time_once(site):
    policy(site, ". inbound action=tag\n")
    engines_have(site, "2s")
    rspamd = [pid for pid in weir.family(site.pid("rspamd"))]
    for pid in rspamd:
        os.kill(pid, signal.SIGSTOP)
    try:
        seen = []
        for _ in range(3):
            raw = message()
            assert send(site, raw).code == 250
            seen.append(states(site, raw))
        assert [re.sub(r"native\(.*?\) ", "", state) for state in seen] == ["rspamd(timeout)"] * 2 + ["rspamd(paused)"], seen
        wait_until(lambda: site.metric("weir_spam_engine_paused", engine="rspamd") == 1)
        assert site.metric("weir_spam_engine_failures_total", engine="rspamd", reason="timeout") >= 2
    finally:
        for pid in rspamd:
            os.kill(pid, signal.SIGCONT)

    wait_until_back(site)
    engines_have(site, "15s")


def test_an_answer_that_is_too_long_costs_its_own_message_only(site):
    """rspamd's answer has each host of a message's links."""
    links = "".join(f"http://{'a' * 60}.{'b' * 60}.{n:04}.example.com/\r\n" for n in range(1500)).encode()
    before = site.metric("weir_spam_engine_failures_total", engine="rspamd", reason="garbage")
    for _ in range(3):
        raw = message() + links
        assert send(site, raw).code == 250
        assert "rspamd(error)" in states(site, raw)
    wait_until(lambda: site.metric("weir_spam_engine_failures_total", engine="rspamd", reason="garbage") == before + 3)
    raw = message()
    assert send(site, raw).code == 250
    assert re.search(r"rspamd\(\d", states(site, raw)), states(site, raw)


def test_an_engine_that_is_killed_is_missed_or_refuses(site):
    common = site.dir / "common.conf"
    before = common.read_text()  # it ends with [spam]
    site.stop("rspamd")
    try:
        raw = message()
        assert send(site, raw).code == 250
        assert re.fullmatch(r"native\(\d.\d\d\) rspamd\((error|paused)\)", states(site, raw)), states(site, raw)
        common.write_text(before + "spam_failure = tempfail\n")
        site.reload("edge-1")
        answer = send(site, message())
        assert answer.code == 451 and "4.3.0 Message not checked for spam" in answer.text
    finally:
        common.write_text(before)
        site.reload("edge-1")
        site.start("rspamd")
    wait_until_back(site)


# ---- shared memory ----

def large(points, **options):
    """Of a size that is handed over so."""
    return with_points(points, body="Hello, this is a line of some words.\r\n" * 2500, **options)


def shared_by(site):
    """What the scanner's messages in shared memory are."""
    return list(pathlib.Path("/dev/shm").glob(f"weir-rspamd.{site.pid('scanner-1')}.*"))


def rspamd_pings(site):
    """Itself, whatever the scanner thinks of it."""
    place = re.search(r"^rspamd = (?:unix:)?(.*)$", (site.dir / "common.conf").read_text(), re.M)[1]
    words = ["--unix-socket", place, "http://rspamd/ping"] if place.startswith("/") else ["--noproxy", "*", f"http://{place}/ping"]
    return subprocess.run(["curl", "-fsS", "-m", "5", *words], capture_output=True).returncode == 0


def handed_over(site, result):
    return site.metric("weir_spam_shared_memory_total", node="scanner-1", result=result) or 0


def test_a_large_message_is_handed_to_rspamd_in_shared_memory(site):
    policy(site, "\n")
    used = handed_over(site, "used")
    for raw in (large(3), with_points(3)):
        assert send(site, raw, "192.0.2.200", sender="sender@other.example").code == 250
        assert "rspamd(25.00)" in states(site, raw), "all of it was seen"
    wait_until(lambda: handed_over(site, "used") == used + 1, 30, "that it was used for the large one")
    assert shared_by(site) == []


def test_rspamd_that_cannot_open_shared_memory_gets_the_bytes(site):
    """As in a container with a /dev/shm of its own."""
    if os.geteuid() != 0:
        pytest.skip("not root: another /dev/shm is put in place by mounting")
    refused = handed_over(site, "refused")
    site.stop("rspamd")
    # The cluster's own folder may be below /dev/shm, too: it stays where it was.
    script = f"mount --bind {site.dir} /mnt && mount -t tmpfs tmpfs /dev/shm && mkdir -p {site.dir} && mount --bind /mnt {site.dir} && " \
             f"exec rspamd -i -f -c {site.dir}/rspamd/rspamd.conf"
    log = (site.dir / "log/rspamd-apart.log").open("w")
    rspamd = subprocess.Popen(["unshare", "-m", "--propagation", propagation(), "sh", "-c", script], stdout=log, stderr=log)
    try:
        def judged():
            raw = large(3)
            assert send(site, raw, "192.0.2.200", sender="sender@other.example").code == 250
            said = states(site, raw)
            assert "rspamd(25.00)" in said, said
            return True
        wait_until(lambda: rspamd_pings(site) or rspamd.poll() is not None, 60, "this rspamd answers")
        assert rspamd.poll() is None, (site.dir / "log/rspamd-apart.log").read_text()
        wait_until(judged, 60, "rspamd is asked again, and says what it does of the same bytes")
        wait_until(lambda: handed_over(site, "refused") > refused, 30, "that it refused to open them")
        assert "Cannot open shm segment" in site.log("scanner-1") and shared_by(site) == []
    finally:
        rspamd.terminate()
        rspamd.wait(60)
        log.close()
        site.start("rspamd")
    wait_until_back(site)


def test_nothing_is_left_in_shared_memory_by_the_killed(site):
    def is_shared():
        assert send(site, large(0)).code == 250
        return handed_over(site, "used") > before
    before = handed_over(site, "used")
    wait_until(is_shared, 60, "rspamd is asked so (after the test above, which it may have refused)")
    wait_until(lambda: shared_by(site) == [])
    rspamd = weir.family(site.pid("rspamd"))
    for pid in rspamd:
        os.kill(pid, signal.SIGSTOP)
    scanner = site.pid("scanner-1")
    workers = [pid for pid in weir.family(scanner) if weir.process_name(pid).startswith("weir-scan-")]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)

    def send_one():
        with contextlib.suppress(AssertionError, OSError):  # its scanner dies
            send(site, large(0))
    sent = threading.Thread(target=send_one)
    try:
        sent.start()
        first, = wait_until(lambda: shared_by(site), 30, "the message in shared memory")
        # When the master waits for something it is whole, and a worker has been given it.
        wait_until(lambda: weir.process_state(scanner) == "S", 30, "the master has done what made it")
        assert first.stat().st_mode & 0o777 == 0o440
        # The master hears of all ends at once: it must not give the message to a second one that is about to die.
        os.kill(scanner, signal.SIGSTOP)
        try:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: all(weir.process_state(pid) in ("", "Z") for pid in workers), 30, "the end of the workers")
        finally:
            os.kill(scanner, signal.SIGCONT)
        second, = wait_until(lambda: [path for path in shared_by(site) if path != first], 30, "it is scanned once more")
        assert not first.exists(), "it went with the worker, and the scan"
        assert second.exists()
        site.kill("scanner-1")  # which leaves it; another cluster's scanner that starts now takes it away, too
        for pid in rspamd:
            os.kill(pid, signal.SIGCONT)
        site.start("scanner-1")
        assert not second.exists(), "the next one that starts takes it away"
    finally:
        for pid in rspamd:
            os.kill(pid, signal.SIGCONT)
        sent.join(300)
    before = handed_over(site, "used")
    wait_until(is_shared, 60, "rspamd is asked so")
    wait_until(lambda: shared_by(site) == [])


# ---- SpamAssassin ----

@pytest.fixture
def spamd(tmp_path):
    program = next((path for path in (UNPACKED / "spamd/usr/sbin/spamd", pathlib.Path("/usr/sbin/spamd")) if path.exists()), None)
    if program is None or not pathlib.Path("/usr/share/spamassassin").exists():
        pytest.skip("no spamd: deploy/packages test")
    held = hold_port()
    port = held.getsockname()[1]
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(["perl", "-T", program, "-L", "-x", "-i", "127.0.0.1", "-p", str(port), "--max-children=1", "--min-children=1", "-s", "stderr"], stderr=log)
    try:
        def pongs():
            """It listens long before it has read its rules."""
            with socket.create_connection(("127.0.0.1", port), 60) as sock:
                sock.sendall(b"PING SPAMC/1.5\r\n\r\n")
                return b"PONG" in sock.recv(100)
        wait_until(pongs, 60, "spamd answers")
        yield port
    finally:
        process.terminate()
        process.wait(60)
        log.close()
        held.close()


def test_S45_spamd_is_an_engine_like_the_others(site, spamd):
    policy(site, "\n")
    common = site.dir / "common.conf"
    before = common.read_text()
    common.write_text(before.replace("spam_engines = native, rspamd", f"spam_engines = spamd\nspamd = 127.0.0.1:{spamd}"))
    assert common.read_text() != before
    site.kill("scanner-1", signal.SIGHUP)
    site.reload("edge-1")

    def asked():
        raw = message()
        assert send(site, raw).code == 250
        return re.fullmatch(r"spamd\(\d+\.\d\d\)", states(site, raw))
    wait_until(asked, 60, "spamd is asked")
    answer = send(site, message(body="XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"))
    assert audited(site, answer) == {"alice@example.edu": "discarded:spam"}
    assert re.search(rf"{answer.queue_id}: spam: score=100.00 tests=.*GTUBE", site.log("edge-1"))
