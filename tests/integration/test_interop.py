"""Other people's programs, unmodified, on both sides: Postfix as null client and as next hop, its smtp-sink that misbehaves, Exim,
OpenSMTPD, sendmail, msmtp, s-nail."""
import os
import re
import shutil
import subprocess

import pytest

from borrowed import Exim, OpenSmtpd, Sendmail
from postfix import NOBODY, Postfix, need, smtp_sink
from weir import EICAR, Smtp, free_base_port, message, strip_added, wait_until


def has(program):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")


# ---- moving from Postfix (README.md) ----

def test_S73_postfix_as_null_client(make_cluster):
    """relayhost = an edge: mail is handed over under TLS, refusals come back as Postfix's bounces, and what waits while no edge is there goes later."""
    need()
    cluster = make_cluster(edges=1, scanners=1)
    host, port = cluster.relay().rsplit(":", 1)
    with Postfix(relayhost=f"[{host}]:{port}", smtp_tls_security_level="encrypt", smtp_tls_CAfile=cluster.env["CA_FILE"], smtp_tls_loglevel="1",
                 bounce_size_limit="1") as postfix:  # bounces return the header only: with the virus in it this one would be refused, too
        postfix.sendmail("-f", "app@example.org", "alice@example.edu", "bob@example.edu", text=b"To: alice@example.edu\nSubject: token-null-client\n\n.\nhi\n")
        (raw, envelope), = wait_until(lambda: cluster.sink.with_token("token-null-client"), 20, "the message")
        assert sorted(envelope["recipients"]) == ["alice@example.edu", "bob@example.edu"] and envelope["sender"] == "app@example.org"
        (status, words), = wait_until(lambda: postfix.ended("alice@example.edu"), what="Postfix's log")
        assert status == "sent" and re.search(r"250 2\.0\.0 .*\b[0-9A-HJKMNP-TV-Z]{20}\b", words), words
        assert "TLS connection established to" in postfix.log()
        postfix.sendmail("-f", "app@example.org", "carol@example.edu", text=b"Subject: token-virus\n\n" + EICAR + b"\n")
        (status, words), = wait_until(lambda: postfix.ended("carol@example.edu"), 20, "the refusal")
        assert status == "bounced" and "550 5.7.1" in words, words
        assert wait_until(lambda: cluster.sink.with_token("Undelivered Mail Returned to Sender"), 20, "Postfix's bounce, relayed")
        cluster.stop("edge-1")
        postfix.sendmail("-f", "app@example.org", "dave@example.edu", text=b"Subject: token-later\n\nx\n")
        wait_until(lambda: postfix.status("dave@example.edu") and postfix.status("dave@example.edu")[0][0] == "deferred", 20, "a deferral")
        cluster.start("edge-1")
        wait_until(lambda: cluster.sink.with_token("token-later"), 60, "the second try")


def test_S73_postfix_as_next_hop(make_cluster):
    """Its answers are the client's answers, and what it gets is what was sent."""
    need()
    boxes = {"virtual_mailbox_domains": "example.edu", "virtual_mailbox_maps": "inline:{{alice@example.edu=alice/} {bob@example.edu=bob/}}",
             "virtual_uid_maps": f"static:{NOBODY}", "virtual_gid_maps": f"static:{NOBODY}", "message_size_limit": "200000"}
    with Postfix(listens=True, **boxes) as postfix:
        cluster = make_cluster(edges=1, scanners=1, next_hop=f"127.0.0.1:{postfix.port}")
        raw = message("Gr\u00fc\u00dfe\r\n.\r\n..\r\n" + "x" * 900 + "\r\n")
        with Smtp(cluster.relay()) as client:
            answers = client.envelope(recipients=["alice@example.edu", "nobody@example.edu", "bob@example.edu"])
            assert [answer.code for answer in answers] == [250, 550, 250] and "User unknown" in answers[1].text
            answer = client.data(raw)
            assert answer.code == 250
        for name in ("alice", "bob"):
            kept, = wait_until(lambda: postfix.mail(name), 20, f"{name}'s mail")
            head, rest = kept.split(b"X-Virus-Scanned", 1)
            assert b"Delivered-To: " + name.encode() in head and b"id " + answer.queue_id.encode() in rest
            assert strip_added(b"X-Virus-Scanned" + rest.replace(b"\n", b"\r\n")) == raw
        answer = cluster.send(message(size=300000))
        assert answer.code == 552 and answer.text.startswith("5.3.4")
        postfix.command("stop")
        assert cluster.send(message()).code // 100 == 4
        wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, what="conservation")


# ---- Exim, OpenSMTPD ----

