"""S73: weir-sendmail as programs call it, against real edges."""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading

import pytest

from coordinators import hold_port
from weir import BIN, wait_until

HOST = "app.example.edu"


@pytest.fixture
def conf(cluster, tmp_path):
    """Writes a sendmail.conf; the default one knows every edge of the cluster."""
    def write(hosts=None, **keys):
        path = tmp_path / "sendmail.conf"
        lines = [f"hosts = {hosts or cluster.relays()}", f"hostname = {HOST}", "domain = example.edu"]
        keys = {**keys, "connect_timeout": "60s"}  # a TLS handshake on a busy machine; whoever is not there refuses at once
        path.write_text("\n".join(lines + [f"{key} = {value}" for key, value in keys.items()]) + "\n")
        return path
    return write


def sendmail(path, *words, text=b"", name="sendmail"):
    env = {**os.environ, "WEIR_SENDMAIL_CONF": str(path)}
    return subprocess.run([name, *words], executable=BIN / "weir-sendmail", input=text, capture_output=True, env=env, timeout=120)


def only(cluster, token):
    """The one message with these bytes: (header as it was sent, body, recipients, sender)."""
    found = wait_until(lambda: cluster.sink.with_token(token), what=f"{token} at the sink")
    assert len(found) == 1, [envelope for _, envelope in found]
    raw, envelope = found[0]
    header, body = raw.split(b"\r\n\r\n", 1)
    return header.decode(), body, envelope["recipients"], envelope["sender"]


@contextlib.contextmanager
def answers(*replies):
    """A server that greets, gives these replies to the lines it gets, whatever they are, and after a 354 hears the message and says nothing to
    it; yields its HOST:PORT."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            client, _ = server.accept()
            with client, client.makefile("rwb", buffering=0) as stream:
                stream.write(b"220 fake\r\n")
                for reply in replies:
                    if not stream.readline():
                        break
                    stream.write(reply + b"\r\n")
                if replies[-1].startswith(b"354"):
                    while stream.readline() not in (b".\r\n", b""):
                        continue
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()
        thread.join(30)


@pytest.fixture
def closed_port():
    """Gives a port at which nobody listens, nor can while the test runs."""
    with contextlib.ExitStack() as held:
        yield lambda: "127.0.0.1:%d" % held.enter_context(hold_port()).getsockname()[1]


@pytest.mark.sanitized
def test_S73_cron(cluster, conf):
    """Debian's cron: recipient without a domain, headers of its own, no Date."""
    text = b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@app> token-cron\n\nline\n.\nbehind the dot\n"
    done = sendmail(conf(), "-i", "-FCronDaemon", "-oem", "root", text=text)
    assert (done.returncode, done.stderr) == (0, b"")
    header, body, recipients, _ = only(cluster, "token-cron")
    assert recipients == ["root@example.edu"]
    assert body == b"line\r\n.\r\nbehind the dot\r\n"
    assert re.search(r"^Date: \w{3}, ", header, re.M) and re.search(rf"^Message-ID: <[^<>@\s]+@{HOST}>", header, re.M), header
    assert "From: root (Cron Daemon)\r\nTo: root" in header


def test_S73_php_and_mail(cluster, conf):
    """PHP's "sendmail -t -i": recipients of the header, Bcc is not seen; mail(1)'s: a name and no header but Subject and To."""
    text = (b"To: a@example.edu, \"B, the other\" <b@example.edu>\nCc: list: c@example.edu;\nBcc: secret@example.edu\n"
            b"Subject: token-php\nX-Mailer: PHP\n\nbare LF\nlines\n")
    done = sendmail(conf(), "-t", "-i", "-f", "www@example.org", text=text)
    assert (done.returncode, done.stderr) == (0, b"")
    header, body, recipients, sender = only(cluster, "token-php")
    assert sorted(recipients) == [f"{name}@example.edu" for name in ("a", "b", "c", "secret")]
    assert sender == "www@example.org" and "secret" not in header and "From: <www@example.org>" in header
    assert body == b"bare LF\r\nlines\r\n"
    done = sendmail(conf(), "-F", "J\u00f6rg", "-t", text=b"Subject: token-mail\nTo: a@example.edu\n\nx\n.\nnot any more\n")
    assert (done.returncode, done.stderr) == (0, b"")
    header, body, recipients, sender = only(cluster, "token-mail")
    assert body == b"x\r\n" and sender.endswith("@example.edu") and "From: =?utf-8?B?SsO2cmc=?= <" in header


def test_S73_git_and_mutt(cluster, conf):
    done = sendmail(conf(), "-i", "a@example.edu", "b@example.edu", text=b"From: x@example.org\nTo: a@example.edu\nSubject: [PATCH] token-git\n\n.\n..\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert only(cluster, "token-git")[1:3] == (b".\r\n..\r\n", ["a@example.edu", "b@example.edu"])
    done = sendmail(conf(), "-oi", "-f", "a@example.org", "--", "Rcpt <rcpt@example.edu>", text=b"Subject: token-mutt\n\nx\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert only(cluster, "token-mutt")[2:] == (["rcpt@example.edu"], "a@example.org")
    done = sendmail(conf(), "-f", "<>", "-N", "never", "-R", "hdrs", "-V", "env+id", "a@example.edu", text=b"Subject: token-null\n\nx\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert only(cluster, "token-null")[3] == ""


@pytest.mark.parametrize("way, words", [("arguments", []), ("header", ["-Smta-arguments=-t", "-Smta-no-recipient-arguments", "-Smta-bcc-ok"])])
def test_S73_mailx(cluster, conf, way, words):
    """s-nail, unmodified, with our command in sendmail's place: recipients as arguments, and as `sendmail -t` finds them."""
    if not shutil.which("s-nail"):
        pytest.skip("s-nail is not installed")
    env = {**os.environ, "WEIR_SENDMAIL_CONF": str(conf())}
    done = subprocess.run(["s-nail", "-:/", "-Sv15-compat", "-Smta=" + str(BIN / "weir-sendmail"), *words, "-s", f"token-snail-{way}", "-r", "me@example.org", "-b",
                           "hidden@example.edu", "you@example.edu"], input=b"Gr\xc3\xbc\xc3\x9fe\n", capture_output=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    header, _, recipients, sender = only(cluster, f"token-snail-{way}")
    assert sorted(recipients) == ["hidden@example.edu", "you@example.edu"] and sender == "me@example.org" and "hidden" not in header


def test_S73_hostile_header_and_long_lines(cluster, conf):
    """No field can name a command, a second header or a second message; nothing on the wire is longer than SMTP allows."""
    words = " ".join(["word"] * 2000)
    text = (f"To: a@example.edu\nSubject: token-long {words}\nX-One: {'y' * 5000}\nBcc : b@example.edu\rBcc: c@example.edu\nBad\x00Name: z\n\n"
            f"{'0123456789' * 1000}\n\r.\r\nMAIL FROM:<x@example.org>\n.\r\n{'z' * 998}\n").encode()
    done = sendmail(conf(), "-t", "-i", text=text)
    assert (done.returncode, done.stderr) == (0, b"")
    header, body, recipients, _ = only(cluster, "token-long")
    assert sorted(recipients) == [f"{name}@example.edu" for name in "abc"]
    assert "Bcc" not in header and "BadName: z" in header
    assert all(len(line) <= 998 for line in (header.encode() + b"\r\n" + body).split(b"\r\n"))
    assert re.sub(r"\r\n ", " ", header).count("word") == 2000
    lines = body.split(b"\r\n")
    assert b"".join(line.lstrip() for line in lines[:11]) == b"0123456789" * 1000
    assert lines[11:] == [b"", b".", b"MAIL FROM:<x@example.org>", b".", b"z" * 998, b""]
    for sender in ("a@b\r\nRCPT TO:<c@d>", "a b@example.org", "a@example.org, b@example.org", "<a@example.org"):
        done = sendmail(conf(), "-f", sender, "a@example.edu", text=b"x\n")
        assert done.returncode == 64 and b"not an address" in done.stderr


def test_S73_who_is_refused_is_told(cluster, conf):
    """A recipient that is refused, or is none, keeps nobody else's mail back."""
    done = sendmail(conf(), "good@example.edu", "not an address", "x@[1.2.3", text=b"Subject: token-part\n\nx\n")
    assert done.returncode == 67 and done.stderr.count(b"refused: 553 5.1.3") == 2, done.stderr
    assert only(cluster, "token-part")[2] == ["good@example.edu"]
    ok = (b"250 hello", b"250 2.1.0 ok")
    for replies, status in (((b"550 5.1.1 no such user",), 67), ((b"550 5.1.2 no such domain",), 68), ((b"550 5.7.1 \x1b[31mno\x1b[0m",), 77),
                            ((b"552 5.2.2 full",), 69), ((b"450 4.2.0 later",), 75), ((b"421 4.3.2 closing",), 75)):
        with answers(*ok, *replies) as fake:
            done = sendmail(conf(fake, tls="none"), "a@example.edu", text=b"x\n")
        assert done.returncode == status and done.stderr.count(b"a@example.edu: ") == 1 and b"\x1b" not in done.stderr, done
    with answers(*ok, b"250 2.1.5 ok", b"550 5.1.1 no", b"354 go") as fake:
        done = sendmail(conf(fake, tls="none"), "a@example.edu", "b@example.edu", text=b"x\n")
    assert done.returncode == 75 and b"may have been delivered" in done.stderr and b"b@example.edu: refused" in done.stderr, done


def test_S73_hosts_in_turn(cluster, conf, closed_port):
    """What one does not take for now is offered to the next; what one took is not."""
    with answers(b"250 hello", b"250 2.1.0 ok", b"451 4.3.0 not now", b"550 5.1.1 never") as fake:
        done = sendmail(conf(f"{closed_port()}, {fake}, {cluster.relay(2)}", tls="none"), "later@example.edu", "never@example.edu",
                        text=b"Subject: token-turn\n\nx\n")
    assert done.returncode == 67 and b"cannot connect" in done.stderr, done
    assert only(cluster, "token-turn")[2] == ["later@example.edu"]
    many = [f"r{number}@example.edu" for number in range(250)]  # more than max_recipients
    done = sendmail(conf(), *many, text=b"Subject: token-many\n\nx\n")
    assert done.returncode == 0, done.stderr
    found = wait_until(lambda: cluster.sink.with_token("token-many"))
    assert sorted(sum((envelope["recipients"] for _, envelope in found), [])) == sorted(many) and len(found) == 3


@pytest.mark.sanitized
def test_S73_hosts_as_they_may_be_written(cluster, conf):
    """Without a port it is 25, and a port has its service's name, too. No server that may be at these ports here has a certificate of ours."""
    port = cluster.relay().rsplit(":", 1)[1]
    secure = {"tls": "require", "ca_file": cluster.env["CA_FILE"]}
    done = sendmail(conf(f"127.0.0.1, [::1], 127.0.0.1:submission, localhost:{port}", **secure), "a@example.edu", text=b"Subject: token-ports\n\nx\n")
    assert done.returncode == 0 and all(b"weir-sendmail: %s: " % host in done.stderr for host in (b"127.0.0.1", b"[::1]", b"127.0.0.1:submission")), done
    only(cluster, "token-ports")
    done = sendmail(conf("localhost:no_service"), "a@example.edu", text=b"x\n")
    assert done.returncode == 78 and b"sendmail.conf:1: " in done.stderr and b"expected a host" in done.stderr, done


@pytest.mark.sanitized
def test_S73_nobody_takes_it(conf, closed_port):
    one, other = closed_port(), closed_port()
    done = sendmail(conf(f"{one}, {other}"), "a@example.edu", text=b"x\n")
    assert done.returncode == 75 and done.stderr.count(b"cannot connect") == 2 and b"a@example.edu: deferred" in done.stderr
    assert sendmail(conf("no-such-host.invalid:25"), "a@example.edu", text=b"x\n").returncode in (68, 75)  # 75 where no resolver answers
    done = sendmail(conf(one), "-bs", text=b"QUIT\r\n")
    assert done.returncode == 75 and done.stdout.startswith(b"421 ")


@pytest.mark.sanitized
def test_S73_wrong_use(conf, tmp_path):
    path = conf()
    assert sendmail(path, text=b"x\n").returncode == 64
    done = sendmail(path, "-t", text=b"Subject: nobody\n\nTo: a@example.edu\n")
    assert done.returncode == 64 and b"no recipients" in done.stderr
    assert sendmail(path, "-bd").returncode == 64
    assert sendmail(tmp_path / "none.conf", "a@example.edu", text=b"x\n").returncode == 78
    done = sendmail(conf(hsots="x"), "a@example.edu", text=b"x\n")
    assert done.returncode == 78 and b"hosts" in done.stderr and b":4:" in done.stderr
    assert sendmail(conf(max_message_size="1KiB"), "a@example.edu", text=b"x" * 2000).returncode == 69
    assert b"weirctl queue" in sendmail(path, "-bp").stdout
    assert b"policy" in sendmail(path, name="newaliases").stdout
    assert sendmail(path, "-q").returncode == 0
    done = sendmail(path, "--help")
    assert done.returncode == 0 and done.stdout.startswith(b"usage: sendmail ") and done.stderr == b""


def test_S73_tls(cluster, conf):
    """require: the host must be whom its certificate names."""
    port = cluster.relay().rsplit(":", 1)[1]
    done = sendmail(conf(f"localhost:{port}", tls="require", ca_file=cluster.env["CA_FILE"]), "a@example.edu", text=b"Subject: token-tls\n\nx\n")
    assert done.returncode == 0, done.stderr
    assert "TLS" in only(cluster, "token-tls")[0]
    done = sendmail(conf(f"localhost:{port}", tls="require"), "a@example.edu", text=b"x\n")
    assert done.returncode == 75 and b"certificate" in done.stderr
    with answers(b"250 hello") as fake:
        done = sendmail(conf(fake, tls="require"), "a@example.edu", text=b"x\n")
    assert done.returncode == 75 and b"not offered" in done.stderr
    with answers(b"250-hello\r\n250 STARTTLS", b"220 go\r\n250 injected") as fake:
        done = sendmail(conf(fake, tls="require"), "a@example.edu", text=b"x\n")
    assert done.returncode == 75 and b"in clear behind STARTTLS" in done.stderr


@pytest.mark.parametrize("tls", ["none", "may"])
def test_S73_bs(cluster, conf, tls):
    """SMTP through stdin and stdout; the end of stdin keeps no answer back."""
    env = {**os.environ, "WEIR_SENDMAIL_CONF": str(conf(tls=tls))}
    client = subprocess.Popen([BIN / "weir-sendmail", "-bs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)

    def said(text, replies=1):
        client.stdin.write(text)
        client.stdin.flush()
        codes = []
        while len(codes) < replies:
            line = client.stdout.readline()
            assert line, codes
            if line[3:4] == b" ":
                codes.append(line[:3])
        return codes
    assert said(b"EHLO script\r\n", 2) == [b"220", b"250"]
    assert said(b"MAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.edu>\r\nDATA\r\n", 3) == [b"250", b"250", b"354"]
    out, _ = client.communicate(f"Subject: token-bs-{tls}\r\n\r\n".encode() + b"0123456789\r\n" * 20000 + b".\r\n", timeout=60)
    assert client.returncode == 0 and out.startswith(b"250 ")
    assert len(only(cluster, f"token-bs-{tls}")[1]) == 12 * 20000


def script(token, recipient="a@example.edu", end="\n"):
    lines = ["EHLO script", "MAIL FROM:<s@example.org>", f"RCPT TO:<{recipient}>", "DATA", f"Subject: {token}", "", "..dot", ".", "QUIT", ""]
    return end.join(lines).encode()


def codes_of(out):
    return [int(line[:3]) for line in out.splitlines() if line[3:4] == b" "]


@pytest.mark.sanitized
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("tls", ["none", "may"])
def test_S73_bs_from_a_file(cluster, conf, tls, end):
    """As Postfix's sendmail takes it: nobody waits for a reply."""
    token = f"token-file-{tls}-{len(end)}"
    done = sendmail(conf(tls=tls), "-bs", text=script(token, end=end))
    assert (done.returncode, codes_of(done.stdout)) == (0, [220, 250, 250, 250, 354, 250, 221]), done
    assert only(cluster, token)[1] == b".dot\r\n"


@pytest.mark.sanitized
def test_S73_bs_says_what_was_refused(cluster, conf):
    before = cluster.sink.count()
    done = sendmail(conf(), "-bs", text=script("token-no", "a b@example.edu") + script("token-no"))
    assert done.returncode == 67 and codes_of(done.stdout)[-2:] == [501, 503], done  # DATA, and then nothing more
    done = sendmail(conf(), "-bs", text=script("token-no").split(b".dot")[0])
    assert done.returncode == 65 and b"ended inside a message" in done.stderr, done
    done = sendmail(conf(), "-bs", text=b"EHLO x\nMAIL\0 FROM:<s@example.org>\nQUIT\n")
    assert codes_of(done.stdout) == [220, 250, 500, 221] and done.returncode == 69, done
    for replies, status in (((b"550 5.1.1 no such user", b"554 5.5.1 none"), 67), ((b"450 4.2.0 later", b"554 5.5.1 none"), 75), ((b"421 4.3.2 closing",), 75)):
        with answers(b"250 hello", b"250 hello again", b"250 2.1.0 ok", *replies) as fake:
            done = sendmail(conf(fake, tls="none"), "-bs", text=script("token-no"))
        assert done.returncode == status, done
    assert cluster.sink.count() == before


@pytest.mark.sanitized
def test_S73_bs_offers_no_tls(cluster, conf):
    """The way to the edge is not the client's to secure, and that is no refusal of its mail."""
    done = sendmail(conf(tls="none"), "-bs", text=script("token-no-tls").replace(b"MAIL", b"STARTTLS\nMAIL", 1))
    assert (done.returncode, codes_of(done.stdout)) == (0, [220, 250, 502, 250, 250, 354, 250, 221]), done
    assert b"STARTTLS" not in done.stdout and b"PIPELINING\r\n" in done.stdout, done
    assert only(cluster, "token-no-tls")[1] == b".dot\r\n"
    with answers(b"250-fake\r\n250 starttls", b"250-again\r\n250-STARTTLS\r\n250-XSTARTTLS\r\n250 STARTTLS", b"221 bye") as fake:
        done = sendmail(conf(fake, tls="none"), "-bs", text=b"EHLO x\nQUIT\n")
    assert done.returncode == 0 and done.stdout.split(b"\r\n")[1:] == [b"250-again", b"250 XSTARTTLS", b"221 bye", b""], done


@pytest.mark.sanitized
def test_S73_bs_without_stdin_or_stdout(cluster, conf, tmp_path):
    """What could not be read or answered was not sent, and whoever looks at the status only is told so."""
    before = cluster.sink.count()
    path = conf()

    def run(**streams):
        env = {**os.environ, "WEIR_SENDMAIL_CONF": str(path)}
        return subprocess.run([BIN / "weir-sendmail", "-bs"], stderr=subprocess.PIPE, env=env, timeout=120, **streams)
    with open("/dev/full", "wb") as full:
        done = run(input=script("token-no"), stdout=full)
    assert done.returncode == 74 and b"stdout: No space left" in done.stderr, done
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as nobody:
        done = run(input=script("token-no"), stdout=nobody)
    assert done.returncode == 74 and b"stdout: Broken pipe" in done.stderr, done
    folder = os.open(tmp_path, os.O_RDONLY)
    done = run(stdin=folder, stdout=subprocess.PIPE)
    os.close(folder)
    assert done.returncode == 74 and b"stdin: Is a directory" in done.stderr, done
    assert cluster.sink.count() == before


def test_S73_bs_hears_a_refusal_that_nobody_reads(conf):
    """stdout breaks on the very reply that refuses: the status says what it was."""
    heard = threading.Event()

    class Later(bytes):
        """A reply that is said when the client's reader has gone."""
        def __add__(self, end):
            assert heard.wait(60)
            return bytes(self) + end
    with answers(b"250 hello", Later(b"550 5.7.1 not you")) as fake:
        env = {**os.environ, "WEIR_SENDMAIL_CONF": str(conf(fake, tls="none"))}
        client = subprocess.Popen([BIN / "weir-sendmail", "-bs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        client.stdin.write(b"MAIL FROM:<s@example.org>\n")
        client.stdin.flush()
        assert client.stdout.readline().startswith(b"220 ")
        client.stdout.close()
        heard.set()
        errors = client.stderr.read()
        assert client.wait(60) == 77 and b"stdout: " in errors, errors
        client.stdin.close()
        client.stderr.close()


@pytest.mark.parametrize("words, status", [(b"554 5.7.1 go away", 77), (b"421 4.3.2 closing", 75), (b"250 what?", 75), (b"nonsense", 75)])
def test_S73_bs_unasked(conf, words, status):
    """An edge that ends it by itself: only what is final is final."""
    with answers(b"250 hello\r\n" + words) as fake:
        env = {**os.environ, "WEIR_SENDMAIL_CONF": str(conf(fake, tls="none"))}
        client = subprocess.Popen([BIN / "weir-sendmail", "-bs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        try:
            out = client.stdout.read()  # stdin stays open: only the edge speaks
            assert client.wait(60) == status and out.startswith(b"220 "), out
        finally:
            client.kill()
            client.communicate()


@pytest.mark.sanitized
def test_S73_bs_chunks(cluster, conf):
    done = sendmail(conf(), "-bs", text=b"EHLO x\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.edu>\r\nBDAT 22\r\nSubject: token-chunk\r\n"
                    b"BDAT 7 LAST\r\n\r\n.\r\n\r\nQUIT\r\n")
    assert (done.returncode, codes_of(done.stdout)) == (0, [220, 250, 250, 250, 250, 250, 221]), done
    assert only(cluster, "token-chunk")[1] == b".\r\n\r\n"


def test_S73_login(make_cluster, conf, tmp_path):
    """A password goes over TLS to a host that is known, or not at all; -bs says it, too."""
    cluster = make_cluster(edges=1, scanners=1, sets=["profile=submission", "sender_login_match=on"])
    host = f"localhost:{cluster.relay().rsplit(':', 1)[1]}"
    login = tmp_path / "login"
    login.write_text("alice@example.edu:wonderland\n")
    known = {"login_file": login, "ca_file": cluster.env["CA_FILE"]}
    done = sendmail(conf(host, **known), "-f", "alice@example.edu", "bob@example.edu", text=b"Subject: token-login\n\nx\n")
    assert done.returncode == 0, done.stderr
    assert only(cluster, "token-login")[2:] == (["bob@example.edu"], "alice@example.edu")
    submissions = f"localhost:{cluster.env['EDGE_1_SUBMISSIONS'].rsplit(':', 1)[1]}"  # TLS from the first byte
    done = sendmail(conf(submissions, tls="implicit", **known), "-f", "alice@example.edu", "bob@example.edu", text=b"Subject: token-implicit\n\nx\n")
    assert done.returncode == 0, done.stderr
    only(cluster, "token-implicit")
    done = sendmail(conf(submissions, tls="implicit", login_file=login), "bob@example.edu", text=b"x\n")  # whom the system's certificates do not know
    assert done.returncode == 75 and b"certificate" in done.stderr, done
    text = b"Subject: token-bs-login\r\n\r\nx\r\n.\r\n"
    steps = [b"EHLO script\r\n", b"MAIL FROM:<alice@example.edu>\r\n", b"RCPT TO:<bob@example.edu>\r\n", b"DATA\r\n", text, b"QUIT\r\n"]
    client = subprocess.Popen([BIN / "weir-sendmail", "-bs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**os.environ, "WEIR_SENDMAIL_CONF": str(conf(host, **known))})
    codes = []
    for step in [b"", *steps]:
        client.stdin.write(step)
        client.stdin.flush()
        while (line := client.stdout.readline())[3:4] == b"-":
            continue
        codes.append(line[:3])
    client.communicate(timeout=60)
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"] and client.returncode == 0
    only(cluster, "token-bs-login")
    done = sendmail(conf(host, **known), "-f", "mallory@example.org", "bob@example.edu", text=b"x\n")
    assert done.returncode in (69, 77) and b"refused" in done.stderr, done  # the sender must be the login's
    login.write_text("alice@example.edu:through the looking glass\n")
    done = sendmail(conf(host, **known), "-f", "alice@example.edu", "bob@example.edu", text=b"x\n")
    assert done.returncode == 77 and b"AUTH: 535" in done.stderr, done
    login.write_text("no colon\n")
    done = sendmail(conf(host, **known), "bob@example.edu", text=b"x\n")
    assert done.returncode == 77 and b"login_file" in done.stderr
    assert "wonderland" not in cluster.log("edge-1") and "looking" not in cluster.log("edge-1")
    with answers(b"250 AUTH PLAIN", b"235 2.7.0 ok") as fake:
        done = sendmail(conf(fake, tls="none", login_file=login), "a@example.edu", text=b"x\n")
    assert done.returncode == 75 and b"TLS is required" in done.stderr