@pytest.mark.parametrize("server", [Exim, OpenSmtpd, Sendmail], ids=lambda server: server.__name__)
def test_S73_other_servers_as_clients(make_cluster, server):
    """A department's server sends everything through an edge: mail arrives, a virus comes back to its sender, mail waits while no edge is there."""
    cluster = make_cluster(edges=1, scanners=1)
    with server(relay=cluster.relay()) as other:
        def give(token, *lines, recipient="someone@example.com"):
            with Smtp(f"127.0.0.1:{other.port}") as client:
                assert [answer.code for answer in client.envelope("app@example.org", [recipient])] == [250]
                assert client.data(message("\r\n".join(lines) + "\r\n", token=token)).code == 250

        give("other-clean", ".", "a line", "Gr\u00fc\u00dfe", "x" * 900)
        (raw, envelope), = wait_until(lambda: cluster.sink.with_token("X-Token: other-clean"), 30, "the message")
        assert (envelope["sender"], envelope["recipients"]) == ("app@example.org", ["someone@example.com"])
        assert b"\r\n.\r\na line\r\nGr\xc3\xbc\xc3\x9fe\r\n" + b"x" * 900 + b"\r\n" in raw and b"with ESMTPS" in raw.split(b"id ")[0]
        give("other-virus", EICAR.decode())
        wait_until(lambda: "virus Eicar" in cluster.log("edge-1"), 20, "the refusal")
        assert not any(b"EICAR-STANDARD" in raw for raw, _ in cluster.sink.messages()), "neither the virus nor a bounce with it"
        cluster.stop("edge-1")
        give("other-later", "later")
        cluster.start("edge-1")

        def tried_again():
            other.hurry()
            return cluster.sink.with_token("X-Token: other-later")
        wait_until(tried_again, 60, "the second try")


@pytest.mark.parametrize("server", [Exim, OpenSmtpd], ids=lambda server: server.__name__)
def test_other_servers_as_next_hops(make_cluster, server):
    """Directly and by way of the spool: their answers are the client's, or the report's; what they keep is what was sent. They are hurried: where their
    own delivery to a folder failed for a moment they would wait minutes."""
    with server() as other:
        cluster = make_cluster(edges=1, scanners=1, next_hop=f"127.0.0.1:{other.port}")
        raw = message("Gr\u00fc\u00dfe\r\n.\r\n..\r\n" + "x" * 900 + "\r\n", token="other-hop")
        with Smtp(cluster.relay()) as client:
            answers = client.envelope(recipients=["alice@example.edu", "nobody@example.edu", "bob@example.edu"])
            assert [answer.code // 100 for answer in answers] == [2, 5, 2], answers  # OpenSMTPD says 524
            answer = client.data(raw)
            assert answer.code == 250, answer
        for name in ("alice", "bob"):
            kept, = wait_until(lambda: other.mail(name) or other.hurry(), 20, f"{name}'s mail")
            rest = kept[kept.index(b"X-Virus-Scanned"):]
            assert b"id " + answer.queue_id.encode() in rest and strip_added(rest.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) == raw
        with Smtp(cluster.env["EDGE_1_HANDOFF"]) as device:
            assert [answer.code for answer in device.envelope("alice@example.edu", ["bob@example.edu", "nobody@example.edu"])] == [250, 250]
            assert device.data(message(token="other-spool")).code == 250
        wait_until(lambda: any(b"other-spool" in kept for kept in other.mail("bob")) or other.hurry(), 20, "the spooled mail")
        wait_until(lambda: any(b"Undelivered Mail Returned to Sender" in kept and b"nobody@example.edu" in kept for kept in other.mail("alice")) or other.hurry(),
                   20, "the report")
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, what="conservation")


def test_S73_stock_sendmail_hands_in(make_cluster):
    """`sendmail -t` on a machine whose smart host is a handoff listener; what is refused comes back to the machine's user, by way of the same edge."""
    cluster = make_cluster(edges=1, scanners=1)
    with Sendmail(relay=cluster.env["EDGE_1_HANDOFF"]) as machine:
        machine.sendmail("-i", "-t", "-f", "root@app.example.edu", text=b"To: alice@example.edu, bob@example.edu\nBcc: carol@example.com\n"
                         b"Subject: token-cron\n\n.\nfrom the machine\n")
        (raw, envelope), = wait_until(lambda: cluster.sink.with_token("token-cron"), 60, "the message")
        assert sorted(envelope["recipients"]) == ["alice@example.edu", "bob@example.edu", "carol@example.com"]
        assert envelope["sender"] == "root@app.example.edu" and b"\r\n.\r\nfrom the machine\r\n" in raw and b"carol" not in raw
        assert raw.count(b"\r\nMessage-I") == raw.count(b"\r\nDate: ") == 1
        machine.sendmail("-i", "-R", "hdrs", "-f", "root@app.example.edu", "dave@example.edu", text=b"Subject: token-virus\n\n" + EICAR + b"\n")
        wait_until(lambda: "Eicar" in cluster.log("edge-1"), 60, "the scan")
        report, = wait_until(lambda: [raw for raw, envelope in cluster.sink.messages() if envelope["recipients"] == ["root@app.example.edu"]], 60, "the bounce")
        assert b"550 5.7.1" in report and EICAR not in report
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 30, "conservation")


# ---- smtp-sink ----

MODES = {  # what the client hears to RCPT, and to its message
    "": (2, 2), "-e": (2, 2), "-p": (2, 2), "-8": (2, 2), "-E": (2, 2), "-P": (2, 2), "-N": (2, 2), "-f EHLO": (2, 2), "-q CONNECT": (4, 0),
    "-q EHLO": (4, 0), "-q MAIL": (4, 0), "-q RCPT": (4, 0), "-q DATA": (2, 4), "-q .": (2, 4), "-Q CONNECT": (4, 0), "-Q MAIL": (4, 0),
    "-Q RCPT": (4, 0), "-Q DATA": (2, 4), "-Q .": (2, 4), "-r CONNECT": (4, 0), "-r MAIL": (4, 0), "-r RCPT": (4, 0), "-r DATA": (2, 4), "-r .": (2, 4),
    "-f CONNECT": (4, 0), "-f EHLO,HELO": (4, 0), "-f MAIL": (5, 0), "-f RCPT": (5, 0), "-f DATA": (2, 5), "-f .": (2, 5), "-A 0": (2, 5),
}


def test_smtp_sink_in_every_mood(make_cluster):
    """A host that refuses us refuses nobody's mail; one that goes away in the middle has not taken it; nothing is lost count of."""
    block = free_base_port()  # nobody else's as long as it is held, also between one server and the next
    port = block + 7
    cluster = make_cluster(edges=1, scanners=1, next_hop=f"127.0.0.1:{port}", sets=["next_hop_down=0", "next_hop_tls=none"])
    wrong = {}
    for mode, wanted in MODES.items():
        with smtp_sink(port, *mode.split()):
            with Smtp(cluster.relay()) as client:
                asked, = client.envelope()
                answer = client.data(message(size=100000)) if asked.code == 250 else None
                heard = (asked.code // 100, answer.code // 100 if answer else 0)
                if heard != wanted:
                    wrong[mode] = (heard, asked, answer)
                assert client.command("NOOP").code == 250
    assert not wrong
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, what="conservation")


# ---- clients ----

def test_msmtp(cluster, tmp_path):
    has("msmtp")
    host, port = cluster.relay().rsplit(":", 1)
    done = subprocess.run(["msmtp", f"--host={host}", f"--port={port}", "--tls=on", f"--tls-trust-file={cluster.env['CA_FILE']}", "--tls-starttls=on",
                           "--from=ms@example.org", "-t"], input=b"To: alice@example.edu\nBcc: bob@example.edu\nSubject: token-msmtp\n\n.\nx\n",
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (raw, envelope), = wait_until(lambda: cluster.sink.with_token("token-msmtp"), what="the message")
    assert sorted(envelope["recipients"]) == ["alice@example.edu", "bob@example.edu"] and b"\r\n.\r\nx\r\n" in raw


@pytest.mark.parametrize("scheme, listener, auth", [("smtp", "SUBMISSION", "plain"), ("smtp", "SUBMISSION", "login"), ("smtps", "SUBMISSIONS", "login"),
                                                    ("smtp", "RELAY", "none")])
def test_s_nail_speaks_smtp(cluster, tmp_path, scheme, listener, auth):
    """Its own SMTP, with a password after STARTTLS or under TLS from the first byte; and what it says when the password is wrong."""
    has("s-nail")
    port = cluster.env[f"EDGE_1_{listener}"].rsplit(":", 1)[1]
    token = f"token-snail-{listener}-{auth}"

    def mail(password, subject):
        login = "" if auth == "none" else f"alice%40example.edu:{password}@"
        words = [f"mta={scheme}://{login}localhost:{port}", f"smtp-auth={auth}", f"tls-ca-file={cluster.env['CA_FILE']}", "tls-ca-no-defaults", "tls-verify=strict",
                 "from=alice@example.edu", "sendwait", "v15-compat", f"folder={tmp_path}", "nosave"] + ["smtp-use-starttls"] * (scheme == "smtp")
        return subprocess.run(["s-nail", "-:/", *(f"-S{word}" for word in words), "-s", subject, "-b", "hidden@example.com", "bob@example.edu"],
                              input="Gr\u00fc\u00dfe\n.\nend\n".encode(), capture_output=True, timeout=120, env={**os.environ, "HOME": str(tmp_path)})

    done = mail("wonderland", token)
    assert done.returncode == 0, done.stderr
    (raw, envelope), = wait_until(lambda: cluster.sink.with_token(token), 30, "the message")
    assert envelope["sender"] == "alice@example.edu" and sorted(envelope["recipients"]) == ["bob@example.edu", "hidden@example.com"]
    header, body = raw.split(b"\r\n\r\n", 1)
    assert b"hidden" not in header and body.endswith(b"\r\nend\r\n")
    assert b"TLSv1.3" in header and (b"with ESMTPSA" in header) == (auth != "none")
    if auth != "none":
        done = mail("looking-glass", token + "-wrong")
        assert done.returncode != 0 and b"535" in done.stderr and not cluster.sink.with_token(token + "-wrong"), done
